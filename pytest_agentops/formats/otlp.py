"""A trace as OpenTelemetry's spans, in the JSON that OTLP/HTTP takes: what Jaeger, Phoenix, Langfuse and others draw.

Sources: the OTLP specification's JSON encoding (ids as hexadecimal digits, 64-bit numbers as text), and the GenAI
semantic conventions for the names.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import math
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from pytest_agentops.errors import AgentopsError
from pytest_agentops.trace import Message, ModelCall, Span, ToolCall, Trace

_INTERNAL, _CLIENT = 1, 3
_ERROR = 2


def otlp(trace: Trace, name: str, *, began: datetime | None = None) -> dict[str, Any]:
    """The trace as one `ExportTraceServiceRequest`, as JSON knows it.

    The root span has this name. `began` is when the recording began (default: now); without recorded times every span
    starts there and takes no time. Ids follow from the content, so that the same trace is sent as the same one.
    """
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes({"service.name": "pytest-agentops", "agentops.name": name})},
                "scopeSpans": [
                    {
                        "scope": {"name": "pytest-agentops", "version": version("pytest-agentops")},
                        "spans": list(_Writer(trace, name, began or datetime.now(UTC)).spans()),
                    }
                ],
            }
        ]
    }


def send(document: Mapping[str, Any], endpoint: str, headers: Mapping[str, str] | None = None) -> None:
    """Send what `otlp` gave to a collector, such as `http://127.0.0.1:4318`; `/v1/traces` is added where it is missing.

    It goes as protobuf where the extra `otel` is installed, which every collector takes, and else as JSON.

    Raises:
        AgentopsError: nobody answers there, or refuses it.
    """
    url = endpoint if endpoint.rstrip("/").endswith("/v1/traces") else f"{endpoint.rstrip('/')}/v1/traces"
    if not url.startswith(("http://", "https://")):
        raise AgentopsError(f"{endpoint!r} is no address of a collector; one begins with http:// or https://")
    kind, body = _encoded(document)
    request = urllib.request.Request(url, body, {"content-type": kind, **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            refused = _refused(answer.read(100_000))
    except urllib.error.HTTPError as error:
        said = error.read(500).decode("utf-8", "replace").strip()
        raise AgentopsError(f"{url} refused the trace: {error.code} {error.reason} {said}".rstrip()) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise AgentopsError(f"no collector answers at {url}: {reason}") from None
    if refused:
        raise AgentopsError(f"{url} refused {refused}")


def _refused(answer: bytes) -> str:
    """What a collector that took the rest did not take; it says so in its answer, if it says anything there."""
    try:
        partly = json.loads(answer)["partialSuccess"]
        count = int(partly.get("rejectedSpans") or 0)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""
    return f"{count} of the spans: {partly.get('errorMessage') or 'it does not say why'}" if count else ""


def _encoded(document: Mapping[str, Any]) -> tuple[str, bytes]:
    """The document as it is sent, and what that is."""
    try:
        from google.protobuf import json_format
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ImportError:
        return "application/json", json.dumps(document).encode()
    # In OTLP's JSON ids are hexadecimal digits; in that of protobuf bytes are base64.
    message = json_format.ParseDict(_with_base64_ids(document), ExportTraceServiceRequest())
    return "application/x-protobuf", message.SerializeToString()


def _with_base64_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_base64_ids(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(inner)).decode() if key in _IDS else _with_base64_ids(inner)
        for key, inner in value.items()
    }


_IDS = ("traceId", "spanId", "parentSpanId")


@dataclass(frozen=True)
class _Written:
    """A span on its way into the document."""

    key: str
    """What tells it from the others of the trace; its id is made of it."""
    name: str
    parent: str | None
    started: float
    seconds: float
    attributes: Mapping[str, Any]
    error: str | None = None
    kind: int = _INTERNAL


class _Writer:
    """Writes the spans of one trace."""

    def __init__(self, trace: Trace, name: str, began: datetime) -> None:
        self._trace, self._name = trace, name
        self._began = int(began.timestamp() * 1e9)
        self._id = hashlib.sha256(f"{name}\0{trace.to_json()}".encode()).hexdigest()
        self._spans = {span.number: span for span in trace.spans}
        self._asked = {call.span for call in trace.model_calls}

    def spans(self) -> Iterator[dict[str, Any]]:
        written = [self._root(), *self._told(), *self._called()]
        return map(self._as_json, written)

    def _root(self) -> _Written:
        ends = [(call.started or 0) + (call.latency or 0) for call in self._trace.model_calls]
        ends += [(span.started or 0) + (span.seconds or 0) for span in self._trace.spans]
        attributes = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": self._name,
            "agentops.source": self._trace.source,
            "agentops.findings": [finding.message for finding in self._trace.findings],
        }
        return _Written("root", self._name, None, 0.0, max(ends, default=0.0), attributes)

    def _told(self) -> Iterator[_Written]:
        """The spans that were told, without those of models: each is a model call's."""
        for span in self._trace.spans:
            if span.kind != "model":
                yield _Written(
                    f"span {span.number}",
                    _NAMES.get(span.kind, "{}").format(span.name),
                    self._around(span.parent),
                    span.started or 0.0,
                    span.seconds or 0.0,
                    {**_told(span), **span.attributes},
                    span.error,
                )

    def _around(self, number: int | None) -> str:
        while (span := self._spans.get(number or 0)) is not None and span.kind == "model":
            number = span.parent
        return "root" if span is None else f"span {number}"

    def _called(self) -> Iterator[_Written]:
        for index, call in enumerate(self._trace.model_calls):
            around, started = self._around(call.span), call.started or 0.0
            error = str(call.error.code or call.error.status or "error") if call.error else None
            yield _Written(
                f"call {index}",
                f"{call.operation} {call.model}",
                around,
                started,
                call.latency or 0.0,
                {**_call(call), **self._prompt(call), **({"error.type": error} if error else {})},
                str(call.error) if call.error else None,
                _CLIENT,
            )
            for at, tool in enumerate(call.tool_calls):
                if tool.span is None:  # The wire tells that it was run, and not when.
                    yield _Written(
                        f"call {index} tool {at}",
                        f"execute_tool {tool.name}",
                        around,
                        started + (call.latency or 0.0),
                        0.0,
                        _tool(tool),
                        str(tool.result) if tool.status == "error" else None,
                    )

    def _prompt(self, call: ModelCall) -> dict[str, Any]:
        for index in call.prompts[:1]:
            render = self._trace.prompts[index]
            return {"gen_ai.prompt.name": render.name, "gen_ai.prompt.version": render.version}
        return {}

    def _as_json(self, span: _Written) -> dict[str, Any]:
        start = self._began + int(span.started * 1e9)
        written: dict[str, Any] = {
            "traceId": self._id[:32],
            "spanId": self._span_id(span.key),
            "name": span.name,
            "kind": span.kind,
            "startTimeUnixNano": str(start),
            "endTimeUnixNano": str(start + int(span.seconds * 1e9)),
            "attributes": _attributes(span.attributes),
        }
        if span.parent is not None:
            written["parentSpanId"] = self._span_id(span.parent)
        if span.error is not None:
            written["status"] = {"code": _ERROR, "message": span.error}
        return written

    def _span_id(self, key: str) -> str:
        return hashlib.sha256(f"{self._id}{key}".encode()).hexdigest()[:16]


