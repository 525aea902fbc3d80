"""What a run may use: dollars, tokens, steps, seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pytest_agentops.errors import BudgetExceeded, ExpectationError, UnknownFigure, did_you_mean
from pytest_agentops.expect import Expectation, Mismatch, Subject
from pytest_agentops.trace import Trace

if TYPE_CHECKING:
    from pytest_agentops.capture import Recording

_FIGURES: Mapping[str, Callable[[Trace], float]] = {
    "usd": lambda run: run.cost,
    "tokens": lambda run: run.usage.total_tokens,
    "steps": lambda run: len(run.steps),
    "seconds": lambda run: run.duration,
}


@dataclass(frozen=True)
class Budget(Expectation):
    """At most so many dollars, tokens, steps and seconds, each where it is given."""

    bounds: Mapping[str, float]

    def judge(self, subject: Subject) -> OverBudget | None:
        spent = self._spent(cast("Trace", subject))
        over = {name: figure for name, figure in spent.items() if figure > self.bounds[name]}
        return OverBudget(self, subject, over) if over else None

    def hold(self, recording: Recording) -> None:
        """Let no further call go live that would go over: a call costs something, how much is not known before.

        Calls under way count as steps, and those that failed do not: the client may be trying one again.

        Raises:
            BudgetExceeded: the bound of a figure is reached.
            UnknownFigure: the evidence does not give a figure that is bounded.
        """
        run = recording.tally()
        if not run.model_calls and not recording.in_flight:
            return
        spent = dict(self._spent(run)) if run.model_calls else {}
        if "steps" in self.bounds:
            spent["steps"] = sum(call.error is None for call in run.chats) + recording.in_flight
        used_up = {name: figure for name, figure in spent.items() if figure >= self.bounds[name]}
        if used_up:
            raise BudgetExceeded(OverBudget(self, run, used_up, stopped=True))

    def _spent(self, run: Trace) -> Mapping[str, float]:
        try:
            return {name: _FIGURES[name](run) for name in self.bounds}
        except UnknownFigure as error:
            raise UnknownFigure(f"the budget of this test cannot be held: {error}") from error

    def __repr__(self) -> str:
        return f"budget({', '.join(f'{name}={bound}' for name, bound in self.bounds.items())})"


@dataclass(frozen=True)
class OverBudget(Mismatch):
    """What was used of the figures that are over their bounds, or at them where one more call was stopped."""

    spent: Mapping[str, float]
    stopped: bool = False


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
            hint = did_you_mean(name, _FIGURES)
            raise ExpectationError(f"a budget has no {name!r}{hint}; there are: {', '.join(_FIGURES)}")
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 < bound < math.inf:
            raise ExpectationError(f"a budget's {name} is a positive number, not {bound!r}")
    return Budget(dict(bounds))
