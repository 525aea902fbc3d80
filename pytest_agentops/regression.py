"""Base and head side by side: what became of the behaviour of recorded tests."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from statistics import fmean
from typing import Any, Literal

from pytest_agentops.assembly import judgements
from pytest_agentops.errors import UnknownFigure
from pytest_agentops.expect.calls import Difference, differences
from pytest_agentops.tape import Tape
from pytest_agentops.trace import ModelCall, ToolCall, Trace, tool_names
from pytest_agentops.trials import (
    CONFIDENCE,
    Pair,
    Rate,
    better_by_chance,
    corrected,
    difference,
    takes_needed,
    worse_by_chance,
)
from pytest_agentops.volatile import normalised

Verdict = Literal[
    "regressed", "improved", "changed", "too few runs to tell", "not comparable", "new", "gone", "same"
]  # fmt: skip
VERDICTS: tuple[Verdict, ...] = (
    "regressed", "not comparable", "too few runs to tell", "changed", "improved", "new", "gone", "same"
)  # fmt: skip
"""In the order in which a reviewer wants to read them."""

MARGIN = 0.2
"""A difference between two rates that is surely smaller than this counts as none."""

EditKind = Literal["added", "removed", "moved", "changed"]


@dataclass(frozen=True)
class Take:
    """One run of a test, as far as runs are compared: plain data."""

    outcome: Literal["passed", "failed"] | None = None
    """How it ended; None where the recording does not tell."""
    number: int = 1
    """Which of several takes it is."""
    problem: str = ""
    """Why what happened does not tell what the agent does: nobody answered it, as a rule."""
    calls: tuple[ToolCall, ...] = ()
    """The tool calls, without their results."""
    response: str = ""
    figures: Mapping[str, float | None] = field(default_factory=dict)
    """Tokens, dollars, seconds as recorded, model calls and tool calls; None where the evidence does not give one."""
    latencies: tuple[float, ...] = ()
    """The seconds of each model call, as recorded."""
    findings: tuple[str, ...] = ()
    """Their kinds."""
    models: tuple[str, ...] = ()
    """Those that answered."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """Those that were offered, with the digest of each declaration."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """What judges were asked, with the share of their votes that said yes."""
    said: str = ""
    """What the test began with: the user's messages of the first model call."""
    inputs: Mapping[str, Any] | None = None
    """What the prompts of the first model call were rendered with; None where it carried none."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """The prompts that were rendered, with their versions."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """The same with their digests."""

    @classmethod
    def of(cls, tape: Tape, number: int = 1) -> Take:
        """What a recording tells."""
        outcome = tape.outcome if tape.outcome in ("passed", "failed") else None
        calls = judgements(tape.exchanges, recorded=tape.recorded)
        return cls.seen(tape.trace(), calls, outcome=outcome, number=number)

    @classmethod
    def seen(
        cls,
        trace: Trace,
        judged: Sequence[ModelCall] = (),
        *,
        outcome: Literal["passed", "failed"] | None,
        number: int = 1,
        problem: str = "",
    ) -> Take:
        """What a run tells; `judged` are the model calls that judged it."""
        first = trace.chats[0] if trace.chats else None
        renders = [trace.prompts[index] for index in first.prompts if index < len(trace.prompts)] if first else []
        said = [message.text for message in first.messages if message.role == "user"] if first else []
        return cls(
            outcome=outcome,
            number=number,
            problem=problem,
            calls=tuple(
                replace(call, arguments=_plain(call.arguments), result=None, id="") for call in trace.tool_calls
            ),
            response=str(trace.response),
            figures=_figures(trace),
            latencies=tuple(
                call.latency for call in trace.model_calls if call.latency is not None and call.latency < _LARGEST
            ),
            findings=tuple(finding.kind for finding in trace.findings),
            models=tuple(dict.fromkeys(call.model for call in trace.model_calls if call.model)),
            tools={
                name: hashlib.sha256(json.dumps(tool, sort_keys=True, default=str).encode()).hexdigest()[:12]
                for call in trace.model_calls
                for tool in call.tools
                for name in tool_names(tool)
            },
            scores=_scores(judged),
            said=str(_steady("\n".join(said))),
            inputs={name: _steady(value) for render in renders for name, value in render.inputs.items()}
            if renders
            else None,
            prompts={render.name: render.version or "" for render in trace.prompts},
            digests={render.name: render.digest for render in trace.prompts},
        )


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
        value = float(figure()) if trace.model_calls else None
    except (UnknownFigure, OverflowError):
        return None
    return value if value is not None and abs(value) < _LARGEST else None


_LARGEST = 1e15
"""No figure of a run is larger; what claims to be is none."""
_DEEPEST = 50
"""How deep arguments are looked at."""


def _plain(value: Any, depth: int = 0) -> Any:
    """Arguments as every reader of JSON takes them: numbers that are numbers, and nothing nested without end."""
    if depth > _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value


def _scores(judged: Sequence[ModelCall]) -> dict[str, float]:
    """What judges were asked, each with the share of votes for it; what is no vote is left out."""
    votes: dict[str, list[bool]] = {}
    for call in judged:
        try:
            vote = json.loads(call.response)["verdict"] == "pass"
            asked = next(message.text for message in reversed(call.messages) if message.role == "user")
        except (ValueError, TypeError, KeyError, StopIteration, RecursionError):
            continue
        votes.setdefault(_criterion(asked), []).append(vote)
    return {criterion: fmean(each) for criterion, each in votes.items()}


def _criterion(asked: str) -> str:
    """What the prompt of a judge was given to judge by."""
    criterion = re.split(r"\n\s*The (?:question|answer), as data:", asked, maxsplit=1)[0]
    return " ".join(criterion.removeprefix("The criterion:").split())[:200]


def _steady(value: Any) -> object:
    """The value without what changes from run to run, such as today's date."""
    return normalised(value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str))


