"""Record and replay on values: who gets which answer, what is kept, and what the file says."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest
import vcr
import vcr.serialize
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI, OpenAI
from vcr.serializers import yamlserializer

from pytest_agentops.cassette import Session
from pytest_agentops.errors import CassetteMiss, CassetteMissing, CassetteUnplayed, CassetteUnreadable
from pytest_agentops.exchange import Exchange, Failure, Request, Response, Timing, parse_json, server_events
from pytest_agentops.matching import changes, request_key
from pytest_agentops.tape import Tape, dumps, load, loads
from pytest_agentops.testing import (
    Asks,
    Disconnects,
    Fails,
    Reply,
    Says,
    ScriptedModel,
    ScriptedRequest,
    ToolRequest,
)
from pytest_agentops.trace import Render, Trace

Start = Callable[..., ScriptedModel]
Ask = Callable[[OpenAI], object]

CHAT = "https://api.openai.com/v1/chat/completions"
JSON = (("content-type", "application/json"),)
EVENTS = (("content-type", "text/event-stream; charset=utf-8"),)
RECORDED = datetime(2026, 11, 22, 12, tzinfo=UTC)


def echo(request: ScriptedRequest) -> Reply:
    return Says(f"re: {request.prompt}")


def question(text: str, **options: object) -> dict[str, Any]:
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}], **options}


def post(model: ScriptedModel, text: str) -> str:
    """One question through httpx2, and the text of its answer."""
    reply = httpx2.post(f"{model.base_url}/chat/completions", json=question(text))
    content: str = reply.json()["choices"][0]["message"]["content"]
    return content


@contextmanager
def client_of(model: ScriptedModel, **options: Any) -> Iterator[OpenAI]:
    with OpenAI(**{"base_url": model.base_url, "api_key": "scripted", **options}) as client:
        yield client


@contextmanager
def recorded(path: Path, *, mode: str = "once", **options: Any) -> Iterator[Session]:
    """A session that is saved as passed; in mode `none` it replays."""
    session = Session(path, mode=mode, name="test", **options)
    with session.open():
        yield session
    session.close("passed")


def asked_of(path: Path) -> list[str]:
    """The questions in a cassette, in the order of their numbers."""
    exchanges = sorted(load(path).exchanges, key=lambda exchange: exchange.number)
    return [exchange.request.json["messages"][-1]["content"] for exchange in exchanges]


def chat(number: int, text: str, answer: str = "fine") -> Exchange:
    """A recorded chat completion."""
    body = {"id": f"chatcmpl-{number}", "model": "gpt-5-mini", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}]}  # fmt: skip
    return Exchange(
        number,
        Request("POST", CHAT, JSON, json.dumps(question(text)).encode()),
        Response(200, "OK", JSON, json.dumps(body).encode()),
        timing=Timing(0.5 * number, 0.25),
    )


def unsourced(trace: Trace) -> Trace:
    """The trace without where it came from, which is all that a live and a loaded one differ in."""
    return replace(trace, source="live")


# --- the right answer to each request --------------------------------------------------------------------------------


def test_twenty_prompts_gathered_at_once_each_get_their_own_answer_again(tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"

    async def gather(base_url: str) -> list[str]:
        async with AsyncOpenAI(base_url=base_url, api_key="scripted", max_retries=0) as client:
            replies = await asyncio.gather(
                *(client.chat.completions.create(**question(f"question {number}")) for number in range(20))
            )
        return [str(reply.choices[0].message.content) for reply in replies]

    expected = [f"re: question {number}" for number in range(20)]
    with ScriptedModel(echo) as model, recorded(path):
        assert asyncio.run(gather(model.base_url)) == expected
    with recorded(path, mode="none") as session:
        assert asyncio.run(gather(model.base_url)) == expected
    session.check()
    assert session.recording.source == "replayed"


def test_two_thousand_identical_requests_from_threads_get_each_answer_exactly_once(tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"
    count = 2_000
    path.write_text(dumps(Tape(tuple(chat(number, "again", f"answer {number}") for number in range(1, count + 1)))))
    with recorded(path, mode="none") as session, httpx2.Client() as client, ThreadPoolExecutor(16) as pool:
        replies = pool.map(lambda _: client.post(CHAT, json=question("again")), range(count))
        answers = [reply.json()["choices"][0]["message"]["content"] for reply in replies]
        session.check()
        with pytest.raises(CassetteMiss) as raised:
            client.post(CHAT, json=question("again"))
    assert len(answers) == len(set(answers)) == count
    assert raised.value.miss.used_up
    assert str(raised.value).splitlines()[2:4] == [
        f"  cassette  {shown(path)} (2,000 replies, 2,000 used)",
        "  closest   this very request is recorded, and each of its replies was given already",
    ]


def shown(path: Path) -> str:
    import os

    return os.path.relpath(path)


def test_identical_requests_are_answered_in_the_order_they_were_issued(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(Says("first"), Says("second"), Says("third"))
    for mode in ("once", "none"):
        with recorded(path, mode=mode):
            assert [post(model, "again") for _ in range(3)] == ["first", "second", "third"]


def test_the_order_of_a_file_does_not_matter_but_the_recorded_numbers_do(tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"
    path.write_text(dumps(Tape((chat(2, "again", "second"), chat(1, "again", "first")))))
    with recorded(path, mode="none"), httpx2.Client() as client:
        replies = [client.post(CHAT, json=question("again")).json() for _ in range(2)]
    assert [reply["choices"][0]["message"]["content"] for reply in replies] == ["first", "second"]


def test_an_answer_is_never_reused_silently(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(echo)
    with recorded(path):
        post(model, "once only")
    with recorded(path, mode="none"):
        post(model, "once only")
        with pytest.raises(CassetteMiss):
            post(model, "once only")
    assert len(model.requests) == 1


def test_a_changed_prompt_never_gets_the_old_answer(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(echo)
    with recorded(path):
        post(model, "Be brief.")
    with recorded(path, mode="once"), pytest.raises(CassetteMiss):
        post(model, "Be verbose.")
    assert len(model.requests) == 1


# --- the key ---------------------------------------------------------------------------------------------------------


def key(url: str = CHAT, body: bytes = b"", *, method: str = "POST", headers: Any = JSON, ignore: Any = ()) -> bytes:
    return request_key(Request(method, url, headers, body), ignore)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param(key(body=b'{"a": 1, "b": [1, 2]}'), key(body=b'{"b":[1,2],"a":1}'), id="order of names, spaces"),
        pytest.param(key(body=b'{"a": "\\u00e9"}'), key(body='{"a": "é"}'.encode()), id="escapes"),
        pytest.param(key(f"{CHAT}?a=1&b=2"), key(f"{CHAT}?b=2&a=1"), id="order of the query"),
        pytest.param(key("http://127.0.0.1:1234/v1"), key("http://127.0.0.1:4321/v1"), id="port on 127.0.0.1"),
        pytest.param(key("http://localhost:1234/v1"), key("http://localhost/v1"), id="port on localhost"),
        pytest.param(key("http://[::1]:1234/v1"), key("http://[::1]:1/v1"), id="port on ::1"),
        pytest.param(key("https://API.openai.com/v1"), key("https://api.openai.com/v1"), id="case of the host"),
        pytest.param(key("https://api.openai.com"), key("https://api.openai.com/"), id="empty path"),
        pytest.param(key(method="post"), key(method="POST"), id="case of the method"),
        pytest.param(
            key(body=b'{"a": 1, "metadata": {"run": "x", "keep": 1}}', ignore=["$.metadata.run"]),
            key(body=b'{"a": 1, "metadata": {"run": "y", "keep": 1}}', ignore=["$.metadata.run"]),
            id="ignored name",
        ),
        pytest.param(
            key(body=b'{"m": [{"id": 1, "t": "a"}, {"id": 2}]}', ignore=["$.m[*].id"]),
            key(body=b'{"m": [{"t": "a", "id": 7}, {}]}', ignore=["$.m[*].id"]),
            id="ignored in each item",
        ),
        pytest.param(
            key(body=b'{"m": ["x", "a", "y"]}', ignore=["$.m[0,2]"]),
            key(body=b'{"m": ["p", "a", "q"]}', ignore=["$.m[0,2]"]),
            id="ignored items",
        ),
        pytest.param(
            key(body=b"--abc\r\nhi\r\n--abc--", headers=(("content-type", "multipart/form-data; boundary=abc"),)),
            key(body=b"--xyz\r\nhi\r\n--xyz--", headers=(("content-type", 'multipart/form-data; boundary="xyz"'),)),
            id="boundary",
        ),
    ],
)
def test_requests_that_mean_the_same_have_the_same_key(left: bytes, right: bytes) -> None:
    assert left == right


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param(key(body=b'{"a": [1, 2]}'), key(body=b'{"a": [2, 1]}'), id="order of a list"),
        pytest.param(key(body=b'{"a": 1}'), key(body=b'{"a": true}'), id="1 and true"),
        pytest.param(key(body=b'{"a": 1}'), key(body=b'{"a": "1"}'), id="1 and '1'"),
        pytest.param(key(body=b'{"a": null}'), key(body=b"{}"), id="null and nothing"),
        pytest.param(key(body=b"null"), key(body=b""), id="a null body and none"),
        pytest.param(key(f"{CHAT}?a=1"), key(f"{CHAT}?a=2"), id="query"),
        pytest.param(key(f"{CHAT}?a="), key(CHAT), id="empty query value"),
        pytest.param(key("https://api.openai.com:8443/v1"), key("https://api.openai.com/v1"), id="port elsewhere"),
        pytest.param(key("https://api.openai.com/v1"), key("http://api.openai.com/v1"), id="scheme"),
        pytest.param(key("https://api.openai.com/v1"), key("https://api.mistral.ai/v1"), id="host"),
        pytest.param(key(method="GET"), key(method="POST"), id="method"),
        pytest.param(key(body=b"\xff\xfe"), key(body=b"\xff\xff"), id="bytes"),
        pytest.param(
            key(body=b'{"a": 1, "b": 1}', ignore=["$.a"]), key(body=b'{"a": 1, "b": 2}', ignore=["$.a"]), id="others"
        ),
    ],
)
def test_requests_that_mean_different_things_have_different_keys(left: bytes, right: bytes) -> None:
    assert left != right


def test_a_cassette_recorded_on_one_port_replays_on_another(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    with ScriptedModel(echo) as model, recorded(path):
        post(model, "hello")
    elsewhere = scripted_model(echo)
    assert elsewhere.port != model.port
    with recorded(path, mode="none") as session:
        assert post(elsewhere, "hello") == "re: hello"
    session.check()
    assert elsewhere.requests == []


def test_localhost_and_its_number_are_two_hosts(tmp_path: Path, scripted_model: Start) -> None:
    """Names of this machine are compared as they are written; only their ports do not count."""
    path = tmp_path / "cassette.yaml"
    model = scripted_model(echo)
    with recorded(path):
        post(model, "hello")
    with recorded(path, mode="none"), pytest.raises(CassetteMiss) as raised:
        httpx2.post(f"http://localhost:{model.port}/v1/chat/completions", json=question("hello"))
    assert str(raised.value).splitlines()[4] == (
        f"  closest   #1 goes to POST http://127.0.0.1:{model.port}/v1/chat/completions"
    )


def test_what_ignore_names_does_not_count_when_a_request_is_looked_up(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(echo)
    for mode, run in (("once", "a"), ("none", "b")):
        with recorded(path, mode=mode, ignore=["$.metadata.run"]) as session, client_of(model) as client:
            client.chat.completions.create(**question("hello", metadata={"run": run}))
        session.check()
    assert len(model.requests) == 1
    assert session.recording.exchanges[0].request.json["metadata"] == {"run": "b"}


# --- misses ----------------------------------------------------------------------------------------------------------


def miss_of(path: Path, tape: Tape, request: dict[str, Any], *, mode: str = "none", url: str = CHAT) -> CassetteMiss:
    """The miss of one request."""
    path.write_text(dumps(tape))
    session = Session(path, mode=mode, name="tests/test_refund.py::test_whole_order")
    with session.open(), httpx2.Client() as client, pytest.raises(CassetteMiss) as raised:
        client.post(url, json=request)
    with pytest.raises(CassetteMiss):
        session.check()
    return raised.value


def test_a_miss_names_the_nearest_request_what_differs_and_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tape = Tape((chat(1, "Where is order 42?"), chat(2, "Cancel order 42."), chat(3, "Thank you!")))
    miss = miss_of(tmp_path / "cassette.yaml", tape, question("Where is order 43?") | {"temperature": 0.5})
    assert str(miss) == (
        "no recorded reply for this request, and nothing may go live (record mode: none)\n"
        '  request   POST https://api.openai.com/v1/chat/completions  "Where is order 43?"\n'
        "  cassette  cassette.yaml (3 replies, 0 used)\n"
        "  cause     the prompt changed (user); other options\n"
        "  closest   #1 differs in /messages/0/content, /temperature\n"
        '            recorded  "Where is order 42?"\n'
        '            asked     "Where is order 43?"\n'
        "            recorded  nothing\n"
        "            asked     0.5\n"
        "  to record again: pytest tests/test_refund.py::test_whole_order --agentops-record=changed"
    )


def test_a_miss_shows_a_long_text_as_a_word_diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prompt = (
        "You are the support agent of ACME.\nNever refund more than {} euros without asking a colleague first, "
        "and always tell the customer when the money will arrive.\nBe {}."
    )
    tape = Tape((chat(1, prompt.format(50, "friendly")), chat(2, "something else")))
    miss = miss_of(tmp_path / "cassette.yaml", tape, question(prompt.format(80, "friendly and brief")))
    assert str(miss).splitlines()[3:-1] == [
        "  cause     the prompt changed (user)",
        "  closest   #1 differs in /messages/0/content",
        "            Never refund more than [-50-]{+80+} euros without asking a",
        "            money will arrive. Be [-friendly.-]{+friendly and brief.+}",
    ]


def test_a_miss_without_a_cassette_says_so_and_how_to_record_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = Session(tmp_path / "cassette.yaml", mode="none", name="tests/test_refund.py::test_it[a b]")
    with session.open(), httpx2.Client() as client, pytest.raises(CassetteMiss) as raised:
        client.post(CHAT, json=question("hello"))
    assert str(raised.value) == (
        "no recorded reply for this request, and nothing may go live (record mode: none)\n"
        '  request   POST https://api.openai.com/v1/chat/completions  "hello"\n'
        "  cassette  cassette.yaml does not exist\n"
        "  to record it: pytest 'tests/test_refund.py::test_it[a b]' --agentops-record=once"
    )


def test_a_miss_of_an_empty_cassette_says_that_it_is_empty(tmp_path: Path) -> None:
    miss = miss_of(tmp_path / "cassette.yaml", Tape(), question("hello"), mode="once")
    assert str(miss).splitlines()[3] == "  closest   nothing: it holds no reply for this test"


def test_a_miss_at_another_endpoint_says_where_the_nearest_one_goes(tmp_path: Path) -> None:
    miss = miss_of(
        tmp_path / "cassette.yaml", Tape((chat(1, "hello"),)), question("hello"), url="https://other.test/v1"
    )
    assert str(miss).splitlines()[3:5] == [
        "  cause     it goes to another endpoint",
        f"  closest   #1 goes to POST {CHAT}",
    ]


def test_the_nearest_request_is_one_that_is_still_waiting(tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"
    path.write_text(dumps(Tape((chat(1, "one"), chat(2, "two")))))
    with recorded(path, mode="none"), httpx2.Client() as client:
        client.post(CHAT, json=question("one"))
        with pytest.raises(CassetteMiss) as raised:
            client.post(CHAT, json=question("xyz"))
    assert raised.value.miss.nearest is not None
    assert raised.value.miss.nearest.number == 2


def test_a_miss_that_the_program_swallowed_is_found_by_the_check(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(echo)
    with recorded(path):
        post(model, "one")
    with recorded(path, mode="none") as session, client_of(model) as client:
        try:
            client.chat.completions.create(**question("two"))
        except Exception:
            post(model, "one")
    with pytest.raises(CassetteMiss) as raised:
        session.check()
    assert raised.value.miss.request.json == question("two")


def test_the_openai_client_does_not_retry_a_miss(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(echo)
    missing = tmp_path / "missing.yaml"
    with recorded(missing, mode="none") as session, client_of(model) as client, pytest.raises(CassetteMiss):
        client.chat.completions.create(**question("hello"))
    assert len(session.cassette.misses) == 1


def test_changes_are_named_by_json_pointers_with_their_escapes() -> None:
    recorded_body = {"a/b": {"~": 1}, "list": [1, 2, 3], "same": None, "gone": 0, "kind": 1}
    asked_body = {"a/b": {"~": 2}, "list": [1, 3], "same": None, "kind": True, "new": []}
    assert [
        (change.pointer, repr(change.recorded), repr(change.asked)) for change in changes(recorded_body, asked_body)
    ] == [
        ("/a~1b/~0", "1", "2"),
        ("/list/1", "2", "3"),
        ("/list/2", "3", "nothing"),
        ("/gone", "0", "nothing"),
        ("/kind", "1", "True"),
        ("/new", "nothing", "[]"),
    ]


# --- unplayed --------------------------------------------------------------------------------------------------------


def test_unplayed_exchanges_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "cassette.yaml"
    path.write_text(dumps(Tape((chat(1, "one"), chat(2, "two"), chat(3, "three")))))
    session = Session(path, mode="none", name="tests/test_a.py::test_it")
    with session.open(), httpx2.Client() as client:
        client.post(CHAT, json=question("two"))
    with pytest.raises(CassetteUnplayed) as raised:
        session.check()
    assert str(raised.value) == (
        "2 of 3 recorded replies were never asked for\n"
        "  cassette  cassette.yaml\n"
        '  #1  POST https://api.openai.com/v1/chat/completions -> 200  "one"\n'
        '  #3  POST https://api.openai.com/v1/chat/completions -> 200  "three"\n'
        "  to record again: pytest tests/test_a.py::test_it --agentops-record=changed"
    )


def test_what_happened_in_teardown_is_asked_for_in_teardown(tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"
    path.write_text(dumps(Tape((chat(1, "one"), chat(2, "two")), teardown=2)))
    session = Session(path, mode="none", name="test")
    with session.open(), httpx2.Client() as client:
        client.post(CHAT, json=question("one"))
        session.check()
        with pytest.raises(CassetteUnplayed):
            session.check(teardown=True)
        client.post(CHAT, json=question("two"))
        session.check(teardown=True)


# --- modes, drafts and outcomes --------------------------------------------------------------------------------------


def test_mode_none_sends_nothing_and_writes_nothing(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(echo)
    with recorded(tmp_path / "cassette.yaml", mode="none"), pytest.raises(CassetteMiss):
        post(model, "hello")
    assert model.requests == []
    assert list(tmp_path.iterdir()) == []


def test_mode_live_sends_everything_and_writes_nothing(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(Says("recorded"), Says("live"))
    with recorded(path):
        post(model, "hello")
    before = path.read_text()
    with recorded(path, mode="live") as session:
        assert post(model, "hello") == "live"
    assert session.recording.source == "live"
    assert path.read_text() == before


def test_mode_all_records_everything_anew(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(Says("old"), Says("new"))
    with recorded(path):
        post(model, "hello")
    with recorded(path, mode="all"):
        assert post(model, "hello") == "new"
    with recorded(path, mode="none"):
        assert post(model, "hello") == "new"


def run(path: Path, model: ScriptedModel, questions: list[str], outcome: Any, *, mode: str = "once") -> list[str]:
    """The answers of one run that ends with this outcome; its draft lies beside the cassette."""
    session = Session(path, mode=mode, name="test", draft=draft_of(path))
    answers = []
    with session.open(), client_of(model, max_retries=0) as client:
        for text in questions:
            try:
                reply = client.chat.completions.create(**question(text))
                answers.append(str(reply.choices[0].message.content))
            except openai.APIStatusError as error:
                answers.append(f"error {error.status_code}")
    session.close(outcome)
    return answers


def draft_of(path: Path) -> Path:
    return path.parent / ".agentops" / "drafts" / path.name


def test_a_failed_run_is_kept_as_a_draft_and_the_next_pays_only_for_what_is_new(
    tmp_path: Path, scripted_model: Start
) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(echo)
    run(path, model, ["one", "two"], "failed")
    assert not path.exists()
    assert load(draft_of(path)).outcome == "failed"
    assert (tmp_path / ".agentops" / ".gitignore").read_text() == "*\n"

    assert run(path, model, ["one", "two", "three"], "passed") == ["re: one", "re: two", "re: three"]
    assert [request.prompt for request in model.requests] == ["one", "two", "three"]
    assert asked_of(path) == ["one", "two", "three"]
    assert load(path).outcome == "passed"
    assert not draft_of(path).exists()


def test_a_run_that_goes_on_from_a_draft_is_numbered_in_its_own_order(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(echo)
    run(path, model, ["one", "two"], "failed")
    run(path, model, ["before", "one", "between", "two"], "passed")
    assert asked_of(path) == ["before", "one", "between", "two"]
    assert Trace.from_cassette(path).response == "re: two"


def test_what_the_next_run_no_longer_asks_is_not_promoted(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(echo)
    run(path, model, ["one", "two"], "failed")
    run(path, model, ["two"], "passed")
    assert asked_of(path) == ["two"]


@pytest.mark.parametrize("status", [401, 429, 500])
def test_an_error_in_a_draft_is_asked_again(status: int, tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(Says("fine"), Fails(status), Says("better"))
    assert run(path, model, ["one", "two"], "failed") == ["fine", f"error {status}"]
    assert run(path, model, ["one", "two"], "passed") == ["fine", "better"]
    assert len(model.requests) == 3
    assert [call.response for call in Trace.from_cassette(path).model_calls] == ["fine", "better"]


def test_an_answer_cut_in_the_middle_is_asked_again(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(Disconnects(reply=Says("It has shipped.")), Says("It has shipped."))
    session = Session(path, mode="once", name="test", draft=draft_of(path))
    with session.open(), pytest.raises(httpx2.RemoteProtocolError):
        post(model, "hello")
    session.close("failed")
    assert run(path, model, ["hello"], "passed") == ["It has shipped."]


def test_an_error_in_a_passed_run_is_replayed(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(Fails(429), Says("fine"))
    assert run(path, model, ["one", "one"], "passed") == ["error 429", "fine"]
    assert run(path, model, ["one", "one"], "passed", mode="none") == ["error 429", "fine"]


def test_a_skipped_run_writes_no_cassette(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    run(path, scripted_model(echo), ["one"], None)
    assert not path.exists()


def test_a_run_without_a_request_writes_nothing(tmp_path: Path, scripted_model: Start) -> None:
    for outcome in ("passed", "failed", None):
        run(tmp_path / "cassette.yaml", scripted_model(echo), [], outcome)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_never_replaces_the_cassette_of_a_passed_one_that_asked_the_same(
    tmp_path: Path, scripted_model: Start
) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(Says("good"), Says("bad"))
    run(path, model, ["one"], "passed")
    before = path.read_text()
    assert run(path, model, ["one"], "failed", mode="all") == ["bad"]
    assert path.read_text() == before


def test_a_failed_run_replaces_a_cassette_when_it_asked_something_else(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(echo)
    run(path, model, ["one"], "passed")
    run(path, model, ["two"], "failed", mode="all")
    assert asked_of(path) == ["two"]
    assert load(path).outcome == "failed"


def test_a_failed_run_replaces_the_cassette_of_a_failed_one(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(Says("bad"), Says("worse"))
    run(path, model, ["one"], "failed", mode="all")
    run(path, model, ["one"], "failed", mode="all")
    assert Trace.from_cassette(path).response == "worse"


def test_once_with_a_cassette_replays_and_records_nothing(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(echo)
    run(path, model, ["one"], "passed")
    before = path.read_text()
    session = Session(path, mode="once", name="test", draft=draft_of(path))
    with session.open(), pytest.raises(CassetteMiss):
        post(model, "two")
    session.close("failed")
    assert path.read_text() == before
    assert not draft_of(path).exists()
    assert len(model.requests) == 1


def test_a_failed_save_leaves_the_old_cassette_and_no_rubbish(
    tmp_path: Path, scripted_model: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(Says("old"), Says("new"))
    run(path, model, ["one"], "passed")
    before = path.read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            run(path, model, ["one"], "passed", mode="all")
    assert path.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["cassette.yaml"]


def test_a_replay_needs_no_key_and_leaves_the_environment_as_it_was(
    tmp_path: Path, scripted_model: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    path = tmp_path / "cassette.yaml"
    model = scripted_model(echo)
    for mode, present in (("once", "sk-live-0123456789abcdef0123"), ("none", None), ("none", "")):
        if present is None:
            monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        else:
            monkeypatch.setenv("OPENAI_API_KEY", present)
        with recorded(path, mode=mode) as session, OpenAI(base_url=model.base_url) as client:
            client.chat.completions.create(**question("hello"))
        session.check()
        assert os.environ.get("OPENAI_API_KEY") == present
    assert len(model.requests) == 1


def test_a_key_is_still_missed_where_nothing_can_be_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with recorded(tmp_path / "cassette.yaml"), pytest.raises(openai.OpenAIError, match="OPENAI_API_KEY"):
        OpenAI()


# --- a trace and its cassette ----------------------------------------------------------------------------------------


def plainly(client: OpenAI) -> None:
    client.chat.completions.create(**question("hello"))


def streamed(client: OpenAI) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    for _ in client.chat.completions.create(**question("hello", **options)):
        pass


def through_responses(client: OpenAI) -> None:
    client.responses.create(model="gpt-5-mini", input="hello")


def through_streamed_responses(client: OpenAI) -> None:
    for _ in client.responses.create(model="gpt-5-mini", input="hello", stream=True):
        pass


AWKWARD = [
    "plain",
    "é ü ß 日本語 🙂 👩‍👩‍👧",
    "a tab\tand a\rreturn\r\nand lines\n\n  indented\n trailing  \n",
    "\n\n  leading lines",
    "line\u2028separator and\u2029paragraph and\x85next line and \x0b\x0c\x1c\x1d\x1e",
    "\x00\x07\x1b\x7f\ufeff\ufffe\uffff",
    "# no: [comment] {and} 'no' \"mapping\" | > & * ! % @ ` \\n \\u0041",
    "--- \n... \n- item\n? key\n: value\n<<<<<<< HEAD\n=======\n>>>>>>> branch",
    "data: [DONE]\n\ndata: x",
    "no\x00de",
    "",
]


@pytest.mark.parametrize("ask", [plainly, streamed, through_responses, through_streamed_responses])
@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_the_trace_of_a_cassette_equals_the_live_one_and_the_replayed_one(
    ask: Ask, text: str, tmp_path: Path, scripted_model: Start
) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(Says(text), gzip=True)
    with recorded(path) as live, client_of(model) as client:
        ask(client)
    trace = live.recording.freeze()
    assert trace.source == "live"
    assert trace.response == text
    assert unsourced(Trace.from_cassette(path)) == unsourced(trace)
    with recorded(path, mode="none") as replay, client_of(model) as client:
        ask(client)
    assert replay.recording.freeze() == replace(trace, source="replayed")


def with_a_retry(client: OpenAI) -> None:
    client.with_options(max_retries=2).chat.completions.create(**question("hello"))


def with_an_error(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(**question("hello"))


def with_a_broken_stream(client: OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        streamed(client)


def abandoned(client: OpenAI) -> None:
    with client.chat.completions.create(**question("hello", stream=True)) as stream:
        next(iter(stream))


def with_a_tool(client: OpenAI) -> None:
    first = client.chat.completions.create(**question("hello"))
    (tool_call,) = first.choices[0].message.tool_calls or ()
    answer = {"role": "tool", "tool_call_id": tool_call.id, "content": "shipped \U0001f600\t\r\n"}
    messages = [{"role": "user", "content": "hello"}, first.choices[0].message.to_dict(), answer]
    client.chat.completions.create(model="gpt-5-mini", messages=messages)


@pytest.mark.parametrize(
    ("ask", "script"),
    [
        (with_a_retry, [Fails(429, headers={"retry-after-ms": "1"}), Says("fine")]),
        (with_an_error, [Fails(401, "Incorrect API key provided.", code="invalid_api_key")]),
        (with_an_error, [Fails(404)]),
        (with_a_broken_stream, [Disconnects(after=2, reply=Says("one two three"))]),
        (abandoned, [Says("one two three")]),
        (with_a_tool, [Asks(ToolRequest("track", {"order": "42 🙂\u2028"})), Says("It has shipped.")]),
        (with_a_tool, [Asks(ToolRequest("track", '{"order": 42')), Says("It has shipped.")]),
        (plainly, [Says("", refusal="I cannot help with that.")]),
        (streamed, [Says("", refusal="I cannot help with that.")]),
        (plainly, [Says("cut", finish_reason="length")]),
        (streamed, [Says("cached", cached_tokens=7, reasoning_tokens=3)]),
    ],
)
def test_the_trace_of_a_cassette_equals_the_live_one_also_when_things_go_wrong(
    ask: Ask, script: list[Reply], tmp_path: Path, scripted_model: Start
) -> None:
    path = tmp_path / "cassette.yaml"
    model = scripted_model(*script, gzip=True)
    with recorded(path) as live, client_of(model, max_retries=0) as client:
        ask(client)
    trace = live.recording.freeze()
    assert trace.captured
    assert unsourced(Trace.from_cassette(path)) == unsourced(trace)
    with recorded(path, mode="none") as replay, client_of(model, max_retries=0) as client:
        ask(client)
    assert replay.recording.freeze() == replace(trace, source="replayed")


def lone_surrogates(_: Any) -> tuple[int, dict[str, str], bytes]:
    return (
        200,
        dict(JSON),
        rb'{"choices": [{"message": {"content": "half \ud83d of it, \ude00"}, "finish_reason": "stop"}]}',
    )


def raw_line_separators(_: Any) -> tuple[int, dict[str, str], bytes]:
    """Many servers write JSON without escapes; the separator is no line end of an event stream."""
    chunk = {"choices": [{"index": 0, "delta": {"content": "a\u2028b\u2029c\x85d"}, "finish_reason": "stop"}]}
    return 200, dict(EVENTS), f"data: {json.dumps(chunk, ensure_ascii=False)}\r\n\r\ndata: [DONE]\r\n\r\n".encode()


def an_error_in_another_form(_: Any) -> tuple[int, dict[str, str], bytes]:
    return 422, dict(JSON), b'{"detail":[{"msg":"field required","loc":["body","model"]}]}'


def an_error_that_is_no_json(_: Any) -> tuple[int, dict[str, str], bytes]:
    return 502, {"content-type": "text/html"}, b"<html>\r\n<body>\tBad gateway \r\n</body>\n</html>\n"


def a_name_given_twice(_: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, dict(JSON), b'{"a": 1, "a": 2, "choices": []}'


def no_json_at_all(_: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, dict(JSON), b"\xff\xfe\x00 not json"


def nothing(_: Any) -> tuple[int, dict[str, str], bytes]:
    return 204, {}, b""


def events_with_comments(_: Any) -> tuple[int, dict[str, str], bytes]:
    chunk = b'{"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}'
    return 200, dict(EVENTS), b": keep-alive\n\nretry: 10\nid: 7\ndata:" + chunk + b"\n\n\n\ndata: [DONE]"


@pytest.mark.parametrize(
    "answer",
    [
        lone_surrogates,
        raw_line_separators,
        an_error_in_another_form,
        an_error_that_is_no_json,
        a_name_given_twice,
        no_json_at_all,
        nothing,
        events_with_comments,
    ],
)
def test_the_trace_of_a_cassette_equals_the_live_one_for_answers_as_servers_really_write_them(
    answer: Callable[[Any], tuple[int, dict[str, str], bytes]], tmp_path: Path
) -> None:
    path = tmp_path / "cassette.yaml"

    def handle(request: httpx2.Request) -> httpx2.Response:
        status, headers, body = answer(request)
        return httpx2.Response(status, headers=headers, content=body)

    bodies = []
    with recorded(path) as live, httpx2.Client(transport=httpx2.MockTransport(handle)) as client:
        bodies.append(client.post(CHAT, json=question("hello")).content)
    trace = live.recording.freeze()
    assert unsourced(Trace.from_cassette(path)) == unsourced(trace)
    with recorded(path, mode="none") as replay, httpx2.Client() as client:
        bodies.append(client.post(CHAT, json=question("hello")).content)
    assert replay.recording.freeze() == replace(trace, source="replayed")
    assert same_meaning(bodies[0], bodies[1], events=answer in (raw_line_separators, events_with_comments))


def test_a_line_separator_inside_an_event_is_text(tmp_path: Path) -> None:
    _, _, body = raw_line_separators(None)
    first, second = server_events(body)
    assert first.json["choices"][0]["delta"]["content"] == "a\u2028b\u2029c\x85d"
    assert second.data == "[DONE]"


# --- the file --------------------------------------------------------------------------------------------------------


def same_meaning(left: bytes, right: bytes, *, events: bool = False) -> bool:
    """Whether two bodies are the same to whoever reads them: JSON by value, events by name and value, else bytes."""
    if left == right:
        return True
    if events:
        return [(event.name, event.json or event.data) for event in server_events(left)] == [
            (event.name, event.json or event.data) for event in server_events(right)
        ]
    value = parse_json(left)
    return value is not None and value == parse_json(right)


WRITTEN_BADLY = " \n\t\r#:-{}[]'\"|>%&*!?,ab0=<~@`\\\x85\u2028\u2029\ufeff😀é\x00\x1b\x7f\xa0\ud7ff\ue000\ufffd\uffff"

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=30)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
awkward_texts = st.text(st.sampled_from(WRITTEN_BADLY), max_size=20)
bodies = st.one_of(
    st.binary(max_size=30),
    awkward_texts.map(str.encode),
    json_values.map(lambda value: json.dumps(value).encode()),
    json_values.map(lambda value: json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "replace")),
    st.dictionaries(awkward_texts, awkward_texts, max_size=3).map(lambda value: json.dumps(value).encode()),
    st.lists(awkward_texts, max_size=4).map(lambda lines: "".join(f"data: {line}\n\n" for line in lines).encode()),
)
kinds = st.sampled_from(
    ["application/json", "application/problem+json", "text/plain", "text/event-stream", "application/octet-stream", ""]
)


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@example(b'"\\ud83d"', "application/json", b'{"a": "\\ude00\\ud83d"}', "application/json")
@example(b"  leading\n spaces", "text/plain", b"\n  \n", "text/plain")
@example(b"\n", "text/plain", b"\n\n\n", "text/event-stream")
@example(b"trailing \nspaces \n\n", "text/plain", b"tab\tonly\n\t\n", "text/plain")
@example(b"{}\r\n", "application/json", b"a\rb", "text/event-stream")
@example(b"1e400", "application/json", b"[1E5, -0.0, 1.10, 12345678901234567890]", "application/json")
@example(b"null", "application/json", b"true", "text/plain")
@example(b"=", "text/plain", b"<<", "text/plain")
@example(b"2026-11-22", "text/plain", b"0x1F", "text/plain")
@given(bodies, kinds, bodies, kinds)
def test_whatever_is_written_is_read_again_with_the_same_meaning_and_by_stock_vcrpy_too(
    asked: bytes, asked_kind: str, answered: bytes, answered_kind: str
) -> None:
    exchange = Exchange(
        1,
        Request("POST", CHAT, (("content-type", asked_kind),), asked),
        Response(200, "OK", (("content-type", answered_kind),), answered),
        timing=Timing(0.5, 0.25, 0.125),
    )
    text = dumps(Tape((exchange,), "passed", recorded=RECORDED))
    tape = loads(text)
    (again,) = tape.exchanges
    assert again.response is not None
    assert same_meaning(asked, again.request.body, events=asked_kind == "text/event-stream")
    assert same_meaning(answered, again.response.body, events=answered_kind == "text/event-stream")
    assert replace(again, request=exchange.request, response=exchange.response) == exchange
    assert dumps(tape) == text
    requests, responses = vcr.serialize.deserialize(text, yamlserializer)
    assert bytes(requests[0].body or b"") == again.request.body
    assert responses[0]["body"]["string"] == again.response.body


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.text(st.sampled_from(WRITTEN_BADLY), max_size=15),
    st.dictionaries(st.text(max_size=8), json_values, max_size=2),
)
def test_whatever_a_failure_or_a_prompt_says_is_read_again(message: str, reason: str, inputs: dict[str, Any]) -> None:
    try:
        json.dumps(inputs, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    tape = Tape(
        (
            Exchange(1, Request("POST", CHAT), None, Failure("ConnectError", message)),
            Exchange(2, Request("POST", CHAT), Response(200, reason, complete=False), Failure("ReadError", reason)),
        ),
        "failed",
        (Render("support", "1.0.0", "sha256:ab", inputs),),
        RECORDED,
        teardown=2,
    )
    assert loads(dumps(tape)) == tape


def test_a_cassette_reads_like_a_conversation() -> None:
    exchange = replace(chat(1, "Where is 🙂?\nPlease\tsay."), request=Request(
        "POST", CHAT, JSON, json.dumps({"model": "gpt-5-mini", "input": "Where is 🙂?\nPlease\tsay."}).encode()
    ), response=Response(200, "OK", EVENTS, "data: {\"delta\": \"It's ✓ 🙂\"}\n\ndata: [DONE]\n\n".encode()))  # fmt: skip
    text = dumps(Tape((exchange,), "passed", recorded=RECORDED))
    lines = [line for line in text.splitlines() if not line.startswith("  recorder: ")]
    assert "\n".join(lines) == (
        "version: 1\n"
        "agentops:\n"
        "  format: 2\n"
        "  recorded: '2026-11-22T12:00:00+00:00'\n"
        "  outcome: passed\n"
        "  exchanges: 1\n"
        "  models:\n"
        "  - gpt-5-mini\n"
        "interactions:\n"
        "- agentops:\n"
        "    sequence: 1\n"
        "    timing:\n"
        "      started: 0.5\n"
        "      seconds: 0.25\n"
        "  request:\n"
        "    method: POST\n"
        "    uri: https://api.openai.com/v1/chat/completions\n"
        "    headers:\n"
        "      content-type:\n"
        "      - application/json\n"
        "    body: |-\n"
        "      {\n"
        '        "model": "gpt-5-mini",\n'
        '        "input": "Where is \\ud83d\\ude42?\\nPlease\\tsay."\n'
        "      }\n"
        "  response:\n"
        "    status:\n"
        "      code: 200\n"
        "      message: OK\n"
        "    headers:\n"
        "      content-type:\n"
        "      - text/event-stream; charset=utf-8\n"
        "    body:\n"
        "      string: |+\n"
        '        data: {"delta": "It\'s ✓ \\ud83d\\ude42"}\n'
        "\n"
        "        data: [DONE]\n"
        "\n"
        "agentops_end: 1"
    )


def test_compressed_answers_are_kept_decompressed(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "cassette.yaml"
    with recorded(path):
        post(scripted_model(echo, gzip=True), "hello")
    (exchange,) = load(path).exchanges
    assert exchange.response is not None
    assert exchange.response.json["choices"][0]["message"]["content"] == "re: hello"
    assert "content-encoding" not in dict(exchange.response.headers)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not a cassette: it has no list of interactions"),
        ("[]", "it is not a cassette: it has no list of interactions"),
        ("interactions: 1", "it is not a cassette: it has no list of interactions"),
        ("interactions: [", "it is not YAML: "),
        ("<<<<<<< HEAD\ninteractions: []\n=======\n", "it holds the markers of an unresolved merge"),
        (
            "agentops: {format: 3}\ninteractions: []",
            "it has format 3, and this version of pytest-agentops reads 1 to 2",
        ),
        ("agentops: {exchanges: 3}\ninteractions: []", "it is cut: it announces 3 exchanges and holds 0"),
        ("interactions: [1]", "an interaction has not the form that vcrpy writes"),
        ("interactions: [{request: {method: GET}}]", "an interaction has not the form that vcrpy writes"),
        ("interactions: !!python/object/apply:os.system [ls]", "it is not YAML: could not determine a constructor"),
    ],
)
def test_a_damaged_cassette_is_an_error_that_says_what_is_wrong(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"
    path.write_text(text)
    with pytest.raises(CassetteUnreadable) as raised:
        Session(path, mode="once", name="test")
    assert str(raised.value).startswith(f"{path}: {reason}")


def test_a_cassette_cut_at_any_line_is_never_read_as_a_shorter_one(tmp_path: Path) -> None:
    tape = Tape((chat(1, "one\ntwo"), chat(2, "three")), "passed", recorded=RECORDED)
    lines = dumps(tape).splitlines(keepends=True)
    for count in range(len(lines)):
        try:
            found = loads("".join(lines[:count]))
        except CassetteUnreadable:
            continue
        # What is cut is a body at the very end of the file; the number of exchanges cannot tell.
        assert len(found.exchanges) == 2, f"cut after line {count}"


def test_a_cassette_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CassetteMissing, match="there is no cassette"):
        Trace.from_cassette(tmp_path / "cassette.yaml")


# --- stock vcrpy -----------------------------------------------------------------------------------------------------


def conversation(base_url: str) -> list[str]:
    """What an agent sees that talks plainly and in a stream, with both clients."""
    with OpenAI(base_url=base_url, api_key="scripted", max_retries=0) as client:
        plain = client.chat.completions.create(**question("plain 🙂\u2028"))
        stream = client.chat.completions.create(**question("stream\t🙂", stream=True))
        said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    with httpx.Client() as other:
        reply = other.post(f"{base_url}/chat/completions", json=question("httpx")).json()
    return [str(plain.choices[0].message.content), said, reply["choices"][0]["message"]["content"]]


SAID = ["re: plain 🙂\u2028", "re: stream\t🙂", "re: httpx"]


def test_stock_vcrpy_replays_our_file(tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"
    with ScriptedModel(echo, gzip=True) as model, recorded(path):
        assert conversation(model.base_url) == SAID
    with vcr.use_cassette(str(path), record_mode="none", match_on=["method", "uri", "body"]) as stock:
        assert conversation(model.base_url) == SAID
    assert stock.all_played


@pytest.mark.parametrize("decode", [False, True], ids=["compressed", "decoded"])
def test_a_file_of_stock_vcrpy_replays_unconverted(decode: bool, tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"
    recorder = vcr.VCR(decode_compressed_response=decode)
    with ScriptedModel(echo, gzip=True) as model, recorder.use_cassette(str(path)):
        assert conversation(model.base_url) == SAID
    assert ("!!binary" in path.read_text()) is not decode
    before = path.read_text()
    assert [call.response for call in Trace.from_cassette(path).model_calls] == SAID
    for mode in ("none", "once"):
        with recorded(path, mode=mode) as session:
            assert conversation(model.base_url) == SAID
        session.check()
        assert [call.response for call in session.recording.freeze().model_calls] == SAID
    assert path.read_text() == before


def test_other_ways_in_which_vcrpy_has_written_bodies_are_read() -> None:
    text = """
    version: 1
    interactions:
    - request: {method: POST, uri: "https://api.openai.com/v1/a", headers: {}, body: {string: "asked"}}
      response: {status: {code: 200, message: OK}, headers: {A: [1]}, body: {string: !!binary "YW5zd2VyZWQ="}}
    - request: {method: POST, uri: "https://api.openai.com/v1/b", headers: {}, body: null}
      response: {status: {code: 200, message: null}, headers: null, body: {string: ""}}
    - request:
        method: POST
        uri: https://api.openai.com/v1/c
        headers: {Accept: "*/*"}
        body: !!python/object/new:_io.BytesIO
          state: !!python/tuple [!!binary "YXNrZWQ=", 0, null]
      response: {status_code: 201, http_version: HTTP/1.1, headers: {a: [b, c]}, content: answered}
    - request: {method: POST, uri: "https://api.openai.com/v1/d", headers: {}, body: ""}
      response: {status: {code: 200, message: OK}, headers: {}, body: {}, parsed_body: {answer: 42}}
    """
    exchanges = loads(text).exchanges
    assert [exchange.request.body for exchange in exchanges] == [b"asked", b"", b"asked", b""]
    assert [exchange.response and exchange.response.status for exchange in exchanges] == [200, 200, 201, 200]
    assert [exchange.response and exchange.response.body for exchange in exchanges] == [
        b"answered",
        b"",
        b"answered",
        b'{"answer": 42}',
    ]
    assert exchanges[2].response is not None
    assert exchanges[2].response.headers == (("a", "b"), ("a", "c"))


def test_unknown_keys_in_a_file_do_no_harm() -> None:
    data = yaml.safe_load(dumps(Tape((chat(1, "hello"),))))
    data["agentops"]["colour"] = data["colour"] = data["interactions"][0]["colour"] = "blue"
    assert len(loads(yaml.safe_dump(data)).exchanges) == 1


def test_a_replay_is_timed_as_it_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"
    path.write_text(dumps(Tape((chat(1, "one"), chat(2, "two")), "passed", recorded=RECORDED)))
    with recorded(path, mode="none") as session, httpx2.Client() as client:
        for text in ("one", "two"):
            client.post(CHAT, json=question(text))
    trace = session.recording.freeze()
    assert math.isclose(trace.duration, 0.75)
    assert [call.latency for call in trace.model_calls] == [0.25, 0.25]
