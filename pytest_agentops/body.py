"""The body of a prompt file: compiled roles, places for messages and images, and where each text came from.

Roles are compiled when the file is read and never looked for in rendered text: each marker that the author wrote
becomes a call that writes a mark of this render's own, and only such marks part the messages.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FunctionLoader, TemplateSyntaxError, nodes
from jinja2.visitor import NodeTransformer

from pytest_agentops.document import FRONT_MATTER, conflict_line
from pytest_agentops.errors import PromptError, PromptNotFound, PromptSyntaxError
from pytest_agentops.kinds import ENDING, ROLES
from pytest_agentops.sandbox import rendered, sandbox, written

if TYPE_CHECKING:
    from jinja2 import Template


_nonce: ContextVar[str] = ContextVar("agentops_render_nonce")

Source = Callable[[str], str]
"""Gives the text of the file with this name, such as `_shared/safety`; raises `PromptNotFound`."""


@dataclass(frozen=True)
class Place:
    """Where the value of an input that is no text stands in a message."""

    name: str


@dataclass(frozen=True)
class Segment:
    """A stretch of a rendered text that came from one source."""

    text: str
    inputs: tuple[str, ...] = ()
    """The inputs that it may hold something of; none where the author wrote it."""


Part = str | Place | Segment


class Messages(list[Any]):
    """An input of messages: in a body it is a list, and written out it is their place."""

    place = 0
    """The number of the input among all of the prompt."""

    def __str__(self) -> str:
        return _place_mark(self.place)


class Attachment(dict[str, Any]):
    """An input that is an image or a file: in a body it is a mapping, and written out it is its place."""

    place = 0

    def __str__(self) -> str:
        return _place_mark(self.place)


class Body:
    """The body of one file, ready to be rendered."""

    def __init__(self, name: str, text: str, *, path: str, line: int, source: Source, inputs: Sequence[str]) -> None:
        """Read a body that begins on this line of its file.

        Raises:
            PromptSyntaxError: it is no Jinja2, or includes what cannot be included.
            PromptNotFound: it includes a file that is not there.
        """
        self.name = name
        self.text = text
        self.path = path
        self.line = line
        self.source = source
        self.inputs = tuple(inputs)
        self._template = self._compiled(_environment(source))
        self.partials = self._included()
        """The bodies of the files that this one includes, directly or not, by name."""

    def messages(self, given: Mapping[str, Any]) -> list[tuple[str, list[Part]]]:
        """The roles and the parts of the messages that come out.

        Raises:
            PromptSyntaxError: something in it is not defined or cannot be computed; the message names the line.
        """
        with _rendering() as nonce:
            return [
                (role, _trimmed(parts))
                for role, parts in _parted(self._rendered(self._template, given), nonce, self.inputs)
            ]

    def segments(self, given: Mapping[str, Any]) -> list[tuple[str, list[Part]]]:
        """The same, with each text cut where its source changes.

        Raises:
            PromptSyntaxError: something in it is not defined or cannot be computed; the message names the line.
        """
        plain = self.messages(given)
        with _rendering() as nonce:
            marked = _parted(self._rendered(self._marking, given), nonce, self.inputs)
            cut = [(role, self._cut(parts, nonce)) for role, parts in marked]
        whole = [(role, parts) for role, parts in cut if parts is not None]
        if [(role, _joined(parts)) for role, parts in whole] == [(role, _joined(parts)) for role, parts in plain]:
            return whole
        # A filter that counts or cuts has met the marks: say less rather than something wrong.
        every = tuple(name for name in self.inputs if name in given)
        return [
            (role, [Segment(part, every) if isinstance(part, str) else part for part in parts]) for role, parts in plain
        ]

    def _cut(self, parts: Sequence[Part], nonce: str) -> list[Part] | None:
        try:
            return _trimmed([*_cut(parts, nonce, self.inputs)])
        except _Torn:
            return None

    def _rendered(self, template: Template, given: Mapping[str, Any]) -> str:
        try:
            return rendered(template, given)
        except PromptError:
            raise
        except Exception as error:  # An expression may fail in every way that Python knows.
            said = f"there is no {error}" if isinstance(error, KeyError) else error
            raise PromptSyntaxError(f"{self.path}: {self._line_of(error)}{said}") from error

    def _line_of(self, error: BaseException) -> str:
        lines = [
            frame.tb_lineno for frame in _frames(error) if frame.tb_frame.f_code.co_filename == f"<prompt {self.name}>"
        ]
        return f"line {lines[-1] + self.line - 1}: " if lines else ""

    def _compiled(self, environment: Environment) -> Template:
        try:
            code = environment.compile(with_role_calls(self.text), filename=f"<prompt {self.name}>")
        except TemplateSyntaxError as error:
            raise PromptSyntaxError(f"{self.path}:{error.lineno + self.line - 1}: {error.message}") from error
        except (RecursionError, SyntaxError, MemoryError, ValueError) as error:  # What Jinja2 made of it is no Python.
            raise PromptSyntaxError(f"{self.path}:{self.line}: the body cannot be compiled: {error}") from error
        return environment.template_class.from_code(environment, code, environment.make_globals(None), None)

    @cached_property
    def _marking(self) -> Template:
        trees = [Environment().parse(text) for text in (self.text, *self.partials.values())]
        return self._compiled(_environment(self.source, _Marking(sources(trees, self.inputs), self.inputs)))

    def _included(self) -> Mapping[str, str]:
        found: dict[str, str] = {}

        def follow(body: str, path: str, line: int, above: tuple[str, ...]) -> None:
            for name in _includes(body, path, line):
                if name in above:
                    raise PromptSyntaxError(f"{self.path}: include cycle: {' -> '.join((*above, name))}")
                if name not in found:
                    text = self._partial(name, path)
                    found[name] = checked_partial(text, name)
                    begins = text[: len(text) - len(found[name])].count("\n") + 1
                    follow(found[name], name, begins, (*above, name))

        follow(self.text, self.path, self.line, (self.name,))
        return found

    def _partial(self, name: str, included_by: str) -> str:
        try:
            return self.source(name)
        except PromptNotFound as error:
            raise PromptNotFound(f"{included_by} includes {name!r}: {error}") from None


def checked_partial(text: str, name: str) -> str:
    """What is included of a file.

    Raises:
        PromptSyntaxError: it holds the markers of a merge, or front matter that is never closed.
    """
    if line := conflict_line(text):
        raise PromptSyntaxError(
            f"{name}:{line}: it holds the markers of an unresolved merge; resolve it and remove them"
        )
    if text.partition("\n")[0].rstrip() == "---" and not FRONT_MATTER.match(text):
        raise PromptSyntaxError(f"{name}:1: the front matter opens with --- and is never closed by another ---")
    return partial_body(text)


def partial_body(text: str) -> str:
    """What is included of a file: its body, without the last line's end."""
    found = FRONT_MATTER.match(text)
    return (text[found.end() :] if found else text).removesuffix("\n")


