"""Answers of every format as our tests make them, to begin with."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from pytest_agentops.exchange import Exchange, Request, Response
from tests import test_wire_formats as formats
from tests.test_corpus import CORPUS

__all__ = ["CORPUS", "JUNK", "closed", "made", "opened"]

JUNK: tuple[Any, ...] = (
    None, True, -1, 0.5, 1e300, 2**70, "", "null", "\ud800", [], [[]], {}, {"type": None}, {"": {"": []}}, [None, "x"],
)  # fmt: skip
"""What may stand where something else was expected."""

OPENAI = "https://api.openai.com/v1"
BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com/model"
LINES = (("content-type", "application/x-ndjson"),)


def opened(payload: Any) -> Any:
    """The payload of a frame; of one that carries JSON as base64, that."""
    try:
        return {"carried": json.loads(base64.b64decode(payload["bytes"]))}
    except (KeyError, ValueError, TypeError):
        return payload


def closed(payload: Any) -> Any:
    """The payload that carries this again."""
    if isinstance(payload, dict) and "carried" in payload:
        return {"bytes": base64.b64encode(json.dumps(payload["carried"]).encode()).decode()}
    return payload


def made() -> Iterator[Exchange]:
    """One exchange or more of each format."""
    for url, asked, body, headers in [*formats.WHOLE, *_others()]:
        sent = Request("POST", url, formats.JSON, json.dumps(asked).encode())
        yield Exchange(1, sent, Response(200, "", headers, body))
    yield Exchange(2, Request("GET", f"{OPENAI}/responses/r1"), Response(200, "", formats.JSON, _json(RESPONSE)))
    yield Exchange(
        2, Request("POST", f"{OPENAI}/responses/r1/cancel"), Response(200, "", formats.JSON, _json(RESPONSE))
    )


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _chunks(*values: Any) -> bytes:
    return b"".join(formats.frame("chunk", {"bytes": base64.b64encode(_json(each)).decode()}) for each in values)


QUESTION = [
    {"role": "user", "content": "?"},
    {"role": "tool", "tool_call_id": "c1", "tool_name": "look", "content": "a"},
]
RESPONSE = {
    "id": "r1", "model": "m", "status": "completed", "conversation": {"id": "conv"},
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "web_search_call", "id": "w", "status": "completed", "action": {"type": "search", "sources": [{}]}},
        {"type": "shell_call", "call_id": "s", "action": {}}, {"type": "shell_call_output", "call_id": "s", "output": []},
        {"type": "mcp_call", "id": "m", "name": "roll", "arguments": "{}", "error": None, "output": "7"},
        {"type": "mcp_list_tools", "server_label": "a", "error": "b"},
        {"type": "function_call", "name": "look", "call_id": "c1", "arguments": "{}"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}]},
    ],
    "usage": {"input_tokens": 1, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}},
}  # fmt: skip


def _others() -> Iterator[tuple[str, Any, bytes, Any]]:
    called = [{"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
    message = {"content": "a", "tool_calls": called, "audio": {"transcript": "b"}}
    chat = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
    chunk = {
        "choices": [{"index": 0, "delta": message}, {"index": 1, "delta": {"content": [{"type": "text", "text": "c"}]}}]
    }
    yield f"{OPENAI}/chat/completions", {"messages": QUESTION}, _json(chat), formats.JSON
    yield f"{OPENAI}/chat/completions", {"messages": QUESTION}, formats.sse(chunk, chunk), formats.EVENTS
    asked = {"input": [{"type": "function_call_output", "call_id": "c1", "output": "x"}], "previous_response_id": "r1"}
    events = [
        {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "function_call", "name": "look"}},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{}"},
        {"type": "response.output_item.done", "output_index": 0, "item": RESPONSE["output"][6]},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "a"},
    ]
    yield f"{OPENAI}/responses", asked, _json(RESPONSE), formats.JSON
    yield f"{OPENAI}/responses", asked, formats.sse(*events), formats.EVENTS
    yield (
        f"{OPENAI}/responses",
        asked,
        formats.sse(*events, {"type": "response.completed", "response": RESPONSE}),
        formats.EVENTS,
    )
    embedded = {
        "data": [{"embedding": [0.1]}],
        "usage": {"prompt_tokens": 1},
        "meta": {"billed_units": {"input_tokens": 1.0}},
    }
    yield f"{OPENAI}/embeddings", {"model": "m", "input": ["a", [1, 2]]}, _json(embedded), formats.JSON
    predicted = {"predictions": [{"embeddings": {"statistics": {"token_count": 1}}}]}
    vertex = "https://us-aiplatform.googleapis.com/v1/models/text-embedding-005:predict"
    yield vertex, {"instances": [{"content": "a"}]}, _json(predicted), formats.JSON
    ranked = {"results": [{"index": 0, "relevance_score": 0.5}], "usage": {"total_tokens": 1}}
    yield "https://api.jina.ai/v1/rerank", {"query": "a", "documents": ["b"]}, _json(ranked), formats.JSON
    told = {"message": {"content": "a", "tool_calls": [{"function": {"name": "look", "arguments": {}}}]}, "done": True}
    ollama = {"model": "m", "messages": QUESTION}
    yield "http://localhost:11434/api/chat", ollama, _json(told) + b"\n" + _json(told), LINES
    yield "http://localhost:11434/api/generate", {"model": "m", "prompt": "a"}, _json({"response": "a"}), formats.JSON
    metrics = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1, "outputTokenCount": 1}}
    for asked, chunks in (
        ({**formats.CLAUDE_ASKED, "anthropic_version": "b"}, formats.claude_events()),
        (
            {**formats.BEDROCK_ASKED, "schemaVersion": "m"},
            [{"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "a"}}}],
        ),
        ({"messages": QUESTION}, [{"choices": [{"message": {"content": "a"}, "stop_reason": "stop"}]}]),
        (
            {"prompt": "a"},
            [{"generation": "a", "prompt_token_count": 1, "generation_token_count": 1, "stop_reason": "stop"}],
        ),
        ({"inputText": "a"}, [{"results": [{"outputText": "a", "tokenCount": 1}], "outputs": [{"text": "b"}]}]),
    ):
        yield f"{BEDROCK}/m/invoke-with-response-stream", asked, _chunks(*chunks, metrics), formats.FRAMES
        yield f"{BEDROCK}/m/invoke", asked, _json(chunks[0]), formats.JSON
