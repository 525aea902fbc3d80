"""Amazon Bedrock: `POST .../model/MODEL/invoke` and `invoke-with-response-stream`, with bodies of each model's maker.

The request tells whose format it is, and that format's own decoder reads it; a streamed answer is first written as that
maker streams it. Models that complete a text, and know no messages, are read here.

Source of the format: AWS's API reference, "InvokeModel" and "InvokeModelWithResponseStream", and its "Inference request
parameters" for Amazon, Anthropic, Cohere, DeepSeek, Meta and Mistral models.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from pytest_agentops.exchange import Exchange, Request, header, parse_json
from pytest_agentops.trace import CallError, Message, ModelCall, ResponseText, Usage
from pytest_agentops.wire import (
    anthropic_messages,
    bedrock_converse,
    count,
    embeddings,
    error_of,
    items,
    mapping,
    openai_chat,
    optional_text,
    reported,
    reranking,
)

_PATH = re.compile(r"/model/([^/]+)/invoke(?:-with-response-stream)?$")
_FINISHED = {
    "stop": "stop", "FINISH": "stop", "FINISHED": "stop", "COMPLETE": "stop", "STOP_CRITERIA_MET": "stop",
    "length": "length", "LENGTH": "length", "MAX_TOKENS": "length",
    "CONTENT_FILTERED": "content_filter", "ERROR_TOXIC": "content_filter",
}  # fmt: skip
"""Why a text ended, in the words of chat completions."""
_METRICS = "amazon-bedrock-invocationMetrics"


def reads(request: Request) -> bool:
    """Whether this invokes a model."""
    return request.method == "POST" and _PATH.search(request.location.path) is not None


def decode(exchange: Exchange) -> ModelCall:
    """The model call of an invocation."""
    asked = mapping(exchange.request.json)
    named = _PATH.search(exchange.request.location.path)
    model = unquote(named[1]) if named else ""
    chunks, failed = _chunks(exchange)
    if asked.keys() >= {"query", "documents"}:
        call = reranking.decode(exchange)
    elif "texts" in asked or "input_type" in asked or "embed" in model:
        call = embeddings.decode(exchange)
    elif "anthropic_version" in asked:
        call = anthropic_messages.decode(_streamed(exchange, chunks))
    elif "messages" in asked and ("schemaVersion" in asked or "inferenceConfig" in asked or "amazon." in model):
        call = _conversation(exchange, chunks)
    elif "messages" in asked:
        call = openai_chat.decode(_completed(exchange, chunks))
    else:
        call = _completion(exchange, asked, chunks)
    figures = _figures(exchange, chunks or ())
    return replace(
        call,
        id=call.id or f"call-{exchange.number}",
        provider="aws.bedrock",
        model=model,
        usage=call.usage or _counted(figures),
        reported_usage=call.reported_usage or reported(figures),
        error=failed or call.error,
    )


def _chunks(exchange: Exchange) -> tuple[list[Mapping[str, Any]] | None, CallError | None]:
    """What the frames of a stream carry, and the error that they end in; None where the answer is no stream."""
    response = exchange.response
    streamed = exchange.request.location.path.endswith("-stream")
    if response is None or response.status >= 400 or not streamed or isinstance(response.json, Mapping):
        return None, None
    chunks: list[Mapping[str, Any]] = []
    for kind, payload in bedrock_converse.frames(response.body):
        if kind.endswith("Exception"):
            return chunks, CallError(str(payload.get("message") or "the stream ended in an error"), code=kind)
        chunks.append(mapping(_unpacked(payload.get("bytes"))))
    return chunks, None if chunks else error_of(exchange)


def _unpacked(carried: object) -> Any:
    try:
        return parse_json(base64.b64decode(str(carried)))
    except ValueError:
        return None


def _streamed(exchange: Exchange, chunks: Iterable[Mapping[str, Any]] | None) -> Exchange:
    """The exchange as it would be with the model's maker, who streams server-sent events."""
    if chunks is None or exchange.response is None:
        return exchange
    events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    headers = (("content-type", "text/event-stream"),)
    return replace(exchange, response=replace(exchange.response, headers=headers, body=events.encode()))


def _completed(exchange: Exchange, chunks: list[Mapping[str, Any]] | None) -> Exchange:
    """The exchange as chat completions have it."""
    if chunks is not None:
        return _streamed(exchange, map(_choices, chunks))
    if exchange.response is None or not isinstance(exchange.response.json, Mapping):
        return exchange
    body = json.dumps(_choices(exchange.response.json)).encode()
    return replace(exchange, response=replace(exchange.response, body=body))


