"""LangChain and LangGraph: nodes, agents, tools and models, by a callback handler.

The handler is there for every run whose context leads to an open recording. LangGraph names the node in the metadata
of each run; a graph or agent with a name of its own is an agent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers import context as tracers

from pytest_agentops.spans import Keeper, OpenSpan
from pytest_agentops.structure import RESPONSE_ID, STATUS, TOOL_CALL_ID
from pytest_agentops.trace import SpanKind


@contextmanager
def watched(keeper: Callable[[], Keeper | None]) -> Iterator[Callable[[], OpenSpan | None]]:
    """Hear of every run."""
    handler = _Handler(keeper)
    variable: ContextVar[Any] = ContextVar("agentops_langchain", default=handler)
    hooks = tracers._configure_hooks
    tracers.register_configure_hook(variable, inheritable=True)
    hook = hooks[-1]
    try:
        yield handler.here
    finally:
        hooks.remove(hook)


_GROUPS = ("RunnableSequence", "RunnableLambda", "RunnableParallel", "ChannelWrite", "Prompt", "PromptTemplate")
"""Runs with these beginnings of a name only put others together."""


class _Handler(BaseCallbackHandler):
    """Makes our spans of their runs."""

    run_inline = True
    """In the task that makes the run: elsewhere it could not be told whose it is."""

    def __init__(self, keeper: Callable[[], Keeper | None]) -> None:
        self._keeper = keeper
        self._spans: dict[UUID, tuple[OpenSpan, Keeper]] = {}
        self._asking: ContextVar[OpenSpan | None] = ContextVar("agentops_langchain_model", default=None)

    def here(self) -> OpenSpan | None:
        asking = self._asking.get()
        if asking is not None and asking.ended is None:  # What a model asks over the wire has no config of its own.
            return asking
        config = var_child_runnable_config.get() or {}
        parent = getattr(config.get("callbacks"), "parent_run_id", None)
        return self._spans.get(parent, (None, None))[0] if parent is not None else None

    # What begins.

    def on_chain_start(self, serialized: Any, inputs: Any, **run: Any) -> None:
        kind, name = _chain(run.get("name"), run.get("metadata") or {}, run.get("parent_run_id"))
        self._begin(kind, name, run)

    def on_tool_start(self, serialized: Any, input_str: str, **run: Any) -> None:
        name = run.get("name") or (serialized or {}).get("name") or "tool"
        inputs = run.get("inputs")
        opened = self._begin("tool", str(name), run, inputs if isinstance(inputs, dict) else input_str)
        if opened is not None and run.get("tool_call_id"):
            opened.attributes[TOOL_CALL_ID] = str(run["tool_call_id"])

    def on_chat_model_start(self, serialized: Any, messages: Any, **run: Any) -> None:
        self._model(run)

    def on_llm_start(self, serialized: Any, prompts: Any, **run: Any) -> None:
        self._model(run)

    def on_retriever_start(self, serialized: Any, query: str, **run: Any) -> None:
        self._begin("task", str(run.get("name") or "retriever"), run, {"query": query})

    # What ends.

    def on_chain_end(self, outputs: Any, **run: Any) -> None:
        self._end(run)

    def on_tool_end(self, output: Any, **run: Any) -> None:
        opened = self._end(run)
        if opened is None:
            return
        opened.output = getattr(output, "content", output)
        if getattr(output, "tool_call_id", None):
            opened.attributes[TOOL_CALL_ID] = str(output.tool_call_id)
        if getattr(output, "status", None) == "error":
            opened.error = str(output.content)

    def on_retriever_end(self, documents: Any, **run: Any) -> None:
        opened = self._end(run)
        if opened is not None:
            opened.output = [getattr(document, "page_content", document) for document in documents]

    def on_llm_end(self, response: Any, **run: Any) -> None:
        opened = self._end(run)
        generation = next((each for batch in response.generations for each in batch), None)
        if opened is None or generation is None:
            return
        message = getattr(generation, "message", None)
        told = getattr(message, "response_metadata", None) or {}
        id_ = str(told.get("id") or getattr(message, "id", None) or "")
        # A streamed message has the id of its run, which is another each time, and not that of the answer.
        if id_ and str(run["run_id"]) not in id_:
            opened.attributes[RESPONSE_ID] = id_
        for side, count in (getattr(message, "usage_metadata", None) or {}).items():
            if side in ("input_tokens", "output_tokens"):
                opened.attributes[f"gen_ai.usage.{side}"] = count
        calls = [
            {"id": call.get("id"), "name": call.get("name"), "arguments": call.get("args")}
            for call in getattr(message, "tool_calls", None) or ()
        ]
        opened.output = {"text": generation.text, "tool_calls": calls}

    def on_chain_error(self, error: BaseException, **run: Any) -> None:
        self._fail(error, run)

    on_tool_error = on_llm_error = on_retriever_error = on_chain_error

    def _model(self, run: dict[str, Any]) -> None:
        told = run.get("metadata") or {}
        name = told.get("ls_model_name") or (run.get("invocation_params") or {}).get("model") or run.get("name")
        opened = self._begin("model", str(name or "model"), run)
        if opened is None:
            return
        if told.get("ls_model_name"):
            opened.attributes["gen_ai.request.model"] = str(told["ls_model_name"])
        self._asking.set(opened)
        _name_an_agent(opened)

    def _begin(self, kind: SpanKind | None, name: str, run: dict[str, Any], given: object = None) -> OpenSpan | None:
        if (kept := self._keeper()) is None:
            return None
        parent = self._spans.get(run.get("parent_run_id"), (None, None))[0]  # type: ignore[arg-type]
        opened = OpenSpan(kind, name, "langchain", parent, given)
        kept.begin(opened)
        self._spans[run["run_id"]] = opened, kept
        return opened

    def _end(self, run: dict[str, Any]) -> OpenSpan | None:
        opened, kept = self._spans.get(run["run_id"], (None, None))
        if opened is not None and kept is not None:
            kept.end(opened)
        return opened

    def _fail(self, error: BaseException, run: dict[str, Any]) -> None:
        # LangGraph hands control from node to node, and to a person, with exceptions that are no failures.
        opened, kind = self._end(run), type(error).__name__
        if opened is None:
            return
        if kind not in ("GraphInterrupt", "ParentCommand", "GraphBubbleUp"):
            opened.failed(error)
        elif kind == "GraphInterrupt" and opened.kind == "tool":
            opened.attributes[STATUS] = "pending"


def _name_an_agent(model: OpenSpan) -> None:
    """Where nothing around a model is an agent, the node of the graph is that asks it."""
    around, at = [], model.parent
    while at is not None:
        around.append(at)
        at = at.parent
    nodes = [span for span in around if span.origin == model.origin and span.kind == "task"]
    if nodes and not any(span.kind == "agent" for span in around):
        nodes[0].kind = "agent"


def _chain(name: Any, told: dict[str, Any], parent: object) -> tuple[SpanKind | None, str]:
    """What a run is: a node of a graph, a graph with a name, or something that only puts others together."""
    name = str(name or "")
    if name and name == told.get("langgraph_node"):
        return "task", name
    agent = told.get("lc_agent_name")
    if name and name == agent:
        return "agent", name
    if name in ("", "LangGraph", "__start__", "__end__") or name.startswith(_GROUPS):
        return None, name or "run"
    return ("agent" if parent is None and "langgraph_step" not in told else None), name
