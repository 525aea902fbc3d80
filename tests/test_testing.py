"""The test kit is driven with the clients that its users drive it with."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

import pytest_agentops.testing
from pytest_agentops.testing import (
    Asks,
    CommandRun,
    CountingIds,
    Disconnects,
    Fails,
    FixedClock,
    PytestRun,
    Reply,
    Says,
    ScriptedModel,
    ScriptedRequest,
    ScriptExhaustedError,
    TinyProject,
    ToolRequest,
)

CHECKOUT = Path(pytest_agentops.testing.__file__).parents[2]

# Only what a tiny project needs: loading every plugin of the environment takes longer than the project itself.
BARE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

USER = [{"role": "user", "content": "Where is order 42?"}]

GET_ORDER = {
    "type": "function",
    "function": {
        "name": "get_order",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"id": {"type": "integer"}},
            "required": ["id"],
            "additionalProperties": False,
        },
    },
}


class Order(BaseModel):
    id: int
    status: str


# The client takes any JSON for an answer unless it is told to hold it against its types.
STRICT: dict[str, Any] = {"api_key": "scripted", "max_retries": 0, "_strict_response_validation": True}


def connect(model: ScriptedModel, **options: Any) -> OpenAI:
    return OpenAI(base_url=model.base_url, **(STRICT | options))


def connect_async(model: ScriptedModel, **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=model.base_url, **(STRICT | options))


def events_of(raw: str) -> list[Any]:
    return [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]


# --- Chat completions ------------------------------------------------------------------------------------------------


def test_says_becomes_a_chat_completion() -> None:
    with ScriptedModel(Says("It has shipped.")) as model, connect(model) as client:
        completion = client.chat.completions.create(model="gpt-4o", messages=USER)

    assert completion.to_dict() == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "It has shipped.", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 4,
            "completion_tokens": 3,
            "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }


def test_a_streamed_chat_completion_arrives_word_by_word() -> None:
    with ScriptedModel(Says("It has shipped.")) as model, connect(model) as client:
        stream = client.chat.completions.create(model="gpt-4o", messages=USER, stream=True)
        chunks = list(stream)

    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "It", " has", " shipped.", None]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, None, "stop"]
    assert all("usage" not in chunk.to_dict() for chunk in chunks)


def test_the_usage_ends_a_stream_that_was_asked_to_include_it() -> None:
    with ScriptedModel(Says("Shipped.")) as model, connect(model) as client:
        stream = client.chat.completions.create(
            model="gpt-4o", messages=USER, stream=True, stream_options={"include_usage": True}
        )
        *chunks, last = stream

    assert all(chunk.to_dict()["usage"] is None for chunk in chunks)
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (4, 1)


def test_chunks_say_how_a_text_is_streamed() -> None:
    with ScriptedModel(Says("Shipped.", chunks=("Ship", "", "ped."))) as model, connect(model) as client:
        stream = client.chat.completions.create(model="gpt-4o", messages=USER, stream=True)
        contents = [chunk.choices[0].delta.content for chunk in stream]

    assert contents == ["", "Ship", "", "ped.", None]


def test_chunks_have_to_make_the_text() -> None:
    with pytest.raises(ValueError, match=r"the chunks make 'Ship', which is not the text 'Shipped\.'"):
        Says("Shipped.", chunks=["Ship"])


def test_a_chat_completion_can_be_parsed_into_a_model() -> None:
    with ScriptedModel(Says('{"id": 42, "status": "shipped"}')) as model, connect(model) as client:
        completion = client.chat.completions.parse(model="gpt-4o", messages=USER, response_format=Order)

    assert completion.choices[0].message.parsed == Order(id=42, status="shipped")


def test_the_stream_helper_of_the_client_assembles_text_tools_and_usage() -> None:
    reply = Asks(ToolRequest("get_order", {"id": 42}), text="One moment.")
    with ScriptedModel(reply) as model, connect(model) as client:
        with client.chat.completions.stream(
            model="gpt-4o", messages=USER, tools=[GET_ORDER], stream_options={"include_usage": True}
        ) as stream:
            kinds = [event.type for event in stream]
        completion = stream.get_final_completion()

    assert kinds.count("content.delta") == 3
    assert "tool_calls.function.arguments.done" in kinds
    assert completion.choices[0].message.content == "One moment."
    assert completion.choices[0].message.tool_calls[0].function.parsed_arguments == {"id": 42}
    assert completion.usage.total_tokens == 8


def test_parallel_tool_calls_have_ids_of_their_own() -> None:
    reply = Asks(ToolRequest("get_order", {"id": 42}), ToolRequest("get_customer", {"name": "Zoë"}))
    with ScriptedModel(reply) as model, connect(model) as client:
        choice = client.chat.completions.create(model="gpt-4o", messages=USER).choices[0]

    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls] == [
        ("call_1", "get_order", '{"id":42}'),
        ("call_2", "get_customer", '{"name":"Zoë"}'),
    ]


def test_a_lone_streamed_tool_call_begins_in_the_first_delta() -> None:
    with ScriptedModel(Asks(ToolRequest("get_order", {"id": 42}))) as model, connect(model) as client:
        stream = client.chat.completions.create(model="gpt-4o", messages=USER, stream=True)
        deltas = [chunk.choices[0].delta.to_dict() for chunk in stream]

    head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_order", "arguments": ""}}
    assert deltas == [
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": [head]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "id"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "42"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
        {},
    ]


def test_parallel_streamed_tool_calls_begin_in_deltas_of_their_own() -> None:
    reply = Asks(ToolRequest("get_order"), ToolRequest("get_customer"))
    with ScriptedModel(reply) as model, connect(model) as client:
        stream = client.chat.completions.create(model="gpt-4o", messages=USER, stream=True)
        calls = [chunk.choices[0].delta.tool_calls for chunk in stream]

    assert [call and (call[0].index, call[0].id, call[0].function.arguments) for call in calls] == [
        None,
        (0, "call_1", ""),
        (0, None, "{}"),
        (1, "call_2", ""),
        (1, None, "{}"),
        None,
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_malformed_arguments_arrive_as_they_were_scripted(stream: bool) -> None:
    with ScriptedModel(Asks(ToolRequest("get_order", '{"id": 4'))) as model:
        answer = httpx.post(f"{model.base_url}/chat/completions", json={"messages": USER, "stream": stream})

    bodies = events_of(answer.text) if stream else [answer.json()]
    messages = [choice.get("delta") or choice.get("message") or {} for body in bodies for choice in body["choices"]]
    pieces = [call["function"]["arguments"] for message in messages for call in message.get("tool_calls", [])]
    assert "".join(pieces) == '{"id": 4'


def test_a_refusal_takes_the_place_of_the_content() -> None:
    says = Says("", refusal="I cannot help with that.")
    with ScriptedModel(says, says) as model, connect(model) as client:
        message = client.chat.completions.create(model="gpt-4o", messages=USER).choices[0].message
        stream = client.chat.completions.create(model="gpt-4o", messages=USER, stream=True)
        deltas = [chunk.choices[0].delta for chunk in stream]

    assert (message.content, message.refusal) == (None, "I cannot help with that.")
    assert "".join(delta.refusal or "" for delta in deltas) == "I cannot help with that."
    assert all(delta.content is None for delta in deltas)


def test_an_answer_can_be_cut_off() -> None:
    with ScriptedModel(Says("It has", finish_reason="length")) as model, connect(model) as client:
        choice = client.chat.completions.create(model="gpt-4o", messages=USER).choices[0]

    assert choice.finish_reason == "length"


def test_the_async_client_gets_the_same_answers() -> None:
    async def talk(model: ScriptedModel) -> tuple[str, list[str | None], str, list[str]]:
        async with connect_async(model) as client:
            plain = await client.chat.completions.create(model="gpt-4o", messages=USER)
            stream = await client.chat.completions.create(model="gpt-4o", messages=USER, stream=True)
            chunks = [chunk.choices[0].delta.content async for chunk in stream]
            response = await client.responses.create(model="gpt-4o", input="Where is order 42?")
            events = await client.responses.create(model="gpt-4o", input="Where is order 42?", stream=True)
            kinds = [event.type async for event in events]
        return plain.choices[0].message.content, chunks, response.output_text, kinds

    with ScriptedModel(Says("One."), Says("Two."), Says("Three."), Says("Four.")) as model:
        plain, chunks, text, kinds = asyncio.run(talk(model))

    assert plain == "One."
    assert chunks == ["", "Two.", None]
    assert text == "Three."
    assert kinds[-1] == "response.completed"


# --- Responses -------------------------------------------------------------------------------------------------------


def test_says_becomes_a_response_that_repeats_the_settings_of_its_request() -> None:
    with ScriptedModel(Says("It has shipped.")) as model, connect(model) as client:
        response = client.responses.create(
            model="gpt-5", input="Where is order 42?", instructions="Be brief.", temperature=0.2
        )

    body = response.to_dict()
    assert response.output_text == "It has shipped."
    assert (response.id, response.status, response.created_at) == ("resp_1", "completed", 1_700_000_000)
    assert (response.model, response.instructions, response.temperature) == ("gpt-5", "Be brief.", 0.2)
    assert body["text"] == {"format": {"type": "text"}}
    assert body["output"] == [
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "It has shipped."}],
            "role": "assistant",
        }
    ]
    assert body["usage"] == {
        "input_tokens": 6,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 9,
    }


def test_asks_becomes_function_calls_of_a_response() -> None:
    reply = Asks(ToolRequest("get_order", {"id": 42}), ToolRequest("get_customer"), text="One moment.")
    with ScriptedModel(reply) as model, connect(model) as client:
        message, *calls = client.responses.create(model="gpt-5", input="Where is order 42?").output

    assert message.content[0].text == "One moment."
    assert [(call.id, call.call_id, call.name, call.arguments) for call in calls] == [
        ("fc_1", "call_1", "get_order", '{"id":42}'),
        ("fc_2", "call_2", "get_customer", "{}"),
    ]


def test_a_streamed_response_sends_its_events_in_the_order_of_the_provider() -> None:
    reply = Asks(ToolRequest("get_order", {"id": 42}), text="One moment.")
    with ScriptedModel(reply) as model, connect(model) as client:
        events = list(client.responses.create(model="gpt-5", input="Where is order 42?", stream=True))

    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(18))
    assert events[0].response.status == "in_progress"
    assert events[0].response.usage is None
    assert events[9].item.to_dict() == {
        "id": "fc_1",
        "type": "function_call",
        "status": "in_progress",
        "arguments": "",
        "call_id": "call_1",
        "name": "get_order",
    }
    assert (events[15].item_id, events[15].output_index, events[15].arguments) == ("fc_1", 1, '{"id":42}')
    assert events[-1].response.usage.output_tokens == 4


def test_the_events_of_a_streamed_response_are_named() -> None:
    with ScriptedModel(Says("Shipped.")) as model:
        answer = httpx.post(f"{model.base_url}/responses", json={"model": "gpt-5", "input": "Hi", "stream": True})

    names = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert names == [event["type"] for event in events_of(answer.text)]
    assert "[DONE]" not in answer.text


def test_the_stream_helper_assembles_the_response_that_a_plain_call_would_have_brought() -> None:
    reply = Asks(ToolRequest("get_order", {"id": 42}), ToolRequest("get_customer"), text="One moment.")
    with (
        ScriptedModel(reply) as streaming,
        connect(streaming) as client,
        client.responses.stream(model="gpt-5", input="Where is order 42?") as stream,
    ):
        streamed = stream.get_final_response()
    with ScriptedModel(reply) as plain, connect(plain) as client:
        expected = client.responses.create(model="gpt-5", input="Where is order 42?")

    assert [item.to_dict(exclude_unset=True) for item in streamed.output[1:]] == [
        item.to_dict() | {"parsed_arguments": None} for item in expected.output[1:]
    ]
    assert streamed.output_text == expected.output_text
    assert streamed.usage == expected.usage


def test_a_response_can_be_parsed_into_a_model() -> None:
    with ScriptedModel(Says('{"id": 42, "status": "shipped"}')) as model, connect(model) as client:
        response = client.responses.parse(model="gpt-5", input="Where is order 42?", text_format=Order)

    assert response.output_parsed == Order(id=42, status="shipped")


def test_a_refusal_is_a_part_of_the_message_of_a_response() -> None:
    says = Says("", refusal="I cannot.")
    with ScriptedModel(says, says) as model, connect(model) as client:
        response = client.responses.create(model="gpt-5", input="Where is order 42?")
        events = list(client.responses.create(model="gpt-5", input="Where is order 42?", stream=True))

    assert response.output[0].content[0].to_dict() == {"type": "refusal", "refusal": "I cannot."}
    assert [event.type.removeprefix("response.") for event in events[3:8]] == [
        "content_part.added",
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
    ]


@pytest.mark.parametrize(
    ("finish_reason", "detail"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_a_cut_off_response_is_incomplete(finish_reason: Any, detail: str) -> None:
    says = Says("It has", finish_reason=finish_reason)
    with ScriptedModel(says, says) as model, connect(model) as client:
        response = client.responses.create(model="gpt-5", input="Where is order 42?")
        *_, last = client.responses.create(model="gpt-5", input="Where is order 42?", stream=True)

    assert response.status == "incomplete"
    assert response.incomplete_details.reason == detail
    assert (last.type, last.response.incomplete_details.reason) == ("response.incomplete", detail)


# --- Usage, headers, pace --------------------------------------------------------------------------------------------


def test_token_counts_can_be_scripted_in_both_apis() -> None:
    says = Says("Shipped.", input_tokens=1000, output_tokens=70, cached_tokens=900, reasoning_tokens=64)
    with ScriptedModel(says, says) as model, connect(model) as client:
        chat = client.chat.completions.create(model="gpt-5", messages=USER).usage
        response = client.responses.create(model="gpt-5", input="Where is order 42?").usage

    assert (chat.prompt_tokens, chat.completion_tokens, chat.total_tokens) == (1000, 70, 1070)
    assert chat.prompt_tokens_details.cached_tokens == 900
    assert chat.completion_tokens_details.reasoning_tokens == 64
    assert (response.input_tokens, response.output_tokens, response.total_tokens) == (1000, 70, 1070)
    assert response.input_tokens_details.cached_tokens == 900
    assert response.output_tokens_details.reasoning_tokens == 64


def test_counted_tokens_contain_the_cached_and_the_reasoning_ones() -> None:
    says = Says("It has shipped.", cached_tokens=900, reasoning_tokens=64)
    with ScriptedModel(says) as model, connect(model) as client:
        usage = client.chat.completions.create(model="gpt-5", messages=USER).usage

    assert (usage.prompt_tokens, usage.completion_tokens) == (900, 67)


def test_answers_wear_the_identifying_headers_of_the_provider() -> None:
    with ScriptedModel(Says("Shipped.", headers={"OpenAI-Organization": "org-mine", "x-extra": "1"})) as model:
        answer = httpx.post(f"{model.base_url}/chat/completions", json={"messages": USER})

    assert dict(answer.headers) == {
        "date": "Tue, 14 Nov 2023 22:13:20 GMT",
        "content-type": "application/json",
        "x-request-id": "req_1",
        "openai-organization": "org-mine",
        "openai-processing-ms": "0",
        "openai-version": "2020-10-01",
        "set-cookie": "__cf_bm=scripted",
        "x-extra": "1",
        "content-length": str(len(answer.content)),
    }


def test_latency_comes_before_the_first_byte_and_pauses_between_chunks() -> None:
    with ScriptedModel(Says("a b c", latency=0.1, pause=0.05)) as model:
        body = {"messages": USER, "stream": True}
        start = time.monotonic()
        with httpx.stream("POST", f"{model.base_url}/chat/completions", json=body) as answer:
            first = time.monotonic() - start
            answer.read()
        whole = time.monotonic() - start

    assert first >= 0.1
    assert whole >= 0.2
    assert answer.headers["openai-processing-ms"] == "100"


@pytest.mark.parametrize("status", [200, 400])
def test_bodies_are_compressed_for_a_client_that_accepts_it(status: int) -> None:
    reply = Says("Shipped.") if status == 200 else Fails(400)
    with ScriptedModel(reply, reply, gzip=True) as model:
        url = f"{model.base_url}/chat/completions"
        with httpx.stream("POST", url, json={"messages": USER}, headers={"accept-encoding": "gzip"}) as answer:
            compressed = b"".join(answer.iter_raw())
        plain = httpx.post(url, json={"messages": USER}, headers={"accept-encoding": "identity"})

    assert answer.headers["content-encoding"] == "gzip"
    assert len(gzip.decompress(compressed)) == len(plain.content)
    assert "content-encoding" not in plain.headers


def test_streams_are_never_compressed() -> None:
    with ScriptedModel(Says("Shipped."), gzip=True) as model:
        answer = httpx.post(f"{model.base_url}/chat/completions", json={"messages": USER, "stream": True})

    assert "content-encoding" not in answer.headers


# --- Failures --------------------------------------------------------------------------------------------------------


def test_fails_raises_the_error_class_of_its_status_in_the_client() -> None:
    fails = Fails(429, "Slow down.", code="rate_limit_exceeded", headers={"x-ratelimit-remaining-requests": "0"})
    with ScriptedModel(fails) as model, connect(model) as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=USER)

    assert caught.value.body == {
        "message": "Slow down.",
        "type": "requests",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "Bad Request", "type": "invalid_request_error", "param": None, "code": None}),
        (500, {"message": "Internal Server Error", "type": "server_error", "param": None, "code": None}),
        (529, {"message": "Unknown Status", "type": "server_error", "param": None, "code": None}),
    ],
)
def test_an_error_without_a_message_is_filled_in_from_its_status(status: int, error: dict[str, Any]) -> None:
    with ScriptedModel(Fails(status)) as model:
        answer = httpx.post(f"{model.base_url}/responses", json={"input": "Hi"})

    assert (answer.status_code, answer.json()) == (status, {"error": error})


def test_a_retry_of_the_client_takes_the_next_reply() -> None:
    with (
        ScriptedModel(Fails(429, headers={"retry-after-ms": "1"}), Says("Shipped.")) as model,
        connect(model, max_retries=2) as client,
    ):
        completion = client.chat.completions.create(model="gpt-4o", messages=USER)

    assert completion.choices[0].message.content == "Shipped."
    assert [request.headers["x-stainless-retry-count"] for request in model.requests] == ["0", "1"]


def test_the_async_client_retries_too() -> None:
    async def ask(model: ScriptedModel) -> str:
        async with connect_async(model, max_retries=1) as client:
            return (await client.responses.create(model="gpt-5", input="Hi")).output_text

    with ScriptedModel(Fails(503, headers={"retry-after-ms": "1"}), Says("Hello.")) as model:
        assert asyncio.run(ask(model)) == "Hello."


def test_disconnects_closes_the_connection_without_an_answer() -> None:
    with ScriptedModel(Disconnects(), Says("Shipped.")) as model, connect(model) as client:
        with pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(model="gpt-4o", messages=USER)
        completion = client.chat.completions.create(model="gpt-4o", messages=USER)

    assert completion.choices[0].message.content == "Shipped."
    assert model.errors == []


def test_disconnects_can_cut_a_stream_after_some_chunks() -> None:
    cut = Disconnects(after=2, reply=Says("It has shipped."))
    with ScriptedModel(cut) as model, connect(model) as client:
        received = []
        stream = client.chat.completions.create(model="gpt-4o", messages=USER, stream=True)
        with pytest.raises(openai.APIConnectionError):
            received.extend(stream)

    assert [chunk.choices[0].delta.content for chunk in received] == ["", "It", " has"]


def test_disconnects_counts_the_same_chunks_in_a_streamed_response() -> None:
    cut = Disconnects(after=2, reply=Says("It has shipped."))
    with ScriptedModel(cut) as model, connect(model) as client:
        received = []
        stream = client.responses.create(model="gpt-5", input="Hi", stream=True)
        with pytest.raises(openai.APIConnectionError):
            received.extend(stream)

    assert [event.delta for event in received if event.type == "response.output_text.delta"] == ["It", " has"]
    assert received[-1].type == "response.output_text.delta"


def test_disconnects_cuts_a_plain_answer_in_the_middle_of_its_body() -> None:
    with ScriptedModel(Disconnects(reply=Says("Shipped."))) as model, pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{model.base_url}/chat/completions", json={"messages": USER})


def test_disconnects_needs_the_reply_that_it_cuts_short() -> None:
    with pytest.raises(ValueError, match=r"Disconnects\(after=2\) needs the reply that it cuts short"):
        Disconnects(after=2)


def test_asks_needs_a_tool_request() -> None:
    with pytest.raises(ValueError, match="Says is the answer without any"):
        Asks()


def test_a_script_that_ran_out_says_which_request_came_too_many_and_is_not_retried() -> None:
    with ScriptedModel(Says("One."), Says("Two.")) as model, connect(model, max_retries=2) as client:
        client.chat.completions.create(model="gpt-4o", messages=USER)
        client.chat.completions.create(model="gpt-4o", messages=USER)
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="gpt-4o", messages=USER)

    assert caught.value.body["message"] == (
        "2 replies were scripted, and request 3 came: POST /v1/chat/completions, last user message 'Where is order 42?'"
    )
    assert len(model.requests) == 3
    [error] = model.errors
    assert isinstance(error, ScriptExhaustedError)
    assert (error.scripted, error.number, error.request) == (2, 3, model.requests[2])


def test_every_request_too_many_has_its_number() -> None:
    with ScriptedModel(Says("Hello.")) as model:
        answers = [httpx.post(f"{model.base_url}/responses", json={"input": "Hi"}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 500, 500]
    assert [str(error).partition(":")[0] for error in model.errors] == [
        "1 reply was scripted, and request 2 came",
        "1 reply was scripted, and request 3 came",
    ]


def test_a_function_that_raises_is_answered_and_kept() -> None:
    def forgetful(request: ScriptedRequest) -> Reply:
        raise KeyError(request.prompt)

    with (
        ScriptedModel(forgetful) as model,
        connect(model, max_retries=2) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.responses.create(model="gpt-5", input="Hello")

    assert caught.value.body["message"] == "KeyError: 'Hello'"
    assert len(model.requests) == 1
    assert [repr(error) for error in model.errors] == ["KeyError('Hello')"]


def test_a_function_that_gives_no_reply_is_told_what_a_reply_is() -> None:
    with ScriptedModel(lambda request: "Hello") as model:  # type: ignore[arg-type, return-value]  # The mistake.
        answer = httpx.post(f"{model.base_url}/responses", json={"input": "Hi"})

    assert answer.json()["error"]["message"] == (
        "TypeError: a script gives Says, Asks, Embeds, Fails or Disconnects, and this one gave 'Hello'"
    )


def test_a_list_is_not_a_script() -> None:
    with pytest.raises(TypeError, match=r"as in ScriptedModel\(\*replies\), or one function"):
        ScriptedModel([Says("Hello")])  # type: ignore[arg-type]  # The mistake.


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/chat/completions"), ("POST", "/v1/images?x=1")])
def test_what_it_does_not_serve_is_not_found_and_takes_no_reply(method: str, path: str) -> None:
    with ScriptedModel(Says("Shipped.")) as model, httpx.Client(base_url=f"http://127.0.0.1:{model.port}") as client:
        missing = client.request(method, path)
        served = client.post("/v1/chat/completions?api-version=1", json={"messages": USER})

    assert missing.status_code == 404
    assert missing.json() == {
        "error": {
            "message": f"Invalid URL ({method} {path})",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    }
    assert served.json()["choices"][0]["message"]["content"] == "Shipped."
    assert [request.path for request in model.requests] == [path, "/v1/chat/completions?api-version=1"]


@pytest.mark.parametrize("content", [b'{"model":', b"[]", b"\xff"])
def test_a_body_that_is_no_json_object_is_a_bad_request(content: bytes) -> None:
    with ScriptedModel(Says("Shipped.")) as model:
        answer = httpx.post(f"{model.base_url}/chat/completions", content=content)

    assert (answer.status_code, model.requests[0].body) == (400, {})
    assert answer.json()["error"]["message"] == "We could not parse the JSON body of your request."


# --- Requests --------------------------------------------------------------------------------------------------------


def test_a_request_shows_the_prompt_and_the_tool_results_of_a_chat() -> None:
    with ScriptedModel(Asks(ToolRequest("get_order", {"id": 42})), Says("Shipped.")) as model, connect(model) as client:
        first = client.chat.completions.create(model="gpt-4o", messages=USER).choices[0].message
        result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "shipped on Monday"}
        client.chat.completions.create(model="gpt-4o", messages=[*USER, first, result])

    before, after = model.requests
    assert (before.prompt, before.tool_results) == ("Where is order 42?", [])
    assert (after.prompt, after.tool_results) == ("Where is order 42?", ["shipped on Monday"])
    assert (after.method, after.path) == ("POST", "/v1/chat/completions")
    assert after.headers["authorization"] == "Bearer scripted"
    assert after.body["messages"][2]["tool_call_id"] == "call_1"


def test_a_request_shows_the_prompt_and_the_tool_results_of_a_response() -> None:
    with ScriptedModel(Asks(ToolRequest("get_order", {"id": 42})), Says("Shipped.")) as model, connect(model) as client:
        first = client.responses.create(model="gpt-5", input="Where is order 42?")
        result = {"type": "function_call_output", "call_id": first.output[0].call_id, "output": "shipped on Monday"}
        question = {"role": "user", "content": [{"type": "input_text", "text": "Where is order 42?"}]}
        client.responses.create(model="gpt-5", input=[question, *first.output, result])

    before, after = model.requests
    assert (before.prompt, before.tool_results) == ("Where is order 42?", [])
    assert (after.prompt, after.tool_results) == ("Where is order 42?", ["shipped on Monday"])


def test_the_prompt_is_the_last_user_message_with_the_texts_of_its_parts() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:,"}},
        {"type": "text", "text": "Be brief."},
    ]
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    request = ScriptedRequest("/", "POST", {}, {"messages": [*messages, {"role": "user", "content": parts}]})

    assert request.prompt == "What is this?\nBe brief."


def test_a_request_without_messages_has_an_empty_prompt() -> None:
    request = ScriptedRequest("/v1/models", "GET", {}, {})

    assert (request.prompt, request.tool_results, request.word_count) == ("", [], 0)


def test_requests_and_replies_are_frozen() -> None:
    for value in (ScriptedRequest("/", "GET", {}, {}), Says("Hello"), Asks(ToolRequest("get_order")), Fails(500)):
        with pytest.raises(FrozenInstanceError):
            value.latency = 1.0  # type: ignore[misc, union-attr]  # The mistake.


# --- Order, concurrency, lifetime ------------------------------------------------------------------------------------


def test_two_servers_with_one_script_send_the_same_bytes() -> None:
    script = (Says("It has shipped."), Asks(ToolRequest("a", {"x": 1}), ToolRequest("b")), Fails(400), Says("Bye."))

    def transcript() -> list[bytes]:
        with ScriptedModel(*script, gzip=True) as model:
            return [exchange_bytes(model.port, api, stream) for api in APIS for stream in (False, True)]

    assert transcript() == transcript()


APIS = ("/v1/chat/completions", "/v1/responses")


def exchange_bytes(port: int, path: str, stream: bool) -> bytes:
    """Everything that comes back over the socket, headers included."""
    body = json.dumps({"model": "gpt-5", "input": "Hi", "stream": stream}).encode()
    head = f"POST {path} HTTP/1.1\r\naccept-encoding: gzip\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + body)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_concurrent_requests_to_a_function_get_each_their_own_answer() -> None:
    together = threading.Barrier(20)

    def ask(client: OpenAI, number: int) -> str | None:
        together.wait()
        messages = [{"role": "user", "content": f"Question {number}"}]
        return client.chat.completions.create(model="gpt-4o", messages=messages).choices[0].message.content

    with (
        ScriptedModel(lambda request: Says(f"Answer to {request.prompt}", latency=0.05)) as model,
        connect(model) as client,
        ThreadPoolExecutor(20) as threads,
    ):
        answers = list(threads.map(lambda number: ask(client, number), range(20)))

    assert answers == [f"Answer to Question {number}" for number in range(20)]
    assert len(model.requests) == 20
    assert model.errors == []


def test_a_slow_reply_does_not_hold_up_the_others() -> None:
    slow_arrived = threading.Event()

    def script(request: ScriptedRequest) -> Reply:
        if request.prompt == "fast":
            return Says("Here.")
        slow_arrived.set()
        return Says("At last.", latency=30)

    with ScriptedModel(script) as model, ThreadPoolExecutor(1) as threads:
        slow = threads.submit(httpx.post, f"{model.base_url}/responses", json={"input": "slow"}, timeout=30)
        assert slow_arrived.wait(5)
        fast = httpx.post(f"{model.base_url}/responses", json={"input": "fast"})
        model.close()
        assert isinstance(slow.exception(timeout=5), httpx.RemoteProtocolError)

    assert fast.json()["output"][0]["content"][0]["text"] == "Here."


def test_one_connection_carries_many_requests() -> None:
    with ScriptedModel(Says("One."), Says("Two."), Fails(400)) as model:
        statuses, addresses = [], set()
        with httpx.Client(base_url=model.base_url) as client:
            for stream in (True, False, False):
                answer = client.post("chat/completions", json={"messages": USER, "stream": stream})
                statuses.append(answer.status_code)
                addresses.add(answer.extensions["network_stream"].get_extra_info("client_addr"))

    assert statuses == [200, 200, 400]
    assert len(addresses) == 1


def test_a_closed_model_answers_nobody_not_even_on_an_open_connection() -> None:
    with ScriptedModel(lambda request: Says("Hello.")) as model, httpx.Client(base_url=model.base_url) as client:
        assert client.post("responses", json={"input": "Hi"}).status_code == 200
        model.close()
        with pytest.raises(httpx.TransportError):
            client.post("responses", json={"input": "Hi"})
        model.close()

    assert len(model.requests) == 1


def test_it_listens_on_the_given_port_of_the_loopback_address() -> None:
    with ScriptedModel(Says("Hello.")) as first:
        port = first.port
    with ScriptedModel(Says("Hello.", latency=0), port=port) as model:
        assert model.base_url == f"http://127.0.0.1:{port}/v1"
        assert httpx.post(f"{model.base_url}/responses", json={"input": "Hi"}).status_code == 200


def test_ids_and_clock_can_be_given() -> None:
    ids, clock = CountingIds(), FixedClock(start=1_000)
    ids("chatcmpl-")
    clock.advance(5)
    with ScriptedModel(Says("Hello."), ids=ids, clock=clock) as model, connect(model) as client:
        completion = client.chat.completions.create(model="gpt-4o", messages=USER)

    assert (completion.id, completion.created) == ("chatcmpl-2", 1_005)


def test_counting_ids_counts_each_prefix_for_itself() -> None:
    ids = CountingIds()

    assert [ids("call_"), ids("call_"), ids("msg_"), ids("call_")] == ["call_1", "call_2", "msg_1", "call_3"]


def test_the_fixture_starts_models_and_closes_them_after_the_test(tmp_path: Path) -> None:
    project = TinyProject(tmp_path)
    project.write("conftest.py", "from pytest_agentops.testing import scripted_model, tiny_project\n")
    project.write(
        "test_kit.py",
        """
        import urllib.request

        import pytest

        from pytest_agentops.testing import Says

        started = []

        def ask(model):
            url = f"{model.base_url}/responses"
            return urllib.request.urlopen(urllib.request.Request(url, data=b'{"input": "Hi"}'))

        def test_models(scripted_model):
            started.extend([scripted_model(Says("One")), scripted_model(lambda request: Says("Two"))])
            assert [ask(model).status for model in started] == [200, 200]

        def test_afterwards():
            for model in started:
                with pytest.raises(OSError):
                    ask(model)

        def test_project(tiny_project, tmp_path):
            assert tiny_project.path == tmp_path
        """,
    )

    run = project.run(env={**BARE, "PYTHONPATH": str(CHECKOUT)})

    assert run.outcomes == {"passed": 3}, run.stdout + run.stderr


def test_the_kit_imports_nothing_but_pytest_and_the_standard_library(tmp_path: Path) -> None:
    code = "import sys, pytest; had = set(sys.modules); import pytest_agentops.testing; print(*set(sys.modules) - had)"

    run = TinyProject(tmp_path).command(sys.executable, "-c", code, env={"PYTHONPATH": str(CHECKOUT)})

    roots = {name.partition(".")[0] for name in run.stdout.split()}
    assert roots - sys.stdlib_module_names == {"pytest_agentops"}


# --- Tiny projects ---------------------------------------------------------------------------------------------------


def test_a_tiny_project_runs_pytest_and_counts_its_outcomes(tmp_path: Path) -> None:
    project = TinyProject(tmp_path)
    project.write(
        "test_mixed.py",
        """
        import pytest

        def test_one(): pass

        def test_two(): pass

        def test_wrong():
            print("said before")
            assert 1 == 2

        @pytest.fixture
        def broken():
            raise RuntimeError("no such thing")

        def test_error(broken): pass

        @pytest.mark.skip
        def test_skipped(): pass
        """,
    )

    run = project.run("-rN", env=BARE)

    assert run.exit_code == 1
    assert run.outcomes == {"passed": 2, "failed": 1, "errors": 1, "skipped": 1}
    assert f"rootdir: {tmp_path}" in run.lines
    assert "configfile: pyproject.toml" in run.lines
    assert run.stderr == ""


def test_a_project_whose_collection_fails_has_an_error_in_the_plural(tmp_path: Path) -> None:
    project = TinyProject(tmp_path)
    project.write("test_broken.py", "import nothing_of_this_name")

    run = project.run("-q", env=BARE)

    assert (run.exit_code, run.outcomes) == (2, {"errors": 1})


@pytest.mark.parametrize(
    ("summary", "outcomes"),
    [
        ("============================== 2 passed in 0.01s ===============================", {"passed": 2}),
        ("1 failed, 1 passed, 1 warning, 1 error in 0.52s", {"failed": 1, "passed": 1, "warnings": 1, "errors": 1}),
        (
            "==== 1 passed, 2 deselected, 3 warnings in 61.02s (0:01:01) ====",
            {"passed": 1, "deselected": 2, "warnings": 3},
        ),
        ("============================ no tests ran in 0.00s =============================", {}),
        ("========================= 3 tests collected in 0.01s =========================", {}),
        ("ERROR: usage: pytest [options]", {}),
    ],
)
def test_outcomes_are_read_from_the_summary_line(summary: str, outcomes: dict[str, int]) -> None:
    assert PytestRun(0, f"2 failed in a row\n{summary}\n", "").outcomes == outcomes


REPORT = """\
=========== FAILURES ===========
___________ test_one ___________
a line of the traceback
- a -
----- Captured stdout call -----
said by one
--------- agent trace ----------
call get_order

