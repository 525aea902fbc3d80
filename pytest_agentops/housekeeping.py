"""Keeping cassettes in order: what is wrong with them, and what nobody needs any more."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from pytest_agentops.assembly import judgements
from pytest_agentops.errors import CassetteConflict, CassetteCut, CassetteMissing, CassetteUnreadable, CassetteVersion
from pytest_agentops.models import retired
from pytest_agentops.redaction import Hit
from pytest_agentops.tape import Tape, bodies_folder, load

Kind = Literal[
    "unreadable", "cut", "conflict", "version", "secret",
    "orphaned", "unplayed", "retired model", "unknown prompt", "oversized", "leftover",
]  # fmt: skip
_SERIOUS = ("unreadable", "cut", "conflict", "version", "secret")
LAST_RUN = "last-run.json"
"""Which cassettes the last whole run used, below `.agentops`."""
_SKIPPED = {".git", ".venv", "venv", "node_modules", ".tox", ".nox", ".agentops"}


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong with a file."""

    path: Path
    kind: Kind
    message: str

    @property
    def serious(self) -> bool:
        """Whether the file cannot be used, or must not be committed; else it is untidy."""
        return self.kind in _SERIOUS


@dataclass(frozen=True)
class House:
    """What cassettes are held against."""

    root: Path
    prompts: Path
    """The prompts folder."""
    scan: Callable[[bytes], Sequence[Hit]]
    """Finds secrets."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Models that are gone, with the day, besides those that everybody knows of."""
    largest: int = 5_000_000
    """Bytes from which on a cassette is oversized."""
    today: date = field(default_factory=lambda: datetime.now(UTC).date())

    def check(self, paths: Sequence[Path]) -> Iterator[Complaint]:
        """What is wrong with these cassettes, and those below these folders."""
        played = self.played()
        for path in cassettes(paths):
            yield from self._check(path, played)
        for path in _leftovers(paths):
            yield Complaint(path, "leftover", "nothing belongs to it any more")

    def played(self) -> frozenset[str] | None:
        """The cassettes that the last whole run used, from the root; None when no run was whole."""
        try:
            found = json.loads((self.root / ".agentops" / LAST_RUN).read_text("utf-8"))
            return frozenset(map(str, found["cassettes"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _check(self, path: Path, played: frozenset[str] | None) -> Iterator[Complaint]:
        with suppress(OSError):
            raw = path.read_bytes()
            for hit in self.scan(raw):
                where = f"line {hit.line}, column {hit.column}"
                yield Complaint(path, "secret", f"{where}: {hit.kind} ({hit.shown})")
            size = len(raw) + sum(file.stat().st_size for file in bodies_folder(path).glob("*.bin"))
            if size > self.largest:
                yield Complaint(
                    path, "oversized", f"{size / 1e6:.1f} MB, and more than {self.largest / 1e6:g} is heavy"
                )
        try:
            tape = load(path)
        except CassetteUnreadable as error:
            yield Complaint(path, _KINDS.get(type(error), "unreadable"), str(error).removeprefix(f"{path}: "))
            return
        yield from self._content(path, tape)
        reason = _orphaned(path.resolve())
        if reason:
            yield Complaint(path, "orphaned", reason)
        elif played is not None and _from(self.root, path) not in played:
            yield Complaint(path, "unplayed", "the last whole run did not use it")

    def _content(self, path: Path, tape: Tape) -> Iterator[Complaint]:
        calls = (*tape.trace().model_calls, *judgements(tape.exchanges))
        for model in dict.fromkeys(call.model for call in calls if call.model):
            if gone := retired(model, self.today, self.models):
                message = f"{model} was shut down on {gone}; what it said cannot be recorded again"
                yield Complaint(path, "retired model", message)
        for name in dict.fromkeys(render.name for render in tape.prompts):
            if not (self.prompts / f"{name}.prompty").is_file():
                yield Complaint(path, "unknown prompt", f"it was recorded with {name}, which is no prompt any more")


_KINDS: Mapping[type, Kind] = {CassetteCut: "cut", CassetteConflict: "conflict", CassetteVersion: "version"}


def cassettes(paths: Sequence[Path]) -> Iterator[Path]:
    """These files, and every cassette below these folders.

    Raises:
        CassetteMissing: there is no such file or folder.
    """
    for path in paths:
        if path.is_file():
            yield path
        elif not path.exists():
            raise CassetteMissing(f"there is no {path}")
        yield from sorted(Path(entry.path) for entry in (entries(path) if path.is_dir() else ()))


def entries(folder: Path, *, every: bool = False) -> Iterator[os.DirEntry[str]]:
    """The files of the cassettes below a folder, in no order; with `every`, each `.yaml` there is one.

    Folders that hold none, such as a virtual environment, are not entered.
    """
    waiting = [(str(folder), every or "cassettes" in folder.resolve().parts)]
    while waiting:
        place, inside = waiting.pop()
        with suppress(OSError), os.scandir(place) as listed:  # Gone meanwhile, or not for us to read.
            for entry in listed:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in _SKIPPED:
                        waiting.append((entry.path, inside or entry.name == "cassettes"))
                elif inside and entry.name.endswith(".yaml"):
                    yield entry


def _is_ours(found: Path, below: Path) -> bool:
    inside = set(found.relative_to(below).parts[:-1])
    return not inside & _SKIPPED and bool((inside | set(below.resolve().parts)) & {"cassettes"})


# --- whose a cassette is ---------------------------------------------------------------------------------------------


def _orphaned(path: Path) -> str | None:
    """Why no test can own this cassette; None where one can, or where that cannot be told from its place."""
    if path.parent.name == "fixtures" and path.parent.parent.parent.name == "cassettes":
        home, names = path.parent.parent, [_name(path)]
    elif path.parent.parent.name == "cassettes":
        home, names = path.parent, _name(path).split(".")
    else:
        return None
    tests = home.parent.parent
    file = tests / f"{home.name}.py"
    if _named_by_a_marker(path, tests):
        return None
    if not file.is_file():
        return f"there is no {file.name} beside its folder"
    if re.search(r"-[0-9a-f]{12}$", names[-1]):  # An over-long name, shortened.
        return None
    known = _defined(file)
    missing = next((name for name in names if known is not None and name not in known), None)
    return f"{file.name} has no {missing}" if missing else None


def _name(path: Path) -> str:
    return re.sub(r"\.take\d+$", "", unquote(path.stem)).partition("[")[0]


@cache
def _defined(file: Path) -> frozenset[str] | None:
    """Every class and function of a file; None where a class may inherit more, or nothing can be told."""
    try:
        tree = ast.parse(file.read_text("utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    if any(isinstance(node, ast.ClassDef) and node.bases and node.name.startswith("Test") for node in nodes):
        return None
    return frozenset({file.stem, *(node.name for node in nodes)})


def _named_by_a_marker(path: Path, tests: Path) -> bool:
    return any(path.name in _text(file) for file in tests.glob("*.py"))


@cache
def _text(file: Path) -> str:
    return file.read_text("utf-8", "replace")


# --- what nobody needs -----------------------------------------------------------------------------------------------


def _leftovers(paths: Iterable[Path]) -> Iterator[Path]:
    """Bodies whose cassette is gone, and temporary files of a save that was killed."""
    for path in paths:
        for folder in sorted(path.rglob("*.bodies") if path.is_dir() else ()):
            if folder.is_dir() and _is_ours(folder, path) and not folder.with_suffix(".yaml").exists():
                yield folder
        for file in sorted(path.rglob(".*.tmp") if path.is_dir() else ()):
            if _is_ours(file, path) and re.fullmatch(r"\..+\.(?:yaml|bin)\.\w+\.tmp", file.name):
                yield file


def removals(complaints: Iterable[Complaint]) -> tuple[Path, ...]:
    """The files and folders that can go: what is orphaned or left over, with its bodies."""
    found: dict[Path, None] = {}
    for complaint in complaints:
        if complaint.kind in ("orphaned", "leftover"):
            found[complaint.path] = None
            if bodies_folder(complaint.path).is_dir():
                found[bodies_folder(complaint.path)] = None
    return tuple(found)


def remove(paths: Iterable[Path]) -> None:
    """Take these away, and the folders that are empty then, up to `cassettes`."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        folder = path.parent
        while "cassettes" in folder.parts and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


def _from(root: Path, path: Path) -> str:
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return str(path)
