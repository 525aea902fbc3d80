"""WebSockets are recorded and replayed frame by frame, through the library's own connections, and read into calls."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI, OpenAI
from websockets.asyncio.client import connect as connect_async
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.http11 import Response as HandshakeResponse
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from pytest_agentops import PromptRepository, stubs
from pytest_agentops.adoption import adopt, adoptions
from pytest_agentops.capture import AgentTrace
from pytest_agentops.cassette import Session
from pytest_agentops.errors import CassetteMiss, CassetteUnplayed, NothingRecorded
from pytest_agentops.exchange import Exchange, Request, Response, Timing
from pytest_agentops.frames import CONTENT_TYPE, Frame, frames_of
from pytest_agentops.redaction import Rules
from pytest_agentops.stubs import websockets as stub
from pytest_agentops.tape import Tape, dumps, load, loads
from pytest_agentops.trace import Trace, Usage
from pytest_agentops.wire import openai_realtime

KEY = "sk-proj-" + "Zq3" * 16
TROUBLESHOOTING = (
    (Path(__file__).parent.parent / "docs" / "troubleshooting.md").read_text(encoding="utf-8").splitlines()
)


class Server:
    """A WebSocket server on loopback that does what `handler` says with each connection, until it is gone."""

    def __init__(self, handler: Callable[[ServerConnection], None], **options: Any) -> None:
        self.opened = 0

        def counted(connection: ServerConnection) -> None:
            self.opened += 1
            # A client that leaves is no news.
            with contextlib.suppress(ConnectionClosedOK, ConnectionClosedError):
                handler(connection)

        self._server = serve(counted, "127.0.0.1", 0, **options)
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()


@contextmanager
def serving(handler: Callable[[ServerConnection], None], **options: Any) -> Iterator[Server]:
    server = Server(handler, **options)
    try:
        yield server
    finally:
        server.close()


def echo(connection: ServerConnection) -> None:
    """Greets, and says everything again: a text as JSON and then in bytes."""
    connection.send('{"type": "hello"}')
    for message in connection:
        connection.send(json.dumps({"echo": message if isinstance(message, str) else len(message)}))
        connection.send(b"\x00\xff")


@contextmanager
def session(path: Path, mode: str = "once", **options: Any) -> Iterator[Session]:
    """A session that is saved as passed; in mode `none` it is checked that everything was played."""
    run = Session(path, mode=mode, name="test", **options)
    with run.open():
        yield run
    if mode == "none":
        run.check()
    run.close("passed")


def talk(url: str, *said: Any) -> list[Any]:
    """What the echo answers, through the client for threads."""
    with connect(url) as connection:
        heard = [connection.recv()]
        for message in said:
            connection.send(message)
            heard += [connection.recv(), connection.recv()]
        return heard


async def talk_async(url: str, *said: Any) -> list[Any]:
    """What the echo answers, through the client for asyncio."""
    async with connect_async(url) as connection:
        heard = [await connection.recv()]
        for message in said:
            await connection.send(message)
            heard += [await connection.recv(), await connection.recv()]
        return heard


def frames(exchange: Exchange) -> tuple[Frame, ...]:
    assert exchange.response is not None
    return frames_of(exchange.response.body)


CLIENTS = [talk, lambda url, *said: asyncio.run(talk_async(url, *said))]


@pytest.mark.parametrize("client", CLIENTS, ids=["threads", "asyncio"])
def test_a_conversation_is_replayed_with_the_server_gone(tmp_path: Path, client: Callable[..., list[Any]]):
    with serving(echo) as server, session(tmp_path / "c.yaml") as recorded:
        live = client(f"{server.url}/chat?room=1", "first", b"\x01\x02\xfe", ["in ", "pieces"])
    with session(tmp_path / "c.yaml", "none") as replayed:
        again = client(f"{server.url}/chat?room=1", "first", b"\x01\x02\xfe", ["in ", "pieces"])

    assert again == live
    assert replayed.recording.freeze().source == "replayed"
    assert frames(replayed.recording.exchanges[0]) == frames(recorded.recording.exchanges[0])
    assert server.opened == 1


def test_the_file_can_be_read(tmp_path: Path):
    with serving(echo) as server, session(tmp_path / "c.yaml"):
        talk(f"{server.url}/chat", '{"ask": "Größe 😀"}')
    text = (tmp_path / "c.yaml").read_text(encoding="utf-8")
    assert text[text.index("    body:\n      string") :] == (
        "    body:\n"
        "      string: |\n"
        '        {"from": "server", "json": {"type": "hello"}}\n'
        '        {"from": "client", "json": {"ask": "Größe \\ud83d\\ude00"}}\n'
        '        {"from": "server", "json": {"echo": "{\\"ask\\": \\"Größe \\ud83d\\ude00\\"}"}}\n'
        '        {"from": "server", "binary": true, "base64": "AP8="}\n'
        '        {"from": "client", "close": 1000}\n'
        "agentops_end: 1\n"
    )


def test_stock_vcrpy_reads_it(tmp_path: Path):
    from vcr.cassette import Cassette as StockCassette

    with serving(echo) as server, session(tmp_path / "c.yaml"):
        talk(f"{server.url}/chat", "hello")
    stock = StockCassette.load(path=str(tmp_path / "c.yaml"))
    assert [(request.method, response["status"]["code"]) for request, response in stock.data] == [("GET", 101)]


def test_frames_have_their_times(tmp_path: Path):
    with serving(echo) as server, session(tmp_path / "c.yaml") as recorded:
        talk(f"{server.url}/chat", "hello")
    timing = recorded.recording.exchanges[0].timing
    assert timing is not None
    assert len(timing.events) == len(frames(recorded.recording.exchanges[0]))
    assert list(timing.events) == sorted(timing.events)
    assert load(tmp_path / "c.yaml").exchanges[0].timing == timing


def test_a_replay_at_the_recorded_pace_says_the_same(tmp_path: Path):
    from pytest_agentops.cassette import Equipment

    with serving(echo) as server, session(tmp_path / "c.yaml"):
        live = talk(f"{server.url}/chat", "hello")
    for client in CLIENTS:
        with session(tmp_path / "c.yaml", "none", equipment=Equipment(pace="recorded")):
            assert client(f"{server.url}/chat", "hello") == live


@pytest.mark.parametrize("client", CLIENTS, ids=["threads", "asyncio"])
def test_another_question_is_a_miss_that_names_the_nearest_difference(tmp_path: Path, client: Any):
    with serving(echo) as server, session(tmp_path / "c.yaml"):
        client(f"{server.url}/chat", '{"ask": {"city": "Paris", "unit": "C"}}')

    run = Session(tmp_path / "c.yaml", mode="none", name="tests/test_it.py::test")
    with run.open(), pytest.raises(CassetteMiss) as caught:
        client(f"{server.url}/chat", '{"ask": {"unit": "C", "city": "Rome"}}')
    assert str(caught.value).splitlines() == [
        "the client says something else on this WebSocket than was recorded (record mode: none)",
        f"  request   GET {server.url}/chat",
        '  says      {"ask": {"unit": "C", "city": "Rome"}}',
        f"  cassette  {os.path.relpath(tmp_path / 'c.yaml')}, #1",
        "  cause     other options",
        "  closest   #1 differs in /ask/city",
        '            recorded  "Paris"',
        '            asked     "Rome"',
        "  to record again: pytest tests/test_it.py::test --agentops-record=changed",
    ]
    with pytest.raises(CassetteMiss):
        run.check()
    assert str(caught.value).splitlines()[0] in TROUBLESHOOTING


def test_a_miss_that_the_program_swallowed_fails_all_the_same(tmp_path: Path):
    with serving(echo) as server, session(tmp_path / "c.yaml"):
        talk(server.url, "hello")
    run = Session(tmp_path / "c.yaml", mode="none", name="test")
    with run.open(), contextlib.suppress(Exception):
        talk(server.url, "goodbye")
    with pytest.raises(CassetteMiss, match="says something else"):
        run.check()


def test_who_says_more_than_was_recorded_misses(tmp_path: Path):
    with serving(echo) as server, session(tmp_path / "c.yaml"):
        talk(server.url, "hello")
    run = Session(tmp_path / "c.yaml", mode="none", name="test")
    with run.open(), pytest.raises(CassetteMiss, match="the client says more on this WebSocket"):
        talk(server.url, "hello", "hello")


def test_what_is_left_unsaid_is_an_unplayed_exchange(tmp_path: Path):
    with serving(echo) as server, session(tmp_path / "c.yaml"):
        talk(server.url, "hello", "and more")
    run = Session(tmp_path / "c.yaml", mode="none", name="test")
    with run.open():
        talk(server.url, "hello")
    with pytest.raises(CassetteUnplayed) as caught:
        run.check()
    assert "#1  GET ws://127.0.0.1 -> 101, a WebSocket: the client said 2, the server 5" in str(caught.value)


def test_who_waits_where_nothing_comes_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with serving(echo) as server, session(tmp_path / "c.yaml"):
        talk(server.url, "hello")
    monkeypatch.setattr(stub, "PATIENCE", 0.05)

    def wait() -> None:
        with connect(server.url) as connection:
            list(connection)

    async def wait_async() -> None:
        async with connect_async(server.url) as connection:
            await connection.recv()
            await connection.recv()

    for client in (wait, lambda: asyncio.run(wait_async())):
        run = Session(tmp_path / "c.yaml", mode="none", name="test")
        with run.open(), pytest.raises(CassetteMiss, match="waits on this WebSocket for more than") as caught:
            client()
        assert str(caught.value).splitlines()[0] in TROUBLESHOOTING


def test_a_time_out_of_the_program_is_its_own(tmp_path: Path):
    with serving(echo) as server, session(tmp_path / "c.yaml"):
        talk(server.url)
    with session(tmp_path / "c.yaml", "none"), connect(server.url) as connection:
        connection.recv()
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.01)


def test_messages_may_be_read_in_pieces(tmp_path: Path):
    async def pieces(url: str, said: str) -> list[Any]:
        async with connect_async(url) as connection:
            await connection.recv()
            await connection.send(said)
            return [piece async for piece in connection.recv_streaming()]

    def pieces_of_threads(url: str, said: str) -> list[Any]:
        with connect(url) as connection:
            connection.recv()
            connection.send(said)
            return list(connection.recv_streaming())

    clients = [pieces_of_threads, lambda url, said: asyncio.run(pieces(url, said))]
    for mode in ("once", "none"):
        with serving(echo) as server, session(tmp_path / "c.yaml", mode):
            assert ["".join(client(server.url, "hello")) for client in clients] == ['{"echo": "hello"}'] * 2
    for client in clients:
        run = Session(tmp_path / "c.yaml", mode="none", name="test")
        with run.open(), pytest.raises(CassetteMiss):
            client("ws://127.0.0.1:9", "something else")


def test_ignored_paths_do_not_count(tmp_path: Path):
    with serving(echo) as server, session(tmp_path / "c.yaml"):
        talk(server.url, '{"event_id": "one", "ask": 1}')
    with session(tmp_path / "c.yaml", "none", ignore=["$.event_id"]):
        talk(server.url, '{"ask": 1.0, "event_id": "two"}'.replace("1.0", "1"))


def test_an_unrecorded_socket_is_not_opened(tmp_path: Path):
    with serving(echo) as server:
        run = Session(tmp_path / "c.yaml", mode="none", name="test")
        with run.open(), pytest.raises(NothingRecorded):
            talk(server.url)
        with run.open(), pytest.raises(NothingRecorded):
            asyncio.run(talk_async(server.url))
        assert server.opened == 0


def test_values_that_the_next_run_says_otherwise_are_told_of_and_those_of_the_server_are_not(tmp_path: Path):
    known, own = "0c5e2f0a-6f3c-4d51-9c0e-3f6d0a4d8a11", "7b1d9a52-2f4e-4c7b-8a3a-5d2e9f0c6b44"

    def hands_out(connection: ServerConnection) -> None:
        connection.send(json.dumps({"id": known}))
        connection.recv()

    with serving(hands_out) as server, session(tmp_path / "c.yaml") as run, connect(server.url) as connection:
        connection.recv()
        connection.send(json.dumps({"about": known, "event_id": own}))
    assert [(each.pointer, each.value) for each in run.volatile()] == [("/event_id", own)]


# --- how they end ----------------------------------------------------------------------------------------------------


def says_goodbye(connection: ServerConnection) -> None:
    connection.send("one")
    connection.recv()
    connection.close(4001, "no more of you")


def hangs_up(connection: ServerConnection) -> None:
    connection.send("one")
    connection.recv()
    connection.socket.shutdown(2)


def last_words(url: str) -> tuple[list[Any], Any]:
    """What is heard until the server ends it, and how that is told."""
    heard = []
    try:
        with connect(url) as connection:
            heard.append(connection.recv())
            connection.send("two")
            heard += list(connection)
    except ConnectionClosedError as error:
        return heard, error.rcvd
    return heard, None


async def last_words_async(url: str) -> tuple[list[Any], Any]:
    heard = []
    try:
        async with connect_async(url) as connection:
            heard.append(await connection.recv())
            await connection.send("two")
            async for message in connection:
                heard.append(message)
    except ConnectionClosedError as error:
        return heard, error.rcvd
    return heard, None


@pytest.mark.parametrize("handler", [says_goodbye, hangs_up], ids=["closed", "cut"])
def test_the_end_is_replayed_as_it_came(tmp_path: Path, handler: Callable[[ServerConnection], None]):
    with serving(handler) as server, session(tmp_path / "c.yaml") as recorded:
        live = [last_words(server.url), asyncio.run(last_words_async(server.url))]
    with session(tmp_path / "c.yaml", "none"):
        assert [last_words(server.url), asyncio.run(last_words_async(server.url))] == live
    assert live[0] == live[1]
    if handler is hangs_up:
        assert [exchange.failure.kind for exchange in recorded.recording.exchanges] == ["ConnectionClosedError"] * 2
    else:
        assert (live[0][1].code, live[0][1].reason) == (4001, "no more of you")


def test_one_that_is_open_when_the_test_ends_is_kept_so_far(tmp_path: Path):
    with serving(echo) as server:
        with session(tmp_path / "c.yaml"):
            connection = connect(server.url)
            connection.recv()
            connection.send("hello")
            connection.recv()
            connection.recv()
        connection.close()
    (kept,) = load(tmp_path / "c.yaml").exchanges
    assert kept.response is not None
    assert not kept.response.complete
    assert [frame.sender for frame in frames(kept)] == ["server", "client", "server", "server"]
    with session(tmp_path / "c.yaml", "none"):
        again = connect(server.url)
        again.recv()
        again.send("hello")
        assert again.recv() == '{"echo": "hello"}'
        again.close()


def test_a_refused_handshake_is_refused_again(tmp_path: Path):
    def refuse(_connection: ServerConnection, _request: Any) -> HandshakeResponse:
        body = b'{"error": {"message": "no such key", "code": "invalid_api_key"}}'
        headers = Headers({"content-type": "application/json", "x-request-id": "r1", "content-length": str(len(body))})
        return HandshakeResponse(401, "Unauthorized", headers, body)

    with serving(echo, process_request=refuse) as server, session(tmp_path / "c.yaml") as recorded:
        live = refusals(server.url)
    with session(tmp_path / "c.yaml", "none"):
        assert refusals(server.url) == live
    assert live == [(401, "r1", True)] * 2
    assert [exchange.response.status for exchange in recorded.recording.exchanges] == [401, 401]


def refusals(url: str) -> list[tuple[int, str, bool]]:
    async def ask() -> None:
        await connect_async(url)

    found = []
    for client in (lambda: connect(url), lambda: asyncio.run(ask())):
        with pytest.raises(InvalidStatus) as caught:
            client()
        response = caught.value.response
        found.append((response.status_code, response.headers["x-request-id"], b"invalid_api_key" in response.body))
    return found


def test_a_server_that_is_not_there_is_not_there_again(tmp_path: Path):
    with serving(echo) as server:
        pass
    for mode in ("once", "none"):
        with session(tmp_path / "c.yaml", mode):
            with pytest.raises(ConnectionRefusedError):
                talk(server.url)
            with pytest.raises(OSError):
                asyncio.run(talk_async(server.url))


def test_the_subprotocol_is_the_recorded_one(tmp_path: Path):
    with serving(lambda connection: connection.recv(), subprotocols=["v2", "v1"]) as server:
        for mode in ("once", "none"):
            with session(tmp_path / "c.yaml", mode), connect(server.url, subprotocols=["v1", "v2"]) as connection:
                assert connection.subprotocol == "v2"
                connection.send("done")


def test_a_secure_socket_needs_no_certificate_in_replay(tmp_path: Path):
    said = [Frame("client", "text", b"hello"), Frame("server", "text", b"hi"), Frame("server", "close", b"", 1000)]
    exchange = recorded_socket("wss://voice.example/live", said)
    (tmp_path / "c.yaml").write_text(dumps(Tape((exchange, replace_number(exchange, 2)), outcome="passed")))

    async def ask() -> list[Any]:
        heard = []
        async for connection in connect_async("wss://voice.example/live"):
            await connection.send("hello")
            heard = [message async for message in connection]
            break
        return heard

    with session(tmp_path / "c.yaml", "none"):
        with connect("wss://voice.example/live") as connection:
            connection.send("hello")
            assert list(connection) == ["hi"]
        assert connection.remote_address == ("voice.example", 443)
        assert asyncio.run(ask()) == ["hi"]


def recorded_socket(url: str, said: Sequence[Frame]) -> Exchange:
    body = b"".join(frame.line() for frame in said)
    return Exchange(1, Request("GET", url), Response(101, "", (("content-type", CONTENT_TYPE),), body))


def replace_number(exchange: Exchange, number: int) -> Exchange:
    return Exchange(number, exchange.request, exchange.response)


# --- several at once, and what is left alone -------------------------------------------------------------------------


def test_two_at_once_keep_apart(tmp_path: Path):
    async def both(url: str) -> list[list[Any]]:
        return list(await asyncio.gather(talk_async(f"{url}/a", "1", "2"), talk_async(f"{url}/b", "3", "4", "5")))

    with serving(echo) as server, session(tmp_path / "c.yaml"):
        live = asyncio.run(both(server.url))
    with session(tmp_path / "c.yaml", "none"):
        assert asyncio.run(both(server.url)) == live


def test_threads_replay_sockets_of_one_address_in_their_order(tmp_path: Path):
    with serving(echo) as server, session(tmp_path / "c.yaml"):
        live = [talk(server.url, "1"), talk(server.url, "2")]
    with session(tmp_path / "c.yaml", "none"):
        assert [talk(server.url, "1"), talk(server.url, "2")] == live


@pytest.mark.parametrize("overlapping", [True, False], ids=["at once", "one after another"])
def test_which_of_several_a_connection_is_turns_out_by_what_it_says(tmp_path: Path, overlapping: bool):
    """Threads may open theirs in another order than the one in which they were recorded."""

    def both(url: str, first: str, second: str) -> dict[str, list[Any]]:
        heard: dict[str, list[Any]] = {}
        with connect(url) as one:
            one.recv()
            with connect(url) if overlapping else contextlib.nullcontext() as other:
                for message in ("the same", first):
                    one.send(message)
                    heard.setdefault(first, []).extend([one.recv(), one.recv()])
                    if other is not None and message == "the same":
                        heard[second] = [other.recv()]
                        other.send(message)
                        heard[second] += [other.recv(), other.recv()]
                if other is not None:
                    other.send(second)
                    heard[second] += [other.recv(), other.recv()]
        if not overlapping:
            heard[second] = talk(url, "the same", second)
        return heard

    with serving(echo) as server, session(tmp_path / "c.yaml"):
        live = both(server.url, "a", "b")
    with session(tmp_path / "c.yaml", "none") as replayed:
        again = both(server.url, "b", "a")
    assert str(again["b"]).count('{"echo": "b"}') == str(live["b"]).count('{"echo": "b"}') == 1
    assert str(again["a"]).count('{"echo": "a"}') == str(live["a"]).count('{"echo": "a"}') == 1
    assert replayed.recording.exchanges == load(tmp_path / "c.yaml").exchanges


def test_of_several_none_fits_what_nobody_said(tmp_path: Path):
    with serving(echo) as server, session(tmp_path / "c.yaml"):
        talk(server.url, "one", "a")
        talk(server.url, "one", "b")
    run = Session(tmp_path / "c.yaml", mode="none", name="test")
    with run.open(), pytest.raises(CassetteMiss, match="something else"):
        talk(server.url, "one", "c")


def test_one_side_of_it_may_talk_while_the_other_listens(tmp_path: Path):
    async def duplex(url: str) -> list[Any]:
        async with connect_async(url) as connection:

            async def listen() -> list[Any]:
                return [message async for message in connection]

            listening = asyncio.create_task(listen())
            for number in range(40):
                await connection.send(f"{number}")
            await asyncio.sleep(0.1)
            await connection.close()
            return await listening

    with serving(echo) as server, session(tmp_path / "c.yaml"):
        live = asyncio.run(duplex(server.url))
    with session(tmp_path / "c.yaml", "none"):
        assert asyncio.run(duplex(server.url)) == live


def test_nothing_is_watched_without_a_recording_and_all_is_put_back(tmp_path: Path):
    before = connect.__code__, connect.__kwdefaults__, dict(vars(connect_async)), dict(connect.__globals__)
    with serving(echo) as server:
        with session(tmp_path / "c.yaml"):
            assert connect.__code__ is not before[0]
            talk(server.url)
        assert (
            connect.__code__,
            connect.__kwdefaults__,
            dict(vars(connect_async)),
            dict(connect.__globals__),
        ) == before
        assert talk(server.url, "free")[1] == '{"echo": "free"}'
    with stubs.patched(lambda: None), serving(echo) as server:
        assert talk(server.url, "nobody's")[1] == asyncio.run(talk_async(server.url, "nobody's"))[1]


def test_where_it_may_go_live_it_does(tmp_path: Path):
    """A conversation that turns out otherwise in its middle could not go live any more."""
    with serving(echo) as server:
        with session(tmp_path / "c.yaml"):
            talk(server.url, "hello")
        with session(tmp_path / "c.yaml", "changed"):
            talk(server.url, "goodbye")
        with session(tmp_path / "c.yaml", "none"):
            assert talk(server.url, "goodbye")[1] == '{"echo": "goodbye"}'
        assert server.opened == 2


# --- secrets and kills -----------------------------------------------------------------------------------------------


def test_secrets_reach_no_file_and_a_replay_has_others(tmp_path: Path):
    split = [KEY[at : at + 7] for at in range(0, len(KEY), 7)]

    def spells(connection: ServerConnection) -> None:
        connection.recv()
        for piece in split:
            connection.send(json.dumps({"type": "text.delta", "item_id": "i1", "delta": piece}))
        connection.send(base64.b64encode(KEY.encode()))

    def ask(url: str, key: str) -> None:
        with connect(f"{url}/v1?api_key={key}", additional_headers={"Authorization": f"Bearer {key}"}) as connection:
            connection.send(json.dumps({"say": f"the key is {key}", "client_secret": {"value": key}}))
            assert len([connection.recv() for _ in range(len(split) + 1)]) == len(split) + 1

    with serving(spells) as server, session(tmp_path / "c.yaml"):
        ask(server.url, KEY)
    written = (tmp_path / "c.yaml").read_bytes()
    assert KEY.encode() not in written
    assert base64.b64encode(KEY.encode()) not in written
    assert "".join(json.loads(line)["json"]["delta"] for line in deltas(written)) != KEY
    with session(tmp_path / "c.yaml", "none"):
        ask(server.url, "sk-proj-" + "Ab1" * 16)


def deltas(written: bytes) -> list[str]:
    return [line.strip() for line in written.decode().splitlines() if '"delta"' in line]


def test_a_kill_leaves_what_was_said_in_the_journal(tmp_path: Path):
    program = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from websockets.sync.client import connect
        from pytest_agentops.cassette import Equipment, Session
        from pytest_agentops.journal import Journal

        folder = Path(sys.argv[2])
        journal = Journal(folder / ".agentops")
        draft = folder / ".agentops" / "drafts" / "c.yaml"
        run = Session(folder / "c.yaml", mode="once", name="t", draft=draft, equipment=Equipment(journal=journal))
        with run.open():
            with connect(sys.argv[1]) as connection:
                connection.send("whole")
                connection.recv()
            connection = connect(sys.argv[1], additional_headers={"Authorization": "Bearer " + sys.argv[3]})
            for number in range(5):
                connection.send(f"{number} {sys.argv[3]}")
                connection.recv(), connection.recv()
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    from pytest_agentops.journal import Journal

    with serving(echo) as server:
        ran = subprocess.run([sys.executable, "-c", program, server.url, str(tmp_path), KEY], check=False, timeout=60)
    assert ran.returncode == -signal.SIGKILL
    assert all(KEY.encode() not in page.read_bytes() for page in tmp_path.rglob("*.jsonl"))
    journal = Journal(tmp_path / ".agentops")
    journal.recover()
    whole, half = load(journal.recovered[0]).exchanges
    assert [frame.data for frame in frames(whole) if frame.sender == "client"] == [b"whole", b""]
    assert half.failed
    said = [frame.data for frame in frames(half) if frame.sender == "client"]
    assert said[:2] == [b"0 REDACTED-1", b"1 REDACTED-1"]


# --- values ----------------------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=30) | st.sampled_from(
    ['{"a": 1e5}', '{"a": 1, "a": 2}', '{"a": "\\ud800"}', "[1.50, NaN]", "{}"]
)
FRAMES = st.builds(
    lambda sender, text, data: Frame(sender, *(("text", text.encode("utf-8", "replace")) if text else ("binary", data))),
    st.sampled_from(["client", "server"]), st.none() | TEXTS, st.binary(max_size=30),
) | st.builds(Frame, st.sampled_from(["client", "server"]), st.just("close"), TEXTS.map(lambda text: text.encode("utf-8", "replace")), st.none() | st.integers(1000, 4999))  # fmt: skip


@given(st.lists(FRAMES, max_size=6))
def test_frames_come_back_from_a_file_as_they_were(said: list[Frame]):
    exchange = recorded_socket("ws://localhost/chat", said)
    (read,) = loads(dumps(Tape((exchange,), outcome="passed"))).exchanges
    back = frames(read)
    assert [(each.sender, each.kind, each.code) for each in back] == [
        (each.sender, each.kind, each.code) for each in said
    ]
    for was, now in zip(said, back, strict=True):
        assert now.data == was.data or now.json == was.json


def test_a_line_that_was_cut_is_left_out():
    body = Frame("server", "text", b"whole").line() + Frame("client", "text", b"half").line()[:-6]
    assert frames_of(body) == (Frame("server", "text", b"whole"),)


# --- realtime sessions of OpenAI -------------------------------------------------------------------------------------

WEATHER = {"type": "function", "name": "weather", "description": "", "parameters": {"type": "object"}}
SESSION = {"type": "realtime", "instructions": "Be brief.", "tools": [WEATHER]}


def usage(given: int, cached: int, said: int) -> dict[str, Any]:
    details = {"text_tokens": given - 2, "audio_tokens": 2, "cached_tokens": cached}
    out = {"text_tokens": said - 1, "audio_tokens": 1}
    return {
        "total_tokens": given + said,
        "input_tokens": given,
        "output_tokens": said,
        "input_token_details": details,
        "output_token_details": out,
    }


def realtime(connection: ServerConnection) -> None:
    """A model that asks for the weather, and then speaks."""
    session: dict[str, Any] = {"model": "gpt-realtime", "instructions": "", "tools": []}
    numbers = iter(range(1, 100))

    def say(kind: str, **event: Any) -> None:
        connection.send(json.dumps({"type": kind, "event_id": f"event_{next(numbers)}", **event}))

    say("session.created", session=session)
    answered = False
    for message in connection:
        event = json.loads(message)
        if event["type"] == "session.update":
            session |= event["session"]
            say("session.updated", session=session)
        elif event["type"] == "conversation.item.create":
            item = {"id": f"item_{next(numbers)}", **event["item"]}
            answered = answered or item["type"] == "function_call_output"
            say("conversation.item.added", item=item, previous_item_id=None)
            say("conversation.item.done", item=item, previous_item_id=None)
        elif event["type"] == "response.create" and not answered:
            call = {"id": "item_call", "type": "function_call", "name": "weather", "call_id": "call_1"}
            whole = {**call, "arguments": '{"city": "Paris"}', "status": "completed"}
            say("response.created", response={"id": "resp_1", "status": "in_progress", "output": []})
            say("conversation.item.added", item={**call, "status": "in_progress", "arguments": ""})
            say("response.function_call_arguments.delta", response_id="resp_1", output_index=0, delta='{"city": ')
            say("response.output_item.done", response_id="resp_1", output_index=0, item=whole)
            done = {"id": "resp_1", "status": "completed", "output": [whole], "usage": usage(40, 0, 12)}
            say("response.done", response=done)
        elif event["type"] == "response.create":
            say("response.created", response={"id": "resp_2", "status": "in_progress", "output": []})
            for word in ("It is ", "sunny."):
                say("response.output_audio_transcript.delta", response_id="resp_2", output_index=0, delta=word)
            part = {"type": "output_audio", "transcript": "It is sunny."}
            said = {"id": "item_said", "type": "message", "role": "assistant", "content": [part]}
            done = {"id": "resp_2", "status": "completed", "output": [said], "usage": usage(70, 40, 9)}
            say("response.done", response=done)


def ask_weather(url: str) -> str:
    """An agent that runs the tool, written with the client for threads."""
    client = OpenAI(api_key=KEY, websocket_base_url=f"{url}/v1")
    heard = ""
    with client.realtime.connect(model="gpt-realtime") as connection:
        connection.session.update(session=SESSION)
        question = [{"type": "input_text", "text": "What is the weather in Paris?"}]
        connection.conversation.item.create(item={"type": "message", "role": "user", "content": question})
        connection.response.create()
        for event in connection:
            if event.type == "response.output_audio_transcript.delta":
                heard += event.delta
            elif event.type == "response.done":
                calls = [item for item in event.response.output if item.type == "function_call"]
                if not calls:
                    break
                result = {"type": "function_call_output", "call_id": calls[0].call_id, "output": "sunny, 21 C"}
                connection.conversation.item.create(item=result)
                connection.response.create()
    return heard


async def ask_weather_async(url: str) -> str:
    """The same with the client for asyncio."""
    heard = ""
    async with (
        AsyncOpenAI(api_key=KEY, websocket_base_url=f"{url}/v1") as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        await connection.session.update(session=SESSION)
        question = [{"type": "input_text", "text": "What is the weather in Paris?"}]
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": question})
        await connection.response.create()
        async for event in connection:
            if event.type == "response.output_audio_transcript.delta":
                heard += event.delta
            elif event.type == "response.done":
                calls = [item for item in event.response.output if item.type == "function_call"]
                if not calls:
                    break
                result = {"type": "function_call_output", "call_id": calls[0].call_id, "output": "sunny, 21 C"}
                await connection.conversation.item.create(item=result)
                await connection.response.create()
    return heard


@pytest.mark.parametrize(
    "ask", [ask_weather, lambda url: asyncio.run(ask_weather_async(url))], ids=["threads", "asyncio"]
)
def test_a_realtime_agent_is_a_trace_of_model_calls(tmp_path: Path, ask: Callable[[str], str]):
    with serving(realtime) as server, session(tmp_path / "c.yaml") as recorded:
        assert ask(server.url) == "It is sunny."
        live = AgentTrace(recorded.recording).freeze()
    with session(tmp_path / "c.yaml", "none") as replayed:
        assert ask(server.url) == "It is sunny."
        again = AgentTrace(replayed.recording).freeze()

    first, second = live.model_calls
    assert (first.id, first.model, first.finish_reason) == ("resp_1", "gpt-realtime", "tool_calls")
    assert [(message.role, message.content) for message in first.messages] == [
        ("system", "Be brief."),
        ("user", "What is the weather in Paris?"),
    ]
    assert first.tools == (WEATHER,)
    (called,) = live.tool_calls
    assert (called.name, called.arguments, called.result, called.status) == (
        "weather", {"city": "Paris"}, "sunny, 21 C", "ok",
    )  # fmt: skip
    assert [message.role for message in second.messages] == ["system", "user", "assistant", "tool"]
    assert (second.finish_reason, live.response) == ("stop", "It is sunny.")
    assert [call.usage for call in live.model_calls] == [Usage(40, 12, 0), Usage(70, 9, 40)]
    assert first.started is not None
    assert second.started is not None
    assert second.started > first.started
    assert live.findings == ()
    assert [
        trace.to_json().replace(trace.source, "") for trace in (again, Trace.from_cassette(tmp_path / "c.yaml"))
    ] == [live.to_json().replace(live.source, "")] * 2
    assert KEY not in (tmp_path / "c.yaml").read_text()


def test_another_prompt_is_named_as_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with serving(realtime) as server, session(tmp_path / "c.yaml"):
        ask_weather(server.url)
    monkeypatch.setitem(SESSION, "instructions", "Be long.")
    run = Session(tmp_path / "c.yaml", mode="none", name="test")
    with run.open(), pytest.raises(CassetteMiss) as caught:
        ask_weather(server.url)
    assert "cause     the prompt" in str(caught.value)
    assert "/session/instructions" in str(caught.value)


def test_rendered_prompts_are_known_on_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "voice.prompty").write_text(
        "---\nname: voice\nversion: 1.0.0\ninputs:\n  who: {kind: string}\n---\nsystem:\nAnswer as {{ who }} would.\n"
    )
    written = PromptRepository(tmp_path / "prompts")["voice"]
    for mode in ("once", "none"):
        with serving(realtime) as server, session(tmp_path / "c.yaml", mode) as run:
            monkeypatch.setitem(SESSION, "instructions", written.render(who="a sailor"))
            ask_weather(server.url)
            assert [call.prompts for call in run.recording.freeze().model_calls] == [(0,), (0,)]


def said(sender: str, **event: Any) -> Frame:
    return Frame("client" if sender == "client" else "server", "text", json.dumps(event).encode())


def calls_of(*conversation: Frame) -> Trace:
    return Tape((recorded_socket("wss://api.openai.com/v1/realtime?model=gpt-realtime", conversation),)).trace()


def test_a_conversation_that_broke_off_is_cut_off():
    trace = calls_of(
        said("client", type="response.create"),
        said("server", type="response.created", response={"id": "r1", "status": "in_progress"}),
        said("server", type="response.output_text.delta", response_id="r1", output_index=0, delta="It is "),
    )
    assert [(call.id, call.response, call.finish_reason) for call in trace.model_calls] == [("r1", "It is ", None)]
    assert "cut_off" in [finding.kind for finding in trace.findings]


def test_a_response_that_was_never_begun_is_a_call_without_an_answer():
    trace = calls_of(said("client", type="response.create", response={"instructions": "Say hello."}))
    (call,) = trace.model_calls
    assert (call.model, call.messages[0].content, call.finish_reason) == ("gpt-realtime", "Say hello.", None)


def test_what_the_server_refuses_is_a_failed_call():
    trace = calls_of(
        said("client", type="response.create", event_id="e1"),
        said(
            "server",
            type="error",
            error={"type": "invalid_request_error", "code": "c", "message": "no", "event_id": "e1"},
        ),
    )
    (call,) = trace.model_calls
    assert call.error is not None
    assert (call.error.message, call.error.code, call.finish_reason) == ("no", "c", "error")


def test_a_failed_response_tells_why():
    details = {"type": "failed", "error": {"type": "server_error", "code": "overloaded"}}
    trace = calls_of(
        said("client", type="response.create"),
        said("server", type="response.created", response={"id": "r1"}),
        said("server", type="response.done", response={"id": "r1", "status": "failed", "status_details": details}),
    )
    (call,) = trace.model_calls
    assert call.error is not None
    assert call.error.code == "overloaded"


@pytest.mark.parametrize(
    ("status", "details", "reason"),
    [
        ("incomplete", {"reason": "max_output_tokens"}, "length"),
        ("incomplete", {"reason": "content_filter"}, "content_filter"),
        ("cancelled", {"reason": "turn_detected"}, "cancelled"),
    ],
)
def test_the_end_of_a_response_has_one_word(status: str, details: dict[str, str], reason: str):
    trace = calls_of(
        said("server", type="response.created", response={"id": "r1"}),
        said("server", type="response.done", response={"id": "r1", "status": status, "status_details": details}),
    )
    assert [call.finish_reason for call in trace.model_calls] == [reason]


def test_speech_is_known_by_its_transcript_also_when_that_comes_late():
    item = {"id": "i1", "type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
    transcribed = "conversation.item.input_audio_transcription.completed"
    trace = calls_of(
        said("client", type="input_audio_buffer.append", audio="UklGRg=="),
        said("server", type="conversation.item.added", item=item),
        said("server", type="response.created", response={"id": "r1"}),
        said("server", type=transcribed, item_id="i1", content_index=0, transcript="Hello?"),
        said("server", type="response.done", response={"id": "r1", "status": "completed", "output": []}),
    )
    assert [(message.role, message.content) for message in trace.model_calls[0].messages] == [("user", "Hello?")]


def test_what_a_server_makes_up_never_raises():
    odd: list[Any] = [None, 7, "x", [], {}, {"id": []}, {"output": 3}, {"output": [None, {"type": 4}], "usage": "much"}]
    kinds = [
        "session.created",
        "response.created",
        "response.done",
        "response.x.delta",
        "conversation.item.added",
        "error",
    ]
    for kind in kinds:
        for each in odd:
            event = {"type": kind, "response": each, "session": each, "item": each, "error": each, "output_index": each}
            trace = calls_of(said("client", **event), said("server", **event), said("client", type="response.create"))
            assert trace.exchanges == 1


def test_a_whole_socket_decodes_to_its_last_call():
    socket = recorded_socket(
        "wss://api.openai.com/v1/realtime",
        [said("server", type="response.done", response={"id": name, "status": "completed"}) for name in ("r1", "r2")],
    )
    assert openai_realtime.decode(socket).id == "r2"
    assert openai_realtime.decode(recorded_socket("wss://api.openai.com/v1/realtime", [])).error is not None


def test_a_socket_of_nobody_known_is_a_finding():
    trace = Tape((recorded_socket("wss://voice.example/live", [said("server", hello=1)]),)).trace()
    assert [finding.message for finding in trace.findings] == [
        "GET wss://voice.example/live is no model's endpoint that we know"
    ]


def test_times_of_a_call_are_those_of_its_frames():
    conversation = [
        said("client", type="response.create"),
        said("server", type="response.created", response={"id": "r1"}),
        said("server", type="response.output_text.delta", response_id="r1", delta="Hi"),
        said("server", type="response.done", response={"id": "r1", "status": "completed"}),
    ]
    socket = recorded_socket("wss://api.openai.com/v1/realtime", conversation)
    timed = Exchange(1, socket.request, socket.response, timing=Timing(2.0, 9.0, 1.0, (1.0, 1.5, 2.0, 4.0)))
    (call,) = Tape((timed,)).trace().model_calls
    assert (call.started, call.latency) == (3.0, 3.0)


# --- where people meet them ------------------------------------------------------------------------------------------


def test_a_cassette_that_is_adopted_loses_the_secrets_in_its_frames(tmp_path: Path):
    said = [Frame("client", "text", f'{{"say": "{KEY}"}}'.encode()), Frame("server", "text", f"it is {KEY}".encode())]
    text = dumps(Tape((recorded_socket("wss://voice.example/live", said),)))
    (tmp_path / "c.yaml").write_text(re.sub(r"(?ms)^agentops:.*?(?=^interactions)|^agentops_end.*", "", text))
    (found,) = adoptions([tmp_path], into=None, rules=Rules())
    assert list(adopt([found], Rules())) == []
    (adopted,) = load(tmp_path / "c.yaml").exchanges
    assert [frame.data for frame in frames(adopted)] == [b'{"say": "REDACTED-1"}', b"it is REDACTED-1"]


@pytest.mark.slow
def test_a_voice_agent_in_a_project_is_recorded_once_and_replayed_without_a_key(tiny_project: Any):
    with serving(realtime) as server:
        tiny_project.write(
            "test_voice.py",
            f"""
            from openai import OpenAI

            def test_weather(agent_trace):
                client = OpenAI(websocket_base_url="{server.url}/v1")
                with client.realtime.connect(model="gpt-realtime") as connection:
                    connection.response.create()
                    for event in connection:
                        if event.type == "response.done":
                            break
                assert agent_trace.trajectory == ["weather"]
            """,
        )
        recorded = tiny_project.run(env={"OPENAI_API_KEY": KEY})
    replayed = tiny_project.run("--agentops-record=none")
    assert (recorded.outcomes, replayed.outcomes) == ({"passed": 1}, {"passed": 1})
    assert KEY not in (tiny_project.path / "cassettes" / "test_voice" / "test_weather.yaml").read_text()
