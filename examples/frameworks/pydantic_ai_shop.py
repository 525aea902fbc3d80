"""pydantic-ai: an agent with a tool."""

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from . import shop


async def answer(question: str) -> str:
    async with AsyncOpenAI(base_url=shop.BASE_URL, api_key=shop.API_KEY, timeout=shop.TIMEOUT, max_retries=0) as client:
        agent = Agent(
            OpenAIChatModel(shop.MODEL, provider=OpenAIProvider(openai_client=client)),
            name="orders",
            instructions=shop.INSTRUCTIONS,
            tools=[shop.look_up_order],
            model_settings=ModelSettings(temperature=0, max_tokens=200),
        )
        return (await agent.run(question)).output
