"""What damaged bodies brought to light: a finding, never an exception and never a hang."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_agentops.assembly import trace_of
from pytest_agentops.exchange import Exchange, Request, Response
from pytest_agentops.trace import Trace
from tests.fuzz.seeds import made

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


def test_each_seed_is_read_as_it_is():
    for each in made():
        assert read(each).exchanges == 1
