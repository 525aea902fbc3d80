"""Recorded runs: seconds to list 10,000 of them, to search them, and to draw the waterfall of one of 2,000 steps.

A list from an index that is warm should cost little more than its floor: asking the file system for the state of each
file, and SQLite for the rows. The goal is a list in under a second and a waterfall in under two.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_agentops.exchange import Exchange, Request, Response, Timing
from pytest_agentops.formats.traces import runs_html, waterfall_html
from pytest_agentops.sessions import RunIndex, Wanted
from pytest_agentops.tape import Tape, dumps, loads

_RUNS, _STEPS = 10_000, 2_000


def lines() -> Iterator[str]:
    """The figures, line by line."""
    yield from measured(_RUNS, _STEPS)


def measured(runs: int, steps: int) -> Iterator[str]:
    """The figures of so many runs, and of one with so many steps."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        record(root, runs)
        first, _ = _timed(lambda: _listed(root))
        yield f"{runs:,} runs read for the first time  {first:.2f} s, {1000 * first / runs:.2f} ms each"
        warm, found = min((_timed(lambda: _listed(root)) for _ in range(3)), key=lambda each: each[0])
        assert len(found) == runs
        floor = min(_timed(lambda: _floor(root))[0] for _ in range(3))
        yield f"{runs:,} runs listed, warm index  {1000 * warm:,.0f} ms   floor {1000 * floor:,.0f} ms"
        drawn, _ = _timed(lambda: runs_html(Wanted(sort="tokens").of(found, lambda _: frozenset())))
        yield f"sorted, and the first of them as HTML  {1000 * drawn:,.0f} ms"
        with RunIndex(root) as index:
            searched, hits = _timed(lambda: index.containing("question 77"))
        yield f"searched for two words  {1000 * searched:,.0f} ms, {len(hits):,} found"
    text = cassette(1, steps)
    read, trace = _timed(lambda: loads(text).trace())
    made, html = _timed(lambda: waterfall_html(trace))
    yield (
        f"a trace of {steps:,} steps  read from its cassette {read:.2f} s, "
        f"its waterfall as HTML {made:.2f} s ({len(html):,} characters)"
    )


def record(root: Path, runs: int) -> None:
    """Write so many cassettes of three model calls below this folder."""
    for number in range(runs):
        path = root / "tests" / "cassettes" / f"test_{number % 50}" / f"test_{number}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(cassette(number, 3), encoding="utf-8")


def cassette(number: int, steps: int) -> str:
    """The text of a cassette with so many model calls, of which each but the last asks for a tool."""
    exchanges = []
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"question {number} " * 10}]
    for step in range(1, steps + 1):
        asked = {"model": "gpt-5-mini", "messages": messages[-6:]}
        answer: dict[str, Any] = {"role": "assistant", "content": f"answer {step} of {number}"}
        if step < steps:
            function = {"name": f"look_up_{step % 7}", "arguments": json.dumps({"order": step})}
            answer |= {"tool_calls": [{"id": f"c{step}", "type": "function", "function": function}]}
        body = {
            "id": f"r{step}",
            "model": "gpt-5-mini",
            "choices": [{"index": 0, "message": answer, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100 + step, "completion_tokens": 20, "total_tokens": 120 + step},
        }
        request = Request("POST", "https://api.openai.com/v1/chat/completions", (), json.dumps(asked).encode())
        headers = (("content-type", "application/json"),)
        response = Response(200, "OK", headers, json.dumps(body).encode())
        exchanges.append(Exchange(step, request, response, timing=Timing(float(step), 0.7)))
        messages += [answer, {"role": "tool", "tool_call_id": f"c{step}", "content": f"order {step} was shipped"}]
    return dumps(Tape(exchanges=tuple(exchanges), outcome="passed", recorded=datetime(2026, 1, 1, tzinfo=UTC)))


def _listed(root: Path) -> Any:
    with RunIndex(root) as index:
        for _ in index.refresh():
            pass
        return Wanted().of(index.runs(), index.containing)


def _floor(root: Path) -> None:
    """What nothing can do without: where each file is and when it was changed, and the rows as SQLite gives them."""
    for path in (root / "tests").rglob("*.yaml"):
        path.stat()
    base = sqlite3.connect(root / ".agentops" / "index.sqlite")
    base.execute("SELECT path, mtime, size, inode, runs FROM files").fetchall()
    base.close()


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result
