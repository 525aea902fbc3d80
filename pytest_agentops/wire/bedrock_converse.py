"""Amazon Bedrock: `POST .../model/MODEL/converse` and `converse-stream`, whose events come in frames of their own.

Source of the format: AWS's API reference, "Converse", "ConverseStream" and "Amazon event stream encoding".
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from pytest_agentops.exchange import Exchange, Request, parse_json
from pytest_agentops.trace import CallError, Message, ModelCall, ResponseText, ToolCall, Usage
from pytest_agentops.wire import answer_of, count, error_of, items, mapping, optional_text, reported, tool_call

_PATH = re.compile(r"/model/([^/]+)/converse(?:-stream)?$")
_FINISHED = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
"""Why an answer ended, in the words of chat completions."""


def reads(request: Request) -> bool:
    """Whether this is a conversation."""
    return request.method == "POST" and _PATH.search(request.location.path) is not None


def decode(exchange: Exchange) -> ModelCall:
    """The model call of a conversation."""
    return conversation(exchange, *_answer(exchange))


def conversation(exchange: Exchange, answer: Mapping[str, Any], error: CallError | None) -> ModelCall:
    """The model call of a conversation that came to this answer, or to this error."""
    asked = mapping(exchange.request.json)
    named = _PATH.search(exchange.request.location.path)
    message = mapping(mapping(answer.get("output")).get("message"))
    blocks = [mapping(block) for block in items(message.get("content"))]
    reason = optional_text(answer.get("stopReason"))
    return ModelCall(
        id=f"call-{exchange.number}",
        provider="aws.bedrock",
        model=unquote(named[1]) if named else "",
        messages=tuple(_messages(asked)),
        tools=tuple(tool for tool in items(mapping(asked.get("toolConfig")).get("tools")) if isinstance(tool, Mapping)),
        response=ResponseText("".join(_texts(blocks))),
        tool_calls=tuple(_tool_calls(blocks)),
        usage=_usage(answer.get("usage")),
        reported_usage=reported(answer.get("usage")),
        finish_reason=_FINISHED.get(reason, reason) if reason else None,
        error=error,
    )


def _answer(exchange: Exchange) -> tuple[Mapping[str, Any], CallError | None]:
    response = exchange.response
    if response is None or response.status >= 400 or not exchange.request.location.path.endswith("-stream"):
        return answer_of(exchange, lambda _events: {})
    if isinstance(response.json, Mapping):
        return response.json, None
    events = list(frames(response.body))
    if not events:
        return {}, error_of(exchange)
    answer = joined(events)
    return answer, answer.pop("failed", None)


def frames(data: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The events of a stream: name and payload. A frame that was cut ends it."""
    place = 0
    while place + 16 <= len(data):
        total, headers_length = struct.unpack_from(">II", data, place)
        if not 16 <= total <= len(data) - place or headers_length > total - 16:
            return
        headers = dict(_headers(data[place + 12 : place + 12 + headers_length]))
        payload = data[place + 12 + headers_length : place + total - 4]
        kind = headers.get(":exception-type") or headers.get(":event-type") or headers.get(":message-type", "")
        yield str(kind), mapping(parse_json(payload.decode("utf-8", "replace")))
        place += total


_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""How long the value of a header is, by its type; texts (7) and bytes (6) say it themselves."""


def _headers(data: bytes) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(data):
        length = data[place]
        name = data[place + 1 : place + 1 + length].decode("utf-8", "replace")
        place += 1 + length
        if place >= len(data):
            return
        kind = data[place]
        place += 1
        if kind in (6, 7):
            if place + 2 > len(data):
                return
            (size,) = struct.unpack_from(">H", data, place)
            place += 2
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            return
        yield name, data[place : place + size].decode("utf-8", "replace")
        place += size


def joined(events: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The answer that the events of a stream add up to."""
    blocks: dict[int, dict[str, Any]] = {}
    answer: dict[str, Any] = {}
    for kind, data in events:
        block = blocks.setdefault(count(data.get("contentBlockIndex")), {}) if "contentBlockIndex" in data else {}
        if kind == "contentBlockStart":
            block |= {key: mapping(value) for key, value in mapping(data.get("start")).items()}
        elif kind == "contentBlockDelta":
            _add(block, mapping(data.get("delta")))
        elif kind == "messageStop":
            answer["stopReason"] = data.get("stopReason")
        elif kind == "metadata":
            answer["usage"] = data.get("usage")
        elif kind.endswith("Exception"):
            answer["failed"] = CallError(str(data.get("message") or "the stream ended in an error"), code=kind)
    content = [_whole(blocks[index]) for index in sorted(blocks)]
    return {**answer, "output": {"message": {"content": content}}}


