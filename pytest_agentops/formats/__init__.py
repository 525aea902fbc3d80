"""How reports are written, and what the playground draws: one file for each."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from pytest_agentops.history import Commit
from pytest_agentops.regression import VERDICTS, Case, Figure
from pytest_agentops.report import PromptChange, Report
from pytest_agentops.trials import Rate, better_by_chance, worse_by_chance

if TYPE_CHECKING:
    from jinja2 import Template


def plain(text: str) -> str:
    """A text without characters that tell a terminal what to do."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)


@cache
def template(name: str) -> Template:
    """A template of this folder; it escapes whatever it is given."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("pytest_agentops", "formats")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template(name)


def macros(name: str) -> Any:
    """The macros of a template."""
    return template(name).module


def headline(report: Report) -> str:
    """The counts of all verdicts, the same ones last; the rarer ones only where there are any."""
    rare = ("not comparable", "too few runs to tell", "new", "gone")
    told = [
        f"{report.count(verdict)} {_worded(verdict)}"
        for verdict in VERDICTS
        if verdict != "same" and (verdict not in rare or report.count(verdict))
    ]
    return ", ".join([*told, f"{report.count('same')} the same"])


def _worded(verdict: str) -> str:
    return "with too few runs to tell" if verdict == "too few runs to tell" else verdict


def state(commit: Commit) -> str:
    """A commit in a few words."""
    return f"{commit.short} of {commit.date:%Y-%m-%d}"


def sides(report: Report) -> tuple[str, str]:
    """What is compared: the base, and the head."""
    head = state(report.head) if report.head else "this run" if report.ran else "the working tree"
    return state(report.base) if report.base else "no base", head


def about(change: PromptChange) -> str:
    """A prompt and what became of its version, in a few words."""
    if change.kind == "unreadable":
        return f"{change.name}: cannot be read"
    if change.kind in ("added", "removed"):
        return f"{change.name}: {change.kind}{f', {version}' if (version := change.new or change.old) else ''}"
    moved = f", which was {change.was}" if change.was else ""
    level = f" ({change.level})" if change.level not in ("", "none") else ""
    if change.old and change.old == change.new and change.level not in ("", "none"):
        return f"{change.name}{moved}: {change.old}, not bumped (this owes a {change.level} bump)"
    return f"{change.name}{moved}: {change.old or 'no version'} → {change.new or 'no version'}{level}"


def outcome(case: Case) -> str:
    """How the runs of a case ended on both sides; empty where that is the same on both, with one take each."""
    if case.several:
        told = [_rated(side) for side in case.sides if side]
        return " → ".join(told)
    words = [side[0].outcome or "not told" for side in case.sides if side]
    return " → ".join(words) if len(dict.fromkeys(words)) > 1 else ""


def _rated(side: tuple[object, ...]) -> str:
    rate = Rate(sum(getattr(take, "outcome", None) == "passed" for take in side), len(side))
    low, high = rate.interval()
    return f"{rate.passed} of {rate.runs} passed ({100 * low:.0f} to {100 * high:.0f} %)"


def evidence(case: Case) -> str:
    """What the takes of a case prove; empty where there are not several."""
    if case.chance is None:
        return ""
    assert case.pair is not None
    chance = min(worse_by_chance([case.pair]), better_by_chance([case.pair]))
    told = f"p = {chance:.2g}" if chance >= 0.001 else "p < 0.001"
    if case.chance.tests > 1:
        told += f" before correcting for {case.chance.tests} tests"
    if case.verdict == "too few runs to tell" and case.needed is not None:
        return f"{told}; were this difference real, about {case.needed} takes on each side would show it"
    return told


def amount(figure: Figure, value: float | None) -> str:
    """One side of a figure as a reader wants to see it."""
    if value is None:
        return "not known"
    if figure.name == "cost":
        return f"${value:.2f}" if value >= 1 else f"${value:.4f}"
    if figure.name.startswith("judged "):
        return f"{100 * value:.0f} %"
    if figure.name == "seconds":
        return f"{value:,.1f} s"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}".removesuffix(".0")


def change(figure: Figure) -> str:
    """How much a figure moved, in percent; empty where that is not known."""
    if figure.change is None or not figure.base or figure.name.startswith("judged "):
        return ""
    return f"{100 * figure.change / figure.base:+.0f} %"


def figure_data(figure: Figure) -> dict[str, Any]:
    """A figure of both sides as a template takes it."""
    largest = max(figure.base or 0, figure.head or 0) or 1
    return {
        "name": figure.name,
        "base": amount(figure, figure.base),
        "head": amount(figure, figure.head),
        "change": change(figure) if figure.change else "",
        "base_share": round(100 * (figure.base or 0) / largest),
        "head_share": round(100 * (figure.head or 0) / largest),
    }


def moved(case: Case) -> list[Figure]:
    """The figures that do not read the same on both sides."""
    return [figure for figure in case.figures if amount(figure, figure.base) != amount(figure, figure.head)]


def totals(report: Report) -> list[Figure]:
    """Tokens and dollars of all tests that are there on both sides, together."""
    found = []
    for name in ("tokens", "cost"):
        figures = [
            figure
            for case in report.cases
            if case.base and case.head and not case.problem
            for figure in case.figures
            if figure.name == name and (figure.base, figure.head) != (None, None)
        ]
        known = [(each.base, each.head) for each in figures if each.base is not None and each.head is not None]
        if known and len(known) == len(figures):
            found.append(Figure(name, sum(base for base, _ in known), sum(head for _, head in known)))
    return found
