"""Anthropic messages: `POST .../v1/messages`, of Anthropic itself and of whoever speaks it.

Source of the format: Anthropic's API reference, "Messages", "Streaming messages", "Tool use" and "Server tools".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pytest_agentops.exchange import Exchange, Request, ServerEvent, parse_json
from pytest_agentops.trace import Message, ModelCall, ResponseText, ToolCall, Usage
from pytest_agentops.wire import answer_of, count, items, mapping, optional_text, provider_of, reported, tool_call

_FINISHED = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Why an answer ended, in the words of chat completions; `pause_turn` has none there and stays."""

_BY_PROVIDER = ("server_tool_use", "mcp_tool_use")


def reads(request: Request) -> bool:
    """Whether this creates a message."""
    path = request.location.path.rstrip("/")
    # Vertex AI names the model in the path.
    vertex = "/publishers/anthropic/models/" in path and path.endswith((":rawPredict", ":streamRawPredict"))
    return request.method == "POST" and (path.endswith("/v1/messages") or vertex)


def decode(exchange: Exchange) -> ModelCall:
    """The model call of a message."""
    asked = mapping(exchange.request.json)
    answer, error = answer_of(exchange, _joined)
    blocks = _blocks(answer.get("content"))
    refused = answer.get("stop_reason") == "refusal"
    said = "".join(_texts(blocks))
    return ModelCall(
        id=str(answer.get("id") or f"call-{exchange.number}"),
        provider=provider_of(exchange.request),
        model=str(answer.get("model") or asked.get("model") or ""),
        messages=tuple(_messages(asked)),
        tools=tuple(tool for tool in items(asked.get("tools")) if isinstance(tool, Mapping)),
        response=ResponseText(said),
        tool_calls=tuple(_tool_calls(blocks)),
        usage=_usage(answer.get("usage")),
        reported_usage=reported(answer.get("usage")),
        finish_reason=_finish_reason(answer),
        error=error,
        refusal=(said or _explained(answer) or "no reason was given") if refused else None,
    )


def _explained(answer: Mapping[str, Any]) -> str | None:
    return optional_text(mapping(answer.get("stop_details")).get("explanation"))


def _finish_reason(answer: Mapping[str, Any]) -> str | None:
    reason = optional_text(answer.get("stop_reason"))
    if reason is None:
        return "" if answer.get("ended", bool(answer)) else None
    return _FINISHED.get(reason, reason)


