"""Spans: microseconds a call that `@tool`, `@agent`, `@task` and `with span()` add to one that does nothing.

Each round times the same work bare, decorated while nothing records and decorated with a recording open, one after the
other; figures are medians over rounds of what was added, with the middle half of the rounds in brackets.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from typing import Any

from pytest_agentops.capture import Recording, watching
from pytest_agentops.spans import agent, span, task, tool

_ROUNDS, _CALLS = 25, 1000

Work = Callable[[int], float]
"""Does the work so many times; the seconds it took."""


def lines() -> Iterator[str]:
    """The figures, line by line."""
    yield from measured(_ROUNDS, _CALLS)


def measured(rounds: int, calls: int) -> Iterator[str]:
    """The figures of so many rounds of so many calls each."""
    for name, (bare, decorated) in _pairs().items():
        idle: list[float] = []
        recorded: list[float] = []
        floor: list[float] = []
        for number in range(rounds + 1):
            plain, resting = bare(calls), decorated(calls)
            with watching(Recording("bench")):
                watched = decorated(calls)
            if number:  # The first round warms the caches.
                floor.append(plain * 1e6 / calls)
                idle.append((resting - plain) * 1e6 / calls)
                recorded.append((watched - plain) * 1e6 / calls)
        yield (
            f"{name:<22} bare {statistics.median(floor):5.2f} µs   "
            f"nothing records {_added(idle)}   recording {_added(recorded)}"
        )


def _added(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"+{middle:5.2f} µs ({low:.2f} to {high:.2f})"


def _pairs() -> dict[str, tuple[Work, Work]]:
    """By what is measured: the work bare, and the same work decorated."""
    return {
        "@tool, function": (_called(_search), _called(tool(_search))),
        "@tool, async": (_awaited(_search_later), _awaited(tool(_search_later))),
        "@task, generator": (_read(_pieces), _read(task(_pieces))),
        "@task, async generator": (_read_later(_later_pieces), _read_later(task(_later_pieces))),
        "@agent, method": (_called(_Bare().run), _called(_Decorated().run)),
        "with span(...)": (_within(lambda: nullcontext()), _within(lambda: span("rank the hits"))),
    }


def _search(query: str) -> str:
    return query


async def _search_later(query: str) -> str:
    return query


def _pieces(query: str) -> Iterator[str]:
    yield query


async def _later_pieces(query: str) -> AsyncIterator[str]:
    yield query


class _Bare:
    def run(self, query: str) -> str:
        return query


@agent
class _Decorated:
    def run(self, query: str) -> str:
        return query


def _called(function: Callable[..., object]) -> Work:
    def work(times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            function("owls")
        return time.perf_counter() - began

    return work


def _awaited(function: Callable[..., Any]) -> Work:
    async def run(times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            await function("owls")
        return time.perf_counter() - began

    return lambda times: asyncio.run(run(times))


def _read(function: Callable[..., Iterator[str]]) -> Work:
    def work(times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            for _piece in function("owls"):
                pass
        return time.perf_counter() - began

    return work


def _read_later(function: Callable[..., AsyncIterator[str]]) -> Work:
    async def run(times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            async for _piece in function("owls"):
                pass
        return time.perf_counter() - began

    return lambda times: asyncio.run(run(times))


def _within(block: Callable[[], Any]) -> Work:
    def work(times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            with block():
                pass
        return time.perf_counter() - began

    return work
