"""Expectations as values: what a test asks of a trace, and why it does not hold.

An expectation has `mismatch(subject)`; the subject is whatever has a trajectory and a response: a trace, a turn, a
step, the running recording, or a trajectory or a response itself. It is compared with `==` and combined with `&`, `|`
and `~`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pytest_agentops.errors import ExpectationError, NothingCaptured

if TYPE_CHECKING:
    from pytest_agentops.trace import ResponseText, Trajectory


class Subject(Protocol):
    """What an expectation is asked of."""

    @property
    def captured(self) -> bool:
        """Whether there is any evidence."""

    @property
    def trajectory(self) -> Trajectory:
        """The tool calls, in steps."""

    @property
    def response(self) -> ResponseText:
        """The final answer."""


@dataclass(frozen=True)
class Mismatch:
    """Why an expectation does not hold: facts, which `explain` turns into lines."""

    expectation: Expectation
    subject: Subject

    @property
    def trajectory(self) -> Trajectory:
        """The tool calls that were asked about."""
        return self.subject.trajectory


class Expectation(ABC):
    """What a test asks of a trace."""

    def mismatch(self, subject: Subject) -> Mismatch | None:
        """Why this does not hold, or None when it does.

        Raises:
            NothingCaptured: there is no evidence at all.
        """
        if not subject.captured:
            raise NothingCaptured
        return self.judge(subject)

    @abstractmethod
    def judge(self, subject: Subject) -> Mismatch | None:
        """Why this does not hold of the subject, or None when it does."""

    def caveat(self, subject: Subject) -> str | None:  # noqa: ARG002
        """What is to be said although this holds of the subject: that it could not have failed, or only just holds."""
        return None

    def __bool__(self) -> bool:
        """Never: an expectation alone asserts nothing, and `a == b and c` would ask b only.

        Raises:
            ExpectationError: always.
        """
        raise ExpectationError(
            f"{self!r} is neither true nor false by itself\n"
            "  compare a trajectory with it by ==, and combine expectations with & and | and ~, not `and`, `or`, `not`"
        )

    def __and__(self, other: object) -> Expectation:
        return Every((*_flat(Every, self), *_flat(Every, other))) if isinstance(other, Expectation) else NotImplemented

    def __or__(self, other: object) -> Expectation:
        if not isinstance(other, Expectation):
            return NotImplemented
        return Either((*_flat(Either, self), *_flat(Either, other)))

    def __invert__(self) -> Expectation:
        return Not(self)


@dataclass(frozen=True)
class Every(Expectation):
    """Several expectations that must all hold, each judged for itself."""

    parts: tuple[Expectation, ...]

    def judge(self, subject: Subject) -> Mismatch | None:
        found = tuple(filter(None, (part.judge(subject) for part in self.parts)))
        return NotEvery(self, subject, found) if found else None

    def caveat(self, subject: Subject) -> str | None:
        return "; ".join(filter(None, (part.caveat(subject) for part in self.parts))) or None

    def __repr__(self) -> str:
        return " & ".join(f"({part!r})" if isinstance(part, Either) else repr(part) for part in self.parts)


@dataclass(frozen=True)
class Either(Expectation):
    """Several expectations of which one must hold."""

    parts: tuple[Expectation, ...]

    def judge(self, subject: Subject) -> Mismatch | None:
        found = []
        for part in self.parts:
            mismatch = part.judge(subject)
            if mismatch is None:
                return None
            found.append(mismatch)
        return NotEither(self, subject, tuple(found))

    def caveat(self, subject: Subject) -> str | None:
        reasons = []
        for part in self.parts:
            if part.judge(subject) is None:
                if (reason := part.caveat(subject)) is None:
                    return None
                reasons.append(reason)
        return "; ".join(reasons) or None

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.parts))


@dataclass(frozen=True)
class Not(Expectation):
    """An expectation that must not hold."""

    part: Expectation

    def judge(self, subject: Subject) -> Mismatch | None:
        return Held(self, subject) if self.part.judge(subject) is None else None

    def __invert__(self) -> Expectation:
        return self.part

    def __repr__(self) -> str:
        return f"~({self.part!r})" if isinstance(self.part, Every | Either) else f"~{self.part!r}"


@dataclass(frozen=True)
class NotEvery(Mismatch):
    """Some parts of a conjunction do not hold."""

    found: tuple[Mismatch, ...]


@dataclass(frozen=True)
class NotEither(Mismatch):
    """No part of a disjunction holds."""

    found: tuple[Mismatch, ...]


@dataclass(frozen=True)
class Held(Mismatch):
    """What should not hold does."""


def _flat(kind: type[Every | Either], expectation: Expectation) -> tuple[Expectation, ...]:
    return expectation.parts if isinstance(expectation, kind) else (expectation,)