# --- marks -----------------------------------------------------------------------------------------------------------


@contextmanager
def _rendering() -> Iterator[str]:
    # Digits alone: a filter that changes the case of a text leaves them as they are.
    nonce = str(secrets.randbelow(10**24)).zfill(24)
    token = _nonce.set(nonce)
    try:
        yield nonce
    finally:
        _nonce.reset(token)


def _role(role: str) -> str:
    return f"\x02{_nonce.get()}:{ROLES.index(role)}\x03"


def _place_mark(index: int) -> str:
    return f"\x02{_nonce.get()}+{index}\x03"


def _parted(text: str, nonce: str, names: Sequence[str]) -> list[tuple[str, list[Part]]]:
    """The text, cut at the marks of this render into messages, and these into texts and places."""
    before, *marked = re.split(f"\x02{nonce}([:+])([0-9]+)\x03", text)
    found: list[tuple[str, list[Part]]] = [("system", [before])] if before.strip() else []
    for kind, index, after in zip(marked[::3], marked[1::3], marked[2::3], strict=True):
        if kind == ":":
            found.append((ROLES[int(index)], [after]))
        else:
            if not found:
                found.append(("system", []))
            found[-1][1].extend((Place(names[int(index)]), after))
    return found


def _trimmed(parts: Sequence[Part]) -> list[Part]:
    """Without the line ends at both ends of a message."""
    from_left = _stripped(list(parts), str.lstrip)
    return _stripped(from_left[::-1], str.rstrip)[::-1]


def _stripped(parts: list[Part], strip: Callable[[str, str], str]) -> list[Part]:
    while parts and not isinstance(parts[0], Place):
        first = parts[0]
        text = strip(first.text if isinstance(first, Segment) else first, "\n")
        if text:
            return [replace(first, text=text) if isinstance(first, Segment) else text, *parts[1:]]
        parts = parts[1:]
    return parts


class _Torn(Exception):
    """A filter has cut between an opening mark and its closing one."""


