"""The recorded runs of a project, as a list of values: of tests, drafts and the playground.

What a cassette tells is kept in `.agentops/index.sqlite`, so that a list of thousands reads only the files that have
changed. The index holds nothing that the files do not tell: whoever deletes it has lost nothing.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote

from pytest_agentops.behaviour import number_of
from pytest_agentops.errors import CassetteMissing, CassetteUnreadable, UnknownFigure, did_you_mean
from pytest_agentops.housekeeping import entries
from pytest_agentops.journal import ignored_by_git
from pytest_agentops.tape import Tape, load
from pytest_agentops.trace import Trace

Place = Literal["tests", "drafts", "playground"]
"""Where a run is kept: beside its test, as a draft of a run that did not pass, or by the playground."""

Status = Literal["passed", "failed", "interrupted", "recorded", "unreadable"]
"""How a run ended; `recorded` where its recording does not tell, `unreadable` where it cannot be read at all."""

INDEX = "index.sqlite"
"""The file of the index, below `.agentops`."""

_FORMAT = 2
_BATCH = 50
"""Files that are read before what they told is written: so much is lost when a first reading is stopped."""
_MOST_TEXT = 50_000
"""Characters of a run that can be searched."""
_GIST = 160
_PLAYGROUND = ".agentops/playground/"


@dataclass(frozen=True)
class Run:
    """One recorded run, as far as a list tells of it."""

    name: str
    """The path of its cassette from the root of the project; `path::test` in a cassette that several tests share."""
    path: str
    status: Status
    place: Place = "tests"
    test: str = ""
    """The id of its test, as far as the place of its cassette tells; empty where it does not."""
    take: int = 1
    problem: str = ""
    """Why it cannot be read."""
    recorded: str = ""
    """When, in UTC as ISO 8601 writes it; empty where the recording does not tell."""
    seconds: float | None = None
    cost: float | None = None
    """US dollars; None where a price is not known."""
    tokens: int | None = None
    """Input and output; None where a model did not report them."""
    steps: int = 0
    model_calls: int = 0
    tool_calls: int = 0
    errors: int = 0
    """Model calls and tool calls that failed."""
    findings: int = 0
    said: str = ""
    """What the user began with, its beginning."""
    answer: str = ""
    """The beginning of the final answer."""
    prompts: tuple[tuple[str, str], ...] = ()
    """The prompts that were rendered, each with its version."""
    models: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What a person calls it: its test where that is known, else the path of its file."""
        return self.test or self.path.removeprefix(_PLAYGROUND)


_FIELDS = tuple(each.name for each in fields(Run))
_TUPLES = ("models", "agents", "tools")


@dataclass(frozen=True)
class Progress:
    """How far a reading is."""

    done: int
    total: int
    """Files that have to be read, since they are new or have changed."""


SORTS = ("recorded", "title", "status", "seconds", "cost", "tokens", "steps", "tool_calls", "errors", "findings")
"""What a list can be sorted by."""


@dataclass(frozen=True)
class Wanted:
    """Which runs a list is to show, and in which order; what is empty asks for nothing."""

    text: str = ""
    """Words that stand anywhere in a run: names, prompts, models, tools, messages; each of them has to be there."""
    status: str = ""
    place: str = ""
    prompt: str = ""
    """The name of a prompt, or name and version with an `@` between them."""
    model: str = ""
    agent: str = ""
    tool: str = ""
    sort: str = "recorded"
    descending: bool = True

    def of(self, runs: Iterable[Run], containing: Callable[[str], frozenset[str]]) -> tuple[Run, ...]:
        """Those of the runs that are wanted, in the order that is wanted; what is not known comes last."""
        found = [run for run in runs if self._fits(run)]
        if self.text.strip():
            names = containing(self.text)
            found = [run for run in found if run.name in names]
        sort = self.sort if self.sort in SORTS else "recorded"
        known = [run for run in found if getattr(run, sort) not in (None, "")]
        known.sort(key=lambda run: run.name)
        known.sort(key=lambda run: getattr(run, sort), reverse=self.descending)
        return (*known, *(run for run in found if getattr(run, sort) in (None, "")))

    def _fits(self, run: Run) -> bool:
        name, at, wanted = self.prompt.partition("@")
        return (
            self.status in ("", run.status)
            and self.place in ("", run.place)
            and (not self.model or self.model in run.models)
            and (not self.agent or self.agent in run.agents)
            and (not self.tool or self.tool in run.tools)
            and (not name or any(each == name and (not at or said == wanted) for each, said in run.prompts))
        )


