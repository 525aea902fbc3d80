"""What is expected of a trajectory."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from pytest_agentops.errors import ExpectationError, did_you_mean
from pytest_agentops.expect import Expectation, Mismatch, Subject
from pytest_agentops.expect.calls import ExpectedCall, content, expected_call
from pytest_agentops.expect.pairing import fitting, pairing, unpaired
from pytest_agentops.expect.patterns import (
    Element,
    Group,
    Pattern,
    Stuck,
    count,
    element,
    groups,
    read_exactly,
    read_in_order,
)
from pytest_agentops.trace import ToolCall, Trajectory


class OfCalls(Expectation):
    """What is expected of tool calls."""

    def judge(self, subject: Subject) -> Mismatch | None:
        return self.judge_calls(subject.trajectory)

    @abstractmethod
    def judge_calls(self, trajectory: Trajectory) -> Mismatch | None:
        """Why this does not hold of these tool calls, or None when it does."""


# --- in order --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exactly(OfCalls):
    """These calls in this order and nothing else; calls of one step may come in any order."""

    elements: tuple[Element, ...]

    def judge_calls(self, trajectory: Trajectory) -> Mismatch | None:
        if _plain(self.elements):
            return self._paired(cast("tuple[ExpectedCall, ...]", self.elements), trajectory)
        stuck = read_exactly(Pattern(self.elements), trajectory.steps)
        return None if stuck is None else NotRead(self, trajectory, stuck)

    def _paired(self, calls: tuple[ExpectedCall, ...], trajectory: Trajectory) -> Mismatch | None:
        start = 0
        for step in trajectory.steps:
            wanted = calls[start : start + len(step)]
            start += len(step)
            if len(wanted) < len(step) or any(partner is None for partner in pairing(wanted, step)):
                break
        else:
            if start == len(calls):
                return None
        return NotExactly(self, trajectory, tuple(_alignment(calls, trajectory)))

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self.elements))}]"


@dataclass(frozen=True)
class InOrder(OfCalls):
    """Each of these calls in a later step than the one before; anything may lie between."""

    elements: tuple[Element, ...]

    def judge_calls(self, trajectory: Trajectory) -> Mismatch | None:
        if _plain(self.elements):
            stuck = self._earliest(cast("tuple[ExpectedCall, ...]", self.elements), trajectory)
        else:
            stuck = read_in_order(Pattern(self.elements), trajectory.steps)
        return None if stuck is None else NotInOrder(self, trajectory, stuck.met, stuck.next)

    def _earliest(self, calls: tuple[ExpectedCall, ...], trajectory: Trajectory) -> Stuck | None:
        # The earliest match leaves the most steps for the rest, so no other choice can do better.
        met: list[ToolCall] = []
        position = 0
        for wanted in calls:
            for index, step in enumerate(trajectory.steps[position:], position):
                match = next((call for call in step if wanted.mismatches(call) is None), None)
                if match is not None:
                    met.append(match)
                    position = index + 1
                    break
            else:
                return Stuck(position, tuple(met), (wanted,))
        return None

    def __repr__(self) -> str:
        return f"in_order({', '.join(map(repr, self.elements))})"


@dataclass(frozen=True)
class Before(OfCalls):
    """Every call of the second kind has one of the first in an earlier step."""

    first: ExpectedCall
    second: ExpectedCall

    def judge_calls(self, trajectory: Trajectory) -> Mismatch | None:
        for step in trajectory.steps:
            for call in step:
                if self.second.mismatches(call) is None:
                    firsts = [each for each in trajectory if self.first.mismatches(each) is None]
                    return NotBefore(self, trajectory, call, tuple(firsts))
            if any(self.first.mismatches(call) is None for call in step):
                return None
        return None

    def caveat(self, subject: Subject) -> str | None:
        if any(self.second.mismatches(call) is None for call in subject.trajectory):
            return None
        return f"{self!r} holds since {self.second!r} was never called{_unoffered(self.second, subject)}"

    def __repr__(self) -> str:
        return f"before({self.first!r}, {self.second!r})"


# --- in whatever order -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unordered(OfCalls):
    """Calls that are paired with what happened, in whatever order."""

    calls: tuple[ExpectedCall, ...]

    word = "any_order"
    all_happened = True
    """Whether each of these has to be among what happened."""
    nothing_else = True
    """Whether everything that happened has to be among these."""

    def judge_calls(self, trajectory: Trajectory) -> Mismatch | None:
        partners = pairing(self.calls, trajectory)
        missing = tuple(each for each, partner in zip(self.calls, partners, strict=True) if partner is None)
        extra = tuple(trajectory[index] for index in unpaired(partners, len(trajectory)))
        agreeing, free = len(self.calls) - len(missing), extra
        missing, extra = missing if self.all_happened else (), extra if self.nothing_else else ()
        return Unpaired(self, trajectory, agreeing, missing, extra, free) if missing or extra else None

    def as_element(self) -> Group:
        """What it is inside `exactly`.

        Raises:
            ExpectationError: it is of another kind, which has no meaning there, or expects nothing.
        """
        if not self.all_happened or not self.nothing_else:
            raise ExpectationError(f"{self!r} stands for itself, not inside another one; combine the two with &")
        _at_least_one(f"{self.word}", self.calls)
        return Group(self.calls, in_one_step=False)

    def __repr__(self) -> str:
        return f"{self.word}({', '.join(map(repr, self.calls))})"


@dataclass(frozen=True, repr=False)
class Includes(Unordered):
    """At least these calls, counted."""

    word = "includes"
    nothing_else = False


@dataclass(frozen=True, repr=False)
class Only(Unordered):
    """Nothing beyond these calls, counted."""

    word = "only"
    all_happened = False

    def caveat(self, subject: Subject) -> str | None:
        return None if subject.trajectory else f"{self!r} holds since no tool was called"


@dataclass(frozen=True)
class OnlyTools(OfCalls):
    """No other tools than these."""

    names: tuple[str, ...]

    def judge_calls(self, trajectory: Trajectory) -> Mismatch | None:
        found = tuple(call for call in trajectory if call.name not in self.names)
        return Happened(self, trajectory, found) if found else None

    def caveat(self, subject: Subject) -> str | None:
        return None if subject.trajectory else f"{self!r} holds since no tool was called"

    def __repr__(self) -> str:
        return f"only_tools({', '.join(map(repr, self.names))})"


@dataclass(frozen=True)
class Together(OfCalls):
    """These calls, asked for in one step."""

    calls: tuple[ExpectedCall, ...]

    def judge_calls(self, trajectory: Trajectory) -> Mismatch | None:
        best: tuple[int, tuple[ToolCall, ...]] = (0, ())
        for step in trajectory.steps:
            paired = sum(partner is not None for partner in pairing(self.calls, step))
            if paired == len(self.calls):
                return None
            best = max(best, (paired, step), key=lambda each: each[0])
        return NotTogether(self, trajectory, *best)

    def as_element(self) -> Group:
        """What it is inside `exactly`."""
        return Group(self.calls, in_one_step=True)

    def __repr__(self) -> str:
        return f"together({', '.join(map(repr, self.calls))})"


# --- counts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Never(OfCalls):
    """No such call."""

    calls: tuple[ExpectedCall, ...]

    def judge_calls(self, trajectory: Trajectory) -> Mismatch | None:
        found = tuple(call for call in trajectory if any(each.mismatches(call) is None for each in self.calls))
        return Happened(self, trajectory, found) if found else None

    def caveat(self, subject: Subject) -> str | None:
        reason = next(filter(None, (_out_of_reach(each, subject) for each in self.calls)), None)
        return f"{self!r} could not have failed: {reason}" if reason else None

    def __repr__(self) -> str:
        return f"never({', '.join(map(repr, self.calls))})"


@dataclass(frozen=True)
class Counted(OfCalls):
    """A call at least or at most so many times."""

    call: ExpectedCall
    least: int = 0
    most: int | None = None

    def judge_calls(self, trajectory: Trajectory) -> Mismatch | None:
        found = tuple(call for call in trajectory if self.call.mismatches(call) is None)
        if self.least <= len(found) and (self.most is None or len(found) <= self.most):
            return None
        return Miscounted(self, trajectory, found)

    def caveat(self, subject: Subject) -> str | None:
        reason = None if self.least else _out_of_reach(self.call, subject)
        return f"{self!r} could not have failed: {reason}" if reason else None

    def __repr__(self) -> str:
        return f"at_least({self.least}, {self.call!r})" if self.most is None else f"at_most({self.most}, {self.call!r})"


@dataclass(frozen=True)
class NoRepeats(OfCalls):
    """No call with the same arguments so many times."""

    times: int = 2

    def judge_calls(self, trajectory: Trajectory) -> Mismatch | None:
        alike: dict[object, list[ToolCall]] = defaultdict(list)
        for call in trajectory:
            alike[_content(call)].append(call)
        found = max(alike.values(), key=len, default=[])
        return Happened(self, trajectory, tuple(found)) if len(found) >= self.times else None

    def __repr__(self) -> str:
        return "no_repeats()" if self.times == 2 else f"no_repeats(times={self.times})"


@dataclass(frozen=True)
class NoCycle(OfCalls):
    """No stretch of steps that comes again at once, with the same calls."""

    times: int = 2

    def judge_calls(self, trajectory: Trajectory) -> Mismatch | None:
        steps = [Counter(map(_content, step)) for step in trajectory.steps]
        for length in range(1, len(steps) // self.times + 1):
            alike = 0  # How many steps in a row are the same as those a period before.
            for index in range(length, len(steps)):
                alike = alike + 1 if steps[index] == steps[index - length] else 0
                if alike == length * (self.times - 1):
                    start = index + 1 - length * self.times
                    return Cycled(self, trajectory, trajectory.steps[start : start + length], start)
        return None

    def __repr__(self) -> str:
        return "no_cycle()" if self.times == 2 else f"no_cycle(times={self.times})"


# --- why one does not hold -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One line of a comparison: an expected call, an actual call, or both side by side."""

    expected: ExpectedCall | None
    actual: ToolCall | None

    @property
    def agrees(self) -> bool:
        """Whether the two are the same."""
        return self.expected is not None and self.actual is not None and self.expected.mismatches(self.actual) is None


