"""What `exactly` and `in_order` take apart from plain calls: optional, one of several, repeated, in any order.

A pattern is read by its derivatives (Antimirov 1996): from what is still to come, which calls may be next, and what is
to come after each. So choices are never made too early, as a greedy reader makes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from pytest_agentops.errors import ExpectationError
from pytest_agentops.expect.calls import ExpectedCall, expected_call
from pytest_agentops.expect.pairing import class_of
from pytest_agentops.trace import ToolCall

MOST_STATES = 200_000
"""How many ways to read one run are followed; a pattern that has more of them is refused."""


@dataclass(frozen=True)
class Optional:
    """These elements, or nothing."""

    elements: tuple[Element, ...]

    def __repr__(self) -> str:
        return f"optional({', '.join(map(repr, self.elements))})"


@dataclass(frozen=True)
class OneOf:
    """One of several elements."""

    elements: tuple[Element, ...]

    def __repr__(self) -> str:
        return f"one_of({', '.join(map(repr, self.elements))})"


@dataclass(frozen=True)
class Repeated:
    """One element several times."""

    element: Element
    least: int
    most: int | None

    def __repr__(self) -> str:
        return f"repeated({self.element!r}, {self.least}, {self.most})"


@dataclass(frozen=True)
class Group:
    """Several calls in whatever order: what `any_order` and `together` are inside `exactly`."""

    calls: tuple[ExpectedCall | int, ...]
    in_one_step: bool
    begun: bool = False
    """Whether one of them was met, so that the others must be in the same step where all must."""

    @property
    def word(self) -> str:
        return "together" if self.in_one_step else "any_order"

    def __repr__(self) -> str:
        return f"{self.word}({', '.join(map(repr, self.calls))})"


Element: TypeAlias = "ExpectedCall | int | Optional | OneOf | Repeated | Group"
"""While it is read, a call stands as its number in the pattern, which has a hash."""


def element(wanted: object) -> Element:
    """The part of a pattern that a tool's name, `call(...)` or another part stands for.

    Raises:
        ExpectationError: it is none of these.
    """
    if isinstance(wanted, Optional | OneOf | Repeated | Group):
        return wanted
    inside = getattr(wanted, "as_element", None)  # An expectation that also has a meaning inside another one.
    return inside() if inside is not None else expected_call(wanted)


def groups(elements: Sequence[Element]) -> Iterator[Group]:
    """The groups in a pattern."""
    for each in elements:
        if isinstance(each, Group):
            yield each
        elif isinstance(each, Optional | OneOf):
            yield from groups(each.elements)
        elif isinstance(each, Repeated):
            yield from groups([each.element])


def optional(*wanted: object) -> Optional:
    """These calls, or none of them; inside `exactly` and `in_order`.

    Raises:
        ExpectationError: nothing is given, or something that is no part of a pattern.
    """
    return Optional(_some("optional", wanted))


def one_of(*wanted: object) -> OneOf:
    """One of these calls; inside `exactly` and `in_order`.

    Raises:
        ExpectationError: nothing is given, or something that is no part of a pattern.
    """
    return OneOf(_some("one_of", wanted))


def repeated(wanted: object, min: int = 1, max: int | None = None) -> Repeated:  # noqa: A002
    """This call at least `min` times and at most `max` times, None for any number; inside `exactly` and `in_order`.

    Raises:
        ExpectationError: a number that is no count, a minimum over the maximum, or something that is no part of a
            pattern.
    """
    least, most = count("repeated", "min", min), None if max is None else count("repeated", "max", max)
    if most is not None and least > most:
        raise ExpectationError(f"repeated(..., {least}, {most}) has a minimum over its maximum")
    return Repeated(element(wanted), least, most)


def count(where: str, name: str, value: object) -> int:
    """A number of calls.

    Raises:
        ExpectationError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ExpectationError(f"{where}: {name} is a number of calls, not {value!r}")
    return value


def _some(name: str, wanted: Sequence[object]) -> tuple[Element, ...]:
    if not wanted:
        raise ExpectationError(f"{name}() expects nothing; name at least one call")
    return tuple(map(element, wanted))


# --- reading ---------------------------------------------------------------------------------------------------------

State: TypeAlias = tuple[Element, ...]
"""What is still to come."""


class Pattern:
    """A sequence of elements, ready to be read."""

    def __init__(self, elements: Sequence[Element]) -> None:
        self.calls: list[ExpectedCall] = []
        """The different calls in it; a state knows them by their index."""
        self._numbers: dict[Hashable, int] = {}
        self.start: State = tuple(map(self._numbered, elements))

    def _numbered(self, each: Element) -> Element:
        if isinstance(each, Repeated):
            return replace(each, element=self._numbered(each.element))
        if isinstance(each, Optional | OneOf):
            return replace(each, elements=tuple(map(self._numbered, each.elements)))
        if isinstance(each, Group):
            return replace(each, calls=tuple(sorted(self._number(inner) for inner in each.calls)))
        return self._number(each)

    def _number(self, each: Element) -> int:
        assert isinstance(each, ExpectedCall)
        number = self._numbers.setdefault(class_of(each), len(self.calls))
        if number == len(self.calls):
            self.calls.append(each)
        return number

    def fitting(self, call: ToolCall) -> frozenset[int]:
        """The numbers of the calls in the pattern that this one meets."""
        return frozenset(number for number, each in enumerate(self.calls) if each.mismatches(call) is None)


