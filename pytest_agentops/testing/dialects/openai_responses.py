"""OpenAI responses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_agentops.testing.dialects import (
    EVENTS,
    Ids,
    Json,
    Piece,
    Tokens,
    argument_pieces,
    event,
    is_empty,
    text_pieces,
    words,
)
from pytest_agentops.testing.dialects.openai import error, headers, said
from pytest_agentops.testing.replies import Asks, Says

if TYPE_CHECKING:
    from pytest_agentops.testing.requests import ScriptedRequest

__all__ = ["STREAMED", "body", "error", "headers", "pieces", "said", "serves", "streams"]

STREAMED = EVENTS


def serves(path: str) -> bool:
    """Whether a response is asked for."""
    return path == "/v1/responses"


def streams(request: ScriptedRequest) -> bool:
    """Whether the answer is to be streamed."""
    return bool(request.body.get("stream"))


_RESPONSE_ECHOES: Json = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats from its request, and what it says when the request did not."""


def _echo(value: object, default: object) -> object:
    if isinstance(default, dict) and isinstance(value, dict):
        return default | value
    return default if value is None else value


_INCOMPLETE_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


def body(request: ScriptedRequest, answer: Says | Asks, ids: Ids, created: int) -> Json:
    """The body of a plain response."""
    usage = Tokens.of(request, answer)
    reason = _INCOMPLETE_REASONS.get(answer.finish_reason)
    status = "incomplete" if reason else "completed"
    response: Json = {
        "id": ids("resp_"),
        "object": "response",
        "created_at": created,
        "completed_at": None if reason else created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": request.body.get("model"),
    }
    response |= {key: _echo(request.body.get(key), default) for key, default in _RESPONSE_ECHOES.items()}
    response["output"] = list(_output_items(answer, ids, status))
    response["service_tier"] = "default"
    response["usage"] = {
        "input_tokens": usage.input,
        "input_tokens_details": {
            "cached_tokens": answer.cached_tokens,
            "cache_write_tokens": answer.cache_write_tokens,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": usage.input + usage.output,
    }
    return response


def _output_items(answer: Says | Asks, ids: Ids, status: str) -> Iterator[Json]:
    parts: list[Json] = []
    if answer.text or is_empty(answer):
        parts.append({"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text})
    if answer.refusal is not None:
        parts.append({"type": "refusal", "refusal": answer.refusal})
    if parts:
        yield {"id": ids("msg_"), "type": "message", "status": status, "content": parts, "role": "assistant"}
    for tool in answer.tool_requests:
        yield {
            "id": ids("fc_"),
            "type": "function_call",
            "status": status,
            "arguments": tool.arguments_text,
            "call_id": ids("call_"),
            "name": tool.name,
        }


def pieces(
    request: ScriptedRequest,  # noqa: ARG001 - streams of all dialects are made by functions of one shape.
    answer: Says | Asks,
    body: Json,
) -> Iterator[Piece]:
    """The same response as a stream."""
    begun: Json = {
        **body,
        "status": "in_progress",
        "completed_at": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }
    for sequence_number, data in enumerate(_events(answer, begun, body)):
        name = data["type"]
        yield event(data | {"sequence_number": sequence_number}, name=name, is_chunk=name.endswith(".delta"))


def _events(answer: Says | Asks, begun: Json, response: Json) -> Iterator[Json]:
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        emptied: Json = {"content": []} if item["type"] == "message" else {"arguments": ""}
        yield {
            "type": "response.output_item.added",
            "output_index": index,
            "item": item | emptied | {"status": "in_progress"},
        }
        for data in _message_events(answer, item) if item["type"] == "message" else _function_call_events(item):
            yield data | {"item_id": item["id"], "output_index": index}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{response['status']}", "response": response}


def _message_events(answer: Says | Asks, item: Json) -> Iterator[Json]:
    for index, part in enumerate(item["content"]):
        for data in _text_events(answer, part) if part["type"] == "output_text" else _refusal_events(part):
            yield data | {"content_index": index}


def _text_events(answer: Says | Asks, part: Json) -> Iterator[Json]:
    yield {"type": "response.content_part.added", "part": part | {"text": ""}}
    for piece in text_pieces(answer):
        yield {"type": "response.output_text.delta", "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", "part": part}


def _refusal_events(part: Json) -> Iterator[Json]:
    yield {"type": "response.content_part.added", "part": part | {"refusal": ""}}
    for piece in words(part["refusal"]):
        yield {"type": "response.refusal.delta", "delta": piece}
    yield {"type": "response.refusal.done", "refusal": part["refusal"]}
    yield {"type": "response.content_part.done", "part": part}


def _function_call_events(item: Json) -> Iterator[Json]:
    for piece in argument_pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", "delta": piece}
    yield {"type": "response.function_call_arguments.done", "arguments": item["arguments"]}
