"""`pytest-agentops gate RUN.json`: whether a change may go on, for a step that has only the report of a run."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_agentops.cli import tell

ABOUT = "decide by the gates of a report whether a change may go on: exit 0 passed, 1 failed, 3 undecided"


def add(parser: Any) -> None:
    """Add what this command takes."""
    parser.add_argument("report", type=Path, help="a report as JSON, written by --agentops-report or report merge")
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="GATE",
        help="a gate such as 'pass_rate >= 0.9'; those of the report do not count then",
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.set_defaults(run=_gate)


def _gate(options: argparse.Namespace) -> int:
    from pytest_agentops.errors import UsageError
    from pytest_agentops.formats.terminal import decision_lines, notes
    from pytest_agentops.gates import read

    report = read_report(options.report)
    if options.require:
        required = read(options.require, "--require")
        report = replace(report, gates=replace(required, confidence=report.gates.confidence))
    if report.gated == "no gate":
        raise UsageError(
            f"{options.report} has no gates, so that there is nothing to decide\n"
            "  write them in [tool.agentops.gate], or name one: --require 'regressed == 0'"
        )
    if options.json:
        print(json.dumps({key: json.loads(report.to_json())[key] for key in ("gated", "decisions")}, indent=1))
    else:
        tell([*notes(report), *decision_lines(report.decisions), report.gated])
    return {"passed": 0, "failed": 1}.get(report.gated, 3)


def read_report(path: Path) -> Any:
    """The report in a file.

    Raises:
        UsageError: there is no such file, or it cannot be read.
        ReportError: it holds no report.
    """
    from pytest_agentops.errors import ReportError, UsageError
    from pytest_agentops.report import Report

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ReportError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    return Report.from_json(text, str(path))
