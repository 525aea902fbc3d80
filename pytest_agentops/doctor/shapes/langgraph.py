"""LangGraph with langchain-openai: a graph of a model and a tool."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from pytest_agentops.doctor import ASKS, QUESTION, SAYS, Heard, Shape


@tool
def get_order(number: int) -> str:
    """Where an order is."""
    return f"order {number} has shipped"


def model(url: str, **options: Any) -> ChatOpenAI:
    """A model of this server, whatever the environment says."""
    given: dict[str, Any] = {"base_url": f"{url}/v1", "api_key": "scripted", "max_retries": 0, "timeout": 10}
    return ChatOpenAI(model="scripted", **given, **options)


def graph(url: str, **options: Any) -> Any:
    """A model that may call a tool, and is asked again with its result."""
    one = model(url, **options).bind_tools([get_order])
    made = StateGraph(MessagesState)
    made.add_node("model", lambda state: {"messages": [one.invoke(state["messages"])]})
    made.add_node("tools", ToolNode([get_order]))
    made.add_edge(START, "model")
    made.add_conditional_edges("model", tools_condition)
    made.add_edge("tools", "model")
    return made.compile()


ASKED: dict[str, Any] = {"messages": [("user", QUESTION)]}


def of_state(state: Any) -> Heard:
    """What the last message of a graph says."""
    message = state["messages"][-1]
    return Heard(message.text if isinstance(message, AIMessage) else "")


def run(url: str) -> Heard:
    """The whole graph."""
    return of_state(graph(url).invoke(ASKED))


def run_async(url: str) -> Heard:
    """The same in an event loop."""
    return of_state(asyncio.run(graph(url).ainvoke(ASKED)))


def run_responses(url: str) -> Heard:
    """The same by the responses API."""
    return of_state(graph(url, use_responses_api=True).invoke(ASKED))


def streamed(url: str) -> Heard:
    """The model alone, piece by piece."""
    return Heard("".join(chunk.text for chunk in model(url, stream_usage=True).stream(QUESTION)))


SCRIPT = (ASKS, SAYS)

SHAPES = (
    Shape("chat: a graph with a tool", run, SCRIPT),
    Shape("chat: an async graph", run_async, SCRIPT),
    Shape("chat: a streamed model", streamed),
    Shape("responses: a graph with a tool", run_responses, SCRIPT),
)