def _choices(chunk: Mapping[str, Any]) -> Mapping[str, Any]:
    """A completion or a chunk; Mistral's have whole messages for pieces, and another name for the reason."""
    if "choices" not in chunk:
        return chunk
    choices = [mapping(each) for each in items(chunk.get("choices"))]
    return {
        **chunk,
        "choices": [{"delta": c.get("message"), "finish_reason": c.get("stop_reason"), **c} for c in choices],
    }


def _conversation(exchange: Exchange, chunks: list[Mapping[str, Any]] | None) -> ModelCall:
    """Amazon's own models take and give what `converse` does."""
    if chunks is None:
        error = error_of(exchange)
        answer = mapping(exchange.response.json) if exchange.response is not None and error is None else {}
        return bedrock_converse.conversation(exchange, answer, error)
    events = ((kind, mapping(data)) for chunk in chunks for kind, data in chunk.items())
    return bedrock_converse.conversation(exchange, bedrock_converse.joined(events), None)


def _completion(exchange: Exchange, asked: Mapping[str, Any], chunks: list[Mapping[str, Any]] | None) -> ModelCall:
    """A text that goes on from a prompt."""
    error = error_of(exchange) if chunks is None else None
    if chunks is None:
        chunks = [mapping(exchange.response.json)] if exchange.response is not None and error is None else []
    pieces = [piece for chunk in chunks for piece in _pieces(chunk)]
    reason = next((reason for _, reason in reversed(pieces) if reason), None)
    said = "".join(text for text, _ in pieces)
    return ModelCall(
        id=f"call-{exchange.number}",
        provider="",
        model="",
        messages=tuple(_messages(asked)),
        response=ResponseText(said),
        usage=_usage(chunks),
        finish_reason=_FINISHED.get(reason, reason) if reason else None,
        error=error,
    )


def _messages(asked: Mapping[str, Any]) -> Iterator[Message]:
    """The prompt, with the conversation before it where Cohere's first format has one."""
    if preamble := optional_text(asked.get("preamble")):
        yield Message("system", preamble)
    for sent in map(mapping, items(asked.get("chat_history"))):
        role = {"CHATBOT": "assistant"}.get(str(sent.get("role")), str(sent.get("role") or "").lower())
        yield Message(role, str(sent.get("message") or ""))
    for key in ("prompt", "message", "inputText"):
        if isinstance(asked.get(key), str):
            yield Message("user", asked[key])


def _pieces(chunk: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The texts in a chunk, each with the reason why it ended, where it did."""
    for key in ("outputs", "results", "generations", "choices"):  # Mistral, Titan, Cohere's oldest, DeepSeek.
        for each in map(mapping, items(chunk.get(key))):
            yield _piece(each)
    if isinstance(chunk.get("response"), Mapping):  # The end of a stream of Cohere repeats the whole.
        yield "", optional_text(chunk.get("finish_reason"))
    else:
        yield _piece(chunk)


def _piece(value: Mapping[str, Any]) -> tuple[str, str | None]:
    said = next((value[key] for key in ("generation", "outputText", "text") if isinstance(value.get(key), str)), "")
    keys = ("stop_reason", "completionReason", "finish_reason")
    return said, next((value[key] for key in keys if isinstance(value.get(key), str)), None)


def _usage(chunks: list[Mapping[str, Any]]) -> Usage | None:
    """The counts of Meta's and of Titan's models; a stream tells them in its first and last chunks."""
    results = [mapping(each) for chunk in chunks for each in items(chunk.get("results"))]
    read = _given(chunks, "prompt_token_count", "inputTextTokenCount")
    written = [
        *_given(chunks, "generation_token_count", "totalOutputTextTokenCount"),
        *_given(results, "tokenCount"),
    ]
    return Usage(count(read[0]), count(written[-1])) if read and written else None


def _given(values: list[Mapping[str, Any]], *keys: str) -> list[Any]:
    return [value[key] for value in values for key in keys if value.get(key)]


def _figures(exchange: Exchange, chunks: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What Bedrock counted itself: in the last chunk of a stream, else in the headers of the answer."""
    if metrics := next((mapping(chunk[_METRICS]) for chunk in chunks if _METRICS in chunk), None):
        return metrics
    headers = exchange.response.headers if exchange.response is not None else ()
    given = {what: header(headers, f"x-amzn-bedrock-{what}-token-count") or "" for what in ("input", "output")}
    return {f"{what}TokenCount": int(each) for what, each in given.items() if re.fullmatch(r"[0-9]{1,15}", each)}


def _counted(figures: Mapping[str, Any]) -> Usage | None:
    if "inputTokenCount" not in figures:
        return None
    read, written = (count(figures.get(f"cache{what}InputTokenCount")) for what in ("Read", "Write"))
    return Usage(
        count(figures["inputTokenCount"]) + read + written,
        count(figures.get("outputTokenCount")),
        cached_input_tokens=read,
        cache_write_tokens=written,
    )
