"""google-genai: Gemini; its asynchronous side goes through aiohttp where that is installed."""

from __future__ import annotations

import asyncio
from typing import Any

from google.genai import Client
from google.genai.types import HttpOptions

from pytest_agentops.doctor import ASKS, PARAMETERS, QUESTION, Heard, Shape

CONTENT: dict[str, Any] = {"model": "scripted", "contents": QUESTION}
DECLARED = {"name": "get_order", "parameters_json_schema": PARAMETERS}
TOOLS: dict[str, Any] = {**CONTENT, "config": {"tools": [{"function_declarations": [DECLARED]}]}}


def client(url: str) -> Client:
    """A client of this server, whatever the environment says."""
    return Client(vertexai=False, api_key="scripted", http_options=HttpOptions(base_url=url, timeout=10_000))


def of_chunks(chunks: list[Any]) -> Heard:
    """What an answer, or the chunks of a stream, say."""
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or ()]
    calls = [part.function_call for part in parts if part.function_call]
    return Heard("".join(part.text or "" for part in parts), tuple((call.name, call.args) for call in calls))


def plain(url: str) -> Heard:
    """One answer."""
    with client(url) as one:
        return of_chunks([one.models.generate_content(**CONTENT)])


def tools(url: str) -> Heard:
    """An answer that asks for a function."""
    with client(url) as one:
        return of_chunks([one.models.generate_content(**TOOLS)])


def streamed(url: str) -> Heard:
    """An answer chunk by chunk."""
    with client(url) as one:
        return of_chunks(list(one.models.generate_content_stream(**CONTENT)))


def async_plain(url: str) -> Heard:
    """One answer."""

    async def ask() -> Heard:
        async with client(url).aio as one:
            return of_chunks([await one.models.generate_content(**CONTENT)])

    return asyncio.run(ask())


def async_streamed(url: str) -> Heard:
    """An answer chunk by chunk."""

    async def ask() -> Heard:
        async with client(url).aio as one:
            return of_chunks([chunk async for chunk in await one.models.generate_content_stream(**CONTENT)])

    return asyncio.run(ask())


SHAPES = (
    Shape("generate: plain", plain),
    Shape("generate: tools", tools, (ASKS,)),
    Shape("generate: streamed", streamed),
    Shape("generate: async plain", async_plain),
    Shape("generate: async streamed", async_streamed),
)
