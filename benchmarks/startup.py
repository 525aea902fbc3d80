"""Start-up: a whole pytest run of one empty test that does not use us, in seconds.

Bare pytest, with our plugin and with pytest-recording, each alone beside pytest, in turn; medians over rounds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_ROUNDS = 15
_VARIANTS = {
    "bare pytest": [],
    "pytest-agentops": ["-p", "pytest_agentops.plugin"],
    "pytest-recording": ["-p", "pytest_recording.plugin"],
}


def lines() -> Iterator[str]:
    """The figures, line by line."""
    seconds: dict[str, list[float]] = {name: [] for name in _VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_nothing.py").write_text("def test_nothing():\n    pass\n", encoding="utf-8")
        Path(folder, "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        for number in range(_ROUNDS + 1):
            for name, options in _VARIANTS.items():
                took = _run(folder, options)
                if number:  # The first round warms the caches.
                    seconds[name].append(took)
    bare = seconds["bare pytest"]
    for name, taken in seconds.items():
        added = statistics.median(one - other for one, other in zip(taken, bare, strict=True)) * 1000
        ratio = statistics.median(one / other for one, other in zip(taken, bare, strict=True))
        yield f"{name:<17} {statistics.median(taken):.3f} s   {added:+5.0f} ms   {ratio:.2f}x bare"


def _run(folder: str, options: list[str]) -> float:
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began
