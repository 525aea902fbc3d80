"""`pytest-agentops compare BASE [HEAD]`: what became of the recorded behaviour, without running anything."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pytest_agentops.cli import printable, tell

ABOUT = "what became of the recorded behaviour between two commits, without running anything"


def add(parser: Any) -> None:
    """Add what this command takes."""
    parser.add_argument("base", help="a commit, branch or tag")
    parser.add_argument("head", nargs="?", help="another one (default: the working tree)")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.add_argument("--markdown", action="store_true", help="the same as Markdown, for a comment on a pull request")
    parser.add_argument(
        "--report", type=Path, action="append", default=[], metavar="FILE", help="write it too: .html, .json or .md"
    )
    parser.add_argument("--strict", action="store_true", help="fail where a test regressed or cannot be compared")
    parser.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from pytest_agentops.behaviour import compare
    from pytest_agentops.formats.files import check, write
    from pytest_agentops.formats.markdown import text
    from pytest_agentops.formats.terminal import lines
    from pytest_agentops.repository import PromptRepository
    from pytest_agentops.settings import project_root, read_settings

    for path in options.report:
        check(path)
    settings = read_settings(project_root(Path.cwd()))
    found = compare(PromptRepository(settings.prompts), options.base, options.head)
    for path in options.report:
        write(found, path)
    if options.json:
        print(printable(found.to_json()))
    elif options.markdown:
        print(printable(text(found)), end="")
    else:
        tell([*lines(found), *(f"written: {path}" for path in options.report)])
    failed = found.count("regressed") or found.count("not comparable")
    return 1 if options.strict and failed else 0
