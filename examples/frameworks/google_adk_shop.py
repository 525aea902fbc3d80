"""google-adk: an agent with a tool, with the anthropic client underneath."""

from anthropic import AsyncAnthropic
from google.adk.agents import LlmAgent
from google.adk.models.anthropic_llm import AnthropicLlm
from google.adk.runners import InMemoryRunner
from google.genai import types

from . import shop


async def answer(question: str) -> str:
    async with AsyncAnthropic(
        base_url=shop.BASE_URL.removesuffix("/v1"), api_key=shop.API_KEY, timeout=shop.TIMEOUT, max_retries=0
    ) as client:
        agent = LlmAgent(
            name="orders",
            model=AnthropicLlm(model=shop.MODEL, client=client, max_tokens=200),
            instruction=shop.INSTRUCTIONS,
            tools=[shop.look_up_order],
        )
        return await run(InMemoryRunner(agent, app_name="shop"), question)


async def run(runner: InMemoryRunner, question: str) -> str:
    session = await runner.session_service.create_session(app_name="shop", user_id="ada")
    said = types.Content(role="user", parts=[types.Part(text=question)])
    answers = [
        part.text
        async for event in runner.run_async(user_id="ada", session_id=session.id, new_message=said)
        if event.is_final_response() and event.content
        for part in event.content.parts or ()
        if part.text
    ]
    return "".join(answers)
