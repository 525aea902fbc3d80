"""One script answers the clients of every provider, and they, and we, read in it what it says."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import math
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2
import pytest
from google import genai
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI

from pytest_agentops.capture import Recording, watching
from pytest_agentops.exchange import Exchange, Request, Response
from pytest_agentops.testing import (
    Asks,
    CountingIds,
    Disconnects,
    Embeds,
    Fails,
    Says,
    ScriptedModel,
    ScriptedRequest,
    ToolRequest,
)
from pytest_agentops.testing.requests import dialect_of
from pytest_agentops.trace import Trace, Usage
from pytest_agentops.wire import anthropic_messages, bedrock_converse, cohere_chat, openai_chat, openai_responses
from pytest_agentops.wire import gemini as gemini_format

# Google's client derives a class from aiohttp's, which aiohttp does not like.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

QUESTION = "Where is order 42?"
SAYS = Says("It has shipped.", input_tokens=1000, output_tokens=70, cached_tokens=900, reasoning_tokens=64)
ASKS = Asks(
    ToolRequest("get_order", {"id": 42, "note": "Zoë, \U0001f600"}),
    ToolRequest("get_customer"),
    text="One moment.",
    input_tokens=40,
    output_tokens=9,
)
SCHEMA: dict[str, Any] = {
    "type": "object", "properties": {"id": {"type": "integer"}, "note": {"type": "string"}}
}  # fmt: skip


@dataclass(frozen=True)
class Heard:
    """What a client made of an answer, in its own words."""

    text: str
    calls: list[tuple[str, Any]]
    input_tokens: int | None
    output_tokens: int | None
    finished: str


# --- the clients -----------------------------------------------------------------------------------------------------


@contextmanager
def claude(model: ScriptedModel) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=model.url, api_key="scripted", max_retries=0) as client:
        yield client


CLAUDE: dict[str, Any] = {
    "model": "claude-scripted",
    "max_tokens": 100,
    "system": "Be brief.",
    "messages": [{"role": "user", "content": QUESTION}],
    "tools": [{"name": name, "input_schema": SCHEMA} for name in ("get_order", "get_customer")],
}


def of_claude(message: Any) -> Heard:
    used = message.usage
    return Heard(
        "".join(block.text for block in message.content if block.type == "text"),
        [(block.name, block.input) for block in message.content if block.type == "tool_use"],
        used.input_tokens + used.cache_read_input_tokens + used.cache_creation_input_tokens,
        used.output_tokens,
        message.stop_reason,
    )


def by_anthropic(model: ScriptedModel) -> Heard:
    with claude(model) as client:
        return of_claude(client.messages.create(**CLAUDE))


def by_anthropic_streamed(model: ScriptedModel) -> Heard:
    with claude(model) as client, client.messages.stream(**CLAUDE) as stream:
        return of_claude(stream.get_final_message())


def by_anthropic_async(model: ScriptedModel) -> Heard:
    async def ask() -> Any:
        async with (
            anthropic.AsyncAnthropic(base_url=model.url, api_key="scripted", max_retries=0) as client,
            client.messages.stream(**CLAUDE) as stream,
        ):
            return await stream.get_final_message()

    return of_claude(asyncio.run(ask()))


def google(model: ScriptedModel) -> genai.Client:
    return genai.Client(api_key="scripted", http_options=types.HttpOptions(base_url=model.url))


def gemini() -> dict[str, Any]:
    declared = [{"name": name, "parameters_json_schema": SCHEMA} for name in ("get_order", "get_customer")]
    config = {"system_instruction": "Be brief.", "tools": [{"function_declarations": declared}]}
    return {"model": "gemini-2.5-flash", "contents": QUESTION, "config": config}


def of_gemini(chunks: list[Any]) -> Heard:
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
    used = chunks[-1].usage_metadata
    return Heard(
        "".join(part.text for part in parts if part.text),
        [(part.function_call.name, part.function_call.args) for part in parts if part.function_call],
        used.prompt_token_count,
        (used.candidates_token_count or 0) + (used.thoughts_token_count or 0),
        chunks[-1].candidates[0].finish_reason.value,
    )


def by_genai(model: ScriptedModel) -> Heard:
    with google(model) as client:
        return of_gemini([client.models.generate_content(**gemini())])


def by_genai_streamed(model: ScriptedModel) -> Heard:
    with google(model) as client:
        return of_gemini(list(client.models.generate_content_stream(**gemini())))


def by_genai_async(model: ScriptedModel) -> Heard:
    async def ask() -> list[Any]:
        async with google(model).aio as client:
            return [chunk async for chunk in await client.models.generate_content_stream(**gemini())]

    return of_gemini(asyncio.run(ask()))


@functools.cache
def aws() -> Any:
    """One session, since each reads the description of the service anew, which takes most of a second."""
    session = pytest.importorskip("botocore.session").Session()
    session.set_credentials("scripted", "scripted")
    return session


def bedrock(model: ScriptedModel) -> Any:
    from botocore.config import Config

    config = Config(retries={"max_attempts": 0})
    return aws().create_client("bedrock-runtime", "us-east-1", endpoint_url=model.url, config=config)


CONVERSE: dict[str, Any] = {
    "modelId": "amazon.nova-lite-v1:0",
    "system": [{"text": "Be brief."}],
    "messages": [{"role": "user", "content": [{"text": QUESTION}]}],
    "toolConfig": {
        "tools": [
            {"toolSpec": {"name": name, "inputSchema": {"json": SCHEMA}}} for name in ("get_order", "get_customer")
        ]
    },
}


def counted(used: Any) -> int:
    return int(used["inputTokens"] + used["cacheReadInputTokens"] + used["cacheWriteInputTokens"])


def by_botocore(model: ScriptedModel) -> Heard:
    answer = bedrock(model).converse(**CONVERSE)
    blocks = answer["output"]["message"]["content"]
    return Heard(
        "".join(block.get("text", "") for block in blocks),
        [(block["toolUse"]["name"], block["toolUse"]["input"]) for block in blocks if "toolUse" in block],
        counted(answer["usage"]),
        answer["usage"]["outputTokens"],
        answer["stopReason"],
    )


def by_botocore_streamed(model: ScriptedModel) -> Heard:
    text, calls, used, reason = "", [], {}, ""
    for event in bedrock(model).converse_stream(**CONVERSE)["stream"]:
        if "contentBlockStart" in event:
            calls.append([event["contentBlockStart"]["start"]["toolUse"]["name"], ""])
        delta = event.get("contentBlockDelta", {}).get("delta", {})
        text += delta.get("text", "")
        if "toolUse" in delta:
            calls[-1][1] += delta["toolUse"]["input"]
        reason = event.get("messageStop", {}).get("stopReason", reason)
        used = event.get("metadata", {}).get("usage", used)
    return Heard(
        text, [(name, json.loads(pieces)) for name, pieces in calls], counted(used), used["outputTokens"], reason
    )


COHERE: dict[str, Any] = {"model": "command-a", "messages": [{"role": "user", "content": QUESTION}]}


def by_hand_to_cohere(model: ScriptedModel) -> Heard:
    answer = httpx2.post(f"{model.url}/v2/chat", json=COHERE).json()
    message, used = answer["message"], answer["usage"]["tokens"]
    functions = [call["function"] for call in message.get("tool_calls", [])]
    return Heard(
        "".join(part["text"] for part in message["content"]),
        [(function["name"], json.loads(function["arguments"])) for function in functions],
        used["input_tokens"],
        used["output_tokens"],
        answer["finish_reason"],
    )


Ask = Callable[[ScriptedModel], Heard]
WORDS = {
    by_anthropic: ("end_turn", "tool_use"),
    by_anthropic_streamed: ("end_turn", "tool_use"),
    by_anthropic_async: ("end_turn", "tool_use"),
    by_genai: ("STOP", "STOP"),
    by_genai_streamed: ("STOP", "STOP"),
    by_genai_async: ("STOP", "STOP"),
    by_botocore: ("end_turn", "tool_use"),
    by_botocore_streamed: ("end_turn", "tool_use"),
    by_hand_to_cohere: ("COMPLETE", "TOOL_CALL"),
}
"""Each client, with what its provider says at the end of an answer and of one that asks for a tool."""

each_client = pytest.mark.parametrize("ask", WORDS, ids=lambda ask: ask.__name__[3:])


def recorded(model: ScriptedModel, ask: Callable[[ScriptedModel], Any]) -> tuple[Any, Trace]:
    with watching(Recording("test")) as recording:
        heard = ask(model)
        return heard, recording.freeze()


# --- answers ---------------------------------------------------------------------------------------------------------


@each_client
def test_a_text_arrives_as_it_was_scripted_and_is_read_off_the_wire_so(ask: Ask) -> None:
    with ScriptedModel(SAYS) as model:
        heard, trace = recorded(model, ask)

    assert heard == Heard("It has shipped.", [], 1000, 70, WORDS[ask][0])
    [call] = trace.model_calls
    assert (call.response, call.tool_calls, call.finish_reason, call.error) == ("It has shipped.", (), "stop", None)
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.output_tokens, call.usage.cached_input_tokens) == (1000, 70, 900)
    assert trace.findings == ()
    assert model.errors == []


@each_client
def test_tool_calls_arrive_as_they_were_scripted_and_are_read_off_the_wire_so(ask: Ask) -> None:
    with ScriptedModel(ASKS) as model:
        heard, trace = recorded(model, ask)

    arguments = {"id": 42, "note": "Zoë, \U0001f600"}
    assert heard == Heard("One moment.", [("get_order", arguments), ("get_customer", {})], 40, 9, WORDS[ask][1])
    [call] = trace.model_calls
    assert call.response == "One moment."
    assert [(each.name, each.arguments) for each in call.tool_calls] == [("get_order", arguments), ("get_customer", {})]
    assert call.finish_reason == "tool_calls"


@each_client
@pytest.mark.parametrize(("reason", "read"), [("length", "length"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_off_or_withheld_is_told_in_the_words_of_each(ask: Ask, reason: Any, read: str) -> None:
    with ScriptedModel(Says("It has", finish_reason=reason)) as model:
        _, trace = recorded(model, ask)

    assert trace.model_calls[0].finish_reason == read


@pytest.mark.parametrize("ask", [by_anthropic, by_anthropic_streamed, by_genai, by_botocore, by_hand_to_cohere])
def test_a_refusal_is_the_text_of_an_answer_that_was_withheld(ask: Ask) -> None:
    with ScriptedModel(Says("", refusal="I cannot help with that.")) as model:
        heard, trace = recorded(model, ask)

    assert heard.text == "I cannot help with that."
    assert trace.model_calls[0].finish_reason == "content_filter"


def test_what_concerns_the_cache_and_the_reasoning_is_counted_as_each_provider_does() -> None:
    says = Says(
        "Shipped.", input_tokens=100, cached_tokens=60, cache_write_tokens=30, output_tokens=9, reasoning_tokens=8
    )
    with ScriptedModel(says, says, says) as model:
        _, trace = recorded(model, lambda model: (by_anthropic(model), by_genai(model), by_botocore(model)))

    claude, gemini, nova = (call.usage for call in trace.model_calls)
    assert claude == Usage(100, 9, cached_input_tokens=60, cache_write_tokens=30, reasoning_tokens=8)
    assert gemini == Usage(100, 9, cached_input_tokens=60, reasoning_tokens=8)
    assert nova == Usage(100, 9, cached_input_tokens=60, cache_write_tokens=30)


@each_client
def test_an_empty_answer_says_nothing(ask: Ask) -> None:
    with ScriptedModel(Says("")) as model:
        heard, trace = recorded(model, ask)

    assert (heard.text, heard.calls) == ("", [])
    assert trace.response == ""


REQUESTS = {
    "/v1/chat/completions": openai_chat,
    "/v1/responses": openai_responses,
    "/v1/messages": anthropic_messages,
    "/v1beta/models/scripted:generateContent": gemini_format,
    "/model/scripted/converse": bedrock_converse,
    "/v2/chat": cohere_chat,
}
"""Where each dialect is served, and our decoder of it."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
arguments = st.dictionaries(
    texts, st.recursive(st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner, max_size=3))
)


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("path", REQUESTS)
@settings(max_examples=60, deadline=None)
@given(text=texts, tools=st.lists(st.tuples(st.sampled_from(["get_order", "get_customer"]), arguments), max_size=3))
def test_whatever_a_script_says_our_decoders_read_in_every_dialect(path, streamed, text, tools) -> None:
    asked = {"model": "scripted", "stream": streamed, "stream_options": {"include_usage": True}}
    where = path
    if streamed:
        where = path.replace(":generate", ":streamGenerate").replace("/converse", "/converse-stream")
    request = ScriptedRequest(where, "POST", {}, asked)
    requested = [ToolRequest(name, given) for name, given in tools]
    counts: Any = {"input_tokens": 50, "output_tokens": 7, "cached_tokens": 5}
    answer = Asks(*requested, text=text, **counts) if tools else Says(text, **counts)

    dialect = dialect_of(request)
    assert dialect is not None
    assert dialect.streams(request) == streamed
    body = dialect.body(request, answer, CountingIds(), 0)
    kind, content = "application/json", json.dumps(body).encode()
    if streamed:
        kind, content = dialect.STREAMED, b"".join(piece.content for piece in dialect.pieces(request, answer, body))
    sent = Request("POST", f"http://127.0.0.1{where}", body=json.dumps(asked).encode())
    call = REQUESTS[path].decode(Exchange(1, sent, Response(200, headers=(("content-type", kind),), body=content)))

    assert (call.error, str(call.response)) == (None, text)
    assert [(each.name, each.arguments) for each in call.tool_calls] == tools
    assert call.finish_reason == ("tool_calls" if tools else "stop")
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.output_tokens, call.usage.cached_input_tokens) == (50, 7, 5)


