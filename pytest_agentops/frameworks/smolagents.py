"""smolagents: agents and tools, where they are run; it has no hook of its own for that, and no spans.

Its model classes ask over the wire; what a tool gave goes back to the model as text, so that only this tells of it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from smolagents import MultiStepAgent, Tool

from pytest_agentops.spans import Keeper, span


@contextmanager
def watched(keeper: Callable[[], Keeper | None]) -> Iterator[None]:  # noqa: ARG001 - `span` asks it.
    """Watch the two methods through which everything is run."""
    with ExitStack() as patches:
        for kind, method, watched in ((MultiStepAgent, "run", _run), (Tool, "__call__", _call)):
            original = kind.__dict__[method]
            setattr(kind, method, watched(original))
            patches.callback(setattr, kind, method, original)
        yield None


def _run(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(self: Any, task: str, *args: Any, **kwargs: Any) -> Any:
        name = str(getattr(self, "name", None) or type(self).__name__)
        with span(name, kind="agent") as running:
            running.origin, running.input = "smolagents", {"task": task}
            found = original(self, task, *args, **kwargs)
            if not inspect.isgenerator(found):
                running.output = found
                return found
        return _streamed(name, task, found)

    return run


def _streamed(name: str, task: str, steps: Iterator[Any]) -> Iterator[Any]:
    with span(name, kind="agent") as running:
        running.origin, running.input = "smolagents", {"task": task}
        yield from steps


def _call(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.name == "final_answer":  # It ends the run and does nothing.
            return original(self, *args, **kwargs)
        given = {key: value for key, value in kwargs.items() if key != "sanitize_inputs_outputs"}
        with span(self.name, kind="tool") as running:
            running.origin = "smolagents"
            running.input = {**dict(zip(self.inputs, args, strict=False)), **given}
            running.output = original(self, *args, **kwargs)
            return running.output

    return call
