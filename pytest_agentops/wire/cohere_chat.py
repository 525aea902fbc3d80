"""Cohere: `POST .../v2/chat`.

Source of the format: Cohere's API reference, "Chat (V2)" and "Streaming".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_agentops.exchange import Exchange, Request, ServerEvent
from pytest_agentops.trace import Message, ModelCall, ResponseText, ToolCall, Usage
from pytest_agentops.wire import answer_of, count, items, mapping, optional_text, provider_of, reported, tool_call

_FINISHED = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}
"""Why an answer ended, in the words of chat completions."""


def reads(request: Request) -> bool:
    """Whether this is a chat."""
    return request.method == "POST" and request.location.path.rstrip("/").endswith("/v2/chat")


def decode(exchange: Exchange) -> ModelCall:
    """The model call of a chat."""
    asked = mapping(exchange.request.json)
    answer, error = answer_of(exchange, _joined)
    message = mapping(answer.get("message"))
    reason = optional_text(answer.get("finish_reason"))
    return ModelCall(
        id=str(answer.get("id") or f"call-{exchange.number}"),
        provider=provider_of(exchange.request),
        model=str(asked.get("model") or ""),
        messages=tuple(_message(mapping(sent)) for sent in items(asked.get("messages"))),
        tools=tuple(tool for tool in items(asked.get("tools")) if isinstance(tool, Mapping)),
        response=ResponseText(_text(message.get("content"))),
        tool_calls=tuple(_tool_calls(message)),
        usage=_usage(answer.get("usage")),
        reported_usage=reported(answer.get("usage")),
        finish_reason=_FINISHED.get(reason, reason.lower()) if reason else None,
        error=error,
    )


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = (mapping(part) for part in items(content))
    return "".join(str(part.get("text") or "") for part in parts if part.get("type", "text") == "text")


def _message(sent: Mapping[str, Any]) -> Message:
    parts = [mapping(part) for part in items(sent.get("content"))]
    only_text = all(part.get("type", "text") in ("text", "thinking") for part in parts)
    return Message(
        str(sent.get("role") or ""),
        _text(sent.get("content")) if only_text else sent.get("content"),
        tuple(_tool_calls(sent)),
        optional_text(sent.get("tool_call_id")),
    )


def _tool_calls(message: Mapping[str, Any]) -> Iterator[ToolCall]:
    for call in map(mapping, items(message.get("tool_calls"))):
        function = mapping(call.get("function"))
        yield tool_call(function.get("name"), function.get("arguments"), call.get("id"))


def _usage(figures: object) -> Usage | None:
    tokens = mapping(mapping(figures).get("tokens"))
    if not tokens:
        return None
    return Usage(
        input_tokens=count(tokens.get("input_tokens")),
        output_tokens=count(tokens.get("output_tokens")),
        cached_input_tokens=count(mapping(figures).get("cached_tokens")),
    )


def _joined(events: Iterable[ServerEvent]) -> dict[str, Any]:
    """The answer that the events of a stream add up to."""
    answer: dict[str, Any] = {}
    texts: dict[int, list[str]] = {}
    calls: dict[int, Mapping[str, Any]] = {}
    written: dict[int, list[str]] = {}
    for event in events:
        data = mapping(event.json)
        kind, index = data.get("type"), count(data.get("index"))
        delta = mapping(data.get("delta"))
        message = mapping(delta.get("message"))
        if kind == "message-start":
            answer["id"] = data.get("id")
        elif kind in ("content-start", "content-delta"):
            texts.setdefault(index, []).append(str(mapping(message.get("content")).get("text") or ""))
        elif kind == "tool-call-start":
            calls[index] = mapping(message.get("tool_calls"))
            written[index] = [str(mapping(calls[index].get("function")).get("arguments") or "")]
        elif kind == "tool-call-delta":
            piece = mapping(mapping(message.get("tool_calls")).get("function")).get("arguments")
            written.setdefault(index, []).append(str(piece or ""))
        elif kind == "message-end":
            answer |= {key: delta.get(key) for key in ("finish_reason", "usage", "error") if delta.get(key)}
    content = [{"type": "text", "text": "".join(texts[index])} for index in sorted(texts)]
    return {
        **answer,
        "message": {"content": content, "tool_calls": [_made(calls.get(i, {}), written[i]) for i in sorted(written)]},
    }


def _made(call: Mapping[str, Any], written: list[str]) -> dict[str, Any]:
    """A call with its arguments, which came in pieces."""
    return {**call, "function": {**mapping(call.get("function")), "arguments": "".join(written)}}