def choices(runs: Sequence[Run]) -> dict[str, list[str]]:
    """What there is to choose from, by the fields of `Wanted`: the most frequent first."""
    counted: dict[str, Counter[str]] = {
        "status": Counter(run.status for run in runs),
        "place": Counter(run.place for run in runs),
        "prompt": Counter(name for run in runs for name in dict.fromkeys(name for name, _ in run.prompts)),
        "model": Counter(model for run in runs for model in run.models),
        "agent": Counter(agent for run in runs for agent in run.agents),
        "tool": Counter(tool for run in runs for tool in run.tools),
    }
    return {name: [each for each, _ in found.most_common()] for name, found in counted.items()}


def opened(root: Path, name: str) -> Tape:
    """What a run recorded; `name` is that of a `Run`.

    Raises:
        CassetteMissing: there is no such run in this project.
        CassetteUnreadable: its cassette cannot be read.
    """
    path, shared, test = _parted(name)
    place = _inside(root, path)
    if place is None or not path.endswith(".yaml"):
        near = did_you_mean(name, (each for each, *_ in _files(root)))
        raise CassetteMissing(f"there is no recorded run {name!r} in {root}{near}")
    tape = load(place)
    found = tape.tests.get(test) if shared else tape
    if found is None:
        raise CassetteMissing(f"{path} holds nothing of {test!r}{did_you_mean(test, tape.tests)}")
    return found


def _inside(root: Path, path: str) -> Path | None:
    """The file of this path where it is one of the project, links followed; else None."""
    try:
        place = (root / path).resolve()
        return place if place.is_relative_to(root.resolve()) and place.is_file() else None
    except (OSError, RuntimeError, ValueError):  # A link that leads to itself, or what can be no path.
        return None


def stamp_of(root: Path, name: str) -> tuple[int, int, int] | None:
    """What changes when the file of a run does; None where it is not there."""
    try:
        stat = (root / _parted(name)[0]).stat()
    except (OSError, ValueError):
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _parted(name: str) -> tuple[str, str, str]:
    """The path of a run's cassette, and the test where several share it."""
    return (name, "", "") if name.endswith(".yaml") else name.partition("::")


