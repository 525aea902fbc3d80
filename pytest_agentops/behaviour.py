"""The behaviour of an agent as its recordings tell it: of a commit out of git, of the working tree, of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from pytest_agentops.errors import CassetteError, CassetteMissing, PromptError
from pytest_agentops.gates import Gates
from pytest_agentops.history import History
from pytest_agentops.regression import Case, Take
from pytest_agentops.report import Report, prompt_changes
from pytest_agentops.repository import PromptRepository
from pytest_agentops.tape import Tape, load, loads

_TAKE = re.compile(r"\.take(\d+)\.yaml$")


def take_path(path: Path, number: int) -> Path:
    """Where a take of a test is kept, given where the first one is."""
    return path if number == 1 else path.with_name(f"{path.name.removesuffix('.yaml')}.take{number}.yaml")


def number_of(path: str) -> int:
    """Which take a cassette holds, by its name."""
    found = _TAKE.search(path)
    return int(found[1]) if found else 1


def first_of(path: str) -> str:
    """Where the first take is, given where another one is."""
    return _TAKE.sub(".yaml", path)


def is_cassette(path: str) -> bool:
    """Whether a file of a repository is a cassette, by its path."""
    return "/cassettes/" in f"/{path}" and path.endswith(".yaml") and not path.startswith(".agentops/")


class Side(Protocol):
    """One side of a comparison."""

    @property
    def files(self) -> Mapping[str, str]:
        """The cassettes, by their path from the root of the repository; the values say which are the same."""

    def tape(self, path: str) -> Tape:
        """What a cassette holds.

        Raises:
            CassetteError: it cannot be read.
        """


@dataclass(frozen=True)
class Committed:
    """The recordings of a commit."""

    history: History
    sha: str

    @cached_property
    def files(self) -> Mapping[str, str]:
        """The cassettes with the names of their contents."""
        return {path: blob for path, blob in self.history.everything(self.sha).items() if is_cassette(path)}

    def tape(self, path: str) -> Tape:
        """What a cassette held, large bodies that stand beside it included."""
        everything = self.history.everything(self.sha)
        folder = PurePosixPath(path).with_suffix(".bodies")

        def fetch(name: str) -> bytes:
            blob = everything.get((folder / name).as_posix())
            if blob is None:
                raise CassetteMissing(f"there is no {folder / name} at {self.sha[:9]}")
            return self.history.read(blob)

        return loads(self.history.read(everything[path]).decode("utf-8", "replace"), fetch)


@dataclass(frozen=True)
class Present:
    """The recordings of the working tree; those that git says are as they were at the base are named as there."""

    history: History
    base: Committed

    @cached_property
    def files(self) -> Mapping[str, str]:
        """The cassettes; those that differ from the base have the empty name."""
        found = dict(self.base.files)
        for path in filter(is_cassette, self.history.changed_since(self.base.sha)):
            if (self.history.root / path).is_file():
                found[path] = ""
            else:
                found.pop(path, None)
        return found

    def tape(self, path: str) -> Tape:
        """What a cassette holds."""
        return load(self.history.root / path)


def compare(prompts: PromptRepository, base: str, head: str | None = None) -> Report:
    """The recorded behaviour at two commits, or at one and in the working tree; nothing is run.

    Only recordings that differ are read, so that there is nothing that gates could measure.

    Raises:
        HistoryError: there is no such commit here.
    """
    history = prompts.history
    was = Committed(history, history.commit(base))
    now: Side = Committed(history, history.commit(head)) if head is not None else Present(history, was)
    before, after = dict(was.files), dict(now.files)
    moved = {blob for path, blob in before.items() if path not in after} & {
        blob for path, blob in after.items() if path not in before
    }
    differ = sorted(
        {
            first_of(path)
            for path in {*before, *after}
            if before.get(path) != after.get(path) and not {before.get(path), after.get(path)} & moved
        }
    )
    inputs = _Inputs()
    sides = [(side, _by_first(side.files)) for side in (was, now)]
    cases = [case for path in differ for case in _recorded_cases(path, sides, inputs)]
    touched = {case.name for case in cases}
    same = {first_of(path) for path, blob in after.items() if before.get(path) == blob or blob in moved}
    named = [was.sha[:9], *([now.sha[:9]] if isinstance(now, Committed) else [])]
    return Report.of(
        cases,
        gates=Gates(),
        base=history.about(base),
        head=history.about(head) if head is not None else None,
        unchanged=len(same - set(differ) - touched),
        commit=history.commit("HEAD"),
        prompts=tuple(
            prompt_changes(prompts.at(base), prompts.at(head) if head is not None else prompts, inputs.found)
        ),
        command=f"pytest-agentops compare {' '.join(named)}",
    )


@dataclass
class _Inputs:
    """What prompts were rendered with at the base, by whom."""

    found: dict[str, list[tuple[str, Mapping[str, Any]]]] = field(default_factory=dict)

    def add(self, case: str, tape: Tape) -> None:
        for render in tape.prompts:
            self.found.setdefault(render.name, []).append((case, render.inputs))


def _by_first(files: Iterable[str]) -> dict[str, list[str]]:
    """The cassettes of each test, by that of its first take."""
    found: dict[str, list[str]] = {}
    for path in files:
        found.setdefault(first_of(path), []).append(path)
    return {first: sorted(paths, key=number_of) for first, paths in found.items()}


def _recorded_cases(
    path: str, sides: Sequence[tuple[Side, Mapping[str, Sequence[str]]]], inputs: _Inputs
) -> Iterator[Case]:
    """The tests that a cassette and its further takes hold: one as a rule, several where it is shared."""
    try:
        both = [[(number_of(each), side.tape(each)) for each in takes.get(path, ())] for side, takes in sides]
    except CassetteError as error:
        yield Case(path, trouble=str(error).partition("\n")[0])
        return
    tests = dict.fromkeys(test for side in both for _, tape in side for test in tape.tests)
    for test in tests or [None]:
        name = f"{path}::{test}" if test else path
        was, now = (
            [(number, found) for number, tape in side if (found := tape.tests.get(test) if test is not None else tape)]
            for side in both
        )
        if test is not None and was == now:
            continue
        for _, tape in was:
            inputs.add(name, tape)
        takes = [tuple(Take.of(tape, number) for number, tape in side) for side in (was, now)]
        yield Case(name, takes[0], takes[1])


# --- a run -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """One take of one test in a run, or a test that need not run."""

    test: str
    """Its id, without what says which take it is; a shared cassette knows it by that."""
    cassette: Path
    """The cassette of one of its takes."""
    take: Take | None
    """None where it did not run."""
    left_out: str = ""
    """Why it did not, where it need not."""
    trouble: str = ""
    """Why what it came to is not known, where that is so."""
    skipped: bool = False
    """Whether that is since it was skipped, which matters where it was recorded before."""
    group: str = ""
    """Of a test that runs over several versions of prompts, its id without the version; else empty."""
    variant: tuple[int, str] = (0, "")
    """Which version it had, and what that is called."""


def of_run(
    ran: Sequence[Ran],
    prompts: PromptRepository,
    base: PromptRepository | None,
    *,
    gates: Gates,
    command: str = "",
    notes: Sequence[str] = (),
) -> Report:
    """What a run came to, beside what is recorded at the base; without a base its own figures alone."""
    inputs = _Inputs()
    committed = Committed(base.history, base.head) if base is not None else None
    # A cassette that a marker names may be anywhere.
    everywhere = committed.history.everything(committed.sha) if committed is not None else {}
    firsts = _by_first(path for path in everywhere if path.endswith(".yaml"))
    tests: dict[str, list[Ran]] = {}
    for each in ran:
        tests.setdefault(each.test, []).append(each)
    cases = [_case_of_run(runs, committed, firsts, inputs) for runs in tests.values()]
    # What asked no model, then or now, is no test of an agent.
    failed = {run.test for run in ran if run.trouble and not run.skipped}
    cases = [case for case in cases if case.base or case.name in failed or any(map(_asked, case.head))]
    notes = [*notes, *_fewer(cases)]
    rest: list[str] = []
    if committed is not None:
        absent = _absent(committed, firsts, tests.values())
        gone = {first: paths for first, paths in absent.items() if not _is_there(committed.history, paths)}
        cases += _gone(committed, gone)
        rest = sorted(set(absent) - set(gone))
    return Report.of(
        cases,
        gates=gates,
        variants=_variants(tests.values()),
        base=base.history.about(base.head) if base is not None else None,
        prompts=tuple(prompt_changes(base, prompts, inputs.found)) if base is not None else (),
        ran=True,
        command=command,
        notes=tuple(notes),
        absent=tuple(rest),
        commit=_newest(prompts),
    )


def _fewer(cases: Sequence[Case]) -> Iterator[str]:
    """What is to be said where tests ran fewer times than they are recorded."""
    fewer = [case for case in cases if case.head and len(case.base) > len(case.head)]
    if fewer:
        takes = max(len(case.base) for case in fewer)
        yield (
            f"up to {takes} takes are recorded at the base of tests that ran fewer times ({len(fewer)}): "
            f"--agentops-trials={takes}, or trials = {takes} in [tool.agentops], runs them all"
        )


def _newest(prompts: PromptRepository) -> str:
    try:
        return prompts.history.commit("HEAD")
    except PromptError:
        return ""


def _case_of_run(
    runs: Sequence[Ran], base: Committed | None, firsts: Mapping[str, Sequence[str]], inputs: _Inputs
) -> Case:
    first = runs[0]
    trouble = next((run.trouble for run in runs if run.trouble), "")
    was: list[tuple[int, Tape]] = []
    head: tuple[Take, ...] = ()
    try:
        head = _heads(runs)
        was = _tapes_at(first, base, firsts) if base is not None else []
    except CassetteError as error:
        trouble = trouble or str(error).partition("\n")[0]
    if trouble and not was and base is not None:
        # What it was recorded as is not needed to say that it was recorded.
        known = _inside(base.history, first.cassette) in base.history.everything(base.sha)
        was = [(1, Tape())] if known else []
    for _, tape in was:
        inputs.add(first.test, tape)
    return Case(
        first.test,
        tuple(Take.of(tape, number) for number, tape in was),
        head,
        trouble=trouble,
        left_out=first.left_out if all(run.left_out for run in runs) else "",
    )


def _asked(take: Take) -> bool:
    return bool(take.figures.get("model calls") or take.problem)


def _heads(runs: Sequence[Ran]) -> tuple[Take, ...]:
    """The takes of a run; of a test that need not run, what is recorded."""
    takes = {run.take.number: run.take for run in runs if run.take is not None}
    left = next((run for run in runs if run.left_out), None)
    for path in _beside(left.cassette) if left is not None else ():
        tape = load(path).of(runs[0].test)
        if tape is not None:
            takes.setdefault(number_of(path.name), Take.of(tape, number_of(path.name)))
    return tuple(takes[number] for number in sorted(takes))


def _beside(cassette: Path) -> Iterator[Path]:
    """All takes of a test that are there, given the cassette of one of them."""
    first = cassette.with_name(first_of(cassette.name))
    number = 1
    while (path := take_path(first, number)).is_file():
        yield path
        number += 1


def _inside(history: History, path: Path) -> str | None:
    place = path.resolve()
    return place.relative_to(history.root).as_posix() if place.is_relative_to(history.root) else None


def _tapes_at(ran: Ran, base: Committed, firsts: Mapping[str, Sequence[str]]) -> list[tuple[int, Tape]]:
    inside = _inside(base.history, ran.cassette)
    tapes = [(number_of(path), base.tape(path)) for path in firsts.get(first_of(inside or ""), ())]
    return [(number, found) for number, tape in tapes if (found := tape.of(ran.test)) is not None]


def _absent(
    base: Committed, firsts: Mapping[str, Sequence[str]], tests: Iterable[Sequence[Ran]]
) -> dict[str, Sequence[str]]:
    """The recordings at the base that belong to no test of this run, nor to a fixture."""
    known = {first_of(_inside(base.history, runs[0].cassette) or "") for runs in tests}
    return {
        first: paths
        for first, paths in firsts.items()
        if first not in known and is_cassette(first) and "/fixtures/" not in first
    }


def _is_there(history: History, paths: Sequence[str]) -> bool:
    return any((history.root / path).exists() for path in paths)


def _gone(base: Committed, absent: Mapping[str, Sequence[str]]) -> Iterator[Case]:
    """The tests whose recordings are no longer there."""
    for first, paths in absent.items():
        try:
            yield Case(first, tuple(Take.of(base.tape(path), number_of(path)) for path in paths))
        except CassetteError:
            continue  # What could not be read then and is not there now tells nothing.


def _variants(tests: Iterable[Sequence[Ran]]) -> Iterator[Case]:
    """Each version of a prompt that a test ran over beside the first one that its marker names."""
    groups: dict[str, dict[tuple[int, str], list[Take]]] = {}
    for run in (run for runs in tests for run in runs if run.group and run.take is not None):
        assert run.take is not None
        groups.setdefault(run.group, {}).setdefault(run.variant, []).append(run.take)
    for group, found in groups.items():
        first, *others = sorted(found)
        for other in others:
            yield Case(f"{group}: {first[1]} → {other[1]}", tuple(found[first]), tuple(found[other]))
