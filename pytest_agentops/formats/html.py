"""A report as one HTML file, which opens from disk with no network and runs no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_agentops.accounts import words
from pytest_agentops.formats import about, evidence, figure_data, outcome, plain, sides, template, totals
from pytest_agentops.formats.terminal import notes
from pytest_agentops.gates import shown
from pytest_agentops.regression import VERDICTS, Case
from pytest_agentops.report import PromptChange, Report
from pytest_agentops.trace import ToolCall
from pytest_agentops.views import beside

_MOST_SAME = 500
"""Tests that are as they were and are listed by name; beyond that they are counted."""


def text(report: Report) -> str:
    """The whole file; whatever prompts, answers and calls say is text in it."""
    base, head = sides(report)
    told = [case for case in report.cases if case.verdict != "same"]
    same = [case.name for case in report.cases if case.verdict == "same" and not case.left_out]
    page = template("report.html.jinja").render(
        verdict=report.verdict,
        base=base,
        head=head,
        ran=report.ran,
        made=report.made,
        command=report.command,
        counts=[(verdict, report.count(verdict)) for verdict in VERDICTS],
        notes=list(notes(report)),
        decisions=[
            {
                "gate": str(each.gate),
                "outcome": each.outcome,
                "measured": ", ".join(filter(None, (shown(each.gate.figure, each.measured), each.reason))),
            }
            for each in report.decisions
        ],
        totals=[figure_data(figure) for figure in totals(report)],
        prompts=[prompt_data(prompt) for prompt in report.prompts],
        cases=[case_data(case) for case in told],
        variants=[case_data(case) for case in report.variants],
        same=same[:_MOST_SAME],
        more_same=report.count("same") - min(len(same), _MOST_SAME) - len(report.left_out),
        left_out=[(case.name, case.left_out) for case in report.left_out],
    )
    return plain(page)


def prompt_data(prompt: PromptChange) -> dict[str, Any]:
    """What became of a prompt, as a template takes it."""
    return {
        "about": about(prompt),
        "contract": prompt.contract,
        "diff": list(words(prompt.old_body, prompt.new_body)),
        "case": prompt.case,
        "rendered": [(role, list(words(was, now))) for role, was, now in prompt.rendered],
    }


def case_data(case: Case) -> dict[str, Any]:
    """A test on both sides, as a template takes it."""
    base, head = case.shown
    there = base is not None and head is not None and not case.problem
    return {
        "name": case.name,
        "verdict": case.verdict,
        "problem": case.problem,
        "outcome": outcome(case),
        "evidence": evidence(case),
        "shapes": list(_shapes(case)) if case.several and there else [],
        "takes": f"take {base.number} of the base, take {head.number} of the head"
        if case.several and base and head
        else "",
        "rows": list(_rows(base.calls if base else (), head.calls if head else ())) if not case.problem else [],
        "structural": [(each.path, repr(each.expected), repr(each.actual)) for each in case.structural[:50]]
        if there
        else [],
        "answer": list(words(base.response, head.response))
        if base and head and there and case.answered_otherwise
        else [],
        "drift": case.drift if there else (),
        "findings": case.findings if there else ((), ()),
        "figures": [figure_data(figure) for figure in case.figures] if there else [],
    }


def _shapes(case: Case) -> Iterator[dict[str, Any]]:
    """The trajectories of several takes, each with its share of both sides."""
    was, now = case.shapes
    for each in sorted({*was, *now}, key=lambda shape: (-now[shape], -was[shape], shape)):
        yield {
            "name": each,
            "change": "",
            "base": f"{was[each]} of {was.total()}",
            "head": f"{now[each]} of {now.total()}",
            "base_share": round(100 * was[each] / max(1, was.total())),
            "head_share": round(100 * now[each] / max(1, now.total())),
        }


def _rows(base: Sequence[ToolCall], head: Sequence[ToolCall]) -> Iterator[dict[str, str]]:
    for each in beside(base, head):
        mark = "" if each.kind == "same" else each.kind
        yield {"mark": mark, "base": str(each.one) if each.one else "", "head": str(each.other) if each.other else ""}
