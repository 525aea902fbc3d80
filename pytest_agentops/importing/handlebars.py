"""Handlebars, as dotprompt and some files of Prompty have it, in Jinja2."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pytest_agentops.errors import PromptSyntaxError
from pytest_agentops.importing import (
    RESERVED,
    Reading,
    RoleMark,
    folder_name,
    guarded,
    identifier,
    literal,
    said,
    unique,
)

_TAG = re.compile(
    r"(?P<slashes>\\*)(?P<tag>"
    r"\{\{~?!--.*?--~?\}\}|\{\{\{(?P<triple>.*?)\}\}\}|\{\{(?P<inner>.*?)\}\})",
    re.DOTALL,
)
_REST_OF_LINE = re.compile(r"[ \t]*(?:\n|\Z)")
_ARGUMENT = re.compile(r"""(?:[\w-]+=)?(?:"[^"]*"|'[^']*')|[^\s"']+""")
_SEGMENTS = re.compile(r"(?:[\w$-]+|\[[^\[\]]*\])(?:[./](?:[\w$-]+|\[[^\[\]]*\]))*")
_DEEPEST = 12  # Python compiles no more than twenty loops in one another.


@dataclass(frozen=True)
class _Tag:
    """What stands between two pairs of braces."""

    inner: str
    source: str
    line: int

    @property
    def words(self) -> list[str]:
        return _ARGUMENT.findall(self.inner.lstrip("#/^>&")) or [""]

    @property
    def kind(self) -> str:
        """One of `open`, `inverse`, `close`, `else`, `partial`, `comment` and `text`."""
        if self.inner == "^" or self.inner.split()[:1] == ["else"]:
            return "else"
        kinds = {"!": "comment", "#": "open", "^": "inverse", "/": "close", ">": "partial"}
        return kinds.get(self.inner[:1], "text")


@dataclass(frozen=True)
class _Block:
    """An opened tag with what it holds, up to its closing tag."""

    tag: _Tag
    source: str
    branches: tuple[tuple[_Tag, tuple[_Node, ...]], ...]
    """The tag that begins each branch, the opening one and then each `else`, and what the branch holds."""


_Node = str | _Tag | _Block
_Pieces = list[str | RoleMark]


@dataclass(frozen=True)
class _Scope:
    """What `this` is in a stretch of Handlebars."""

    this: str = ""
    """An expression of Jinja2; empty at the root, where names are inputs."""
    parent: _Scope | None = None
    looping: bool = False
    key: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def taken(self) -> list[str]:
        """The names of items and keys, here and around."""
        return [name for name in (self.this, self.key) if name] + (self.parent.taken if self.parent else [])


