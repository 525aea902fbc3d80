"""Capture: milliseconds a live call over loopback HTTP, with a recording open and without one.

The same httpx2 client calls the same server in turn; medians over rounds. The first chunk of a stream is timed against
a server that thinks for 20 ms and then says a word every 5.
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
    first: list[float] = []
    first_watched: list[float] = []
    with ScriptedModel(lambda _request: Says("Word after word after word. " * 4, latency=0.02, pause=0.005)) as model:
        for _ in range(_ROUNDS):
            first.append(_first_chunk(model.base_url, nullcontext()))
            first_watched.append(_first_chunk(model.base_url, watching(Recording("bench"))))
    yield _line("first chunk", first, first_watched)


def _first_chunk(base_url: str, around: Any) -> float:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    with around, httpx2.Client() as client:
        began = time.perf_counter()
        with client.stream("POST", f"{base_url}/chat/completions", json=body) as reply:
            next(reply.iter_raw())
            seconds = time.perf_counter() - began
        return seconds * 1000


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