@pytest.mark.parametrize("path", [*REQUESTS, "/api/chat"])
def test_two_servers_with_one_script_send_the_same_bytes(path: str) -> None:
    def transcript() -> list[tuple[dict[str, str], bytes]]:
        with ScriptedModel(ASKS, ASKS, Fails(429)) as model:
            answers = [httpx2.post(f"{model.url}{path}", json={"stream": stream}) for stream in (False, True, False)]
        return [(dict(answer.headers), answer.content) for answer in answers]

    assert transcript() == transcript()


# --- errors ----------------------------------------------------------------------------------------------------------


def test_an_error_of_anthropic_has_the_class_and_the_type_of_its_status() -> None:
    with ScriptedModel(Fails(429, "Slow down."), Fails(529)) as model, claude(model) as client:
        with pytest.raises(anthropic.RateLimitError) as limited:
            client.messages.create(**CLAUDE)
        with pytest.raises(anthropic.APIStatusError) as overloaded:
            client.messages.create(**CLAUDE)

    assert limited.value.body == {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}}
    assert overloaded.value.body["error"]["type"] == "overloaded_error"


def test_anthropics_client_retries_and_each_attempt_takes_a_reply() -> None:
    def ask(model: ScriptedModel) -> str:
        with anthropic.Anthropic(base_url=model.url, api_key="scripted", max_retries=1) as client:
            return client.messages.create(**CLAUDE).content[0].text

    with ScriptedModel(Fails(503, headers={"retry-after-ms": "1"}), Says("Hello.")) as model:
        heard, trace = recorded(model, ask)

    assert heard == "Hello."
    assert [attempt.error.status if attempt.error else None for attempt in trace.model_calls[0].attempts] == [503, None]


