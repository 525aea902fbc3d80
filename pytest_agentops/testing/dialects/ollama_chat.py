"""Ollama's own chat: streamed unless it is asked not to, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pytest_agentops.testing.dialects import (
    Ids,
    Json,
    Piece,
    Said,
    Tokens,
    mappings,
    phrase,
    text_of,
    with_refusal,
)
from pytest_agentops.testing.replies import Asks, Fails, Says, compact

if TYPE_CHECKING:
    from pytest_agentops.testing.requests import ScriptedRequest

STREAMED = "application/x-ndjson"


def serves(path: str) -> bool:
    """Whether a chat is to go on."""
    return path == "/api/chat"


def streams(request: ScriptedRequest) -> bool:
    """Whether the answer is to be streamed."""
    return request.body.get("stream") is not False


def body(request: ScriptedRequest, answer: Says | Asks, ids: Ids, created: int) -> Json:  # noqa: ARG001 - it has no id.
    """The body of a plain answer."""
    tokens = Tokens.of(request, answer)
    message: Json = {"role": "assistant", "content": with_refusal(answer)[0]}
    if answer.tool_requests:
        message["tool_calls"] = [
            {"function": {"name": tool.name, "arguments": tool.arguments_value}} for tool in answer.tool_requests
        ]
    return {
        "model": request.body.get("model"),
        "created_at": datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z"),
        "message": message,
        "done": True,
        "done_reason": "length" if answer.finish_reason == "length" else "stop",
        "total_duration": round(answer.latency * 10**9),
        "load_duration": 0,
        "prompt_eval_count": tokens.input,
        "prompt_eval_duration": 0,
        "eval_count": tokens.output,
        "eval_duration": 0,
    }


def pieces(
    request: ScriptedRequest,  # noqa: ARG001 - streams of all dialects are made by functions of one shape.
    answer: Says | Asks,
    body: Json,
) -> Iterator[Piece]:
    """The same answer as a stream; the last line ends it and counts."""
    shared = {key: body[key] for key in ("model", "created_at")}
    messages: list[Json] = [{"content": piece} for piece in with_refusal(answer)[1]]
    messages += [{"content": "", "tool_calls": [call]} for call in body["message"].get("tool_calls", ())]
    for message in messages:
        yield _line({**shared, "message": {"role": "assistant", **message}, "done": False}, is_chunk=True)
    yield _line({**body, "message": {"role": "assistant", "content": ""}})


def _line(data: Json, *, is_chunk: bool = False) -> Piece:
    return Piece(compact(data).encode() + b"\n", is_chunk)


def error(failure: Fails) -> Json:
    """The body of an error."""
    return {"error": failure.message or phrase(failure.status)}


def headers(ids: Ids, latency: float) -> dict[str, str]:  # noqa: ARG001 - Ollama says nothing of itself.
    """None."""
    return {}


def said(body: Mapping[str, Any]) -> Iterator[Said]:
    """The messages."""
    for message in mappings(body.get("messages")):
        yield Said.by(message.get("role"), text_of(message.get("content")))
