"""What frameworks tell of a run beyond the wire: agents, handoffs, guardrails, nodes, real tool times.

One file for each. A framework is listened to where it is imported, or from the moment it is, and only while a recording
is open; it is never imported by us. Each file has `watched(keeper)`, a context manager that gives a function: the span
of that framework in which the caller runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

from pytest_agentops.arrivals import awaited
from pytest_agentops.spans import Keeper, OpenSpan

Here = Callable[[], OpenSpan | None]
"""The innermost span of one framework that this runs in."""


class Framework(Protocol):
    """One file of this folder."""

    def watched(self, keeper: Callable[[], Keeper | None]) -> AbstractContextManager[Here | None]:
        """Listen to the framework, and undo that; None where another one tells where something runs."""


_ROOMS = {
    "agents.tracing": "openai_agents",
    "crewai": "crewai",
    "langchain_core.runnables.base": "langchain",
    "opentelemetry.trace": "opentelemetry",
    "pydantic_ai": "pydantic_ai",
    "smolagents": "smolagents",
}
"""Which file here listens to what, by the module after whose import everything is there that it needs."""

_here: list[Here] = []


@contextmanager
def watched(keeper: Callable[[], Keeper | None], trouble: Callable[[str], None]) -> Iterator[None]:
    """Listen to every framework that is imported, or will be, until the last recording closes.

    `trouble` hears of a framework that cannot be listened to: watching may not break the program.
    """
    with ExitStack() as stack:

        def arrived(module: str) -> None:
            room = _ROOMS[module]
            try:
                framework: Framework = importlib.import_module(f"{__name__}.{room}")
                here = stack.enter_context(framework.watched(keeper))
            except (ImportError, AttributeError, KeyError, TypeError) as error:
                trouble(f"this release of {room} cannot be listened to: {error}")
                return
            if here is not None:
                _here.append(here)
                stack.callback(_here.remove, here)

        stack.enter_context(awaited(_ROOMS, arrived))
        yield


def here() -> Iterator[OpenSpan | None]:
    """Where the caller runs, as each framework sees it."""
    return (each() for each in tuple(_here))
