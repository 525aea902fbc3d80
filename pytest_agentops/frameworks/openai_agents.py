"""The OpenAI Agents SDK: agents, tools, handoffs, guardrails, by a tracing processor of our own.

While a recording is open its trace provider is ours, which hands spans to us and to the processors that the program
added itself, and not to the one that uploads them to the vendor.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial, wraps
from typing import Any

import agents.tracing as sdk
from agents.tracing import setup
from agents.tracing.processors import BackendSpanExporter
from agents.tracing.provider import DefaultTraceProvider
from agents.tracing.spans import NoOpSpan, SpanImpl

from pytest_agentops.arrivals import awaited
from pytest_agentops.spans import Keeper, OpenSpan
from pytest_agentops.structure import RESPONSE_ID, STATUS, TOOL_CALL_ID, TOOL_NAME


@contextmanager
def watched(keeper: Callable[[], Keeper | None]) -> Iterator[Callable[[], OpenSpan | None]]:
    """Take the place of the trace provider."""
    listener = _Listener(keeper)
    before = setup.GLOBAL_TRACE_PROVIDER
    with ExitStack() as patches:
        ours = _Provider(listener, before)
        patches.callback(_put_back, ours, before)
        # Assigned and not set: setting one makes the SDK shut it down when Python ends.
        setup.GLOBAL_TRACE_PROVIDER = ours
        for module, kind, method, heard in (
            ("agents.items", "ToolApprovalItem", "__post_init__", listener.asked),
            ("agents.run_state", "RunState", "approve", listener.allowed),
            ("agents.run_state", "RunState", "reject", listener.refused),
        ):
            # Approvals are no spans, and those modules come after tracing.
            patches.enter_context(awaited([module], partial(_hear, patches, kind, method, heard)))
        yield listener.here


def _put_back(ours: _Provider, before: Any) -> None:
    """Give the place back, and what the program asked of us meanwhile to whom it would have asked."""
    if setup.GLOBAL_TRACE_PROVIDER is not ours:
        return  # The program has set one of its own.
    setup.GLOBAL_TRACE_PROVIDER = before
    for change in ours.changes:
        change(setup.get_trace_provider())


def _hear(patches: ExitStack, kind: str, method: str, heard: Callable[..., None], module: str) -> None:
    holder = getattr(sys.modules[module], kind, None)
    if method not in vars(holder or object):
        return  # Another release: what waits for a person is not told; it is the program that imports this here.
    original = holder.__dict__[method]

    @wraps(original)
    def listened(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = original(self, *args, **kwargs)
        heard(self, *args, *kwargs.values())
        return found

    setattr(holder, method, listened)
    patches.callback(setattr, holder, method, original)


class _Provider(DefaultTraceProvider):
    """The SDK's own, which is never disabled: it uploads nothing."""

    def __init__(self, listener: _Listener, before: Any) -> None:
        super().__init__()
        super().set_disabled(False)
        self._listener = listener
        self.changes: list[Callable[[Any], object]] = []
        """What the program changed, which is to last longer than this provider does."""
        others = getattr(getattr(before, "_multi_processor", None), "_processors", ())
        silent = getattr(before, "_disabled", False)
        super().set_processors([listener, *(() if silent else (each for each in others if not _uploads(each)))])

    def register_processor(self, processor: Any) -> None:
        self.changes.append(lambda provider: provider.register_processor(processor))
        super().register_processor(processor)

    def set_processors(self, processors: list[Any]) -> None:
        self.changes.append(lambda provider: provider.set_processors(processors))
        super().set_processors([self._listener, *processors])

    def set_disabled(self, disabled: bool) -> None:
        """Nothing yet: the program may turn off what leaves it, not what its tests see."""
        self.changes.append(lambda provider: provider.set_disabled(disabled))

    def create_trace(self, *args: Any, **kwargs: Any) -> Any:
        return super().create_trace(*args, **{**kwargs, "disabled": False})

    def create_span(self, span_data: Any, *args: Any, **kwargs: Any) -> Any:
        span = super().create_span(span_data, *args, **{**kwargs, "disabled": False})
        if not isinstance(span, NoOpSpan):
            return span
        # A run that is not to be traced begins with a span outside of any trace, which hides all those inside it.
        around = self.get_current_span()
        return SpanImpl(
            trace_id=self.gen_trace_id(),
            span_id=self.gen_span_id(),
            parent_id=around.span_id if around is not None else None,
            processor=self._multi_processor,
            span_data=span_data,
            tracing_api_key=None,
        )


def _uploads(processor: object) -> bool:
    """Whether it sends what it gets to the vendor."""
    return isinstance(getattr(processor, "_exporter", None), BackendSpanExporter)


