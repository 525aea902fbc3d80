"""Mismatches, misses and traces as lines of text, for pytest and the command line alike."""

from __future__ import annotations

import difflib
import itertools
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_agentops.cassette import Miss, Unplayed
from pytest_agentops.errors import SecretFound, UnknownFigure, did_you_mean
from pytest_agentops.exchange import Exchange, Request
from pytest_agentops.expect import Expectation, Held, Mismatch, NotEither, NotEvery, Subject
from pytest_agentops.expect.budgets import Budget, OverBudget
from pytest_agentops.expect.calls import ExpectedCall, content
from pytest_agentops.expect.responses import NotJudged, NotSchema, NotSimilar
from pytest_agentops.expect.trajectories import (
    Before,
    Counted,
    Cycled,
    Happened,
    Miscounted,
    NoRepeats,
    NotBefore,
    NotExactly,
    NotInOrder,
    NotRead,
    NotTogether,
    OnlyTools,
    Row,
    Together,
    Unpaired,
)
from pytest_agentops.frames import frames_of
from pytest_agentops.guard import Refusal
from pytest_agentops.matching import ABSENT, Cause, Change
from pytest_agentops.mutation import Mutant
from pytest_agentops.trace import Comparison, ModelCall, ResponseText, Step, ToolCall, Trace, Trajectory
from pytest_agentops.volatile import Volatile, json_path

_WIDTH = 100
_CUT = 8
"""Lines of an explanation after which pytest cuts it."""
_COLUMN = 56
_MOST_ROWS = 6
"""Rows of a comparison that are shown whole: pytest cuts an explanation after eight lines."""


# --- mismatches ------------------------------------------------------------------------------------------------------


def mismatch_lines(mismatch: Mismatch, *, whole: bool = False) -> Iterator[str]:
    """Why an expectation does not hold; the first line is the comparison itself.

    Long stretches of calls that only one side has are cut, unless the `whole` story is wanted.
    """
    yield f"{_side(mismatch.subject)} == {_cut(repr(mismatch.expectation), 3 * _WIDTH)}"
    lines = _indented(_reasons(mismatch))
    yield from lines if whole else _shortened(lines)


def whole_lines(comparison: Comparison) -> Iterator[str]:
    """The whole story of a comparison that failed, where the explanation that pytest cuts does not hold it."""
    asked, subject = comparison.asked, comparison.subject
    mismatch = asked.mismatch(subject) if isinstance(asked, Expectation) and comparison.op == "==" else None
    if mismatch is None:
        return
    lines = list(mismatch_lines(mismatch, whole=True))
    aligned = [found for found in _leaves(mismatch) if isinstance(found, NotExactly) and len(found.rows) > 1]
    if len(lines) > _CUT or aligned:
        yield from lines if not aligned or len(aligned) < len(list(_leaves(mismatch))) else lines[:2]
    for found in aligned:
        yield from _indented(_side_by_side(found.rows))


def _leaves(mismatch: Mismatch) -> Iterator[Mismatch]:
    """The mismatches that a mismatch is made of."""
    if isinstance(mismatch, NotEvery | NotEither):
        for found in mismatch.found:
            yield from _leaves(found)
    else:
        yield mismatch


def _side_by_side(rows: Sequence[Row]) -> Iterator[str]:
    """Expected and actual calls, aligned with the fewest edits."""
    pairs = [(repr(row.expected) if row.expected else "", _shown(row.actual) if row.actual else "") for row in rows]
    width = min(_COLUMN, max(len(expected) for expected, _ in [("expected", ""), *pairs]))
    yield f"  {'expected':<{width}}  actual"
    lines = []
    for row, (expected, actual) in zip(rows, pairs, strict=True):
        mark = " " if row.agrees else "-" if row.actual is None else "+" if row.expected is None else "~"
        step = f"  (step {row.actual.step})" if row.actual else ""
        lines.append(f"{mark} {_cut(expected, width):<{width}}  {_cut(actual, _COLUMN)}{step}".rstrip())
    for mark, group in itertools.groupby(lines, key=lambda line: line[0]):
        stretch = list(group)
        if len(stretch) > _MOST_ROWS:
            hidden = f"  ... {len(stretch) - 4} more {_MARKS[mark]}"
            stretch[2:-2] = [hidden]
        yield from stretch


_MARKS = {" ": "as expected", "-": "missing", "+": "not expected", "~": "with other arguments"}


def _shortened(lines: Iterable[str]) -> Iterator[str]:
    """The lines, where of many alike in a row only the first ones and the last one stand."""
    for mark, group in itertools.groupby(lines, key=lambda line: line.lstrip()[:2]):
        stretch = list(group)
        if mark in ("+ ", "- ") and len(stretch) > _MOST_ROWS:
            indent = stretch[0].partition(mark)[0]
            what = "not expected" if mark == "+ " else "missing"
            stretch[2:-1] = [f"{indent}... {len(stretch) - 3} more {what}"]
        yield from stretch


def absence_lines(wanted: ExpectedCall, trajectory: Trajectory) -> Iterator[str]:
    """Why a call is not in a trajectory; the first line is the comparison itself."""
    yield f"{wanted!r} in trajectory"
    yield from _indented(_nowhere(wanted, trajectory))
    yield f"  {_happened(trajectory)}"


