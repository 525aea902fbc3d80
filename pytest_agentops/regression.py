"""Base and head side by side: what changed in the behaviour of recorded runs, without running anything."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pytest_agentops.errors import CassetteError, PromptError, UnknownFigure
from pytest_agentops.expect.calls import Difference, differences
from pytest_agentops.history import Commit, History
from pytest_agentops.repository import PromptRepository
from pytest_agentops.revision import Revision
from pytest_agentops.tape import Tape, load, loads
from pytest_agentops.trace import ModelCall, ToolCall, Trace, tool_names

Verdict = Literal["regressed", "improved", "changed", "same", "new", "gone", "not comparable"]
VERDICTS: tuple[Verdict, ...] = ("regressed", "improved", "changed", "not comparable", "new", "gone", "same")
"""In the order in which a reviewer wants to read them."""

EditKind = Literal["added", "removed", "moved", "changed"]


@dataclass(frozen=True)
class CallEdit:
    """One difference between two trajectories."""

    kind: EditKind
    base: ToolCall | None
    """None where the call was added."""
    head: ToolCall | None
    """None where it was removed."""
    differences: tuple[Difference, ...] = ()
    """What of the arguments is otherwise, where that is what changed; `expected` is the base's value."""


@dataclass(frozen=True)
class Figure:
    """One measure on both sides; None where the evidence does not give it."""

    name: str
    base: float | None
    head: float | None

    @property
    def change(self) -> float | None:
        """Head minus base."""
        return None if self.base is None or self.head is None else self.head - self.base