_NAMES = {"agent": "invoke_agent {}", "tool": "execute_tool {}"}


def _told(span: Span) -> dict[str, Any]:
    match span.kind:
        case "agent":
            return {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": span.name,
                "agentops.input": _text(span.input),
                "agentops.output": _text(span.output),
            }
        case "tool":
            return {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": span.name,
                "gen_ai.tool.call.arguments": _text(span.input),
                "gen_ai.tool.call.result": _text(span.output),
            }
    return {"agentops.kind": span.kind, "agentops.input": _text(span.input), "agentops.output": _text(span.output)}


def _call(call: ModelCall) -> dict[str, Any]:
    told: dict[str, Any] = {
        "gen_ai.operation.name": call.operation,
        "gen_ai.provider.name": call.provider,
        "gen_ai.request.model": call.model,
        "gen_ai.response.model": call.model,
        "gen_ai.response.id": call.id,
        "gen_ai.agent.name": call.agent,
        "gen_ai.response.finish_reasons": [call.finish_reason] if call.finish_reason else None,
        "gen_ai.tool.definitions": _text(list(call.tools)) if call.tools else None,
        "gen_ai.input.messages": _text([_message(message) for message in call.messages]),
        "gen_ai.output.messages": _text(
            [
                {
                    **_message(Message("assistant", str(call.response), call.tool_calls)),
                    "finish_reason": call.finish_reason or "unknown",
                }
            ]
        ),
        "agentops.cost.usd": call.cost,
    }
    if call.usage is not None:
        told |= {
            "gen_ai.usage.input_tokens": call.usage.input_tokens,
            "gen_ai.usage.output_tokens": call.usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": call.usage.cached_input_tokens or None,
            "gen_ai.usage.cache_creation.input_tokens": call.usage.cache_write_tokens or None,
        }
    return told


def _tool(tool: ToolCall) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool.name,
        "gen_ai.tool.call.id": tool.id or None,
        "gen_ai.tool.call.arguments": _text(tool.arguments),
        "gen_ai.tool.call.result": _text(tool.result),
        "agentops.tool.status": tool.status,
    }


def _message(message: Message) -> dict[str, Any]:
    """A message as the conventions write it: a role and parts."""
    if message.tool_call_id is not None:
        part = {"type": "tool_call_response", "id": message.tool_call_id, "response": message.content}
        return {"role": "tool", "parts": [part]}
    parts: list[dict[str, Any]] = [{"type": "text", "content": message.text}] if message.text else []
    parts += [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]
    return {"role": message.role, "parts": parts}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False, default=str)


def _attributes(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value)} for key, value in told.items() if value not in (None, [], "")]


def _any_value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int() if -(1 << 63) <= value < 1 << 63:
            return {"intValue": str(value)}
        case float() if math.isfinite(value):
            return {"doubleValue": value}
        case Sequence() if not isinstance(value, str):
            return {"arrayValue": {"values": [_any_value(each) for each in value]}}
    return {"stringValue": (str(value) if isinstance(value, float) else _text(value)) or ""}
