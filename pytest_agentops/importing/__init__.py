"""What the formats share of prompts that are kept elsewhere: what is found, and how its text and declarations are put.

Each format is a module with `read(text, path)`, which raises `PromptSyntaxError` for a broken file and `PromptError`
where no prompt is in it, and with `write(prompt)` where there is a way back, which raises `PromptError` for what the
format cannot say; `formats` knows them all. Text in, values out: nothing is opened, fetched or run. What a source says
literally stays literal: braces that Jinja2 would read and lines that look like a role are protected.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml
from jinja2 import Environment, TemplateSyntaxError, nodes

from pytest_agentops.body import with_roles
from pytest_agentops.errors import PromptError, PromptSyntaxError
from pytest_agentops.kinds import ROLES, told


@dataclass(frozen=True)
class Imported:
    """One prompt that was found elsewhere, as a prompt file."""

    name: str
    """Where it should live in the prompts folder, such as `support/triage`."""
    text: str = field(repr=False)
    """The whole `.prompty` file, which `Prompt.parse` accepts."""
    origin: str
    """Where it came from, for messages, such as `langfuse.json: triage version 3`."""
    notes: tuple[str, ...] = ()
    """What could not be carried over, or what a person must look at, in whole sentences."""


@dataclass(frozen=True)
class Exported:
    """One prompt as the file that another tool reads."""

    text: str
    """The whole file."""
    ending: str
    """How the name of such a file ends, such as `.prompt.yml`."""
    notes: tuple[str, ...] = ()
    """What the other format does not say, in whole sentences."""


@dataclass(frozen=True)
class PromptUse:
    """One place in a program that names a prompt stored on OpenAI's servers."""

    id: str
    """Such as `pmpt_68b0`."""
    version: str | None
    """The version that is asked for; None for whichever is current."""
    variables: Mapping[str, str]
    """The kind of each variable by its name: `string`, `image` or `file`."""
    path: str
    line: int


@dataclass(frozen=True)
class Found:
    """A prompt as a reader found it, its body translated to Jinja2."""

    name: str
    """As the source calls it."""
    body: str
    version: str = "1.0.0"
    front_matter: Mapping[str, Any] = field(default_factory=dict)
    """Without name, version and inputs."""
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the source declares; what its body uses besides is added when the file is written."""
    origin: str = ""
    """Which of the prompts in the file this is."""
    notes: tuple[str, ...] = ()
    verbatim: str | None = None
    """The file itself, where it is one already."""


READ = (
    "what is read: Prompty (.prompty), dotprompt (.prompt), GitHub Models (.prompt.yml), prompts of Langfuse and"
    " requests for chat completions (.json), and source that uses prompts stored at OpenAI (.py, .js, .ts)"
)


def unknown(path: str, value: object) -> PromptError:
    """The error for a file in which no prompt is."""
    return PromptError(
        f"{path}: there is no prompt in it that can be imported; it looks like {looks_like(value)}\n  {READ}"
    )


def looks_like(value: object) -> str:
    """What somebody who meant something else may recognize."""
    if isinstance(value, Mapping):
        return f"a mapping with the keys {listed(map(str, value))}" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}, of which the first is {looks_like(value[0])}" if value else "an empty list"
    if isinstance(value, str):
        return f"text that begins with {value.strip()[:30]!a}" if value.strip() else "an empty text"
    return f"the value {ascii(value)[:30]}"


def listed(words: Iterable[str], most: int = 8) -> str:
    """The words, and how many more there are."""
    given = [word[:40] for word in words]
    return ", ".join(given[:most]) + (f" and {len(given) - most} more" if len(given) > most else "")


def said(value: object) -> str:
    """A value in a note, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- what files hold, as plain data ----------------------------------------------------------------------------------

