"""Anthropic messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
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

_STOPPED = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use"}

_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def serves(path: str) -> bool:
    """Whether a message is asked for."""
    return path == "/v1/messages"


def streams(request: ScriptedRequest) -> bool:
    """Whether the answer is to be streamed."""
    return bool(request.body.get("stream"))


def body(request: ScriptedRequest, answer: Says | Asks, ids: Ids, created: int) -> Json:  # noqa: ARG001 - it has no date.
    """The body of a plain message."""
    return {
        "id": ids("msg_"),
        "type": "message",
        "role": "assistant",
        "model": request.body.get("model"),
        "content": list(_blocks(answer, ids)),
        "stop_reason": "refusal" if answer.refusal is not None else _STOPPED[answer.finish_reason],
        "stop_sequence": None,
        "usage": _usage(request, answer),
    }


def _blocks(answer: Says | Asks, ids: Ids) -> Iterator[Json]:
    text, _ = with_refusal(answer)
    if text or is_empty(answer):
        yield {"type": "text", "text": text}
    for tool in answer.tool_requests:
        yield {"type": "tool_use", "id": ids("toolu_"), "name": tool.name, "input": tool.arguments_value}


def _usage(request: ScriptedRequest, answer: Says | Asks) -> Json:
    """What concerns the cache is counted beside the input here, and not as a part of it."""
    tokens = Tokens.of(request, answer)
    return {
        "input_tokens": tokens.input - answer.cached_tokens - answer.cache_write_tokens,
        "cache_creation_input_tokens": answer.cache_write_tokens,
        "cache_read_input_tokens": answer.cached_tokens,
        "output_tokens": tokens.output,
        "output_tokens_details": {"thinking_tokens": answer.reasoning_tokens},
        "service_tier": "standard",
    }


def pieces(
    request: ScriptedRequest,  # noqa: ARG001 - streams of all dialects are made by functions of one shape.
    answer: Says | Asks,
    body: Json,
) -> Iterator[Piece]:
    """The same message as a stream."""
    usage = body["usage"]
    begun = {key: value for key, value in usage.items() if key != "output_tokens_details"} | {"output_tokens": 1}
    yield _event("message_start", message=body | {"content": [], "stop_reason": None, "usage": begun})
    yield _event("ping")
    tools = iter(answer.tool_requests)
    for index, block in enumerate(body["content"]):
        if block["type"] == "text":
            emptied: Json = {"text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in with_refusal(answer)[1]]
        else:
            emptied = {"input": {}}
            cut = argument_pieces(next(tools).arguments_text)
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in cut]
        yield _event("content_block_start", index=index, content_block=block | emptied)
        for delta in deltas:
            yield _event("content_block_delta", is_chunk=True, index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    ended = {key: body[key] for key in ("stop_reason", "stop_sequence")}
    yield _event(
        "message_delta",
        delta=ended,
        usage={key: value for key, value in usage.items() if key != "service_tier"},
    )
    yield _event("message_stop")


def _event(kind: str, *, is_chunk: bool = False, **data: object) -> Piece:
    return event({"type": kind, **data}, name=kind, is_chunk=is_chunk)


def error(failure: Fails) -> Json:
    """The body of an error."""
    known = "api_error" if failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    kind = failure.type or _ERRORS.get(failure.status, known)
    return {"type": "error", "error": {"type": kind, "message": failure.message or phrase(failure.status)}}


def headers(ids: Ids, latency: float) -> dict[str, str]:  # noqa: ARG001 - Anthropic does not say how long it took.
    """The identifying headers."""
    return {
        "request-id": ids("req_"),
        "anthropic-organization-id": "org-scripted",
        "set-cookie": "_cfuvid=scripted",
    }


def said(body: Mapping[str, Any]) -> Iterator[Said]:
    """The system's text and the messages; results of tools stand in a user's message."""
    yield Said("other", text_of(body.get("system")))
    for message in mappings(body.get("messages")):
        content = message.get("content")
        results = [part for part in mappings(content) if part.get("type") == "tool_result"]
        for result in results:
            yield Said("tool", text_of(result.get("content")))
        text = text_of(content)
        if text or not results:
            yield Said.by(message.get("role"), text)
