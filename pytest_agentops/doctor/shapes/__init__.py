"""The shapes of each client: one module for each, which imports it and holds its `SHAPES`.

What is here serves the clients that know HTTP and nothing of models: they ask for a chat completion.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, Iterable
from types import ModuleType
from typing import Any

from pytest_agentops.doctor import QUESTION, Heard, Shape

PATH = "/v1/chat/completions"
CHAT: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": QUESTION}]}
STREAMED: dict[str, Any] = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
JSON = {"content-type": "application/json"}


def body(asked: dict[str, Any]) -> bytes:
    """What is sent."""
    return json.dumps(asked).encode()


def completion(answer: bytes | str) -> Heard:
    """What a chat completion says."""
    return Heard(json.loads(answer)["choices"][0]["message"]["content"])


def events(lines: Iterable[bytes | str]) -> Heard:
    """What the lines of a streamed chat completion say."""
    text = ""
    for line in lines:
        line = line if isinstance(line, str) else line.decode()
        if line.startswith("data: {"):
            for choice in json.loads(line.removeprefix("data: "))["choices"]:
                text += choice["delta"].get("content") or ""
    return Heard(text)


async def async_events(lines: AsyncIterable[bytes | str]) -> Heard:
    """The same of lines that are waited for."""
    return events([line async for line in lines])


def of_httpx(library: ModuleType) -> tuple[Shape, ...]:
    """The shapes of httpx and of httpx2, which have the same surface."""

    def plain(url: str) -> Heard:
        return completion(library.post(f"{url}{PATH}", json=CHAT).content)

    def streamed(url: str) -> Heard:
        with library.stream("POST", f"{url}{PATH}", json=STREAMED) as answer:
            return events(answer.iter_lines())

    def async_plain(url: str) -> Heard:
        async def ask() -> Heard:
            async with library.AsyncClient() as client:
                return completion((await client.post(f"{url}{PATH}", json=CHAT)).content)

        return asyncio.run(ask())

    def async_streamed(url: str) -> Heard:
        async def ask() -> Heard:
            async with library.AsyncClient() as client, client.stream("POST", f"{url}{PATH}", json=STREAMED) as answer:
                return await async_events(answer.aiter_lines())

        return asyncio.run(ask())

    return (
        Shape("plain", plain),
        Shape("streamed", streamed),
        Shape("async plain", async_plain),
        Shape("async streamed", async_streamed),
    )
