"""What a prompt file gets wrong without being broken, each with its line: untrusted text where models obey, and typos.

Untrusted inputs are followed through the body's own syntax tree, not through one render, so that a branch which nobody
took in a test is looked at like any other.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property, reduce
from itertools import zip_longest
from typing import Any, Literal, get_args

import yaml
from jinja2 import TemplateSyntaxError, nodes

from pytest_agentops.body import with_role_calls
from pytest_agentops.document import FRONT_MATTER
from pytest_agentops.errors import PromptError, did_you_mean
from pytest_agentops.kinds import ROLES, Field
from pytest_agentops.models import retired
from pytest_agentops.prompt import Prompt, Source
from pytest_agentops.sandbox import Sandbox, sandbox

Rule = Literal[
    "syntax", "undeclared-input", "unused-input", "untrusted-in-system", "untrusted-in-tool", "missing-delimiters",
    "dynamic-include", "token-budget", "near-duplicate", "hidden-unicode", "retired-model", "unknown-rule",
    "misspelt", "name",
]  # fmt: skip
_UNTIDY = ("unused-input", "missing-delimiters", "near-duplicate")
"""Rules whose complaints are not serious."""
_NEVER_ALLOWED = ("syntax", "unknown-rule")


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong with a prompt file."""

    prompt: str
    path: str
    line: int
    """In the file at `path`; for what stands in a partial, that of the include."""
    rule: Rule
    message: str
    serious: bool
    """Whether `lint` fails for it; else it is untidy."""

    def allowance(self, text: str) -> str:
        """What its author writes on the line above, in this text of the file, to allow it; empty where nothing does."""
        if self.rule in _NEVER_ALLOWED:
            return ""
        if self.line < _File(self.prompt, self.path, text).body_line:
            return f"# lint: allow {self.rule}: why"
        return f"{{# lint: allow {self.rule}: why #}}"


def lint(
    name: str,
    text: str,
    *,
    path: str,
    source: Source,
    today: date,
    models: Mapping[str, str] | None = None,
    tokens: Callable[[str], int] | None = None,
    most_tokens: int | None = None,
) -> Iterator[Complaint]:
    """What is wrong with this prompt file, by line; `text` is as `PromptRepository` reads it.

    A file that cannot be understood has one complaint of the rule `syntax`. `models` are models that are gone, with the
    day, besides those that everybody knows of. `tokens` counts what the author wrote, which may be `most_tokens`.
    """
    file = _File(name, path, text)
    found = [*_hidden(text), *file.allowances.unknown()]
    try:
        reading = _Reading.of(file, source)
        found += reading.findings()
        found += [*_misspelt(file), *_misnamed(file)]
        found += _retired(file, today, models or {})
        found += _over_budget(file, reading.written, tokens, most_tokens)
        files = {"": file, **reading.partials}
    except _Broken as broken:
        found.append(_Finding("syntax", broken.place, broken.message))
        files = {"": file}
    for each in sorted(found, key=lambda finding: (finding.place, finding.rule, finding.message)):
        if not each.allowed(files):
            serious = each.serious and each.rule not in _UNTIDY
            yield Complaint(name, path, each.place.line, each.rule, f"{each.place}{each.message}", serious)


# --- findings and where they are -------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class _Place:
    line: int
    partial: str = ""
    """The partial that it stands in, which `line` includes."""
    partial_line: int = 0

    def __str__(self) -> str:
        return f"in {self.partial}, line {self.partial_line}: " if self.partial else ""


@dataclass(frozen=True)
class _Finding:
    rule: Rule
    place: _Place
    message: str
    serious: bool = True

    def allowed(self, files: Mapping[str, _File]) -> bool:
        """Whether the author of the prompt, or of the partial, silenced it."""
        place = self.place
        inside = files.get(place.partial) if place.partial else None
        return files[""].allowances.cover(self.rule, place.line) or (
            inside is not None and inside.allowances.cover(self.rule, place.partial_line)
        )