# --- one test --------------------------------------------------------------------------------------------------------


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
    """One measure on both sides, the mean of several takes; None where the evidence does not give it."""

    name: str
    base: float | None
    head: float | None

    @property
    def change(self) -> float | None:
        """Head minus base."""
        return None if self.base is None or self.head is None else self.head - self.base


@dataclass(frozen=True)
class Chance:
    """How likely a difference between takes is, if nothing had changed; corrected for the number of tests asked."""

    worse: float
    better: float
    enough: float
    """A chance of at most this much is evidence."""
    tests: int = 1
    """How many tests were asked at once."""


@dataclass(frozen=True)
class Case:
    """One recorded test on both sides, with one take or several."""

    name: str
    """The id of the test; where nothing was run, the path of its cassette."""
    base: tuple[Take, ...] = ()
    head: tuple[Take, ...] = ()
    trouble: str = ""
    """Why its recordings cannot be read, where they cannot."""
    left_out: str = ""
    """Why it did not run, where it need not; the head is then what is recorded."""
    chance: Chance | None = None
    """Given where there are several takes, by `weighed`."""

    @cached_property
    def verdict(self) -> Verdict:
        """What became of it: by the outcomes of its runs first, then by its behaviour."""
        if self.problem:
            return "not comparable"
        if not self.base or not self.head:
            return "new" if not self.base else "gone"
        pair = self.pair
        if pair is None or (self.chance is None and pair.difference == 0):
            return "changed" if self.behaves_otherwise else "same"
        if self.chance is None:
            return "regressed" if pair.difference < 0 else "improved"
        if min(self.chance.worse, self.chance.better) <= self.chance.enough:
            return "regressed" if self.chance.worse < self.chance.better else "improved"
        if pair.difference and not _is_none(pair):
            return "too few runs to tell"
        return "changed" if self.behaves_otherwise else "same"

    @cached_property
    def problem(self) -> str:
        """Why the two sides cannot be compared; empty where they can."""
        if self.trouble:
            return self.trouble
        unfit = next((take.problem for take in self.head if take.problem), "")
        if unfit or not (self.base and self.head):
            return unfit
        was, now = self.base[0], self.head[0]
        if was.inputs is not None and now.inputs is not None:
            other = {name for name in {*was.inputs} & {*now.inputs} if was.inputs[name] != now.inputs[name]}
            if other:
                return f"the test gives other inputs now: {', '.join(sorted(other))}"
            if was.digests != now.digests:  # What the user said may be what a prompt says.
                return ""
        asked = was.figures.get("model calls"), now.figures.get("model calls")
        return "the test asks something else now" if all(asked) and was.said != now.said else ""

    @cached_property
    def pair(self) -> Pair | None:
        """How many takes passed on each side; None where a recording does not tell how its run ended."""
        sides = [[take.outcome for take in takes] for takes in (self.base, self.head)]
        if None in sides[0] or None in sides[1]:
            return None
        base, head = (Rate(side.count("passed"), len(side)) for side in sides)
        return Pair(base, head)

    @property
    def several(self) -> bool:
        """Whether there are several takes on a side."""
        return len(self.base) > 1 or len(self.head) > 1

    @cached_property
    def needed(self) -> int | None:
        """About how many takes on each side would show the difference that was seen, were it real."""
        if self.pair is None or self.chance is None:
            return None
        return takes_needed(self.pair, 1 - self.chance.enough / self.chance.tests)

    @cached_property
    def shown(self) -> tuple[Take | None, Take | None]:
        """The two takes that tell most: of rates that differ one that passed and one that failed."""
        was, now = (tuple(take for take in takes if not take.problem) for takes in (self.base, self.head))
        if not was or not now:
            return (was or self.base or (None,))[0], (now or self.head or (None,))[0]
        wanted = ("passed", "failed")
        if self.pair is not None and self.pair.difference > 0:
            wanted = ("failed", "passed")
        if self.pair is not None and self.pair.difference:
            return _typical(was, wanted[0]), _typical(now, wanted[1])
        pairs = ((one, other) for one in was for other in now)
        return next((pair for pair in pairs if shape(pair[0]) != shape(pair[1])), (was[0], now[0]))

    @cached_property
    def behaves_otherwise(self) -> bool:
        """Whether anything but figures differs; of several takes, whether a trajectory is seen on one side alone."""
        if self.several:
            base, head = self.shapes
            return {*base} != {*head} or bool(self.drift)
        return bool(self.calls or self.answered_otherwise or self.drift or self.findings[0] or self.findings[1])

    @cached_property
    def shapes(self) -> tuple[Counter[str], Counter[str]]:
        """The trajectories of each side, by the names of their tools, with how many takes have each."""
        return Counter(map(shape, self.base)), Counter(map(shape, self.head))

    @cached_property
    def calls(self) -> tuple[CallEdit, ...]:
        """What changed in the trajectory, of the takes that are shown."""
        base, head = self.shown
        return tuple(edits(base.calls, head.calls)) if base is not None and head is not None else ()

    @cached_property
    def answered_otherwise(self) -> bool:
        """Whether the final answer is another one; JSON is compared by its value."""
        base, head = (take.response if take is not None else "" for take in self.shown)
        return base != head and bool(differences(_value(base), _value(head), "$"))

    @cached_property
    def structural(self) -> tuple[Difference, ...]:
        """Where the answers differ, when both are JSON; `expected` is the base's value."""
        values = [_value(take.response) if take is not None else "" for take in self.shown]
        if all(isinstance(value, Mapping | list) for value in values):
            return tuple(differences(values[0], values[1], "$"))
        return ()

    @cached_property
    def findings(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The kinds of findings that went, and those that came."""
        base, head = ({kind for take in takes for kind in take.findings} for takes in (self.base, self.head))
        return tuple(sorted(base - head)), tuple(sorted(head - base))

    @cached_property
    def drift(self) -> tuple[str, ...]:
        """What else is otherwise about the models: which answered, and which tools they were offered."""
        return tuple(_drift(self.base, self.head)) if self.base and self.head else ()

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """Tokens, dollars, seconds as they were recorded, model calls, tool calls, and the votes of judges."""
        names = dict.fromkeys(name for take in (*self.base, *self.head) for name in take.figures)
        judged = dict.fromkeys(name for take in (*self.base, *self.head) for name in take.scores)
        return (
            *(Figure(name, *(_mean(take.figures.get(name) for take in side) for side in self.sides)) for name in names),
            *(
                Figure(f"judged {name!r}", *(_mean(take.scores.get(name) for take in side) for side in self.sides))
                for name in judged
            ),
        )

    @property
    def sides(self) -> tuple[tuple[Take, ...], tuple[Take, ...]]:
        """The takes of the base and those of the head."""
        return self.base, self.head


def _typical(takes: Sequence[Take], outcome: str) -> Take:
    """Of the takes that ended so, one with the trajectory that most of them have; the first one where none did."""
    ended = [take for take in takes if take.outcome == outcome] or list(takes)
    shapes = Counter(map(shape, ended))
    return max(ended, key=lambda take: shapes[shape(take)])


def _is_none(pair: Pair) -> bool:
    low, high = difference(pair)
    return low > -MARGIN and high < MARGIN


def _mean(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return fmean(known) if known and len(known) == len(found) else None


def shape(take: Take) -> str:
    """The trajectory of a take by the names of its tools, in steps."""
    steps: dict[int, list[str]] = {}
    for call in take.calls:
        steps.setdefault(call.step, []).append(call.name)
    return " → ".join(" + ".join(sorted(names)) for names in steps.values()) or "no tool"


def weighed(cases: Sequence[Case], confidence: float = CONFIDENCE) -> tuple[Case, ...]:
    """The same cases, those with several takes each with the chance that it differs for no reason.

    Half of the error that is allowed goes to single cases, corrected for their number; half to `together`.
    """
    asked = [case for case in cases if case.several and case.pair is not None and not case.problem]
    asked = [case for case in asked if case.base and case.head]
    pairs = [case.pair for case in asked if case.pair is not None]
    enough = (1 - confidence) / 2
    worse = corrected(pairs, enough)
    better = corrected([Pair(pair.head, pair.base) for pair in pairs], enough)
    found = {
        id(case): Chance(less, more, enough, len(asked)) for case, less, more in zip(asked, worse, better, strict=True)
    }
    return tuple(replace(case, chance=found.get(id(case))) for case in cases)


def together(cases: Sequence[Case], confidence: float = CONFIDENCE) -> Chance | None:
    """How likely the difference of all cases together is, if nothing had changed; None where there is nothing to ask.

    It finds what no single case shows: with one take on each side it is McNemar's test over the cases.
    """
    pairs = [case.pair for case in cases if case.base and case.head and case.pair is not None and not case.problem]
    if not pairs:
        return None
    return Chance(worse_by_chance(pairs), better_by_chance(pairs), enough=(1 - confidence) / 2)


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


def _drift(base: Sequence[Take], head: Sequence[Take]) -> Iterator[str]:
    models = [list(dict.fromkeys(model for take in takes for model in take.models)) for takes in (base, head)]
    if models[0] != models[1] and models[0] and models[1]:
        yield f"answered by {', '.join(models[1])}, and was by {', '.join(models[0])}"
    if not models[0] or not models[1]:
        return
    offered = [{name: digest for take in takes for name, digest in take.tools.items()} for takes in (base, head)]
    for name in sorted({*offered[0], *offered[1]}):
        was, now = offered[0].get(name), offered[1].get(name)
        if was is None or now is None:
            yield f"the tool {name} is {'offered now' if was is None else 'no longer offered'}"
        elif was != now:
            yield f"the tool {name} is declared otherwise"
