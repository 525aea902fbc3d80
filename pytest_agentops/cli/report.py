"""`pytest-agentops report show|merge|verify`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pytest_agentops.cli import command, printable, tell
from pytest_agentops.cli.gate import read_report

ABOUT = "reports of runs: drawn again, merged, checked"


def add(commands: Any) -> None:
    """Add the commands of this area."""
    showing = command(commands, "show", "a report as text, or as a file of another kind", _show)
    showing.add_argument("report", type=Path, help="a report as JSON")
    _output(showing)
    merging = command(commands, "merge", "one report of several, as shards of one run make them", _merge)
    merging.add_argument("reports", type=Path, nargs="+", help="reports as JSON")
    _output(merging)
    verifying = command(commands, "verify", "whether a report in Markdown tells of what is here", _verify)
    verifying.add_argument("report", type=Path, help="a report as Markdown, written by --agentops-report")


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="as Markdown, for a comment on a pull request")
    parser.add_argument(
        "--output", "-o", type=Path, action="append", default=[], metavar="FILE", help="write it: .html, .json or .md"
    )


def _show(options: argparse.Namespace) -> int:
    return _tell(read_report(options.report), options)


def _merge(options: argparse.Namespace) -> int:
    from pytest_agentops.report import Report

    return _tell(Report.merged([read_report(path) for path in options.reports]), options)


def _tell(report: Any, options: argparse.Namespace) -> int:
    from pytest_agentops.formats.files import check, write
    from pytest_agentops.formats.markdown import text
    from pytest_agentops.formats.terminal import lines

    for path in options.output:
        check(path)
    for path in options.output:
        write(report, path)
    if options.json:
        print(printable(report.to_json()))
    elif options.markdown:
        print(printable(text(report)), end="")
    else:
        tell([*lines(report), *(f"written: {path}" for path in options.output)])
    return 0


def _verify(options: argparse.Namespace) -> int:
    from pytest_agentops.history import History
    from pytest_agentops.seal import PARTS, verify
    from pytest_agentops.settings import project_root, read_settings

    settings = read_settings(project_root(options.report.resolve().parent))
    seal = verify(options.report, History(settings.prompts))
    if options.json:
        print(json.dumps({"commit": seal.commit, **seal.parts}, indent=1))
    else:
        tell([f"{options.report} tells of what is here: {', '.join(PARTS)} are as they were"])
    return 0
