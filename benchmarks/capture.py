"""Capture: what recording adds to a live call over loopback HTTP, in milliseconds.

The server answers at once, so that nothing hides what is added. Ten calls that are watched and the same ten unwatched
take turns, one more before each ten warms them up, and who begins changes; "added" is the median of the differences, a
call, with the middle half of them in brackets. An agent's run is two model calls and a tool, and its framework tells
its structure as well. The first chunk of a stream is timed against a server that thinks for 20 ms and then says a word
every 5.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from typing import Any

import httpx2

from pytest_agentops.capture import Recording, watching
from pytest_agentops.testing import Asks, Reply, Says, ScriptedModel, ScriptedRequest, ToolRequest

_ROUNDS, _CALLS = 25, 10

Caller = Callable[[str], AbstractContextManager[Callable[[], object]]]
"""Given the model's base URL, opens what makes one call each time it is called."""


def lines() -> Iterator[str]:
    """The figures, line by line."""
    yield from measured(_ROUNDS, _CALLS)


def measured(rounds: int, calls: int) -> Iterator[str]:
    """The figures of so many rounds of so many calls, each watched and unwatched."""
    with ScriptedModel(_answer) as model:
        for name, caller in (
            ("httpx2", _httpx2(stream=False)),
            ("openai", _openai(stream=False)),
            ("httpx2, 72 words streamed", _httpx2(stream=True)),
            ("openai, 72 words streamed", _openai(stream=True)),
            ("a run of the Agents SDK", _agents_sdk),
            ("a run of LangGraph", _langgraph),
        ):
            yield _line(name, *_pairs(caller, model.base_url, rounds, calls))
    with ScriptedModel(lambda _request: Says("Word after word after word. " * 4, latency=0.02, pause=0.005)) as model:
        yield _line("first chunk", *_pairs(_first_chunk, model.base_url, rounds, 1))


def _answer(request: ScriptedRequest) -> Reply:
    if request.body.get("tools") and not request.tool_results:
        return Asks(ToolRequest("get_order", {"number": 42}))
    return Says("An answer of a few words, as they are. " * 9)


def _pairs(caller: Caller, base_url: str, rounds: int, calls: int) -> tuple[list[float], list[float]]:
    """Milliseconds a call in each round, unwatched and watched."""
    plain: list[float] = []
    watched: list[float] = []
    with caller(base_url) as call:
        for number in range(rounds):
            turns: list[tuple[list[float], AbstractContextManager[object]]] = [
                (plain, nullcontext()),
                (watched, watching(Recording("bench"))),
            ]
            for taken, around in turns if number % 2 else reversed(turns):
                with around:
                    call()
                    began = time.perf_counter()
                    for _ in range(calls):
                        call()
                    taken.append((time.perf_counter() - began) * 1000 / calls)
    return plain, watched


def _line(name: str, plain: list[float], watched: list[float]) -> str:
    added = [one - other for one, other in zip(watched, plain, strict=True)]
    low, middle, high = statistics.quantiles(added, n=4) if len(added) > 1 else added * 3
    before, after = statistics.median(plain), statistics.median(watched)
    return (
        f"{name:<25} without {before:5.2f} ms   recording {after:5.2f} ms   "
        f"added {middle:+.2f} ms ({low:+.2f} to {high:+.2f})   {after / before:.2f}x"
    )


def _question(**more: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [{"role": "user", "content": "hello"}], **more}


def _httpx2(*, stream: bool) -> Caller:
    @contextmanager
    def caller(base_url: str) -> Iterator[Callable[[], object]]:
        with httpx2.Client() as client:
            yield lambda: client.post(f"{base_url}/chat/completions", json=_question(stream=stream)).read()

    return caller


def _openai(*, stream: bool) -> Caller:
    @contextmanager
    def caller(base_url: str) -> Iterator[Callable[[], object]]:
        from openai import OpenAI

        with OpenAI(base_url=base_url, api_key="scripted") as client:
            if stream:
                yield lambda: list(client.chat.completions.create(**_question(stream=True)))
            else:
                yield lambda: client.chat.completions.create(**_question())

    return caller


@contextmanager
def _first_chunk(base_url: str) -> Iterator[Callable[[], object]]:
    with httpx2.Client() as client:

        def call() -> None:
            with client.stream("POST", f"{base_url}/chat/completions", json=_question(stream=True)) as reply:
                next(reply.iter_raw())

        yield call


@contextmanager
def _agents_sdk(base_url: str) -> Iterator[Callable[[], object]]:
    from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_trace_processors
    from openai import AsyncOpenAI

    set_trace_processors([])  # Unwatched, traces are made as well, and go nowhere.
    client = AsyncOpenAI(base_url=base_url, api_key="scripted")
    model = OpenAIChatCompletionsModel("scripted", client)
    agent = Agent("support", instructions="Help.", model=model, tools=[function_tool(get_order)])
    with asyncio.Runner() as loop:
        yield lambda: loop.run(Runner.run(agent, "Where is order 42?"), context=copy_context())
        loop.run(client.close())


@contextmanager
def _langgraph(base_url: str) -> Iterator[Callable[[], object]]:
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    model = ChatOpenAI(model="scripted", base_url=base_url, api_key=SecretStr("scripted"))
    agent = create_agent(model, [get_order], name="support")
    yield lambda: agent.invoke({"messages": [{"role": "user", "content": "Where is order 42?"}]})


def get_order(number: int) -> str:
    """Look up an order."""
    return f"Order {number} has shipped."
