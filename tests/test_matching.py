"""When two requests are the same, why they are not, and values that change from run to run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_agentops.exchange import Request
from pytest_agentops.matching import Renaming, causes, request_key
from pytest_agentops.volatile import Volatile, json_path, normalised, volatile_in

CHAT = "https://api.openai.com/v1/chat/completions"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
UUID = "6f1c2b3a-1111-4222-8333-444455556666"
OTHER = "0a0b0c0d-9999-4888-8777-666655554444"


def request(body: object, url: str = CHAT) -> Request:
    return Request("POST", url, (), json.dumps(body).encode())


def reasons(recorded: object, asked: object, ignore: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [(cause.kind, cause.detail) for cause in causes(request(recorded), request(asked), ignore)]


def said(*messages: dict[str, object], **options: object) -> dict[str, object]:
    return {"model": "gpt-5-mini", "messages": list(messages), **options}


SYSTEM = {"role": "system", "content": "You are kind."}
USER = {"role": "user", "content": "Where is order 42?"}
ASKED = {"role": "assistant", "tool_calls": [{"id": "call_1", "function": {"name": "look", "arguments": "{}"}}]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "shipped"}


@pytest.mark.parametrize(
    ("recorded", "asked", "expected"),
    [
        (said(USER), said(USER) | {"model": "gpt-5"}, [("model", "")]),
        (said(SYSTEM, USER), said({**SYSTEM, "content": "You are strict."}, USER), [("prompt", "system")]),
        (said(USER), said({**USER, "content": "Where is order 43?"}), [("prompt", "user")]),
        (said(USER), said(USER, tools=[{"type": "function"}]), [("tools", "")]),
        (said(USER, ASKED, RESULT), said(USER, ASKED, {**RESULT, "content": "lost"}), [("tool result", "")]),
        (
            said(USER, ASKED, RESULT),
            said(USER, {**ASKED, "tool_calls": []}, RESULT),
            [("earlier answer", "")],
        ),
        (said(USER), said(USER, response_format={"type": "json_object"}), [("output schema", "")]),
        (said(USER), said(USER, temperature=1), [("options", "")]),
        (said(USER), said(USER, SYSTEM), [("prompt", "system")]),
        ({"model": "m", "instructions": "a"}, {"model": "m", "instructions": "b"}, [("prompt", "")]),
        ({"model": "m", "input": "a"}, {"model": "m", "input": "b"}, [("prompt", "user")]),
        (
            {"input": [{"type": "function_call_output", "call_id": "1", "output": "a"}]},
            {"input": [{"type": "function_call_output", "call_id": "1", "output": "b"}]},
            [("tool result", "")],
        ),
        (
            {"input": [{"type": "function_call", "call_id": "1", "arguments": "a"}]},
            {"input": [{"type": "function_call", "call_id": "1", "arguments": "b"}]},
            [("earlier answer", "")],
        ),
        ({"system": "a", "messages": []}, {"system": "b", "messages": []}, [("prompt", "")]),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "a"}]}]},
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "b"}]}]},
            [("tool result", "")],
        ),
        (
            {"contents": [{"role": "user", "parts": [{"functionResponse": {"response": {"is": 1}}}]}]},
            {"contents": [{"role": "user", "parts": [{"functionResponse": {"response": {"is": 2}}}]}]},
            [("tool result", "")],
        ),
        (said(USER), said(USER, run=UUID) | {"model": "gpt-5"}, [("model", ""), ("options", "")]),
        (said(USER, run=UUID), said(USER, run=OTHER), [("volatile value", "uuid")]),
        (said(USER, at=1_795_518_000), said(USER, at=1_795_518_007), [("volatile value", "time")]),
        (
            said({**USER, "content": "See /tmp/pytest-of-me/pytest-1/a.txt"}),
            said({**USER, "content": "See /tmp/pytest-of-me/pytest-2/a.txt"}),
            [("volatile value", "temporary path")],
        ),
        (
            said({**SYSTEM, "content": "Today is November 23, 2026."}),
            said({**SYSTEM, "content": "Today is November 24, 2026."}),
            [("volatile value", "date")],
        ),
        (said({**USER, "content": "a  b\n"}), said({**USER, "content": "a b"}), [("white space", "")]),
        ([1], [2], [("options", "")]),
        (
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"arguments": {"item": "owl"}}},
            {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"arguments": {"item": "cat"}}},
            [("arguments", "")],
        ),
        (
            {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {"traceparent": "00-a"}}},
            {"jsonrpc": "2.0", "id": 2, "method": "prompts/list", "params": {"_meta": {"traceparent": "00-b"}}},
            [("options", "")],
        ),
    ],
)
def test_the_cause_of_a_difference_is_named(recorded: object, asked: object, expected: list[tuple[str, str]]) -> None:
    assert reasons(recorded, asked) == expected


def test_the_weightiest_cause_comes_first_and_what_is_ignored_is_none() -> None:
    recorded = said(SYSTEM, USER, seed=1, run=UUID)
    asked = said({**SYSTEM, "content": "Be brief."}, USER, seed=2, run=OTHER) | {"model": "gpt-5"}

    assert reasons(recorded, asked, ("$.seed",)) == [("model", ""), ("prompt", "system"), ("volatile value", "uuid")]


@pytest.mark.parametrize(
    ("recorded", "asked", "kind"),
    [
        (
            "https://a.test/v1/models/gemini-3:generateContent",
            "https://a.test/v1/models/gemini-4:generateContent",
            "model",
        ),
        ("https://a.test/model/nova/converse", "https://a.test/model/claude/converse", "model"),
        ("https://a.test/v1/chat", "https://b.test/v1/chat", "endpoint"),
        ("https://a.test/v1/chat?a=1", "https://a.test/v1/chat?a=2", "endpoint"),
    ],
)
def test_another_place_is_another_model_or_another_endpoint(recorded: str, asked: str, kind: str) -> None:
    assert [cause.kind for cause in causes(request({}, recorded), request({}, asked))] == [kind]


def test_bodies_that_are_no_json_differ_as_such() -> None:
    assert [cause.kind for cause in causes(Request("POST", CHAT, (), b"a"), Request("POST", CHAT, (), b"b"))] == [
        "body"
    ]


# --- placeholders ----------------------------------------------------------------------------------------------------


def test_the_number_of_a_placeholder_does_not_count_but_which_are_the_same_does() -> None:
    one, other = request({"a": "REDACTED-1", "b": "REDACTED-2"}), request({"a": "REDACTED-7", "b": "REDACTED-3"})
    twice = request({"a": "REDACTED-1", "b": "REDACTED-1"})

    assert request_key(one).digest == request_key(other).digest != request_key(twice).digest
    assert request_key(other).names == ("REDACTED-7", "REDACTED-3")


def test_a_renaming_is_one_for_one() -> None:
    renaming = Renaming()
    first, second = request_key(request(["REDACTED-1"])), request_key(request(["REDACTED-2"]))
    assert renaming.fits(first, second)
    renaming.learn(first, second)

    assert renaming.fits(first, second)
    assert not renaming.fits(first, first), "this run's first is the recording's second"
    assert not renaming.fits(second, second), "the recording's second is taken"
    assert renaming.spelled(request({"key": "REDACTED-1 and REDACTED-9"})).json == {"key": "REDACTED-2 and REDACTED-9"}


def test_the_one_placeholder_of_old_cassettes_stands_for_any() -> None:
    assert Renaming().fits(request_key(request(["REDACTED-4"])), request_key(request(["REDACTED"])))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values, json_values)
def test_two_requests_have_one_key_where_their_json_is_equal_and_only_there(left: Any, right: Any) -> None:
    def written(value: Any) -> str:
        return json.dumps(value, sort_keys=True)

    same = request_key(request(left)) == request_key(request(right))
    assert same == (written(left) == written(right)) or "REDACTED" in written([left, right])


# --- volatile values -------------------------------------------------------------------------------------------------


def found(body: object, *, known: str = "") -> list[tuple[str, str, str]]:
    every = volatile_in(body, now=NOW, known=lambda value: value in known)
    return [(each.kind, json_path(each.pointer, body), each.value) for each in every]


def test_volatile_values_are_found_where_they_stand() -> None:
    body = {
        "metadata": {"run id": UUID, "it's": "0" * 31 + "a"},
        "messages": [{"content": "Now 2026-11-24T11:59:58.5Z, file /tmp/x/y.txt, <Agent at 0x7f00aa11>"}],
        "created": 1_795_521_600.25,
        "day": "24 November 2026",
    }

    assert found(body) == [
        ("uuid", "$.metadata['run id']", UUID),
        ("uuid", "$.metadata['it\\'s']", "0" * 31 + "a"),
        ("time", "$.messages[0].content", "2026-11-24T11:59:58.5Z"),
        ("temporary path", "$.messages[0].content", "/tmp/x/y.txt"),
        ("object address", "$.messages[0].content", "0x7f00aa11"),
        ("time", "$.created", "1795521600.25"),
        ("date", "$.day", "24 November 2026"),
    ]


@pytest.mark.parametrize(
    "steady",
    [
        {"founded": "1998-04-01", "at": "2019-01-01T00:00:00Z", "since": 1_546_300_800},
        {"order": 4_242_424_242, "price": 19.9, "phone": "+49 30 1234567", "clock": "noon"},
        {"id": "call_abcdefghijklmnopqrstuvwx", "hash": "deadbeef", "path": "/etc/hosts"},
        {"n": 10**400, "big": 1e300, "flag": True, "none": None},
    ],
)
def test_what_stays_as_it_is_is_not_volatile(steady: object) -> None:
    assert found(steady) == []


def test_what_came_from_a_reply_or_stands_in_the_test_is_not_volatile() -> None:
    assert found({"run": UUID}, known=f"RUN = {UUID!r}") == []


def test_the_path_of_a_volatile_value_is_one_that_ignore_understands() -> None:
    body = {"metadata": {"run id": UUID}, "messages": [{"content": "hi"}]}
    [value] = volatile_in(body, now=NOW, known=lambda _: False)
    other = json.loads(json.dumps(body).replace(UUID, OTHER))
    path = (json_path(value.pointer, body),)

    assert request_key(request(body), path) == request_key(request(other), path)
    assert value == Volatile("/metadata/run id", "uuid", UUID, whole=True)


@given(json_values)
def test_looking_for_volatile_values_never_fails(body: Any) -> None:
    found(body)
    normalised(body)