def _cut(parts: Sequence[Part], nonce: str, names: Sequence[str]) -> Iterator[Part]:
    """The parts, with each text cut at the marks of where it came from."""
    within: list[str] = []
    for part in parts:
        if not isinstance(part, str):
            yield part
            continue
        text, *marked = re.split(f"\x02{nonce}([<>])([0-9,]*)\x03", part)
        while True:
            if text:
                seen = {int(index) for indexes in within for index in indexes.split(",")}
                yield Segment(text, tuple(names[index] for index in sorted(seen)))
            if not marked:
                break
            kind, indexes, text, *marked = marked
            if kind == "<":
                within.append(indexes)
            elif not within or within.pop() != indexes:
                raise _Torn
    if within:
        raise _Torn


def _joined(parts: Sequence[Part]) -> list[str | Place]:
    """The texts of neighbours put together."""
    found: list[str | Place] = []
    for part in parts:
        text = part.text if isinstance(part, Segment) else part
        if isinstance(text, str) and found and isinstance(found[-1], str):
            found[-1] += text
        elif text != "":
            found.append(text)
    return found


# --- compiling -------------------------------------------------------------------------------------------------------


def _environment(source: Source, marking: NodeTransformer | None = None) -> Environment:
    environment = sandbox(
        loader=FunctionLoader(lambda name: with_role_calls(partial_body(source(name)))),
        keep_trailing_newline=True,
        cache_size=0,
        marking=marking,
    )
    environment.globals["__role"] = _role
    environment.filters["untrusted"] = fenced
    environment.filters["__marked"] = _marked
    return environment


def with_role_calls(body: str) -> str:
    """The body with each of the author's role markers turned into a call, on the same line."""
    return with_roles(body, lambda line: f"{{{{ __role('{line.strip()[:-1].lower()}') }}}}")


def with_roles(body: str, compiled: Callable[[str], str]) -> str:
    """The body with something else for each of the author's role markers, which are lines outside of Jinja2's tags."""
    told, position = [], 0
    while found := _OPENING.search(body, position):
        if found["role"]:
            told += [body[position : found.start()], compiled(found[0])]
            position = found.end()
            continue
        if found["raw"]:
            closing = _ENDRAW.search(body, found.end())
            after = closing.end() if closing else -1
        else:
            after = body.find(_CLOSING[found[0]], found.end()) + 2
        if after < 2:  # A tag that is never closed, which Jinja2 will tell.
            break
        told.append(body[position:after])
        position = after
    return "".join([*told, body[position:]])


_OPENING = re.compile(
    rf"(?P<raw>\{{%[-+]?\s*raw\s*[-+]?%\}})|\{{[{{%#]|^[ \t]*(?P<role>{'|'.join(ROLES)}):[ \t]*$",
    re.MULTILINE | re.IGNORECASE,
)
_ENDRAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_CLOSING = {"{{": "}}", "{%": "%}", "{#": "#}"}


def fenced(value: object) -> str:
    """The text between two delimiters that it cannot close, since it does not contain them."""
    if isinstance(value, Messages | Attachment):
        raise TypeError(
            "the filter untrusted is for texts; messages, images and files stand where they are written out"
        )
    text = str(value)
    # The same text gets the same fence, so that the same question is the same request.
    fence = _fence(text)
    while fence in text:
        fence = _fence(fence + text)
    return f"<{fence}>\n{text}\n</{fence}>"


def _fence(text: str) -> str:
    # A text may hold half of a surrogate pair, which UTF-8 does not have.
    return f"untrusted-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _includes(body: str, path: str, line: int) -> Iterator[str]:
    """The names that a body includes.

    Raises:
        PromptSyntaxError: an include whose name is computed.
    """
    try:
        tree = Environment().parse(body)
    except TemplateSyntaxError as error:
        raise PromptSyntaxError(f"{path}:{error.lineno + line - 1}: {error.message}") from error
    except RecursionError as error:
        raise PromptSyntaxError(f"{path}:{line}: the body is nested too deeply") from error
    for include in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        template = getattr(include, "template", None)
        if not isinstance(include, nodes.Include) or not isinstance(template, nodes.Const):
            raise PromptSyntaxError(
                f'{path}:{include.lineno + line - 1}: only {{% include "name" %}} with a literal name is allowed'
            )
        yield str(template.value).removesuffix(ENDING)


def _frames(error: BaseException) -> Iterator[Any]:
    frame = error.__traceback__
    while frame is not None:
        yield frame
        frame = frame.tb_next