def presence_lines(wanted: ExpectedCall, trajectory: Trajectory) -> Iterator[str]:
    """Where a call is in a trajectory that should not have it."""
    yield f"{wanted!r} not in trajectory"
    for call in trajectory:
        if wanted.mismatches(call) is None:
            yield f"  it was asked for in step {call.step}: {_shown(call)}"


def trajectory_lines(left: Trajectory, right: Trajectory) -> Iterator[str]:
    """Where two trajectories differ."""
    yield "trajectory == trajectory"
    for index in range(max(len(left.steps), len(right.steps))):
        here = left.steps[index] if index < len(left.steps) else ()
        there = right.steps[index] if index < len(right.steps) else ()
        if Trajectory([here]) != Trajectory([there]):
            yield f"  step {index}: {', '.join(map(_shown, here)) or 'nothing'}"
            yield f"  instead of {', '.join(map(_shown, there)) or 'nothing'}"


def agreement_lines(subject: Trajectory | ResponseText, other: object) -> Iterator[str]:
    """What happened, where it is what should not have been."""
    yield f"{_side(subject)} != {_cut(repr(other), 3 * _WIDTH)}"
    yield f"  it holds; {_outcome(subject)}"


def _side(subject: Subject) -> str:
    return "response" if isinstance(subject, ResponseText) else "trajectory"


def _outcome(subject: Subject) -> str:
    return _answered(subject.response) if isinstance(subject, ResponseText) else _happened(subject.trajectory)


def _answered(response: ResponseText) -> str:
    return f"the response: {_cut(repr(str(response)), 2 * _WIDTH)}" if response else "the response is empty"


def _reasons(mismatch: Mismatch) -> Iterator[str]:
    if isinstance(mismatch, NotEvery):
        for found in mismatch.found:
            yield f"{_cut(repr(found.expectation), 2 * _WIDTH)} does not hold:"
            yield from _indented(_reasons(found))
    elif isinstance(mismatch, NotEither):
        yield f"none of the {len(mismatch.found)} holds"
        for found in mismatch.found:
            yield f"{_cut(repr(found.expectation), 2 * _WIDTH)}:"
            yield from _indented(itertools.islice(_reasons(found), 2))
    elif isinstance(mismatch, Held):
        yield f"it holds, and should not; {_outcome(mismatch.subject)}"
    elif isinstance(mismatch, NotExactly):
        yield from _rows(mismatch.rows)
    elif isinstance(mismatch, Happened):
        yield from _should_not(mismatch)
    elif isinstance(mismatch, NotSchema):
        yield from _not_schema(mismatch)
    elif isinstance(mismatch, NotSimilar):
        yield from _not_similar(mismatch)
    elif isinstance(mismatch, NotJudged):
        yield from _not_judged(mismatch)
    else:
        yield from _why(mismatch)
        yield _outcome(mismatch.subject)


def _why(mismatch: Mismatch) -> Iterator[str]:
    """The reasons that make sense beside the line of what happened."""
    if isinstance(mismatch, NotInOrder):
        yield from _out_of_order(mismatch)
    elif isinstance(mismatch, NotRead):
        yield from _not_read(mismatch)
    elif isinstance(mismatch, Unpaired):
        yield from _unpaired(mismatch)
    elif isinstance(mismatch, NotTogether):
        yield from _not_together(mismatch)
    elif isinstance(mismatch, NotBefore):
        yield from _not_before(mismatch)
    elif isinstance(mismatch, Miscounted):
        yield from _miscounted(mismatch)
    elif isinstance(mismatch, Cycled):
        stretch = " -> ".join(" + ".join(map(_shown, step)) for step in mismatch.steps)
        yield f"these steps came again at once, from step {mismatch.steps[0][0].step} on: {_cut(stretch, 2 * _WIDTH)}"
    else:
        yield "it does not hold"


def _not_schema(mismatch: NotSchema) -> Iterator[str]:
    if found := mismatch.not_json:
        where = f" (line {found.line}, column {found.column})" if found.line is not None else ""
        yield f"the response is not JSON: {found.message}{where}"
        if found.fenced:
            yield "it stands in a Markdown fence, which a program that reads JSON would not take"
    else:
        yield f"{_counted(len(mismatch.problems), 'place does', 'places do')} not fit"
        for problem in mismatch.problems[:_MOST_ROWS]:
            yield f"{problem.path}: {_cut(problem.message, 2 * _WIDTH)}"
        if hidden := len(mismatch.problems[_MOST_ROWS:]):
            yield f"and {hidden:,} more"
    yield _answered(mismatch.subject.response)


def _not_similar(mismatch: NotSimilar) -> Iterator[str]:
    yield f"similar by {mismatch.score:.2f}, where at least {mismatch.at_least:.2f} was expected"
    response = mismatch.subject.response
    if response:
        yield "what differs, expected as [-old-], answered as {+new+}:"
        yield from (f"  {line}" for line in _word_diff(mismatch.text, response))
    yield _answered(response)


