"""Cases to ask a prompt: read from a table, a CSV, TSV, JSON or JSONL file, or what somebody pasted; kept as JSONL.

A table names inputs in its first row. A line of JSONL, and an item of a JSON list, is either flat, as a row is, or
says `{"inputs": {...}, "message": ..., "expected": ..., "name": ..., "tags": [...]}`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from pytest_agentops import kinds
from pytest_agentops.document import conflict_line
from pytest_agentops.errors import DatasetError, PromptInputError, SecretFound, did_you_mean
from pytest_agentops.kinds import Field
from pytest_agentops.redaction import Rules, scan

Kind = Literal["csv", "tsv", "jsonl", "json"]

FOLDER = "datasets"
"""Where a project keeps its datasets, from its root."""

MOST_BYTES = 50_000_000
MOST_CASES = 100_000
"""A file with more is no dataset to look at side by side."""

BESIDE = ("message", "expected", "name", "tags")
"""Columns that are no inputs, unless a prompt has an input of that name."""

_MOST_PROBLEMS = 10
_ENDINGS: Mapping[str, Kind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
}


class _Missing:
    def __repr__(self) -> str:
        return "nothing"

    def __copy__(self) -> _Missing:
        return self

    def __deepcopy__(self, _memo: object) -> _Missing:
        return self

    def __reduce__(self) -> str:
        return "MISSING"


MISSING = _Missing()
"""What is expected of a case that says nothing of it; null is something that may be expected."""


@dataclass(frozen=True)
class Case:
    """One input of a prompt, with what is expected of it."""

    inputs: Mapping[str, object]
    message: str = ""
    """What a user says after the prompt, where that is a system message alone."""
    expected: object = MISSING
    name: str = ""
    tags: tuple[str, ...] = ()


def digest(case: Case) -> str:
    """`sha256:` over what a model is asked: inputs and message, in whatever order the inputs stand.

    What is expected, the name and the tags do not count: who adds them has not asked something else.
    """
    asked = {"inputs": _canonical(case.inputs), "message": case.message}
    written = json.dumps(asked, sort_keys=True, default=str)
    return f"sha256:{hashlib.sha256(written.encode()).hexdigest()}"


def line(case: Case) -> str:
    """The case as one line of JSONL, without the end of the line.

    Raises:
        DatasetError: it holds what JSON cannot write.
    """
    said: dict[str, object] = {"name": case.name} if case.name else {}
    said["inputs"] = dict(case.inputs)
    if case.message:
        said["message"] = case.message
    if case.expected is not MISSING:
        said["expected"] = case.expected
    if case.tags:
        said["tags"] = list(case.tags)
    try:
        written = json.dumps(said, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError as error:
        raise DatasetError(f"the case cannot be written as JSON: {error}") from None
    try:
        written.encode()
    except UnicodeEncodeError:  # Half of a surrogate pair has no UTF-8; as an escape it means the same.
        return json.dumps(said, default=str)
    return written


def _canonical(value: object) -> object:
    """The value as JSON compares it: 1 is 1.0."""
    if isinstance(value, Mapping):
        return {str(name): _canonical(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


# --- files -----------------------------------------------------------------------------------------------------------


def find(root: Path) -> tuple[Path, ...]:
    """The datasets of a project: what has a known ending in its folder `datasets`, sorted."""
    found = []
    for folder, folders, files in os.walk(root / FOLDER):
        folders[:] = [each for each in folders if not each.startswith(".")]
        found += [
            Path(folder) / each for each in files if Path(each).suffix.lower() in _ENDINGS and not each.startswith(".")
        ]
    return tuple(sorted(found))


def home(root: Path, name: str) -> Path:
    """Where a dataset of this name is kept; that of a prompt has the prompt's name, unless somebody names another.

    Raises:
        DatasetError: the name leaves the folder `datasets`.
    """
    path = PurePosixPath(name.removesuffix(".jsonl"))
    if path.is_absolute() or not path.name or ".." in path.parts or not re.fullmatch(r"[\w./ -]+", name):
        raise DatasetError(
            f"{name!r} is no name of a dataset; names are paths inside the folder {FOLDER}: "
            "letters, digits, spaces, ., _, - and /"
        )
    return root / FOLDER / f"{path}.jsonl"


def load(path: Path, fields: Mapping[str, Field]) -> tuple[Case, ...]:
    """The cases in a file, for a prompt with these inputs.

    Raises:
        DatasetError: there is no such file, or it is no dataset of this prompt's; all that is wrong is told, up to ten.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        beside = sorted(str(path.with_name(each.name)) for each in path.parent.glob("*") if each.suffix in _ENDINGS)
        raise DatasetError(f"there is no dataset {path}{did_you_mean(path, beside)}") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    return read_bytes(data, str(path), fields)