def test_an_error_of_google_has_the_status_that_it_calls_it() -> None:
    from google.genai.errors import APIError

    with ScriptedModel(Fails(429, "Slow down."), Fails(500, type="UNKNOWN")) as model, google(model) as client:
        raised = []
        for _ in range(2):
            with pytest.raises(APIError) as caught:
                client.models.generate_content(**gemini())
            raised.append((caught.value.code, caught.value.status, caught.value.message))

    assert raised == [(429, "RESOURCE_EXHAUSTED", "Slow down."), (500, "UNKNOWN", "Internal Server Error")]


def test_an_error_of_bedrock_is_the_exception_of_that_name() -> None:
    with ScriptedModel(Fails(429, "Slow down.")) as model:
        client = bedrock(model)
        with pytest.raises(client.exceptions.ThrottlingException) as caught:
            client.converse(**CONVERSE)

    assert caught.value.response["Error"]["Message"] == "Slow down."


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"type": "error", "error": {"type": "api_error", "message": "Broken."}}),
        ("/v1beta/models/m:generateContent", {"error": {"code": 500, "message": "Broken.", "status": "INTERNAL"}}),
        ("/model/m/converse", {"__type": "InternalServerException", "message": "Broken."}),
        ("/v2/chat", {"message": "Broken."}),
        ("/api/chat", {"error": "Broken."}),
        ("/v1/embeddings", {"error": {"message": "Broken.", "type": "server_error", "param": None, "code": None}}),
    ],
)
def test_an_error_looks_as_its_provider_writes_it(path: str, body: dict[str, Any]) -> None:
    with ScriptedModel(Fails(500, "Broken.")) as model:
        answer = httpx2.post(f"{model.url}{path}", json={})

    assert (answer.status_code, answer.json()) == (500, body)


