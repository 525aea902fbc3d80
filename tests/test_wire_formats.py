"""The formats of Anthropic, Gemini, Bedrock and Cohere: answers whole and streamed, conversations, usage, errors."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agentops.assembly import FORMATS, trace_of
from pytest_agentops.exchange import Exchange, Request, Response
from pytest_agentops.trace import Message, ModelCall, ToolCall, Trace, Usage
from pytest_agentops.wire import anthropic_messages, bedrock_converse, cohere_chat, gemini
from tests.test_wire import bodies, event_streams

ANTHROPIC = "https://api.anthropic.com/v1/messages"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-3-flash:generateContent"
GEMINI_STREAM = GEMINI.replace(":generate", ":streamGenerate")
BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.amazon.nova-lite-v1%3A0/converse"
COHERE = "https://api.cohere.com/v2/chat"
JSON = (("content-type", "application/json"),)
EVENTS = (("content-type", "text/event-stream"),)
FRAMES = (("content-type", "application/vnd.amazon.eventstream"),)


def exchange(
    url: str, asked: Any, answer: bytes | Any, headers: Any = JSON, status: int = 200, number: int = 1
) -> Exchange:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return Exchange(number, Request("POST", url, JSON, json.dumps(asked).encode()), Response(status, "", headers, body))


def sse(*events: Any) -> bytes:
    return b"".join(f"event: {each.get('type', 'message')}\ndata: {json.dumps(each)}\n\n".encode() for each in events)


def frame(kind: str, data: Any, header: str = ":event-type") -> bytes:
    """One frame of Amazon's event stream, with its checksums."""
    payload = json.dumps(data).encode()
    name, value = header.encode(), kind.encode()
    headers = bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    start = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return start + struct.pack(">I", zlib.crc32(start))


def read(*exchanges: Exchange) -> Trace:
    return trace_of(exchanges, source="imported")


# --- Anthropic -------------------------------------------------------------------------------------------------------

CLAUDE_ASKED = {
    "model": "claude-sonnet-5",
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "tools": [
        {"name": "look", "input_schema": {"type": "object"}},
        {"type": "web_search_20250305", "name": "web_search"},
    ],
    "messages": [{"role": "user", "content": "Where?"}],
}
CLAUDE_BLOCKS = [
    {"type": "thinking", "thinking": "Hm.", "signature": "x"},
    {"type": "text", "text": "Let me see. "},
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"type": "web_search_result", "url": "u"}]},
    {"type": "text", "text": "One moment."},
    {"type": "tool_use", "id": "t1", "name": "look", "input": {"order": 42}},
]
CLAUDE_USAGE = {
    "input_tokens": 10,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 20,
    "output_tokens": 7,
}
CLAUDE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-20260101",
    "content": CLAUDE_BLOCKS, "stop_reason": "tool_use", "usage": CLAUDE_USAGE,
}  # fmt: skip


def claude_events() -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**CLAUDE, "content": [], "stop_reason": None, "usage": {**CLAUDE_USAGE, "output_tokens": 1}}},
        {"type": "ping"},
    ]  # fmt: skip
    for index, block in enumerate(CLAUDE_BLOCKS):
        started, deltas = dict(block), []
        if block["type"] == "text":
            started["text"] = ""
            deltas = [{"type": "text_delta", "text": piece} for piece in (block["text"][:3], block["text"][3:])]
        elif block["type"] in ("tool_use", "server_tool_use"):
            written = json.dumps(block["input"])
            started["input"] = {}
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", written[:4], written[4:])]
        elif block["type"] == "thinking":
            started |= {"thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": "Hm."}, {"type": "signature_delta", "signature": "x"}]
        events.append({"type": "content_block_start", "index": index, "content_block": started})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}})
    return [*events, {"type": "message_stop"}]


