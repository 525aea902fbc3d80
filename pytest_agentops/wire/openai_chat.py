"""OpenAI chat completions, and everything that speaks it: `POST .../chat/completions`.

Source of the format: OpenAI's API reference, "Chat Completions" and "Streaming".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_agentops.exchange import Exchange, Request, ServerEvent
from pytest_agentops.trace import Message, ModelCall, ResponseText, ToolCall, Usage
from pytest_agentops.wire import (
    answer_of,
    count,
    items,
    mapping,
    optional_text,
    provider_of,
    reported,
    tool_call,
)


def reads(request: Request) -> bool:
    """Whether this is a chat completion."""
    return request.method == "POST" and request.location.path.rstrip("/").endswith("/chat/completions")


def decode(exchange: Exchange) -> ModelCall:
    """The model call of a chat completion."""
    asked = mapping(exchange.request.json)
    answer, error = answer_of(exchange, _joined)
    choices = [mapping(each) for each in items(answer.get("choices"))] or [{}]
    choice = min(choices, key=lambda each: count(each.get("index")))
    message = mapping(choice.get("message"))
    refusal = _text(message.get("refusal")) or None
    return ModelCall(
        id=str(answer.get("id") or f"call-{exchange.number}"),
        provider=provider_of(exchange.request),
        model=str(answer.get("model") or asked.get("model") or ""),
        messages=tuple(_message(sent) for sent in items(asked.get("messages"))),
        tools=tuple(tool for tool in items(asked.get("tools")) if isinstance(tool, Mapping)),
        response=ResponseText(_said(message)),
        tool_calls=_tool_calls(message),
        usage=_usage(answer.get("usage")),
        reported_usage=reported(answer.get("usage")),
        finish_reason=_finish_reason(choice),
        error=error,
        refusal=refusal,
        alternatives=tuple(_said(mapping(each.get("message"))) for each in choices if each is not choice),
    )


def _said(message: Mapping[str, Any]) -> str:
    """The text of an answer, or of its refusal, or what an answer says aloud."""
    spoken = mapping(message.get("audio")).get("transcript")
    return _text(message.get("content")) or _text(message.get("refusal")) or _text(spoken)


def _finish_reason(choice: Mapping[str, Any]) -> str | None:
    """Why the answer ended; some servers end it without saying why, which is an end all the same."""
    if not choice or choice.get("ended") is False:
        return None
    return optional_text(choice.get("finish_reason")) or ""


def _message(sent: Any) -> Message:
    sent = mapping(sent)
    content = sent.get("content")
    parts = items(content)
    only_text = parts and all(mapping(part).get("type") in ("text", "thinking") for part in parts)
    return Message(
        role=str(sent.get("role") or ""),
        content=_text(content) if only_text or content is None else content,
        tool_calls=_tool_calls(sent),
        tool_call_id=optional_text(sent.get("tool_call_id")),
    )


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(mapping(part).get("text") or "") for part in items(content))


def _tool_calls(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    return tuple(_tool_call(mapping(call)) for call in items(message.get("tool_calls")))


def _tool_call(call: Mapping[str, Any]) -> ToolCall:
    if call.get("type") == "custom":  # A custom tool takes free text, which is its input and never malformed.
        custom = mapping(call.get("custom"))
        return tool_call(custom.get("name"), {"input": custom.get("input")}, call.get("id"))
    function = mapping(call.get("function"))
    return tool_call(function.get("name"), function.get("arguments"), call.get("id"))


def _usage(figures: object) -> Usage | None:
    if not isinstance(figures, Mapping):
        return None
    read, written = mapping(figures.get("prompt_tokens_details")), mapping(figures.get("completion_tokens_details"))
    return Usage(
        input_tokens=count(figures.get("prompt_tokens")),
        output_tokens=count(figures.get("completion_tokens")),
        cached_input_tokens=count(read.get("cached_tokens")),
        reasoning_tokens=count(written.get("reasoning_tokens")),
        input_audio_tokens=count(read.get("audio_tokens")),
        output_audio_tokens=count(written.get("audio_tokens")),
    )


def _joined(events: Iterable[ServerEvent]) -> dict[str, Any]:
    """The completion that the chunks of a stream add up to."""
    joined: dict[str, Any] = {}
    choices: dict[int, _Choice] = {}
    ended = False
    for event in events:
        ended = ended or event.data == "[DONE]"
        chunk = mapping(event.json)
        joined.update({key: chunk[key] for key in ("id", "model", "usage", "error") if chunk.get(key)})
        for choice in map(mapping, items(chunk.get("choices"))):
            choices.setdefault(count(choice.get("index")), _Choice()).add(choice)
    whole = [choices[index].whole(index, ended) for index in sorted(choices)]
    return {**joined, "choices": whole or [_Choice().whole(0, ended)]}


class _Choice:
    """One answer in the making."""

    def __init__(self) -> None:
        self.said: dict[str, list[str]] = {"content": [], "refusal": [], "transcript": []}
        self.calls: list[dict[str, Any]] = []
        self.reason: str | None = None

    def add(self, choice: Mapping[str, Any]) -> None:
        """Add what a chunk has of it."""
        delta = mapping(choice.get("delta"))
        for key in ("content", "refusal"):
            if delta.get(key):  # Text; a list of texts and thoughts with Mistral.
                self.said[key].append(_text(delta[key]))
        if audio := mapping(delta.get("audio")):
            self.said["transcript"].append(_text(audio.get("transcript")))
        for part in map(mapping, items(delta.get("tool_calls"))):
            _add(self.calls, part)
        self.reason = optional_text(choice.get("finish_reason")) or self.reason

    def whole(self, index: int, ended: bool) -> dict[str, Any]:
        """The choice as it stands in an answer that was not streamed, and whether it came to its end."""
        said = {key: "".join(pieces) for key, pieces in self.said.items()}
        message = {
            **said,
            "audio": {"transcript": said["transcript"]},
            "tool_calls": [_made(call) for call in self.calls],
        }
        return {
            "index": index,
            "message": message,
            "finish_reason": self.reason,
            "ended": ended or self.reason is not None,
        }


def _add(calls: list[dict[str, Any]], part: Mapping[str, Any]) -> None:
    """Add a piece of a tool call to the call that it belongs to.

    That is the last one of its index. Some servers give no index, or the same to every call: then a new id begins a
    new call.
    """
    index, id_ = count(part.get("index")), part.get("id")
    call = next((call for call in reversed(calls) if call["index"] == index), None)
    if call is None or (id_ and call["id"] and id_ != call["id"]):
        calls.append(call := {"index": index, "id": None, "type": None})
    call["id"] = id_ or call["id"]
    call["type"] = part.get("type") or call["type"]
    for kind in ("function", "custom"):
        for key, value in mapping(part.get(kind)).items():
            if isinstance(value, str):
                call.setdefault(kind, {}).setdefault(key, []).append(value)


def _made(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call with its texts, which came in pieces."""
    made = {
        kind: {key: "".join(pieces) for key, pieces in call.get(kind, {}).items()} for kind in ("function", "custom")
    }
    return {**call, **made}
