"""A report as Markdown for a comment on a pull request: the verdict first, and only what moved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from textwrap import wrap

from pytest_agentops.accounts import word_diff
from pytest_agentops.formats import about, amount, change, headline, moved, outcome, plain, sides, totals
from pytest_agentops.formats.terminal import case_lines, notes
from pytest_agentops.gates import shown
from pytest_agentops.impact import REPORT_MARK
from pytest_agentops.regression import Case
from pytest_agentops.report import PromptChange, Report

MOST_CHARACTERS = 65_536
"""GitHub refuses a longer comment."""
_ROOM = 2_000
"""Kept for what says that something was left out, and for the seal."""
_WIDTH = 110
"""Of a line that GitHub shows without scrolling."""
_LONGEST = 300
"""Of a name or a reason, so that fifty of them fit into a comment."""
_SIGNS = {"passed": "✅", "failed": "❌", "undecided": "❔"}


def text(report: Report, *, most: int = MOST_CHARACTERS) -> str:
    """The whole comment, in at most so many characters; what does not fit is counted."""
    head = "\n".join(_head(report))
    cases = [case for case in (*report.cases, *report.variants) if case.verdict not in ("new", "gone", "same")]
    worst = [case for case in cases if case.verdict in ("regressed", "not comparable")]
    parts = [*map(_case, worst), *map(_prompt, report.prompts), *(_case(case) for case in cases if case not in worst)]
    tail = "\n".join(_tail(report))
    room = most - len(head) - len(tail) - _ROOM
    kept: list[str] = []
    for part in parts:
        if len(part) + 1 > room:
            continue
        room -= len(part) + 1
        kept.append(part)
    left = len(parts) - len(kept)
    cut = [f"_{left} more are left out for want of room; {code(report.command)} tells them all._"] if left else []
    return plain("\n".join([REPORT_MARK, head, *kept, *cut, tail])) + "\n"


def _head(report: Report) -> Iterator[str]:
    yield f"### Behaviour of the agents: {report.verdict}"
    yield ""
    yield headline(report)
    yield ""
    for note in notes(report):
        yield f"{escaped(note)}"
        yield ""
    if report.decisions:
        yield "| gate | | measured |"
        yield "| --- | --- | --- |"
        for each in report.decisions:
            told = ", ".join(filter(None, (shown(each.gate.figure, each.measured), each.reason)))
            yield f"| {code(str(each.gate))} | {_SIGNS[each.outcome]} {each.outcome} | {escaped(told)} |"
        yield ""
    rows = [case for case in (*report.cases, *report.variants) if case.base and case.head and case.verdict != "same"]
    if rows:
        yield "| test | verdict | passed | tokens | cost | recorded time |"
        yield "| --- | --- | --- | --- | --- | --- |"
        yield from (_row(case) for case in rows[:50])
        if len(rows) > 50:
            yield f"| and {len(rows) - 50} more | | | | | |"
        yield ""
    if together := [figure for figure in totals(report) if figure.base != figure.head]:
        amounts = [f"{amount(each, each.base)} → {amount(each, each.head)} {change(each)}".strip() for each in together]
        names = [{"cost": "dollars"}.get(each.name, each.name) for each in together]
        yield f"All tests together: {', '.join(f'{name} {each}' for name, each in zip(names, amounts, strict=True))}"
        yield ""


def _row(case: Case) -> str:
    figures = {figure.name: figure for figure in moved(case)} if not case.problem else {}
    told = [escaped(outcome(case)) if not case.problem else ""]
    for name in ("tokens", "cost", "seconds"):
        figure = figures.get(name)
        told.append(
            ""
            if figure is None
            else f"{amount(figure, figure.base)} → {amount(figure, figure.head)} {change(figure)}".strip()
        )
    return f"| {code(case.name)} | {case.verdict} | {' | '.join(told)} |"


def _prompt(prompt: PromptChange) -> str:
    lines = [f"{'breaking' if breaking else 'safe'}: {message}" for breaking, message in prompt.contract]
    lines += word_diff(prompt.old_body, prompt.new_body)
    if prompt.rendered:
        lines += ["", f"rendered with the inputs of {prompt.case}"]
    for role, was, now in prompt.rendered:
        lines += [f"{role}:"] * bool(role)
        lines += word_diff(was, now)
    return folded(about(prompt), "", lines) if lines else f"{code(about(prompt))}\n"


def _case(case: Case) -> str:
    return folded(case.name, f": {case.verdict}", list(case_lines(case)), opened=case.verdict == "regressed")


def _tail(report: Report) -> Iterator[str]:
    for verdict in ("new", "gone"):
        names = [case.name for case in report.cases if case.verdict == verdict]
        if names:
            more = f" and {len(names) - 20} more" if len(names) > 20 else ""
            yield f"{verdict}: {', '.join(map(code, names[:20]))}{more}"
            yield ""
    if left := report.left_out:
        told = [f"{case.name}: {case.left_out}" for case in left[:20]]
        told += [f"and {len(left) - 20} more"] if len(left) > 20 else []
        yield folded("", f"not run: {len(left)} that the change does not touch", told)
    base, head = sides(report)
    ran = "" if report.ran else "; nothing was run"
    again = f": {code(report.command)}" if report.command else ""
    yield f"<sub>base {base}, head {head}{ran}{again}</sub>"


def folded(name: str, said: str, lines: Sequence[str], *, opened: bool = False) -> str:
    """Lines as they are, behind a name, which may say anything, and what is said of it."""
    # Within HTML nothing is read as Markdown, and within code nobody is mentioned; whoever reads it otherwise is safe.
    shown = re.sub(r"[!@\[`]", lambda found: f"&#{ord(found[0])};", escape(_short(" ".join(name.split())), quote=False))
    summary = f"<code>{shown}</code>{said}" if name else said
    body = "\n".join(line for each in lines for line in _wrapped(each))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", body)), default=0))
    start = f"<details{' open' * opened}><summary>{summary}</summary>"
    return f"{start}\n\n{fence}diff\n{_as_diff(body)}\n{fence}\n\n</details>\n"


def _wrapped(line: str) -> list[str]:
    """A line that would have to be scrolled, as several."""
    if len(line) <= _WIDTH:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 5)
    return wrap(line, _WIDTH, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True)


def _as_diff(body: str) -> str:
    """Marks of what went and came at the beginning of their lines, where a reader of diffs colours them."""
    return re.sub(r"(?m)^( *)([-+]) (?=\d+: )", r"\2 \1", body)


def escaped(text: str) -> str:
    """A text that Markdown and HTML read as nothing but a text."""
    text = _short(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~@-])", r"\\\1", re.sub(r"\s+", " ", text))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def code(text: str) -> str:
    """A text as code, in a table too."""
    text = _short(re.sub(r"\s+", " ", text)).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    pad = " " * (text.startswith("`") or text.endswith("`"))
    return f"{fence}{pad}{text}{pad}{fence}"
