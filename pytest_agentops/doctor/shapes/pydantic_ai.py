"""Pydantic AI: an agent with a tool, on chat completions and on responses."""

from __future__ import annotations

import asyncio
from typing import Any

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from pytest_agentops.doctor import ASKS, QUESTION, SAYS, Heard, Shape


def get_order(number: int) -> str:
    """Where an order is."""
    return f"order {number} has shipped"


def run(url: str, kind: Any, *, streamed: bool) -> Heard:
    """One run of an agent whose model is of this kind."""

    async def ask() -> Heard:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="scripted", max_retries=0, timeout=10) as client:
            model = kind("scripted", provider=OpenAIProvider(openai_client=client))
            agent: Agent[None, str] = Agent(model, tools=[get_order])
            if not streamed:
                return Heard((await agent.run(QUESTION)).output)
            async with agent.run_stream(QUESTION) as running:
                return Heard(await running.get_output())

    return asyncio.run(ask())


SCRIPT = (ASKS, SAYS)

SHAPES = (
    Shape("chat: a run with a tool", lambda url: run(url, OpenAIChatModel, streamed=False), SCRIPT),
    Shape("chat: a streamed run", lambda url: run(url, OpenAIChatModel, streamed=True), SCRIPT),
    Shape("responses: a run with a tool", lambda url: run(url, OpenAIResponsesModel, streamed=False), SCRIPT),
    Shape("responses: a streamed run", lambda url: run(url, OpenAIResponsesModel, streamed=True), SCRIPT),
)
