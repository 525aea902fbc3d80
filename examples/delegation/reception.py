"""The reception: an agent that talks to people, and asks the analyst by A2A what it does not know itself."""

import json

import httpx
from a2a.client import ClientConfig, create_client
from a2a.helpers.proto_helpers import get_stream_response_text, new_text_message
from a2a.types import Role, SendMessageRequest
from openai import AsyncOpenAI

from examples.frameworks import shop
from pytest_agentops import agent, tool

INSTRUCTIONS = "You are the reception of a shop. Questions about sales go to ask_analyst; then tell its answer."
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "ask_analyst",
            "description": "Ask the analyst, who knows the sales of every month.",
            "parameters": {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]},
        },
    }
]


@tool
async def ask_analyst(question: str, *, url: str) -> str:
    async with httpx.AsyncClient(timeout=shop.TIMEOUT) as http:
        analyst = await create_client(url, ClientConfig(httpx_client=http))
        said = SendMessageRequest(message=new_text_message(question, role=Role.ROLE_USER))
        texts = [get_stream_response_text(update) async for update in analyst.send_message(said)]
    return "".join(dict.fromkeys(text for text in texts if text))


@agent(name="reception")
async def receive(question: str, analyst_url: str) -> str:
    async with AsyncOpenAI(base_url=shop.BASE_URL, api_key=shop.API_KEY, timeout=shop.TIMEOUT, max_retries=0) as client:
        messages: list = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": question}]
        while True:
            completion = await client.chat.completions.create(
                model=shop.MODEL, messages=messages, tools=TOOLS, temperature=0, max_tokens=200
            )
            answer = completion.choices[0].message
            if not answer.tool_calls:
                return answer.content or ""
            messages.append(answer.model_dump(exclude_none=True))
            for call in answer.tool_calls:
                result = await ask_analyst(**json.loads(call.function.arguments), url=analyst_url)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