class RunIndex:
    """What is known of the recorded runs of a project.

    Example:
        ```python
        with RunIndex(root) as index:
            for progress in index.refresh():
                print(f"{progress.done} of {progress.total}")
            slow = Wanted(model="gpt-5-mini", sort="seconds").of(index.runs(), index.containing)
        ```
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / ".agentops" / INDEX

    def __enter__(self) -> RunIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what is open."""
        if (base := self.__dict__.pop("_base", None)) is not None:
            base.close()

    # --- reading -----------------------------------------------------------------------------------------------------

    def refresh(self) -> Iterator[Progress]:
        """Read the files that are new or have changed, and forget those that are gone.

        It tells how far it is, at the latest after each few files; what was read by then is kept, whenever it is
        stopped. Several processes may do so at once.
        """
        try:
            yield from self._refresh()
        except sqlite3.DatabaseError as error:
            self._begin_anew(error)
            yield from self._refresh()

    def _refresh(self) -> Iterator[Progress]:
        known = {path: (mtime, size, inode) for path, mtime, size, inode in self._base.execute(_STAMPS)}
        found = {path: (place, stamp) for path, place, stamp in _files(self.root)}
        if gone := [path for path in known if path not in found]:
            self._write([], gone)
        changed = [path for path, (_, stamp) in found.items() if known.get(path) != stamp]
        for start in range(0, len(changed), _BATCH):
            yield Progress(start, len(changed))
            batch = changed[start : start + _BATCH]
            self._write([(path, found[path][1], _read(self.root, path, found[path][0])) for path in batch], batch)
        yield Progress(len(changed), len(changed))

    @property
    def state(self) -> int:
        """A number that is another one whenever `runs` has become something else."""
        found: int = self._base.execute("SELECT state FROM made").fetchone()[0]
        return found

    def runs(self) -> tuple[Run, ...]:
        """Every run that is known, as of the last `refresh`."""
        return tuple(
            _run(values) for (told,) in self._base.execute("SELECT runs FROM files") for values in json.loads(told)
        )

    def containing(self, text: str) -> frozenset[str]:
        """The names of the runs in which each of these words stands, in whatever place and case."""
        words = [word[:1000] for word in text.casefold().split()[:50]]
        if not words:
            return frozenset(run.name for run in self.runs())
        asked, values = [], []
        for word in words:
            # LIKE asks the index of trigrams, and takes some signs for any; instr takes every sign for itself.
            if max(map(len, re.split("[%_]", word))) >= 3:  # Of a shorter one SQLite finds nothing beyond ASCII.
                asked.append("words.text LIKE ?")
                values.append(f"%{word}%")
            asked.append("instr(words.text, ?)")
            values.append(word)
        told = self._base.execute(
            f"SELECT names.name FROM words JOIN names ON names.id = words.rowid WHERE {' AND '.join(asked)}", values
        )
        return frozenset(name for (name,) in told)

    # --- the file ----------------------------------------------------------------------------------------------------

    @cached_property
    def _base(self) -> sqlite3.Connection:
        try:
            ignored_by_git(self.root / ".agentops")
            return _connected(self.file)
        except sqlite3.OperationalError:
            return _connected(None)  # Where nothing can be written, everything is read each time.
        except sqlite3.DatabaseError:
            return self._without_the_old()
        except OSError:
            return _connected(None)

    def _begin_anew(self, error: sqlite3.DatabaseError) -> None:
        self.close()
        if isinstance(error, sqlite3.OperationalError):  # It is full, locked or not to be written to.
            self.__dict__["_base"] = _connected(None)
        else:
            self.__dict__["_base"] = self._without_the_old()

    def _without_the_old(self) -> sqlite3.Connection:
        try:
            for ending in ("", "-journal"):
                self.file.with_name(f"{INDEX}{ending}").unlink(missing_ok=True)
            return _connected(self.file)
        except (OSError, sqlite3.DatabaseError):
            return _connected(None)

    def _write(self, read: Sequence[tuple[str, _Stamp, Sequence[_Told]]], gone: Sequence[str]) -> None:
        base = self._base
        base.execute("BEGIN IMMEDIATE")
        try:
            for path in gone:
                base.execute("DELETE FROM words WHERE rowid IN (SELECT id FROM names WHERE path = ?)", [path])
                base.execute("DELETE FROM names WHERE path = ?", [path])
                base.execute("DELETE FROM files WHERE path = ?", [path])
            for path, stamp, told in read:
                rows = json.dumps([[getattr(each.run, name) for name in _FIELDS] for each in told])
                base.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?)", [path, *stamp, rows])
                for each in told:
                    made = base.execute("INSERT INTO names (path, name) VALUES (?, ?)", [path, each.run.name])
                    base.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", [made.lastrowid, each.text])
            base.execute("UPDATE made SET state = state + 1")
        except BaseException:
            with suppress(sqlite3.Error):
                base.execute("ROLLBACK")
            raise
        base.execute("COMMIT")


_Stamp = tuple[int, int, int]
"""When a file was changed, its size and its number: a file that is replaced as a whole has another one."""

