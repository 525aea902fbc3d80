"""Bounds on measured figures that decide whether a change may go on: passed, failed, or undecided."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

from pytest_agentops.errors import SettingsError, did_you_mean
from pytest_agentops.trials import CONFIDENCE

FIGURES: Mapping[str, str] = {
    "pass_rate": "the share of takes that passed",
    "tool_success": "the share of tool calls that were answered and did not fail",
    "score": "the share of judges' votes that said yes",
    "cost": "dollars, of all tests together",
    "tokens": "of all tests together",
    "p50_latency": "seconds of a model call as recorded, the median",
    "p95_latency": "seconds of a model call as recorded, which 95 of 100 calls do not exceed",
    "regressed": "tests that are worse than at the base, with those that may be",
    "improved": "tests that are better than at the base",
    "changed": "tests that behave otherwise than at the base, and pass or fail as they did",
    "too_few_runs": "tests whose takes do not tell whether they are worse or better",
    "not_comparable": "tests whose recordings do not fit together",
    "gone": "tests that were recorded at the base and are no longer",
    "new_findings": "kinds of findings that came since the base",
    "pass_rate_drop": "how much smaller the share of takes that passed is than at the base",
    "score_drop": "how much smaller the share of judges' votes that said yes is than at the base",
    "cost_increase": "how much more the same tests cost than at the base, as a share",
    "token_increase": "how many more tokens the same tests took than at the base, as a share",
    "latency_increase": "how much longer the same tests took than at the base, as recorded, as a share",
}
"""What may be bounded."""

AGAINST_BASE = (
    "regressed improved changed too_few_runs not_comparable gone new_findings pass_rate_drop score_drop cost_increase "
    "token_increase latency_increase"
).split()
"""Those that need a base."""

Outcome = Literal["passed", "failed", "undecided"]

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "<": operator.lt, ">": operator.gt
}  # fmt: skip
_BOUND = re.compile(r"(?P<operator><=|>=|==|<|>)\s*\$?\s*(?P<value>\d+(?:_\d+)*(?:\.\d+)?)\s*(?P<unit>%|s|ms)?")


@dataclass(frozen=True)
class Measured:
    """What a figure came to: a value, or where it lies when a sample does not tell exactly."""

    low: float
    high: float
    of: str = ""
    """What it was measured on, for a reader."""


@dataclass(frozen=True)
class Gate:
    """A bound on one figure."""

    figure: str
    operator: str
    bound: float
    """In the unit of the figure: a share, dollars, seconds or a count."""
    written: str
    """As it was given."""

    def __str__(self) -> str:
        return f"{self.figure} {self.written}"

    def decide(self, measured: Measured | str) -> Decision:
        """Whether the bound holds of what was measured; a text says why that is not known, which fails."""
        if isinstance(measured, str):
            return Decision(self, "failed", None, f"it is not known: {measured}")
        holds = _OPERATORS[self.operator]
        ends = holds(measured.low, self.bound), holds(measured.high, self.bound)
        # Within the interval an equality may hold although it holds at neither end.
        inside = self.operator == "==" and measured.low < self.bound < measured.high
        outcome: Outcome = "passed" if all(ends) else "undecided" if any(ends) or inside else "failed"
        return Decision(self, outcome, measured, measured.of)


@dataclass(frozen=True)
class Decision:
    """What became of one gate."""

    gate: Gate
    outcome: Outcome
    measured: Measured | None
    reason: str


@dataclass(frozen=True)
class Gates:
    """What `[tool.agentops.gate]` says."""

    gates: tuple[Gate, ...] = ()
    undecided: Literal["warn", "fail"] = "warn"
    """What an undecided gate does to a run of pytest."""
    confidence: float = CONFIDENCE
    """How sure a verdict over several takes is."""
    table: Mapping[str, Any] = field(default_factory=dict)
    """As it was given."""

    @classmethod
    def from_table(cls, table: object, where: str) -> Gates:
        """The gates of a table; `where` says in an error where it stands.

        Raises:
            SettingsError: an unknown figure, or a bound that cannot be read.
        """
        if not isinstance(table, Mapping):
            raise SettingsError(f'{where} must be a table of bounds, such as {{regressed = "== 0"}}, not {table!r}')
        bounds = {str(key): value for key, value in table.items() if key not in ("undecided", "confidence")}
        undecided, confidence = table.get("undecided", "warn"), table.get("confidence", CONFIDENCE)
        if undecided not in ("warn", "fail"):
            raise SettingsError(f"{where}: undecided is warn or fail, not {undecided!r}")
        if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0.5 <= confidence <= 0.9999:
            raise SettingsError(f"{where}: confidence is a number from 0.5 to 0.9999, such as 0.95, not {confidence!r}")
        gates = tuple(_gate(name, value, where) for name, value in bounds.items())
        return cls(gates, undecided, float(confidence), dict(table))


def _gate(name: str, value: object, where: str) -> Gate:
    if name not in FIGURES:
        hint = did_you_mean(name, FIGURES)
        raise SettingsError(f"{where}: there is no figure {name!r}{hint}; there are: {', '.join(FIGURES)}")
    text = value if isinstance(value, str) else ""
    found = _BOUND.fullmatch(text.strip())
    if found is None:
        raise SettingsError(f'{where}: {name} = {value!r} is no bound; write one as text, such as {name} = "<= 10%"')
    scale = {"%": 0.01, "ms": 0.001}.get(found["unit"] or "", 1.0)
    number, unit = float(found["value"].replace("_", "")), found["unit"] or ("$" if "$" in text else "")
    if not isfinite(number) or unit not in _UNITS.get(_kind(name), ("",)):
        allowed = " or ".join(each or "a plain number" for each in _UNITS.get(_kind(name), ("",)))
        raise SettingsError(f"{where}: {name} = {value!r}: this figure is bounded in {allowed}")
    if _kind(name) == "share" and not unit and number > 1:
        raise SettingsError(f'{where}: {name} = {value!r} is more than all of it; for percent write "{text.strip()}%"')
    return Gate(name, found["operator"], number * scale, text.strip())


_UNITS = {"share": ("%", ""), "seconds": ("s", "ms", ""), "dollars": ("$", "")}
"""What a bound may be written in, by the kind of its figure; a count is a plain number."""


def _kind(figure: str) -> str:
    """What a figure is counted in."""
    if figure.endswith(("_rate", "_success", "_drop", "_increase", "score")):
        return "share"
    return "seconds" if figure.endswith("latency") else "dollars" if figure == "cost" else "count"


def read(texts: Sequence[str], where: str) -> Gates:
    """Gates that are written as on the command line: `pass_rate >= 0.9`.

    Raises:
        SettingsError: one of them cannot be read.
    """
    return Gates(tuple(_gate(*_split(text, where), where) for text in texts))


def _split(text: str, where: str) -> tuple[str, str]:
    found = re.fullmatch(r"\s*(\w+)\s*([<>=].*)", text)
    if found is None:
        raise SettingsError(f"{where}: {text!r} is no gate; write one such as 'pass_rate >= 0.9'")
    return found[1], found[2]


def together(decisions: Sequence[Decision]) -> Outcome:
    """What all gates come to: failed where one failed, else undecided where one is."""
    outcomes = {decision.outcome for decision in decisions}
    return "failed" if "failed" in outcomes else "undecided" if "undecided" in outcomes else "passed"


def shown(figure: str, measured: Measured | None) -> str:
    """What was measured, as a reader wants to see it."""
    if measured is None:
        return ""
    ends = dict.fromkeys(_value(figure, value) for value in (measured.low, measured.high))
    return " to ".join(ends)


def _value(figure: str, value: float) -> str:
    kind = _kind(figure)
    if kind == "share":
        return f"{100 * value:.1f} %".replace(".0 %", " %")
    if kind == "seconds":
        return f"{value:.2f} s"
    if kind == "dollars":
        return f"${value:.4f}" if value < 1 else f"${value:,.2f}"
    return f"{value:,.0f}"