def test_a_message_of_anthropic_is_read_whole_and_streamed_alike():
    whole = anthropic_messages.decode(exchange(ANTHROPIC, CLAUDE_ASKED, CLAUDE))
    streamed = anthropic_messages.decode(exchange(ANTHROPIC, CLAUDE_ASKED, sse(*claude_events()), EVENTS))

    assert streamed == whole
    assert (whole.id, whole.provider, whole.model) == ("msg_1", "anthropic", "claude-sonnet-5-20260101")
    assert whole.response == "Let me see. One moment."
    assert whole.finish_reason == "tool_calls"
    assert whole.messages == (Message("system", "Be brief."), Message("user", "Where?"))
    assert whole.tool_calls == (
        ToolCall(
            "web_search", {"query": "x"}, [{"type": "web_search_result", "url": "u"}], "ok", "s1", by_provider=True
        ),
        ToolCall("look", {"order": 42}, id="t1"),
    )
    assert whole.usage == Usage(130, 7, cached_input_tokens=100, cache_write_tokens=20)


def test_results_of_tools_are_joined_and_say_whether_they_failed():
    results = [
        {
            "type": "tool_result",
            "tool_use_id": "t1",
            "content": [{"type": "text", "text": "no such order"}],
            "is_error": True,
        },
        {"type": "text", "text": "And now?"},
    ]
    later = {**CLAUDE_ASKED, "messages": [
        *CLAUDE_ASKED["messages"], {"role": "assistant", "content": CLAUDE_BLOCKS}, {"role": "user", "content": results},
    ]}  # fmt: skip
    done = {**CLAUDE, "content": [{"type": "text", "text": "Sorry."}], "stop_reason": "end_turn"}

    trace = read(exchange(ANTHROPIC, CLAUDE_ASKED, CLAUDE), exchange(ANTHROPIC, later, done, number=2))

    look = trace.tool_calls[1]
    assert (look.status, look.result) == ("error", "no such order")
    assert [message.role for message in trace.model_calls[1].messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "user",
    ]
    assert trace.response == "Sorry."
    assert trace.findings == ()


@pytest.mark.parametrize(
    ("events", "error", "reason"),
    [
        (claude_events()[:-2], None, None),
        ([{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}], "overloaded_error Overloaded", None),
    ],
)  # fmt: skip
def test_a_stream_that_broke_off_or_failed_says_so(events, error, reason):
    call = anthropic_messages.decode(exchange(ANTHROPIC, CLAUDE_ASKED, sse(*events), EVENTS))

    assert (call.error and str(call.error), call.finish_reason) == (error, reason)


def test_a_refusal_of_anthropic_is_one():
    call = anthropic_messages.decode(
        exchange(ANTHROPIC, CLAUDE_ASKED, {**CLAUDE, "content": [], "stop_reason": "refusal"})
    )

    assert (call.refusal, call.finish_reason) == ("no reason was given", "content_filter")


def test_anthropic_on_vertex_names_its_model_in_the_path():
    url = "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/anthropic/models/claude:rawPredict"

    [call] = read(exchange(url, CLAUDE_ASKED, CLAUDE)).model_calls

    assert call.provider == "gcp.vertex_ai"
    assert call.usage is not None


# --- Gemini ----------------------------------------------------------------------------------------------------------

GEMINI_ASKED = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [{"role": "user", "parts": [{"text": "Where?"}]}],
    "tools": [{"functionDeclarations": [{"name": "look"}]}],
}
GEMINI_PARTS = [
    {"text": "Hm.", "thought": True},
    {"text": "Let me "},
    {"text": "see."},
    {"functionCall": {"name": "look", "args": {"order": 42}}},
    {"functionCall": {"name": "look", "args": {"order": 43}}},
]
GEMINI_USAGE = {
    "promptTokenCount": 100, "cachedContentTokenCount": 40, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 7,
    "thoughtsTokenCount": 3, "totalTokenCount": 115,
}  # fmt: skip
GEMINI_ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": GEMINI_PARTS}, "finishReason": "STOP"}],
    "usageMetadata": GEMINI_USAGE, "modelVersion": "gemini-3-flash-001", "responseId": "r1",
}  # fmt: skip


def gemini_chunks() -> list[dict[str, Any]]:
    about = {"modelVersion": "gemini-3-flash-001", "responseId": "r1"}
    chunks = [{"candidates": [{"content": {"role": "model", "parts": [part]}}], **about} for part in GEMINI_PARTS]
    chunks.append({"candidates": [{"finishReason": "STOP"}], "usageMetadata": GEMINI_USAGE, **about})
    return chunks