@dataclass(frozen=True)
class NotExactly(Mismatch):
    """Expected and actual calls, side by side."""

    rows: tuple[Row, ...]


@dataclass(frozen=True)
class NotRead(Mismatch):
    """How far the run is what a pattern says."""

    stuck: Stuck


@dataclass(frozen=True)
class NotInOrder(Mismatch):
    """The calls that were found in order, and those of which one would have had to follow."""

    found: tuple[ToolCall, ...]
    missing: tuple[ExpectedCall, ...]


@dataclass(frozen=True)
class NotBefore(Mismatch):
    """A call that came too early, and the calls that should have come before it, wherever they are."""

    early: ToolCall
    firsts: tuple[ToolCall, ...]


@dataclass(frozen=True)
class Unpaired(Mismatch):
    """Expected and actual calls that found no partner."""

    agreeing: int
    missing: tuple[ExpectedCall, ...]
    extra: tuple[ToolCall, ...]
    """Those that are not allowed."""
    free: tuple[ToolCall, ...]
    """All that found no partner, allowed or not."""


@dataclass(frozen=True)
class NotTogether(Mismatch):
    """The step that came closest, and how many of the calls it has."""

    paired: int
    closest: tuple[ToolCall, ...]


@dataclass(frozen=True)
class Happened(Mismatch):
    """Calls that should not have been."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True)
class Miscounted(Mismatch):
    """The calls that were counted."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True)
