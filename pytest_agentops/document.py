"""The text of a cassette as plain data, read fast, and what was read before kept by its content.

PyYAML makes an event, a node and a value of everything it reads, and most of that in Python. Recorders write with few
means, though: a `key: value` or `- value` on each line, texts in one of four styles. So the lines are read as lines
here, as long as every one of them has a form that YAML reads in only one way. Everything else, and every error, is
PyYAML's, for the whole document: the result is always the one that PyYAML gives.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*$\n?", re.MULTILINE | re.DOTALL)
"""YAML between two lines of dashes, at the beginning of a text."""

DEEPEST = 500
"""How deep a document may be nested: PyYAML's C code recurses without a guard, which would end the process."""


def parse(text: str) -> object:
    """The data of a YAML document, as PyYAML's safe loader gives it.

    Raises:
        yaml.YAMLError: it is no YAML, is nested deeper than `DEEPEST`, or holds what a safe loader does not make.
    """
    try:
        return _from_lines(text)
    except _Unusual:
        return _by_pyyaml(text)


def _by_pyyaml(text: str) -> object:
    check_depth(text)
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise
    # PyYAML's constructors raise what comes: a ValueError for the date 2024-02-31, a KeyError for `!!bool perhaps`.
    except Exception as error:
        raise yaml.YAMLError(f"a value cannot be made: {error!r}") from error


def check_depth(text: str) -> None:
    """Let pass what PyYAML can read without harm.

    Raises:
        yaml.YAMLError: it is nested deeper than `DEEPEST`.
    """
    if (event := _first_too_deep(text)) is not None:
        raise yaml.composer.ComposerError(None, None, f"it is nested deeper than {DEEPEST}", event.start_mark)


def _first_too_deep(text: str) -> Any:
    depth = 0
    with suppress(yaml.YAMLError):  # Whatever it is, it is found again in its own turn.
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                return event
    return None


# --- line by line ----------------------------------------------------------------------------------------------------


class _Unusual(Exception):
    """A form that is not read here."""


