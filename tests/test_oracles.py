"""Recorded streams, added up by us and by the provider's own client from the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from botocore.eventstream import EventStreamBuffer
from google import genai
from google.genai.types import HttpOptions

from pytest_agentops.assembly import FORMATS
from pytest_agentops.exchange import Exchange
from pytest_agentops.tape import load
from pytest_agentops.trace import ModelCall
from pytest_agentops.wire.bedrock_converse import frames
from tests.test_corpus import CASSETTES, CORPUS, pytestmark  # noqa: F401 - the mark skips where there is no corpus

MESSAGES: Any = [{"role": "user", "content": "?"}]


def streams(module: str) -> list[Any]:
    """The streamed answers of the corpus that this format reads, each as a parameter."""
    found = []
    for path in CASSETTES:
        if b"event-stream" not in path.read_bytes():
            continue
        for exchange in load(path).exchanges:
            reader = next((each for each in FORMATS if each.reads(exchange.request)), None)
            response = exchange.response
            if reader is None or response is None or not response.is_event_stream or response.status >= 300:
                continue
            if reader.__name__.endswith(module):  # type: ignore[attr-defined]
                name = f"{path.relative_to(CORPUS)}#{exchange.number}"
                found.append(pytest.param(exchange, reader.decode(exchange), id=name))
    return found


def answering(exchange: Exchange, library: Any = httpx2) -> Any:
    """A client of HTTP to which every request gets these bytes."""
    assert exchange.response is not None
    body = exchange.response.body
    headers = {"content-type": "text/event-stream"}
    return library.Client(
        transport=library.MockTransport(lambda _: library.Response(200, headers=headers, content=body))
    )


@pytest.mark.parametrize(("exchange", "call"), streams("anthropic_messages"))
def test_the_client_of_anthropic_adds_up_the_same(exchange: Exchange, call: ModelCall) -> None:
    client = anthropic.Anthropic(api_key="x", http_client=answering(exchange))

    with client.messages.stream(model="m", max_tokens=1, messages=MESSAGES) as stream:
        message = stream.get_final_message()

    assert call.id == message.id
    assert call.model == message.model
    assert call.response == "".join(block.text for block in message.content if block.type == "text")
    assert [(each.name, each.arguments, each.id) for each in call.tool_calls if not each.by_provider] == [
        (block.name, block.input, block.id) for block in message.content if block.type == "tool_use"
    ]
    assert [each.id for each in call.tool_calls if each.by_provider] == [
        block.id for block in message.content if block.type == "server_tool_use"
    ]
    usage = message.usage
    written, read = usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.output_tokens) == (
        usage.input_tokens + written + read,
        usage.output_tokens,
    )


@pytest.mark.parametrize(("exchange", "call"), streams("gemini"))
def test_the_client_of_google_adds_up_the_same(exchange: Exchange, call: ModelCall) -> None:
    client = genai.Client(api_key="x", http_options=HttpOptions(httpx_client=answering(exchange, _library_of_google())))

    chunks = list(client.models.generate_content_stream(model="m", contents="?"))

    parts = [part for chunk in chunks for part in _parts(chunk)]
    assert call.response == "".join(part.text for part in parts if part.text and not part.thought)
    calls = [part.function_call for part in parts if part.function_call]
    assert [(each.name, each.arguments) for each in call.tool_calls if not each.by_provider] == [
        (each.name, each.args or {}) for each in calls
    ]
    usage = chunks[-1].usage_metadata
    assert call.usage is not None
    assert usage is not None
    assert call.usage.total_tokens == usage.total_token_count
    assert call.model == chunks[-1].model_version


def _library_of_google() -> Any:
    """The client of HTTP that google-genai is built on in the version that is installed."""
    field = HttpOptions.model_fields["httpx_client"]
    return httpx2 if "httpx2" in str(field.annotation) else httpx


def _parts(chunk: Any) -> Iterator[Any]:
    for candidate in (chunk.candidates or [])[:1]:
        yield from (candidate.content.parts if candidate.content and candidate.content.parts else ())


@pytest.mark.parametrize(("exchange", "call"), streams("openai_chat"))
def test_the_client_of_openai_adds_up_the_same_chat(exchange: Exchange, call: ModelCall) -> None:
    client = openai.OpenAI(api_key="x", http_client=answering(exchange))

    with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
        completion = stream.get_final_completion()

    message = completion.choices[0].message
    assert call.response == (message.content or "")
    assert [(each.name, json.dumps(each.arguments), each.id) for each in call.tool_calls] == [
        (each.function.name, json.dumps(json.loads(each.function.arguments or "{}")), each.id)
        for each in message.tool_calls or []
    ]
    # One server sends no id and no reason; then ours are a number and the empty text.
    assert call.id == (completion.id or "call-1")
    assert call.finish_reason == (completion.choices[0].finish_reason or "")
    if completion.usage is not None:
        assert call.usage is not None
        assert call.usage.input_tokens == completion.usage.prompt_tokens
        assert call.usage.output_tokens == completion.usage.completion_tokens


@pytest.mark.parametrize(("exchange", "call"), streams("openai_responses"))
def test_the_client_of_openai_adds_up_the_same_response(exchange: Exchange, call: ModelCall) -> None:
    client = openai.OpenAI(api_key="x", http_client=answering(exchange))

    with client.responses.stream(model="m", input="?") as stream:
        response = stream.get_final_response()

    assert call.response == response.output_text
    assert [(each.name, each.arguments) for each in call.tool_calls if not each.by_provider] == [
        (item.name, json.loads(item.arguments or "{}")) for item in response.output if item.type == "function_call"
    ]
    assert call.id == response.id
    assert call.usage is not None
    assert response.usage is not None
    assert (call.usage.input_tokens, call.usage.output_tokens) == (
        response.usage.input_tokens,
        response.usage.output_tokens,
    )


@pytest.mark.parametrize("path", [path for path in CASSETTES if b"/converse-stream" in path.read_bytes()], ids=str)
def test_botocore_reads_the_same_frames(path: Path) -> None:
    seen = 0
    for exchange in load(path).exchanges:
        if exchange.request.location.path.endswith("/converse-stream") and exchange.response is not None:
            buffer = EventStreamBuffer()
            buffer.add_data(exchange.response.body)
            theirs = [(event.headers[":event-type"], json.loads(event.payload)) for event in buffer]
            assert list(frames(exchange.response.body)) == theirs
            seen += len(theirs)
    assert seen > 0