def test_an_answer_of_gemini_is_read_whole_and_streamed_alike():
    whole = gemini.decode(exchange(GEMINI, GEMINI_ASKED, GEMINI_ANSWER))

    assert gemini.decode(exchange(GEMINI_STREAM, GEMINI_ASKED, sse(*gemini_chunks()), EVENTS)) == whole
    assert gemini.decode(exchange(GEMINI_STREAM, GEMINI_ASKED, gemini_chunks())) == whole
    assert (whole.id, whole.provider, whole.model) == ("r1", "gcp.gemini", "gemini-3-flash-001")
    assert (whole.response, whole.finish_reason) == ("Let me see.", "tool_calls")
    assert whole.messages == (Message("system", "Be brief."), Message("user", "Where?"))
    assert [(call.name, call.arguments["order"], call.id) for call in whole.tool_calls] == [
        ("look", 42, "look#1"),
        ("look", 43, "look#2"),
    ]
    assert whole.usage == Usage(105, 10, cached_input_tokens=40, reasoning_tokens=3)


def test_results_without_ids_belong_to_the_calls_of_their_name_in_order():
    results = [
        {"functionResponse": {"name": "look", "response": {"error": "gone"}}},
        {"functionResponse": {"name": "look", "response": {"at": "home"}}},
    ]
    later = {**GEMINI_ASKED, "contents": [
        *GEMINI_ASKED["contents"], {"role": "model", "parts": GEMINI_PARTS}, {"role": "user", "parts": results},
    ]}  # fmt: skip
    again = {
        **GEMINI_ANSWER,
        "candidates": [{"content": {"parts": [{"functionCall": {"name": "look"}}]}, "finishReason": "STOP"}],
    }

    trace = read(exchange(GEMINI, GEMINI_ASKED, GEMINI_ANSWER), exchange(GEMINI, later, again, number=2))

    assert [(call.id, call.status, call.result) for call in trace.tool_calls] == [
        ("look#1", "error", {"error": "gone"}),
        ("look#2", "ok", {"at": "home"}),
        ("look#3", "unanswered", None),
    ]


def test_several_candidates_of_gemini_are_told_apart_whole_and_streamed():
    pieces = [(0, "It "), (1, "No "), (1, "rain."), (0, "rains.")]
    chunks = [{"candidates": [{"index": at, "content": {"parts": [{"text": text}]}}]} for at, text in pieces]
    ends = [{"candidates": [{"index": at, "finishReason": "STOP"} for at in (0, 1)], "usageMetadata": GEMINI_USAGE}]
    whole = {**ends[0], "candidates": [
        {"content": {"parts": [{"text": text}]}, "finishReason": "STOP", "index": at} for at, text in ((0, "It rains."), (1, "No rain."))
    ]}  # fmt: skip

    call = gemini.decode(exchange(GEMINI, GEMINI_ASKED, whole))

    assert (call.response, call.alternatives) == ("It rains.", ("No rain.",))
    assert gemini.decode(exchange(GEMINI_STREAM, GEMINI_ASKED, sse(*chunks, *ends), EVENTS)) == call


def test_a_prompt_that_gemini_blocks_is_a_refusal():
    call = gemini.decode(exchange(GEMINI, GEMINI_ASKED, {"promptFeedback": {"blockReason": "SAFETY"}}))

    assert (call.refusal, call.finish_reason) == ("the prompt was blocked: SAFETY", "content_filter")


def test_an_error_of_gemini_is_one_whether_alone_or_in_a_list():
    error = {"error": {"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED"}}

    for answer in (error, [error]):
        call = gemini.decode(exchange(GEMINI_STREAM, GEMINI_ASKED, answer, status=429))
        assert call.error is not None
        assert (call.error.status, call.error.message) == (429, "Slow down")


def test_code_that_gemini_ran_is_a_call_of_the_providers():
    parts = [
        {"executableCode": {"language": "PYTHON", "code": "1 + 1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
    ]
    answer = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "usageMetadata": GEMINI_USAGE}

    call = gemini.decode(exchange(GEMINI, GEMINI_ASKED, answer))

    assert call.finish_reason == "stop"
    assert [(each.result, each.status, each.by_provider) for each in call.tool_calls] == [("2", "ok", True)]


# --- Bedrock ---------------------------------------------------------------------------------------------------------

BEDROCK_ASKED = {
    "system": [{"text": "Be brief."}],
    "messages": [{"role": "user", "content": [{"text": "Where?"}]}],
    "toolConfig": {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {}}}}]},
}
BEDROCK_BLOCKS = [{"text": "Let me see."}, {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"order": 42}}}]
BEDROCK_USAGE = {"inputTokens": 10, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 2, "outputTokens": 7}
BEDROCK_ANSWER = {
    "output": {"message": {"role": "assistant", "content": BEDROCK_BLOCKS}},
    "stopReason": "tool_use",
    "usage": BEDROCK_USAGE,
}


