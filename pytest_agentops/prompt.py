"""One prompt file: front matter, inputs, messages, requests.

The format is Prompty v2 (Markdown body, YAML front matter, Jinja2, role markers), rendered more strictly: roles are
compiled when the file is parsed and never looked for in rendered text, and nothing missing renders as nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from pytest_agentops import kinds
from pytest_agentops.document import FRONT_MATTER, conflict_line
from pytest_agentops.errors import PromptError, PromptInputError, PromptNotFound, PromptSyntaxError, did_you_mean
from pytest_agentops.kinds import Field
from pytest_agentops.trace import Render
from pytest_agentops.versions import is_semver

if TYPE_CHECKING:
    from pytest_agentops.body import Body, Part, Segment

MOST_CHARACTERS = 1_000_000
"""A file with more is no prompt."""

_MOST_VALUES = 20_000

Source = Callable[[str], str]
"""Gives the text of the file with this name, such as `_shared/safety`; raises `PromptNotFound`."""

Api = Literal["chat", "responses"]


@dataclass(frozen=True)
class Rendered:
    """A render together with the texts that came out, by which a request that carries it is known."""

    render: Render
    texts: tuple[str, ...]


observers: list[Callable[[Rendered], None]] = []
"""Called with each render; an open recording adds itself here."""


@dataclass(frozen=True)
class Segmented:
    """One rendered message, with each stretch of its text and where it came from."""

    role: str
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(segment.text for segment in self.segments)


@dataclass(frozen=True)
class Prompt:
    """One prompt file, in one state."""

    name: str
    """Its path in the prompts folder without the ending, such as `support/triage`."""
    text: str = field(repr=False)
    """The whole file."""
    path: str = field(repr=False)
    """Where it was read, for messages."""
    source: Source = field(repr=False, compare=False)
    """Where its partials come from."""
    front_matter: Mapping[str, Any] = field(repr=False, compare=False)
    body: str = field(repr=False, compare=False)
    body_line: int = field(repr=False, compare=False)
    """The line of the file that the body begins on."""

    @classmethod
    def parse(cls, name: str, text: str, *, path: str, source: Source) -> Prompt:
        """The prompt of this file.

        Raises:
            PromptSyntaxError: the front matter is no YAML mapping or declares what means nothing, or the body is no
                Jinja2; the message names the line.
            PromptNotFound: it includes a file that is not there.
        """
        _check_text(text, path)
        found = FRONT_MATTER.match(text)
        if text.partition("\n")[0].rstrip() == "---" and not found:
            raise PromptSyntaxError(f"{path}:1: the front matter opens with --- and is never closed by another ---")
        front_matter = _yaml(found[1], path) if found else {}
        body = text[found.end() :] if found else text
        body_line = text[: found.end()].count("\n") + 1 if found else 1
        prompt = cls(name, text, path, source, front_matter, body, body_line)
        prompt._check()
        return prompt

    @property
    def version(self) -> str | None:
        """The semantic version that its author claims, such as `1.3.0`."""
        version = self.front_matter.get("version")
        return None if version is None else str(version)

    @property
    def description(self) -> str:
        """What its author says that it is for."""
        return str(self.front_matter.get("description") or "")

    @cached_property
    def inputs(self) -> Mapping[str, Field]:
        """The declared inputs by name."""
        return self._declared("inputs", self.front_matter.get("inputs"))

    @cached_property
    def outputs(self) -> Mapping[str, Field]:
        """The declared outputs by name: what the model's JSON has."""
        return self._declared("outputs", self.front_matter.get("outputs"))

    @property
    def model(self) -> Mapping[str, Any]:
        """The declared model: `id`, `provider`, `options`."""
        model = self.front_matter.get("model") or {}
        return {"id": model} if isinstance(model, str) else model

    @cached_property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that the model is offered."""
        declared = self.front_matter.get("tools") or []
        if isinstance(declared, Mapping):
            declared = [
                {"name": name, **(given or {})} if isinstance(given, Mapping | None) else given
                for name, given in declared.items()
            ]
        if not isinstance(declared, list):
            raise self._wrong(("tools",), f"tools must be a list of tools, not {kinds.told(declared)}")
        return tuple(self._tool(given, index) for index, given in enumerate(declared))

    @cached_property
    def roles(self) -> frozenset[str]:
        """The roles that its author's markers name, those of included files too."""
        from pytest_agentops.body import with_roles

        found: set[str] = set()

        def heard(line: str) -> str:
            found.add(line.strip()[:-1].lower())
            return line

        for body in (self.body, *self.partials.values()):
            with_roles(body, heard)
        return frozenset(found)

    @property
    def partials(self) -> Mapping[str, str]:
        """The bodies of the files that it includes, directly or not, by name."""
        return self._body.partials

    @cached_property
    def digest(self) -> str:
        """`sha256:` over what the model can see: model, inputs, outputs, tools, body and the digests of partials.

        The descriptions of the prompt and of its inputs do not count, since no model sees them; those of tools and
        outputs do. A changed partial changes everyone who includes it.
        """
        seen = {
            "model": self.front_matter.get("model"),
            "inputs": _undescribed(self.front_matter.get("inputs")),
            # In their order, which a model sees.
            "outputs": _in_order(self.front_matter.get("outputs")),
            "tools": _in_order(self.front_matter.get("tools")),
            "body": self.body,
            "partials": {name: sha256(text) for name, text in sorted(self.partials.items())},
        }
        return f"sha256:{sha256(json.dumps(_plain(seen), sort_keys=True))}"

    # What it is used for.

    def messages(self, /, **inputs: Any) -> list[dict[str, Any]]:
        """The chat messages, as OpenAI's chat completions take them.

        The content of a message is a text; where an image or a file stands in it, a list of parts.

        Raises:
            PromptInputError: an input is missing, unknown or of another kind.
            PromptSyntaxError: the body uses a variable that nobody declared.
        """
        given = self._taken(inputs)
        messages = list(_messages(self._body.messages(self._values(given)), given, self.inputs, self.path))
        texts = tuple(text for message in messages for text in _texts(message) if text.strip())
        rendered = Rendered(Render(self.name, self.version, self.digest, _as_json(given)), texts)
        for observer in tuple(observers):
            observer(rendered)
        return messages

    def render(self, /, **inputs: Any) -> str:
        """The text of a prompt with a single message.

        Raises:
            PromptError: the prompt has several messages, or one with an image; use `messages`.
            PromptInputError: an input is missing, unknown or of another kind.
            PromptSyntaxError: the body uses a variable that nobody declared.
        """
        messages = self.messages(**inputs)
        if len(messages) != 1 or not isinstance(messages[0]["content"], str):
            roles = ", ".join(message["role"] for message in messages) or "none"
            raise PromptError(
                f"{self.name} renders to {len(messages)} messages ({roles}), and render() is for a single text\n"
                f"  write prompts[{self.name!r}].messages(...)"
            )
        return str(messages[0]["content"])

    def segments(self, /, **inputs: Any) -> tuple[Segmented, ...]:
        """The rendered messages with each stretch of text knowing which inputs it may hold something of.

        What filters and loops make of an input counts as its text; nothing that an input wrote is ever taken for the
        author's. It is no render: nothing is noted in a trace. Messages and attachments are left out.

        Raises:
            PromptInputError: an input is missing, unknown or of another kind.
            PromptSyntaxError: the body uses a variable that nobody declared.
        """
        from pytest_agentops.body import Segment

        found = self._body.segments(self._values(self._taken(inputs)))
        return tuple(
            Segmented(role, tuple(part for part in parts if isinstance(part, Segment))) for role, parts in found
        )

    def request(self, /, *, api: Api = "chat", **inputs: Any) -> dict[str, Any]:
        """The keyword arguments of `client.chat.completions.create`, or of `client.responses.create` for `responses`.

        Model, options, messages, tools and the schema of the outputs, as far as the file declares them.

        Raises:
            PromptError: the file names no model, or another `api` is asked for.
            PromptInputError: an input is missing, unknown or of another kind.
            PromptSyntaxError: the body uses a variable that nobody declared.

        Example:
            ```python
            client.chat.completions.create(**prompts["support/triage"].request(company="ACME", ticket=ticket))
            ```
        """
        from pytest_agentops.requests import chat_request, responses_request

        if api not in ("chat", "responses"):
            raise PromptError(f"api is 'chat' or 'responses', not {api!r}")
        if not self.model.get("id"):
            raise PromptError(f"{self.path} names no model\n  add to the front matter: model: {{id: gpt-5-mini}}")
        return (chat_request if api == "chat" else responses_request)(self, self.messages(**inputs))

    # How it is read.

    def _check(self) -> None:
        """Read everything once, so that a mistake is told when the file is."""
        if self.version is not None and not is_semver(self.version):
            raise self._wrong(("version",), f"version {self.version} is no semantic version; write it as 1.0.0")
        options = self.model.get("options") or {} if isinstance(self.model, Mapping) else None
        if not isinstance(options, Mapping) or not isinstance(options.get("additionalProperties") or {}, Mapping):
            raise self._wrong(("model",), "model is a mapping such as {id: gpt-5-mini, options: {temperature: 0}}")
        _ = self.inputs, self.outputs, self.tools, self._body

    def _declared(self, key: str, given: Any) -> Mapping[str, Field]:
        try:
            return kinds.declared(given, (key,))
        except kinds.Misdeclared as error:
            raise self._wrong(error.keys, str(error) if str(error).startswith(key) else f"{key[:-1]} {error}") from None

    def _tool(self, given: Any, index: int) -> Tool:
        keys = ("tools", index)
        if not isinstance(given, Mapping):
            raise self._wrong(keys, f"a tool is a mapping with name and parameters, not {kinds.told(given)}")
        kind = given.get("kind", given.get("type", "function"))
        if kind != "function":
            return Tool(str(given.get("name") or kind), kind=str(kind), raw=given)
        if not isinstance(given.get("name"), str) or not given["name"]:
            raise self._wrong(keys, "a function tool needs a name")
        parameters = given.get("parameters")
        if isinstance(parameters, Mapping) and parameters.get("type") == "object":
            return Tool(
                given["name"], str(given.get("description") or ""), schema=parameters, strict=given.get("strict")
            )
        try:
            fields = kinds.declared(parameters, (*keys, "parameters"))
        except kinds.Misdeclared as error:
            raise self._wrong(error.keys, f"tool {given['name']!r}: {error}") from None
        return Tool(
            given["name"],
            str(given.get("description") or ""),
            parameters=tuple(fields.values()),
            strict=given.get("strict"),
        )

    def check_name(self) -> None:
        """See that the name which the file gives itself is that of its place.

        Raises:
            PromptSyntaxError: it is another one.
        """
        name = self.front_matter.get("name", self.name)
        if name not in (self.name, self.name.rpartition("/")[2]):
            raise self._wrong(
                ("name",), f"it calls itself {name!r}, and its place says {self.name!r}\n  write name: {self.name}"
            )

    def _wrong(self, keys: Sequence[str | int], message: str) -> PromptSyntaxError:
        return PromptSyntaxError(f"{self.path}:{self.line_of(keys)}: {message}")

    def line_of(self, keys: Sequence[str | int]) -> int:
        """The line of the file on which this key of the front matter stands, such as `("inputs", "tone", "kind")`."""
        found = FRONT_MATTER.match(self.text)
        return _line(found[1], keys) if found else 1

    @cached_property
    def _body(self) -> Body:
        from pytest_agentops.body import Body

        return Body(
            self.name, self.body, path=self.path, line=self.body_line, source=self.source, inputs=tuple(self.inputs)
        )

    def _taken(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs as their kinds take them, with the defaults of those that are not given."""
        declared = self.inputs
        for name in given:
            if name not in declared:
                hint = did_you_mean(name, declared)
                raise PromptInputError(
                    f"{self.name} has no input {name!r}{hint}\n  {self.path} declares: {', '.join(declared) or 'none'}"
                )
        missing = [name for name, wanted in declared.items() if wanted.required and name not in given]
        if missing:
            raise PromptInputError(
                f"{self.name} needs {', '.join(map(repr, missing))}\n"
                f"  write prompts[{self.name!r}].messages({', '.join(f'{name}=...' for name in missing)})"
            )
        taken = {name: kinds.taken(declared[name], value, f"{self.name}: {name}") for name, value in given.items()}
        # None means not given, unless it is declared to be a value.
        return {
            name: wanted.default if taken.get(name) is None and not wanted.nullable else taken.get(name)
            for name, wanted in declared.items()
        }

    def _values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What the body sees of the inputs."""
        from pytest_agentops.body import Attachment, Messages
        from pytest_agentops.sandbox import Absent

        values = dict(given)
        for name, wanted in self.inputs.items():
            if given[name] is None and not wanted.nullable:
                values[name] = Absent(name=name, hint=f"{name!r} was not given, and has no default")
            elif wanted.kind in kinds.RICH and given[name] is not None:
                values[name] = (Messages if wanted.kind == "thread" else Attachment)(given[name])
                values[name].place = list(self.inputs).index(name)
        return values


@dataclass(frozen=True)
class Tool:
    """One tool that a prompt offers to the model."""

    name: str
    description: str = ""
    parameters: tuple[Field, ...] = ()
    strict: bool | None = None
    """Whether the arguments must fit the schema; None leaves it to the API."""
    kind: str = "function"
    raw: Mapping[str, Any] = field(default_factory=dict)
    """A tool that is no function, as the file has it: the provider's own, such as its web search."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema of the parameters, where the file gives one itself."""


# --- messages --------------------------------------------------------------------------------------------------------


def _messages(
    rendered: Sequence[tuple[str, Sequence[Part]]], given: Mapping[str, Any], inputs: Mapping[str, Field], path: str
) -> Iterator[dict[str, Any]]:
    """The rendered messages, with what stands at their places."""
    from pytest_agentops.body import Place

    for role, parts in rendered:
        content: list[Any] = []
        whole = not any(isinstance(part, Place) for part in parts)
        for part in parts:
            if not isinstance(part, Place):
                content.append(part)
            elif inputs[part.name].kind == "thread":
                yield from _message(role, content, whole=False)
                content = []
                yield from (dict(each) for each in given[part.name])
            elif role != "user":
                raise PromptSyntaxError(
                    f"{path}: {part.name!r} stands in a message of the {role}; "
                    "images and files can only stand in one of the user"
                )
            else:
                content.append(_attached(inputs[part.name].kind, given[part.name]))
        yield from _message(role, content, whole=whole)


def _message(role: str, content: Sequence[Any], *, whole: bool) -> Iterator[dict[str, Any]]:
    """One message; a part of one is left out where nothing is in it."""
    if all(isinstance(each, str) for each in content):
        text = "".join(content) if whole else "".join(content).strip("\n")
        if whole or text.strip():
            yield {"role": role, "content": text}
        return
    texts = [each.strip("\n") if isinstance(each, str) else each for each in content]
    yield {
        "role": role,
        "content": [{"type": "text", "text": each} if isinstance(each, str) else each for each in texts if each],
    }


def _attached(kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "image_url", "image_url": dict(value)} if kind == "image" else {"type": "file", "file": dict(value)}


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str))