def read_bytes(data: bytes, filename: str, fields: Mapping[str, Field]) -> tuple[Case, ...]:
    """The cases in a file that somebody uploaded; its name tells its kind, else what is in it.

    Raises:
        DatasetError: it is no dataset of this prompt's; all that is wrong is told, up to ten.
    """
    return parse(
        _text(data, filename), fields=fields, kind=_ENDINGS.get(Path(filename).suffix.lower()), source=filename
    )


def parse(
    text: str, *, fields: Mapping[str, Field], kind: Kind | None = None, source: str = "the table"
) -> tuple[Case, ...]:
    """The cases in a text, for a prompt with these inputs; without `kind` it is told by what is in it.

    Raises:
        DatasetError: it is no dataset of this prompt's; all that is wrong is told with its line, up to ten.
    """
    if kind is not None and kind not in get_args(Kind):
        raise DatasetError(f"{kind!r} is no kind of dataset; there are: {', '.join(get_args(Kind))}")
    if len(text) > MOST_BYTES:
        raise DatasetError(_too_large(source))
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise DatasetError(f"{source} is empty\n  {_wanted(fields)}")
    if "\0" in text:
        raise DatasetError(f"{source}:{_line_at(text, text.index(chr(0)))}: a NUL stands here, so that this is no text")
    if at := conflict_line(text):
        raise DatasetError(f"{source}:{at}: it holds the markers of an unresolved merge; resolve it and remove them")
    kind = kind or _sniffed(text)
    rows = _from_json(text, kind, source) if kind in ("json", "jsonl") else _from_table(text, kind, fields, source)
    return _collected(rows, fields, source)


# --- bytes to text ---------------------------------------------------------------------------------------------------

_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"),
)  # fmt: skip
_SIGNATURES = (
    (b"PK\x03\x04", "an Excel workbook or another zip file"), (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF-", "a PDF"), (b"PAR1", "a Parquet file"), (b"\x1f\x8b", "gzip"), (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"), (b"GIF8", "an image"), (b"SQLite format 3\0", "an SQLite database"),
)  # fmt: skip


def _text(data: bytes, filename: str) -> str:
    if len(data) > MOST_BYTES:
        raise DatasetError(_too_large(filename))
    for start, what in _SIGNATURES:
        if data.startswith(start):
            raise DatasetError(f"{filename} is {what}, and a dataset is text\n  {_SAVE}")
    encoding = next((encoding for start, encoding in _BOMS if data.startswith(start)), "utf-8")
    if encoding in ("utf-8", "utf-8-sig") and b"\0" in data:
        if b"\0" in data[:2]:
            raise DatasetError(f"{filename} looks like UTF-16 and does not say so\n  {_SAVE}")
        at = data[: data.index(0)].count(b"\n") + 1
        raise DatasetError(f"{filename}:{at}: a NUL stands here, so that this is no text\n  {_SAVE}")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        at = data[: error.start].count(b"\n") + 1
        raise DatasetError(
            f"{filename}:{at}: it is not {encoding.removesuffix('-sig').upper()}: {error.reason}\n  {_SAVE}"
        ) from None


_SAVE = 'save it as CSV in UTF-8 ("CSV UTF-8" in Excel), or as JSONL'


def _too_large(what: str) -> str:
    return f"{what} is larger than {MOST_BYTES // 1_000_000} MB; take a part of it"


# --- text to rows ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """What one row or line gives, before its inputs are taken; or what is wrong with it."""

    place: str
    inputs: Mapping[str, Any]
    beside: Mapping[str, Any]
    problem: str = ""
    typed: bool = True
    """Whether its values have types of their own, as those of JSON have and the cells of a table have not."""


def _sniffed(text: str) -> Kind:
    start = text.lstrip()[:1]
    if start == "[":
        return "json"
    if start == "{":
        first = text.lstrip().partition("\n")[0]
        with suppress(ValueError, RecursionError):
            json.loads(first)
            return "jsonl"
        with suppress(ValueError, RecursionError):
            json.loads(text)
            return "json"
        return "jsonl"
    return "tsv" if "\t" in text.lstrip("\r\n").partition("\n")[0] else "csv"


