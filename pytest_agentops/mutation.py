"""The mutation check: would the comparisons that a test made notice an agent that does something else?

The trace of a passing test is changed in one place at a time, and what the test compared is compared again. No model is
asked and no agent runs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pytest_agentops.trace import Comparison, ModelCall, Reading, ResponseText, Step, ToolCall, Trace, tool_names

MOST_MUTANTS = 500
"""Of a trace that gives more, these many are tried, spread evenly over it."""

STRANGER = "another_tool"
"""The name of a tool that no expectation names."""

Kind = Literal["dropped", "doubled", "swapped", "renamed", "changed", "added", "blanked"]


@dataclass(frozen=True)
class Mutant:
    """A run that differs from the recorded one in one place."""

    kind: Kind
    calls: Mapping[int, ModelCall]
    """What stands instead of the model calls of these numbers."""
    was: ToolCall | None = None
    """The tool call that was changed, the earlier one of those that were swapped; None where one was added."""
    now: ToolCall | None = None
    """What it became, the later one of those that were swapped, or what was added."""


@dataclass(frozen=True)
class Survey:
    """What a test would have noticed."""

    tried: int
    unnoticed: tuple[Mutant, ...]
    compared: int
    """How many different comparisons could be made again."""


def survey(trace: Trace, comparisons: Sequence[Comparison]) -> Survey:
    """Which mutants of this trace no comparison that was made notices: none comes out otherwise, none raises."""
    asked = [each for each in comparisons if each.subject.origin is not None]
    found = list(mutants(trace))
    tried = found[:: -(-len(found) // MOST_MUTANTS)] if found else []
    unnoticed = tuple(mutant for mutant in tried if not any(_notices(each, mutant, trace) for each in asked))
    return Survey(len(tried), unnoticed, len(asked))


def _notices(comparison: Comparison, mutant: Mutant, trace: Trace) -> bool:
    origin = comparison.subject.origin
    assert origin is not None
    recorded = {call.number: call.id for call in trace.model_calls}
    if not any(call.number in mutant.calls and recorded[call.number] == call.id for call in origin.model_calls):
        return False  # It is of another stretch of the run, or of another run.
    run = _changed(origin, mutant.calls)
    if isinstance(comparison.subject, ResponseText) and run.response == str(comparison.subject):
        return False  # The answer is the same, whatever was asked of it.
    try:
        if isinstance(comparison.subject, ResponseText):
            return comparison.holds_of(run.response) != comparison.holds
        return comparison.holds_of(comparison.subject.of_run(run)) != comparison.holds
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # A test whose comparison raises fails; what pytest raises is no Exception.
        return True


def _changed(run: Reading, calls: Mapping[int, ModelCall]) -> Reading:
    changed = tuple(calls.get(call.number, call) for call in run.model_calls)
    if isinstance(run, Step):
        return replace(run, model_call=changed[0])
    return Trace(changed, exchanges=len(changed), program_calls=run.program_calls)


# --- what may be otherwise -------------------------------------------------------------------------------------------


def mutants(trace: Trace) -> Iterator[Mutant]:
    """The runs that differ from this one in one place."""
    steps = [step for step in trace.steps if step.model_call is not None and step.model_call.number]
    for step in steps:
        for index, call in enumerate(step.tool_calls):
            yield from _of_call(step, index, call)
    acting = [step for step in steps if step.tool_calls]
    for step, after in itertools.pairwise(acting):
        if step.trajectory != after.trajectory:
            yield _swapped(step, after)
    yield from _with_another(trace, steps, acting)
    answering = [call for step in steps for call in step.model_calls if call.is_answer]
    if answering and answering[-1].response:
        answer = answering[-1]
        yield Mutant("blanked", {answer.number: replace(answer, response=ResponseText(""))})


def _of_call(step: Step, index: int, call: ToolCall) -> Iterator[Mutant]:
    before, after = step.tool_calls[:index], step.tool_calls[index + 1 :]
    renamed = replace(call, name=STRANGER)
    yield Mutant("dropped", _asking(step, *before, *after), call)
    yield Mutant("doubled", _asking(step, *before, call, call, *after), call)
    yield Mutant("renamed", _asking(step, *before, renamed, *after), call, renamed)
    if isinstance(call.arguments, Mapping):
        for name, value in call.arguments.items():
            now = replace(call, arguments={**call.arguments, name: _another(value)})
            yield Mutant("changed", _asking(step, *before, now, *after), call, now)


def _swapped(step: Step, after: Step) -> Mutant:
    first = [replace(call, step=step.index) for call in after.tool_calls]
    second = [replace(call, step=after.index) for call in step.tool_calls]
    return Mutant(
        "swapped", {**_asking(step, *first), **_asking(after, *second)}, step.tool_calls[0], after.tool_calls[0]
    )


def _with_another(trace: Trace, steps: Sequence[Step], acting: Sequence[Step]) -> Iterator[Mutant]:
    """Runs with a call besides: of each tool that was offered and not called, else of one that nobody knows."""
    if not steps:
        return
    called = {call.name for call in trace.tool_calls}
    offered = {name for call in trace.model_calls for tool in call.tools for name in tool_names(tool)}
    for name in sorted(offered - called) or [STRANGER]:
        step = acting[-1] if acting else steps[-1]
        # Beside an answer only a tool of the provider's can stand; any other would make it none.
        added = ToolCall(name, step=step.index, by_provider=not acting)
        yield Mutant("added", _asking(step, *step.tool_calls, added), None, added)


def _asking(step: Step, *calls: ToolCall) -> dict[int, ModelCall]:
    return {call.number: replace(call, tool_calls=calls) for call in step.model_calls}


def _another(value: Any) -> Any:
    """A value of the same kind that is not this one."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1 if value + 1 not in (value, math.inf) and value == value else 0
        case str():
            return "another text" if value != "another text" else "a text"
        case list():
            return value[:-1] or [None]
        case Mapping():
            return {} if value else {"another": None}
    return "another text"
