"""Bedrock's `invoke`: the formats of each model's maker in Bedrock's wrapping, whole and streamed."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from pytest_agentops.assembly import trace_of
from pytest_agentops.exchange import Exchange, Request, Response
from pytest_agentops.redaction import Redactor
from pytest_agentops.trace import Message, ModelCall, ToolCall, Usage
from pytest_agentops.wire import bedrock_invoke
from tests.test_wire_formats import (
    BEDROCK_ANSWER,
    BEDROCK_ASKED,
    CLAUDE,
    CLAUDE_ASKED,
    FRAMES,
    JSON,
    claude_events,
    frame,
)

HOST = "https://bedrock-runtime.us-east-1.amazonaws.com"
METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 10, "outputTokenCount": 4, "invocationLatency": 9}}
COUNTS = (("x-amzn-bedrock-input-token-count", "10"), ("x-amzn-bedrock-output-token-count", "4"))


def invoked(model: str, asked: Any, answer: Any, headers: Any = JSON, status: int = 200) -> ModelCall:
    """A whole answer, or a stream where the answer is bytes, as read by the whole of the assembly."""
    streamed = isinstance(answer, bytes)
    path = f"/model/{model}/invoke{'-with-response-stream' if streamed else ''}"
    body = answer if streamed else json.dumps(answer).encode()
    request = Request("POST", f"{HOST}{path}", JSON, json.dumps(asked).encode())
    response = Response(status, "", FRAMES if streamed and headers is JSON else headers, body)
    (call,) = trace_of([Exchange(1, request, response)], source="imported").model_calls
    return call


def chunks(*values: Any) -> bytes:
    return b"".join(
        frame("chunk", {"bytes": base64.b64encode(json.dumps(each).encode()).decode(), "p": "abc"}) for each in values
    )


def test_a_message_of_anthropic_is_read_in_bedrocks_wrapping_whole_and_streamed_alike():
    asked = {**CLAUDE_ASKED, "anthropic_version": "bedrock-2023-05-31"}
    asked.pop("model")
    events = claude_events()
    events[-1] |= METRICS

    whole = invoked("anthropic.claude-sonnet-5-v1%3A0", asked, CLAUDE)

    assert invoked("anthropic.claude-sonnet-5-v1%3A0", asked, chunks(*events)) == whole
    assert (whole.id, whole.provider, whole.model) == ("msg_1", "aws.bedrock", "anthropic.claude-sonnet-5-v1:0")
    assert (whole.response, whole.finish_reason) == ("Let me see. One moment.", "tool_calls")
    assert whole.usage == Usage(130, 7, cached_input_tokens=100, cache_write_tokens=20)
    assert whole.messages[-1] == Message("user", "Where?")


def test_a_conversation_with_nova_is_read_as_converse_is():
    usage = {"inputTokens": 10, "outputTokens": 4, "cacheReadInputTokenCount": 5, "cacheWriteInputTokenCount": 2}
    asked = {**BEDROCK_ASKED, "schemaVersion": "messages-v1"}
    tool = {"toolUseId": "t1", "name": "look"}
    streamed = chunks(
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Let me see."}}},
        {"contentBlockStart": {"contentBlockIndex": 1, "start": {"toolUse": tool}}},
        {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"order": 42}'}}}},
        {"messageStop": {"stopReason": "tool_use"}},
        {"metadata": {"usage": usage}, **METRICS},
    )

    whole = invoked("us.amazon.nova-lite-v1%3A0", asked, {**BEDROCK_ANSWER, "usage": usage})

    assert invoked("us.amazon.nova-lite-v1%3A0", asked, streamed) == whole
    assert (whole.response, whole.tool_calls) == ("Let me see.", (ToolCall("look", {"order": 42}, id="t1"),))
    assert whole.usage == Usage(17, 4, cached_input_tokens=5, cache_write_tokens=2)


@pytest.mark.parametrize(
    ("model", "asked", "answer", "streamed"),
    [
        pytest.param(
            "meta.llama3-8b-instruct-v1%3A0",
            {"prompt": "Where?"},
            {"generation": "At home.", "prompt_token_count": 10, "generation_token_count": 4, "stop_reason": "stop"},
            [
                {"generation": "At ", "prompt_token_count": 10, "generation_token_count": 1, "stop_reason": None},
                {"generation": "home.", "prompt_token_count": None, "generation_token_count": 4, "stop_reason": "stop"},
            ],
            id="meta",
        ),
        pytest.param(
            "mistral.mistral-7b-instruct-v0%3A2",
            {"prompt": "Where?"},
            {"outputs": [{"text": "At home.", "stop_reason": "stop"}]},
            [{"outputs": [{"text": "At ", "stop_reason": None}]}, {"outputs": [{"text": "home.", "stop_reason": "stop"}]}],
            id="mistral",
        ),
        pytest.param(
            "mistral.mistral-large-2407-v1%3A0",
            {"messages": [{"role": "user", "content": "Where?"}]},
            {"choices": [{"index": 0, "message": {"content": "At home."}, "stop_reason": "stop"}]},
            [
                {"choices": [{"index": 0, "message": {"content": "At "}, "stop_reason": None}]},
                {"choices": [{"index": 0, "message": {"content": "home."}, "stop_reason": "stop"}]},
            ],
            id="mistral's chat",
        ),
        pytest.param(
            "openai.gpt-oss-20b-1%3A0",
            {"messages": [{"role": "user", "content": "Where?"}]},
            {"choices": [{"index": 0, "message": {"content": "At home."}, "finish_reason": "stop"}]},
            [
                {"choices": [{"index": 0, "delta": {"content": "At home."}}]},
                {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            ],
            id="openai",
        ),
        pytest.param(
            "deepseek.r1-v1%3A0",
            {"prompt": "Where?"},
            {"choices": [{"text": "At home.", "stop_reason": "stop"}]},
            [{"choices": [{"text": "At home.", "stop_reason": "stop"}]}],
            id="deepseek",
        ),
        pytest.param(
            "amazon.titan-text-express-v1",
            {"inputText": "Where?"},
            {
                "inputTextTokenCount": 10,
                "results": [{"tokenCount": 4, "outputText": "At home.", "completionReason": "FINISH"}],
            },
            [
                {
                    "outputText": "At home.", "index": 0, "inputTextTokenCount": 10,
                    "totalOutputTextTokenCount": 4, "completionReason": "FINISH",
                }
            ],
            id="titan",
        ),
        pytest.param(
            "cohere.command-r-v1%3A0",
            {"message": "Where?"},
            {"text": "At home.", "finish_reason": "COMPLETE"},
            [
                {"event_type": "text-generation", "text": "At "},
                {"event_type": "text-generation", "text": "home."},
                {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": {"text": "At home."}},
            ],
            id="cohere",
        ),
    ],
)  # fmt: skip
def test_the_models_of_each_maker_are_read_whole_and_streamed_alike(model, asked, answer, streamed):
    streamed[-1] |= METRICS

    whole = invoked(model, asked, answer, (*JSON, *COUNTS))

    assert replace(invoked(model, asked, chunks(*streamed)), reported_usage=None) == replace(whole, reported_usage=None)
    assert whole.messages == (Message("user", "Where?"),)
    assert (whole.response, whole.finish_reason, whole.usage) == ("At home.", "stop", Usage(10, 4))
    assert (whole.provider, whole.error) == ("aws.bedrock", None)


def test_cohere_had_a_conversation_before_its_message():
    history = [{"role": "USER", "message": "Hello"}, {"role": "CHATBOT", "message": "Yes?"}]

    call = invoked(
        "cohere.command-r-v1%3A0", {"message": "Where?", "preamble": "Be brief.", "chat_history": history}, {}
    )

    assert [(message.role, message.content) for message in call.messages] == [
        ("system", "Be brief."), ("user", "Hello"), ("assistant", "Yes?"), ("user", "Where?"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "asked", "answer", "operation", "usage"),
    [
        (
            "amazon.titan-embed-text-v2%3A0", {"inputText": "a"}, {"embedding": [0.1], "inputTextTokenCount": 3},
            "embeddings", Usage(3),
        ),
        ("cohere.embed-v4%3A0", {"texts": ["a"], "input_type": "search_query"}, {"id": "e", "embeddings": [[0.1]]},
            "embeddings", Usage(10, 4)),
        ("cohere.rerank-v3-5%3A0", {"query": "q", "documents": ["a"]}, {"results": []}, "rerank", Usage(10, 4)),
    ],
    ids=["titan", "cohere", "ranking"],
)  # fmt: skip
def test_what_is_no_conversation_has_its_own_operation(model, asked, answer, operation, usage):
    call = invoked(model, asked, answer, (*JSON, *COUNTS))

    assert (call.operation, call.usage, call.error) == (operation, usage, None)


def test_bedrocks_own_counts_are_used_where_the_body_has_none_and_its_cache_is_a_part_of_the_input():
    metrics = {"amazon-bedrock-invocationMetrics": {
        "inputTokenCount": 10, "outputTokenCount": 4, "cacheReadInputTokenCount": 5, "cacheWriteInputTokenCount": 2,
    }}  # fmt: skip

    call = invoked("meta.llama3-8b-instruct-v1%3A0", {"prompt": "?"}, chunks({"generation": "a", **metrics}))

    assert call.usage == Usage(17, 4, cached_input_tokens=5, cache_write_tokens=2)
    assert call.reported_usage == metrics["amazon-bedrock-invocationMetrics"]


def test_the_headers_with_the_counts_are_kept():
    request = Request("POST", f"{HOST}/model/m/invoke", JSON, b"{}")
    kept = Redactor().exchange(Exchange(1, request, Response(200, "", (*JSON, *COUNTS, ("x-amzn-other", "1")), b"{}")))

    assert kept.response is not None
    assert kept.response.headers == (*JSON, *COUNTS)


def test_an_exception_in_a_stream_is_an_error_and_what_was_said_is_kept():
    failed = chunks({"generation": "At "}) + frame("throttlingException", {"message": "Slow down"}, ":exception-type")

    call = invoked("meta.llama3-8b-instruct-v1%3A0", {"prompt": "?"}, failed)

    assert (str(call.error), call.response) == ("throttlingException Slow down", "At ")


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        ({"message": "no such model"}, 400, '400 {"message": "no such model"}'),
        (b"", 200, "200 the answer is no JSON object: ''"),
        (b"\x00\x01", 200, "200 the answer is no JSON object: '\\x00\\x01'"),
    ],
    ids=["whole", "empty stream", "garbage"],
)
@pytest.mark.parametrize(
    "asked", [{"prompt": "?"}, {"messages": [], "anthropic_version": "a"}, {"messages": []}], ids=str
)
def test_an_answer_that_is_none_is_the_error_of_the_call(asked, answer, status, error):
    call = invoked("amazon.nova-lite-v1%3A0", asked, answer, status=status)

    assert (str(call.error), call.usage) == (error, None)


@pytest.mark.parametrize("cut", [1, 40, 150, 300])
def test_a_stream_that_was_cut_keeps_what_had_come(cut):
    whole = chunks(*claude_events())
    asked = {**CLAUDE_ASKED, "anthropic_version": "bedrock-2023-05-31"}

    call = bedrock_invoke.decode(
        Exchange(
            1,
            Request("POST", f"{HOST}/model/m/invoke-with-response-stream", JSON, json.dumps(asked).encode()),
            Response(200, "", FRAMES, whole[: len(whole) - cut]),
        )
    )

    assert call.response == "Let me see. One moment."
    assert isinstance(call, ModelCall)
