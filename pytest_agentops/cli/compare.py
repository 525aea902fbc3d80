"""`pytest-agentops compare BASE [HEAD]`: what became of the recorded behaviour, without running anything."""

from __future__ import annotations

import argparse
import dataclasses
import json
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
    parser.add_argument("--html", type=Path, metavar="FILE", help="write it as one HTML file too")
    parser.add_argument("--strict", action="store_true", help="fail where a test regressed or cannot be compared")
    parser.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from pytest_agentops.formats import html
    from pytest_agentops.formats.markdown import text
    from pytest_agentops.formats.terminal import lines
    from pytest_agentops.regression import compare
    from pytest_agentops.repository import PromptRepository
    from pytest_agentops.settings import project_root, read_settings
    from pytest_agentops.tape import write_whole

    prompts = PromptRepository(read_settings(project_root(Path.cwd())).prompts)
    found = compare(prompts, options.base, options.head)
    if options.html is not None:
        options.html.parent.mkdir(parents=True, exist_ok=True)
        write_whole(options.html, printable(html.text(found)).encode())
    if options.json:
        cases = [
            {
                "name": case.name,
                "verdict": case.verdict,
                "problem": case.problem,
                "calls": [dataclasses.asdict(edit) for edit in case.calls],
                "answered_otherwise": case.answered_otherwise,
                "drift": case.drift,
                "figures": [dataclasses.asdict(figure) for figure in case.figures],
            }
            for case in found.cases
        ]
        state = {"base": found.base.sha, "head": found.head and found.head.sha, "same": found.count("same")}
        print(json.dumps({**state, "cases": cases}, indent=2, default=str))
    elif options.markdown:
        print(printable(text(found)), end="")
    else:
        tell(lines(found))
    failed = found.count("regressed") or found.count("not comparable")
    return 1 if options.strict and failed else 0
