"""OpenTelemetry: spans of whatever instrumentation or framework writes them, in four dialects.

Where the program has a tracer provider of its own, a span processor of ours joins it. Where it has none, tracers that
would do nothing get a provider of ours while a recording is open, so that pydantic-ai and google-adk tell what they
do without any set-up.

Sources of the names: the GenAI semantic conventions (1.41, and as they were before 1.37), OpenInference's semantic
conventions, OpenLLMetry's `traceloop.*`, and what google-adk writes under `gcp.vertex.agent.*`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry import trace

from pytest_agentops.spans import SERVES, Keeper, OpenSpan
from pytest_agentops.structure import RESPONSE_ID, TOOL_CALL_ID
from pytest_agentops.trace import SpanKind


@contextmanager
def watched(keeper: Callable[[], Keeper | None]) -> Iterator[Callable[[], OpenSpan | None]]:
    """Hear of the spans of every provider that there is or will be; without the SDK, of none."""
    listener = _Listener(keeper)
    with ExitStack() as patches:
        _join(listener, patches)
        yield listener.here


def _join(listener: _Listener, patches: ExitStack) -> None:
    proxied = trace.ProxyTracer.__dict__["_tracer"]
    tracers: dict[str, trace.Tracer] = {}

    def tracer_of(self: Any) -> Any:
        if self._real_tracer is not None or trace._TRACER_PROVIDER is not None:
            listener.join(trace._TRACER_PROVIDER)
            return proxied.fget(self)
        if listener.idle or (stand_in := _stand_in(listener)) is None:
            return proxied.fget(self)
        name = self._instrumenting_module_name
        if name not in tracers:
            tracers[name] = stand_in.get_tracer(name)
        return tracers[name]

    trace.ProxyTracer._tracer = property(tracer_of)  # type: ignore[method-assign, assignment]
    patches.callback(setattr, trace.ProxyTracer, "_tracer", proxied)
    listener.join(trace._TRACER_PROVIDER)
    set_provider = trace.set_tracer_provider

    def set_tracer_provider(tracer_provider: trace.TracerProvider) -> None:
        set_provider(tracer_provider)
        listener.join(trace._TRACER_PROVIDER)

    trace.set_tracer_provider = set_tracer_provider
    patches.callback(setattr, trace, "set_tracer_provider", set_provider)


def _stand_in(listener: _Listener) -> Any:
    """A provider for programs without one; None where the SDK is not installed."""
    if listener.provider is None:
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        except ImportError:
            return None
        listener.provider = TracerProvider(resource=Resource.get_empty(), sampler=ALWAYS_ON, shutdown_on_exit=False)
        listener.join(listener.provider)
    return listener.provider


class _Listener:
    """Makes our spans of theirs, from every provider it has joined."""

    def __init__(self, keeper: Callable[[], Keeper | None]) -> None:
        self.provider: Any = None
        """The provider that stands in where the program has none."""
        self._keeper = keeper
        self._spans: dict[int, tuple[OpenSpan, Keeper]] = {}
        self._joined: WeakSet[Any] = WeakSet()

    @property
    def idle(self) -> bool:
        """Whether nobody records what happens here."""
        return self._keeper() is None

    def join(self, provider: Any) -> None:
        """Hear of this provider's spans, once."""
        if provider is None or provider in self._joined or not hasattr(provider, "add_span_processor"):
            return
        self._joined.add(provider)
        with suppress(AttributeError, ImportError):
            _processor_of(provider).listener = self

    def here(self) -> OpenSpan | None:
        return self._spans.get(trace.get_current_span().get_span_context().span_id, (None, None))[0]

    def started(self, span: Any, parent_context: Any) -> None:
        if (kept := self._keeper()) is None:
            return
        around = trace.get_current_span(parent_context).get_span_context().span_id
        opened = OpenSpan(None, span.name, "opentelemetry", self._spans.get(around, (None, None))[0])
        _classify(opened, span.name, span.attributes or {})
        if span.kind is trace.SpanKind.SERVER and "mcp.method.name" in (span.attributes or {}):
            opened.attributes[SERVES] = True
        kept.begin(opened)
        self._spans[span.get_span_context().span_id] = opened, kept

    def ended(self, span: Any) -> None:
        opened, kept = self._spans.get(span.get_span_context().span_id, (None, None))
        if opened is None or kept is None:
            return
        said = dict(span.attributes or {})
        _classify(opened, span.name, said)
        _read(opened, said, _events(span))
        if not span.status.is_ok and span.status.status_code.name == "ERROR":
            opened.error = span.status.description or str(said.get("error.type") or "error")
        kept.end(opened)


