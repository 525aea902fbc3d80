"""Capture: milliseconds a live call over loopback HTTP, with a recording open and without one.

The same httpx2 client calls the same server in turn; medians over rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import httpx2

from pytest_agentops.capture import Recording, watching
from pytest_agentops.testing import Says, ScriptedModel

_ROUNDS, _CALLS = 15, 60


def lines() -> Iterator[str]:
    """The figures, line by line."""
    plain: list[float] = []
    watched: list[float] = []
    streamed: list[float] = []
    streamed_watched: list[float] = []
    with ScriptedModel(lambda _request: Says("An answer of a few words, as they are. " * 8)) as model:
        for number in range(_ROUNDS + 1):
            timings = [
                _calls(model.base_url, nullcontext(), stream=False),
                _calls(model.base_url, watching(Recording("bench")), stream=False),
                _calls(model.base_url, nullcontext(), stream=True),
                _calls(model.base_url, watching(Recording("bench")), stream=True),
            ]
            if number:
                for taken, one in zip((plain, watched, streamed, streamed_watched), timings, strict=True):
                    taken.append(one)
    yield _line("whole answers", plain, watched)
    yield _line("streamed", streamed, streamed_watched)


def _calls(base_url: str, around: Any, *, stream: bool) -> float:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    with around, httpx2.Client() as client:
        client.post(f"{base_url}/chat/completions", json=body).read()
        began = time.perf_counter()
        for _ in range(_CALLS):
            client.post(f"{base_url}/chat/completions", json=body).read()
        return (time.perf_counter() - began) * 1000 / _CALLS


def _line(name: str, plain: list[float], watched: list[float]) -> str:
    ratio = statistics.median(one / other for one, other in zip(watched, plain, strict=True))
    before, after = statistics.median(plain), statistics.median(watched)
    return f"{name:<14} without {before:.2f} ms   recording {after:.2f} ms   {ratio:.2f}x"