# --- where text comes from -------------------------------------------------------------------------------------------


class _Marking(NodeTransformer):
    """Puts marks around what is written out and may hold something of an input."""

    def __init__(self, sources: Mapping[str, frozenset[str]], inputs: Sequence[str]) -> None:
        self.sources = sources
        self.inputs = inputs

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802 - Jinja2 looks for this name
        node.nodes = [self._marked(each) for each in node.nodes]
        return node

    def _marked(self, each: nodes.Expr) -> nodes.Expr:
        names = {source for name in names_in(each) for source in self.sources.get(name, ())}
        if not names:
            return each
        indexes = ",".join(str(index) for index, name in enumerate(self.inputs) if name in names)
        marked = nodes.Filter(each, "__marked", [nodes.Const(indexes)], [], None, None)
        marked.set_lineno(each.lineno)
        return marked


def _marked(value: Any, indexes: str) -> Any:
    if isinstance(value, Messages | Attachment):
        return value
    return f"\x02{_nonce.get()}<{indexes}\x03{written(value)}\x02{_nonce.get()}>{indexes}\x03"


def names_in(node: nodes.Node) -> Iterator[str]:
    """The names that are read in an expression."""
    if isinstance(node, nodes.Name) and node.ctx == "load":
        yield node.name
    for name in node.find_all(nodes.Name):
        if name.ctx == "load":
            yield name.name


def sources(trees: Sequence[nodes.Node], inputs: Sequence[str]) -> Mapping[str, frozenset[str]]:
    """For each name in these templates, the inputs that its value may hold something of.

    Every assignment counts wherever it stands, so that the answer is never too small; what is put together in ways that
    are not followed, such as an include inside of a `set`, may hold something of every input.
    """
    edges = [(target, name) for tree in trees for target, name in _flows(tree)]
    found: dict[str, set[str]] = {name: {name} for name in inputs}
    found[_EVERYTHING] = set(inputs)
    found["self"] = set(inputs)
    changed = True
    while changed:
        changed = False
        for target, name in edges:
            more = found.get(name, set()) - found.setdefault(target, set())
            found[target] |= more
            changed |= bool(more)
    return {name: frozenset(some) for name, some in found.items()}


_EVERYTHING = " every input "
"""Stands for a value that nobody follows."""


def _built(body: Sequence[nodes.Node]) -> Iterator[str]:
    """The names whose values come out of these parts of a template."""
    for part in body:
        yield from names_in(part)
        if isinstance(part, nodes.Include | nodes.Block) or part.find((nodes.Include, nodes.Block)) is not None:  # type: ignore[arg-type]
            yield _EVERYTHING


def _flows(tree: nodes.Node) -> Iterator[tuple[str, str]]:
    """Pairs of names: something of the second one may come into the first."""
    macros = {macro.name: macro for macro in tree.find_all(nodes.Macro)}
    for node in tree.find_all((nodes.Assign, nodes.AssignBlock, nodes.For, nodes.With, nodes.Macro, nodes.CallBlock)):
        if isinstance(node, nodes.Assign):
            yield from _into(node.target, [node.node])
        elif isinstance(node, nodes.AssignBlock):
            yield from ((name, source) for name in _stored(node.target) for source in _built(node.body))
        elif isinstance(node, nodes.For):
            yield from _into(node.target, [node.iter])
            yield from (("loop", name) for name in names_in(node.iter))
        elif isinstance(node, nodes.With):
            for target, value in zip(node.targets, node.values, strict=True):
                yield from _into(target, [value])
        elif isinstance(node, nodes.Macro):
            yield from ((node.name, name) for name in _built([*node.body, *node.defaults]))
        elif isinstance(node, nodes.CallBlock):
            yield from (("caller", name) for name in _built(node.body))
            yield from ((argument.name, _EVERYTHING) for argument in node.args)
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name in macros:
            macro = macros[call.node.name]
            given = [*call.args, *(each.value for each in call.kwargs)]
            targets = [*(each.name for each in macro.args), "varargs", "kwargs", macro.name]
            yield from ((target, name) for value in given for name in names_in(value) for target in targets)


def _into(target: nodes.Node, values: Sequence[nodes.Node]) -> Iterator[tuple[str, str]]:
    yield from ((name, source) for name in _stored(target) for value in values for source in names_in(value))


def _stored(target: nodes.Node) -> list[str]:
    """The names that an assignment gives a value."""
    return [each.name for each in (target, *target.find_all((nodes.Name, nodes.NSRef))) if hasattr(each, "name")]
