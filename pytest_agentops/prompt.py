"""One prompt file: front matter, messages, inputs, render.

The format is Prompty v2 (Markdown body, YAML front matter, Jinja2, role markers), rendered more strictly: roles are
compiled when the file is parsed and never looked for in rendered text, and nothing missing renders as nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pytest_agentops.errors import PromptError, PromptInputError, PromptNotFound, PromptSyntaxError, did_you_mean
from pytest_agentops.trace import Render

if TYPE_CHECKING:
    from jinja2 import Environment, Template, nodes

ROLES = ("system", "developer", "user", "assistant", "tool")

_MARKER = re.compile(
    r"(?s:\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}|\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\})"
    rf"|^[ \t]*(?P<role>{'|'.join(ROLES)}):[ \t]*$",
    re.MULTILINE | re.IGNORECASE,
)
"""A role marker, or a stretch of Jinja2 that is passed over: a line of `{% raw %}` is text, whatever it says."""
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*$\n?", re.MULTILINE | re.DOTALL)
_SEEN_BY_MODELS = ("model", "outputs", "tools")

_nonce: ContextVar[str] = ContextVar("agentops_role_nonce")

Source = Callable[[str], str]
"""Gives the text of the file with this name, such as `_shared/safety`; raises `PromptNotFound`."""


@dataclass(frozen=True)
class Rendered:
    """A render together with the texts that came out, by which a request that carries it is known."""

    render: Render
    texts: tuple[str, ...]


observers: list[Callable[[Rendered], None]] = []
"""Called with each render; an open recording adds itself here."""


@dataclass(frozen=True)
class Input:
    """One input that a prompt declares."""

    name: str
    kind: str = "string"
    default: Any = None
    required: bool = True
    trust: str = "trusted"
    description: str = ""


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
            PromptSyntaxError: the front matter is no YAML mapping, or the body no Jinja2.
        """
        found = _FRONT_MATTER.match(text)
        if text.partition("\n")[0].rstrip() == "---" and not found:
            raise PromptSyntaxError(f"{path}:1: the front matter opens with --- and is never closed by another ---")
        front_matter = _yaml(found[1], path) if found else {}
        body = text[found.end() :] if found else text
        body_line = text[: found.end()].count("\n") + 1 if found else 1
        prompt = cls(name, text, path, source, front_matter, body, body_line)
        _ = prompt.inputs, prompt._template, prompt._partials
        return prompt

    @property
    def version(self) -> str | None:
        """The version that its author claims."""
        version = self.front_matter.get("version")
        return None if version is None else str(version)

    @property
    def inputs(self) -> Mapping[str, Input]:
        """The declared inputs by name."""
        declared = self.front_matter.get("inputs") or {}
        if not isinstance(declared, Mapping):
            raise PromptSyntaxError(f"{self.path}: inputs must be a mapping from names, not {_kind(declared)}")
        return {str(name): self._input(str(name), given) for name, given in declared.items()}

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The declared outputs."""
        outputs: Mapping[str, Any] = self.front_matter.get("outputs") or {}
        return outputs

    @property
    def model(self) -> Mapping[str, Any]:
        """The declared model: `id`, `provider`, `options`."""
        model = self.front_matter.get("model") or {}
        return {"id": model} if isinstance(model, str) else model

    @property
    def digest(self) -> str:
        """`sha256:` over what the model can see: model, inputs, outputs, tools, body and the digests of partials.

        The descriptions of the prompt and of its inputs do not count, since no model sees them; those of tools and
        outputs do. A changed partial changes everyone who includes it.
        """
        seen = {
            **{key: self.front_matter.get(key) for key in _SEEN_BY_MODELS},
            "inputs": _without_descriptions(self.front_matter.get("inputs"), named=True),
            "body": self.body,
            "partials": {name: _sha256(text) for name, text in sorted(self._partials.items())},
        }
        return f"sha256:{_sha256(json.dumps(seen, sort_keys=True, default=str))}"

    def messages(self, /, **inputs: Any) -> list[dict[str, str]]:
        """The chat messages, as the OpenAI API takes them.

        Raises:
            PromptInputError: an input is missing or unknown.
            PromptSyntaxError: the body uses a variable that nobody declared.
        """
        given = self._checked(inputs)
        messages = [{"role": role, "content": content} for role, content in self._rendered(given)]
        texts = tuple(message["content"] for message in messages if message["content"].strip())
        rendered = Rendered(Render(self.name, self.version, self.digest, _as_json(given)), texts)
        for observer in tuple(observers):
            observer(rendered)
        return messages

    def render(self, /, **inputs: Any) -> str:
        """The text of a prompt with a single message.

        Raises:
            PromptError: the prompt has several messages; use `messages`.
            PromptInputError: an input is missing or unknown.
            PromptSyntaxError: the body uses a variable that nobody declared.
        """
        messages = self.messages(**inputs)
        if len(messages) != 1:
            roles = ", ".join(message["role"] for message in messages) or "none"
            raise PromptError(
                f"{self.name} renders to {len(messages)} messages ({roles}), and render() is for a single one\n"
                f"  write prompts[{self.name!r}].messages(...)"
            )
        return messages[0]["content"]

    def _input(self, name: str, given: Any) -> Input:
        if isinstance(given, str):
            given = {"kind": given}
        if not isinstance(given, Mapping):
            raise PromptSyntaxError(f"{self.path}: input {name!r} must be a mapping or a kind, not {_kind(given)}")
        trust = given.get("trust", "trusted")
        if trust not in ("trusted", "untrusted"):
            raise PromptSyntaxError(f"{self.path}: input {name!r} has trust {trust!r}; write trusted or untrusted")
        return Input(
            name,
            kind=str(given.get("kind") or given.get("type") or "string"),
            default=given.get("default"),
            required=bool(given.get("required", "default" not in given)),
            trust=trust,
            description=str(given.get("description") or ""),
        )

    def _checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
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
        return {name: given.get(name, wanted.default) for name, wanted in declared.items()}

    def _rendered(self, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        from jinja2 import TemplateError

        from pytest_agentops.sandbox import rendered

        nonce = secrets.token_hex(12)
        token = _nonce.set(nonce)
        try:
            text = rendered(self._template, given)
        except PromptError:
            raise
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            said = f"there is no {error}" if isinstance(error, KeyError) else error
            raise PromptSyntaxError(f"{self.path}: {self._place(error)}{said}") from error
        finally:
            _nonce.reset(token)
        before, *messages = text.split(f"\x02{nonce}:")
        if before.strip():
            yield "system", before.strip("\n")
        for message in messages:
            role, _, content = message.partition("\x03")
            yield role, content.strip("\n")

    def _place(self, error: BaseException) -> str:
        lines = [
            frame.tb_lineno for frame in _frames(error) if frame.tb_frame.f_code.co_filename == f"<prompt {self.name}>"
        ]
        return f"line {lines[-1] + self.body_line - 1}: " if lines else ""

    @cached_property
    def _template(self) -> Template:
        from jinja2 import TemplateSyntaxError

        environment = _environment(self)
        try:
            return _compiled(environment, self.body, self.name)
        except TemplateSyntaxError as error:
            line = error.lineno + self.body_line - 1
            raise PromptSyntaxError(f"{self.path}:{line}: {error.message}") from error

    @cached_property
    def _partials(self) -> Mapping[str, str]:
        """The files that this one includes, directly or not, by name."""
        found: dict[str, str] = {}

        def follow(body: str, path: str, above: tuple[str, ...]) -> None:
            for name in _includes(body, path):
                if name in above:
                    raise PromptSyntaxError(f"{self.path}: include cycle: {' -> '.join((*above, name))}")
                if name not in found:
                    found[name] = _partial_body(self._partial(name, path))
                    follow(found[name], name, (*above, name))

        follow(self.body, self.path, (self.name,))
        return found

    def _partial(self, name: str, included_by: str) -> str:
        try:
            return self.source(name)
        except PromptNotFound as error:
            raise PromptNotFound(f"{included_by} includes {name!r}: {error}") from None


def _environment(prompt: Prompt) -> Environment:
    from jinja2 import FunctionLoader

    from pytest_agentops.sandbox import sandbox

    environment = sandbox(
        loader=FunctionLoader(lambda name: _with_roles(_partial_body(prompt.source(name)))),
        keep_trailing_newline=True,
        cache_size=0,
    )
    environment.globals["__role"] = _role
    environment.filters["untrusted"] = _fenced
    return environment


def _compiled(environment: Environment, body: str, name: str) -> Template:
    source = _with_roles(body)
    code = environment.compile(source, filename=f"<prompt {name}>")
    return environment.template_class.from_code(environment, code, environment.make_globals(None), None)


def _with_roles(body: str) -> str:
    """The body with each of the author's role markers turned into a call, on the same line."""

    def compiled(found: re.Match[str]) -> str:
        return f"{{{{ __role('{found['role'].lower()}') }}}}" if found["role"] else found[0]

    return _MARKER.sub(compiled, body)