def bedrock_frames() -> bytes:
    return b"".join(
        [
            frame("messageStart", {"role": "assistant"}),
            frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Let me "}}),
            frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "see."}}),
            frame("contentBlockStop", {"contentBlockIndex": 0}),
            frame(
                "contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t1", "name": "look"}}}
            ),
            frame("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"order"'}}}),
            frame("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": ": 42}"}}}),
            frame("messageStop", {"stopReason": "tool_use"}),
            frame("metadata", {"usage": BEDROCK_USAGE}),
        ]
    )


def test_a_conversation_of_bedrock_is_read_whole_and_streamed_alike():
    whole = bedrock_converse.decode(exchange(BEDROCK, BEDROCK_ASKED, BEDROCK_ANSWER))
    streamed = bedrock_converse.decode(exchange(f"{BEDROCK}-stream", BEDROCK_ASKED, bedrock_frames(), FRAMES))

    assert streamed == whole
    assert (whole.provider, whole.model) == ("aws.bedrock", "us.amazon.nova-lite-v1:0")
    assert (whole.response, whole.finish_reason) == ("Let me see.", "tool_calls")
    assert whole.tool_calls == (ToolCall("look", {"order": 42}, id="t1"),)
    assert whole.usage == Usage(17, 7, cached_input_tokens=5, cache_write_tokens=2)


def test_results_for_bedrock_are_joined_and_say_whether_they_failed():
    results = [{"toolResult": {"toolUseId": "t1", "content": [{"json": {"at": "home"}}], "status": "error"}}]
    later = {**BEDROCK_ASKED, "messages": [
        *BEDROCK_ASKED["messages"], {"role": "assistant", "content": BEDROCK_BLOCKS}, {"role": "user", "content": results},
    ]}  # fmt: skip

    trace = read(exchange(BEDROCK, BEDROCK_ASKED, BEDROCK_ANSWER), exchange(BEDROCK, later, BEDROCK_ANSWER, number=2))

    assert (trace.tool_calls[0].status, trace.tool_calls[0].result) == ("error", '{"at": "home"}')


@pytest.mark.parametrize("length", [0, 5, 20, 150])
def test_frames_that_were_cut_end_the_stream(length):
    call = bedrock_converse.decode(exchange(f"{BEDROCK}-stream", BEDROCK_ASKED, bedrock_frames()[:length], FRAMES))

    assert call.finish_reason is None


def test_an_exception_in_a_stream_is_an_error():
    data = bedrock_frames()[:100] + frame("throttlingException", {"message": "Slow down"}, ":exception-type")
    whole = b"".join(
        [frame("messageStart", {}), frame("throttlingException", {"message": "Slow down"}, ":exception-type")]
    )

    call = bedrock_converse.decode(exchange(f"{BEDROCK}-stream", BEDROCK_ASKED, whole, FRAMES))

    assert str(call.error) == "throttlingException Slow down"
    assert isinstance(bedrock_converse.decode(exchange(f"{BEDROCK}-stream", {}, data, FRAMES)), ModelCall)


# --- Cohere ----------------------------------------------------------------------------------------------------------