class _Listener(sdk.TracingProcessor):
    """Makes our spans of theirs."""

    def __init__(self, keeper: Callable[[], Keeper | None]) -> None:
        self._keeper = keeper
        self._spans: dict[str, tuple[OpenSpan, Keeper]] = {}
        self._waiting: dict[str, OpenSpan] = {}
        self._allowed: set[str] = set()

    # What a person has to allow: the SDK opens a span for the tool, and closes it when it sees that.

    def asked(self, item: Any) -> None:
        """Somebody has to allow this call."""
        opened, id_ = self.here(), _call_id(item)
        if opened is not None and opened.kind == "tool" and id_ not in self._allowed:
            opened.attributes |= {TOOL_CALL_ID: id_, STATUS: "pending"}
            self._waiting[id_] = opened

    def allowed(self, _state: Any, item: Any, *_rest: Any) -> None:
        """It may run, which it does in a span of its own."""
        self._allowed.add(_call_id(item))
        if (opened := self._waiting.pop(_call_id(item), None)) is not None:
            opened.kind = None

    def refused(self, _state: Any, item: Any, *_rest: Any) -> None:
        """It may not."""
        if (opened := self._waiting.pop(_call_id(item), None)) is not None:
            opened.attributes[STATUS] = "denied"

    def here(self) -> OpenSpan | None:
        current = sdk.get_current_span()
        return self._spans.get(current.span_id, (None, None))[0] if current is not None else None

    def on_trace_start(self, trace: Any) -> None:
        """Nothing: a trace of theirs is a whole run, or one of several in a test."""

    def on_trace_end(self, trace: Any) -> None:
        """Nothing."""

    def on_span_start(self, span: Any) -> None:
        if (kept := self._keeper()) is None:
            return
        kind, name = _kind(span.span_data)
        parent = self._spans.get(span.parent_id or "", (None, None))[0]
        opened = OpenSpan(kind, name, "openai-agents", parent)
        kept.begin(opened)
        self._spans[span.span_id] = opened, kept

    def on_span_end(self, span: Any) -> None:
        opened, kept = self._spans.get(span.span_id, (None, None))
        if opened is None or kept is None:
            return
        if opened.kind is not None:  # None: it was held back, and ran in another one.
            opened.kind, opened.name = _kind(span.span_data)
        _read(span.span_data, opened)
        if span.error is not None:
            opened.error = str(span.error.get("message") or span.error)
        kept.end(opened)

    def shutdown(self) -> None:
        """Nothing is held back."""

    def force_flush(self) -> None:
        """Nothing is held back."""


def _call_id(item: Any) -> str:
    raw = item.raw_item
    return str(raw.get("call_id") if isinstance(raw, dict) else getattr(raw, "call_id", None))


_KINDS = {
    "agent": "agent",
    "function": "tool",
    "generation": "model",
    "response": "model",
    "handoff": "handoff",
    "guardrail": "guardrail",
    "custom": "task",
    "mcp_tools": "task",
}


def _kind(data: Any) -> tuple[Any, str]:
    """What it is, None for what only groups others, and its name."""
    if data.type == "handoff":
        return "handoff", f"{data.from_agent} -> {data.to_agent}"
    if data.type == "custom" and data.name == "Agent run" and not data.data:
        return None, data.name  # What the SDK hides a caller's span behind.
    name = getattr(data, "name", None) or getattr(data, "model", None) or getattr(data, "server", None) or data.type
    return _KINDS.get(data.type), str(name)


def _read(data: Any, opened: OpenSpan) -> None:
    match data.type:
        case "function":
            opened.input, opened.output = _arguments(data.input), data.output
            if data.output is not None:  # Whether it may run is looked into for every tool.
                opened.attributes.pop(STATUS, None)
        case "handoff":
            opened.attributes[TOOL_NAME] = re.sub(r"[^a-zA-Z0-9_]", "_", f"transfer_to_{data.to_agent}").lower()
        case "agent":
            opened.attributes |= {
                name: value for name in ("handoffs", "tools", "output_type") if (value := getattr(data, name, None))
            }
        case "guardrail":
            opened.output = {"triggered": bool(data.triggered)}
        case "response" if data.response is not None:
            opened.attributes[RESPONSE_ID] = data.response.id
            opened.attributes["gen_ai.response.model"] = str(data.response.model)
            opened.output = {"text": data.response.output_text}
        case "generation":
            opened.attributes["gen_ai.request.model"] = data.model
            opened.output = _said(data.output)
            for side in ("input", "output"):
                if data.usage and (count := data.usage.get(f"{side}_tokens")) is not None:
                    opened.attributes[f"gen_ai.usage.{side}_tokens"] = count
        case "custom":
            opened.output = data.data


def _arguments(text: object) -> object:
    if isinstance(text, str):
        with suppress(ValueError):
            return json.loads(text or "{}")
    return text


def _said(output: Any) -> dict[str, Any] | None:
    messages = [message for message in output or () if isinstance(message, dict)]
    if not messages:
        return None
    text = "".join(str(message.get("content") or "") for message in messages if isinstance(message.get("content"), str))
    calls = [call for message in messages for call in message.get("tool_calls") or () if isinstance(call, dict)]
    asked = [(call.get("id"), call.get("function") or {}) for call in calls]
    return {
        "text": text,
        "tool_calls": [
            {"id": id_, "name": function.get("name"), "arguments": _arguments(function.get("arguments"))}
            for id_, function in asked
        ],
    }
