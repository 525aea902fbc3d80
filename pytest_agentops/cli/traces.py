"""`pytest-agentops traces show`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_agentops.cli import command, tell

if TYPE_CHECKING:
    from pytest_agentops.trace import Trace

ABOUT = "what an agent did"


def add(commands: Any) -> None:
    """Add the commands of this area."""
    telling = command(commands, "show", "a trace as a tree: model calls, tool calls, results, answers, findings", _tell)
    telling.add_argument("path", type=Path, help="a cassette, or a trace that was saved as JSON")


def _tell(options: argparse.Namespace) -> int:
    from pytest_agentops.explain import trace_lines

    trace = _trace(options.path)
    if options.json:
        print(trace.to_json(indent=2))
    else:
        tell(trace_lines(trace))
    return 0


def _trace(path: Path) -> Trace:
    from pytest_agentops.trace import Trace

    if path.suffix == ".json" and path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
        if '"interactions"' not in text:
            return Trace.from_json(text)
    return Trace.from_cassette(path)
