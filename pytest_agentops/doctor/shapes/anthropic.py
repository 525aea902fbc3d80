"""anthropic: messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from anthropic import Anthropic, AsyncAnthropic

from pytest_agentops.doctor import ASKS, PARAMETERS, QUESTION, Heard, Shape

MESSAGE: dict[str, Any] = {
    "model": "scripted",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": QUESTION}],
}
TOOLS: dict[str, Any] = {**MESSAGE, "tools": [{"name": "get_order", "input_schema": PARAMETERS}]}


def client(url: str) -> Anthropic:
    """A client of this server, whatever the environment says."""
    return Anthropic(base_url=url, api_key="scripted", max_retries=0, timeout=10)


def asynchronous(ask: Callable[[AsyncAnthropic], Awaitable[Heard]]) -> Callable[[str], Heard]:
    """A shape that is asked in an event loop of its own."""

    def run(url: str) -> Heard:
        async def asked() -> Heard:
            async with AsyncAnthropic(base_url=url, api_key="scripted", max_retries=0, timeout=10) as one:
                return await ask(one)

        return asyncio.run(asked())

    return run


def of_message(answer: Any) -> Heard:
    """What a message says."""
    text = "".join(block.text for block in answer.content if block.type == "text")
    return Heard(text, tuple((block.name, block.input) for block in answer.content if block.type == "tool_use"))


def of_events(events: list[Any]) -> Heard:
    """What the events of a stream say."""
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    return Heard("".join(delta.text for delta in deltas if delta.type == "text_delta"))


def plain(url: str) -> Heard:
    """One answer."""
    with client(url) as one:
        return of_message(one.messages.create(**MESSAGE))


def tools(url: str) -> Heard:
    """An answer that asks for a tool."""
    with client(url) as one:
        return of_message(one.messages.create(**TOOLS))


def streamed(url: str) -> Heard:
    """An answer event by event."""
    with client(url) as one:
        return of_events(list(one.messages.create(**MESSAGE, stream=True)))


def streamed_tools(url: str) -> Heard:
    """A stream with a tool, which the client adds up."""
    with client(url) as one, one.messages.stream(**TOOLS) as stream:
        return of_message(stream.get_final_message())


def raw(url: str) -> Heard:
    """The response of the transport, and what is parsed of it."""
    with client(url) as one:
        return of_message(one.messages.with_raw_response.create(**MESSAGE).parse())


async def async_plain(one: AsyncAnthropic) -> Heard:
    """One answer."""
    return of_message(await one.messages.create(**MESSAGE))


async def async_streamed(one: AsyncAnthropic) -> Heard:
    """An answer event by event."""
    stream: Any = await one.messages.create(**MESSAGE, stream=True)
    return of_events([event async for event in stream])


SHAPES = (
    Shape("messages: plain", plain),
    Shape("messages: tools", tools, (ASKS,)),
    Shape("messages: streamed", streamed),
    Shape("messages: .stream() helper, tools", streamed_tools, (ASKS,)),
    Shape("messages: raw response", raw),
    Shape("messages: async plain", asynchronous(async_plain)),
    Shape("messages: async streamed", asynchronous(async_streamed)),
)