def _from_table(text: str, kind: Kind, fields: Mapping[str, Field], source: str) -> Iterator[_Row]:
    rows = _split(text, kind, fields, source)
    at, head = next(rows)
    header = _header(head, fields, f"{source}:{at}")
    for at, cells in rows:
        if not any(cells):
            continue
        if len(cells) < len(header) or any(cells[len(header) :]):
            problem = f"it has {_cells(len(cells))}, and the first row names {len(header)}"
            yield _Row(f"line {at}", {}, {}, problem)
            continue
        said = dict(zip(header, cells, strict=False))
        # An empty cell is a value for a required text alone: a table cannot say "nothing" in another way.
        inputs = {
            name: said[name]
            for name in header
            if name in fields and (said[name] or (fields[name].required and fields[name].kind == "string"))
        }
        yield _Row(
            f"line {at}",
            inputs,
            {name: said[name] for name in header if name not in fields and said[name]},
            typed=False,
        )


def _cells(number: int) -> str:
    return "1 cell" if number == 1 else f"{number} cells"


def _split(text: str, kind: Kind, fields: Mapping[str, Field], source: str) -> Iterator[tuple[int, list[str]]]:
    """The rows with the lines they begin on; rows without any cell are left out."""
    mark = _delimiter(text, kind, fields)
    # Some spreadsheets copy quotes as they are.
    raw = mark == "\t" and '"' in text and not _well_quoted(text)
    options: dict[str, Any] = {"quoting": csv.QUOTE_NONE} if raw else {}
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True, **options)
    at = 0
    try:
        for row in reader:
            if row:
                yield at + 1, row
            at = reader.line_num
    except csv.Error as error:
        said = str(error)
        if "field larger" in said:
            said = f"a cell has more than {csv.field_size_limit():,} characters; write the dataset as JSONL"
        elif "unexpected end" in said:
            said = 'a quote " is opened and never closed'
        elif "expected after" in said:
            said = 'a quote " ends within a cell; write "" for a quote inside quotes'
        raise DatasetError(f"{source}:{at + 1}: {said}") from None


def _well_quoted(text: str) -> bool:
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True):
            pass
    except csv.Error:
        return False
    return True


def _delimiter(text: str, kind: Kind, fields: Mapping[str, Field]) -> str:
    """The mark under which the first row names most of what is known; that of its kind where none is better."""
    first = text.lstrip("\r\n").partition("\n")[0]
    known = {*fields, *BESIDE}

    def names(mark: str) -> int:
        return sum(each.strip().strip('"') in known for each in first.split(mark))

    return max("\t,;" if kind == "tsv" else ",;\t", key=names)


def _header(cells: Sequence[str], fields: Mapping[str, Field], place: str) -> list[str]:
    header = [each.strip() for each in cells]
    while header and not header[-1]:
        header.pop()
    known = [*fields, *(each for each in BESIDE if each not in fields)]
    if not any(each in known or _near(each, known) for each in header):
        raise DatasetError(
            f"{place}: the first row must name the columns, and says {', '.join(map(_short, header)) or 'nothing'}\n"
            f"  {_wanted(fields)}"
        )
    problems = [
        f"there is no input {each!r}{_near(each, known)}" if each else f"column {index} has no name"
        for index, each in enumerate(header, 1)
        if each not in known
    ]
    problems += [f"{each!r} is named twice" for each in dict.fromkeys(header) if each and header.count(each) > 1]
    problems += [
        f"the required input {name!r} has no column"
        for name, field in fields.items()
        if field.required and name not in header
    ]
    if problems:
        raise DatasetError(_told(place, problems, fields))
    return header


def _near(name: str, known: Sequence[str]) -> str:
    return did_you_mean(name, known) or did_you_mean(name.lower(), known)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def _from_json(text: str, kind: Kind, source: str) -> Iterator[_Row]:
    if kind == "json":
        try:
            given = _loads(text)
        except _NotJson as error:
            raise DatasetError(f"{source}{f':{error.line}' if error.line else ''}: it is not JSON: {error}") from None
        given = [given] if isinstance(given, Mapping) else given
        if not isinstance(given, list):
            raise DatasetError(f"{source} must be a list of cases, and is {kinds.told(given)}")
        for index, each in enumerate(given, 1):
            yield _Row(f"item {index}", {}, {"": each})
        return
    # By line ends alone: a text may hold other characters at which Python would split lines.
    for at, each in enumerate(text.split("\n"), 1):
        if not each.strip():
            continue
        try:
            yield _Row(f"line {at}", {}, {"": _loads(each)})
        except _NotJson as error:
            yield _Row(f"line {at}", {}, {}, f"it is not JSON: {error}")


