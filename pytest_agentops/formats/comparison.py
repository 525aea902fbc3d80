"""The report of a comparison as the parts of a page to click through; `html` draws the same report whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pytest_agentops.formats import about, macros, moved, outcome, plain
from pytest_agentops.formats.html import case_data, prompt_data
from pytest_agentops.formats.terminal import notes as notes_of
from pytest_agentops.formats.traces import TEMPLATE, beside_data, window
from pytest_agentops.regression import VERDICTS, Case
from pytest_agentops.report import Report
from pytest_agentops.views import beside

_MOST_CASES = 100
_MOST_CALLS = 200
_COLOURS = {
    "regressed": "bad",
    "not comparable": "bad",
    "improved": "good",
    "changed": "odd",
    "too few runs to tell": "odd",
    "new": "plain",
    "gone": "odd",
    "same": "plain",
}
_KINDS = {"changed": "odd", "added": "good", "removed": "bad", "unreadable": "bad"}


def chosen(report: Report, verdict: str = "", text: str = "") -> list[Case]:
    """The tests that have this verdict, or any, and each of these words in their name; in the report's order."""
    words = text.casefold().split()
    return [
        case
        for case in (*report.cases, *report.variants)
        if verdict in ("", case.verdict) and all(word in case.name.casefold() for word in words)
    ]


def counts_html(report: Report, verdict: str = "") -> str:
    """How many tests have each verdict; `verdict` is the one that is chosen."""
    return plain(
        macros(TEMPLATE).counts(
            [
                {
                    "word": each,
                    "count": f"{report.count(each):,}",
                    "class": _COLOURS[each] if report.count(each) else "none",
                    "chosen": each == verdict,
                }
                for each in VERDICTS
            ]
        )
    )


def notes(report: Report) -> list[str]:
    """What a reader has to know of how it came about."""
    return list(notes_of(report))


def cases_html(report: Report, *, verdict: str = "", text: str = "", opened: frozenset[str], first: int = 0) -> str:
    """The tests, those that moved first; the ones that are opened with all that is known of them."""
    cases, part = window(chosen(report, verdict, text), first, _MOST_CASES, "tests")
    return plain(
        macros(TEMPLATE).cases(
            {
                "cases": [
                    {
                        "name": case.name,
                        "verdict": case.verdict,
                        "colour": _COLOURS[case.verdict],
                        "about": "; ".join(_about(case)),
                        "opened": _opened(case) if case.name in opened else None,
                    }
                    for case in cases
                ],
                "window": part,
            }
        )
    )


def _about(case: Case) -> Iterator[str]:
    if case.problem:
        yield case.problem
        return
    if told := outcome(case):
        yield told
    if case.base and case.head:
        counted = Counter(edit.kind for edit in case.calls)
        if edited := [f"{counted[kind]} {kind}" for kind in ("added", "removed", "moved", "changed") if counted[kind]]:
            yield f"tool calls: {', '.join(edited)}"
        if case.answered_otherwise:
            yield "another answer"
        for figure in islice((each for each in moved(case) if each.name == "tokens"), 1):
            if figure.change and figure.base:
                yield f"tokens {100 * figure.change / figure.base:+.0f} %"


def _opened(case: Case) -> dict[str, Any]:
    base, head = case.shown
    rows = list(beside(base.calls if base else (), head.calls if head else ())) if not case.problem else []
    more = len(rows) - _MOST_CALLS
    return {
        **case_data(case),
        "left_out": case.left_out,
        "calls": [beside_data(each, results=False) for each in rows[:_MOST_CALLS]],
        "more_calls": f"and {more:,} more rows, which the downloaded report has" if more > 0 else "",
    }


def prompts_html(report: Report, opened: frozenset[str]) -> str:
    """What became of the prompts; the ones that are opened with their words."""
    return plain(
        macros(TEMPLATE).prompts(
            [
                {
                    "name": each.name,
                    "kind": each.kind,
                    "colour": _KINDS.get(each.kind, "plain"),
                    "about": about(each),
                    "opened": prompt_data(each) if each.name in opened else None,
                }
                for each in report.prompts
            ]
        )
    )