_processors: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def _processor_of(provider: Any) -> Any:
    """Our processor on this provider: it cannot be taken off again, and does nothing while nobody listens."""
    if provider in _processors:
        return _processors[provider]
    from opentelemetry.sdk.trace import SpanProcessor

    class Processor(SpanProcessor):
        listener: _Listener | None = None

        def on_start(self, span: Any, parent_context: Any = None) -> None:
            if self.listener is not None:
                self.listener.started(span, parent_context)

        def on_end(self, span: Any) -> None:
            if self.listener is not None:
                self.listener.ended(span)

    processor = _processors[provider] = Processor()
    provider.add_span_processor(processor)
    return processor


# --- what a span is --------------------------------------------------------------------------------------------------

_OPERATIONS: Mapping[str, SpanKind] = {
    "chat": "model",
    "generate_content": "model",
    "text_completion": "model",
    "embeddings": "model",
    "invoke_agent": "agent",
    "create_agent": "task",
    "invoke_workflow": "task",
    "plan": "task",
    "retrieval": "task",
    "execute_tool": "tool",
}
"""`gen_ai.operation.name` of the GenAI conventions."""

_OPENINFERENCE: Mapping[str, SpanKind] = {
    "LLM": "model",
    "EMBEDDING": "model",
    "AGENT": "agent",
    "TOOL": "tool",
    "GUARDRAIL": "guardrail",
    "CHAIN": "task",
    "RETRIEVER": "task",
    "RERANKER": "task",
    "EVALUATOR": "task",
}
"""`openinference.span.kind`."""

_TRACELOOP: Mapping[str, SpanKind] = {"workflow": "task", "task": "task", "agent": "agent", "tool": "tool"}
"""`traceloop.span.kind`."""


def _classify(opened: OpenSpan, name: str, said: Mapping[str, Any]) -> None:
    """What it is and what it is called; nothing where it is none of ours, such as a database query."""
    operation = str(said.get("gen_ai.operation.name") or "")
    kind = (
        _OPERATIONS.get(operation)
        or _OPENINFERENCE.get(str(said.get("openinference.span.kind") or "").upper())
        or _TRACELOOP.get(str(said.get("traceloop.span.kind") or ""))
        or ("model" if "llm.request.type" in said or "gen_ai.request.model" in said else None)
    )
    opened.kind = None if said.get("gen_ai.tool.name") == "(merged tools)" else kind  # google-adk groups several so.
    first, _, rest = name.partition(" ")
    bare = rest if rest and first in _OPERATIONS else name
    names: tuple[str, ...]
    match kind:
        case "agent":
            names = ("gen_ai.agent.name", "agent.name", "agent_name", "traceloop.entity.name", "graph.node.id")
        case "tool":
            names = ("gen_ai.tool.name", "tool.name", "traceloop.entity.name")
        case _:
            names = ("traceloop.entity.name", "graph.node.id", "gen_ai.request.model", "llm.model_name")
    opened.name = str(_first(said, *names) or bare)