_LINE = re.compile(
    r"""
    ([ ]*)                                         # how far it is indented
    ((?:-[ ])*)                                    # the lists that begin here, or go on
    (?:(                                           # a key: plain or quoted
        [\w$/][\w$./@+-]{0,200}(?:[ ][\w$./@+-]{1,200}){0,3} | '[^']{0,500}' | "[^"\\]{0,500}"
    ):(?:[ ]|$))?
    (.*)                                           # a value, or its first line
    """,
    re.ASCII | re.DOTALL | re.VERBOSE,
)
_UNUSUAL = re.compile("[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What PyYAML refuses, takes for a line's end, or takes for a space only in places: tabs among them."""
_USUAL_ASCII = bytes([10, *range(0x20, 0x7F)])
_BLOCK = re.compile(r"(!!binary )?\|([1-9]?)([-+]?)")
_SINGLE = re.compile(r"'[^']*(?:''[^']*)*'\n")
_DOUBLE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"\n', re.DOTALL)
_GAP = re.compile(r"(\n+) *")
_INDICATORS = frozenset(" ,[]{}#&*!|>'\"%@`")
_MADE = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null", "timestamp")}
_ABSENT: Any = object()
_SHORT = 100
"""Lines up to this length are remembered: headers and the names of fields come again and again."""


class _Line(NamedTuple):
    """One line by itself."""

    indent: int
    lists: int
    """How many `- ` it begins with."""
    key: Any
    """Of the mapping that it goes on with, or begins; `_ABSENT` when it has none."""
    style: Literal["nothing", "plain", "whole", "single", "double", "block", "list", "mapping"]
    value: Any
    """What a plain or a whole value means if the line is all of it; how a block begins."""
    width: int
    """How many characters of the line are its value's."""


def _from_lines(text: str) -> object:
    """The data of a document in block style.

    Raises:
        _Unusual: a line has another form.
    """
    text = text.removeprefix("---\n")
    if text.endswith("\n...\n"):
        text = text[:-4]
    _check_characters(text)
    # The innermost open collection, the column where it begins and, in a mapping, the key whose value may begin on the
    # next line.
    root: dict[str, Any] = {}
    node: Any = root
    column = -1
    awaiting: Any = ""
    around: list[tuple[Any, int]] = []
    at, end = 0, len(text)
    while at < end:
        start, at = at, text.index("\n", at) + 1
        if at - start == 1:
            continue
        read = _known_line if at - start <= _SHORT else _line
        indent, lists, key, style, value, width = read(text[start : at - 1])

        # Which collection does it go on with, or begin?
        if awaiting is not _ABSENT and (indent > column or (lists and indent == column)):
            inner: Any = [] if lists else {}
            node[awaiting] = inner
            awaiting = _ABSENT
            around.append((node, column))
            node, column = inner, indent
        else:
            if awaiting is not _ABSENT:
                node[awaiting] = None
                awaiting = _ABSENT
            while column > indent:
                node, column = around.pop()
            if not lists and column == indent and type(node) is list:
                # A list may stand in the column of the key that it belongs to.
                node, column = around.pop()
            if column != indent or (type(node) is list) is not (lists > 0):
                raise _Unusual
        if lists:
            for place in range(1, lists + (key is not _ABSENT)):
                inner = [] if place < lists else {}
                node.append(inner)
                around.append((node, column))
                node, column = inner, column + 2
        if len(around) > DEEPEST:
            raise _Unusual

        # Its value, which may go on in the lines that follow.
        if style == "plain":
            if text.startswith(" " * (column + 1), at) or text.startswith("\n", at):
                value, at = _plain(text, at - 1 - width, column)
        elif style == "nothing":
            awaiting = key
            continue
        elif style == "block":
            value, at = _block(text, at, column, value)
        elif style == "single":
            value, at = _quoted(_SINGLE, text, at - 1 - width)
        elif style == "double":
            value, at = _quoted(_DOUBLE, text, at - 1 - width)
        elif style == "list":
            value = []
        elif style == "mapping":
            value = {}
        if key is _ABSENT:
            node.append(value)
        else:
            node[key] = value
    if node is root:  # Nothing stands in it.
        raise _Unusual
    if awaiting is not _ABSENT:
        node[awaiting] = None
    return root[""]


def _check_characters(text: str) -> None:
    if not text.isascii():
        unusual = _UNUSUAL.search(text) is not None
    else:
        unusual = text.encode().translate(None, _USUAL_ASCII) != b""
    if unusual or text[-1:] != "\n":
        raise _Unusual


def _line(line: str) -> _Line:
    found = _LINE.fullmatch(line)
    if found is None:
        raise _Unusual
    spaces, dashes, name, value = found.groups()
    if name is None:
        key = _ABSENT
        if not dashes or not value:
            raise _Unusual
    else:
        key = name[1:-1] if name[0] in "'\"" else _meaning(name)
    style, meant = _style(value)
    return _Line(len(spaces), len(dashes) // 2, key, style, meant, len(value))


_known_line = lru_cache(4096)(_line)


def _style(value: str) -> tuple[Any, Any]:
    if not value:
        return "nothing", None
    first, content, closed = value[0], value[1:-1], len(value) > 1 and value[-1] == value[0]
    if first not in _INDICATORS:
        return "plain", _meaning(value)
    if first == "'":
        whole = closed and "'" not in content.replace("''", "")
        return ("whole", content.replace("''", "'")) if whole else ("single", None)
    if first == '"':
        whole = closed and '"' not in content and "\\" not in content
        return ("whole", content) if whole else ("double", None)
    if block := _BLOCK.fullmatch(value):
        return "block", block.groups()
    if value == "[]":
        return "list", None
    if value == "{}":
        return "mapping", None
    raise _Unusual


def _meaning(plain: str) -> object:
    """What a plain scalar means: YAML 1.1 reads numbers, dates, truth and nothing out of some."""
    if (
        (":" in plain and (": " in plain or ":\n" in plain or plain[-1] == ":"))
        or ("#" in plain and " #" in plain)
        or plain[-1] == " "
        or (plain[0] in "-?:" and plain[1:2] in ("", " "))
    ):
        raise _Unusual
    resolvers: Mapping[Any, Any] = _Loader.yaml_implicit_resolvers
    for tag, looks in (*resolvers.get(plain[0], ()), *resolvers.get(None, ())):
        if looks.match(plain):
            if tag not in _MADE:
                raise _Unusual
            try:
                made: object = yaml.constructor.SafeConstructor().construct_object(yaml.ScalarNode(tag, plain))
            except Exception:  # They come as they come; PyYAML itself will say where.
                raise _Unusual from None
            return made
    return plain


# Where a value goes on in further lines: what it means, and where the line after it begins.


def _plain(text: str, start: int, column: int) -> tuple[object, int]:
    found = _plain_lines(column).match(text, start)
    if found is None or ":\n" in found[0] or " \n" in found[0]:
        raise _Unusual
    return _meaning(_GAP.sub(lambda gap: "\n" * (len(gap[1]) - 1) or " ", found[0])), found.end() + 1


def _quoted(style: re.Pattern[str], text: str, start: int) -> tuple[object, int]:
    found = style.match(text, start)
    if found is None or "\n-" in found[0] or "\n." in found[0]:
        raise _Unusual
    try:
        # A quoted scalar means the same wherever it stands.
        return yaml.load(found[0], Loader=_Loader), found.end()
    except yaml.YAMLError:
        raise _Unusual from None


def _block(text: str, start: int, column: int, begins: tuple[str, str, str]) -> tuple[object, int]:
    binary, more, chomping = begins
    if more:
        indent = max(column, 0) + int(more)
    else:
        content = start
        while text.startswith(" ", content):
            content += 1
        indent = content - start
        if indent <= column or text.startswith("\n", content):
            raise _Unusual
    found = _block_lines(indent).match(text, start)
    if found is None:
        raise _Unusual
    margin = " " * indent
    value = found[0].replace("\n" + margin, "\n").removeprefix(margin)
    if chomping != "+":
        value = value.rstrip("\n")
        value += "\n" if value and not chomping else ""
    if not binary:
        return value, found.end()
    try:
        return base64.decodebytes(value.encode("ascii")), found.end()
    except ValueError:
        raise _Unusual from None


@lru_cache(256)
def _plain_lines(column: int) -> re.Pattern[str]:
    """A plain scalar in a collection at this column."""
    return re.compile(rf"[^\n]+(?:\n+ {{{column + 1},}}[^ #\n][^\n]*)*")


@lru_cache(256)
def _block_lines(indent: int) -> re.Pattern[str]:
    """The lines of a literal block that is indented so."""
    return re.compile(rf"(?: {{{indent}}}[^\n]*\n|\n)+")


# --- what was read before --------------------------------------------------------------------------------------------

_VERSION = f"2 {yaml.__version__}"
_MOST = 4000
"""Entries that are kept; beyond, the older half goes."""


class Cache:
    """Documents that were parsed before, by their content, in a folder that may vanish at any moment.

    An entry is JSON, since neither a cassette nor this folder is to be trusted: the data with its bytes in base64, and
    where in it they are. Documents that cannot be kept so, such as those with dates in them, are read anew each time.
    Nothing that goes wrong here is an error.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._swept = False

    def parse(self, raw: bytes) -> object:
        """The data of this YAML document.

        Raises:
            yaml.YAMLError: it is no YAML, or holds what a safe loader does not make.
            UnicodeDecodeError: it is not UTF-8.
        """
        path = self._folder / f"{hashlib.blake2b(raw, digest_size=16, key=_VERSION.encode()).hexdigest()}.json"
        with suppress(OSError, ValueError, TypeError, LookupError, RecursionError):
            return _from_entry(path.read_bytes())
        data = parse(raw.decode("utf-8"))
        with suppress(OSError, ValueError, TypeError, RecursionError):
            self._keep(path, _entry(data))
        return data

    def _keep(self, path: Path, text: str) -> None:
        if not self._swept:
            self._swept = True
            self._sweep()
        handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=self._folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise

    def _sweep(self) -> None:
        entries = [*self._folder.glob("*.json"), *self._folder.glob(".*.tmp")]
        if len(entries) > _MOST:
            for old in sorted(entries, key=lambda entry: entry.stat().st_mtime)[: len(entries) - _MOST // 2]:
                old.unlink(missing_ok=True)


def _entry(data: object) -> str:
    """The data as it is kept.

    Raises:
        TypeError: JSON would not give it back as it is, or would be far larger: aliases may stand for a lot.
    """
    seen: set[int] = set()
    places: list[tuple[str | int, ...]] = []

    def kept(value: Any, *place: str | int) -> object:
        kind = type(value)
        if kind is dict or kind is list:
            if id(value) in seen:
                raise TypeError("it stands in several places")
            seen.add(id(value))
        if kind is list:
            return [kept(each, *place, index) for index, each in enumerate(value)]
        if kind is dict:
            if not all(type(name) is str for name in value):
                raise TypeError("a name is no text")
            return {name: kept(each, *place, name) for name, each in value.items()}
        if kind is bytes:
            places.append(place)
            return base64.b64encode(value).decode("ascii")
        if kind not in (str, int, float, bool, NoneType):
            raise TypeError("it is nothing that JSON knows")
        return value

    return json.dumps({"data": kept(data, "data"), "bytes": places})


def _from_entry(kept: bytes) -> object:
    entry = json.loads(kept)
    for place in entry["bytes"]:
        *way, last = place
        holder = entry
        for step in way:
            holder = holder[step]
        holder[last] = base64.b64decode(holder[last], validate=True)
    return entry["data"]


def conflict_line(text: str) -> int:
    """The line on which the markers of an unresolved merge begin; 0 where there are none."""
    if "<<<<<<< " not in text:
        return 0
    begun = parted = 0
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("<<<<<<< "):
            begun, parted = number, 0
        elif line == "=======" and begun:
            parted = number
        elif line.startswith(">>>>>>> ") and parted:
            return begun
    return 0
