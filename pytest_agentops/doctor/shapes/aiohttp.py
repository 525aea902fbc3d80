"""aiohttp."""

from __future__ import annotations

import asyncio

import aiohttp

from pytest_agentops.doctor import Heard, Shape
from pytest_agentops.doctor.shapes import CHAT, PATH, STREAMED, async_events, completion


def plain(url: str) -> Heard:
    """One answer."""

    async def ask() -> Heard:
        async with aiohttp.ClientSession() as client, client.post(f"{url}{PATH}", json=CHAT) as answer:
            return completion(await answer.read())

    return asyncio.run(ask())


def streamed(url: str) -> Heard:
    """An answer line by line."""

    async def ask() -> Heard:
        async with aiohttp.ClientSession() as client, client.post(f"{url}{PATH}", json=STREAMED) as answer:
            return await async_events(answer.content)

    return asyncio.run(ask())


SHAPES = (Shape("async plain", plain), Shape("async streamed", streamed))
