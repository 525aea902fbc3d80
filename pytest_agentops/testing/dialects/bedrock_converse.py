"""Amazon Bedrock: `converse` and `converse-stream`, whose events come in Amazon's binary frames."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pytest_agentops.testing.dialects import (
    Ids,
    Json,
    Piece,
    Said,
    Tokens,
    argument_pieces,
    is_empty,
    json_text,
    mappings,
    phrase,
    text_of,
    with_refusal,
)
from pytest_agentops.testing.replies import Asks, Fails, Says, compact

if TYPE_CHECKING:
    from pytest_agentops.testing.requests import ScriptedRequest

STREAMED = "application/vnd.amazon.eventstream"

_PATH = re.compile(r"/model/[^/]+/converse(?:-stream)?")

_STOPPED = {"stop": "end_turn", "length": "max_tokens", "content_filter": "content_filtered", "tool_calls": "tool_use"}

_ERRORS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}


def serves(path: str) -> bool:
    """Whether a conversation is to go on."""
    return _PATH.fullmatch(path) is not None


def streams(request: ScriptedRequest) -> bool:
    """Whether the answer is to be streamed."""
    return request.path.endswith("/converse-stream")


def body(request: ScriptedRequest, answer: Says | Asks, ids: Ids, created: int) -> Json:  # noqa: ARG001 - it has no date.
    """The body of a plain answer."""
    text, _ = with_refusal(answer)
    blocks: list[Json] = [{"text": text}] if text or is_empty(answer) else []
    blocks += [
        {"toolUse": {"toolUseId": ids("tooluse_"), "name": tool.name, "input": tool.arguments_value}}
        for tool in answer.tool_requests
    ]
    tokens = Tokens.of(request, answer)
    return {
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": "content_filtered" if answer.refusal is not None else _STOPPED[answer.finish_reason],
        "usage": {
            # What concerns the cache is counted beside the input here, and not as a part of it.
            "inputTokens": tokens.input - answer.cached_tokens - answer.cache_write_tokens,
            "outputTokens": tokens.output,
            "totalTokens": tokens.input + tokens.output,
            "cacheReadInputTokens": answer.cached_tokens,
            "cacheWriteInputTokens": answer.cache_write_tokens,
        },
        "metrics": {"latencyMs": round(answer.latency * 1000)},
    }


def pieces(
    request: ScriptedRequest,  # noqa: ARG001 - streams of all dialects are made by functions of one shape.
    answer: Says | Asks,
    body: Json,
) -> Iterator[Piece]:
    """The same answer as a stream."""
    yield _frame("messageStart", {"role": "assistant"})
    tools = iter(answer.tool_requests)
    for index, block in enumerate(body["output"]["message"]["content"]):
        at = {"contentBlockIndex": index}
        if "text" in block:
            deltas: list[Json] = [{"text": piece} for piece in with_refusal(answer)[1]]
        else:
            started = {key: value for key, value in block["toolUse"].items() if key != "input"}
            yield _frame("contentBlockStart", {**at, "start": {"toolUse": started}})
            deltas = [{"toolUse": {"input": piece}} for piece in argument_pieces(next(tools).arguments_text)]
        for delta in deltas:
            yield _frame("contentBlockDelta", {**at, "delta": delta}, is_chunk=True)
        yield _frame("contentBlockStop", at)
    yield _frame("messageStop", {"stopReason": body["stopReason"]})
    yield _frame("metadata", {key: body[key] for key in ("usage", "metrics")})


def _frame(kind: str, data: Json, *, is_chunk: bool = False) -> Piece:
    """One event: lengths and their checksum, headers, payload, the checksum of all."""
    named = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    # A header is the length of its name, its name, the type 7 (a text), the length of its value and its value.
    headers = b"".join(
        struct.pack(f">B{len(name)}sBH{len(value)}s", len(name), name.encode(), 7, len(value), value.encode())
        for name, value in named.items()
    )
    payload = compact(data).encode()
    lengths = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    frame = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + payload
    return Piece(frame + struct.pack(">I", zlib.crc32(frame)), is_chunk)


def error(failure: Fails) -> Json:
    """The body of an error."""
    known = "InternalServerException" if failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "ValidationException"
    kind = failure.type or _ERRORS.get(failure.status, known)
    return {"__type": kind, "message": failure.message or phrase(failure.status)}


def headers(ids: Ids, latency: float) -> dict[str, str]:  # noqa: ARG001 - the time stands in the body.
    """The identifying headers."""
    return {"x-amzn-requestid": ids("req_")}


def said(body: Mapping[str, Any]) -> Iterator[Said]:
    """The system's text and the messages; results of tools stand in a user's message."""
    yield Said("other", text_of(body.get("system")))
    for message in mappings(body.get("messages")):
        blocks = mappings(message.get("content"))
        results = [block["toolResult"] for block in blocks if isinstance(block.get("toolResult"), dict)]
        for result in results:
            parts = mappings(result.get("content"))
            yield Said("tool", "\n".join(json_text(part.get("text", part.get("json"))) for part in parts))
        text = text_of(blocks)
        if text or not results:
            yield Said.by(message.get("role"), text)
