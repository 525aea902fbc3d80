"""openai: chat completions, responses and embeddings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from pytest_agentops.doctor import ASKS, EMBEDS, PARAMETERS, QUESTION, SAYS_JSON, Heard, Shape

FUNCTION: dict[str, Any] = {"name": "get_order", "parameters": PARAMETERS, "strict": True}
CHAT: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": QUESTION}]}
CHAT_TOOLS: dict[str, Any] = {**CHAT, "tools": [{"type": "function", "function": FUNCTION}]}
RESPONSE: dict[str, Any] = {"model": "scripted", "input": QUESTION}
RESPONSE_TOOLS: dict[str, Any] = {**RESPONSE, "tools": [{"type": "function", **FUNCTION}]}


class Order(BaseModel):
    """What `parse` is asked for."""

    number: int
    status: str


def client(url: str) -> OpenAI:
    """A client of this server, whatever the environment says."""
    return OpenAI(base_url=f"{url}/v1", api_key="scripted", max_retries=0, timeout=10)


def async_client(url: str) -> AsyncOpenAI:
    """The same for asynchronous shapes."""
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="scripted", max_retries=0, timeout=10)


def asynchronous(ask: Callable[[AsyncOpenAI], Awaitable[Heard]]) -> Callable[[str], Heard]:
    """A shape that is asked in an event loop of its own."""

    def run(url: str) -> Heard:
        async def asked() -> Heard:
            async with async_client(url) as one:
                return await ask(one)

        return asyncio.run(asked())

    return run


# --- chat completions ------------------------------------------------------------------------------------------------


def of_completion(answer: Any) -> Heard:
    """What a completion says."""
    message = answer.choices[0].message
    functions = [call.function for call in message.tool_calls or ()]
    return Heard(message.content or "", tuple((each.name, json.loads(each.arguments)) for each in functions))


def of_chunks(chunks: list[Any]) -> Heard:
    """What the chunks of a stream say."""
    return Heard("".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices))


def chat_plain(url: str) -> Heard:
    """One answer."""
    with client(url) as one:
        return of_completion(one.chat.completions.create(**CHAT))


def chat_tools(url: str) -> Heard:
    """An answer that asks for a tool."""
    with client(url) as one:
        return of_completion(one.chat.completions.create(**CHAT_TOOLS))


def chat_streamed(url: str) -> Heard:
    """An answer chunk by chunk."""
    with client(url) as one:
        return of_chunks(list(one.chat.completions.create(**CHAT, stream=True)))


def chat_streamed_with_usage(url: str) -> Heard:
    """The same, with token counts at its end."""
    with client(url) as one:
        return of_chunks(list(one.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})))


def chat_parse(url: str) -> Heard:
    """An answer as a value."""
    with client(url) as one:
        parsed = one.chat.completions.parse(**CHAT, response_format=Order).choices[0].message.parsed
        return Heard(json.dumps(parsed.model_dump() if parsed else None))


def chat_stream_helper(url: str) -> Heard:
    """A stream that the client adds up."""
    options: Any = {"include_usage": True}
    with client(url) as one, one.chat.completions.stream(**CHAT, stream_options=options) as stream:
        return of_completion(stream.get_final_completion())


def chat_raw(url: str) -> Heard:
    """The response of the transport, and what is parsed of it."""
    with client(url) as one:
        return of_completion(one.chat.completions.with_raw_response.create(**CHAT).parse())


async def chat_async_plain(one: AsyncOpenAI) -> Heard:
    """One answer."""
    return of_completion(await one.chat.completions.create(**CHAT))


async def chat_async_streamed(one: AsyncOpenAI) -> Heard:
    """An answer chunk by chunk."""
    stream: Any = await one.chat.completions.create(**CHAT, stream=True)
    return of_chunks([chunk async for chunk in stream])


# --- responses -------------------------------------------------------------------------------------------------------


def of_response(answer: Any) -> Heard:
    """What a response says."""
    calls = [item for item in answer.output if item.type == "function_call"]
    return Heard(answer.output_text, tuple((each.name, json.loads(each.arguments)) for each in calls))


def of_events(events: list[Any]) -> Heard:
    """What the events of a stream say."""
    return Heard("".join(event.delta for event in events if event.type == "response.output_text.delta"))


def responses_plain(url: str) -> Heard:
    """One answer."""
    with client(url) as one:
        return of_response(one.responses.create(**RESPONSE))


def responses_tools(url: str) -> Heard:
    """An answer that asks for a tool."""
    with client(url) as one:
        return of_response(one.responses.create(**RESPONSE_TOOLS))


def responses_streamed(url: str) -> Heard:
    """An answer event by event."""
    with client(url) as one:
        return of_events(list(one.responses.create(**RESPONSE, stream=True)))


def responses_parse(url: str) -> Heard:
    """An answer as a value."""
    with client(url) as one:
        parsed = one.responses.parse(**RESPONSE, text_format=Order).output_parsed
        return Heard(json.dumps(parsed.model_dump() if parsed else None))


def responses_stream_helper(url: str) -> Heard:
    """A stream that the client adds up."""
    with client(url) as one, one.responses.stream(**RESPONSE) as stream:
        return of_response(stream.get_final_response())


def responses_raw(url: str) -> Heard:
    """The response of the transport, and what is parsed of it."""
    with client(url) as one:
        return of_response(one.responses.with_raw_response.create(**RESPONSE).parse())


async def responses_async_plain(one: AsyncOpenAI) -> Heard:
    """One answer."""
    return of_response(await one.responses.create(**RESPONSE))


async def responses_async_streamed(one: AsyncOpenAI) -> Heard:
    """An answer event by event."""
    stream: Any = await one.responses.create(**RESPONSE, stream=True)
    return of_events([event async for event in stream])


# --- embeddings ------------------------------------------------------------------------------------------------------


def embeddings(url: str) -> Heard:
    """A vector, which the client asks for in base64."""
    with client(url) as one:
        return Heard(vector=tuple(one.embeddings.create(model="scripted", input=QUESTION).data[0].embedding))


SHAPES = (
    Shape("chat: plain", chat_plain),
    Shape("chat: tools", chat_tools, (ASKS,)),
    Shape("chat: streamed", chat_streamed, tells_usage=False),
    Shape("chat: streamed with usage", chat_streamed_with_usage),
    Shape("chat: parse", chat_parse, (SAYS_JSON,)),
    Shape("chat: .stream() helper", chat_stream_helper),
    Shape("chat: raw response", chat_raw),
    Shape("chat: async plain", asynchronous(chat_async_plain)),
    Shape("chat: async streamed", asynchronous(chat_async_streamed), tells_usage=False),
    Shape("responses: plain", responses_plain),
    Shape("responses: tools", responses_tools, (ASKS,)),
    Shape("responses: streamed", responses_streamed),
    Shape("responses: parse", responses_parse, (SAYS_JSON,)),
    Shape("responses: .stream() helper", responses_stream_helper),
    Shape("responses: raw response", responses_raw),
    Shape("responses: async plain", asynchronous(responses_async_plain)),
    Shape("responses: async streamed", asynchronous(responses_async_streamed)),
    Shape("embeddings", embeddings, (EMBEDS,)),
)
