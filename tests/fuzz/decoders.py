"""Damaged bodies and streams for every decoder: what comes out is a trace, never an exception and never a hang.

Needs atheris, which is no dependency: `pip install atheris`. Five minutes of it:

    python -m tests.fuzz.decoders -max_total_time=300 -timeout=10 -max_len=4096 -len_control=0

What it finds becomes a test in `tests/test_wire_damaged.py`. It begins with answers of every format as our tests make
them, and with those that others recorded, where they are present.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(
    include=["pytest_agentops.wire", "pytest_agentops.assembly", "pytest_agentops.exchange"]
):
    from pytest_agentops.assembly import FORMATS, trace_of
    from pytest_agentops.exchange import Exchange
    from pytest_agentops.tape import load
    from pytest_agentops.trace import Trace
    from pytest_agentops.wire.bedrock_converse import frames

from tests.fuzz.seeds import CORPUS, JUNK, closed, made, opened
from tests.test_wire_formats import frame


def seeds() -> list[Exchange]:
    """Exchanges to damage."""
    recorded = [load(path).exchanges for path in sorted(CORPUS.rglob("*.yaml"))[::6]] if CORPUS.is_dir() else []
    kept = [each for exchanges in recorded for each in exchanges if each.response is not None]
    return [*made(), *(each for each in kept if len(each.response.body) < 20_000)]  # type: ignore[union-attr]


def check(exchanges: list[Exchange]) -> None:
    """Read them in every way there is.

    Raises:
        AssertionError: the trace does not survive as JSON.
    """
    for exchange in exchanges:
        for reader in FORMATS:
            reader.reads(exchange.request)
            reader.decode(exchange)
    trace = trace_of(exchanges, source="imported")
    assert isinstance(str(trace.response), str)
    assert len(trace.turns) <= len(trace.model_calls)
    kept = trace.to_json()
    assert Trace.from_json(kept).to_json() == kept


def damaged(body: bytes, data: Any) -> bytes:
    """The body with one to three things done to it."""
    for _ in range(data.ConsumeIntInRange(1, 3)):
        body = _ONE[data.ConsumeIntInRange(0, len(_ONE) - 1)](body, data)
    return body


def _cut(body: bytes, data: Any) -> bytes:
    return body[: data.ConsumeIntInRange(0, len(body))]


def _without(body: bytes, data: Any) -> bytes:
    start = data.ConsumeIntInRange(0, len(body))
    return body[:start] + body[start + data.ConsumeIntInRange(0, 200) :]


def _overwritten(body: bytes, data: Any) -> bytes:
    start = data.ConsumeIntInRange(0, len(body))
    piece = data.ConsumeBytes(data.ConsumeIntInRange(0, 8))
    return body[:start] + piece + body[start + len(piece) :]


def _reordered(body: bytes, data: Any) -> bytes:
    """Events in another order, some twice and some not at all."""
    events = body.split(b"\n\n")
    return b"\n\n".join(events[data.ConsumeIntInRange(0, len(events) - 1)] for _ in range(min(len(events), 30)))


def _retyped(body: bytes, data: Any) -> bytes:
    """Values of another kind somewhere in the JSON, or in the JSON of an event."""
    if events := list(frames(body)):
        at = data.ConsumeIntInRange(0, len(events) - 1)
        events[at] = (events[at][0], _changed(opened(events[at][1]), data))
        return b"".join(frame(kind, closed(payload)) for kind, payload in events)
    lines = body.split(b"\n") if b"\ndata:" in body or b"}\n{" in body or body.startswith(b"data:") else [body]
    at = data.ConsumeIntInRange(0, len(lines) - 1)
    prefix = b"data: " if lines[at].startswith(b"data:") else b""
    try:
        value = json.loads(lines[at].removeprefix(b"data:"))
    except (ValueError, RecursionError):
        return body
    lines[at] = prefix + json.dumps(_changed(value, data)).encode()
    return b"\n".join(lines)


def _changed(value: Any, data: Any) -> Any:
    """The value with something in it replaced, at a depth that the data decides."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or data.ConsumeIntInRange(0, 5) == 0:
        return JUNK[data.ConsumeIntInRange(0, len(JUNK) - 1)]
    key = keys[data.ConsumeIntInRange(0, len(keys) - 1)]
    value = value.copy()
    value[key] = _changed(value[key], data)
    return value


_ONE = (_retyped, _retyped, _retyped, _cut, _without, _overwritten, _reordered)


def one_input(raw: bytes) -> None:
    """One to three exchanges, damaged as these bytes say."""
    data = atheris.FuzzedDataProvider(raw)
    exchanges = []
    for number in range(1, data.ConsumeIntInRange(1, 3) + 1):
        exchange = SEEDS[data.ConsumeIntInRange(0, len(SEEDS) - 1)]
        assert exchange.response is not None
        request, response = exchange.request, exchange.response
        if data.ConsumeBool():
            request = replace(request, body=damaged(request.body, data))
        if data.ConsumeBool():
            response = replace(response, body=damaged(response.body, data), complete=data.ConsumeBool())
        if data.ConsumeIntInRange(0, 9) == 0:
            other = SEEDS[data.ConsumeIntInRange(0, len(SEEDS) - 1)]
            assert other.response is not None
            response = replace(response, headers=other.response.headers)
        exchanges.append(Exchange(number, replace(request), replace(response)))
    check(exchanges)


if __name__ == "__main__":
    SEEDS = seeds()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
