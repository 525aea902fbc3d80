"""Expectations as values: what a test asks of a trace, and why it does not hold.

An expectation has `mismatch(subject)`; the subject is whatever has a trajectory: a trace, a turn, a step, the running
recording or the trajectory itself. It is compared with `==` and combined with `&`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pytest_agentops.errors import ExpectationError, NothingCaptured

if TYPE_CHECKING:
    from pytest_agentops.trace import Trajectory


class Subject(Protocol):
    """What an expectation is asked of."""

    @property
    def trajectory(self) -> Trajectory:
        """The tool calls, in steps."""


@dataclass(frozen=True)
class Mismatch:
    """Why an expectation does not hold: facts, which `explain` turns into lines."""

    expectation: Expectation
    trajectory: Trajectory


class Expectation(ABC):
    """What a test asks of a trace."""

    def mismatch(self, subject: Subject) -> Mismatch | None:
        """Why this does not hold, or None when it does.

        Raises:
            NothingCaptured: there is no evidence at all.
        """
        trajectory = subject.trajectory
        if not trajectory.captured:
            raise NothingCaptured
        return self.judge(trajectory)

    @abstractmethod
    def judge(self, trajectory: Trajectory) -> Mismatch | None:
        """Why this does not hold of these tool calls, or None when it does."""

    def __bool__(self) -> bool:
        """Never: an expectation alone asserts nothing, and `a == b and c` would ask b only.

        Raises:
            ExpectationError: always.
        """
        raise ExpectationError(
            f"{self!r} is neither true nor false by itself\n"
            "  compare a trajectory with it by ==, and combine expectations with & instead of `and`"
        )

    def __and__(self, other: object) -> Expectation:
        return Every((*_flat(self), *_flat(other))) if isinstance(other, Expectation) else NotImplemented


@dataclass(frozen=True)
class Every(Expectation):
    """Several expectations that must all hold, each judged for itself."""

    parts: tuple[Expectation, ...]

    def judge(self, trajectory: Trajectory) -> Mismatch | None:
        found = tuple(filter(None, (part.judge(trajectory) for part in self.parts)))
        return NotEvery(self, trajectory, found) if found else None

    def __repr__(self) -> str:
        return " & ".join(map(repr, self.parts))


@dataclass(frozen=True)
class NotEvery(Mismatch):
    """Some parts of a conjunction do not hold."""

    found: tuple[Mismatch, ...]


def _flat(expectation: Expectation) -> tuple[Expectation, ...]:
    return expectation.parts if isinstance(expectation, Every) else (expectation,)