def test_a_script_that_ran_out_is_not_retried_by_anthropics_client() -> None:
    with (
        ScriptedModel(Says("One.")) as model,
        anthropic.Anthropic(base_url=model.url, api_key="scripted", max_retries=2) as client,
    ):
        client.messages.create(**CLAUDE)
        with pytest.raises(anthropic.InternalServerError, match="1 reply was scripted, and request 2 came"):
            client.messages.create(**CLAUDE)

    assert len(model.requests) == 2


def test_disconnects_counts_the_chunks_of_every_stream() -> None:
    texts: list[str] = []
    with (
        ScriptedModel(Disconnects(after=2, reply=Says("It has shipped."))) as model,
        claude(model) as client,
        pytest.raises(httpx2.RemoteProtocolError),
        client.messages.stream(**CLAUDE) as stream,
    ):
        texts.extend(stream.text_stream)

    assert texts == ["It", " has"]


# --- embeddings ------------------------------------------------------------------------------------------------------


@contextmanager
def embedder(model: ScriptedModel) -> Iterator[OpenAI]:
    with OpenAI(base_url=model.base_url, api_key="scripted", max_retries=0) as client:
        yield client


def test_a_vector_is_made_from_its_text_and_is_the_same_in_base64() -> None:
    with ScriptedModel(Embeds(), Embeds()) as model, embedder(model) as client:
        packed = client.embeddings.create(model="e", input=["owl", "order 42", "owl"])
        plain = client.embeddings.create(model="e", input=["owl", "order 42", "owl"], encoding_format="float")

    assert model.requests[0].body["encoding_format"] == "base64"
    first, second, third = (each.embedding for each in packed.data)
    assert first == third != second
    assert math.hypot(*first) == pytest.approx(1, abs=1e-6)
    assert [each.embedding for each in plain.data] == [first, second, third]
    assert (packed.usage.prompt_tokens, packed.usage.total_tokens) == (4, 4)


