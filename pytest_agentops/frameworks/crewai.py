"""CrewAI: agents by their roles, and tools, where they are run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from crewai import Agent
from crewai.tools.base_tool import BaseTool, Tool
from crewai.tools.structured_tool import CrewStructuredTool

from pytest_agentops.spans import Keeper, span
from pytest_agentops.trace import SpanKind

_SEAMS: tuple[tuple[SpanKind, type, str], ...] = (
    ("agent", Agent, "execute_task"),
    ("agent", Agent, "aexecute_task"),
    ("tool", CrewStructuredTool, "invoke"),
    ("tool", CrewStructuredTool, "ainvoke"),
    ("tool", BaseTool, "run"),
    ("tool", BaseTool, "arun"),
    ("tool", Tool, "run"),
    ("tool", Tool, "arun"),
)


@contextmanager
def watched(keeper: Callable[[], Keeper | None]) -> Iterator[None]:  # noqa: ARG001 - `span` asks it.
    """Watch the methods through which agents and tools are run."""
    with ExitStack() as patches:
        for kind, holder, method in _SEAMS:
            if (original := holder.__dict__.get(method)) is not None:
                setattr(holder, method, _told(kind, original))
                patches.callback(setattr, holder, method, original)
        yield None


def _told(kind: SpanKind, original: Callable[..., Any]) -> Callable[..., Any]:
    def begun(self: Any) -> Any:
        name = self.role if kind == "agent" else self.name
        return span(" ".join(str(name).split()), kind=kind)

    def given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        if kind == "agent":
            task = args[0] if args else kwargs.get("task")
            return {"task": getattr(task, "description", None)}
        return args[0] if args else kwargs.get("input", kwargs)

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def told(self: Any, *args: Any, **kwargs: Any) -> Any:
            with begun(self) as running:
                running.origin, running.input = "crewai", given(args, kwargs)
                running.output = await original(self, *args, **kwargs)
                return running.output
    else:

        @functools.wraps(original)
        def told(self: Any, *args: Any, **kwargs: Any) -> Any:
            with begun(self) as running:
                running.origin, running.input = "crewai", given(args, kwargs)
                running.output = original(self, *args, **kwargs)
                return running.output

    return told