def _not_judged(mismatch: NotJudged) -> Iterator[str]:
    against = len(mismatch.reasons)
    yield "the judge says no" if len(mismatch.votes) == 1 else f"{against} of {len(mismatch.votes)} votes say no"
    for vote in mismatch.votes:
        yield f"{'no: ' if vote.verdict == 'fail' else 'yes:'} {_cut(' '.join(vote.reason.split()), 3 * _WIDTH)}"
    yield _answered(mismatch.subject.response)


def _should_not(mismatch: Happened) -> Iterator[str]:
    if isinstance(mismatch.expectation, NoRepeats):
        yield f"{_shown(mismatch.calls[0])} was asked for {_times(mismatch.calls)}, in {_steps(mismatch.calls)}"
        return
    shown = mismatch.calls[:_MOST_ROWS]
    for call in shown:
        near = ""
        if isinstance(mismatch.expectation, OnlyTools):
            near = did_you_mean(call.name, mismatch.expectation.names)
        yield f"it was asked for in step {call.step}: {_shown(call)}{near}"
    if len(mismatch.calls) > len(shown):
        yield f"and {len(mismatch.calls) - len(shown)} times more"


def _not_read(mismatch: NotRead) -> Iterator[str]:
    stuck, steps = mismatch.stuck, mismatch.trajectory.steps
    wanted = " or ".join(map(repr, stuck.next[:4])) or "nothing more"
    after = f"after {_shown(stuck.met[-1])}" if stuck.met else "at the start"
    if stuck.steps == len(steps):
        yield f"{after} the run ends, where {wanted} was expected"
        return
    step = steps[stuck.steps]
    yield f"{after} {wanted} was expected; step {step[0].step} asked for {' + '.join(map(_shown, step))}"
    if stuck.next and len(step) == 1:
        yield from _closest(stuck.next, step[0])


def _closest(wanted: Sequence[ExpectedCall], call: ToolCall) -> Iterator[str]:
    """What one call lacks to be one of those."""
    same_name = [each for each in wanted if each.name == call.name]
    if same_name:
        nearest = min(same_name, key=lambda each: len(each.mismatches(call) or ()))
        yield from _indented(_differing(nearest, call))
    elif near := did_you_mean(call.name, [each.name for each in wanted]):
        yield f"  {call.name!r}{near}"


def _differing(wanted: ExpectedCall, call: ToolCall) -> Iterator[str]:
    """Where a call is not as expected; of two lists of plain values, which items are too many or too few."""
    for difference in wanted.mismatches(call) or ():
        yield str(difference)
        expected, actual = difference.expected, difference.actual
        if isinstance(expected, list | tuple) and isinstance(actual, list) and _plain(expected):
            yield from _indented(_item_lines(list(expected), actual))


def _plain(value: object) -> bool:
    try:
        content(value)
    except TypeError:
        return False
    return True


def _item_lines(expected: list[Any], actual: list[Any]) -> Iterator[str]:
    from deepdiff import DeepDiff

    found = [change for changes in DeepDiff(expected, actual).tree.values() for change in changes]
    for change in found[:_MOST_ROWS]:
        place = "".join(f"[{part!r}]" for part in change.path(output_format="list"))
        was, now = change.t1, change.t2
        if change.report_type in ("iterable_item_added", "dictionary_item_added"):
            yield f"{place} is not expected: {_cut(repr(now), _WIDTH)}"
        elif change.report_type in ("iterable_item_removed", "dictionary_item_removed"):
            yield f"{place} is missing: {_cut(repr(was), _WIDTH)}"
        else:
            yield f"{place}: expected {_cut(repr(was), _WIDTH)}, got {_cut(repr(now), _WIDTH)}"
    if len(found) > _MOST_ROWS:
        yield f"and {len(found) - _MOST_ROWS} more"


def _unpaired(mismatch: Unpaired) -> Iterator[str]:
    counts = [
        (mismatch.agreeing, "as expected"), (len(mismatch.missing), "missing"), (len(mismatch.extra), "not expected"),
    ]  # fmt: skip
    yield "calls: " + ", ".join(f"{count:,} {what}" for count, what in counts if count)
    free = {id(call): call for call in mismatch.free}
    for wanted in mismatch.missing[:_MOST_ROWS]:
        same_name = [call for call in free.values() if call.name == wanted.name]
        if same_name:
            nearest = min(same_name, key=lambda call: len(wanted.mismatches(call) or ()))
            del free[id(nearest)]
            yield f"~ {_shown(nearest)} (step {nearest.step})"
            yield from _indented(_indented(_differing(wanted, nearest)))
        else:
            yield f"- {wanted!r}{did_you_mean(wanted.name, (call.name for call in free.values()))}"
    extra = [call for call in mismatch.extra if id(call) in free]
    yield from (f"+ {_shown(call)} (step {call.step})" for call in extra[:_MOST_ROWS])
    if hidden := len(mismatch.missing[_MOST_ROWS:]) + len(extra[_MOST_ROWS:]):
        yield f"and {hidden:,} more"


def _not_together(mismatch: NotTogether) -> Iterator[str]:
    expectation = mismatch.expectation
    assert isinstance(expectation, Together)
    never = [each for each in expectation.calls if all(each.mismatches(call) for call in mismatch.trajectory)]
    if never:
        yield from _nowhere(never[0], mismatch.trajectory)
    elif mismatch.closest:
        step = f"step {mismatch.closest[0].step} has {mismatch.paired}: {' + '.join(map(_shown, mismatch.closest))}"
        yield f"no step has all {len(expectation.calls)}; {step}"


