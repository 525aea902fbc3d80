"""The same shop on every framework: one question, one tool, one answer, and whatever the framework tells besides."""

import importlib
import inspect

import pytest

from pytest_agentops import call

NEEDS = {
    "anthropic_shop": "anthropic",
    "google_adk_shop": "google.adk",
    "langchain_shop": "langchain",
    "langgraph_shop": "langgraph",
    "pydantic_ai_shop": "pydantic_ai",
    "smolagents_shop": "smolagents",
}
AGENTS = {"anthropic_shop": (), "langgraph_shop": ("think",)}
"""Those that are not called `orders`: a client knows no agents, and a graph without a name has those of its nodes."""


@pytest.mark.asyncio
@pytest.mark.parametrize("name", NEEDS)
async def test_where_is_my_order(name, agent_trace):
    pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")
    answer = importlib.import_module(f"{__package__}.{name}").answer

    said = answer("Where is my order 42?")
    said = await said if inspect.isawaitable(said) else said

    assert call("look_up_order", order_id=42).returning("electric kettle, shipped on Monday") in agent_trace.trajectory
    assert agent_trace.agents == AGENTS.get(name, ("orders",))
    # What the small model makes of its own program's output is that there is no such order.
    assert ("Monday" in said) is (name != "smolagents_shop")