def test_the_vectors_can_be_scripted_and_the_request_says_how_long_made_ones_are() -> None:
    with ScriptedModel(Embeds([[0.25, -1.0]], input_tokens=7), Embeds()) as model, embedder(model) as client:
        given = client.embeddings.create(model="e", input="owl")
        made = client.embeddings.create(model="e", input=[[1, 2, 3]], dimensions=3)

    assert given.data[0].embedding == [0.25, -1.0]
    assert given.usage.total_tokens == 7
    assert len(made.data[0].embedding) == 3


def test_embeds_needs_a_vector_for_each_text_and_a_request_for_embeddings_needs_embeds() -> None:
    with ScriptedModel(Embeds([[1.0]]), Says("Hello."), Embeds()) as model:
        for path, body in (("/embeddings", {"input": ["a", "b"]}), ("/embeddings", {"input": "a"}), ("/responses", {})):
            assert httpx2.post(f"{model.base_url}{path}", json=body).status_code == 500

    assert [str(error) for error in model.errors] == [
        "Embeds has 1 vectors, and the request 2 texts",
        f"a request for embeddings is answered by Embeds, and the script gave {Says('Hello.')!r}",
        "only a request for embeddings is answered by Embeds, and /v1/responses came",
    ]


def test_base64_is_made_of_little_endian_floats_of_four_bytes() -> None:
    with ScriptedModel(Embeds([[1.0, -0.5]])) as model:
        body = {"input": "a", "encoding_format": "base64"}
        answer = httpx2.post(f"{model.base_url}/embeddings", json=body).json()

    assert struct.unpack("<2f", base64.b64decode(answer["data"][0]["embedding"])) == (1.0, -0.5)


# --- Ollama, and streams of Cohere -----------------------------------------------------------------------------------


def test_ollama_streams_lines_unless_it_is_asked_not_to() -> None:
    asked = {"model": "qwen3", "messages": [{"role": "user", "content": QUESTION}]}
    with ScriptedModel(ASKS, ASKS) as model:
        streamed = httpx2.post(f"{model.url}/api/chat", json=asked)
        plain = httpx2.post(f"{model.url}/api/chat", json={**asked, "stream": False}).json()

    lines = [json.loads(line) for line in streamed.text.splitlines()]
    calls = [call["function"] for line in lines for call in line["message"].get("tool_calls", [])]
    assert streamed.headers["content-type"] == "application/x-ndjson"
    assert "".join(line["message"]["content"] for line in lines) == plain["message"]["content"] == "One moment."
    assert calls == [call["function"] for call in plain["message"]["tool_calls"]]
    assert calls[0] == {"name": "get_order", "arguments": {"id": 42, "note": "Zoë, \U0001f600"}}
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert (plain["prompt_eval_count"], plain["eval_count"], plain["done_reason"]) == (40, 9, "stop")
    assert (lines[-1]["prompt_eval_count"], lines[-1]["eval_count"]) == (40, 9)


