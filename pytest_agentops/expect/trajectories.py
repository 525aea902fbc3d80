"""What is expected of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_agentops.errors import ExpectationError
from pytest_agentops.expect import Expectation, Mismatch
from pytest_agentops.expect.calls import ExpectedCall, expected_call
from pytest_agentops.trace import ToolCall, Trajectory


@dataclass(frozen=True)
class Exactly(Expectation):
    """These calls in this order and nothing else; calls of one step may come in any order."""

    calls: tuple[ExpectedCall, ...]

    def judge(self, trajectory: Trajectory) -> Mismatch | None:
        if len(self.calls) == len(trajectory) and self._holds(trajectory):
            return None
        return NotExactly(self, trajectory, tuple(_alignment(self.calls, trajectory)))

    def _holds(self, trajectory: Trajectory) -> bool:
        start = 0
        for step in trajectory.steps:
            wanted = self.calls[start : start + len(step)]
            start += len(step)
            if any(partner is None for partner in pairing(wanted, step)):
                return False
        return True

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self.calls))}]"


@dataclass(frozen=True)
class InOrder(Expectation):
    """Each of these calls in a later step than the one before; anything may lie between."""

    calls: tuple[ExpectedCall, ...]

    def judge(self, trajectory: Trajectory) -> Mismatch | None:
        found: list[ToolCall] = []
        position = 0
        for wanted in self.calls:
            # The earliest match leaves the most steps for the rest, so no other choice can do better.
            for index, step in enumerate(trajectory.steps[position:], position):
                match = next((call for call in step if wanted.mismatches(call) is None), None)
                if match is not None:
                    found.append(match)
                    position = index + 1
                    break
            else:
                return NotInOrder(self, trajectory, tuple(found), wanted)
        return None

    def __repr__(self) -> str:
        return f"in_order({', '.join(map(repr, self.calls))})"


@dataclass(frozen=True)
class Never(Expectation):
    """No such call."""

    calls: tuple[ExpectedCall, ...]

    def judge(self, trajectory: Trajectory) -> Mismatch | None:
        found = tuple(call for call in trajectory if any(each.mismatches(call) is None for each in self.calls))
        return Happened(self, trajectory, found) if found else None

    def __repr__(self) -> str:
        return f"never({', '.join(map(repr, self.calls))})"


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
class NotInOrder(Mismatch):
    """The calls that were found in order, and the first that was not."""

    found: tuple[ToolCall, ...]
    missing: ExpectedCall


@dataclass(frozen=True)
class Happened(Mismatch):
    """Calls that should not have been."""

    calls: tuple[ToolCall, ...]


def exactly(*calls: object) -> Exactly:
    """These calls, in this order, nothing else; calls of one step may come in any order.

    A plain list stands for the same. Add `& in_order(a, b)` where one must wait for the other.

    Raises:
        ExpectationError: something is neither the name of a tool nor `call(...)`.
    """
    return Exactly(_calls(calls))


def in_order(*calls: object) -> InOrder:
    """The first call, in a later step the second, and so on; anything may lie between.

    Raises:
        ExpectationError: nothing is given, or something that is neither the name of a tool nor `call(...)`.
    """
    return InOrder(_at_least_one("in_order", _calls(calls)))


def never(*calls: object) -> Never:
    """None of these calls.

    Raises:
        ExpectationError: nothing is given, or something that is neither the name of a tool nor `call(...)`.
    """
    return Never(_at_least_one("never", _calls(calls)))


def pairing(wanted: Sequence[ExpectedCall], calls: Sequence[ToolCall]) -> list[int | None]:
    """For each wanted call the index of its partner, as many as can be paired at once.

    Maximum bipartite matching by augmenting paths (Kuhn's algorithm), so that the verdict does not depend on order.
    """
    fits = [[index for index, call in enumerate(calls) if each.mismatches(call) is None] for each in wanted]
    taken: dict[int, int] = {}

    def place(expected: int, tried: set[int]) -> bool:
        for actual in fits[expected]:
            if actual not in tried:
                tried.add(actual)
                if actual not in taken or place(taken[actual], tried):
                    taken[actual] = expected
                    return True
        return False

    for expected in range(len(wanted)):
        place(expected, set())
    partner = {expected: actual for actual, expected in taken.items()}
    return [partner.get(expected) for expected in range(len(wanted))]


def _calls(calls: Sequence[object]) -> tuple[ExpectedCall, ...]:
    return tuple(map(expected_call, calls))


def _at_least_one(name: str, calls: tuple[ExpectedCall, ...]) -> tuple[ExpectedCall, ...]:
    if not calls:
        raise ExpectationError(f"{name}() expects nothing; name at least one call")
    return calls


def _alignment(wanted: Sequence[ExpectedCall], trajectory: Trajectory) -> list[Row]:
    """Expected and actual calls side by side, with as many agreements as can be had in order.

    The calls of one step are put into the order that the expectation names them in, since their own means nothing.
    The classic table of edit distance: an agreement costs nothing, the same tool with other arguments a little, a
    call that only one side has a full point.
    """
    actual: list[ToolCall] = []
    for step in trajectory.steps:
        actual += _as_named(step, wanted, len(actual))
    height, width = len(wanted), len(actual)
    cost = [[0.0] * (width + 1) for _ in range(height + 1)]
    for row in range(height, -1, -1):
        for column in range(width, -1, -1):
            options = []
            if row < height and column < width:
                options.append(cost[row + 1][column + 1] + _price(wanted[row], actual[column]))
            if row < height:
                options.append(cost[row + 1][column] + 1)
            if column < width:
                options.append(cost[row][column + 1] + 1)
            cost[row][column] = min(options, default=0.0)
    rows = []
    row = column = 0
    while row < height or column < width:
        both = row < height and column < width
        if both and cost[row][column] == cost[row + 1][column + 1] + _price(wanted[row], actual[column]):
            rows.append(Row(wanted[row], actual[column]))
            row, column = row + 1, column + 1
        elif row < height and cost[row][column] == cost[row + 1][column] + 1:
            rows.append(Row(wanted[row], None))
            row += 1
        else:
            rows.append(Row(None, actual[column]))
            column += 1
    return rows


def _as_named(step: Sequence[ToolCall], wanted: Sequence[ExpectedCall], before: int) -> list[ToolCall]:
    """The calls of a step, each where the expectation stands that it meets or has the name of, the nearest ahead."""

    def place(call: ToolCall) -> tuple[float, bool, int]:
        prices = [(_price(each, call), index < before, index) for index, each in enumerate(wanted)]
        best = min(prices, default=(3.0, True, 0))
        return (0.0, *best[1:]) if best[0] < 1 else (1.0, True, 0)

    return sorted(step, key=place) if len(step) > 1 else list(step)


def _price(wanted: ExpectedCall, actual: ToolCall) -> float:
    if wanted.mismatches(actual) is None:
        return 0.0
    return 0.5 if wanted.name == actual.name else 3.0
