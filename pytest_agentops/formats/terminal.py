"""A comparison as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_agentops.accounts import word_diff
from pytest_agentops.formats import amount, change, headline, moved
from pytest_agentops.history import Commit
from pytest_agentops.regression import CallEdit, Case, Comparison

_WIDTH = 100


def lines(comparison: Comparison) -> Iterator[str]:
    """What changed between two states of a repository: the verdicts, the prompts, and each test that moved."""
    yield f"base  {_state(comparison.base)}"
    yield f"head  {_state(comparison.head) if comparison.head else 'the working tree'}"
    yield headline(comparison)
    for revision in comparison.revisions:
        old, new = (each.version or "no version" for each in (revision.old, revision.new))
        yield f"{revision.new.name}: {old} -> {new} ({revision.level()})"
    for case in comparison.cases:
        yield f"{case.name}: {case.verdict}"
        yield from (f"  {line}" for line in case_lines(case))


def _state(commit: Commit) -> str:
    return f"{commit.short} of {commit.date:%Y-%m-%d}, {_cut(commit.message)}"


def case_lines(case: Case) -> Iterator[str]:
    """What is otherwise about one recorded test."""
    if case.verdict == "not comparable":
        yield case.problem
        return
    if case.base is None or case.head is None:
        return
    if case.base.outcome != case.head.outcome:
        yield f"outcome   {case.base.outcome or 'not told'} -> {case.head.outcome or 'not told'}"
    for edit in case.calls:
        yield from edit_lines(edit)
    if case.answered_otherwise:
        before, after = (str(trace.response) for trace in case.traces)
        yield "answer"
        yield from (f"  {line}" for line in word_diff(before, after, most=6))
    yield from case.drift
    went, came = case.findings
    if went or came:
        told = [f"came: {', '.join(came)}"] * bool(came) + [f"went: {', '.join(went)}"] * bool(went)
        yield f"findings  {'; '.join(told)}"
    for figure in moved(case):
        much = f" ({change(figure)})" if change(figure) else ""
        yield f"{figure.name:<9} {amount(figure, figure.base)} -> {amount(figure, figure.head)}{much}"


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
