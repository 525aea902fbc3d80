"""A comparison as one HTML file, which opens from disk with no network and runs no script."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from pytest_agentops.accounts import words
from pytest_agentops.formats import amount, change, headline
from pytest_agentops.history import Commit
from pytest_agentops.regression import VERDICTS, Case, Comparison, Figure
from pytest_agentops.revision import Revision
from pytest_agentops.trace import ToolCall


def text(comparison: Comparison) -> str:
    """The whole file; whatever prompts, answers and calls say is text in it."""
    worse = comparison.count("regressed") + comparison.count("not comparable")
    return _template().render(
        headline=headline(comparison),
        verdict="worse" if worse else "changed" if comparison.cases else "the same",
        base=_state(comparison.base),
        head=_state(comparison.head) if comparison.head else "the working tree",
        counts=[(verdict, comparison.count(verdict)) for verdict in VERDICTS],
        revisions=[_revision(revision) for revision in comparison.revisions],
        cases=[_case(case) for case in comparison.cases],
    )


@cache
def _template() -> Template:
    source = Path(__file__).with_name("comparison.html.jinja").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(source)


def _state(commit: Commit) -> str:
    return f"{commit.short} of {commit.date:%Y-%m-%d}"


def _revision(revision: Revision) -> dict[str, Any]:
    return {
        "name": revision.new.name,
        "old": revision.old.version or "no version",
        "new": revision.new.version or "no version",
        "level": revision.level(),
        "contract": revision.contract,
        "diff": list(words(revision.old.body, revision.new.body)),
    }


def _case(case: Case) -> dict[str, Any]:
    base, head = case.traces
    there = case.base is not None and case.head is not None
    outcomes = [side.outcome or "not told" for side in (case.base, case.head) if side is not None]
    return {
        "name": case.name,
        "verdict": case.verdict,
        "problem": case.problem,
        "outcome": " → ".join(dict.fromkeys(outcomes)),
        "rows": list(_rows(base.tool_calls, head.tool_calls)),
        "answer": list(words(str(base.response), str(head.response))) if there and case.answered_otherwise else [],
        "drift": case.drift if there else (),
        "figures": [_figure(figure) for figure in case.figures] if there else [],
    }


def _rows(base: Sequence[ToolCall], head: Sequence[ToolCall]) -> Iterator[dict[str, str]]:
    """The calls of both sides, each beside its like."""
    names = [call.name for call in base], [call.name for call in head]
    for _, start, end, other_start, other_end in difflib.SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        for index in range(max(end - start, other_end - other_start)):
            was = base[start + index] if start + index < end else None
            now = head[other_start + index] if other_start + index < other_end else None
            same = was is not None and now is not None and str(was) == str(now)
            mark = "" if same else "added" if was is None else "removed" if now is None else "changed"
            yield {"mark": mark, "base": str(was) if was else "", "head": str(now) if now else ""}


def _figure(figure: Figure) -> dict[str, Any]:
    largest = max(figure.base or 0, figure.head or 0) or 1
    return {
        "name": figure.name,
        "base": amount(figure, figure.base),
        "head": amount(figure, figure.head),
        "change": change(figure) if figure.change else "",
        "base_share": round(100 * (figure.base or 0) / largest),
        "head_share": round(100 * (figure.head or 0) / largest),
    }
