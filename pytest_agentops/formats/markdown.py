"""A comparison as Markdown for a comment on a pull request: the verdict first, and only what moved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_agentops.accounts import revision_lines
from pytest_agentops.formats import amount, change, headline, moved
from pytest_agentops.formats.terminal import case_lines
from pytest_agentops.history import Commit
from pytest_agentops.regression import Case, Comparison

MOST_CHARACTERS = 65_536
"""GitHub refuses a longer comment."""
_ROOM = 2_000
"""Kept for what says that something was left out."""


def text(comparison: Comparison, *, most: int = MOST_CHARACTERS) -> str:
    """The whole comment, in at most so many characters; what does not fit is counted."""
    head = "\n".join(_head(comparison))
    cases = [case for case in comparison.cases if case.verdict not in ("new", "gone")]
    worst = [case for case in cases if case.verdict in ("regressed", "not comparable")]
    parts = [*map(_case, worst), *_revisions(comparison), *(_case(case) for case in cases if case not in worst)]
    tail = "\n".join(_tail(comparison))
    room = most - len(head) - len(tail) - _ROOM
    kept: list[str] = []
    for part in parts:
        if len(part) + 1 > room:
            continue
        room -= len(part) + 1
        kept.append(part)
    left = len(parts) - len(kept)
    cut = (
        [f"_{left} more are left out for want of room: `pytest-agentops compare {_ref(comparison)}` tells them all._"]
        if left
        else []
    )
    return "\n".join([head, *kept, *cut, tail]) + "\n"


def _ref(comparison: Comparison) -> str:
    return " ".join([comparison.base.short, *([comparison.head.short] if comparison.head else [])])


def _head(comparison: Comparison) -> Iterator[str]:
    worse = comparison.count("regressed") + comparison.count("not comparable")
    verdict = "worse" if worse else "changed" if comparison.cases else "the same"
    yield f"### Behaviour of the agents: {verdict}"
    yield ""
    yield headline(comparison)
    yield ""
    shown = [case for case in comparison.cases if case.base is not None and case.head is not None]
    if shown:
        yield "| test | verdict | tokens | cost | recorded time |"
        yield "| --- | --- | --- | --- | --- |"
        yield from (_row(case) for case in shown[:50])
        if len(shown) > 50:
            yield f"| and {len(shown) - 50} more | | | | |"
        yield ""


def _row(case: Case) -> str:
    figures = {figure.name: figure for figure in moved(case)}
    told = []
    for name in ("tokens", "cost", "seconds"):
        figure = figures.get(name)
        told.append(
            ""
            if figure is None
            else f"{amount(figure, figure.base)} → {amount(figure, figure.head)} {change(figure)}".strip()
        )
    return f"| {code(case.name)} | {case.verdict} | {' | '.join(told)} |"


def _revisions(comparison: Comparison) -> Iterator[str]:
    for revision in comparison.revisions:
        old, new = (each.version or "no version" for each in (revision.old, revision.new))
        summary = f"{escaped(revision.new.name)}: {escaped(old)} → {escaped(new)}"
        yield folded(summary, list(revision_lines(revision)))


def _case(case: Case) -> str:
    return folded(f"{escaped(case.name)}: {case.verdict}", list(case_lines(case)), opened=case.verdict == "regressed")


def _tail(comparison: Comparison) -> Iterator[str]:
    for verdict in ("new", "gone"):
        names = [case.name for case in comparison.cases if case.verdict == verdict]
        if names:
            more = f" and {len(names) - 20} more" if len(names) > 20 else ""
            yield f"{verdict}: {', '.join(map(code, names[:20]))}{more}"
            yield ""
    head = _state(comparison.head) if comparison.head else "the working tree"
    command = f"`pytest-agentops compare {_ref(comparison)}`"
    yield f"<sub>base {_state(comparison.base)}, head {head}; nothing was run: {command}</sub>"


def _state(commit: Commit) -> str:
    return f"`{commit.short}` of {commit.date:%Y-%m-%d}"


def folded(summary: str, lines: Sequence[str], *, opened: bool = False) -> str:
    """Lines as they are, behind a summary that is already escaped."""
    body = "\n".join(lines)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", body)), default=0))
    start = f"<details{' open' * opened}><summary>{summary}</summary>"
    return f"{start}\n\n{fence}diff\n{_as_diff(body)}\n{fence}\n\n</details>\n"


def _as_diff(body: str) -> str:
    """Marks of what went and came at the beginning of their lines, where a reader of diffs colours them."""
    return re.sub(r"(?m)^( *)([-+]) (?=\d+: )", r"\2 \1", body)


def escaped(text: str) -> str:
    """A text that Markdown and HTML read as nothing but a text."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~@-])", r"\\\1", re.sub(r"\s+", " ", text))


def code(text: str) -> str:
    """A text as code, in a table too."""
    text = re.sub(r"\s+", " ", text).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    pad = " " * (text.startswith("`") or text.endswith("`"))
    return f"{fence}{pad}{text}{pad}{fence}"