def _may_end(state: State) -> bool:
    return all(map(_nullable, state))


def _nullable(each: Element) -> bool:
    if isinstance(each, Group):
        return not each.calls
    if isinstance(each, Repeated):
        return each.least == 0 or _nullable(each.element)
    return isinstance(each, Optional) or (isinstance(each, OneOf) and any(map(_nullable, each.elements)))


def _next(state: State) -> Iterator[tuple[int, State]]:
    """Which calls may come now, by their numbers, and what is to come after each."""
    for index, each in enumerate(state):
        for number, rest in _derived(each):
            yield number, (*rest, *state[index + 1 :])
        if not _nullable(each):
            return


def _derived(each: Element) -> Iterator[tuple[int, State]]:
    if isinstance(each, int):
        yield each, ()
    elif isinstance(each, Optional):
        yield from _next(each.elements)
    elif isinstance(each, OneOf):
        for alternative in each.elements:
            yield from _derived(alternative)
    elif isinstance(each, Group):
        for index, number in enumerate(each.calls):
            if index == 0 or number != each.calls[index - 1]:
                others = each.calls[:index] + each.calls[index + 1 :]
                yield _numbered(number), (replace(each, calls=others, begun=True),) if others else ()
    elif isinstance(each, Repeated) and each.most != 0:
        again = replace(each, least=max(each.least - 1, 0), most=None if each.most is None else each.most - 1)
        for number, rest in _derived(each.element):
            yield number, (*rest, again)


def _numbered(each: ExpectedCall | int) -> int:
    assert isinstance(each, int)
    return each


def _may_rest(state: State) -> bool:
    """Whether a step may end here: no call that has to be in the same step is still to come."""
    first = state[0] if state else None
    return not (isinstance(first, Group) and first.begun and first.in_one_step)


@dataclass(frozen=True)
class Stuck:
    """How far a run could be read."""

    steps: int
    """How many steps were read whole."""
    met: tuple[ToolCall, ...]
    """The calls that were met on the way."""
    next: tuple[ExpectedCall, ...]
    """The calls of which one would have had to come; none where the run goes on too long."""


def read_exactly(pattern: Pattern, steps: Sequence[Sequence[ToolCall]]) -> Stuck | None:
    """How far the calls of these steps are what the pattern says, with nothing else; None where they are to the end.

    The calls of a step may come in any order; those that fit the same places are one kind and are counted.

    Raises:
        ExpectationError: there are more than `MOST_STATES` ways to read it.
    """
    states = {pattern.start}
    met: list[ToolCall] = []
    budget = MOST_STATES
    for index, step in enumerate(steps):
        kinds = Counter(map(pattern.fitting, step))
        order = tuple(kinds)
        todo = [(state, tuple(kinds.values())) for state in states]
        seen = set(todo)
        after: set[State] = set()
        while todo:
            state, left = todo.pop()
            if not any(left):
                if _may_rest(state):
                    after.add(state)
                continue
            for number, rest in _next(state):
                for kind, having in enumerate(left):
                    if having and number in order[kind]:
                        further = (rest, (*left[:kind], having - 1, *left[kind + 1 :]))
                        if further not in seen:
                            seen.add(further)
                            todo.append(further)
            budget -= 1
            if budget <= 0:
                raise ExpectationError(
                    f"there are over {MOST_STATES:,} ways to read this run; step {index} has {len(step)} calls\n"
                    "  say it with fewer optional and repeated calls, or judge parts of it"
                )
        if not after:
            return Stuck(index, tuple(met), _expected(pattern, states))
        states = after
        met += step
    if any(map(_may_end, states)):
        return None
    return Stuck(len(steps), tuple(met), _expected(pattern, states))


def read_in_order(pattern: Pattern, steps: Sequence[Sequence[ToolCall]]) -> Stuck | None:
    """How far the pattern is found in these steps, each call in a later one than that before; None when it is whole."""
    # For each state the calls that led to it: the first way to come to it is the earliest, and no later one is better.
    states: dict[State, tuple[ToolCall, ...]] = {pattern.start: ()}
    read = 0
    for index, step in enumerate(steps, 1):
        found: dict[State, tuple[ToolCall, ...]] = {}
        for state, met in states.items():
            for number, rest in _next(state):
                if rest not in states and rest not in found:
                    call = next((each for each in step if pattern.calls[number].mismatches(each) is None), None)
                    if call is not None:
                        found[rest] = (*met, call)
                        read = index
        states |= found
        if len(states) > MOST_STATES:
            raise ExpectationError(
                f"there are over {MOST_STATES:,} ways to read this run\n"
                "  say it with fewer optional and repeated calls, or judge parts of it"
            )
        if any(map(_may_end, found)):
            return None
    if _may_end(pattern.start):
        return None
    state, met = max(states.items(), key=lambda item: len(item[1]))
    return Stuck(read, met, _expected(pattern, [state]))


def _expected(pattern: Pattern, states: Sequence[State] | set[State]) -> tuple[ExpectedCall, ...]:
    numbers = dict.fromkeys(number for state in sorted(states, key=repr) for number, _ in _next(state))
    return tuple(pattern.calls[number] for number in sorted(numbers))