class _NotJson(Exception):
    def __init__(self, message: str, at: int = 0) -> None:
        super().__init__(message)
        self.line = at


def _loads(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            raise _NotJson(f"{next(name for name in names if names.count(name) > 1)!r} stands twice in one object")
        return made

    def refused(name: str) -> Any:
        raise _NotJson(f"{name} is no number that JSON has")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=refused)
    except json.JSONDecodeError as error:
        raise _NotJson(f"{error.msg[:1].lower()}{error.msg[1:]} at column {error.colno}", error.lineno) from None
    except RecursionError:
        raise _NotJson("it is nested too deeply") from None
    except ValueError as error:  # A number with thousands of digits.
        raise _NotJson(str(error).partition(";")[0]) from None


# --- rows to cases ---------------------------------------------------------------------------------------------------


def _collected(rows: Iterator[_Row], fields: Mapping[str, Field], source: str) -> tuple[Case, ...]:
    cases: list[Case] = []
    problems: list[tuple[str, str]] = []
    for row in rows:
        if len(cases) >= MOST_CASES:
            raise DatasetError(f"{source} has more than {MOST_CASES:,} cases; take a part of them")
        found = [row.problem] if row.problem else []
        if not found:
            case, found = _case(row, fields)
            cases.append(case)
        problems += [(row.place, each) for each in found]
        if len(problems) > _MOST_PROBLEMS:
            break
    if len(problems) == 1:
        [(place, problem)] = problems
        at = f":{place.removeprefix('line ')}" if place.startswith("line ") else f": {place}"
        raise DatasetError(_told(f"{source}{at}", [problem], fields))
    if problems:
        raise DatasetError(_told(source, [f"{place}: {each}" for place, each in problems], fields))
    if not cases:
        raise DatasetError(f"{source} has no case\n  {_wanted(fields)}")
    return tuple(cases)


def _told(place: str, problems: Sequence[str], fields: Mapping[str, Field]) -> str:
    """What is wrong at a place: one problem in its line, several below it, no more than anybody mends at once."""
    told = problems[:_MOST_PROBLEMS]
    if len(told) == 1:
        lines = [f"{place}: {told[0]}"]
    else:
        more = "more than " if len(problems) > len(told) else ""
        lines = [f"{place}: {more}{len(told)} problems", *(f"  {each}" for each in told)]
    return "\n".join([*lines, f"  {_wanted(fields)}"])


def _wanted(fields: Mapping[str, Field]) -> str:
    """What a dataset of this prompt may name."""
    inputs = [f"{name} ({field.kind}{'' if field.required else ', optional'})" for name, field in fields.items()]
    beside = [each for each in BESIDE if each not in fields]
    return f"inputs: {', '.join(inputs) or 'none'}; besides: {', '.join(beside) or 'nothing'}"


def _case(row: _Row, fields: Mapping[str, Field]) -> tuple[Case, list[str]]:
    """The case of a row, and what is wrong with it."""
    inputs, beside, problems = row.inputs, row.beside, list[str]()
    if row.typed:
        if not isinstance(row.beside[""], Mapping):
            return Case({}), [f"a case is an object, not {kinds.told(row.beside[''])}"]
        inputs, beside, problems = _told_apart(row.beside[""], fields)
    taken: dict[str, object] = {}
    for name, value in inputs.items():
        try:
            found = _taken(fields[name], value, typed=row.typed)
        except PromptInputError as error:
            problems.append(str(error).replace("\n", " "))
            continue
        if found is not None or fields[name].nullable:
            taken[name] = found
    problems += [
        f"the required input {name!r} is missing"
        for name, field in fields.items()
        if field.required and name not in inputs
    ]
    for name in ("message", "name"):
        if not isinstance(beside.get(name, ""), str):
            problems.append(f"{name!r} must be a text, not {kinds.told(beside[name])}")
    tags = beside.get("tags", ())
    if isinstance(tags, str):
        tags = [each.strip() for each in tags.split(",")]
    if not isinstance(tags, list | tuple) or not all(isinstance(each, str) for each in tags):
        problems.append("'tags' must be a list of texts")
        tags = ()
    expected = beside.get("expected", MISSING)
    return Case(
        taken,
        message=str(beside.get("message", "")),
        expected=expected if row.typed else _structured(expected),
        name=str(beside.get("name", "")),
        tags=tuple(filter(None, tags)),
    ), problems


