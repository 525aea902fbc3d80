"""Gemini: `generateContent` and `streamGenerateContent`, of AI Studio and of Vertex AI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pytest_agentops.testing.dialects import (
    Ids,
    Json,
    Piece,
    Said,
    Tokens,
    event,
    is_empty,
    json_text,
    mappings,
    phrase,
    text_of,
    with_refusal,
)
from pytest_agentops.testing.replies import Asks, Fails, Says

if TYPE_CHECKING:
    from pytest_agentops.testing.requests import ScriptedRequest

STREAMED = "text/event-stream"

_PATH = re.compile(r"/v1\w*/(?:.*/)?models/([^/:]+):(?:g|streamG)enerateContent")

_FINISHED = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY", "tool_calls": "STOP"}

_ERRORS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def serves(path: str) -> bool:
    """Whether content is to be generated."""
    return _PATH.fullmatch(path) is not None


def streams(request: ScriptedRequest) -> bool:
    """Whether the answer is to be streamed; always as events, which `alt=sse` asks for as Google's clients do."""
    return ":streamGenerateContent" in request.path


def body(request: ScriptedRequest, answer: Says | Asks, ids: Ids, created: int) -> Json:  # noqa: ARG001 - it has no date.
    """The body of a plain answer."""
    named = _PATH.search(request.path)
    text, _ = with_refusal(answer)
    parts: list[Json] = [{"text": text}] if text or is_empty(answer) else []
    # Arguments are values here and calls carry no ids: a client tells them by their names and their order.
    parts += [{"functionCall": {"name": tool.name, "args": tool.arguments_value}} for tool in answer.tool_requests]
    finished = "SAFETY" if answer.refusal is not None else _FINISHED[answer.finish_reason]
    return {
        "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": finished, "index": 0}],
        "usageMetadata": _usage(request, answer),
        "modelVersion": named[1] if named else None,
        "responseId": ids("response_"),
    }


def _usage(request: ScriptedRequest, answer: Says | Asks) -> Json:
    """Thoughts are counted beside what was said here; what is 0 is left out, as Google does."""
    tokens = Tokens.of(request, answer)
    usage = {
        "promptTokenCount": tokens.input,
        "candidatesTokenCount": tokens.output - answer.reasoning_tokens,
        "totalTokenCount": tokens.input + tokens.output,
        "cachedContentTokenCount": answer.cached_tokens,
        "thoughtsTokenCount": answer.reasoning_tokens,
    }
    return {key: value for key, value in usage.items() if value}


def pieces(
    request: ScriptedRequest,  # noqa: ARG001 - streams of all dialects are made by functions of one shape.
    answer: Says | Asks,
    body: Json,
) -> Iterator[Piece]:
    """The same answer as a stream, each of whose events is an answer with one part more; the last one ends it."""
    shared = {key: body[key] for key in ("modelVersion", "responseId")}
    [candidate] = body["candidates"]
    parts = [{"text": piece} for piece in with_refusal(answer)[1]]
    parts += [part for part in candidate["content"]["parts"] if "functionCall" in part]
    for part in parts:
        content = {"content": {"parts": [part], "role": "model"}, "index": 0}
        yield event({"candidates": [content], **shared}, is_chunk=True)
    ended = candidate | {"content": {"parts": [{"text": ""}], "role": "model"}}
    yield event({"candidates": [ended], "usageMetadata": body["usageMetadata"], **shared})


def error(failure: Fails) -> Json:
    """The body of an error."""
    known = "INTERNAL" if failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "INVALID_ARGUMENT"
    return {
        "error": {
            "code": failure.status,
            "message": failure.message or phrase(failure.status),
            "status": failure.type or _ERRORS.get(failure.status, known),
        }
    }


def headers(ids: Ids, latency: float) -> dict[str, str]:  # noqa: ARG001 - Google's answers have no ids in their headers.
    """The identifying headers."""
    return {"server": "scaffolding on HTTPServer2", "server-timing": f"gfet4t7; dur={round(latency * 1000)}"}


def said(body: Mapping[str, Any]) -> Iterator[Said]:
    """The instruction and the contents; results of functions stand in a user's content."""
    for content in mappings([body.get("systemInstruction")]):
        yield Said("other", text_of(content.get("parts")))
    contents = body.get("contents")
    for content in mappings([contents] if isinstance(contents, dict) else contents):
        parts = mappings(content.get("parts"))
        results = [part["functionResponse"] for part in parts if isinstance(part.get("functionResponse"), dict)]
        for result in results:
            yield Said("tool", _result(result.get("response")))
        text = text_of(parts)
        if text or not results:
            yield Said("other" if content.get("role") == "model" else "user", text)


def _result(response: object) -> str:
    """What a function gave; Google's clients put what is no mapping under the key `result` or `output`."""
    if isinstance(response, dict) and len(response) == 1 and next(iter(response)) in ("result", "output"):
        [response] = response.values()
    return json_text(response)
