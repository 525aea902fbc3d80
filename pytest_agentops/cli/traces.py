"""`pytest-agentops traces show|export`."""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_agentops.cli import command, recorded, tell

if TYPE_CHECKING:
    from pytest_agentops.trace import Trace

ABOUT = "what an agent did"


def add(commands: Any) -> None:
    """Add the commands of this area."""
    telling = command(commands, "show", "a trace as a tree: model calls, tool calls, results, answers, findings", _tell)
    telling.add_argument("path", type=Path, help="a cassette, or a trace that was saved as JSON")
    about = "traces as OpenTelemetry's spans, printed as OTLP JSON or sent to a collector"
    exporting: argparse.ArgumentParser = commands.add_parser("export", help=about, description=about)
    exporting.set_defaults(run=_export)
    exporting.add_argument("paths", nargs="+", type=Path, help="cassettes, or traces that were saved as JSON")
    exporting.add_argument("--to", metavar="URL", help="a collector, such as http://127.0.0.1:4318 (OTLP/HTTP)")
    exporting.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a header for the collector; may be repeated",
    )


def _tell(options: argparse.Namespace) -> int:
    from pytest_agentops.explain import trace_lines

    trace, _began = _read(options.path)
    if options.json:
        print(trace.to_json(indent=2))
    else:
        tell(trace_lines(trace))
    return 0


def _export(options: argparse.Namespace) -> int:
    from pytest_agentops.errors import UsageError
    from pytest_agentops.formats.otlp import otlp, send

    if wrong := [header for header in options.header if "=" not in header]:
        raise UsageError(f"--header {wrong[0]!r} is not NAME=VALUE")
    headers = dict(header.split("=", 1) for header in options.header)
    for path in options.paths:
        trace, began = _read(path)
        document = otlp(trace, path.stem, began=began)
        if options.to is None:
            print(json.dumps(document))
        else:
            send(document, options.to, headers)
            count = len(document["resourceSpans"][0]["scopeSpans"][0]["spans"])
            tell([f"{path}: sent as {count} span{'s' * (count != 1)}"])
    return 0


def _read(path: Path) -> tuple[Trace, datetime | None]:
    """The trace, and when it was recorded, where that is known."""
    from pytest_agentops.trace import Trace

    if path.suffix == ".json" and path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
        if '"interactions"' not in text:
            return Trace.from_json(text), None
    tape = recorded(path)
    return tape.trace(), tape.recorded