def _role(role: str) -> str:
    return f"\x02{_nonce.get()}:{role}\x03"


def _fenced(value: object) -> str:
    """The text between two delimiters that it cannot close, since it does not contain them."""
    text = str(value)
    # The same text gets the same fence, so that the same question is the same request.
    fence = _fence(text)
    while fence in text:
        fence = _fence(fence + text)
    return f"<{fence}>\n{text}\n</{fence}>"


def _fence(text: str) -> str:
    # A text may hold half of a surrogate pair, which UTF-8 does not have.
    return f"untrusted-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _includes(body: str, path: str) -> Iterator[str]:
    """The names that a body includes.

    Raises:
        PromptSyntaxError: an include whose name is computed.
    """
    from jinja2 import Environment, TemplateSyntaxError, nodes

    try:
        tree = Environment().parse(body)
    except TemplateSyntaxError as error:
        raise PromptSyntaxError(f"{path}:{error.lineno}: {error.message}") from error
    for include in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        yield _included(include, path)


def _included(include: nodes.Node, path: str) -> str:
    from jinja2 import nodes

    template = getattr(include, "template", None)
    if not isinstance(include, nodes.Include) or not isinstance(template, nodes.Const):
        raise PromptSyntaxError(
            f'{path}: line {include.lineno} of the body: only {{% include "name" %}} with a literal name is allowed'
        )
    return str(template.value)