# A file may begin with comments, such as a license.
FRONT_MATTER = re.compile(r"\A(?:(?:#[^\n]*|[ \t]*)\n)*---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.MULTILINE | re.DOTALL)
_MOST_VALUES = 100_000
_DEEPEST = 60
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Sheet:
    """A file of front matter and body."""

    front_matter: Mapping[str, Any]
    body: str
    line: int
    """The line of the file that the body begins on."""

    @classmethod
    def of(cls, text: str, path: str) -> Sheet:
        """The sheet that this file is.

        Raises:
            PromptSyntaxError: its front matter is no YAML mapping or never ends.
        """
        found = FRONT_MATTER.match(text)
        if not found:
            if text.partition("\n")[0].rstrip() == "---":
                raise PromptSyntaxError(f"{path}:1: the front matter opens with --- and is never closed by another ---")
            return cls({}, text, 1)
        line = text[: found.start(1)].count("\n")
        data = loaded_yaml(found[1], path, line)
        if data is not None and not isinstance(data, Mapping):
            raise PromptSyntaxError(f"{path}:{line}: the front matter must be a mapping, not {told(data)}")
        return cls(data or {}, text[found.end() :], found[0].count("\n") + 1)


def loaded_yaml(text: str, path: str, line: int = 0) -> Any:
    """What this YAML says, which begins after so many lines of the file.

    Raises:
        PromptSyntaxError: it is none.
    """
    try:
        return plain(yaml.safe_load(text), path)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # PyYAML lets others through where a tag such as !!int stands before something else.
        mark = getattr(error, "problem_mark", None)
        at = (mark.line if mark else 0) + line + 1
        raise PromptSyntaxError(f"{path}:{at}: this is not YAML: {getattr(error, 'problem', None) or error}") from error


def loaded_json(text: str, path: str) -> Any:
    """What this JSON says.

    Raises:
        PromptSyntaxError: it is none.
    """
    try:
        return plain(json.loads(text), path)
    except json.JSONDecodeError as error:
        raise PromptSyntaxError(f"{path}:{error.lineno}: this is not JSON: {error.msg}\n  {READ}") from error
    except (ValueError, RecursionError) as error:  # A number of thousands of digits is a ValueError.
        raise PromptSyntaxError(f"{path}: this JSON cannot be read: {error}") from error


def plain(value: Any, path: str) -> Any:
    """The value as JSON knows it: keys are texts, dates are written out, no list holds itself.

    Raises:
        PromptSyntaxError: it is larger than any prompt.
    """
    left = _MOST_VALUES

    def made(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > _DEEPEST:
            raise PromptSyntaxError(f"{path}: this holds more than a prompt can need, or holds itself")
        if isinstance(value, Mapping):
            return {clean(str(key)): made(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list | tuple | set):
            return [made(inner, depth + 1) for inner in value]
        return value if value is None or isinstance(value, bool | int | float) else clean(str(value))

    return made(value, 0)


def clean(text: str) -> str:
    """The text as a file can hold it."""
    return _SURROGATE.sub("\ufffd", text).replace("\r\n", "\n")


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def without(given: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The mapping without these keys."""
    return {key: value for key, value in given.items() if key not in keys}


def dumped(value: object) -> str:
    """The value as YAML."""
    made: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)
    return made


def as_json(value: object) -> str:
    """The value as JSON for people."""
    return f"{json.dumps(value, indent=2, ensure_ascii=False, default=str)}\n"


# --- text that Jinja2 must not read ----------------------------------------------------------------------------------

_BRACES = re.compile(r"\{{2,}[%#]?|\{[%#]|\{(?=\r|\Z)|\r")


def literal(text: str) -> str:
    """The text with everything that Jinja2 would read or change as an expression that gives it."""
    # A brace at the end would join those of the expression that comes next.
    return _BRACES.sub(lambda found: '{{ "\\r" }}' if found[0] == "\r" else f"{{{{ '{found[0]}' }}}}", text)


def guarded(body: str) -> str:
    """The body in which no line is a role."""

    return with_roles(body, lambda line: re.sub(r"\S+", lambda word: f"{{{{ '{word[0]}' }}}}", line))


def chat(role: str, content: str) -> str:
    """The lines of one message, of this role and with this text in Jinja2."""
    # No message keeps line breaks around it, so none are written.
    content = content.strip("\n")
    return f"{role}:\n{content}\n" if content else f"{role}:\n"


def parsed_body(body: str, path: str, line: int = 1) -> nodes.Template:
    """The body as Jinja2 reads it.

    Raises:
        PromptSyntaxError: it is no Jinja2; the message names the line.
    """
    try:
        return Environment(keep_trailing_newline=True).parse(body)
    except TemplateSyntaxError as error:
        raise PromptSyntaxError(f"{path}:{error.lineno + line - 1}: {error.message}") from error
    except (RecursionError, ValueError) as error:
        raise PromptSyntaxError(f"{path}: the body cannot be read: {error}") from error


# --- names -----------------------------------------------------------------------------------------------------------

RESERVED = frozenset(
    "and or not in is if elif else for endfor set true false none True False None self super loop range caller"
    " varargs kwargs include import from with as recursive ignore missing without context".split()
)
"""What Jinja2 understands as something else than an input."""


class Variables(dict[str, str]):
    """The inputs' names by what a source calls its variables."""

    def __init__(self) -> None:
        super().__init__()
        self.own: list[str] = []
        """Names of inputs for which the source has none."""

    def __missing__(self, source: str) -> str:
        self[source] = self.free(identifier(source))
        return self[source]

    def free(self, name: str) -> str:
        """The name, with a number where it is taken."""
        return unique(name, (*self.values(), *self.own), "_")

    @property
    def notes(self) -> tuple[str, ...]:
        """Which of them had to be renamed."""
        renamed = ((source, name) for source, name in self.items() if source != name)
        return tuple(f"The variable {source} is the input {name} now." for source, name in renamed)


def identifier(source: str) -> str:
    """The name as a template can use it."""
    word = re.sub(r"\W+", "_", unicodedata.normalize("NFKC", source)) or "_"
    word = re.sub(r"^_{2,}", "_", word)  # Two underscores begin what is not for prompts.
    if not word.isidentifier():
        word = f"_{word}" if f"_{word}".isidentifier() else "value"
    return f"{word}_" if word in RESERVED else word


def unique(name: str, taken: Iterable[str], joint: str) -> str:
    """The name, with a number where it is taken."""
    known, number, made = set(taken), 1, name
    while made in known:
        number += 1
        made = f"{name}{joint}{number}"
    return made


def stem(path: str) -> str:
    """The name of a file without its ending."""
    return re.sub(r"(?i)\.(?:prompt\.ya?ml|[a-z0-9]+)$", "", PurePosixPath(path.replace("\\", "/")).name)


def semantic(version: object) -> str:
    """The version with three numbers, where it has fewer."""
    text = str(version or "1.0.0").strip()
    return ".".join([*text.split("."), "0", "0"][:3]) if re.fullmatch(r"\d{1,9}(\.\d{1,9}){0,2}", text) else text


def folder_name(name: str, *, partials: bool) -> str:
    """The name as a path of lower-case words that stays inside the prompts folder."""
    folded = unicodedata.normalize("NFKC", name).lower().removesuffix(".prompty")
    parts = [_word(part, partials=partials) for part in re.split(r"[/\\]", folded)]
    return "/".join(part for part in parts if part) or "prompt"


def _word(part: str, *, partials: bool) -> str:
    word = re.sub(r"[^\w-]+", "-", part)[:80].strip("-")
    return word if partials and word.strip("_-") else word.strip("_-")


# --- reading a prompt ------------------------------------------------------------------------------------------------

_OPTIONS = frozenset(
    "temperature topP topK maxOutputTokens frequencyPenalty presencePenalty seed stopSequences allowMultipleToolCalls"
    " reasoningEffort".split()
)
_OTHER_OPTIONS = {
    "maxTokens": "maxOutputTokens",
    "maxCompletionTokens": "maxOutputTokens",
    "stop": "stopSequences",
    "parallelToolCalls": "allowMultipleToolCalls",
}
"""What others call the options of a model, but for `top_p` and the like."""

SCHEMA_KINDS = {"number": "float", "any": "object"}
_SCHEMA_KEYS = frozenset(
    "type description enum items properties required additionalProperties title default $schema".split()
)
_ROLE_NAMES = {"model": "assistant", "ai": "assistant", "human": "user"}
_VARIABLE = re.compile(r"(?<!\{)\{\{\s*([^\W\d][\w.\-]*(?:[ ]+[\w.\-]+)*)\s*\}\}(?!\})")
_ALMOST = re.compile(r"\{\{.{0,60}?\}\}", re.DOTALL)


@dataclass(frozen=True)
class Variable:
    """Where a variable stands in a text."""

    name: str


@dataclass(frozen=True)
class RoleMark:
    """Where a message begins; the empty role ends the last one."""

    role: str


def parts(text: str) -> list[str | Variable]:
    """A text of another tool as its literal stretches and its variables, which stand in double braces."""
    # What the pattern's group found stands at every second place.
    return [Variable(each) if index % 2 else each for index, each in enumerate(_VARIABLE.split(text)) if each]


def option(key: str) -> str | None:
    """What Prompty calls an option of a model; None for one that it does not know."""
    camel = re.sub(r"_([a-z])", lambda found: found[1].upper(), key)
    known = _OTHER_OPTIONS.get(camel, camel)
    return known if known in _OPTIONS else None


def model(name: object, options: Mapping[str, Any], *, provider: bool = False) -> dict[str, Any]:
    """The front matter of a model; with `provider` its name may begin with who serves it, and a slash."""
    made: dict[str, Any] = {}
    if name:
        first, slash, rest = str(name).partition("/")
        made = {"id": rest, "provider": first} if provider and slash and rest else {"id": str(name)}
    chosen = {known: value for key, value in options.items() if (known := option(key))}
    if isinstance(chosen.get("stopSequences"), str):
        chosen["stopSequences"] = [chosen["stopSequences"]]
    if others := {key: value for key, value in options.items() if not option(key)}:
        chosen["additionalProperties"] = others
    made |= {"options": chosen} if chosen else {}
    return {"model": made} if made else {}


class Reading:
    """What is gathered while one prompt is read: its variables, inputs of special kinds, and notes."""

    def __init__(self, *, variables: bool = True) -> None:
        """Without `variables` all text is literal."""
        self.has_variables = variables
        self.variables = Variables()
        self.inputs: dict[str, Mapping[str, Any]] = {}
        self.notes: list[str] = []

    def found(self, name: object, body: str, front_matter: Mapping[str, Any], *notes: str, **more: str) -> Found:
        """The prompt with all that was gathered."""
        told = (*self.variables.notes, *self.notes, *notes)
        return Found(str(name), body, front_matter=front_matter, inputs=self.inputs, notes=told, **more)

    def left_out(self, keys: Iterable[str]) -> None:
        """Note the keys of a file that mean nothing to us."""
        if lost := sorted(keys):
            self.notes.append(f"These keys were left out: {listed(lost)}.")

    # Messages.

    def text(self, text: str) -> str:
        """The text in Jinja2, in which no line is a role."""
        return guarded("".join(map(self._piece, parts(text) if self.has_variables else [text])))

    def _piece(self, part: str | Variable) -> str:
        if isinstance(part, Variable):
            return f"{{{{ {self.variables[part.name]} }}}}"
        if self.has_variables:
            self.notes += [f"{said(each)} is no variable and stays as text." for each in _ALMOST.findall(part)]
        return literal(part)

    def role(self, given: object, number: int) -> str:
        """The role of a message as we call it."""
        role = str(given).lower()
        if role in ROLES:
            return role
        known = _ROLE_NAMES.get(role, "user")
        self.notes.append(f"Message {number} had the role {said(given)}, which became {known}.")
        return known

    def message(self, message: Mapping[str, Any], number: int) -> str:
        """The lines of one message."""
        role = self.role(message.get("role"), number)
        content = message.get("content")
        if isinstance(content, str):
            return chat(role, self.text(content))
        pieces = [self._part(mapping(part), role, number) for part in items(content)]
        return chat(role, "\n".join(piece for piece in pieces if piece is not None))

    def _part(self, part: Mapping[str, Any], role: str, number: int) -> str | None:
        if isinstance(text := part.get("text"), str):
            return self.text(text)
        kind = {"image_url": "image", "file": "file"}.get(str(part.get("type")))
        if kind is None or role != "user":
            what = said(part.get("type", part))
            self.notes.append(f"A part of message {number} is no text and was left out: {what}.")
            return None
        name = self.variables.free(kind)
        self.variables.own.append(name)
        self.inputs[name] = {"kind": kind}
        self.notes.append(f"The {kind} of message {number} is the input {name} now.")
        return f"{{{{ {name} }}}}"

    def thread(self, name: str) -> str:
        """The place of messages that are given."""
        self.inputs[self.variables[name]] = {"kind": "thread"}
        return f"\n{{{{ {self.variables[name]} }}}}\n"

    # Declarations.

    def properties(self, schema: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
        """The properties of a JSON schema as Prompty declares inputs and outputs."""
        needed = items(schema.get("required"))
        made = {}
        for name, inner in mapping(schema.get("properties")).items():
            made[name] = self._property(mapping(inner), f"{where}.{name}")
            if name not in needed:
                made[name]["required"] = False
        return made

    def _property(self, schema: Mapping[str, Any], where: str) -> dict[str, Any]:
        given = schema.get("type")
        types = [str(each) for each in (given if isinstance(given, list) else [given]) if each]
        kind = next((each for each in types if each != "null"), "object" if "properties" in schema else "string")
        made: dict[str, Any] = {"kind": SCHEMA_KINDS.get(kind, kind)}
        if "null" in types:
            made["required"] = False
        if description := schema.get("description"):
            made["description"] = str(description)
        if isinstance(enum := schema.get("enum"), list):
            made["enumValues"] = enum
        if "items" in schema:
            made["items"] = self._property(mapping(schema["items"]), f"{where}[]")
        if "properties" in schema:
            made["properties"] = self.properties(schema, where)
        if "default" in schema:
            made["default"] = schema["default"]
        if lost := [key for key in schema if key not in _SCHEMA_KEYS]:
            self.notes.append(f"The schema of {where} says more than a declaration can: {listed(lost)}.")
        return made

    def outputs(self, schema: object) -> dict[str, Any]:
        """The front matter of the outputs that a JSON schema asks for."""
        made = self.properties(mapping(schema), "the output")
        if schema and not made:
            self.notes.append("The schema of the output is no object with properties and was left out.")
        return {"outputs": made} if made else {}

    def answer_format(self, given: object) -> dict[str, Any]:
        """The front matter of the outputs that `response_format` asks for."""
        asked = mapping(given)
        if asked.get("type") == "json_schema":
            return self.outputs(mapping(asked.get("json_schema")).get("schema"))
        if given and given != "text" and asked.get("type") != "text":
            self.notes.append(f"The response format {said(given)} was left out: declare outputs instead.")
        return {}

    def tools(self, given: object) -> dict[str, Any]:
        """The front matter of the tools of a chat completion, or of the names of tools that are defined elsewhere."""
        made: list[dict[str, Any]] = []
        for each in items(given):
            if isinstance(each, str):
                made.append({"name": each, "kind": "function"})
                self.notes.append(f"The tool {each} is named and not defined here: add its description and parameters.")
            elif function := mapping(mapping(each).get("function")):
                keys = ("name", "description", "parameters", "strict")
                known = {key: function[key] for key in keys if key in function}
                made.append({"name": str(known.get("name", "")), "kind": "function", **known})
            else:
                self.notes.append(f"A tool that is no function was left out: {said(each)}.")
        return {"tools": made} if made else {}


def messages_of(given: object, where: str) -> list[Mapping[str, Any]]:
    """The messages of a file.

    Raises:
        PromptSyntaxError: they are something else.
    """
    if not isinstance(given, list) or not given or not all(isinstance(each, Mapping) for each in given):
        raise PromptSyntaxError(
            f"{where}: the messages must be a list of mappings with role and content; they look like"
            f" {looks_like(given)}"
        )
    return given