class Cycled(Mismatch):
    """The steps that came again at once, and the index of the first of them among the steps with calls."""

    steps: tuple[tuple[ToolCall, ...], ...]
    start: int


# --- what tests write ------------------------------------------------------------------------------------------------


def exactly(*calls: object) -> Exactly:
    """These calls, in this order, nothing else; calls of one step may come in any order.

    A plain list stands for the same. Add `& in_order(a, b)` where one must wait for the other. Besides calls it takes
    `optional(...)`, `one_of(...)`, `repeated(...)`, `any_order(...)` and `together(...)`.

    Raises:
        ExpectationError: something is neither the name of a tool nor `call(...)` nor one of these.
    """
    return Exactly(tuple(map(element, calls)))


def in_order(*calls: object) -> InOrder:
    """The first call, in a later step the second, and so on; anything may lie between.

    Besides calls it takes `optional(...)`, `one_of(...)` and `repeated(...)`.

    Raises:
        ExpectationError: nothing is given, or something that is none of these.
    """
    _at_least_one("in_order", calls)
    elements = tuple(map(element, calls))
    for group in groups(elements):
        raise ExpectationError(
            f"in_order takes no {group!r}, since each call of it has to be in a later step than the one before\n"
            "  write one in_order for each way, joined by &, or exactly, which takes it"
        )
    return InOrder(elements)


def any_order(*calls: object) -> Unordered:
    """Exactly these calls, in whatever order.

    Raises:
        ExpectationError: something is neither the name of a tool nor `call(...)`.
    """
    return Unordered(_calls(calls))