def _add(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
    if isinstance(delta.get("text"), str):
        block.setdefault("said", []).append(delta["text"])
    elif part := mapping(delta.get("toolUse")):
        block.setdefault("partial", []).append(str(part.get("input") or ""))
    elif isinstance(delta.get("toolResult"), list):
        block.setdefault("results", []).extend(delta["toolResult"])


def _whole(block: dict[str, Any]) -> dict[str, Any]:
    """The block with what came of it in pieces; the input of a tool that is not JSON stays the text that it is."""
    if said := block.pop("said", None):
        block["text"] = "".join(said)
    if written := "".join(block.pop("partial", ())):
        decoded = parse_json(written)
        block["toolUse"] = {**mapping(block.get("toolUse")), "input": written if decoded is None else decoded}
    if results := block.pop("results", None):
        block["toolResult"] = {**mapping(block.get("toolResult")), "content": results}
    return block


def _texts(blocks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (str(block["text"]) for block in blocks if isinstance(block.get("text"), str))


def _messages(asked: Mapping[str, Any]) -> Iterator[Message]:
    """The conversation; each result of a tool, which stands in a user's message, as a message of its own."""
    if system := "".join(_texts(map(mapping, items(asked.get("system"))))):
        yield Message("system", system)
    for sent in map(mapping, items(asked.get("messages"))):
        blocks = [mapping(block) for block in items(sent.get("content"))]
        results = [mapping(block.get("toolResult")) for block in blocks if block.get("toolResult")]
        for result in results:
            yield Message(
                "tool",
                _result(result.get("content")),
                tool_call_id=optional_text(result.get("toolUseId")),
                failed=result.get("status") == "error",
            )
        calls = tuple(_tool_calls(blocks)) if sent.get("role") == "assistant" else ()
        rest = [block for block in blocks if not block.get("toolResult") and not block.get("toolUse")]
        if rest or calls or not results:
            yield Message(str(sent.get("role") or ""), _content(rest), calls)


def _content(blocks: list[Mapping[str, Any]]) -> Any:
    told = [block for block in blocks if not block.get("reasoningContent") and not block.get("cachePoint")]
    if all(set(block) == {"text"} for block in told):
        return "".join(_texts(told))
    return [dict(block) for block in blocks]


def _result(content: object) -> Any:
    """What a tool gave: its text, or JSON as text, which is how other providers carry it."""
    parts = [mapping(part) for part in items(content)]
    if all(set(part) <= {"text"} for part in parts):
        return "".join(_texts(parts))
    if len(parts) == 1 and "json" in parts[0]:
        return json.dumps(parts[0]["json"], ensure_ascii=False)
    return [dict(part) for part in parts]


def _tool_calls(blocks: Iterable[Mapping[str, Any]]) -> Iterator[ToolCall]:
    """The calls of an answer; those that Bedrock ran itself with what came of them."""
    blocks = list(blocks)
    found = (mapping(block.get("toolResult")) for block in blocks)
    results = {optional_text(result.get("toolUseId")): result for result in found if result}
    for block in blocks:
        if not (use := mapping(block.get("toolUse"))):
            continue
        call = tool_call(use.get("name"), use.get("input"), use.get("toolUseId"))
        if use.get("type") != "server_tool_use":
            yield call
            continue
        result = results.get(optional_text(use.get("toolUseId")))
        failed = result is not None and result.get("status") == "error"
        yield replace(
            call,
            by_provider=True,
            result=_result(result.get("content")) if result is not None else None,
            status="error" if failed else "ok" if result is not None else "unanswered",
        )


def _usage(figures: object) -> Usage | None:
    """Bedrock counts what it read from its cache, and wrote to it, beside the input; here it is a part of it."""
    if not isinstance(figures, Mapping):
        return None
    # `invoke` has another name for what `converse` calls `cacheReadInputTokens`.
    read, written = (
        count(figures.get(f"cache{what}InputTokens") or figures.get(f"cache{what}InputTokenCount"))
        for what in ("Read", "Write")
    )
    return Usage(
        input_tokens=count(figures.get("inputTokens")) + read + written,
        output_tokens=count(figures.get("outputTokens")),
        cached_input_tokens=read,
        cache_write_tokens=written,
    )
