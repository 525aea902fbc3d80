"""`compare` between two commits: seconds for 1,000 cassettes of which some changed, and for more of which none did.

The time should grow with the number of cassettes that changed and not with that of all. The last line is a floor: git
alone naming the files that differ.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pytest_agentops.behaviour import compare
from pytest_agentops.exchange import Exchange, Request, Response
from pytest_agentops.repository import PromptRepository
from pytest_agentops.tape import Tape, save

_TOTAL = 1_000


def lines() -> Iterator[str]:
    """The figures, line by line."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _git(root, "init", "-q", "-b", "main")
        (root / "prompts").mkdir()
        (root / "prompts" / "a.prompty").write_text("Hi")
        _record(root, range(_TOTAL), "first")
        _commit(root)
        for changed in (10, 100, 1_000):
            _record(root, range(changed), f"changed {changed}")
            _commit(root)
            took = min(_seconds(root) for _ in range(3))
            yield f"{_TOTAL:,} cassettes, {changed:>5,} changed  {took:.2f} s, {1000 * took / changed:.1f} ms each"
        _record(root, range(_TOTAL, 4 * _TOTAL), "more")
        _commit(root)
        _record(root, range(10), "again")
        _commit(root)
        took = min(_seconds(root) for _ in range(3))
        yield f"{4 * _TOTAL:,} cassettes,    10 changed  {took:.2f} s"
        began = time.perf_counter()
        _git(root, "diff", "--name-only", "HEAD~1", "HEAD")
        yield f"git diff --name-only            {time.perf_counter() - began:.2f} s"


def _record(root: Path, numbers: range, answer: str) -> None:
    for number in numbers:
        exchanges = []
        for turn in range(1, 4):
            asked = {"model": "m", "messages": [{"role": "user", "content": f"question {turn} " * 20}]}
            message = {"role": "assistant", "content": f"{answer} {turn} " * 20}
            body = {
                "id": f"r{turn}",
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            }
            request = Request("POST", "https://api.openai.com/v1/chat/completions", (), json.dumps(asked).encode())
            headers = (("content-type", "application/json"),)
            exchanges.append(Exchange(turn, request, Response(200, "OK", headers, json.dumps(body).encode())))
        path = root / "tests" / "cassettes" / f"test_{number % 50}" / f"test_{number}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(Tape(exchanges=tuple(exchanges), outcome="passed"), path)


def _commit(root: Path) -> None:
    _git(root, "add", "-A")
    _git(root, "-c", "user.name=a", "-c", "user.email=a@x", "commit", "-q", "-m", "x")


def _git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)


def _seconds(root: Path) -> float:
    began = time.perf_counter()
    found = compare(PromptRepository(root / "prompts"), "HEAD~1", "HEAD")
    assert found.cases
    _ = [case.verdict for case in found.cases]
    return time.perf_counter() - began