class Handlebars(Reading):
    """Translates one body; what could not be translated is noted."""

    def __init__(self, path: str, line: int) -> None:
        super().__init__()
        self.path = path
        self.line = line

    def body(self, text: str, *, roles: Literal["helper", "written", "none"]) -> str:
        """The body in Jinja2; its roles are those of the helper `role`, or lines of the text, or there are none.

        Raises:
            PromptSyntaxError: a block is not closed; the message names the line.
        """
        flat = list(self._flat(text))
        root, rest = self._until_close(flat, 0, None)
        if isinstance(stray := flat[rest] if rest < len(flat) else "", _Tag):
            raise PromptSyntaxError(f"{self.path}:{stray.line}: {stray.source} closes what nothing opened")
        pieces = list(self._translated(root[0][1], _Scope()))
        if roles == "written":
            return "".join(piece for piece in pieces if isinstance(piece, str))
        body, run = "", ""
        started = roles == "none"  # Text before the first role is the user's, and ours would be the system's.
        for piece in (*pieces, RoleMark("")):
            if isinstance(piece, str):
                run += piece
                continue
            if started:
                body += guarded(re.sub(r"\A[ \t]*\n", "", run) if body.endswith(":\n") else run)
            elif run.strip():
                body = f"user:\n{guarded(run.lstrip())}"
            if piece.role:
                body += "\n" if body and not body.endswith("\n") else ""
                body += f"{piece.role}:\n"
                started = True
            run = ""
        return body

    # A text becomes a list of literals and tags, and that a tree of blocks.

    def _flat(self, text: str) -> Iterator[str | _Tag]:
        end, trims = 0, False
        for found in _TAG.finditer(text):
            slashes, source, after = len(found["slashes"]), found["tag"], found.end()
            before = text[end : found.start()] + "\\" * max(slashes - 1, 0)
            before = before.lstrip() if trims else before
            if slashes == 1:
                yield before + source
                end, trims = after, False
                continue
            inner = found["triple"] if found["triple"] is not None else found["inner"] or "!"
            tag = _Tag(inner.strip("~").strip(), source, self.line + text.count("\n", 0, found.start()))
            indent = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
            rest = _REST_OF_LINE.match(text, after)
            if tag.kind != "text" and not slashes and not indent.strip(" \t") and rest:
                # A line on which a block's tag, a comment or a partial stands alone is none of the text.
                before, after = before.rstrip(" \t"), rest.end()
            yield before.rstrip() if source.startswith("{{~") else before
            yield tag
            end, trims = after, source.endswith("~}}")
        yield text[end:].lstrip() if trims else text[end:]

    def _until_close(
        self, flat: Sequence[str | _Tag], at: int, opening: _Tag | None, depth: int = 0
    ) -> tuple[tuple[tuple[_Tag, tuple[_Node, ...]], ...], int]:
        begun = opening or _Tag("", "", self.line)
        if depth > _DEEPEST:
            raise PromptSyntaxError(f"{self.path}:{begun.line}: more than {_DEEPEST} blocks in one another")
        branches: list[tuple[_Tag, tuple[_Node, ...]]] = []
        inside: list[_Node] = []
        while at < len(flat):
            node = flat[at]
            kind = node.kind if isinstance(node, _Tag) else ""
            if kind == "close":
                break
            if isinstance(node, _Tag) and kind == "else" and opening:
                branches.append((begun, tuple(inside)))
                begun, inside = node, []
            elif isinstance(node, _Tag) and kind in ("open", "inverse"):
                block, at = self._block(flat, at, node, depth)
                inside.append(block)
            else:
                inside.append(node)
            at += 1
        return (*branches, (begun, tuple(inside))), at

    def _block(self, flat: Sequence[str | _Tag], at: int, opening: _Tag, depth: int) -> tuple[_Block, int]:
        branches, end = self._until_close(flat, at + 1, opening, depth + 1)
        closing = flat[end] if end < len(flat) else None
        name = opening.words[0]
        if not isinstance(closing, _Tag) or closing.words[0] != name:
            met = f"{closing.source} on line {closing.line}" if isinstance(closing, _Tag) else "the end of the file"
            raise PromptSyntaxError(
                f"{self.path}:{opening.line}: {opening.source} is not closed: before {{{{/{name}}}}} comes {met}"
            )
        source = "".join(node.source if isinstance(node, _Tag) else node for node in flat[at : end + 1])
        return _Block(opening, source, branches), end

    # Each node gives pieces of Jinja2, or None where Jinja2 has no words for it.

    def _translated(self, inside: Iterable[_Node], scope: _Scope) -> Iterator[str | RoleMark]:
        for node in inside:
            if isinstance(node, str):
                yield literal(node)
                continue
            pieces = self._of_block(node, scope) if isinstance(node, _Block) else self._of_tag(node, scope)
            if pieces is None:
                tag = node.tag if isinstance(node, _Block) else node
                self.notes.append(f"{said(tag.source)} on line {tag.line} could not be translated and stays as text.")
                pieces = [literal(node.source)]
            yield from pieces

    def _of_block(self, block: _Block, scope: _Scope) -> _Pieces | None:
        name, *arguments = block.tag.words
        if block.tag.kind == "inverse":
            name, arguments = "unless", [name]
        if name == "each" and arguments:
            return self._loop(block, arguments, scope)
        if name == "with" and len(arguments) == 1 and (this := self._path(arguments[0], scope)):
            return self._branches(block, "if", arguments, scope, replace(scope, this=this, parent=scope))
        return self._branches(block, name, arguments, scope, scope)

    def _branches(
        self, block: _Block, name: str, arguments: Sequence[str], outside: _Scope, inside: _Scope
    ) -> _Pieces | None:
        tests = [self._test(name, arguments, outside)]
        for tag, _ in block.branches[1:]:
            _, *chained = tag.words
            tests.append(self._test(chained[0], chained[1:], outside) if chained else "")
        if None in tests or "" in tests[:-1]:
            return None
        pieces: _Pieces = []
        for index, (test, (_, content)) in enumerate(zip(tests, block.branches, strict=True)):
            word = "if" if not index else "elif"
            pieces += [f"{{% {word} {test} %}}" if test else "{% else %}", *self._translated(content, inside)]
        return [*pieces, "{% endif %}"]

    def _test(self, helper: str, arguments: Sequence[str], scope: _Scope) -> str | None:
        paths = [self._path(argument, scope) for argument in arguments]
        if helper in ("ifEquals", "unlessEquals") and len(paths) == 2 and all(paths):
            return f"{paths[0]} {'==' if helper == 'ifEquals' else '!='} {paths[1]}"
        if helper not in ("if", "unless") or len(paths) != 1 or not paths[0]:
            return None
        test = _defined(paths[0])
        if helper == "if":
            return test
        return f"not ({test})" if " " in test else f"not {test}"

    def _loop(self, block: _Block, arguments: Sequence[str], scope: _Scope) -> _Pieces | None:
        over = self._path(arguments[0], scope)
        given = re.findall(r"\w+", " ".join(arguments[2:])) if arguments[1:2] == ["as"] else []
        if not over or (len(arguments) > 1 and not given) or len(block.branches) > 2:
            return None
        taken = [*self.variables.values(), *scope.taken]
        item = unique(identifier(given[0]) if given else "item", taken, "_")
        key = unique("key", [*taken, item], "_") if "@key" in block.source else ""
        names = {**scope.names, **dict(zip(given, (item, key or "loop.index0"), strict=False))}
        inner = _Scope(item, scope, looping=True, key=key, names=names)
        target = f"{key}, {item} in {over}.items()" if key else f"{item} in {over}"
        pieces: _Pieces = [f"{{% for {target} %}}", *self._translated(block.branches[0][1], inner)]
        for _, inside in block.branches[1:]:
            pieces += ["{% else %}", *self._translated(inside, scope)]
        return [*pieces, "{% endfor %}"]

    def _of_tag(self, tag: _Tag, scope: _Scope) -> _Pieces | None:
        name, *arguments = tag.words
        if tag.kind == "comment":
            return []
        if tag.kind == "partial":
            return self._partial(name, arguments, scope)
        if name == "role" and len(arguments) == 1 and arguments[0][0] in "\"'":
            return [RoleMark(self.role(arguments[0][1:-1], tag.line))]
        if name == "history" and not arguments:
            return [self.thread(name)]
        if name == "media":
            return self._media(arguments, scope)
        if name == "json" and arguments:
            return self._json(arguments, scope)
        path = self._path(name, scope) if not arguments and tag.kind == "text" else None
        return [f"{{{{ {path} }}}}"] if path else None

    def _media(self, arguments: Sequence[str], scope: _Scope) -> _Pieces | None:
        path = self._path(next((each[4:] for each in arguments if each.startswith("url=")), ""), scope)
        if not path or not path.isidentifier() or path in scope.taken:
            return None
        self.inputs[path] = {"kind": "image"}
        return [f"{{{{ {path} }}}}"]

    def _json(self, arguments: Sequence[str], scope: _Scope) -> _Pieces | None:
        path = self._path(arguments[0], scope)
        indent = re.fullmatch(r"indent=(\d)", arguments[1]) if len(arguments) == 2 else None
        if not path or (len(arguments) > 1 and not indent):
            return None
        self.notes.append("The filter tojson writes <, >, & and ' as \\u003c and the like.")
        return [f"{{{{ {path} | tojson{f'(indent={indent[1]})' if indent else ''} }}}}"]

    def _partial(self, name: str, arguments: Sequence[str], scope: _Scope) -> _Pieces | None:
        given = [argument.partition("=") for argument in arguments]
        values = [(identifier(key), self._path(value, scope)) for key, _, value in given]
        if not re.fullmatch(r"[\w.-]+", name) or not all(path for _, path in values):
            return None
        target = f"_shared/{folder_name(name, partials=False)}"
        self.notes.append(f"It includes the partial {name}: import that as {target}, and declare here what it uses.")
        include = f'{{% include "{target}" %}}'
        if not values:
            return [include]
        return [f"{{% with {', '.join(f'{key} = {path}' for key, path in values)} %}}{include}{{% endwith %}}"]

    def _path(self, path: str, scope: _Scope) -> str | None:
        """The Jinja2 expression of a Handlebars path or literal."""
        if re.fullmatch(r"\"[^\"\\{}%#\r]*\"|'[^'\\{}%#\r]*'|-?\d{1,15}(?:\.\d{1,15})?|true|false", path):
            return path
        if path.startswith("@root."):
            path, scope = path[6:], _Scope()
        while path.startswith("../"):
            if not scope.parent:
                return None
            path, scope = path[3:], scope.parent
        if path == "@key":
            return scope.key or None
        if path.startswith("@"):
            known = {"@index": "loop.index0", "@first": "loop.first", "@last": "loop.last"}
            return known.get(path) if scope.looping else None
        path = re.sub(r"^(?:this|\.)(?:[./]|$)", "", path) if not path.startswith("..") else path
        if not path:
            return scope.this or None
        if not _SEGMENTS.fullmatch(path) or '"' in path or "\\" in path:
            return None
        first, *rest = re.findall(r"\[[^\[\]]*\]|[\w$-]+", path)
        if first in scope.names:
            start = scope.names[first]
        elif scope.this:
            start, rest = scope.this, [first, *rest]
        else:
            start = self.variables[first.strip("[]")]
        return start + "".join(map(_segment, rest))


def _segment(segment: str) -> str:
    word = segment.strip("[]")
    if word.isdigit() and word.isascii():
        return f"[{word[:9]}]"
    if word.isidentifier() and word.isascii() and word not in RESERVED:
        return f".{word}"
    return f"[{json.dumps(word)}]"


def _defined(path: str) -> str:
    """The expression as a condition that holds where every step of a path is there and the last is true."""
    if not re.fullmatch(r"\w+(?:\.\w+)+", path) or path.startswith("loop."):
        return path
    steps = path.split(".")
    known = [f"{'.'.join(steps[:end])} is defined" for end in range(2, len(steps) + 1)]
    return " and ".join([*known, path])
