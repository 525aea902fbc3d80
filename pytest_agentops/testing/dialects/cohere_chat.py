"""Cohere's chat, version 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_agentops.testing.dialects import (
    EVENTS,
    Ids,
    Json,
    Piece,
    Said,
    Tokens,
    argument_pieces,
    event,
    is_empty,
    mappings,
    phrase,
    text_of,
    with_refusal,
)
from pytest_agentops.testing.replies import Asks, Fails, Says

if TYPE_CHECKING:
    from pytest_agentops.testing.requests import ScriptedRequest

STREAMED = EVENTS

_FINISHED = {"stop": "COMPLETE", "length": "MAX_TOKENS", "content_filter": "ERROR_TOXIC", "tool_calls": "TOOL_CALL"}


def serves(path: str) -> bool:
    """Whether a chat is to go on."""
    return path == "/v2/chat"


def streams(request: ScriptedRequest) -> bool:
    """Whether the answer is to be streamed."""
    return bool(request.body.get("stream"))


def body(request: ScriptedRequest, answer: Says | Asks, ids: Ids, created: int) -> Json:  # noqa: ARG001 - it has no date.
    """The body of a plain answer."""
    text, _ = with_refusal(answer)
    message: Json = {"role": "assistant"}
    if text or is_empty(answer):
        message["content"] = [{"type": "text", "text": text}]
    if answer.tool_requests:
        message["tool_calls"] = [
            {
                "id": ids("call_"),
                "type": "function",
                "function": {"name": tool.name, "arguments": tool.arguments_text},
            }
            for tool in answer.tool_requests
        ]
    tokens = Tokens.of(request, answer)
    counted = {"input_tokens": tokens.input, "output_tokens": tokens.output}
    return {
        "id": ids("chat_"),
        "finish_reason": "ERROR_TOXIC" if answer.refusal is not None else _FINISHED[answer.finish_reason],
        "message": message,
        "usage": {"billed_units": counted, "tokens": counted, "cached_tokens": answer.cached_tokens},
    }


def pieces(
    request: ScriptedRequest,  # noqa: ARG001 - streams of all dialects are made by functions of one shape.
    answer: Says | Asks,
    body: Json,
) -> Iterator[Piece]:
    """The same answer as a stream."""
    message = body["message"]
    yield _event("message-start", id=body["id"], delta={"message": {"role": "assistant", "content": []}})
    if "content" in message:
        yield _said("content-start", 0, {"content": {"type": "text", "text": ""}})
        for piece in with_refusal(answer)[1]:
            yield _said("content-delta", 0, {"content": {"text": piece}}, is_chunk=True)
        yield _event("content-end", index=0)
    for index, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        yield _said("tool-call-start", index, {"tool_calls": call | {"function": function | {"arguments": ""}}})
        for piece in argument_pieces(function["arguments"]):
            yield _said("tool-call-delta", index, {"tool_calls": {"function": {"arguments": piece}}}, is_chunk=True)
        yield _event("tool-call-end", index=index)
    yield _event("message-end", delta={key: body[key] for key in ("finish_reason", "usage")})


def _said(kind: str, index: int, message: Json, *, is_chunk: bool = False) -> Piece:
    return _event(kind, is_chunk=is_chunk, index=index, delta={"message": message})


def _event(kind: str, *, is_chunk: bool = False, **data: object) -> Piece:
    return event({"type": kind, **data}, name=kind, is_chunk=is_chunk)


def error(failure: Fails) -> Json:
    """The body of an error."""
    return {"message": failure.message or phrase(failure.status)}


def headers(ids: Ids, latency: float) -> dict[str, str]:  # noqa: ARG001 - Cohere does not say how long it took.
    """The identifying headers."""
    return {"x-debug-trace-id": ids("req_")}


def said(body: Mapping[str, Any]) -> Iterator[Said]:
    """The messages."""
    for message in mappings(body.get("messages")):
        yield Said.by(message.get("role"), text_of(message.get("content")))