@pytest.mark.parametrize("reply", [SAYS, ASKS])
def test_a_stream_of_cohere_is_read_as_its_plain_answer_is(reply: Says | Asks) -> None:
    def ask(model: ScriptedModel) -> None:
        for stream in (False, True):
            httpx2.post(f"{model.url}/v2/chat", json={**COHERE, "stream": stream})

    with ScriptedModel(reply, reply) as model:
        _, trace = recorded(model, ask)

    plain, streamed = trace.model_calls
    assert streamed.response == plain.response == reply.text
    assert [(call.name, call.arguments) for call in streamed.tool_calls] == [
        (call.name, call.arguments) for call in plain.tool_calls
    ]
    assert (streamed.usage, streamed.finish_reason) == (plain.usage, plain.finish_reason)


# --- requests --------------------------------------------------------------------------------------------------------


TOLD = {
    "/v1/messages": {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "get_order", "input": {}}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "on Monday"}]},
                    {"type": "tool_result", "tool_use_id": "2", "content": "Zoë"},
                ],
            },
        ],
    },
    "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse": {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": QUESTION}]},
            {"role": "model", "parts": [{"functionCall": {"name": "get_order", "args": {}}}]},
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "get_order", "response": {"result": "on Monday"}}},
                    {"functionResponse": {"name": "get_customer", "response": {"output": "Zoë"}}},
                ],
            },
        ],
    },
    "/model/amazon.nova-lite-v1%3A0/converse-stream": {
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": QUESTION}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "1", "name": "get_order", "input": {}}}]},
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "1", "content": [{"text": "on Monday"}]}},
                    {"toolResult": {"toolUseId": "2", "content": [{"json": "Zoë"}]}},
                ],
            },
        ],
    },
    **{
        path: {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": QUESTION},
                {"role": "assistant", "content": "", "tool_calls": []},
                {"role": "tool", "content": "on Monday"},
                {"role": "tool", "content": "Zoë"},
            ]
        }
        for path in ("/v2/chat", "/api/chat")
    },
}


@pytest.mark.parametrize("path", TOLD)
def test_a_request_is_read_in_the_dialect_of_its_path(path: str) -> None:
    request = ScriptedRequest(path, "POST", {}, TOLD[path])

    assert (request.prompt, request.tool_results) == (QUESTION, ["on Monday", "Zoë"])
    assert request.word_count == len(f"Be brief. {QUESTION} on Monday Zoë".split())


def test_a_result_that_is_no_text_is_read_as_json() -> None:
    parts = [{"functionResponse": {"name": "get_order", "response": {"status": "shipped"}}}]
    request = ScriptedRequest("/v1/models/m:generateContent", "POST", {}, {"contents": [{"parts": parts}]})

    assert request.tool_results == ['{"status": "shipped"}']


def test_the_prompt_of_a_request_for_embeddings_is_its_last_text() -> None:
    assert ScriptedRequest("/v1/embeddings", "POST", {}, {"input": ["owl", "order 42"]}).prompt == "order 42"


def test_the_whole_conversation_of_a_tool_is_had_with_anthropics_client() -> None:
    with ScriptedModel(ASKS, Says("On Monday.")) as model, claude(model) as client:
        first = client.messages.create(**CLAUDE)
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "on Monday"}
            for block in first.content
            if block.type == "tool_use"
        ]
        messages = [*CLAUDE["messages"], first.to_param(), {"role": "user", "content": results}]
        client.messages.create(**{**CLAUDE, "messages": messages})

    assert model.requests[1].tool_results == ["on Monday", "on Monday"]
    assert [block.id for block in first.content if block.type == "tool_use"] == ["toolu_1", "toolu_2"]


def test_googles_client_calls_functions_by_itself() -> None:
    def get_order(number: int) -> str:
        """Where an order is."""
        return f"order {number} comes on Monday"

    with (
        ScriptedModel(Asks(ToolRequest("get_order", {"number": 42})), Says("On Monday.")) as model,
        google(model) as client,
    ):
        answer = client.models.generate_content(
            model="gemini-2.5-flash", contents=QUESTION, config={"tools": [get_order]}
        )

    assert answer.text == "On Monday."
    assert model.requests[1].tool_results == ["order 42 comes on Monday"]
    assert model.requests[1].prompt == QUESTION
