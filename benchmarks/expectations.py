"""Expectations of long runs: seconds of a verdict, with its explanation where it fails, at three sizes.

`any_order` of literal arguments against as many calls in another order; the same with one call that does not fit; the
same again with a regex in each expected call, which is asked about every call of its tool; and a failing `exactly` in
which every second call has another argument. The last column says how the time grows from the second size to the
third, which is twice as long: 2 is in proportion, 4 is quadratic.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator

from pytest_agentops import any_order, call, exactly
from pytest_agentops.expect import Expectation
from pytest_agentops.explain import mismatch_lines
from pytest_agentops.trace import ToolCall, Trajectory

_CASES: tuple[tuple[str, tuple[int, int, int], Callable[[int], tuple[Expectation, Trajectory]]], ...]


def _run(count: int) -> Trajectory:
    order = random.Random(count).sample(range(count), count)
    return Trajectory([[ToolCall("search", {"query": f"number {number}"}, step=i)] for i, number in enumerate(order)])


def _literal(count: int) -> tuple[Expectation, Trajectory]:
    return any_order(*(call("search", query=f"number {number}") for number in range(count))), _run(count)


def _failing(count: int) -> tuple[Expectation, Trajectory]:
    return any_order(*(call("search", query=f"number {number}") for number in range(1, count + 1))), _run(count)


def _regexes(count: int) -> tuple[Expectation, Trajectory]:
    return any_order(*(call("search", query=re.compile(rf"\b{number}$")) for number in range(count))), _run(count)


def _exactly(count: int) -> tuple[Expectation, Trajectory]:
    wanted = [call("search", query=f"number {number}") for number in range(count)]
    steps = [[ToolCall("search", {"query": f"number {n + n % 2}"}, step=n)] for n in range(count)]
    return exactly(*wanted), Trajectory(steps)


_CASES = (
    ("any_order, literal arguments, holds", (2_500, 5_000, 10_000), _literal),
    ("any_order, literal arguments, fails", (2_500, 5_000, 10_000), _failing),
    ("any_order, a regex in each call", (250, 500, 1_000), _regexes),
    ("exactly, fails", (250, 500, 1_000), _exactly),
)


def lines() -> Iterator[str]:
    """The figures, line by line."""
    for name, sizes, case in _CASES:
        seconds = [min(_seconds(case, size) for _ in range(3)) for size in sizes]
        shown = ", ".join(f"{size:,}: {took:.3f} s" for size, took in zip(sizes, seconds, strict=True))
        yield f"{name:<36} {shown}; grows {seconds[2] / seconds[1]:.1f}x"


def _seconds(case: Callable[[int], tuple[Expectation, Trajectory]], size: int) -> float:
    expectation, trajectory = case(size)
    began = time.perf_counter()
    mismatch = expectation.mismatch(trajectory)
    if mismatch is not None:
        list(mismatch_lines(mismatch))
    return time.perf_counter() - began
