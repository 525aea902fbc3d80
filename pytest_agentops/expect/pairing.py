"""Expected and actual calls paired, as many as can be at once: maximum bipartite matching.

Whole classes of expected calls that fit the same actual calls are searched once, and calls that stand for plain JSON
are found by their content, so that ten thousand of each are paired in a fraction of a second. A regex, type or
function in an expected call is asked about every call of its tool.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence

from pytest_agentops.expect.calls import ANYTHING, MISSING, ExpectedCall, content
from pytest_agentops.trace import ToolCall


def pairing(wanted: Sequence[ExpectedCall], calls: Sequence[ToolCall]) -> list[int | None]:
    """For each wanted call the index of its partner, as many as can be paired at once.

    A partner is looked for along alternating paths (Kuhn's algorithm). What a search without success has visited can
    never be part of a later path and is not visited again, so that failures cost no more than one pass in all.
    """
    fits = fitting(wanted, calls)
    taken: dict[int, int] = {}
    partner: dict[int, int] = {}
    ahead = {id(options): iter(options) for options in fits}
    dead: set[int] = set()
    for start in range(len(wanted)):
        # Most find one that is free; lists are shared, and what was taken stays so.
        free = next((index for index in ahead[id(fits[start])] if index not in taken), None)
        if free is not None:
            taken[free], partner[start] = start, free
            continue
        found, way = _augmenting(start, fits, taken, dead)
        while found is not None:
            expected = way[found]
            previous = partner.get(expected)
            taken[found], partner[expected] = expected, found
            found = previous
    return [partner.get(index) for index in range(len(wanted))]


def _augmenting(
    start: int, fits: Sequence[Sequence[int]], taken: Mapping[int, int], dead: set[int]
) -> tuple[int | None, Mapping[int, int]]:
    """A free call at the end of an alternating path, and for each call on the way the expected one that reached it."""
    way: dict[int, int] = {}
    searched: set[int] = set()
    queue = [start]
    for expected in queue:
        options = fits[expected]
        if id(options) in searched:
            continue
        searched.add(id(options))
        for actual in options:
            if actual in way or actual in dead:
                continue
            way[actual] = expected
            if actual not in taken:
                return actual, way
            queue.append(taken[actual])
    dead.update(way)
    return None, {}


def fitting(wanted: Sequence[ExpectedCall], calls: Sequence[ToolCall]) -> list[Sequence[int]]:
    """For each wanted call the indexes of those that are as expected; equal ones share one list."""
    named: dict[str, list[int]] = defaultdict(list)
    for index, call in enumerate(calls):
        named[call.name].append(index)
    classes: dict[Hashable, Sequence[int]] = {}
    by_content: dict[tuple[str, tuple[str, ...]], dict[Hashable, list[int]]] = {}
    found = []
    for each in wanted:
        key = class_of(each)
        if key not in classes:
            names = tuple(sorted(each.arguments))
            if not _is_plain(each, key):
                asked = [index for index in named[each.name] if each.mismatches(calls[index]) is None]
                classes[key] = asked
            elif not names:
                classes[key] = named[each.name]
            else:
                if (each.name, names) not in by_content:
                    by_content[each.name, names] = _by_content(names, named[each.name], calls)
                classes[key] = by_content[each.name, names].get(tuple(content(each.arguments[n]) for n in names), ())
        found.append(classes[key])
    return found


def class_of(wanted: ExpectedCall) -> Hashable:
    """A key that two expected calls share only when they fit the same calls."""
    try:
        result = None if wanted.result is ANYTHING else (content(wanted.result),)
        return (wanted.name, content(dict(wanted.arguments)), wanted.closed, result, wanted.failed, wanted.provider)
    except (TypeError, RecursionError):
        return id(wanted)


def _is_plain(wanted: ExpectedCall, key: Hashable) -> bool:
    """Whether name and arguments, by their content, decide."""
    other = wanted.closed or wanted.failed or wanted.provider or wanted.result is not ANYTHING
    return isinstance(key, tuple) and not other


def _by_content(names: tuple[str, ...], indexes: Sequence[int], calls: Sequence[ToolCall]) -> dict[Hashable, list[int]]:
    """The calls that have these arguments, by the content of those."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for index in indexes:
        call = calls[index]
        if call.malformed is None and isinstance(call.arguments, Mapping):
            values = [call.arguments.get(name, MISSING) for name in names]
            if MISSING not in values:
                found[tuple(map(_content, values))].append(index)
    return found


def _content(value: object) -> Hashable:
    try:
        return content(value)
    except (TypeError, RecursionError):  # Only a trace that was made by hand holds such a value.
        return id(value)


def unpaired(partners: Sequence[int | None], count: int) -> Iterator[int]:
    """The indexes of actual calls that nobody was paired with."""
    taken = set(partners)
    return (index for index in range(count) if index not in taken)