def _not_before(mismatch: NotBefore) -> Iterator[str]:
    expectation, early = mismatch.expectation, mismatch.early
    assert isinstance(expectation, Before)
    yield f"{_shown(early)} was asked for in step {early.step}, with no {expectation.first!r} in an earlier one"
    if not mismatch.firsts:
        yield from _nowhere(expectation.first, mismatch.trajectory)
    elif mismatch.firsts[0].step == early.step:
        yield f"{_shown(mismatch.firsts[0])} was asked for in the same step, when its result was not there yet"
    else:
        yield f"{_shown(mismatch.firsts[0])} was asked for in step {mismatch.firsts[0].step}, too late"


def _miscounted(mismatch: Miscounted) -> Iterator[str]:
    expectation = mismatch.expectation
    assert isinstance(expectation, Counted)
    if not mismatch.calls:
        yield from _nowhere(expectation.call, mismatch.trajectory)
        return
    yield f"it was asked for {_times(mismatch.calls)}, in {_steps(mismatch.calls)}"
    yield from (f"  {shown}" for shown in list(dict.fromkeys(map(_shown, mismatch.calls)))[:3])


def _times(calls: Sequence[ToolCall]) -> str:
    return "once" if len(calls) == 1 else f"{len(calls)} times"


def _steps(calls: Sequence[ToolCall]) -> str:
    found = list(dict.fromkeys(str(call.step) for call in calls))
    return f"step{'s' * (len(found) > 1)} {', '.join(found[:12])}{', ...' * (len(found) > 12)}"


def _rows(rows: Sequence[Row]) -> Iterator[str]:
    agreeing = sum(row.agrees for row in rows)
    missing = [row.expected for row in rows if row.expected and row.actual is None]
    extra = [row.actual for row in rows if row.actual and row.expected is None]
    counts = [
        (agreeing, "as expected"),
        (len(missing), "missing"),
        (len(extra), "not expected"),
        (len(rows) - agreeing - len(missing) - len(extra), "with other arguments"),
    ]
    yield "calls: " + ", ".join(f"{count} {what}" for count, what in counts if count)
    hints = dict(_hints(missing, extra))
    for agree, group in itertools.groupby(enumerate(rows), key=lambda numbered: numbered[1].agrees):
        stretch = list(group)
        if agree and len(rows) > _MOST_ROWS:
            starts, ends = stretch[0][0] == 0, stretch[-1][0] == len(rows) - 1
            yield from _agreeing([row for _, row in stretch], before=not starts, after=not ends)
        else:
            for _, row in stretch:
                yield from _row(row, hints)


def _agreeing(rows: Sequence[Row], *, before: bool, after: bool) -> Iterator[str]:
    """Calls that are as expected: those beside a difference, and how many others."""
    lines = [f"  {_shown(row.actual)}" for row in rows if row.actual]
    hidden = lines[before : len(lines) - after]
    if len(hidden) > 1:
        lines[before : len(lines) - after] = [f"  ... {len(hidden)} more as expected"]
    yield from lines


def _hints(missing: Sequence[ExpectedCall], extra: Sequence[ToolCall]) -> Iterator[tuple[int, str]]:
    """For calls that are missing, by their identity, where they may have gone."""
    for wanted in missing[:_MOST_ROWS]:
        elsewhere = next((call for call in extra if wanted.mismatches(call) is None), None)
        if elsewhere is not None:
            yield id(wanted), f"  (it was asked for in step {elsewhere.step}, out of order)"
        elif near := did_you_mean(wanted.name, [call.name for call in extra if call.name != wanted.name]):
            yield id(wanted), near


def _row(row: Row, hints: Mapping[int, str]) -> Iterator[str]:
    if row.actual is None:
        yield f"- {row.expected!r}{hints.get(id(row.expected), '')}"
    elif row.expected is None:
        yield f"+ {_shown(row.actual)}"
    elif row.agrees:
        yield f"  {_shown(row.actual)}"
    else:
        yield f"~ {_shown(row.actual)}"
        yield from _indented(_indented(_differing(row.expected, row.actual)))


def _out_of_order(mismatch: NotInOrder) -> Iterator[str]:
    found = mismatch.found
    if len(mismatch.missing) > 1:
        after = f"after {_shown(found[-1])} (step {found[-1].step})" if found else "in the whole run"
        yield f"{after} none of these was asked for: {', '.join(map(repr, mismatch.missing[:6]))}"
        return
    wanted = mismatch.missing[0]
    matching = [call for call in mismatch.trajectory if wanted.mismatches(call) is None]
    if not matching:
        yield from _nowhere(wanted, mismatch.trajectory)
    elif found and matching[-1] is found[-1]:
        yield f"{wanted!r} was not asked for again after {_shown(found[-1])} (step {found[-1].step})"
    elif found and matching[-1].step == found[-1].step:
        yield f"{wanted!r} was asked for in the same step as {_shown(found[-1])} (step {found[-1].step}), not after it"
    elif found:
        yield f"{wanted!r} was asked for in {_steps(matching)}, not after {_shown(found[-1])} (step {found[-1].step})"