# --- files -----------------------------------------------------------------------------------------------------------


def _check_text(text: str, path: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise PromptSyntaxError(
            f"{path}: it has {len(text):,} characters, and a prompt has at most {MOST_CHARACTERS:,}; "
            "hand large texts in as inputs"
        )
    if not text.strip():
        raise PromptSyntaxError(f"{path}:1: the file is empty; write the text of the prompt")
    if line := conflict_line(text):
        raise PromptSyntaxError(
            f"{path}:{line}: it holds the markers of an unresolved merge; resolve it and remove them"
        )


def _yaml(text: str, path: str) -> Mapping[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        def flatten_mapping(self, node: Any) -> None:
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):  # Merges of merges grow without end.
                raise yaml.MarkedYAMLError(problem="a merge key (<<) has no use here", problem_mark=node.start_mark)
            super().flatten_mapping(node)

    try:
        data = yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # PyYAML has more ways to fail than it says: an impossible date is a ValueError, `!!bool x` a KeyError.
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 2 if mark else 1
        problem = getattr(error, "problem", None) or error
        raise PromptSyntaxError(f"{path}:{line}: the front matter is not YAML: {problem}") from error
    if data is not None and not isinstance(data, Mapping):
        raise PromptSyntaxError(f"{path}:1: the front matter must be a mapping, not {kinds.told(data)}")
    waiting, met = [data], 0
    while waiting:  # Anchors make something huge, or endless, out of little.
        each, met = waiting.pop(), met + 1
        waiting += each.values() if isinstance(each, Mapping) else each if isinstance(each, list) else ()
        if met > _MOST_VALUES:
            raise PromptSyntaxError(
                f"{path}:1: the front matter has more than {_MOST_VALUES:,} values, or contains itself"
            )
    return data or {}


def _line(text: str, keys: Sequence[str | int]) -> int:
    """The line of the file on which a key of its front matter stands, or the nearest one around it."""
    import yaml

    node, line = yaml.compose(text, Loader=yaml.SafeLoader), 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == str(key)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            found = (node.value[key], node.value[key])
        else:
            found = None
        if found is None:
            break
        node, line = found[1], found[0].start_mark.line + 2
    return int(line)


def _undescribed(declared: Any) -> Any:
    """A declaration of inputs without the descriptions of the inputs, which no model sees."""
    if isinstance(declared, list):
        return [_undescribed_field(each) for each in declared]
    if isinstance(declared, Mapping):
        return {name: _undescribed_field(each) for name, each in declared.items()}
    return declared


def _undescribed_field(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    kept = {key: value for key, value in given.items() if key not in ("description", "example")}
    if "items" in kept:
        kept["items"] = _undescribed_field(kept["items"])
    if "properties" in kept:
        kept["properties"] = _undescribed(kept["properties"])
    return kept


def _in_order(value: Any) -> Any:
    """A value whose mappings are lists of pairs, so that their order counts."""
    if isinstance(value, Mapping):
        return [[name, _in_order(inner)] for name, inner in value.items()]
    return [_in_order(inner) for inner in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """A value of YAML as JSON can write it, the same in every process."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _as_json(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inputs as a trace and a cassette can keep them: what JSON does not know, such as a date, as its text."""
    try:
        kept: Mapping[str, Any] = json.loads(json.dumps(given, default=str, skipkeys=True))
    except (ValueError, RecursionError) as error:
        raise PromptInputError(f"an input cannot be written down: {error}") from None
    return kept


def sha256(text: str) -> str:
    """The digest of a text, as hexadecimal digits."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def normal_name(name: str) -> str:
    """The name of a prompt as it is looked up.

    Raises:
        PromptNotFound: the name leaves the prompts folder.
    """
    path = PurePosixPath(name.removesuffix(kinds.ENDING))
    if path.is_absolute() or ".." in path.parts or not path.parts or not re.fullmatch(r"[\w./-]+", name):
        raise PromptNotFound(
            f"{name!r} is no name of a prompt; names are paths inside the prompts folder: letters, digits, ., _ and -"
        )
    return str(path)
