"""pydantic-ai: its OpenTelemetry spans, which it writes only where it is told to.

While a recording is open it is told to, for every agent that does not say otherwise; `opentelemetry` reads the spans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic_ai import Agent

from pytest_agentops.spans import Keeper


@contextmanager
def watched(keeper: Callable[[], Keeper | None]) -> Iterator[None]:  # noqa: ARG001 - OpenTelemetry tells.
    """Let agents write spans."""
    before = Agent._instrument_default
    if before is False:
        Agent.instrument_all()
    try:
        yield None
    finally:
        Agent._instrument_default = before