def _told_apart(
    given: Mapping[str, Any], fields: Mapping[str, Field]
) -> tuple[Mapping[str, Any], Mapping[str, Any], list[str]]:
    """Inputs, what stands beside them, and what is neither, of a flat or a structured case."""
    inner = given.get("inputs")
    # Where a prompt has an input of that very name, only a structured case has it inside once more.
    structured = isinstance(inner, Mapping) and ("inputs" not in fields or "inputs" in inner)
    inputs = dict(inner) if isinstance(inner, Mapping) and structured else {
        name: value for name, value in given.items() if name in fields
    }  # fmt: skip
    beside = {name: value for name, value in given.items() if name in BESIDE and (structured or name not in fields)}
    said = {name: value for name, value in beside.items() if value is not None or name == "expected"}
    known = [*fields, *BESIDE]
    unknown = [name for name in inputs if name not in fields]
    unknown += [
        name for name in given if name not in beside and not (name == "inputs" if structured else name in fields)
    ]
    problems = [f"there is no input {name!r}{_near(name, known)}" for name in unknown]
    return {name: value for name, value in inputs.items() if name in fields}, said, problems


def _taken(field: Field, value: Any, *, typed: bool) -> object:
    """The value as the input's kind takes it.

    Raises:
        PromptInputError: it is of another kind.
    """
    if not typed and field.kind in ("array", "object", "thread"):
        try:
            value = _loads(value)
        except _NotJson as error:
            wanted = '{"id": 1}' if field.kind == "object" else '["a", "b"]'
            raise PromptInputError(
                f"{field.name!r} is written as JSON, such as {wanted}, and {_short(value)} is none: {error}"
            ) from None
    return kinds.taken(field, value, repr(field.name))


def _structured(cell: Any) -> object:
    """An expectation in a cell: JSON where it is an object or a list, else its text."""
    if isinstance(cell, str) and cell[:1] in ("{", "["):
        with suppress(_NotJson):
            return _loads(cell)
    return cell


def _line_at(text: str, index: int) -> int:
    return text.count("\n", 0, index) + 1


# --- adding a case ---------------------------------------------------------------------------------------------------


def append(path: Path, case: Case, *, rules: Rules | None = None) -> bool:
    """Add a case to the end of a JSONL file; False where the very same stands there already.

    What is there stays as it is, byte for byte, with its own line ends. Of several processes that add at once, none
    loses anything.

    Raises:
        DatasetError: the file is no JSONL, or damaged.
        SecretFound: the case holds what looks like a secret; nothing was written.
    """
    if _ENDINGS.get(path.suffix.lower()) != "jsonl":
        raise DatasetError(
            f"{path} is no JSONL file, and cases are added to such a one\n  name one that ends in .jsonl"
        )
    written = line(case)
    there = _lines_of(path)
    if any(json.loads(each) == json.loads(written) for _, each in there if each.strip()):
        return False
    if hits := scan(written.encode(), rules or Rules()):
        raise SecretFound([replace(hit, line=len(there) + 1) for hit in hits], path)
    append_line(path, written)
    return True


def _lines_of(path: Path) -> list[tuple[int, str]]:
    """The lines of a JSONL file that may be added to."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    text = _text(data, str(path))
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        raise DatasetError(f"{path} is UTF-16, and what is added would be UTF-8\n  save it as UTF-8 first")
    lines = list(enumerate(text.removeprefix("\ufeff").split("\n"), 1))
    for at, each in lines:
        try:
            good = not each.strip() or isinstance(_loads(each), dict)
            said = "it is no object"
        except _NotJson as error:
            good, said = False, f"it is not JSON: {error}"
        if not good:
            raise DatasetError(f"{path}:{at}: {said}; mend or remove this line, then add again")
    return lines[:-1] if not lines[-1][1].strip() else lines


def append_line(path: Path, written: str) -> None:
    """Add one line to the end of a file, in one write, so that no other process's line is lost or torn.

    What stands there without an end of its line gets one first; line ends are those of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    with os.fdopen(handle, "r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 65_536))
        last = file.read() or b""
        end = b"\r\n" if b"\r\n" in last else b"\n"
        begin = end if last and not last.endswith(b"\n") else b""
        rest = begin + written.encode() + end
        while rest:  # A write may be cut short only where the disk is full; the next one tells.
            rest = rest[file.write(rest) or 0 :]
        os.fsync(file.fileno())
