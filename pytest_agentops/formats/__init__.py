"""How a comparison is written: one file for each way."""

from __future__ import annotations

from pytest_agentops.regression import Case, Comparison, Figure


def headline(comparison: Comparison) -> str:
    """The counts of all verdicts, the same ones last."""
    counts = [(comparison.count(verdict), verdict) for verdict in ("regressed", "improved", "changed", "new", "gone")]
    odd = comparison.count("not comparable")
    told = [f"{count} {verdict}" for count, verdict in counts]
    return ", ".join([*told, *([f"{odd} not comparable"] if odd else []), f"{comparison.count('same')} the same"])


def amount(figure: Figure, value: float | None) -> str:
    """One side of a figure as a reader wants to see it."""
    if value is None:
        return "not known"
    if figure.name == "cost":
        return f"${value:.2f}" if value >= 1 else f"${value:.4f}"
    return f"{value:,.1f} s" if figure.name == "seconds" else f"{value:,.0f}"


def change(figure: Figure) -> str:
    """How much a figure moved, in percent; empty where that is not known."""
    if figure.change is None or not figure.base:
        return ""
    return f"{100 * figure.change / figure.base:+.0f} %"


def moved(case: Case) -> list[Figure]:
    """The figures that are not the same on both sides."""
    return [figure for figure in case.figures if figure.base != figure.head]
