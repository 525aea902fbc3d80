"""OpenAI responses: `POST .../responses`.

Source of the format: OpenAI's API reference, "Responses" and "Streaming events".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_agentops.exchange import Exchange, Request, ServerEvent
from pytest_agentops.trace import CallError, Message, ModelCall, ResponseText, ToolCall, Usage
from pytest_agentops.wire import (
    answer_of,
    count,
    items,
    mapping,
    optional_text,
    provider_of,
    tool_call,
)

_RESULTS = ("function_call_output", "custom_tool_call_output")


def reads(request: Request) -> bool:
    """Whether this creates a response."""
    return request.method == "POST" and request.location.path.rstrip("/").endswith("/responses")


def decode(exchange: Exchange) -> ModelCall:
    """The model call of a response."""
    asked = mapping(exchange.request.json)
    answer, error = answer_of(exchange, _joined)
    output = [mapping(item) for item in items(answer.get("output"))]
    calls = tuple(_tool_calls(output))
    refusal = "".join(_parts(output, "refusal", "refusal")) or None
    return ModelCall(
        id=str(answer.get("id") or f"call-{exchange.number}"),
        provider=provider_of(exchange.request),
        model=str(answer.get("model") or asked.get("model") or ""),
        messages=tuple(_messages(asked)),
        tools=tuple(tool for tool in items(asked.get("tools")) if isinstance(tool, Mapping)),
        response=ResponseText("".join(_parts(output, "output_text", "text")) or refusal or ""),
        tool_calls=calls,
        usage=_usage(answer.get("usage")),
        finish_reason=_finish_reason(answer, calls, error),
        error=error,
        refusal=refusal,
    )


def _messages(asked: Mapping[str, Any]) -> Iterator[Message]:
    if isinstance(asked.get("instructions"), str):
        yield Message("system", asked["instructions"])
    if isinstance(asked.get("input"), str):
        yield Message("user", asked["input"])
    for item in map(mapping, items(asked.get("input"))):
        kind = item.get("type", "message")
        if kind == "message":
            yield Message(str(item.get("role") or ""), _content(item.get("content")))
        elif kind in _RESULTS:
            yield Message("tool", _content(item.get("output")), tool_call_id=optional_text(item.get("call_id")))
        elif calls := tuple(_tool_calls([item])):
            yield Message("assistant", "", calls)


def _content(content: object) -> Any:
    parts = [mapping(part) for part in items(content)]
    if parts and all(part.get("type") in ("input_text", "output_text", "text") for part in parts):
        return "".join(str(part.get("text") or "") for part in parts)
    return "" if content is None else content


def _parts(output: Iterable[Mapping[str, Any]], kind: str, key: str) -> Iterator[str]:
    for item in output:
        if item.get("type") == "message":
            for part in map(mapping, items(item.get("content"))):
                if part.get("type") == kind:
                    yield str(part.get(key) or "")


def _tool_calls(output: Iterable[Mapping[str, Any]]) -> Iterator[ToolCall]:
    for item in output:
        kind = str(item.get("type"))
        if kind == "function_call":
            yield tool_call(item.get("name"), item.get("arguments"), item.get("call_id") or item.get("id"))
        elif kind == "custom_tool_call":
            yield tool_call(item.get("name"), {"input": item.get("input")}, item.get("call_id") or item.get("id"))
        elif kind == "mcp_call":
            yield _by_provider(item, str(item.get("name") or kind), item.get("arguments"))
        elif kind.endswith("_call"):
            arguments = {key: value for key, value in item.items() if key not in ("id", "type", "status", "results")}
            yield _by_provider(item, kind.removesuffix("_call"), arguments)


def _by_provider(item: Mapping[str, Any], name: str, arguments: object) -> ToolCall:
    made = tool_call(name, arguments, item.get("id"))
    failed = item.get("status") == "failed" or bool(item.get("error"))
    result = item.get("error") or item.get("output") or item.get("results")
    return ToolCall(
        made.name,
        made.arguments,
        result=result,
        status="error" if failed else "ok",
        id=made.id,
        by_provider=True,
        malformed=made.malformed,
    )


def _usage(reported: object) -> Usage | None:
    if not isinstance(reported, Mapping):
        return None
    return Usage(
        input_tokens=count(reported.get("input_tokens")),
        output_tokens=count(reported.get("output_tokens")),
        cached_input_tokens=count(mapping(reported.get("input_tokens_details")).get("cached_tokens")),
        reasoning_tokens=count(mapping(reported.get("output_tokens_details")).get("reasoning_tokens")),
    )


def _finish_reason(answer: Mapping[str, Any], calls: tuple[ToolCall, ...], error: CallError | None) -> str | None:
    """The reason in the words of chat completions, so that one word means one thing whatever the API."""
    if error is not None:
        return "error"
    if answer.get("status") == "incomplete":
        reason = mapping(answer.get("incomplete_details")).get("reason")
        return "length" if reason == "max_output_tokens" else str(reason or "incomplete")
    if answer.get("status") != "completed":
        return None
    return "tool_calls" if any(not call.by_provider for call in calls) else "stop"


def _joined(events: Iterable[ServerEvent]) -> Mapping[str, Any]:
    """The response that a stream ends with, or what it had said when it was cut."""
    begun: Mapping[str, Any] = {}
    finished: dict[int, Any] = {}
    text: dict[int, str] = {}
    for event in events:
        data = mapping(event.json)
        kind = str(data.get("type") or event.name)
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            return mapping(data.get("response"))
        if kind == "error":
            return {**begun, "error": data.get("error") or data}
        index = count(data.get("output_index"))
        if kind == "response.created":
            begun = mapping(data.get("response"))
        elif kind == "response.output_item.done":
            finished[index] = data.get("item")
        elif kind == "response.output_text.delta":
            text[index] = text.get(index, "") + str(data.get("delta") or "")
    for index, words in text.items():
        finished.setdefault(index, {"type": "message", "content": [{"type": "output_text", "text": words}]})
    return {**begun, "output": [finished[index] for index in sorted(finished)]}