def includes(*calls: object) -> Includes:
    """At least these calls, in whatever order; each needs a call of its own.

    Raises:
        ExpectationError: nothing is given, or something that is neither the name of a tool nor `call(...)`.
    """
    return Includes(_calls(_at_least_one("includes", calls)))


def only(*calls: object) -> Only:
    """Nothing beyond these calls, each at most as often as it is named; none of them has to be.

    Raises:
        ExpectationError: nothing is given, or something that is neither the name of a tool nor `call(...)`.
    """
    return Only(_calls(_at_least_one("only", calls)))


def only_tools(*names: str) -> OnlyTools:
    """No other tools than these, however often.

    Raises:
        ExpectationError: nothing is given, or something that is no tool's name.
    """
    for name in _at_least_one("only_tools", names):
        if not isinstance(name, str) or not name:
            raise ExpectationError(f"only_tools() takes the names of tools, not {name!r}; calls are for only()")
    return OnlyTools(tuple(names))


def together(*calls: object) -> Together:
    """These calls, asked for in one step.

    Raises:
        ExpectationError: fewer than two are given, or something that is neither the name of a tool nor `call(...)`.
    """
    if len(calls) < 2:
        raise ExpectationError("together() takes the calls of one step; name at least two")
    return Together(_calls(calls))


def before(first: object, second: object) -> Before:
    """Every call of the second kind has one of the first in an earlier step.

    Where there is none of the second kind it holds, and the summary says so.

    Raises:
        ExpectationError: something is neither the name of a tool nor `call(...)`.
    """
    return Before(expected_call(first), expected_call(second))


def never(*calls: object) -> Never:
    """None of these calls.

    Raises:
        ExpectationError: nothing is given, or something that is neither the name of a tool nor `call(...)`.
    """
    return Never(_calls(_at_least_one("never", calls)))


def at_least(times: int, call: object) -> Counted:
    """This call so many times or more.

    Raises:
        ExpectationError: a number below 1, or something that is neither the name of a tool nor `call(...)`.
    """
    if count("at_least", "times", times) == 0:
        raise ExpectationError("at_least(0, ...) holds of everything; ask for at least 1")
    return Counted(expected_call(call), least=times)


def at_most(times: int, call: object) -> Counted:
    """This call so many times or less.

    Raises:
        ExpectationError: a number below 0, or something that is neither the name of a tool nor `call(...)`.
    """
    most = count("at_most", "times", times)
    return Counted(expected_call(call), most=most)


def no_repeats(*, times: int = 2) -> NoRepeats:
    """No call with the same arguments `times` times or more, wherever in the run.

    Raises:
        ExpectationError: a number below 2.
    """
    return NoRepeats(_several("no_repeats", times))


def no_cycle(*, times: int = 2) -> NoCycle:
    """No stretch of steps that comes `times` times in a row with the same calls: an agent that goes round in circles.

    Raises:
        ExpectationError: a number below 2.
    """
    return NoCycle(_several("no_cycle", times))


def _several(name: str, times: object) -> int:
    if (number := count(name, "times", times)) < 2:
        raise ExpectationError(f"{name}(times={number}) refuses every call; times is 2 or more")
    return number


def _calls(calls: Sequence[object]) -> tuple[ExpectedCall, ...]:
    return tuple(map(expected_call, calls))


def _at_least_one(name: str, calls: Sequence[object]) -> Sequence[object]:
    if not calls:
        raise ExpectationError(f"{name}() expects nothing; name at least one call")
    return calls


def _plain(elements: Sequence[Element]) -> bool:
    return all(isinstance(each, ExpectedCall) for each in elements)


def _out_of_reach(wanted: ExpectedCall, subject: Subject) -> str | None:
    """Why this call could not have been: there was no tool at all, or its name is probably misspelt.

    That a tool was not offered is no reason alone: a policy names tools that not every agent has.
    """
    trajectory = subject.trajectory
    known = {*(trajectory.offered or ()), *(call.name for call in trajectory)}
    if trajectory.offered is None or wanted.name in known:
        return None
    if not known:
        return "no model was offered any tool"
    near = did_you_mean(wanted.name, sorted(known))
    return f"no model was offered a tool {wanted.name!r}{near}" if near else None


def _unoffered(wanted: ExpectedCall, subject: Subject) -> str:
    offered = subject.trajectory.offered
    if offered is None or wanted.name in offered:
        return ""
    return f": no model was offered a tool {wanted.name!r}"