def _nowhere(wanted: ExpectedCall, trajectory: Trajectory) -> Iterator[str]:
    same_name = [call for call in trajectory if call.name == wanted.name]
    if not same_name:
        near = did_you_mean(wanted.name, (call.name for call in trajectory))
        unoffered = ""
        if not near and trajectory.offered is not None and wanted.name not in trajectory.offered:
            unoffered = f", nor offered to a model{did_you_mean(wanted.name, trajectory.offered)}"
        yield f"{wanted.name!r} was never called{near}{unoffered}"
        return
    how = "with these arguments" if wanted.arguments else "so"
    yield f"{wanted.name!r} was called {_times(same_name)}, never {how}"
    closest = min(same_name, key=lambda call: len(wanted.mismatches(call) or ()))
    yield f"closest: {_shown(closest)}"
    yield from _indented(_differing(wanted, closest))


def _happened(trajectory: Trajectory) -> str:
    steps = [" + ".join(call.name for call in step) for step in trajectory.steps]
    return f"what happened: {_cut(' -> '.join(steps), _WIDTH) or 'no tool was called'}"


def _shown(call: ToolCall) -> str:
    return _cut(str(call), _WIDTH)


def budget_lines(over: OverBudget) -> Iterator[str]:
    """What a run used of its budget, where that is too much, and whether a call was stopped for it."""
    yield (
        "the next model call was stopped: it would go over the budget"
        if over.stopped
        else "this run is over its budget"
    )
    assert isinstance(over.expectation, Budget)
    for name, spent in over.spent.items():
        bound = over.expectation.bounds[name]
        figures = (dollars(spent), dollars(bound)) if name == "usd" else (f"{spent:,.6g}", f"{bound:,.6g}")
        yield f"  {name:<8} {figures[0]} used of {figures[1]}"
    yield "  to allow more: budget={...} in the test's @pytest.mark.agentops"


def mutant_line(mutant: Mutant) -> str:
    """What was done to a trace."""
    was, now = mutant.was, mutant.now
    if mutant.kind == "swapped" and was and now:
        return f"swapped   {_shown(was)} in step {was.step} with {_shown(now)} in step {now.step}"
    if was is None:
        return f"added     {_shown(now)} to step {now.step}" if now else "blanked   the answer"
    became = f", to {now.name}" if now else ""
    if mutant.kind == "changed" and now:
        name = next(name for name, value in was.arguments.items() if value is not now.arguments[name])
        became = f", {name} to {_cut(repr(now.arguments[name]), _WIDTH)}"
    return f"{mutant.kind:<9} {_shown(was)} in step {was.step}{became}"


# --- misses ----------------------------------------------------------------------------------------------------------


def miss_lines(miss: Miss) -> Iterator[str]:
    """A request without a recorded answer: what was asked, what came nearest, why it differs, what to type."""
    if miss.ran_out is not None:
        yield from _ran_out(miss, miss.ran_out)
        return
    if miss.websocket is not None:
        yield from _on_websocket(miss, miss.websocket)
        return
    yield f"no recorded reply for this request, and nothing may go live (record mode: {miss.mode})"
    yield f"  request   {_request(miss)}"
    if not miss.exists:
        yield f"  cassette  {_relative(miss.cassette)} does not exist"
        yield f"  to record it: {_command(miss.test, 'once')}"
        return
    yield f"  cassette  {_relative(miss.cassette)} ({_counted(miss.recorded, 'reply', 'replies')}, {miss.used:,} used)"
    if miss.used_up:
        yield "  closest   this very request is recorded, and each of its replies was given already"
    elif miss.nearest is None:
        yield "  closest   nothing: it holds no reply for this test"
    else:
        yield from _nearest(miss.nearest, miss)
    yield f"  to record again: {_command(miss.test, 'changed')}"


def _on_websocket(miss: Miss, exchange: Exchange) -> Iterator[str]:
    more = "more" if miss.nearest is None else "something else"
    yield f"the client says {more} on this WebSocket than was recorded (record mode: {miss.mode})"
    yield f"  request   {exchange.request.method} {exchange.request.url}"
    yield f"  says      {_cut(miss.request.body.decode('utf-8', 'replace'), 90)}"
    yield f"  cassette  {_relative(miss.cassette)}, #{exchange.number}"
    if miss.nearest is not None:
        yield from _nearest(miss.nearest, miss)
    yield f"  to record again: {_command(miss.test, 'changed')}"


def _ran_out(miss: Miss, exchange: Exchange) -> Iterator[str]:
    if exchange.is_websocket:
        yield "the client waits on this WebSocket for more than the recorded server had said by then"
        yield f"  request   {_request(miss)}"
        yield f"  cassette  {_relative(miss.cassette)}, #{exchange.number}"
        yield f"  to record again: {_command(miss.test, 'changed')}"
        return
    yield "the recorded stream ends here, and the reader wants more of it (its first reader had left early)"
    yield f"  request   {_request(miss)}"
    read = len(list(exchange.response.pieces())) if exchange.response else 0
    yield f"  cassette  {_relative(miss.cassette)}, #{exchange.number}: {_counted(read, 'piece')} recorded"
    yield f"  to record again: {_command(miss.test, 'all')}"