def _partial_body(text: str) -> str:
    found = _FRONT_MATTER.match(text)
    return (text[found.end() :] if found else text).removesuffix("\n")


def _yaml(text: str, path: str) -> Mapping[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # An impossible date is a ValueError.
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 2 if mark else 1
        problem = getattr(error, "problem", None) or error
        raise PromptSyntaxError(f"{path}:{line}: the front matter is not YAML: {problem}") from error
    if data is not None and not isinstance(data, Mapping):
        raise PromptSyntaxError(f"{path}:1: the front matter must be a mapping, not {_kind(data)}")
    return data or {}


def _without_descriptions(value: Any, *, named: bool = False) -> Any:
    """The value without its descriptions; in a mapping from names `description` may be the name of an input."""
    if isinstance(value, Mapping):
        return {
            str(key): _without_descriptions(inner)
            for key, inner in value.items()
            if named or key != "description" or not isinstance(inner, str)
        }
    if isinstance(value, list):
        return [_without_descriptions(inner) for inner in value]
    return value


def _as_json(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inputs as a trace and a cassette can keep them: what JSON does not know, such as a date, as its text."""
    kept: Mapping[str, Any] = json.loads(json.dumps(given, default=str, skipkeys=True))
    return kept


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _kind(value: object) -> str:
    kinds: dict[type, str] = {list: "a list", str: "text", dict: "a mapping"}
    return kinds.get(type(value), f"{type(value).__name__} ({value!r})")


def _frames(error: BaseException) -> Iterator[Any]:
    frame = error.__traceback__
    while frame is not None:
        yield frame
        frame = frame.tb_next


def normal_name(name: str) -> str:
    """The name of a prompt as it is looked up.

    Raises:
        PromptNotFound: the name leaves the prompts folder.
    """
    path = PurePosixPath(name.removesuffix(".prompty"))
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise PromptNotFound(f"{name!r} is no name of a prompt; names are paths inside the prompts folder")
    return str(path)
