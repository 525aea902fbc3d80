"""The OpenAI Agents SDK: an agent with a tool, on chat completions and on responses."""

from __future__ import annotations

import asyncio
from typing import Any

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
from openai import AsyncOpenAI

from pytest_agentops.doctor import ASKS, QUESTION, SAYS, Heard, Shape


@function_tool
def get_order(number: int) -> str:
    """Where an order is."""
    return f"order {number} has shipped"


def run(url: str, kind: Any, *, streamed: bool) -> Heard:
    """One run of an agent whose model is of this kind."""

    async def ask() -> Heard:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="scripted", max_retries=0, timeout=10) as client:
            model = kind(model="scripted", openai_client=client)
            settings = ModelSettings(include_usage=True)
            agent = Agent(name="support", model=model, model_settings=settings, tools=[get_order])
            if not streamed:
                return Heard((await Runner.run(agent, QUESTION)).final_output)
            running = Runner.run_streamed(agent, QUESTION)
            async for _ in running.stream_events():
                pass
            return Heard(running.final_output)

    return asyncio.run(ask())


SCRIPT = (ASKS, SAYS)

SHAPES = (
    Shape("chat: a run with a tool", lambda url: run(url, OpenAIChatCompletionsModel, streamed=False), SCRIPT),
    Shape("chat: a streamed run", lambda url: run(url, OpenAIChatCompletionsModel, streamed=True), SCRIPT),
    Shape("responses: a run with a tool", lambda url: run(url, OpenAIResponsesModel, streamed=False), SCRIPT),
    Shape("responses: a streamed run", lambda url: run(url, OpenAIResponsesModel, streamed=True), SCRIPT),
)