def unplayed_lines(unplayed: Unplayed) -> Iterator[str]:
    """Recorded replies that were not asked for: which, and what to type."""
    count = len(unplayed.exchanges)
    yield f"{count} of {unplayed.recorded} recorded replies were never asked for"
    yield f"  cassette  {_relative(unplayed.cassette)}"
    for exchange in unplayed.exchanges[:10]:
        yield f"  {exchange_line(exchange)}"
    if count > 10:
        yield f"  and {count - 10} more"
    yield f"  to record again: {_command(unplayed.test, 'changed')}"


def exchange_line(exchange: Exchange) -> str:
    """An exchange in one line: its number, where it went, what came back and the last thing that was said."""
    outcome = exchange.response.status if exchange.response else exchange.failure and exchange.failure.kind
    request = f"{exchange.request.method} {_place(exchange)}"
    if exchange.is_websocket:
        frames = frames_of(exchange.response.body if exchange.response is not None else b"")
        said = [sum(frame.sender == sender and frame.kind != "close" for frame in frames) for sender in _SIDES]
        outcome = f"{outcome}, a WebSocket: the client said {said[0]}, the server {said[1]}"
    return f"#{exchange.number}  {request} -> {outcome}{_question(exchange.request.json)}"


_SIDES = ("client", "server")


def _nearest(nearest: Exchange, miss: Miss) -> Iterator[str]:
    asked, recorded, causes = miss.request, nearest.request, miss.causes
    found = [change for cause in causes for change in cause.changes]
    for each in miss.revised:
        versions = f"{each.recorded or 'no version'}; now {each.now or 'no version'}"
        unbumped = " (not bumped)" if each.recorded == each.now else ""
        yield f"  prompt    made with {each.name} {versions}{unbumped}{_differing_words(found)}"
    if causes:
        yield f"  cause     {'; '.join(_cause(cause) for cause in causes[:3])}"
    if any(cause.kind == "endpoint" for cause in causes) and recorded.location.query == asked.location.query:
        yield f"  closest   #{nearest.number} goes to {recorded.method} {recorded.url}"
    elif found:
        places = ", ".join(change.pointer or "the whole body" for change in found[:3])
        more = f" and {_counted(len(found) - 3, 'more place')}" if len(found) > 3 else ""
        yield f"  closest   #{nearest.number} differs in {places}{more}"
    elif recorded.location.query != asked.location.query:
        yield f"  closest   #{nearest.number} has the query {recorded.location.query!r}"
    elif recorded.body != asked.body:
        yield f"  closest   #{nearest.number} differs in its body, which is not JSON"
    else:
        yield f"  closest   #{nearest.number} is the same but for which of its secrets are the same"
    for change in found[:3]:
        yield from (f"            {line}" for line in _change(change))
    yield from _cure(causes, asked)


_CAUSES: Mapping[str, str] = {
    "endpoint": "it goes to another endpoint",
    "model": "another model",
    "prompt": "the prompt changed",
    "tools": "the tools changed",
    "tool result": "a tool gave another result",
    "earlier answer": "an earlier answer is another one",
    "output schema": "the output schema changed",
    "arguments": "a tool got other arguments",
    "options": "other options",
    "body": "the body changed",
    "volatile value": "the same request but for a value that changes from run to run",
    "white space": "the same request but for white space",
}


def _cause(cause: Cause) -> str:
    return f"{_CAUSES[cause.kind]} ({cause.detail})" if cause.detail else _CAUSES[cause.kind]


def _cure(causes: Sequence[Cause], asked: Request) -> Iterator[str]:
    """What to write where nothing but a volatile value differs."""
    if causes and all(cause.kind == "volatile value" for cause in causes):
        changes = [change for cause in causes for change in cause.changes]
        yield f"  to cure it: {_ignoring([change.pointer for change in changes], asked.json)}"
        if any(isinstance(change.asked, str) and len(change.asked) > 60 for change in changes):
            yield "              (that leaves out the whole text; better freeze the value where the test makes it)"


def _ignoring(pointers: Iterable[str], body: Any) -> str:
    paths = ", ".join(json.dumps(json_path(pointer, body)) for pointer in dict.fromkeys(pointers))
    return f"@pytest.mark.agentops(ignore=[{paths}])"


def volatile_lines(found: Sequence[Volatile], body: Any = None) -> Iterator[str]:
    """Values in a recording that look as if the next run would send others, and how to leave them out."""
    for each in found[:5]:
        yield f"{json_path(each.pointer, body)} holds a {each.kind}: {_cut(each.value, 60)}"
    if len(found) > 5:
        yield f"and {len(found) - 5} more"
    whole = [each.pointer for each in found if each.whole]
    if whole:
        yield f"to leave it out: {_ignoring(whole, body)}"
    if len(whole) < len(found):
        yield "inside a longer text it is better frozen where the test makes it, or handed in by the test"
        inside = [each.pointer for each in found if not each.whole]
        yield f"to leave out the whole text: {_ignoring(inside, body)}"


