"""OpenAI chat completions."""

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
    """Whether a chat completion is asked for."""
    return path == "/v1/chat/completions"


def streams(request: ScriptedRequest) -> bool:
    """Whether the answer is to be streamed."""
    return bool(request.body.get("stream"))


def body(request: ScriptedRequest, answer: Says | Asks, ids: Ids, created: int) -> Json:
    """The body of a plain chat completion."""
    usage = Tokens.of(request, answer)
    message: Json = {
        "role": "assistant",
        "content": answer.text or ("" if is_empty(answer) else None),
        "refusal": answer.refusal,
        "annotations": [],
    }
    completion: Json = {
        "id": ids("chatcmpl-"),
        "object": "chat.completion",
        "created": created,
        "model": request.body.get("model"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}],
        "usage": {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
            "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": answer.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }
    if answer.tool_requests:
        message["tool_calls"] = [
            {
                "id": ids("call_"),
                "type": "function",
                "function": {"name": tool.name, "arguments": tool.arguments_text},
            }
            for tool in answer.tool_requests
        ]
    return completion


def pieces(request: ScriptedRequest, answer: Says | Asks, body: Json) -> Iterator[Piece]:
    """The same completion as a stream."""
    with_usage = bool((request.body.get("stream_options") or {}).get("include_usage"))
    shared = {key: body[key] for key in ("id", "created", "model", "service_tier", "system_fingerprint")}
    # A stream that ends with its usage says null in every chunk before; one that does not leaves the key out.
    no_usage_yet: Json = {"usage": None} if with_usage else {}

    def chunk(choices: list[Json], usage: Json) -> Json:
        return {**shared, "object": "chat.completion.chunk", "choices": choices, **usage}

    for delta, is_chunk in _deltas(answer, body["choices"][0]["message"]):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        yield event(chunk([choice], no_usage_yet), is_chunk=is_chunk)
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": answer.finish_reason}
    yield event(chunk([choice], no_usage_yet))
    if with_usage:
        yield event(chunk([], {"usage": body["usage"]}))
    yield event("[DONE]")


def _deltas(answer: Says | Asks, message: Json) -> Iterator[tuple[Json, bool]]:
    """Each delta, and whether it carries a piece of the answer."""
    calls = [
        {"index": index, **call, "function": {**call["function"], "arguments": ""}}
        for index, call in enumerate(message.get("tool_calls", []))
    ]
    opening: Json = {"role": "assistant", "content": None if message["content"] is None else "", "refusal": None}
    if answer.refusal is not None:
        opening["refusal"] = ""
    # The provider puts the head of a lone tool call into the first delta, and gives parallel ones a delta each.
    is_lone_call = len(calls) == 1 and not answer.text
    yield (opening | {"tool_calls": calls} if is_lone_call else opening), False
    for piece in text_pieces(answer):
        yield {"content": piece}, True
    for piece in words(answer.refusal or ""):
        yield {"refusal": piece}, True
    for call, tool in zip(calls, answer.tool_requests, strict=True):
        if not is_lone_call:
            yield {"tool_calls": [call]}, False
        for piece in argument_pieces(tool.arguments_text):
            yield {"tool_calls": [{"index": call["index"], "function": {"arguments": piece}}]}, True
