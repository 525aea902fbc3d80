"""What a run may use: dollars, tokens, steps, seconds."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from pytest_agentops.errors import ExpectationError
from pytest_agentops.expect import Expectation, Mismatch, Subject
from pytest_agentops.trace import Step, Usage


class _Figures(Protocol):
    cost: float
    usage: Usage
    duration: float
    steps: tuple[Step, ...]


_FIGURES: Mapping[str, Callable[[_Figures], float]] = {
    "usd": lambda run: run.cost,
    "tokens": lambda run: run.usage.total_tokens,
    "steps": lambda run: len(run.steps),
    "seconds": lambda run: run.duration,
}


@dataclass(frozen=True)
class Budget(Expectation):
    """At most so many dollars, tokens, steps and seconds, each where it is given."""

    bounds: Mapping[str, float]

    def judge(self, subject: Subject) -> Mismatch | None:
        spent = {name: _FIGURES[name](cast("_Figures", subject)) for name in self.bounds}
        over = {name: figure for name, figure in spent.items() if figure > self.bounds[name]}
        return OverBudget(self, subject, over) if over else None

    def used_up(self, subject: Subject) -> Mismatch | None:
        """Whether one more model call would go over; a call costs something, and how much is not known before."""
        spent = {name: _FIGURES[name](cast("_Figures", subject)) for name in self.bounds}
        over = {name: figure for name, figure in spent.items() if figure >= self.bounds[name]}
        return OverBudget(self, subject, over) if over else None

    def __repr__(self) -> str:
        return f"budget({', '.join(f'{name}={bound}' for name, bound in self.bounds.items())})"


@dataclass(frozen=True)
class OverBudget(Mismatch):
    """What was spent of those figures that are over their bounds, or at them where one more call is asked about."""

    spent: Mapping[str, float]


def budget(bounds: Mapping[str, Any]) -> Budget:
    """What a run may use, from `usd` (US dollars), `tokens` (input and output together), `steps` and `seconds`.

    Seconds are those that were recorded, also on replay.

    Raises:
        ExpectationError: a name that there is not, or a bound that is no positive number.
    """
    if not isinstance(bounds, Mapping) or not bounds:
        raise ExpectationError(f"a budget is a mapping of {', '.join(_FIGURES)} to bounds, not {bounds!r}")
    for name, bound in bounds.items():
        if name not in _FIGURES:
            near = difflib.get_close_matches(str(name), _FIGURES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(_FIGURES)}"
            raise ExpectationError(f"a budget has no {name!r}; {hint}")
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 < bound < math.inf:
            raise ExpectationError(f"a budget's {name} is a positive number, not {bound!r}")
    return Budget(dict(bounds))
