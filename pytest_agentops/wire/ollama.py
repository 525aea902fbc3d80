"""Ollama's own API: `POST .../api/chat` and `.../api/generate`, streamed as one JSON object a line.

Source of the format: Ollama's API reference, "Generate a chat message", "Generate a response" and "Streaming".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_agentops.exchange import Exchange, Request, ServerEvent
from pytest_agentops.trace import Message, ModelCall, ResponseText, ToolCall, Usage
from pytest_agentops.wire import answer_of, count, items, mapping, optional_text, provider_of, reported, tool_call


def reads(request: Request) -> bool:
    """Whether this is a chat or a generation of Ollama; a host of another name may have such a path too."""
    path = request.location.path.rstrip("/")
    asked = mapping(request.json)
    return (
        request.method == "POST"
        and "model" in asked
        and ((path.endswith("/api/chat") and "messages" in asked) or (path.endswith("/api/generate")))
    )


def decode(exchange: Exchange) -> ModelCall:
    """The model call of a chat or a generation."""
    asked = mapping(exchange.request.json)
    answer, error = answer_of(exchange, _joined)
    message = mapping(answer.get("message"))
    known = Counter[str]()
    messages = tuple(_messages(asked, known))
    calls = tuple(_tool_calls(message, known))
    return ModelCall(
        id=f"call-{exchange.number}",
        provider=provider_of(exchange.request),
        model=str(answer.get("model") or asked.get("model") or ""),
        messages=messages,
        tools=tuple(tool for tool in items(asked.get("tools")) if isinstance(tool, Mapping)),
        response=ResponseText(optional_text(message.get("content")) or optional_text(answer.get("response")) or ""),
        tool_calls=calls,
        usage=_usage(answer),
        reported_usage=reported({key: value for key, value in answer.items() if key.endswith(("_count", "_duration"))}),
        finish_reason=_finish_reason(answer, calls),
        error=error,
    )


def _finish_reason(answer: Mapping[str, Any], calls: tuple[ToolCall, ...]) -> str | None:
    if answer.get("done") is not True:
        return None
    reason = optional_text(answer.get("done_reason")) or ""
    return "tool_calls" if calls and reason in ("", "stop") else reason


def _messages(asked: Mapping[str, Any], known: Counter[str]) -> Iterator[Message]:
    """The conversation. Older versions give calls no ids: the second result of a tool answers its second call.

    `known` counts the calls of each tool so far.
    """
    if isinstance(asked.get("prompt"), str):
        if system := optional_text(asked.get("system")):
            yield Message("system", system)
        yield Message("user", asked["prompt"])
    answered = Counter[str]()
    for sent in map(mapping, items(asked.get("messages"))):
        role = str(sent.get("role") or "")
        name = optional_text(sent.get("tool_name")) or optional_text(sent.get("name")) or ""
        id_ = optional_text(sent.get("tool_call_id"))
        yield Message(
            role,
            "" if sent.get("content") is None else sent["content"],
            tuple(_tool_calls(sent, known)),
            tool_call_id=(id_ or _numbered(name, answered)) if role == "tool" else None,
        )


def _numbered(name: str, counted: Counter[str]) -> str:
    counted[name] += 1
    return f"{name}#{counted[name]}"


def _tool_calls(message: Mapping[str, Any], known: Counter[str]) -> Iterator[ToolCall]:
    for call in map(mapping, items(message.get("tool_calls"))):
        function = mapping(call.get("function"))
        id_ = optional_text(call.get("id")) or _numbered(str(function.get("name") or ""), known)
        yield tool_call(function.get("name"), function.get("arguments"), id_)


def _usage(answer: Mapping[str, Any]) -> Usage | None:
    """A prompt that was read before counts for nothing, and is left out."""
    if "eval_count" not in answer and "prompt_eval_count" not in answer:
        return None
    return Usage(count(answer.get("prompt_eval_count")), count(answer.get("eval_count")))


def _joined(events: Iterable[ServerEvent]) -> dict[str, Any]:
    """The answer that the lines of a stream add up to."""
    answer: dict[str, Any] = {}
    said: dict[str, list[str]] = {"content": [], "response": []}
    calls: list[Any] = []
    for line in (mapping(event.json) for event in events):
        message = mapping(line.get("message"))
        said["content"].append(optional_text(message.get("content")) or "")
        said["response"].append(optional_text(line.get("response")) or "")
        calls += items(message.get("tool_calls"))
        answer |= {key: value for key, value in line.items() if key not in ("message", "response")}
    message = {"content": "".join(said["content"]), "tool_calls": calls}
    return {**answer, "message": message, "response": "".join(said["response"])}
