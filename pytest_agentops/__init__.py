"""Test LLM agents with plain assert: recorded traces, offline replay, prompts in git."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_agentops.capture import AgentTrace as AgentTrace
    from pytest_agentops.expect.calls import call as call
    from pytest_agentops.expect.patterns import one_of as one_of
    from pytest_agentops.expect.patterns import optional as optional
    from pytest_agentops.expect.patterns import repeated as repeated
    from pytest_agentops.expect.responses import judged as judged
    from pytest_agentops.expect.responses import matches_schema as matches_schema
    from pytest_agentops.expect.responses import similar_to as similar_to
    from pytest_agentops.expect.trajectories import any_order as any_order
    from pytest_agentops.expect.trajectories import at_least as at_least
    from pytest_agentops.expect.trajectories import at_most as at_most
    from pytest_agentops.expect.trajectories import before as before
    from pytest_agentops.expect.trajectories import exactly as exactly
    from pytest_agentops.expect.trajectories import in_order as in_order
    from pytest_agentops.expect.trajectories import includes as includes
    from pytest_agentops.expect.trajectories import never as never
    from pytest_agentops.expect.trajectories import no_cycle as no_cycle
    from pytest_agentops.expect.trajectories import no_repeats as no_repeats
    from pytest_agentops.expect.trajectories import only as only
    from pytest_agentops.expect.trajectories import only_tools as only_tools
    from pytest_agentops.expect.trajectories import together as together
    from pytest_agentops.prompt import Prompt as Prompt
    from pytest_agentops.repository import PromptRepository as PromptRepository
    from pytest_agentops.spans import agent as agent
    from pytest_agentops.spans import span as span
    from pytest_agentops.spans import task as task
    from pytest_agentops.spans import tool as tool
    from pytest_agentops.trace import Message as Message
    from pytest_agentops.trace import ModelCall as ModelCall
    from pytest_agentops.trace import Span as Span
    from pytest_agentops.trace import Step as Step
    from pytest_agentops.trace import ToolCall as ToolCall
    from pytest_agentops.trace import Trace as Trace
    from pytest_agentops.trace import Usage as Usage

_HOMES = {
    "AgentTrace": "capture",
    "Message": "trace",
    "ModelCall": "trace",
    "Prompt": "prompt",
    "PromptRepository": "repository",
    "Span": "trace",
    "Step": "trace",
    "ToolCall": "trace",
    "Trace": "trace",
    "Usage": "trace",
    "agent": "spans",
    "any_order": "expect.trajectories",
    "at_least": "expect.trajectories",
    "at_most": "expect.trajectories",
    "before": "expect.trajectories",
    "call": "expect.calls",
    "exactly": "expect.trajectories",
    "in_order": "expect.trajectories",
    "includes": "expect.trajectories",
    "judged": "expect.responses",
    "matches_schema": "expect.responses",
    "never": "expect.trajectories",
    "no_cycle": "expect.trajectories",
    "no_repeats": "expect.trajectories",
    "one_of": "expect.patterns",
    "only": "expect.trajectories",
    "only_tools": "expect.trajectories",
    "optional": "expect.patterns",
    "repeated": "expect.patterns",
    "similar_to": "expect.responses",
    "span": "spans",
    "task": "spans",
    "together": "expect.trajectories",
    "tool": "spans",
}
"""Where each public name lives. It is imported when it is first used: pytest imports this package for everyone."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