_INPUTS = (
    "gen_ai.tool.call.arguments", "tool_arguments", "gcp.vertex.agent.tool_call_args", "tool.parameters",
    "traceloop.entity.input", "input.value", "gen_ai.input.messages",
)  # fmt: skip
_OUTPUTS = (
    "gen_ai.tool.call.result", "tool_response", "gcp.vertex.agent.tool_response", "traceloop.entity.output",
    "output.value",
)  # fmt: skip
_COUNTS = {
    "input": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
    "output": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"),
}
_KEPT = (
    "gen_ai.provider.name", "gen_ai.system", "gen_ai.request.model", "gen_ai.response.model", "gen_ai.agent.id",
    "gen_ai.prompt.name", "gen_ai.prompt.version",
)  # fmt: skip
"""What is kept under its own name."""


def _read(opened: OpenSpan, said: Mapping[str, Any], events: Mapping[str, Any]) -> None:
    opened.attributes |= {name: said[name] for name in _KEPT if said.get(name) is not None}
    if opened.kind == "tool":
        if (id_ := _first(said, TOOL_CALL_ID, "tool_call.id", "tool.id")) is not None:
            opened.attributes[TOOL_CALL_ID] = str(id_)
        opened.input = _value(_first(said, *_INPUTS))
        opened.output = _value(_first(said, *_OUTPUTS))
        return
    if opened.kind == "model":
        for side, names in _COUNTS.items():
            if (count := _first(said, *names)) is not None:
                opened.attributes[f"gen_ai.usage.{side}_tokens"] = count
        answered = said.get(RESPONSE_ID) or _within(said.get("gcp.vertex.agent.llm_response"), "response_id")
        if answered:
            opened.attributes[RESPONSE_ID] = str(answered)
        opened.attributes.setdefault("gen_ai.request.model", str(said.get("llm.model_name") or opened.name))
        opened.output = _answer(said, events)
        return
    opened.input = _value(_first(said, *_INPUTS))
    opened.output = _value(_first(said, *_OUTPUTS))


def _answer(said: Mapping[str, Any], events: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a model said, where the span has it."""
    messages = _value(said.get("gen_ai.output.messages"))
    if isinstance(messages, list):
        parts = [part for message in messages if isinstance(message, dict) for part in message.get("parts") or ()]
        return _answered(
            "".join(str(part.get("content") or "") for part in parts if part.get("type") == "text"),
            [part for part in parts if part.get("type") == "tool_call"],
        )
    for text in (
        "gen_ai.completion.0.content", "llm.output_messages.0.message.content", "output.value"
    ):  # fmt: skip
        if said.get(text) is not None:
            return _answered(str(said[text]), [])
    if (response := _value(said.get("gcp.vertex.agent.llm_response"))) is not None:
        parts = _within(_within(response, "content"), "parts") or []
        calls = [part["function_call"] for part in parts if isinstance(part, dict) and part.get("function_call")]
        text = "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))
        return _answered(text, [{**call, "arguments": call.get("args")} for call in calls])
    if (choice := events.get("gen_ai.choice")) is not None:
        message = _value(choice.get("message")) or {}
        return _answered(str(_within(message, "content") or choice.get("content") or ""), [])
    return None


def _answered(text: str, calls: list[Any]) -> dict[str, Any]:
    kept = [{"id": call.get("id"), "name": call.get("name"), "arguments": call.get("arguments")} for call in calls]
    return {"text": text, "tool_calls": kept}


def _events(span: Any) -> dict[str, Mapping[str, Any]]:
    return {event.name: dict(event.attributes or {}) for event in getattr(span, "events", ())}


def _first(said: Mapping[str, Any], *names: str) -> Any:
    return next((said[name] for name in names if said.get(name) not in (None, "")), None)


def _value(said: Any) -> Any:
    """The value of an attribute that may be JSON."""
    if isinstance(said, str):
        with suppress(ValueError, RecursionError):
            return json.loads(said)
    return said


def _within(value: Any, name: str) -> Any:
    value = _value(value)
    return value.get(name) if isinstance(value, dict) else None