def _content(call: ToolCall) -> object:
    try:
        return (call.name, content(call.arguments), call.malformed)
    except TypeError:  # Only a trace that was made by hand holds such a value.
        return (call.name, repr(call.arguments), call.malformed)


# --- side by side ----------------------------------------------------------------------------------------------------

_MOST_CELLS = 4_000_000
"""How large a table of two runs may be; longer ones are shown row by row as they stand."""


def _alignment(wanted: Sequence[ExpectedCall], trajectory: Trajectory) -> list[Row]:
    """Expected and actual calls side by side, with as many agreements as can be had in order.

    The calls of one step are put into the order that the expectation names them in, since their own means nothing.
    The classic table of edit distance: an agreement costs nothing, the same tool with other arguments a little, a
    call that only one side has a full point. What agrees at both ends needs no table.
    """
    actual: list[ToolCall] = []
    for step in trajectory.steps:
        actual += _as_named(step, wanted, len(actual))
    fits = list(map(set, fitting(wanted, actual)))
    start, end = 0, 0
    while start < min(len(wanted), len(actual)) and start in fits[start]:
        start += 1
    most = min(len(wanted), len(actual)) - start
    while end < most and len(actual) - 1 - end in fits[len(wanted) - 1 - end]:
        end += 1
    rows = [Row(*pair) for pair in zip(wanted[:start], actual[:start], strict=True)]
    rows += _table(wanted, actual, fits, (start, len(wanted) - end), (start, len(actual) - end))
    if end:
        rows += [Row(*pair) for pair in zip(wanted[-end:], actual[-end:], strict=True)]
    return rows


def _table(
    wanted: Sequence[ExpectedCall],
    actual: Sequence[ToolCall],
    fits: Sequence[set[int]],
    down: tuple[int, int],
    across: tuple[int, int],
) -> list[Row]:
    height, width = down[1] - down[0], across[1] - across[0]
    if height * width > _MOST_CELLS:
        pairs = [Row(wanted[down[0] + index], None) for index in range(height)]
        return pairs + [Row(None, actual[across[0] + index]) for index in range(width)]
    names = [call.name for call in actual[across[0] : across[1]]]
    # Costs are counted in halves: 0 for an agreement, 1 for the same tool, 2 for a call that one side has.
    below = [2 * (width - column) for column in range(width + 1)]
    table = [below]
    for row in range(down[1] - 1, down[0] - 1, -1):
        name, agreeing, offset = wanted[row].name, fits[row], across[0]
        here = [0] * width + [below[width] + 2]
        right = here[width]
        for column in range(width - 1, -1, -1):
            best = below[column] + 2
            if right + 2 < best:
                best = right + 2
            if names[column] == name:
                across_both = below[column + 1] + (0 if column + offset in agreeing else 1)
                if across_both < best:
                    best = across_both
            here[column] = right = best
        table.append(here)
        below = here
    table.reverse()
    rows = []
    row = column = 0
    while row < height or column < width:
        expected = wanted[down[0] + row] if row < height else None
        made = actual[across[0] + column] if column < width else None
        price = 2 * 10**9
        if expected is not None and made is not None and expected.name == made.name:
            price = 0 if across[0] + column in fits[down[0] + row] else 1
        if price < 2 and table[row][column] == table[row + 1][column + 1] + price:
            rows.append(Row(expected, made))
            row, column = row + 1, column + 1
        elif expected is not None and table[row][column] == table[row + 1][column] + 2:
            rows.append(Row(expected, None))
            row += 1
        else:
            rows.append(Row(None, made))
            column += 1
    return rows


def _as_named(step: Sequence[ToolCall], wanted: Sequence[ExpectedCall], before: int) -> list[ToolCall]:
    """The calls of a step, each where the expectation stands that it meets or has the name of, the nearest ahead."""
    if len(step) < 2:
        return list(step)

    def place(call: ToolCall) -> tuple[bool, bool, bool, int]:
        named = [index for index, each in enumerate(wanted) if each.name == call.name]
        if not named:
            return (True, True, True, 0)
        meeting = [index for index in named if wanted[index].mismatches(call) is None]
        index = min(meeting or named, key=lambda index: (index < before, index))
        return (False, not meeting, index < before, index)

    # Those that meet an expectation and those that only have its name stand in one order.
    return sorted(step, key=lambda call: (place(call)[0], place(call)[2:]))