def _change(change: Change) -> Iterator[str]:
    texts = [text for text in (change.recorded, change.asked) if isinstance(text, str)]
    if len(texts) == 2 and max(map(len, texts)) > 60:
        yield from _word_diff(*texts)
        return
    yield f"recorded  {_json(change.recorded)}"
    yield f"asked     {_json(change.asked)}"


def _word_diff(recorded: str, asked: str, *, context: int = 4, most: int = 4) -> Iterator[str]:
    """The stretches where two texts differ, as `[-old-] {+new+}` between the words around them."""
    left, right = re.findall(r"\s+|[^\s]+", recorded), re.findall(r"\s+|[^\s]+", asked)
    blocks = difflib.SequenceMatcher(None, left, right, autojunk=False).get_grouped_opcodes(context * 2)
    for number, block in enumerate(blocks):
        if number == most:
            yield "and further on"
            return
        words = []
        for kind, start, end, other_start, other_end in block:
            old, new = "".join(left[start:end]), "".join(right[other_start:other_end])
            if kind == "equal":
                words.append(old)
            else:
                words += [f"[-{_cut(old, 80)}-]" if old else "", f"{{+{_cut(new, 80)}+}}" if new else ""]
        yield _cut(" ".join("".join(words).split()), 3 * _WIDTH)


def _differing_words(changes: Sequence[Change]) -> str:
    """How many words of the messages differ, and in which message."""
    told = []
    for change in changes:
        texts = change.recorded, change.asked
        index = re.match(r"/(?:messages|input)/(\d+)/", change.pointer)
        if index and isinstance(texts[0], str) and isinstance(texts[1], str):
            words = difflib.SequenceMatcher(None, texts[0].split(), texts[1].split(), autojunk=False)
            count = sum(max(a2 - a1, b2 - b1) for kind, a1, a2, b1, b2 in words.get_opcodes() if kind != "equal")
            told.append(f"{_counted(count, 'word')} differ{'s' * (count == 1)} in message {index[1]}")
    return f"; {told[0]}" if told else ""


def _request(miss: Miss) -> str:
    return f"{miss.request.method} {miss.request.url}{_question(miss.request.json)}"


def _place(exchange: Exchange) -> str:
    location = exchange.request.location
    return f"{location.scheme}://{location.hostname}{location.path}"


def _question(body: Any) -> str:
    """The last thing that was said in a request, to tell one question from another."""
    if not isinstance(body, Mapping):
        return ""
    said = body.get("messages") or body.get("input")
    if isinstance(said, list) and said and isinstance(said[-1], Mapping):
        said = said[-1].get("content") or said[-1].get("output") or ""
    return f"  {_cut(_json(said), 60)}" if said else ""


def _command(test: str, mode: str) -> str:
    if not test:
        return f"run with record mode {mode}"
    name, option, takes = test.partition(" --agentops-trials=")
    return f"pytest {shlex.quote(name)}{option}{takes} --agentops-record={mode}"


def refusal_lines(refusal: Refusal) -> Iterator[str]:
    """A connection that was refused: who wanted to go where, from which line, and what to type."""
    yield f"{refusal.client} wanted to reach {refusal.target}, and nothing may go live"
    if refusal.test:
        yield f"  test      {refusal.test}"
    if refusal.place:
        yield f"  line      {refusal.place}"
    if refusal.instead:
        yield f"  how       through {refusal.client}, which can be neither recorded nor replayed"
        yield f"  instead   {refusal.instead}"
    elif refusal.child:
        yield "  how       through a child process or libcurl, which can be neither recorded nor replayed"
    else:
        yield "  how       past the clients that are recorded and replayed"
    yield f'  to let it through: allow_hosts = ["{refusal.host}"] in [tool.agentops]'


def secret_lines(found: SecretFound) -> Iterator[str]:
    """A save that was refused: which file, which secrets, and where."""
    yield f"{_relative(Path(str(found.path)))} was not written: {_counted(len(found.hits), 'secret')} would stand in it"
    for hit in found.hits[:10]:
        yield f"  line {hit.line}, column {hit.column}: {hit.kind} ({hit.shown})"
    if len(found.hits) > 10:
        yield f"  and {len(found.hits) - 10} more"
    yield "  to take it out: patterns, names or environment under [tool.agentops.redact]; to let it stand: allow"


def drift_lines(recorded: Trace, live: Trace) -> Iterator[str]:
    """Where what happens today is not what was recorded."""
    if len(recorded.model_calls) != len(live.model_calls):
        yield f"model calls: {len(recorded.model_calls)} recorded, {len(live.model_calls)} now"
    for was, now in zip(recorded.model_calls, live.model_calls, strict=False):
        yield from (f"{now.id or 'a call'}: {line}" for line in _call_drift(was, now))
    if recorded.trajectory != live.trajectory:
        yield f"trajectory: {_happened(recorded.trajectory).removeprefix('what happened: ')} (recorded)"
        yield f"            {_happened(live.trajectory).removeprefix('what happened: ')} (now)"
    elif recorded.response != live.response:
        yield "the answer:"
        yield from (f"  {line}" for line in _word_diff(recorded.response, live.response))


