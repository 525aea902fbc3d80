"""smolagents: an agent that calls tools, and ends by calling one more."""

from __future__ import annotations

from typing import Any

from smolagents import LogLevel, OpenAIModel, ToolCallingAgent, tool

from pytest_agentops.doctor import ASKS, QUESTION, TEXT, Heard, Shape
from pytest_agentops.testing import Asks, ToolRequest

ENDS = Asks(ToolRequest("final_answer", {"answer": TEXT}), input_tokens=120, output_tokens=30)


def get_order(number: int) -> str:
    """Where an order is.

    Args:
        number: The number of the order.
    """
    return f"order {number} has shipped"


def run(url: str, *, streamed: bool) -> Heard:
    """One run of an agent."""
    options: dict[str, Any] = {"max_retries": 0, "timeout": 10}
    model = OpenAIModel("scripted", api_base=f"{url}/v1", api_key="scripted", client_kwargs=options)
    agent = ToolCallingAgent([tool(get_order)], model, stream_outputs=streamed, verbosity_level=LogLevel.OFF)
    return Heard(str(agent.run(QUESTION)))


SCRIPT = (ASKS, ENDS)

SHAPES = (
    Shape("chat: a run with a tool", lambda url: run(url, streamed=False), SCRIPT, Heard(TEXT)),
    Shape("chat: a streamed run", lambda url: run(url, streamed=True), SCRIPT, Heard(TEXT)),
)