COHERE_ASKED = {
    "model": "command-a",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}],
    "tools": [{"type": "function", "function": {"name": "look"}}],
}
COHERE_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"order": 42}'}}
COHERE_USAGE = {"billed_units": {"input_tokens": 1}, "tokens": {"input_tokens": 10.0, "output_tokens": 7.0}}
COHERE_ANSWER = {
    "id": "r1", "finish_reason": "TOOL_CALL", "usage": COHERE_USAGE,
    "message": {"role": "assistant", "tool_plan": "I look.", "content": [{"type": "text", "text": "Let me see."}], "tool_calls": [COHERE_CALL]},
}  # fmt: skip
COHERE_EVENTS = [
    {"type": "message-start", "id": "r1", "delta": {"message": {"role": "assistant"}}},
    {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Let me see."}}}},
    {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": {"id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}}}},
    {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": '{"order": 42}'}}}}},
    {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": COHERE_USAGE}},
]  # fmt: skip


def test_a_chat_of_cohere_is_read_whole_and_streamed_alike():
    whole = cohere_chat.decode(exchange(COHERE, COHERE_ASKED, COHERE_ANSWER))

    assert cohere_chat.decode(exchange(COHERE, COHERE_ASKED, sse(*COHERE_EVENTS), EVENTS)) == whole
    assert (whole.id, whole.provider, whole.model) == ("r1", "cohere", "command-a")
    assert (whole.response, whole.finish_reason) == ("Let me see.", "tool_calls")
    assert whole.tool_calls == (ToolCall("look", {"order": 42}, id="c1"),)
    assert whole.usage == Usage(10, 7)


# --- all of them -----------------------------------------------------------------------------------------------------

URLS = [ANTHROPIC, GEMINI, GEMINI_STREAM, BEDROCK, f"{BEDROCK}-stream", COHERE]


def test_an_overlong_price_of_nothing_known_is_none():
    [call] = read(exchange(ANTHROPIC, {"model": "claude-nobody"}, {**CLAUDE, "model": "claude-nobody"})).model_calls

    assert call.cost is None


def test_writing_to_the_cache_costs_more_than_reading_from_it():
    def cost(**usage: int) -> float:
        answer = {**CLAUDE, "model": "claude-sonnet-4-5", "usage": {"input_tokens": 0, "output_tokens": 0, **usage}}
        [call] = read(exchange(ANTHROPIC, CLAUDE_ASKED, answer)).model_calls
        assert call.cost is not None
        return call.cost

    read_, plain, written = (
        cost(**{name: 1000}) for name in ("cache_read_input_tokens", "input_tokens", "cache_creation_input_tokens")
    )
    assert 0 < read_ < plain < written


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(URLS),
    bodies,
    st.tuples(st.just(JSON), bodies)
    | st.tuples(st.just(EVENTS), event_streams)
    | st.tuples(st.just(FRAMES), st.binary(max_size=80)),
)
def test_whatever_is_sent_a_trace_can_be_read_and_kept(url, asked, answer):
    headers, body = answer

    trace = read(Exchange(1, Request("POST", url, JSON, asked), Response(200, "", headers, body)))

    kept = trace.to_json()
    assert Trace.from_json(kept).to_json() == kept


WHOLE = [
    (ANTHROPIC, CLAUDE_ASKED, sse(*claude_events()), EVENTS),
    (ANTHROPIC, CLAUDE_ASKED, json.dumps(CLAUDE).encode(), JSON),
    (GEMINI_STREAM, GEMINI_ASKED, sse(*gemini_chunks()), EVENTS),
    (GEMINI, GEMINI_ASKED, json.dumps(GEMINI_ANSWER).encode(), JSON),
    (f"{BEDROCK}-stream", BEDROCK_ASKED, bedrock_frames(), FRAMES),
    (COHERE, COHERE_ASKED, sse(*COHERE_EVENTS), EVENTS),
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(WHOLE), st.data())
def test_an_answer_that_is_cut_or_corrupted_anywhere_is_read_all_the_same(whole, data):
    url, asked, body, headers = whole
    place = data.draw(st.integers(0, len(body)))
    tail = data.draw(st.sampled_from([b"", body[place + 3 :], b"\x00\xff" + body[place:], body[place:][::-1]]))

    trace = read(exchange(url, asked, body[:place] + tail, headers))

    assert len(trace.model_calls) == 1
    assert Trace.from_json(trace.to_json()) == trace


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FORMATS), bodies, st.tuples(st.just(JSON), bodies) | st.tuples(st.just(EVENTS), event_streams))
def test_no_decoder_raises_on_the_bodies_of_another_api(reader, asked, answer):
    headers, body = answer

    made = reader.decode(Exchange(1, Request("POST", COHERE, JSON, asked), Response(200, "", headers, body)))

    assert isinstance(made, ModelCall)
