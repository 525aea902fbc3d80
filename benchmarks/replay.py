"""Replay: milliseconds a call through one httpx2 client, in cassettes of 10 to 10,000 exchanges.

Each round times ours, vcrpy with body matching and httpx2.MockTransport (the floor, which looks nothing up) one after
the other; figures are medians over rounds. Ours and the floor play the whole cassette; vcrpy, which takes minutes for
1,000, plays ten requests spread evenly over it and the last three, and is not asked beyond.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import vcr

from pytest_agentops.cassette import Session
from pytest_agentops.exchange import Exchange, Request, Response, Timing
from pytest_agentops.tape import Tape, dumps

_URL = "https://api.openai.com/v1/chat/completions"
_HEADERS = (("content-type", "application/json"),)
_ROUNDS = 7


def lines() -> Iterator[str]:
    """The figures, line by line."""
    per_call: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in (10, 100, 1000, 10_000):
            path = Path(folder) / f"{size}.yaml"
            path.write_text(dumps(_tape(size)), encoding="utf-8")
            ours, floor, stock, last = _measure(path, size)
            per_call[size] = ours
            yield f"{size:>5} exchanges  ours {ours:.3f} ms   floor {floor:.3f} ms ({ours / floor:.1f}x)"
            if stock:
                yield f"     vcrpy {stock:.1f} ms ({stock / ours:.0f}x ours)"
                yield f"     vcrpy at the end {last:.1f} ms ({last / ours:.0f}x)"
    yield f"growth: a call from 10,000 exchanges costs {per_call[10_000] / per_call[10]:.2f}x one from 10"


def _measure(path: Path, size: int) -> tuple[float, float, float, float]:
    rounds: list[tuple[float, float, float, float]] = []
    spread = sorted({round(index * (size - 1) / 9) for index in range(10)})
    stock = last = 0.0
    for number in range(_ROUNDS if size <= 1000 else 2):
        ours = _mean(_session(path), range(size), repeat=max(1, 100 // size))
        floor = _mean(_floor, range(size), repeat=max(1, 100 // size))
        if size < 1000 or (size == 1000 and number < 2):
            stock = _mean(_stock(path), spread)
            last = _mean(_stock(path), range(size - 3, size))
        rounds.append((ours, floor, stock, last))
    ours, floor, stock, last = (statistics.median(column) for column in zip(*rounds, strict=True))
    return ours, floor, stock, last


def _mean(open_client: Callable[[], AbstractContextManager[httpx2.Client]], which: Any, repeat: int = 1) -> float:
    """Milliseconds a call; opening the cassette is not counted."""
    seconds = 0.0
    for _ in range(repeat):
        with open_client() as client:
            client.build_request("POST", _URL, json=_question(0))
            requests = [_question(index) for index in which]
            began = time.perf_counter()
            for question in requests:
                client.post(_URL, json=question).json()
            seconds += time.perf_counter() - began
    return seconds * 1000 / (repeat * len(which))


class _Opened:
    """A client inside whatever answers it."""

    def __init__(self, around: AbstractContextManager[Any], client: httpx2.Client) -> None:
        self._around, self._client = around, client

    def __enter__(self) -> httpx2.Client:
        self._around.__enter__()
        return self._client.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._client.__exit__(*error)
        self._around.__exit__(*error)


def _session(path: Path) -> Callable[[], Any]:
    return lambda: _Opened(Session(path, mode="none", name="bench").open(), httpx2.Client())


def _stock(path: Path) -> Callable[[], Any]:
    recorder = vcr.VCR(record_mode="none", match_on=["method", "scheme", "host", "port", "path", "query", "body"])
    return lambda: _Opened(recorder.use_cassette(str(path)), httpx2.Client())


def _floor() -> Any:
    answer = json.dumps(_answer(0)).encode()
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, headers=dict(_HEADERS), content=answer))
    return httpx2.Client(transport=transport)


def _tape(size: int) -> Tape:
    return Tape(
        exchanges=tuple(
            Exchange(
                index + 1,
                Request("POST", _URL, _HEADERS, json.dumps(_question(index)).encode()),
                Response(200, "OK", _HEADERS, json.dumps(_answer(index)).encode()),
                timing=Timing(float(index), 0.5),
            )
            for index in range(size)
        ),
        outcome="passed",
    )


def _question(index: int) -> dict[str, Any]:
    words = " ".join(f"word{number}" for number in range(300))
    return {
        "model": "gpt-5-mini",
        "messages": [
            {"role": "system", "content": f"You are a support agent. {words}"},
            {"role": "user", "content": f"Question {index}: where is order {index}?"},
        ],
    }


def _answer(index: int) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{index}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-5-mini",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": f"Order {index} is on its way. " * 20},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 320, "completion_tokens": 120, "total_tokens": 440},
    }
