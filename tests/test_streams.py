"""Streams and failures on replay: event by event, at the pace that was recorded or at once, and as far as they came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from pytest_agentops.cassette import Equipment, Session
from pytest_agentops.errors import CassetteMiss
from pytest_agentops.exchange import Exchange, Request, Response, Timing
from pytest_agentops.tape import Tape, load, save
from pytest_agentops.testing import Disconnects, Fails, Says, ScriptedModel

Start = Callable[..., ScriptedModel]

QUESTION: Any = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
CHAT = "https://api.openai.com/v1/chat/completions"
EVENTS = (("content-type", "text/event-stream"),)


@contextmanager
def session(path: Path, mode: Any = "once", **equipment: Any) -> Iterator[Session]:
    one = Session(path, mode=mode, name="test", equipment=Equipment(**equipment))
    with one.open():
        yield one
    one.close("passed")


@contextmanager
def client(model: ScriptedModel | None, **options: Any) -> Iterator[OpenAI]:
    base_url = model.base_url if model else "http://127.0.0.1:9/v1"
    with OpenAI(base_url=base_url, api_key="scripted", **options) as one:
        yield one


def stream(*events: bytes, timing: Timing | None = None, complete: bool = True) -> Tape:
    body = b"".join(b"data: " + event + b"\n\n" for event in events)
    exchange = Exchange(1, Request("GET", CHAT), Response(200, "OK", EVENTS, body, complete), timing=timing)
    return Tape((exchange,), "passed")


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every sleep of the program, none of which is slept."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: found.append(round(seconds, 3)))
    return found


# --- event by event --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body", "pieces"),
    [
        ("text/event-stream", b"data: 1\n\nevent: x\ndata: 2\n\ndata: [DONE]\n\n", 3),
        ("text/event-stream; charset=utf-8", b"data: 1\r\n\r\ndata: 2\r\n\r\n", 2),
        ("text/event-stream", b"data: 1\r\rdata: 2", 2),
        ("application/x-ndjson", b'{"a": 1}\n{"a": 2}\n{"done": true}', 3),
        ("application/json", b'{"a": 1}\n\n{"b": 2}', 1),
        ("text/event-stream", b"", 0),
    ],
)
def test_a_stream_comes_piece_by_piece(kind: str, body: bytes, pieces: int) -> None:
    found = list(Response(200, "OK", (("content-type", kind),), body).pieces())
    assert (b"".join(found), len(found)) == (body, pieces)


def test_the_moment_of_each_event_is_recorded(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(Says("one two three four", latency=0.02, pause=0.01))
    with session(tmp_path / "a.yaml"), client(model) as openai_client:
        assert len(list(openai_client.chat.completions.create(**QUESTION, stream=True))) > 4

    [exchange] = load(tmp_path / "a.yaml").exchanges
    assert exchange.response is not None
    assert exchange.timing is not None
    assert len(exchange.timing.events) == len(list(exchange.response.pieces()))
    assert list(exchange.timing.events) == sorted(exchange.timing.events)
    assert exchange.timing.events[0] == pytest.approx(exchange.timing.first, abs=0.002)
    assert exchange.timing.events[-1] <= exchange.timing.seconds + 0.002


def test_a_replay_comes_at_once_and_asked_for_it_takes_the_time_it_took(tmp_path: Path, slept: list[float]) -> None:
    path = tmp_path / "a.yaml"
    save(stream(b"1", b"2", b"3", timing=Timing(0.0, 2.0, 0.5, (0.5, 1.25, 2.0))), path)

    with session(path, "none"):
        httpx2.get(CHAT)
    assert slept == []

    with session(path, "none", pace="recorded"):
        httpx2.get(CHAT)
    assert slept == [0.5, 0.75, 0.75]


def test_an_answer_that_is_no_stream_takes_its_whole_time(tmp_path: Path, slept: list[float]) -> None:
    path = tmp_path / "a.yaml"
    save(Tape((Exchange(1, Request("GET", CHAT), Response(200), timing=Timing(0.0, 1.5, 1.0)),), "passed"), path)

    with session(path, "none", pace="recorded"):
        httpx2.get(CHAT)

    assert slept == [1.5]


def test_asynchronous_replays_take_their_time_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    timing = Timing(0.0, 0.2, 0.1, (0.1, 0.2))
    events = b"data: 1\n\ndata: 2\n\n"
    exchanges = [
        Exchange(n, Request("GET", f"{CHAT}/{n}"), Response(200, "OK", EVENTS, events), timing=timing) for n in (1, 2)
    ]
    save(Tape(tuple(exchanges), "passed"), path)
    order: list[tuple[int, bytes]] = []

    async def read(number: int) -> None:
        async with httpx2.AsyncClient() as one, one.stream("GET", f"{CHAT}/{number}") as reply:
            async for piece in reply.aiter_raw():
                order.append((number, piece))

    async def both() -> None:
        await asyncio.gather(read(1), read(2))

    with session(path, "none", pace="recorded"):
        asyncio.run(both())

    assert [piece for _, piece in order] == [b"data: 1\n\n"] * 2 + [b"data: 2\n\n"] * 2


# --- as far as it came -----------------------------------------------------------------------------------------------


def test_a_reader_that_leaves_early_leaves_early_again(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "a.yaml"
    model = scripted_model(Says("one two three four five six", pause=0.01))

    def first_words(model: ScriptedModel | None) -> list[str | None]:
        found = []
        with client(model) as one, one.chat.completions.create(**QUESTION, stream=True) as reply:
            for chunk in reply:
                found.append(chunk.choices[0].delta.content)
                if len(found) == 3:
                    break
        return found

    with session(path):
        live = first_words(model)
    with session(path, "none") as again:
        assert first_words(None) == live
        again.check()
    [exchange] = load(path).exchanges
    assert exchange.response
    assert not exchange.response.complete


def test_who_reads_on_where_the_first_reader_had_left_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream had no end there; to end it would let a test pass by accident."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.yaml"
    save(stream(b"1", b"2", complete=False), path)

    with session(path, "none") as one:
        with pytest.raises(CassetteMiss) as raised:
            httpx2.get(CHAT)
        with pytest.raises(CassetteMiss):
            one.check()

    assert str(raised.value) == (
        "the recorded stream ends here, and the reader wants more of it (its first reader had left early)\n"
        f"  request   GET {CHAT}\n"
        "  cassette  a.yaml, #1: 2 pieces recorded\n"
        "  to record again: pytest test --agentops-record=all"
    )


def test_a_stream_that_broke_off_breaks_off_again(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "a.yaml"
    model = scripted_model(Disconnects(after=3, reply=Says("one two three four five")))

    def read(model: ScriptedModel | None) -> tuple[int, str]:
        count = 0
        with client(model, max_retries=0) as one:
            try:
                for _ in one.chat.completions.create(**QUESTION, stream=True):
                    count += 1
            except openai.APIConnectionError as error:
                return count, type(error.__cause__).__name__
        return count, "it came to its end"

    with session(path):
        live = read(model)
    with session(path, "none"):
        assert read(None) == live
    assert live[0] > 0


def test_an_endless_stream_is_recorded_as_far_as_it_was_read(tmp_path: Path) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"data: tick\n\n")
                    time.sleep(0.005)
            except OSError:
                pass

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/ticks"

    def ticks() -> int:
        with httpx2.Client() as one, one.stream("GET", url) as reply:
            for count, _line in enumerate(filter(None, reply.iter_lines()), 1):
                if count == 5:
                    return count
        return 0

    with session(tmp_path / "a.yaml"):
        assert ticks() == 5
    server.shutdown()
    server.server_close()
    with session(tmp_path / "a.yaml", "none") as again:
        assert ticks() == 5
        again.check()


# --- failures --------------------------------------------------------------------------------------------------------


def test_the_openai_client_does_not_wait_between_attempts_that_are_replayed(
    tmp_path: Path, scripted_model: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.yaml"
    original = openai._base_client.BaseClient._calculate_retry_timeout
    model = scripted_model(Fails(500), Fails(429, headers={"retry-after": "0.02"}), Says("at last"))
    with session(path), client(model) as one:
        monkeypatch.setattr(openai._base_client.time, "sleep", lambda seconds: None)
        live = one.chat.completions.create(**QUESTION).choices[0].message.content

    slept: list[float] = []
    monkeypatch.setattr(openai._base_client.time, "sleep", slept.append)
    with session(path, "none") as again, client(None) as one:
        assert one.chat.completions.create(**QUESTION).choices[0].message.content == live == "at last"
        [call] = again.recording.freeze().model_calls
    assert slept == [0.0, 0.0]
    assert len(call.attempts) == 3
    assert openai._base_client.BaseClient._calculate_retry_timeout is original

    slept.clear()
    with session(path, "none", pace="recorded"), client(None) as one:
        one.chat.completions.create(**QUESTION)
    assert any(seconds >= 0.02 for seconds in slept)


def test_attempts_without_an_answer_are_not_waited_for_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused connections too, in an asynchronous client."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(openai._base_client.anyio, "sleep", sleep)
    path = tmp_path / "a.yaml"

    async def ask() -> str:
        async with AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="scripted", max_retries=2) as one:
            try:
                await one.chat.completions.create(**QUESTION)
            except openai.APIConnectionError as error:
                return type(error.__cause__).__name__
        return "answered"

    with session(path):
        assert asyncio.run(ask()) == "ConnectError"
    assert len(slept) == 2
    assert all(slept)
    slept.clear()
    with session(path, "none") as again:
        assert asyncio.run(ask()) == "ConnectError"
        again.check()
    assert len(load(path).exchanges) == 3
    assert slept == [0.0, 0.0]


def test_a_timeout_is_replayed_as_one(tmp_path: Path, scripted_model: Start) -> None:
    path = tmp_path / "a.yaml"
    model = scripted_model(Says("too late", latency=2))

    def ask(model: ScriptedModel | None) -> None:
        with client(model, max_retries=0, timeout=0.2) as one, pytest.raises(openai.APITimeoutError):
            one.chat.completions.create(**QUESTION)

    with session(path):
        ask(model)
    with session(path, "none") as again:
        ask(None)
        again.check()
