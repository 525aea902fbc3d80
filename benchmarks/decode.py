"""Decoding: the exchanges with models that others recorded, read as model calls, beside `json.loads` of the same bytes.

The floor is what nobody can do without: of a whole answer its JSON and its request's, of a stream the JSON of every
event's data and of the request. What is measured is finding the format, decoding and joining the pieces of a stream;
prices are not looked up. Both sides keep what they made until the round is over, as a trace does: half of the time of
either is memory. Then an answer of 100,000 pieces in each format, which must not cost more by the piece than a short
one; there both sides let each piece go. Each round does both in turn; ratios are medians over rounds.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_agentops.assembly import FORMATS
from pytest_agentops.exchange import Exchange, Request, Response, header, parse_json
from pytest_agentops.tape import load
from pytest_agentops.wire.bedrock_converse import frames

_CORPUS = Path(os.environ.get("AGENTOPS_CORPUS") or Path(__file__).resolve().parents[2] / "shared" / "corpus")
_ROUNDS = 15
BOUNDS = {"whole": 3.0, "streamed": 10.0}
"""How many times the floor decoding may take."""


def lines() -> Iterator[str]:
    """The figures, line by line."""
    if _CORPUS.is_dir():
        for kind, exchanges in corpus().items():
            yield _line(kind, f"{len(exchanges)} exchanges", BOUNDS[kind], *measured(exchanges))
    else:
        yield f"no cassettes of others at {_CORPUS}; name some with AGENTOPS_CORPUS"
    for kind, exchange in long_streams().items():
        yield _line(kind, "100,000 pieces", BOUNDS["streamed"], *measured([exchange], rounds=3, keep=False))


def _line(kind: str, what: str, bound: float, ratio: float, seconds: float, floor: float) -> str:
    figures = f"decoded in {seconds * 1000:.1f} ms, JSON alone {floor * 1000:.1f} ms: {ratio:.2f}x"
    return f"{kind:<19} {what:<14}  {figures} (bound {bound:.0f}x, {'kept' if ratio <= bound else 'missed'})"


def corpus() -> dict[str, list[Exchange]]:
    """The exchanges with models, whole answers and streams apart."""
    found: dict[str, list[Exchange]] = {"whole": [], "streamed": []}
    for path in sorted(_CORPUS.rglob("*.yaml")):
        for exchange in load(path).exchanges:
            response = exchange.response
            if response is None or response.status >= 300 or not any(each.reads(exchange.request) for each in FORMATS):
                continue
            if any(parse_json(text) is None for text in _texts(exchange)):
                continue  # One answer is empty; the floor has to be able to read it.
            found["streamed" if _streamed(exchange) else "whole"].append(exchange)
    return found


def long_streams() -> dict[str, Exchange]:
    """An answer of very many pieces in each format that joins them."""
    piece = "word "
    called = [{"function": {"arguments": '{"a": 1} '}}]
    made: dict[str, tuple[str, object]] = {
        "openai chat": (
            "https://api.openai.com/v1/chat/completions",
            {"choices": [{"index": 0, "delta": {"content": piece, "tool_calls": called}}]},
        ),
        "openai responses": (
            "https://api.openai.com/v1/responses",
            {"type": "response.output_text.delta", "output_index": 0, "delta": piece},
        ),
        "anthropic": (
            "https://api.anthropic.com/v1/messages",
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}},
        ),
        "gemini": (
            "https://generativelanguage.googleapis.com/v1beta/models/m:streamGenerateContent",
            {"candidates": [{"content": {"parts": [{"text": piece}]}}]},
        ),
        "cohere": (
            "https://api.cohere.com/v2/chat",
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": piece}}}},
        ),
    }  # fmt: skip
    headers = (("content-type", "text/event-stream"),)
    return {
        name: Exchange(
            1,
            Request("POST", url, body=b"{}"),
            Response(200, headers=headers, body=f"data: {json.dumps(event)}\n\n".encode() * 100_000),
        )
        for name, (url, event) in made.items()
    }


def measured(exchanges: Sequence[Exchange], rounds: int = _ROUNDS, *, keep: bool = True) -> tuple[float, float, float]:
    """How many times the floor decoding took, and the seconds of both."""
    texts = [text for exchange in exchanges for text in _texts(exchange)]
    ratios, seconds, floors = [], [], []
    for _ in range(rounds):
        fresh = [_fresh(exchange) for exchange in exchanges]
        floors.append(_timed(json.loads, texts, keep))
        seconds.append(_timed(_decoded, fresh, keep))
        ratios.append(seconds[-1] / floors[-1])
    return statistics.median(ratios), statistics.median(seconds), statistics.median(floors)


def _streamed(exchange: Exchange) -> bool:
    assert exchange.response is not None
    kind = header(exchange.response.headers, "content-type") or ""
    return exchange.response.is_event_stream or kind.startswith("application/vnd.amazon.eventstream")


def _texts(exchange: Exchange) -> Iterator[bytes | str]:
    """The JSON that there is to read: of the request, and of the answer or of each event."""
    assert exchange.response is not None
    yield exchange.request.body
    if not _streamed(exchange):
        yield exchange.response.body
    elif exchange.response.is_event_stream:
        for line in exchange.response.body.decode().splitlines():
            data = line.removeprefix("data:").strip()
            if line.startswith("data:") and data != "[DONE]":
                yield data
    else:
        yield from (json.dumps(payload) for _, payload in frames(exchange.response.body))


def _fresh(exchange: Exchange) -> Exchange:
    """The same exchange, which has parsed nothing yet."""
    request, response = exchange.request, exchange.response
    assert response is not None
    return Exchange(
        exchange.number,
        Request(request.method, request.url, request.headers, request.body),
        Response(response.status, response.reason, response.headers, response.body),
    )


def _decoded(exchange: Exchange) -> object:
    return next(each for each in FORMATS if each.reads(exchange.request)).decode(exchange)


def _timed(work: Callable[[Any], object], values: Sequence[Any], keep: bool) -> float:
    kept: deque[object] = deque(maxlen=None if keep else 0)
    gc.collect()
    started = time.perf_counter()
    kept.extend(map(work, values))
    return time.perf_counter() - started