_STAMPS = "SELECT path, mtime, size, inode FROM files"
_TABLES = (
    "CREATE TABLE files (path TEXT PRIMARY KEY, mtime INTEGER, size INTEGER, inode INTEGER, runs TEXT)",
    "CREATE TABLE names (id INTEGER PRIMARY KEY, path TEXT, name TEXT)",
    "CREATE INDEX names_by_path ON names (path)",
    "CREATE TABLE made (by TEXT, state INTEGER)",
)
_TRIGRAMS = "CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = 'trigram')"
_NO_TRIGRAMS = "CREATE TABLE words (text TEXT)"
"""Where SQLite was built without its full text search, each search reads all texts."""


def _connected(file: Path | None) -> sqlite3.Connection:
    """The index in this file, which is emptied where another version made it; in memory where there is none."""
    base = sqlite3.connect(file or ":memory:", timeout=20, isolation_level=None, check_same_thread=False)
    try:
        if _maker(base) != (by := _by()):
            base.execute("BEGIN EXCLUSIVE")
            if _maker(base) != by:  # Nobody else has made it meanwhile.
                _make(base, by)
            base.execute("COMMIT")
    except BaseException:
        base.close()
        raise
    return base


def _maker(base: sqlite3.Connection) -> str | None:
    if not base.execute("SELECT 1 FROM sqlite_master WHERE name = 'made'").fetchone():
        return None
    row = base.execute("SELECT by FROM made").fetchone()
    return row[0] if row else None


def _by() -> str:
    """Whose reading it is: a newer version of this package, or of the prices, may read the same file otherwise."""
    return f"{_FORMAT}, pytest-agentops {version('pytest-agentops')}, genai-prices {version('genai-prices')}"


def _make(base: sqlite3.Connection, by: str) -> None:
    for (name,) in base.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('files', 'names', 'words', 'made')"
    ).fetchall():
        base.execute(f"DROP TABLE {name}")
    for table in _TABLES:
        base.execute(table)
    try:
        base.execute(_TRIGRAMS)
    except sqlite3.OperationalError:
        base.execute(_NO_TRIGRAMS)
    base.execute("INSERT INTO made VALUES (?, ?)", [by, secrets.randbits(60)])


# --- files -----------------------------------------------------------------------------------------------------------


def _files(root: Path) -> Iterator[tuple[str, Place, _Stamp]]:
    """Every cassette of the project: its path from the root, whose it is, and what tells whether it has changed."""
    beginning = len(str(root)) + 1
    places: tuple[tuple[Place, Path], ...] = (
        ("tests", root),
        ("drafts", root / ".agentops" / "drafts"),
        ("playground", root / ".agentops" / "playground"),
    )
    for place, folder in places:
        for entry in entries(folder, every=place != "tests"):
            with suppress(OSError):  # Gone meanwhile.
                stat = entry.stat()
                yield entry.path[beginning:].replace(os.sep, "/"), place, (stat.st_mtime_ns, stat.st_size, stat.st_ino)


@dataclass(frozen=True)
class _Told:
    """What a file tells of one run."""

    run: Run
    text: str
    """What can be searched."""


def _read(root: Path, path: str, place: Place) -> list[_Told]:
    try:
        tape = load(root / path)
        return [
            _told(f"{path}::{test}" if tape.tests else path, path, place, each, test)
            for test, each in (tape.tests or {"": tape}).items()
        ]
    except (CassetteMissing, CassetteUnreadable) as error:
        problem = str(error).removeprefix(f"{root / path}: ")
    except Exception as error:  # A list shows what is wrong with one file, whatever that is, and goes on.
        problem = f"it cannot be understood: {type(error).__name__}: {error}"
    run = Run(path, path, "unreadable", place, test_of(path), number_of(path), problem=problem)
    return [_Told(run, _searched([path, run.test, problem]))]


