"""What damaged bodies brought to light: a finding, never an exception and never a hang."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pytest_agentops.assembly import trace_of
from pytest_agentops.exchange import Exchange, Request, Response, parse_json, server_events
from pytest_agentops.trace import Trace
from pytest_agentops.wire.bedrock_converse import frames
from tests.fuzz.seeds import JUNK, closed, made, opened
from tests.test_wire_formats import frame, sse

JSON = (("content-type", "application/json"),)
GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent"


def read(*exchanges: Exchange) -> Trace:
    trace = trace_of(exchanges, source="imported")
    assert Trace.from_json(trace.to_json()).to_json() == trace.to_json()
    return trace


def exchange(url: str, asked: Any, answer: Any) -> Exchange:
    return Exchange(
        1, Request("POST", url, JSON, json.dumps(asked).encode()), Response(200, "", JSON, json.dumps(answer).encode())
    )


@pytest.mark.parametrize("declared", [0.5, "name", {"name": "a"}, [0.5, "b", {"name": 1}, {"name": "look"}]])
def test_tools_that_are_declared_as_something_else_are_no_tools(declared):
    assert read(exchange(GEMINI, {"tools": [{"functionDeclarations": declared}]}, {})).model_calls


@pytest.mark.parametrize("strange", [{"a": 1}, [], 0.5, None])
def test_ids_of_another_kind_are_no_reason_to_fail(strange):
    anthropic = [
        {"type": "server_tool_use", "id": strange, "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": strange, "content": []},
    ]
    bedrock = [
        {"toolUse": {"toolUseId": strange, "name": "look", "type": "server_tool_use"}},
        {"toolResult": {"toolUseId": strange, "content": []}},
    ]

    assert read(exchange("https://api.anthropic.com/v1/messages", {}, {"content": anthropic})).tool_calls
    url = "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/converse"
    assert read(exchange(url, {}, {"output": {"message": {"content": bedrock}}})).tool_calls


def variants(value: Any) -> Iterator[Any]:
    """The value with one thing in it replaced, for each place in it and every second kind of junk, to save time."""
    yield from JUNK[::2]
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        for changed in variants(value[key]):
            copied = value.copy()
            copied[key] = changed
            yield copied


def damaged(body: bytes) -> Iterator[bytes]:
    """The body with another value in each place of its JSON, or of the JSON of each kind of event."""
    if sent := list(frames(body)):
        for at, (kind, payload) in enumerate(sent):
            for changed in variants(opened(payload)):
                pieces = [*sent[:at], (kind, closed(changed)), *sent[at + 1 :]]
                yield b"".join(frame(*piece) for piece in pieces)
        return
    if not body.startswith((b"data:", b"event:")):
        yield from (json.dumps(each).encode() for each in variants(parse_json(body) or {}))
        return
    events = [event.json for event in server_events(body)]
    for at, event in enumerate(events):
        for changed in variants(event):
            yield sse(*events[:at]) + b"data: " + json.dumps(changed).encode() + b"\n\n" + sse(*events[at + 1 :])


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [pytest.param(each, id=f"{n} {each.request.location.path[-30:]}") for n, each in enumerate(made())]
)
def test_any_value_may_be_of_another_kind_anywhere(seed):
    request, response = seed.request, seed.response
    requests = [replace(request, body=body) for body in damaged(request.body or b"{}")]
    responses = [replace(response, body=body) for body in damaged(response.body)]
    for sent, came in [*((each, response) for each in requests), *((request, each) for each in responses)]:
        read(replace(seed, request=sent, response=came))


def test_each_seed_is_read_as_it_is():
    for each in made():
        assert read(each).exchanges == 1