-- not a rule
___________ test_two ___________
another line
=========== short ==============
"""


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Captured stdout call", "said by one"),
        ("agent trace", "call get_order\n\n-- not a rule"),
        ("test_two", "another line"),
    ],
)
def test_a_section_ends_at_the_next_rule_of_its_kind_or_above(title: str, text: str) -> None:
    assert PytestRun(1, REPORT, "").section(title) == text


def test_a_section_contains_those_of_a_lower_kind() -> None:
    assert PytestRun(1, REPORT, "").section("test_one").splitlines()[-1] == "-- not a rule"


def test_a_section_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(LookupError, match="no section 'agent' in the report; it has 'FAILURES', 'test_one', 'a'"):
        PytestRun(1, REPORT, "").section("agent")


def test_a_section_is_found_in_a_real_report(tmp_path: Path) -> None:
    project = TinyProject(tmp_path)
    project.write(
        "test_loud.py",
        """
        def test_loud():
            print("said before")
            assert False
        """,
    )

    run = project.run(env=BARE)

    assert run.section("Captured stdout call") == "said before"
    assert "assert False" in run.section("FAILURES")


def test_a_command_runs_in_a_clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "OPENAI_API_KEY", "AGENTOPS_RECORD", "PYTEST_ADDOPTS", "KEPT", "REMOVED"):
        monkeypatch.setenv(name, "outside")
    names = ["CI", "OPENAI_API_KEY", "AGENTOPS_RECORD", "PYTEST_ADDOPTS", "KEPT", "REMOVED", "ADDED", "COLUMNS"]
    code = f"import os; print(*(os.environ.get(name) for name in {names}))"

    run = TinyProject(tmp_path).command(sys.executable, "-c", code, env={"ADDED": "inside", "REMOVED": None})

    assert run == CommandRun(0, "None None None None outside None inside 120\n", "")


def test_a_command_runs_in_the_project_and_tells_how_it_ended(tmp_path: Path) -> None:
    code = "import pathlib, sys; print(pathlib.Path.cwd()); print('oops', file=sys.stderr); sys.exit(3)"

    run = TinyProject(tmp_path).command(sys.executable, "-c", code)

    assert run == CommandRun(3, f"{tmp_path}\n", "oops\n")
    assert run.lines == [str(tmp_path)]


def test_write_dedents_and_makes_the_folders(tmp_path: Path) -> None:
    path = TinyProject(tmp_path).write(
        "deep/down/note.md",
        """
        # Title

            code
        """,
    )

    assert path == tmp_path / "deep" / "down" / "note.md"
    assert path.read_text() == "# Title\n\n    code\n"


def test_a_configuration_that_is_there_already_is_kept(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '-q'\n")

    TinyProject(tmp_path)

    assert "addopts" in (tmp_path / "pyproject.toml").read_text()