def _told(name: str, path: str, place: Place, tape: Tape, test: str) -> _Told:
    trace = tape.trace()
    said = next((message.text for call in trace.chats for message in call.messages if message.role == "user"), "")
    answered = [call for call in trace.model_calls if call.error is None]
    failed = len(trace.model_calls) - len(answered) + sum(call.status == "error" for call in trace.tool_calls)
    run = Run(
        name,
        path,
        tape.outcome or "recorded",
        place,
        test or test_of(path),
        number_of(path),
        recorded=tape.recorded.isoformat() if tape.recorded else "",
        seconds=trace.seconds,
        cost=_figure(lambda: trace.cost) if answered else None,
        tokens=_figure(lambda: trace.usage.total_tokens) if answered else None,
        steps=len(trace.steps),
        model_calls=len(trace.model_calls),
        tool_calls=len(trace.tool_calls),
        errors=failed,
        findings=len(trace.findings),
        said=_gist(said),
        answer=_gist(trace.response),
        prompts=tuple(dict.fromkeys((each.name, each.version or "") for each in trace.prompts)),
        models=tuple(dict.fromkeys(call.model for call in trace.model_calls if call.model)),
        agents=trace.agents,
        tools=tuple(dict.fromkeys(call.name for call in trace.tool_calls)),
    )
    return _Told(run, _searched([path, run.test, run.status, *_names(run), *_texts(trace)]))


def _names(run: Run) -> Iterator[str]:
    for name, said in run.prompts:
        yield f"{name}@{said}" if said else name
    yield from (*run.models, *run.agents, *run.tools)


def _texts(trace: Trace) -> Iterator[str]:
    """What was said and done, each thing once; a conversation that grows repeats what was said before."""
    seen: set[str] = set()
    for step in trace.steps:
        said = [message.text for call in step.model_calls for message in call.messages]
        done = [text for call in step.tool_calls for text in (str(call), _text(call.result))]
        for text in (*said, str(step.response), *done):
            if text and text not in seen:
                seen.add(text)
                yield text
    yield from (finding.message for finding in trace.findings)


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)


def _searched(texts: Iterable[str]) -> str:
    held: list[str] = []
    left = _MOST_TEXT
    for text in texts:
        held.append(text[:left])
        if (left := left - len(text)) <= 0:
            break
    # A half of a surrogate pair cannot be written.
    return "\n".join(held).encode("utf-8", "replace").decode("utf-8").casefold()


def _gist(text: str) -> str:
    return " ".join(text[: 4 * _GIST].split())[:_GIST]


def _figure(figure: Callable[[], Any]) -> Any:
    try:
        return figure()
    except UnknownFigure:
        return None


def _run(values: Sequence[Any]) -> Run:
    told = dict(zip(_FIELDS, values, strict=True))
    told["prompts"] = tuple((name, said) for name, said in told["prompts"])
    for name in _TUPLES:
        told[name] = tuple(told[name])
    return Run(**told)


def test_of(path: str) -> str:
    """The id of the test whose cassette this is, as the place of the file tells it; empty where it does not."""
    place = PurePosixPath(path.removeprefix(".agentops/drafts/"))
    *before, _file = place.parts
    name = _without_take(unquote(place.name.removesuffix(".yaml")))
    if len(before) >= 3 and before[-1] == "fixtures" and before[-3] == "cassettes":
        return f"{'/'.join([*before[:-3], f'{before[-2]}.py'])}: fixture {name}"
    if len(before) < 2 or before[-2] != "cassettes":
        return ""
    called, bracket, parameters = name.partition("[")
    return "::".join([f"{'/'.join([*before[:-2], before[-1]])}.py", *called.split(".")]) + bracket + parameters


def _without_take(stem: str) -> str:
    head, dot, last = stem.rpartition(".take")
    return head if dot and last.isdigit() else stem


def short_name(name: str) -> str:
    """A run in a few words: the name of its test and which take it is, as its cassette's name tells."""
    path, shared, test = _parted(name)
    told = (test if shared else test_of(path) or path.removeprefix(_PLAYGROUND)).rpartition("::")[2]
    number = number_of(path)
    return f"{told}, take {number}" if number > 1 else told