@dataclass(frozen=True)
class Case:
    """One recorded test on both sides."""

    name: str
    """The path of its cassette, from the root of the repository; of a shared one with the test behind it."""
    base: Tape | None
    head: Tape | None
    problem: str = ""
    """Why the two cannot be compared, where they cannot."""

    @cached_property
    def verdict(self) -> Verdict:
        """What became of it: by the outcome of its run first, then by its behaviour."""
        if self.problem:
            return "not comparable"
        if self.base is None or self.head is None:
            return "new" if self.base is None else "gone"
        was, now = self.base.outcome, self.head.outcome
        if was != now and {was, now} <= {"passed", "failed"}:
            return "regressed" if now == "failed" else "improved"
        return "changed" if self.behaves_otherwise else "same"

    @cached_property
    def behaves_otherwise(self) -> bool:
        """Whether anything but figures differs."""
        return bool(self.calls or self.answered_otherwise or self.drift or self.findings[0] or self.findings[1])

    @cached_property
    def traces(self) -> tuple[Trace, Trace]:
        """Both traces; an empty one where there is none."""
        return tuple(side.trace() if side is not None else Trace() for side in (self.base, self.head))  # type: ignore[return-value]

    @cached_property
    def calls(self) -> tuple[CallEdit, ...]:
        """What changed in the trajectory."""
        base, head = self.traces
        return tuple(edits(base.tool_calls, head.tool_calls))

    @cached_property
    def answered_otherwise(self) -> bool:
        """Whether the final answer is another one; JSON is compared by its value."""
        base, head = (str(trace.response) for trace in self.traces)
        return base != head and bool(differences(_value(base), _value(head), "$"))

    @cached_property
    def findings(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The kinds of findings that went, and those that came."""
        base, head = ([finding.kind for finding in trace.findings] for trace in self.traces)
        return tuple(kind for kind in base if kind not in head), tuple(kind for kind in head if kind not in base)

    @cached_property
    def drift(self) -> tuple[str, ...]:
        """What else is otherwise about the models: which answered, and which tools they were offered."""
        base, head = self.traces
        return tuple(_drift(base.model_calls, head.model_calls))

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """Tokens, dollars, seconds as they were recorded, model calls and tool calls."""
        base, head = (_figures(trace) for trace in self.traces)
        return tuple(Figure(name, base[name], head[name]) for name in base)


@dataclass(frozen=True)
class Comparison:
    """What became of every recorded test between two states of a repository."""

    base: Commit
    head: Commit | None
    """None for the working tree."""
    cases: tuple[Case, ...]
    """Those whose cassette is another one, came or went; in the order in which a reviewer wants to read them."""
    unchanged: int
    """How many cassettes are the same, byte by byte."""
    revisions: tuple[Revision, ...] = ()
    """The prompts that changed."""

    def count(self, verdict: Verdict) -> int:
        """How many tests have this verdict; `same` counts those whose cassettes did not change."""
        return sum(case.verdict == verdict for case in self.cases) + (self.unchanged if verdict == "same" else 0)


def compare(prompts: PromptRepository, base: str, head: str | None = None) -> Comparison:
    """The behaviour of the recorded tests at two commits, or at one and in the working tree; nothing is run.

    Only cassettes that differ are read.

    Raises:
        HistoryError: there is no such commit here.
    """
    history = prompts.history
    before = _cassettes(history.everything(history.commit(base)))
    after = (
        _cassettes(history.everything(history.commit(head))) if head is not None else _worktree(history, base, before)
    )
    cases = [
        case
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
        for case in _cases(history, path, before.get(path), after.get(path))
    ]
    renamed = {blob for path, blob in before.items() if path not in after} & {
        blob for path, blob in after.items() if path not in before
    }
    cases = [case for case in cases if not (before.get(case.name) in renamed or after.get(case.name) in renamed)]
    unchanged = sum(before.get(path) == blob for path, blob in after.items()) + len(renamed)
    return Comparison(
        history.about(base),
        history.about(head) if head is not None else None,
        tuple(sorted(cases, key=lambda case: (VERDICTS.index(case.verdict), case.name))),
        unchanged,
        tuple(_revisions(prompts.at(base), prompts.at(head) if head is not None else prompts)),
    )


def _cassettes(files: Mapping[str, str]) -> dict[str, str]:
    return {path: blob for path, blob in files.items() if _is_cassette(path)}


def _is_cassette(path: str) -> bool:
    return "/cassettes/" in f"/{path}" and path.endswith(".yaml") and not path.startswith(".agentops/")


def _worktree(history: History, base: str, before: Mapping[str, str]) -> dict[str, str]:
    """The cassettes of the working tree: those that git says are the same keep the name of their content."""
    found = dict(before)
    for path in filter(_is_cassette, history.changed_since(base)):
        if (history.root / path).is_file():
            found[path] = ""
        else:
            found.pop(path, None)
    return found


def _cases(history: History, path: str, base: str | None, head: str | None) -> Iterator[Case]:
    try:
        sides = [_tape(history, path, blob) for blob in (base, head)]
    except CassetteError as error:
        yield Case(path, None, None, str(error).partition("\n")[0])
        return
    tests = dict.fromkeys(test for side in sides if side is not None for test in side.tests)
    if not tests:
        yield Case(path, sides[0], sides[1])
        return
    for test in tests:
        was, now = (side.tests.get(test) if side is not None else None for side in sides)
        if was != now:
            yield Case(f"{path}::{test}" if test else path, was, now)


def _tape(history: History, path: str, blob: str | None) -> Tape | None:
    if blob is None:
        return None
    if not blob:
        return load(history.root / path)
    return loads(history.read(blob).decode("utf-8", "replace"))


def _revisions(base: PromptRepository, head: PromptRepository) -> Iterator[Revision]:
    """The prompts that are there on both sides and differ; what cannot be read is told by the check of prompts."""
    for name in head:
        try:
            if name in base.tree.names() and (was := base[name]).digest != (now := head[name]).digest:
                yield Revision(was, now)
        except PromptError:
            continue


def edits(base: Sequence[ToolCall], head: Sequence[ToolCall]) -> Iterator[CallEdit]:
    """The fewest changes that make one sequence of tool calls the other, as they are read from top to bottom."""
    names = [call.name for call in base], [call.name for call in head]
    gone: list[ToolCall] = []
    come: list[ToolCall] = []
    kept: list[CallEdit] = []
    for kind, start, end, other_start, other_end in _opcodes(*names):
        if kind == "equal":
            pairs = zip(base[start:end], head[other_start:other_end], strict=True)
            kept += [CallEdit("changed", was, now, found) for was, now in pairs if (found := _otherwise(was, now))]
        else:
            gone += base[start:end]
            come += head[other_start:other_end]
    for call in list(gone):
        partner = next((each for each in come if each.name == call.name), None)
        if partner is not None:
            gone.remove(call)
            come.remove(partner)
            kept.append(CallEdit("moved", call, partner, _otherwise(call, partner)))
    kept += [CallEdit("removed", call, None) for call in gone]
    kept += [CallEdit("added", None, call) for call in come]
    yield from sorted(kept, key=lambda edit: (edit.head or edit.base or ToolCall("")).step)


def _opcodes(base: Sequence[str], head: Sequence[str]) -> list[Any]:
    # Of many calls the frequent names are no landmarks, or the time would grow with the square.
    many = len(base) * len(head) > 250_000
    return difflib.SequenceMatcher(None, base, head, autojunk=many).get_opcodes()


def _otherwise(was: ToolCall, now: ToolCall) -> tuple[Difference, ...]:
    if was.malformed != now.malformed:
        return (Difference("", was.malformed, now.malformed),)
    if not isinstance(was.arguments, Mapping) or not isinstance(now.arguments, Mapping):
        return () if was.arguments == now.arguments else (Difference("", was.arguments, now.arguments),)
    found = differences(was.arguments, now.arguments, "")
    return tuple(Difference(each.path.removeprefix("."), each.expected, each.actual) for each in found)


def _value(text: str) -> Any:
    """The value of a text that is JSON; the text itself where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _drift(base: Sequence[ModelCall], head: Sequence[ModelCall]) -> Iterator[str]:
    models = [dict.fromkeys(call.model for call in calls if call.model) for calls in (base, head)]
    if list(models[0]) != list(models[1]) and base and head:
        yield f"answered by {', '.join(models[1])}, and was by {', '.join(models[0])}"
    offered = [
        {name: tool for call in calls for tool in call.tools for name in tool_names(tool)} for calls in (base, head)
    ]
    for name in sorted({*offered[0], *offered[1]}):
        was, now = offered[0].get(name), offered[1].get(name)
        if was is None or now is None:
            yield f"the tool {name} is {'offered now' if was is None else 'no longer offered'}"
        elif was != now:
            yield f"the tool {name} is declared otherwise"


def _figures(trace: Trace) -> dict[str, float | None]:
    return {
        "tokens": _known(trace, lambda: trace.usage.total_tokens),
        "cost": _known(trace, lambda: trace.cost),
        "seconds": _known(trace, lambda: trace.duration),
        "model calls": float(len(trace.model_calls)),
        "tool calls": float(len(trace.tool_calls)),
    }


def _known(trace: Trace, figure: Any) -> float | None:
    try:
        return float(figure()) if trace.model_calls else None
    except UnknownFigure:
        return None