def _blocks(content: object) -> list[Mapping[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [mapping(block) for block in items(content)]


def _texts(blocks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (str(block.get("text") or "") for block in blocks if block.get("type") == "text")


def _messages(asked: Mapping[str, Any]) -> Iterator[Message]:
    """The conversation; each result of a tool, which stands in a user's message, as a message of its own."""
    if asked.get("system"):
        yield Message("system", _content(_blocks(asked["system"])))
    for sent in map(mapping, items(asked.get("messages"))):
        role, blocks = str(sent.get("role") or ""), _blocks(sent.get("content"))
        results = [block for block in blocks if block.get("type") == "tool_result"]
        for block in results:
            content = block.get("content")
            yield Message(
                "tool",
                _content(_blocks(content)) if content else "",
                tool_call_id=optional_text(block.get("tool_use_id")),
                failed=block.get("is_error") is True,
            )
        rest = [block for block in blocks if block.get("type") not in ("tool_result", "tool_use", *_BY_PROVIDER)]
        calls = tuple(_tool_calls(blocks)) if role == "assistant" else ()
        if rest or calls or not results:
            yield Message(role, _content(rest), calls)


def _content(blocks: list[Mapping[str, Any]]) -> Any:
    """The text, where there is nothing else but thoughts; else the blocks as they were sent."""
    told = [block for block in blocks if block.get("type") not in ("thinking", "redacted_thinking")]
    if all(block.get("type") == "text" for block in told):
        return "".join(_texts(told))
    return [dict(block) for block in blocks]


def _tool_calls(blocks: Iterable[Mapping[str, Any]]) -> Iterator[ToolCall]:
    """The calls of an answer; those that the provider ran itself with what came of them."""
    blocks = list(blocks)
    results = {
        optional_text(block.get("tool_use_id")): block
        for block in blocks
        if str(block.get("type") or "").endswith("_tool_result")
    }
    for block in blocks:
        kind = block.get("type")
        if kind != "tool_use" and kind not in _BY_PROVIDER:
            continue
        call = tool_call(block.get("name"), block.get("input"), block.get("id"))
        if kind == "tool_use":
            yield call
            continue
        result = results.get(optional_text(block.get("id")))
        failed = result is not None and _failed(result)
        yield replace(
            call,
            by_provider=True,
            result=result.get("content") if result is not None else None,
            status="error" if failed else "ok" if result is not None else "unanswered",
        )


def _failed(result: Mapping[str, Any]) -> bool:
    content = result.get("content")
    return result.get("is_error") is True or str(mapping(content).get("type") or "").endswith("_error")


def _usage(figures: object) -> Usage | None:
    """Anthropic counts what it read from its cache, and wrote to it, beside the input; here it is a part of it."""
    if not isinstance(figures, Mapping):
        return None
    read, written = (count(figures.get(key)) for key in ("cache_read_input_tokens", "cache_creation_input_tokens"))
    return Usage(
        input_tokens=count(figures.get("input_tokens")) + read + written,
        output_tokens=count(figures.get("output_tokens")),
        cached_input_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=count(mapping(figures.get("output_tokens_details")).get("thinking_tokens")),
    )


def _joined(events: Iterable[ServerEvent]) -> dict[str, Any]:
    """The message that the events of a stream add up to."""
    message: dict[str, Any] = {"ended": False}
    blocks: dict[int, _Block] = {}
    usage: dict[str, Any] = {}
    for event in events:
        data = mapping(event.json)
        kind, index = data.get("type"), count(data.get("index"))
        if kind == "message_start":
            started = mapping(data.get("message"))
            message |= {key: value for key, value in started.items() if key not in ("content", "usage")}
            usage |= mapping(started.get("usage"))
        elif kind == "content_block_start":
            blocks[index] = _Block(mapping(data.get("content_block")))
        elif kind == "content_block_delta":
            blocks.setdefault(index, _Block({})).add(mapping(data.get("delta")))
        elif kind == "message_delta":
            message |= {key: value for key, value in mapping(data.get("delta")).items() if value is not None}
            usage |= {key: value for key, value in mapping(data.get("usage")).items() if value is not None}
        elif kind == "message_stop":
            message["ended"] = True
        elif kind == "error":
            message["error"] = data.get("error") or {"message": "the stream ended in an error"}
    content = [blocks[index].whole() for index in sorted(blocks)]
    return {**message, "content": content, **({"usage": usage} if usage else {})}


_DELTAS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
"""Where each kind of delta has its piece."""


class _Block:
    """One block of an answer in the making."""

    def __init__(self, begun: Mapping[str, Any]) -> None:
        self.begun = begun
        self.pieces: dict[str, list[str]] = {}

    def add(self, delta: Mapping[str, Any]) -> None:
        """Add a piece."""
        kind = delta.get("type")
        if isinstance(kind, str) and kind in _DELTAS:
            self.pieces.setdefault(_DELTAS[kind], []).append(str(delta.get(_DELTAS[kind]) or ""))

    def whole(self) -> dict[str, Any]:
        """The block as it stands in an answer that was not streamed; input that is not JSON is the text that it is."""
        said = {key: "".join(pieces) for key, pieces in self.pieces.items()}
        written = said.pop("partial_json", "")
        block = {**self.begun, **{key: str(self.begun.get(key) or "") + text for key, text in said.items()}}
        if written:
            decoded = parse_json(written)
            block["input"] = written if decoded is None else decoded
        return block