def _call_drift(was: ModelCall, now: ModelCall) -> Iterator[str]:
    if was.model != now.model:
        yield f"answered by {now.model}, recorded from {was.model}"
    if was.finish_reason != now.finish_reason:
        yield f"finished with {now.finish_reason}, recorded {was.finish_reason}"
    if str(was.error) != str(now.error):
        yield f"failed: {now.error}, recorded {was.error}"


# --- traces ----------------------------------------------------------------------------------------------------------


def trace_lines(trace: Trace) -> Iterator[str]:
    """A trace as a tree: each model call with the tool calls it asked for, their results and the answer."""
    if not trace.captured:
        yield "nothing was captured: no HTTP request was seen"
        return
    yield totals(trace)
    for render in dict.fromkeys((render.name, render.version) for render in trace.prompts):
        yield f"  prompt {render[0]} {render[1] or '(no version)'}"
    aside = [call for call in trace.model_calls if call.operation != "chat"]
    for step in trace.steps:
        while aside and aside[0].step <= step.index:
            yield from _indented(_model_call(aside[0].operation, aside.pop(0)))
        yield from _indented(_step(step))
    for call in aside:
        yield from _indented(_model_call(call.operation, call))
    for finding in trace.findings:
        yield f"  finding: {_cut(finding.message, _WIDTH)} ({finding.kind})"


def totals(trace: Trace) -> str:
    """A trace in one line: calls, tokens, cost, seconds, and where it comes from."""
    return ", ".join(
        [
            _counted(len(trace.model_calls), "model call"),
            _counted(len(trace.tool_calls), "tool call"),
            _figure(lambda: f"{trace.usage.total_tokens:,} tokens", "tokens not reported"),
            _figure(lambda: dollars(trace.cost), "no known price"),
            _figure(lambda: f"{trace.duration:.1f} s", "no times"),
            trace.source,
        ]
    )


def dollars(amount: float) -> str:
    """An amount of US dollars with as many digits as it needs."""
    return f"${amount:.2f}" if amount >= 1 else f"${amount:.4f}"


def _counted(count: int, what: str, several: str = "") -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {several or f'{what}s'}"


def _figure(figure: Callable[[], str], otherwise: str) -> str:
    try:
        return figure()
    except UnknownFigure:
        return otherwise


def _step(step: Step) -> Iterator[str]:
    if step.model_call is not None:
        yield from _model_call(f"step {step.index}", step.model_call)
        return
    yield f"step {step.index}  {' · '.join([*step.agents, 'run by the program'])}"
    yield from _ran(step.tool_calls)


def _model_call(title: str, call: ModelCall) -> Iterator[str]:
    about = [call.model or call.provider]
    if call.agent is not None:
        about.insert(0, call.agent)
    if call.usage:
        about.append(f"{call.usage.input_tokens:,} in, {call.usage.output_tokens:,} out")
    if call.latency is not None:
        about.append(f"{call.latency:.1f} s")
    if len(call.attempts) > 1:
        about.append(f"{len(call.attempts)} attempts")
    if polls := [number for attempt in call.attempts for number in attempt.polls]:
        about.append(f"asked for again {_counted(len(polls), 'time')}")
    yield f"{title}  {' · '.join(about)}"
    yield from _ran(call.tool_calls)
    if call.error is not None:
        yield f"  failed: {_cut(str(call.error), _WIDTH)}"
    elif call.response:
        yield f"  {_cut(' '.join(call.response.split()), _WIDTH)!r}"


def _ran(tool_calls: Sequence[ToolCall]) -> Iterator[str]:
    for tool_call in tool_calls:
        outcome = _cut(_json(tool_call.result), 60) if tool_call.status in ("ok", "error") else tool_call.status
        yield f"  {_shown(tool_call)} -> {outcome}"


def _json(value: object) -> str:
    if value is ABSENT:
        return "nothing"
    return json.dumps(value, ensure_ascii=False, default=str)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _relative(path: Path) -> str:
    try:
        return os.path.relpath(path)
    except ValueError:  # Another drive on Windows.
        return str(path)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def explained(op: str, left: object, right: object, *, whole: bool = False) -> list[str] | None:
    """The lines for a failed comparison that has to do with a trace, or None when it has not."""
    asked = isinstance(right, Trajectory | ResponseText) and not isinstance(left, Trajectory | ResponseText)
    if asked and op in ("==", "!="):
        left, right = right, left
    if isinstance(left, ResponseText) and isinstance(right, Expectation) and op in ("==", "!="):
        mismatch = right.mismatch(left)
        lines = mismatch_lines(mismatch, whole=whole) if mismatch else agreement_lines(left, right)
        return list(lines)
    if isinstance(left, Trajectory) and op == "==":
        if isinstance(right, Trajectory):
            return list(trajectory_lines(left, right))
        expectation = left.expectation(right)
        mismatch = expectation.mismatch(left) if isinstance(expectation, Expectation) else None
        return list(mismatch_lines(mismatch, whole=whole)) if mismatch else None
    if isinstance(left, Trajectory) and op == "!=":
        return list(agreement_lines(left, right))
    if isinstance(right, Trajectory) and op in ("in", "not in"):
        wanted = ExpectedCall(left, {}) if isinstance(left, str) else left
        if isinstance(wanted, ExpectedCall):
            return list((absence_lines if op == "in" else presence_lines)(wanted, right))
    return None