class _Broken(Exception):
    """The file cannot be read any further."""

    def __init__(self, place: _Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


_ALLOW = re.compile(r"\{#[-+]?\s*lint:\s*(allow(?:-file)?)\s(.*?)[-+]?#\}", re.DOTALL)
_ALLOW_IN_YAML = re.compile(r"(?:^|(?<=\s))#\s*lint:\s*(allow(?:-file)?)[ \t](.*)$", re.MULTILINE)


@dataclass(frozen=True)
class _Allowance:
    rule: str
    line: int
    last: int
    whole: bool
    """Whether the rule is silent on every line, not only on these."""


@dataclass(frozen=True)
class _Allowances:
    """The rules that a file's author silenced, in `{# lint: allow RULE: why #}` or a comment of its front matter."""

    all: tuple[_Allowance, ...] = ()

    @classmethod
    def of(cls, text: str, body_begins: int) -> _Allowances:
        if "lint:" not in text:
            return cls()
        comments = [*_ALLOW_IN_YAML.finditer(text, 0, body_begins), *_ALLOW.finditer(text, body_begins)]
        return cls(tuple(allowance for comment in comments for allowance in cls._of(comment, text)))

    @staticmethod
    def _of(comment: re.Match[str], text: str) -> Iterator[_Allowance]:
        first, last = (text.count("\n", 0, index) + 1 for index in comment.span())
        for rule in re.split(r"[\s,]+", comment[2].partition(":")[0].strip()):
            yield _Allowance(rule, first, last + 1, comment[1] == "allow-file")

    def cover(self, rule: Rule, line: int) -> bool:
        """Whether complaints by this rule are silent on this line."""
        return rule not in _NEVER_ALLOWED and any(
            each.rule == rule and (each.whole or each.line <= line <= each.last) for each in self.all
        )

    def unknown(self) -> Iterator[_Finding]:
        """Rules that do not exist, or that nobody can silence."""
        known = [rule for rule in get_args(Rule) if rule not in _NEVER_ALLOWED]
        for each in self.all:
            if each.rule in _NEVER_ALLOWED:
                yield _Finding("unknown-rule", _Place(each.line), f"the rule {each.rule!r} cannot be allowed")
            elif each.rule not in known:
                hint = did_you_mean(each.rule, known) or f"; there are: {', '.join(known)}"
                yield _Finding("unknown-rule", _Place(each.line), f"lint has no rule {each.rule!r}{hint}")


# --- the file --------------------------------------------------------------------------------------------------------

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class _File:
    """A prompt file, cut into front matter and body; one that is broken has them too."""

    name: str
    path: str
    text: str

    @cached_property
    def _found(self) -> re.Match[str] | None:
        return FRONT_MATTER.match(self.text)

    @property
    def body_begins(self) -> int:
        """The index of the body's first character."""
        return self._found.end() if self._found else 0

    @property
    def body(self) -> str:
        return self.text[self.body_begins :]

    @property
    def body_line(self) -> int:
        return self.text.count("\n", 0, self.body_begins) + 1

    @cached_property
    def allowances(self) -> _Allowances:
        return _Allowances.of(self.text, self.body_begins)

    @cached_property
    def prompt(self) -> Prompt:
        """The prompt without its body, which `_Reading` reads with the places of everything.

        Raises:
            _Broken: the front matter cannot be understood.
        """
        opened = "---" if self.text.partition("\n")[0].rstrip() == "---" else ""
        head = self.text[: self.body_begins] if self._found else opened
        # Nothing is included by a body of one character, which stands for one that is there.
        text = head + "-" * bool(self.text.strip() and not (opened and not self._found))
        try:
            return Prompt.parse(self.name, text, path=self.path, source=str)
        except Exception as error:  # PyYAML has more ways to fail than it documents, such as `!!int ""`.
            raise self._broken(error) from error

    def key_line(self, *keys: str) -> int:
        """The line of this key of the front matter, or of the nearest one around it."""
        node, line = self._composed, 1
        for key in keys:
            if not isinstance(node, yaml.MappingNode):
                break
            pairs = [(name, value) for name, value in node.value if getattr(name, "value", None) == key]
            if not pairs:
                break
            line, node = self._line(pairs[-1][0]), pairs[-1][1]
        return line

    def strings(self, key: str) -> Iterator[tuple[int, str]]:
        """The line and text of each string below this key of the front matter."""
        waiting = [value for name, value in getattr(self._composed, "value", ()) if getattr(name, "value", None) == key]
        seen = set()  # An alias leads to a node again, even into itself.
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                waiting += [value for _, value in node.value]
            elif isinstance(node, yaml.SequenceNode):
                waiting += node.value
            elif node.style == "|":
                yield self._line(node) + 1, node.value
            else:  # The lines of its text are not those of the file.
                yield self._line(node), node.value.replace("\n", " ")

    @cached_property
    def _composed(self) -> yaml.Node | None:
        try:
            found = yaml.compose(self._found[1] if self._found else "", Loader=_Loader)
        except (yaml.YAMLError, RecursionError):
            return None
        return found if isinstance(found, yaml.MappingNode) else None

    def _line(self, node: yaml.Node) -> int:
        before = self._found[1][: node.start_mark.index] if self._found else ""
        return before.count("\n") + 2  # Not the line of the mark, for the same reason as above.

    def _broken(self, error: Exception) -> _Broken:
        if not isinstance(error, PromptError):
            return _Broken(_Place(1), f"the front matter cannot be read: {_said(error)}")
        numbered = re.match(r":(\d+): ", str(error).removeprefix(self.path))
        message = _said(error).removeprefix(self.path).removeprefix(numbered[0] if numbered else ": ")
        line = int(numbered[1]) if numbered else self._named_in(message)
        return _Broken(
            _Place(min(line, self.text.count("\n") + 1)), message
        )  # YAML knows more line breaks than editors.

    def _named_in(self, message: str) -> int:
        """The line of the input, or else of the key, that a message names."""
        inputs = self._keys("inputs")
        named: list[tuple[str, ...]] = [("inputs", key) for key in inputs if repr(key) in message]
        named += [(key,) for key in self._keys() if re.search(rf"\b{re.escape(key)}\b", message)]
        return self.key_line(*named[0]) if named else 1

    def _keys(self, *above: str) -> list[str]:
        node: Any = self._composed
        for key in above:
            pairs = getattr(node, "value", ())
            node = next((value for name, value in pairs if getattr(name, "value", None) == key), None)
        return [str(name.value) for name, _ in node.value] if isinstance(node, yaml.MappingNode) else []


def _said(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = str(error) if isinstance(error, PromptError) else f"{type(error).__name__}: {error}"
    return text.partition("\n")[0]


# --- hidden characters -----------------------------------------------------------------------------------------------

_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_PICTURES = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
_JOINING = (
    "\u0600-\u074f\u0750-\u07ff\u0840-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\u1b00-\u1bff\u1cd0-\u1cff"
    "\ua840-\ua87f\ua8e0-\ua8ff\ua980-\ua9df\ufb50-\ufdff\ufe70-\ufefc\U00011000-\U00011fff\U0001e900-\U0001e95f"
)
_HARMLESS = re.compile(
    rf"(?<=[{_PICTURES}\ufe0f])\u200d(?=[{_PICTURES}])"
    rf"|(?<=[{_PICTURES}0-9#*])[\ufe0e\ufe0f](?:\u200d(?=[{_PICTURES}]))?"
    "|(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f"
    rf"|(?<=[{_JOINING}])[\u200c\u200d](?=[{_JOINING}])"
    "|(?<=[\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d\u0dca])\u200d"
    "|(?<=[\u2200-\u22ff\u2a00-\u2aff\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\ufe00-\ufe0f]"
    "|(?<=[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]"
    "|(?<=[\u1800-\u18af])[\u180b-\u180f]"
)
"""Emoji, the flags of regions, scripts that join their letters, and variants of one sign: these need what is hidden."""


def _hidden(text: str) -> Iterator[_Finding]:
    for found in _HIDDEN.finditer(text):
        harmless = _HARMLESS.match(text, found.start())
        if harmless and harmless.end() >= found.end():
            continue
        hidden = found[0]
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        first = f"U+{ord(hidden[0]):04X} {unicodedata.name(hidden[0], 'with no name')}"
        many = f"{first} and {len(hidden) - 1} more from here on" if len(hidden) > 1 else first
        yield _Finding("hidden-unicode", _Place(line), f"column {column}: {many}; nobody sees it{_spelled(hidden)}")


def _spelled(hidden: str) -> str:
    """What tag characters say to a model, since each stands for a character of ASCII."""
    spelled = "".join(chr(ord(each) - 0xE0000) for each in hidden if 0xE0020 <= ord(each) <= 0xE007E)
    return f", and models read {spelled!r}" if spelled else ""


# --- the model and the budget ----------------------------------------------------------------------------------------

_KEYS = ("name", "version", "description", "model", "inputs", "outputs", "tools", "metadata", "template", "owner")
_MODEL_KEYS = ("id", "provider", "apiType", "connection", "options")
_ROLE_LIKE = re.compile(r"^[ \t]*([A-Za-z]{3,12}):[ \t]*$", re.MULTILINE)


def _misspelt(file: _File) -> Iterator[_Finding]:
    """Lines that are nearly role markers, and keys that are nearly those which mean something."""
    for found in _ROLE_LIKE.finditer(file.body):
        word = found[1].lower()
        if word not in ROLES and (near := did_you_mean(word, ROLES)):
            line = file.body_line + file.body.count("\n", 0, found.start())
            yield _Finding("misspelt", _Place(line), f"{found[0].strip()} is text and no role{near}")
    model = file.prompt.front_matter.get("model")
    keys: list[tuple[tuple[Any, ...], tuple[str, ...]]] = [((key,), _KEYS) for key in file.prompt.front_matter]
    keys += [(("model", key), _MODEL_KEYS) for key in (model if isinstance(model, Mapping) else ())]
    for path, known in keys:
        if isinstance(path[-1], str) and path[-1] not in known and (near := did_you_mean(path[-1], known)):
            yield _Finding("misspelt", _Place(file.key_line(*path)), f"{'.'.join(path)} means nothing here{near}")


def _misnamed(file: _File) -> Iterator[_Finding]:
    try:
        file.prompt.check_name()
    except PromptError:
        claimed = file.prompt.front_matter.get("name")
        message = f"it calls itself {claimed!r}, and its place says {file.name!r}; write name: {file.name}"
        yield _Finding("name", _Place(file.key_line("name")), message)


_SOON = timedelta(days=30)


def _retired(file: _File, today: date, models: Mapping[str, str]) -> Iterator[_Finding]:
    declared: object = file.prompt.model
    model = declared.get("id") if isinstance(declared, Mapping) else None
    if not isinstance(model, str):
        return
    place = _Place(file.key_line("model", "id"))
    if gone := retired(model, today, models):
        yield _Finding("retired-model", place, f"{model} was shut down on {gone}; name a model that is there")
    elif soon := retired(model, today + _SOON, models):
        message = f"{model} will be shut down on {soon}, in {_days((soon - today).days)}; name another"
        yield _Finding("retired-model", place, message, serious=False)


def _days(count: int) -> str:
    return f"{count} days" if count != 1 else "1 day"


def _over_budget(
    file: _File, written: str, tokens: Callable[[str], int] | None, most: int | None
) -> Iterator[_Finding]:
    if tokens is None or most is None:
        return
    count = tokens(written)
    if count > most:
        message = f"the author's text takes {count:,} tokens, and {most:,} are allowed"
        yield _Finding("token-budget", _Place(file.body_line), message)


# --- what a stretch of template writes -------------------------------------------------------------------------------

_SAME = ""
"""Stands for the role of the message that is being written already, whichever that is."""


@dataclass(frozen=True)
class _Put:
    """An untrusted input that is written into a message."""

    name: str
    fence: Literal["none", "whole", "broken"] = "none"
    role: str = _SAME
    place: _Place = field(default_factory=lambda: _Place(1))


@dataclass(frozen=True)
class _Text:
    """What an expression, or a stretch of the template, may write."""

    puts: frozenset[_Put] = frozenset()
    roles: frozenset[str] = frozenset({_SAME})
    """Of the message that may be going on behind it."""
    macros: frozenset[_Macro] = frozenset()
    """What it may be instead of text."""

    def __or__(self, other: _Text) -> _Text:
        """One or the other."""
        return _Text(self.puts | other.puts, self.roles | other.roles, self.macros | other.macros)

    def then(self, other: _Text) -> _Text:
        """This and the other behind it."""
        puts, roles = other.puts, other.roles
        if self.roles != {_SAME}:
            puts = frozenset(replace(put, role=role) for put in puts for role in self._behind({put.role}))
            roles = self._behind(roles)
        return _Text(self.puts | puts, roles, self.macros | other.macros)

    def repeated(self) -> _Text:
        """This any number of times, or never."""
        before = _Text(roles=self.roles | {_SAME})
        return before | before.then(self)

    def at(self, place: _Place) -> _Text:
        return replace(self, puts=frozenset(replace(put, place=place) for put in self.puts)) if self.puts else self

    def fenced(self) -> _Text:
        return replace(self, puts=frozenset(replace(put, fence="whole") for put in self.puts))

    def changed(self) -> _Text:
        """The same in other characters, in which no delimiter can be relied on."""
        broken = (replace(put, fence="broken") if put.fence == "whole" else put for put in self.puts)
        return replace(self, puts=frozenset(broken))

    def _behind(self, roles: Iterable[str]) -> frozenset[str]:
        return frozenset(after for role in roles for after in (self.roles if role == _SAME else (role,)))


_NOTHING = _Text()


def _all(texts: Iterable[_Text]) -> _Text:
    """These one behind the other."""
    return reduce(_Text.then, texts, _NOTHING)


@dataclass(frozen=True, eq=False)
class _Macro:
    """A macro or the body of `call`, a loop or a block: what runs again wherever it is called."""

    body: Sequence[nodes.Node]
    scope: _Scope
    targets: Sequence[nodes.Node] = ()
    defaults: Sequence[nodes.Node] = ()
    real: bool = False
    """Whether it has a caller of its own."""


@dataclass
class _Scope:
    """The names that a stretch of template sees besides the inputs."""

    part: _Part
    parent: _Scope | None = None
    names: dict[str, _Text] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    """Names that only some branches set."""

    def inner(self, **names: _Text) -> _Scope:
        return _Scope(self.part, self, dict(names))

    def root(self) -> _Scope:
        """The outermost scope of the same file."""
        outer = self.parent
        return self if outer is None or outer.part is not self.part else outer.root()

    def find(self, name: str) -> tuple[_Text, bool]:
        """What a name stands for, and whether it surely does; if not, it may be an input."""
        if name not in self.names:
            return self.parent.find(name) if self.parent else (_NOTHING, False)
        if name not in self.unsure:
            return self.names[name], True
        outer, sure = self.parent.find(name) if self.parent else (_NOTHING, False)
        return self.names[name] | outer, sure

    def bind(self, name: str, text: _Text) -> None:
        self.names[name] = text
        self.unsure.discard(name)

    def state(self) -> tuple[dict[str, _Text], set[str]]:
        return dict(self.names), set(self.unsure)

    def restore(self, state: tuple[dict[str, _Text], set[str]]) -> None:
        self.names, self.unsure = dict(state[0]), set(state[1])

    def join(self, states: Sequence[tuple[dict[str, _Text], set[str]]]) -> None:
        """What is known behind branches that ended with these states."""
        everything = {name for names, _ in states for name in names}
        self.unsure = {
            name for name in everything if any(name not in names or name in unsure for names, unsure in states)
        }
        self.names = {
            name: reduce(_Text.__or__, (names[name] for names, _ in states if name in names)) for name in everything
        }


@dataclass(frozen=True)
class _Part:
    """A stretch of Jinja2 with lines of its own: the body, a partial, or a text among the tools."""

    above: tuple[str, ...]
    """The names of the files that lead here, each included by the one before."""
    first_line: int
    """Of the file that it stands in."""
    included_on: int | None = None
    """The line of the prompt that includes it, if it is a partial."""
    tags: tuple[int, ...] = ()
    """The identities of the include tags that lead here."""

    def place(self, line: int) -> _Place:
        """The place of this line of the stretch."""
        line += self.first_line - 1
        return _Place(line) if self.included_on is None else _Place(self.included_on, self.above[-1], line)


# --- reading the body ------------------------------------------------------------------------------------------------

_GLOBALS = ("range",)
_KEEPING = "concatenated counted d default indent join list reject safe select sort string trim unique".split()
"""Filters that leave delimiters as they are; `counted` is the sandbox's own."""
_NUMBERS = ("count", "float", "int", "length", "wordcount")
"""Filters of which nothing but a number comes out, which tells no model what to do."""
_COUNTERS = "changed cycle depth depth0 first index index0 last length revindex revindex0".split()
"""What `loop` has that is not one of the items."""
_MOST_RUNS = 2_000
"""Macros and partials that are looked into for one prompt, which might call each other without end."""
_DEEPEST = 16


@dataclass
class _Reading:
    """What a walk through the body, its partials and the tools finds."""

    file: _File
    source: Source
    environment: Sandbox
    inputs: Mapping[str, Field]
    body: _Text = _NOTHING
    tools: _Text = _NOTHING
    undeclared: dict[tuple[_Place, str], None] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    dynamic: dict[_Place, None] = field(default_factory=dict)
    texts: dict[tuple[int, ...], str] = field(default_factory=dict)
    """What the author wrote in the body, and in each partial as often as it is included; by `_Part.tags`."""
    partials: dict[str, _File] = field(default_factory=dict)
    trees: dict[str, nodes.Template] = field(default_factory=dict)
    """Of each partial."""
    macros: list[_Macro] = field(default_factory=list)
    called: set[_Macro] = field(default_factory=set)
    running: list[tuple[_Macro, object]] = field(default_factory=list)
    runs: int = 0

    @classmethod
    def of(cls, file: _File, source: Source) -> _Reading:
        """What is found in this file.

        Raises:
            _Broken: the file, or one that it includes, cannot be understood.
        """
        environment = sandbox(keep_trailing_newline=True)
        environment.filters["untrusted"] = str
        reading = cls(file, source, environment, file.prompt.inputs)
        try:
            reading._walk()
        except RecursionError as error:
            raise _Broken(_Place(file.body_line), _said(error)) from error
        return reading

    @property
    def written(self) -> str:
        """What the author wrote, partials included, without Jinja2 and role markers."""
        return "".join(self.texts.values())

    def findings(self) -> Iterator[_Finding]:
        for place in self.dynamic:
            yield _Finding("dynamic-include", place, 'only {% include "name" %} with a literal name can be followed')
        for place, name in self.undeclared:
            hint = did_you_mean(name, self.inputs) or "; declare it under inputs"
            yield _Finding("undeclared-input", place, f"{name!r} is no declared input{hint}")
        if not self.dynamic:
            yield from self._unused()
        yield from self._in_messages()
        for place, name in sorted({(put.place, put.name) for put in self.tools.puts}):
            message = f"untrusted input {name!r} stands in the tools, which models obey; put it into a user message"
            yield _Finding("untrusted-in-tool", place, message)

    def _unused(self) -> Iterator[_Finding]:
        for name in self.inputs:
            if name not in self.used:
                place = _Place(self.file.key_line("inputs", name))
                yield _Finding("unused-input", place, f"input {name!r} is declared and used nowhere")

    def _in_messages(self) -> Iterator[_Finding]:
        places = sorted({(put.place, put.name) for put in self.body.puts})
        for place, name in places:
            puts = [put for put in self.body.puts if (put.place, put.name) == (place, name)]
            obeyed = sorted({put.role for put in puts} & {"system", "developer"})
            if obeyed:
                message = f"untrusted input {name!r} reaches the {' or '.join(obeyed)} message, which models obey"
                yield _Finding("untrusted-in-system", place, f"{message}; move it to a user message")
            heard = [put for put in puts if put.role not in ("system", "developer")]
            bare = sorted({put.role for put in heard if put.fence == "none"})
            if bare:
                message = f"untrusted input {name!r} stands in the {' or '.join(bare)} message without delimiters"
                yield _Finding("missing-delimiters", place, f"{message}; write {{{{ {name} | untrusted }}}}")
            elif any(put.fence == "broken" for put in heard):
                message = f"the delimiters of untrusted input {name!r} are changed after they were put"
                yield _Finding("missing-delimiters", place, f"{message}; let untrusted be the last filter")

    # --- statements

    def _walk(self) -> None:
        part = _Part((self.file.name,), self.file.body_line)
        tree = self._parsed(self.file.body, part)
        self.texts[part.tags] = _author_text(tree)
        self.body = _Text(roles=frozenset({"system"})).then(self._part(tree, _Scope(part)))
        for line, text in self.file.strings("tools"):
            part = _Part((self.file.name,), line)
            with suppress(_Broken):  # Whether it must be Jinja2 is for `Prompt` to say.
                self.tools |= self._part(self._parsed(text, part), _Scope(part))
        for macro in self.macros:  # Grows meanwhile, since a macro may define others.
            if macro not in self.called:
                self._run(macro)

    def _parsed(self, body: str, part: _Part) -> nodes.Template:
        """The syntax tree, in which role markers are calls.

        Raises:
            _Broken: it cannot be parsed, or not be compiled, where Jinja2 looks at the names of filters.
        """
        try:
            tree = self.environment.parse(with_role_calls(body).replace("\r", " "))  # Jinja2 would count it as a line.
            self.environment.compile(tree)
        except TemplateSyntaxError as error:
            raise _Broken(part.place(error.lineno), error.message or "this is no Jinja2") from error
        except Exception as error:  # What Jinja2 makes of it may be no Python: loops in loops in loops, huge numbers.
            raise _Broken(part.place(1), f"the body cannot be read: {_said(error)}") from error
        return tree

    def _part(self, tree: nodes.Template, scope: _Scope) -> _Text:
        blocks = [_Macro(block.body, scope.inner(super=_NOTHING)) for block in tree.find_all(nodes.Block)]
        self.called.update(blocks)  # They run in their places.
        scope.bind("self", _Text(macros=frozenset(blocks)))
        return self._block(tree.body, scope)

    def _block(self, body: Iterable[nodes.Node], scope: _Scope) -> _Text:
        return _all(self._statement(node, scope) for node in body)

    def _statement(self, node: nodes.Node, scope: _Scope) -> _Text:
        match node:
            case nodes.Output():
                return _all(self._value(each, scope).at(scope.part.place(each.lineno)) for each in node.nodes)
            case nodes.If():
                return self._if(node, scope)
            case nodes.For():
                return self._for(node, scope)
            case nodes.Assign():
                self._bind(node.target, self._value(node.node, scope), scope)
            case nodes.AssignBlock():
                text = self._block(node.body, scope.inner())
                self._bind(node.target, self._filtered(node.filter, text, scope), scope)
            case nodes.FilterBlock():
                text = self._block(node.body, scope.inner())
                return self._filtered(node.filter, text, scope).at(scope.part.place(node.lineno))
            case nodes.Macro():
                scope.bind(node.name, _Text(macros=frozenset({self._macro(node, scope)})))
            case nodes.CallBlock():
                caller = _Text(macros=frozenset({self._macro(node, scope)}))
                return self._call(node.call, scope, caller=caller).at(scope.part.place(node.lineno))
            case nodes.With():
                values = [self._value(value, scope) for value in node.values]
                inner = scope.inner()
                for target, value in zip(node.targets, values, strict=True):
                    self._bind(target, value, inner)
                return self._block(node.body, inner)
            case nodes.Block():
                outer = scope if node.scoped else scope.root()
                return self._block(node.body, outer.inner(super=_NOTHING))
            case nodes.Include():
                return self._include(node, scope)
            case nodes.Extends() | nodes.Import() | nodes.FromImport():
                self._import(node, scope)
            case nodes.Scope():
                return self._block(node.body, scope.inner())
            case _:
                for child in node.iter_child_nodes():
                    self._value(child, scope)
        return _NOTHING

    def _if(self, node: nodes.If, scope: _Scope) -> _Text:
        for each in (node, *node.elif_):
            self._value(each.test, scope)
        before, outcomes, text = scope.state(), [], _Text(roles=frozenset())
        for body in (node.body, *(each.body for each in node.elif_), node.else_):
            scope.restore(before)
            text |= self._block(body, scope)
            outcomes.append(scope.state())
        scope.join(outcomes)
        return text

    def _for(self, node: nodes.For, scope: _Scope) -> _Text:
        items = self._items(node.iter, scope)
        inner = scope.inner()
        inner.bind("loop", replace(items, macros=frozenset({_Macro(node.body, inner, [node.target])})))
        self._bind(node.target, items, inner)
        if node.test:
            self._value(node.test, inner)
        turns = self._block(node.body, inner).repeated()
        return turns | self._block(node.else_, scope.inner())

    def _include(self, node: nodes.Include, scope: _Scope) -> _Text:
        place = scope.part.place(node.lineno)
        if not isinstance(node.template, nodes.Const):
            self.dynamic[place] = None
            self._value(node.template, scope)
            return _NOTHING
        name = str(node.template.value)
        if name in scope.part.above:
            raise _Broken(place, f"include cycle: {' -> '.join((*scope.part.above, name))}")
        file = self._partial(name, place)
        part = _Part((*scope.part.above, name), file.body_line, place.line, (*scope.part.tags, id(node)))
        if name not in self.trees:
            self.trees[name] = self._parsed(file.body.removesuffix("\n"), part)
        self.texts[part.tags] = _author_text(self.trees[name])
        self.runs += 1
        return self._part(self.trees[name], _Scope(part, scope)) if self.runs < _MOST_RUNS else self._anything()

    def _partial(self, name: str, place: _Place) -> _File:
        if name not in self.partials:
            try:
                self.partials[name] = _File(name, name, self.source(name))
            except PromptError as error:
                raise _Broken(place, f"no partial {name!r}: {_said(error)}") from error
        return self.partials[name]

    def _import(self, node: nodes.Extends | nodes.Import | nodes.FromImport, scope: _Scope) -> None:
        self.dynamic[scope.part.place(node.lineno)] = None
        self._value(node.template, scope)
        if isinstance(node, nodes.Import):
            scope.bind(node.target, _NOTHING)
        elif isinstance(node, nodes.FromImport):
            for name in node.names:
                scope.bind(name if isinstance(name, str) else name[1], _NOTHING)

    # --- names and macros

    def _bind(self, target: nodes.Node, value: _Text, scope: _Scope) -> None:
        match target:
            case nodes.Name():
                scope.bind(target.name, value)
            case nodes.NSRef():
                known, _ = scope.find(target.name)
                scope.bind(target.name, known | value)
            case _:
                for each in target.iter_child_nodes():
                    self._bind(each, value, scope)

    def _name(self, node: nodes.Name, scope: _Scope) -> _Text:
        text, sure = scope.find(node.name)
        if sure or node.name in _GLOBALS:
            return text
        if node.name not in self.inputs:
            self.undeclared[scope.part.place(node.lineno), node.name] = None
            return text
        self.used.add(node.name)
        untrusted = self.inputs[node.name].trust == "untrusted"
        return text | _Text(frozenset({_Put(node.name)})) if untrusted else text

    def _macro(self, node: nodes.Macro | nodes.CallBlock, scope: _Scope) -> _Macro:
        macro = _Macro(node.body, scope, node.args, node.defaults, real=True)
        self.macros.append(macro)
        return macro

    def _call(self, node: nodes.Call, scope: _Scope, caller: _Text = _NOTHING) -> _Text:
        match node:
            case nodes.Call(node=nodes.Name(name="__role"), args=[nodes.Const(value=role)]):
                return _Text(roles=frozenset({str(role)}))
        called = self._value(node.node, scope)
        given = [self._value(each, scope) for each in node.args]
        named = {each.key: self._value(each.value, scope) for each in node.kwargs}
        more = _all(self._value(each, scope) for each in (node.dyn_args, node.dyn_kwargs) if each)
        if not called.macros:
            return _all((called, *given, *named.values(), more, caller))
        runs = [self._run(macro, given, named, more, caller) for macro in sorted(called.macros, key=id)]
        return reduce(_Text.__or__, runs, replace(called, macros=frozenset()) if called.puts else runs[0])

    def _run(
        self,
        macro: _Macro,
        given: Sequence[_Text] = (),
        named: Mapping[str, _Text] | None = None,
        more: _Text = _NOTHING,
        caller: _Text = _NOTHING,
    ) -> _Text:
        """What a macro writes when it is called like this; `more` are arguments of which nobody knows the places."""
        self.called.add(macro)
        named = dict(named or {})
        scope = macro.scope.inner()
        defaults = [None] * (len(macro.targets) - len(macro.defaults)) + list(macro.defaults)
        for target, value, default in zip_longest(macro.targets, given[: len(macro.targets)], defaults):
            value = value or named.pop(getattr(target, "name", ""), None)
            if value is None and default is not None:
                value = self._value(default, scope)
            self._bind(target, (value or _NOTHING) | more, scope)
        if macro.real:
            scope.bind("caller", caller)
            scope.bind("varargs", _all((*given[len(macro.targets) :], more)))
            scope.bind("kwargs", _all((*named.values(), more)))
        return self._entered(macro, scope)

    def _entered(self, macro: _Macro, scope: _Scope) -> _Text:
        run = (macro, {name: text for name, text in scope.names.items() if name != "caller"})
        if run in self.running:  # What it writes this time, it writes already.
            return _Text(roles=frozenset({_SAME, *ROLES}) if self._has_roles(macro) else frozenset({_SAME}))
        self.runs += 1
        if self.runs >= _MOST_RUNS or len(self.running) >= _DEEPEST:
            return self._anything()
        self.running.append(run)
        try:
            return self._block(macro.body, scope)
        finally:
            self.running.pop()

    def _has_roles(self, macro: _Macro) -> bool:
        names = (name for node in macro.body for name in node.find_all(nodes.Name))
        return any(name.name == "__role" for name in names)

    def _anything(self) -> _Text:
        """What something writes that nobody can follow."""
        return _Text(frozenset(_Put(name) for name, given in self.inputs.items() if given.trust == "untrusted"))

    # --- expressions

    def _value(self, node: nodes.Node, scope: _Scope) -> _Text:
        match node:
            case nodes.Const() | nodes.TemplateData():
                return _NOTHING
            case nodes.Name():
                return self._name(node, scope)
            case nodes.Filter():
                return self._filtered(node, _NOTHING, scope)
            case nodes.Call():
                return self._call(node, scope)
            case nodes.Getattr(node=nodes.Name(name="loop"), attr=attribute) if attribute in _COUNTERS:
                self._value(node.node, scope)
                return _NOTHING if scope.find("loop")[1] else self._value(node.node, scope).changed()
            case nodes.Getattr() | nodes.Getitem():
                for child in node.iter_child_nodes(exclude=("node",)):
                    self._value(child, scope)
                return self._value(node.node, scope).changed()
            case nodes.Test() | nodes.Compare() | nodes.Not():  # It only chooses.
                for child in node.iter_child_nodes():
                    self._value(child, scope)
                return _NOTHING
            case nodes.CondExpr():
                self._value(node.test, scope)
                other = self._value(node.expr2, scope) if node.expr2 else _NOTHING
                return self._value(node.expr1, scope) | other
            case nodes.And() | nodes.Or():
                return self._value(node.left, scope) | self._value(node.right, scope)
            case _:
                return _all(self._value(child, scope) for child in node.iter_child_nodes())

    def _filtered(self, node: nodes.Filter | None, block: _Text, scope: _Scope) -> _Text:
        """What a chain of filters makes of what it stands behind, or of the block that it stands before."""
        if node is None:
            return block
        inner = node.node
        if inner is None or isinstance(inner, nodes.Filter):
            filtered = self._filtered(inner, block, scope)
        else:
            filtered = self._value(inner, scope)
        if node.name in ("join", "list") and _is_fence(inner):
            filtered = filtered.changed()
        arguments = _all(self._value(each, scope) for each in node.iter_child_nodes(exclude=("node",)))
        match node:
            case nodes.Filter(name="untrusted") | nodes.Filter(name="map", args=[nodes.Const(value="untrusted")]):
                return filtered.fenced()
            case nodes.Filter(name=name) if name in _NUMBERS:
                return arguments
            case nodes.Filter(name=name) if name in _KEEPING:
                return filtered.then(arguments)
            case _:
                return filtered.changed().then(arguments)

    def _items(self, node: nodes.Node, scope: _Scope) -> _Text:
        """What each item of an expression may be; those of a text are its characters."""
        if isinstance(node, nodes.Filter) and node.name == "counted" and node.node:
            return self._items(node.node, scope)
        items = self._value(node, scope)
        return items.changed() if _is_fence(node) else items


def _is_fence(node: nodes.Node | None) -> bool:
    return isinstance(node, nodes.Filter) and node.name == "untrusted"


def _author_text(tree: nodes.Template) -> str:
    return "".join(data.data for data in tree.find_all(nodes.TemplateData))


# --- prompts that are nearly the same --------------------------------------------------------------------------------

_NEARLY = 0.9
_SHORT = 80
_WORD = re.compile(r"[^\W\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]+|\S")
"""A word, or a sign: a character of a script without spaces is one too."""


def near_duplicates(prompts: Mapping[str, tuple[str, str]]) -> Iterator[Complaint]:
    """A complaint for each two prompts that say nearly the same; `prompts` are paths and texts by name.

    They are compared word by word, without regard to white space and case. Variants of one prompt, such as `triage` and
    `triage.de`, may be as alike as they like.
    """
    ids: dict[tuple[str, int], int] = {}
    bodies = filter(None, (_Body.of(_File(name, *given), ids) for name, given in sorted(prompts.items())))
    pairs = _alike(sorted(bodies, key=lambda body: len(body.words)))
    for one, other, alike in sorted(pairs, key=lambda pair: (pair[0].file.name, pair[1].file.name)):
        message = f"{alike:.0%} of its words are those of {one.file.name}; keep what they share in a partial"
        yield Complaint(other.file.name, other.file.path, other.file.body_line, "near-duplicate", message, False)


@dataclass(frozen=True)
class _Body:
    """The words of a prompt's body."""

    file: _File
    words: tuple[str, ...]
    bits: int
    """One for each word and how often it came before, so that what two bodies share is counted fast."""

    @classmethod
    def of(cls, file: _File, ids: dict[tuple[str, int], int]) -> _Body | None:
        """The words of this file's body; None if it is too short, or its author allows the likeness.

        `ids` has the bits of all bodies, and grows.
        """
        body = " ".join(file.body.lower().split())
        if len(body) < _SHORT or any(each.rule == "near-duplicate" for each in file.allowances.all):
            return None
        words, seen, bits = tuple(_WORD.findall(body)), Counter[str](), bytearray()
        for word in words:
            seen[word] += 1
            place, bit = divmod(ids.setdefault((word, seen[word]), len(ids)), 8)
            bits.extend(bytes(max(0, place + 1 - len(bits))))
            bits[place] |= 1 << bit
        return cls(file, words, int.from_bytes(bits, "little"))

    @property
    def family(self) -> str:
        """The name without what tells its variants apart."""
        folder, slash, last = self.file.name.rpartition("/")
        return f"{folder}{slash}{last.partition('.')[0]}"


def _alike(bodies: Sequence[_Body]) -> Iterator[tuple[_Body, _Body, float]]:
    """Pairs that are nearly the same, with the share that they have in common; `bodies` by the number of words."""
    from rapidfuzz.distance import Indel

    for index, long in enumerate(bodies):
        for short in reversed(bodies[:index]):
            words = len(short.words) + len(long.words)
            if 2 * len(short.words) < _NEARLY * words:
                break  # Those that follow are shorter still.
            if 2 * (short.bits & long.bits).bit_count() < _NEARLY * words or short.family == long.family:
                continue
            alike = Indel.normalized_similarity(short.words, long.words, score_cutoff=_NEARLY)
            if alike >= _NEARLY:
                one, other = sorted((short, long), key=lambda body: body.file.name)
                yield one, other, alike
