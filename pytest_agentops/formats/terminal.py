"""A report as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_agentops.accounts import word_diff
from pytest_agentops.formats import about, amount, change, evidence, headline, moved, outcome, plain, sides
from pytest_agentops.gates import Decision, shown
from pytest_agentops.history import Commit
from pytest_agentops.regression import CallEdit, Case
from pytest_agentops.report import PromptChange, Report

_WIDTH = 100


def lines(report: Report, *, most: int | None = None) -> Iterator[str]:
    """What became of the recorded tests: the counts, the prompts, each test that moved, and the gates.

    `most` is how many tests are told of; without it all that moved are.
    """
    yield from map(plain, _lines(report, most))


def _lines(report: Report, most: int | None) -> Iterator[str]:
    if report.base is not None:
        base, head = sides(report)
        yield f"base  {base}, {_cut(report.base.message)}"
        yield f"head  {head}{_said(report.head)}"
    yield headline(report)
    yield from notes(report)
    for prompt in report.prompts:
        yield about(prompt)
        yield from (f"  {line}" for line in _rendered(prompt))
    told = [case for case in (*report.cases, *report.variants) if case.verdict != "same"]
    for case in told[:most]:
        yield f"{case.name}: {case.verdict}"
        yield from (f"  {line}" for line in case_lines(case))
    if most is not None and len(told) > most:
        yield f"and {len(told) - most} more"
    yield from decision_lines(report.decisions)


def notes(report: Report) -> Iterator[str]:
    """What a reader has to know of how the report came about, and what all tests together prove."""
    yield from report.notes
    if report.absent:
        more = f" and {len(report.absent) - 3} more" if len(report.absent) > 3 else ""
        yield f"recorded tests that had no part in this run: {', '.join(report.absent[:3])}{more}"
    if (chance := report.overall) is not None and any(case.several for case in report.cases):
        worse = chance.worse < chance.better
        likely = min(chance.worse, chance.better)
        if likely <= chance.enough:
            told = f"{likely:.2g}" if likely >= 0.001 else "less than 0.001"
            yield f"all tests together are {'worse' if worse else 'better'}: by chance alone with p = {told}"


def _said(commit: Commit | None) -> str:
    return f", {_cut(commit.message)}" if commit is not None else ""


def _rendered(prompt: PromptChange) -> Iterator[str]:
    for breaking, message in prompt.contract:
        yield f"{'breaking' if breaking else 'safe':<8}  {message}"
    for role, was, now in prompt.rendered:
        yield (
            f"with the inputs of {prompt.case}, {role or 'the render'}" if role else f"with the inputs of {prompt.case}"
        )
        yield from (f"  {line}" for line in word_diff(was, now, most=12))


def decision_lines(decisions: Iterable[Decision]) -> Iterator[str]:
    """Each gate with what became of it and why."""
    for each in decisions:
        measured = shown(each.gate.figure, each.measured)
        yield plain(f"gate {each.outcome:<9} {each.gate}: {', '.join(filter(None, (measured, each.reason)))}")


def case_lines(case: Case) -> Iterator[str]:
    """What is otherwise about one recorded test."""
    if case.problem:
        yield case.problem
        return
    if not case.base or not case.head:
        return
    if told := outcome(case):
        yield f"outcome   {told}"
    if told := evidence(case):
        yield f"evidence  {told}"
    if case.several:
        yield from _shape_lines(case)
    if not case.several or (case.pair is not None and case.pair.difference):
        yield from _pair_lines(case)
    yield from case.drift
    went, came = case.findings
    if went or came:
        both = [f"came: {', '.join(came)}"] * bool(came) + [f"went: {', '.join(went)}"] * bool(went)
        yield f"findings  {'; '.join(both)}"
    for figure in moved(case):
        much = f" ({change(figure)})" if change(figure) else ""
        yield f"{figure.name:<9} {amount(figure, figure.base)} -> {amount(figure, figure.head)}{much}"


def _shape_lines(case: Case) -> Iterator[str]:
    """The trajectories of several takes, with how many have each on both sides."""
    was, now = case.shapes
    if len({*was, *now}) == 1:
        return
    for each in sorted({*was, *now}, key=lambda shape: (-now[shape], -was[shape], shape)):
        yield f"{was[each]} of {was.total()} -> {now[each]} of {now.total()}  {_cut(each)}"


def _pair_lines(case: Case) -> Iterator[str]:
    before, after = case.shown
    if before is None or after is None:
        return
    if case.several and (case.calls or case.answered_otherwise):
        yield f"take {before.number} of the base and take {after.number} of the head"
    for edit in case.calls:
        yield from edit_lines(edit)
    if case.structural:
        yield "answer"
        for each in case.structural[:12]:
            yield f"  {each.path}: {_cut(repr(each.expected))} -> {_cut(repr(each.actual))}"
    elif case.answered_otherwise:
        yield "answer"
        yield from (f"  {line}" for line in word_diff(before.response, after.response, most=6))


def edit_lines(edit: CallEdit) -> Iterator[str]:
    """One difference between two trajectories."""
    if edit.base is None and edit.head is not None:
        yield f"added     {_cut(str(edit.head))} in step {edit.head.step}"
    elif edit.head is None and edit.base is not None:
        yield f"removed   {_cut(str(edit.base))} in step {edit.base.step}"
    elif edit.base is not None and edit.head is not None:
        where = (
            f"from step {edit.base.step} to {edit.head.step}" if edit.kind == "moved" else f"in step {edit.head.step}"
        )
        yield f"{edit.kind:<9} {_cut(str(edit.base))} {where}"
        for each in edit.differences:
            yield f"  {each.path or 'arguments'}: {_cut(repr(each.expected))} -> {_cut(repr(each.actual))}"


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
