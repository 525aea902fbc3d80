"""Every other client is recorded and replayed as httpx is: with its own responses, its own errors, in its own order."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import io
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pytest_agentops.capture import Recording, watching
from pytest_agentops.cassette import Equipment, Session
from pytest_agentops.errors import CassetteMiss, NothingRecorded
from pytest_agentops.exchange import Exchange, Request, Response, header
from pytest_agentops.stubs import patched
from pytest_agentops.tape import load
from pytest_agentops.testing import Says, ScriptedModel
from pytest_agentops.trace import Trace

aiohttp = pytest.importorskip("aiohttp")
requests = pytest.importorskip("requests")
urllib3 = pytest.importorskip("urllib3")

BYTES = bytes(range(256)) * 5


class Site(BaseHTTPRequestHandler):
    """A small site with one page for each thing that can happen."""

    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        self.server.asked += 1  # type: ignore[attr-defined]
        if self.headers.get("transfer-encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(pieces)
        else:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
        name = self.path.strip("/").partition("?")[0].partition("/")[0]
        getattr(self, f"page_{name}", self.page_echo)(body)

    do_GET = do_POST = do_PUT = do_HEAD = _any  # noqa: N815

    def say(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for key, value in ({"content_length": str(len(body))} | headers).items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def page_echo(self, body: bytes) -> None:
        self.say(f"{self.command} {self.path}\n".encode() + body, content_type="text/plain; charset=utf-8")

    def page_gzip(self, body: bytes) -> None:
        self.say(gzip.compress(b"packed"), content_type="text/plain", content_encoding="gzip")

    def page_binary(self, body: bytes) -> None:
        self.say(BYTES, content_type="application/octet-stream")

    def page_nothing(self, body: bytes) -> None:
        self.send_response(204)
        self.end_headers()

    def page_moved(self, body: bytes) -> None:
        self.say(b"", 302, location="/echo/there", set_cookie="seen=yes; Path=/")

    def page_busy(self, body: bytes) -> None:
        first = not self.server.busy  # type: ignore[attr-defined]
        self.server.busy = True  # type: ignore[attr-defined]
        self.say(b"busy" if first else b"done", 503 if first else 200)

    def page_slow(self, body: bytes) -> None:
        self.server.ended.wait(5)  # type: ignore[attr-defined]
        self.close_connection = True

    def page_hangup(self, body: bytes) -> None:
        self.close_connection = True

    def page_cut(self, body: bytes) -> None:
        self.say(b"half", content_length="8")
        self.close_connection = True

    def page_events(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(3):
            piece = b"data: %d\n\n" % number
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            time.sleep(0.05)
        self.wfile.write(b"0\r\n\r\n")

    def page_endless(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"9\r\ndata: 0\n\n\r\n")
        self.server.ended.wait(20)  # type: ignore[attr-defined]

    def log_message(self, *args: object) -> None:
        """Nothing is printed."""


class Listening(ThreadingHTTPServer):
    """Takes many connections at once."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_args: object) -> None:
        """A client that left is no news."""


class Server:
    """The site, until it is gone."""

    def __init__(self) -> None:
        self._server = Listening(("127.0.0.1", 0), Site)
        self._server.asked, self._server.busy = 0, False  # type: ignore[attr-defined]
        self._server.ended = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def asked(self) -> int:
        return self._server.asked  # type: ignore[attr-defined,no-any-return]

    def close(self) -> None:
        self._server.ended.set()  # type: ignore[attr-defined]
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    site = Server()
    yield site
    site.close()


@contextmanager
def session(path: Path, mode: Any = "once", **equipment: Any) -> Iterator[Session]:
    one = Session(path, mode=mode, name="test", equipment=Equipment(**equipment))
    with one.open():
        yield one
    one.close("passed")


def twice(path: Path, server: Server, work: Callable[[], Any]) -> tuple[Any, Any, tuple[Exchange, ...]]:
    """What this gives when it is recorded and when it is replayed, the server gone, and what was recorded."""
    with session(path):
        recorded = work()
    server.close()
    asked = server.asked
    with session(path, "none") as replayed:
        again = work()
        replayed.check(teardown=True)
    assert server.asked == asked
    return recorded, again, load(path).exchanges


# --- the clients: each asks, and gives the status and the body -------------------------------------------------------


def by_requests(url: str, method: str = "GET", body: Any = None, timeout: float = 10) -> tuple[int, bytes]:
    with requests.Session() as one:
        answer = one.request(method, url, data=body, timeout=timeout)
        return answer.status_code, answer.content


def by_urllib3(url: str, method: str = "GET", body: Any = None, timeout: float = 10) -> tuple[int, bytes]:
    with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
        answer = pool.request(method, url, body=body, redirect=True)
        return answer.status, answer.data


def by_urllib(url: str, method: str = "GET", body: Any = None, timeout: float = 10) -> tuple[int, bytes]:
    asked = urllib.request.Request(url, data=body, method=method)
    with urllib.request.urlopen(asked, timeout=timeout) as answer:
        return answer.status, answer.read()


def by_http_client(url: str, method: str = "GET", body: Any = None, timeout: float = 10) -> tuple[int, bytes]:
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=timeout)
    try:
        connection.request(method, f"/{path}", body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def by_pieces(url: str, method: str = "GET", body: Any = None, timeout: float = 10) -> tuple[int, bytes]:
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=timeout)
    try:
        connection.putrequest(method, f"/{path}")
        connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders()
        for piece in (body or b"")[:3], (body or b"")[3:]:
            if piece:
                connection.send(piece)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def by_httplib2(url: str, method: str = "GET", body: Any = None, timeout: float = 10) -> tuple[int, bytes]:
    httplib2 = pytest.importorskip("httplib2")
    one = httplib2.Http(timeout=timeout)
    try:
        answer, content = one.request(url, method, body=body)
        return answer.status, content
    finally:
        one.close()


def by_botocore(url: str, method: str = "GET", body: Any = None, timeout: float = 10) -> tuple[int, bytes]:
    pytest.importorskip("botocore")
    from botocore.awsrequest import AWSRequest
    from botocore.httpsession import URLLib3Session

    one = URLLib3Session(timeout=timeout)
    try:
        answer = one.send(AWSRequest(method, url, data=body).prepare())
        return answer.status_code, answer.content
    finally:
        one.close()


def by_aiohttp(url: str, method: str = "GET", body: Any = None, timeout: float = 10) -> tuple[int, bytes]:
    async def ask() -> tuple[int, bytes]:
        limit = aiohttp.ClientTimeout(sock_read=timeout)
        async with aiohttp.ClientSession(timeout=limit) as one, one.request(method, url, data=body) as answer:
            return answer.status, await answer.read()

    return asyncio.run(ask())


def by_tornado(url: str, method: str = "GET", body: Any = None, timeout: float = 10) -> tuple[int, bytes]:
    client = pytest.importorskip("tornado.simple_httpclient")

    async def ask() -> tuple[int, bytes]:
        one = client.SimpleAsyncHTTPClient(force_instance=True)
        try:
            answer = await one.fetch(url, method=method, body=body, request_timeout=timeout, raise_error=True)
            return answer.code, answer.body
        finally:
            one.close()

    return asyncio.run(ask())


ALL = [by_requests, by_urllib3, by_urllib, by_http_client, by_pieces, by_httplib2, by_botocore, by_aiohttp, by_tornado]
Ask = Callable[..., tuple[int, bytes]]
each_client = pytest.mark.parametrize("ask", ALL, ids=lambda ask: ask.__name__[3:])


# --- answers ---------------------------------------------------------------------------------------------------------


@each_client
def test_what_was_recorded_is_replayed_with_the_server_gone(tmp_path, server, ask: Ask):
    def work():
        return [ask(f"{server.url}/echo?q={n}", "POST", b"caf\xc3\xa9 %d" % n) for n in range(3)]

    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, work)

    assert recorded == [(200, b"POST /echo?q=%d\ncaf\xc3\xa9 %d" % (n, n)) for n in range(3)]
    assert replayed == recorded
    assert [each.request.body for each in exchanges] == [b"caf\xc3\xa9 %d" % n for n in range(3)]
    assert [each.request.url for each in exchanges] == [f"{server.url}/echo?q={n}" for n in range(3)]
    assert [each.number for each in exchanges] == [1, 2, 3]
    assert all(each.response and each.response.complete for each in exchanges)


@each_client
@pytest.mark.parametrize("page", ["binary", "nothing", "gzip"])
def test_bodies_of_every_kind(tmp_path, server, ask: Ask, page):
    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, lambda: ask(f"{server.url}/{page}"))

    said = {"binary": BYTES, "nothing": b"", "gzip": b"packed"}[page]
    assert exchanges[0].response is not None
    assert exchanges[0].response.body == said
    assert header(exchanges[0].response.headers, "content-encoding") is None
    assert replayed == (recorded[0], said)
    raw = page == "gzip" and ask in (by_botocore, by_urllib, by_http_client, by_pieces, by_tornado)
    assert recorded[1] == said or (raw and gzip.decompress(recorded[1]) == said)


@each_client
def test_a_head_has_no_body(tmp_path, server, ask: Ask):
    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, lambda: ask(f"{server.url}/binary", "HEAD"))

    assert recorded == replayed == (200, b"")
    assert len(exchanges) == 1


@pytest.mark.parametrize("ask", [by_requests, by_urllib, by_httplib2, by_aiohttp])
def test_each_hop_of_a_redirect_is_an_exchange(tmp_path, server, ask: Ask):
    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, lambda: ask(f"{server.url}/moved"))

    assert recorded[1] == b"GET /echo/there\n"
    assert replayed == recorded
    assert [each.response.status for each in exchanges if each.response] == [302, 200]


def test_tornado_follows_redirects_within_one_exchange(tmp_path, server):
    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, lambda: by_tornado(f"{server.url}/moved"))

    assert recorded == replayed == (200, b"GET /echo/there\n")
    assert len(exchanges) == 1


def test_the_responses_are_the_clients_own(tmp_path, server):
    def work():
        with requests.Session() as one:
            answer = one.get(f"{server.url}/moved")
            kept = dict(one.cookies)
        answer.raise_for_status()
        return type(answer.raw), answer.text, [each.status_code for each in answer.history], answer.url, kept

    recorded, replayed, _ = twice(tmp_path / "c.yaml", server, work)

    assert recorded[0] is urllib3.response.HTTPResponse
    assert recorded[-1] == {"seen": "yes"}
    assert replayed[:-1] == recorded[:-1]


def test_aiohttps_responses_are_its_own(tmp_path, server):
    async def ask():
        session = aiohttp.ClientSession(raise_for_status=True)
        async with session as one, one.post(f"{server.url}/moved", json={"a": "é"}) as answer:
            said = await answer.text()
            return (
                type(answer),
                said,
                answer.method,
                [each.status for each in answer.history],
                answer.closed,
            )

    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, lambda: asyncio.run(ask()))

    assert recorded[0] is aiohttp.ClientResponse
    assert replayed == recorded
    assert exchanges[0].request.json == {"a": "é"}


@pytest.mark.parametrize(
    "body",
    [
        lambda: "é",
        lambda: io.BytesIO(b"file"),
        lambda: iter([b"one", b"two"]),
        lambda: {"a": "1", "b": "2"},
        lambda: b"",
    ],
    ids=["str", "file", "generator", "form", "empty"],
)
@pytest.mark.parametrize("ask", [by_requests, by_urllib3, by_http_client, by_aiohttp], ids=lambda ask: ask.__name__[3:])
def test_requests_of_every_kind(tmp_path, server, ask: Ask, body):
    given = body()
    if isinstance(given, dict) and ask in (by_urllib3, by_http_client):
        pytest.skip("takes no form")
    if ask is by_aiohttp and not isinstance(given, str | dict | bytes | io.BytesIO):
        pytest.skip("takes asynchronous generators")
    recorded, replayed, exchanges = twice(
        tmp_path / "c.yaml", server, lambda: ask(f"{server.url}/echo", "POST", body())
    )

    assert recorded[1] == b"POST /echo\n" + exchanges[0].request.body
    assert replayed == recorded
    assert exchanges[0].request.body or not given


def test_an_asynchronous_generator_is_sent_and_recorded(tmp_path, server):
    async def pieces():
        yield b"one"
        yield b"two"

    recorded, replayed, exchanges = twice(
        tmp_path / "c.yaml", server, lambda: by_aiohttp(f"{server.url}/echo", "POST", pieces())
    )

    assert recorded[1] == b"POST /echo\nonetwo"
    assert replayed == recorded
    assert exchanges[0].request.body == b"onetwo"


def test_multipart_forms(tmp_path, server):
    async def ask():
        form = aiohttp.FormData({"a": "1"})
        form.add_field("file", io.BytesIO(b"contents"), filename="f.txt")
        async with aiohttp.ClientSession() as one, one.post(f"{server.url}/echo", data=form) as answer:
            return await answer.text()

    with watching(Recording("test")) as recording:
        by_one = requests.post(f"{server.url}/echo", files={"file": io.BytesIO(b"contents")}).text
        by_another = asyncio.run(ask())

    assert [f"POST /echo\n{each.request.body.decode()}" for each in recording.exchanges] == [by_one, by_another]
    assert by_one.count("contents") == by_another.count("contents") == 1


def test_a_trace_is_read_from_what_requests_and_aiohttp_asked(tmp_path):
    asked = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}

    async def ask(url):
        async with aiohttp.ClientSession() as one, one.post(url, json=asked) as answer:
            return await answer.json()

    with ScriptedModel(Says("one"), Says("two"), gzip=True) as model, session(tmp_path / "c.yaml"):
        url = f"{model.base_url}/chat/completions"
        requests.post(url, json=asked)
        asyncio.run(ask(url))

    trace = Trace.from_cassette(tmp_path / "c.yaml")
    assert [call.response for call in trace.model_calls] == ["one", "two"]


def test_encrypted_connections(tmp_path, server, monkeypatch):
    """The certificate is nobody's concern on replay: there is no connection."""
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    safe = Listening(("127.0.0.1", 0), Site)
    safe.asked = 0  # type: ignore[attr-defined]
    safe.socket = context.wrap_socket(safe.socket, server_side=True)
    threading.Thread(target=safe.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    trusting = ssl.create_default_context(cafile=certificate)
    url = f"https://localhost:{safe.server_port}"

    async def by_one_of_aiohttps():
        async with aiohttp.ClientSession() as one, one.get(f"{url}/echo/3", ssl=trusting) as answer:
            return await answer.read()

    def work():
        connection = http.client.HTTPSConnection("localhost", safe.server_port, context=trusting)
        connection.request("GET", "/echo/4")
        found = [
            requests.get(f"{url}/echo/1", verify=str(certificate)).content,
            urllib.request.urlopen(f"{url}/echo/2", context=trusting).read(),
            asyncio.run(by_one_of_aiohttps()),
            connection.getresponse().read(),
            fails(requests.get, f"{url}/echo/5")[0][0],
            fails(urllib.request.urlopen, f"{url}/echo/6")[0][0],
        ]
        connection.close()
        safe.shutdown()
        safe.server_close()
        return found

    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, work)

    assert recorded[:4] == [f"GET /echo/{number}\n".encode() for number in range(1, 5)]
    assert recorded[4:] == [requests.exceptions.SSLError, urllib.error.URLError]
    assert replayed == recorded
    assert f"{url}/echo/1" in {each.request.url for each in exchanges}


def self_signed(folder: Path) -> Path:
    """A certificate for localhost, with its key."""
    path = folder / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    options = ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", path]
    try:
        subprocess.run([*command.split(), *options], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    path.write_text(path.read_text() + (folder / "key.pem").read_text())
    return path


# --- streams ---------------------------------------------------------------------------------------------------------


def events_of_requests(url: str) -> list[bytes]:
    with requests.get(url, stream=True, timeout=10) as answer:
        return [line for line in answer.iter_lines(chunk_size=None) if line]


def events_of_aiohttp(url: str) -> list[bytes]:
    async def ask():
        async with aiohttp.ClientSession() as one, one.get(url) as answer:
            return [line.strip() async for line in answer.content if line.strip()]

    return asyncio.run(ask())


def events_of_urllib(url: str) -> list[bytes]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return [line.strip() for line in answer if line.strip()]


@pytest.mark.parametrize("events", [events_of_requests, events_of_aiohttp, events_of_urllib])
def test_streams_come_event_by_event(tmp_path, server, events):
    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, lambda: events(f"{server.url}/events"))

    assert recorded == replayed == [b"data: 0", b"data: 1", b"data: 2"]
    assert exchanges[0].timing is not None
    assert len(exchanges[0].timing.events) == 3
    assert exchanges[0].timing.events[2] > exchanges[0].timing.events[0] + 0.05


def test_an_endless_stream_can_be_left(tmp_path, server):
    def work():
        with requests.get(f"{server.url}/endless", stream=True, timeout=10) as answer:
            return next(answer.iter_lines(chunk_size=None))

    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, work)

    assert recorded == replayed == b"data: 0"
    assert exchanges[0].response is not None
    assert not exchanges[0].response.complete


def test_an_endless_stream_of_aiohttps_can_be_left(tmp_path, server):
    async def ask(lines=1):
        async with aiohttp.ClientSession() as one, one.get(f"{server.url}/endless") as answer:
            return [await answer.content.readline() for _ in range(lines)]

    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, lambda: asyncio.run(ask()))

    assert recorded == replayed == [b"data: 0\n"]
    assert exchanges[0].response is not None
    assert not exchanges[0].response.complete
    with session(tmp_path / "c.yaml", "none"), pytest.raises(CassetteMiss):
        asyncio.run(ask(5))


def test_one_who_reads_on_where_the_first_reader_had_left_is_told(tmp_path, server):
    def work(lines):
        with requests.get(f"{server.url}/endless", stream=True, timeout=10) as answer:
            return [line for line, _ in zip(answer.iter_lines(chunk_size=None), range(lines), strict=False)]

    with session(tmp_path / "c.yaml"):
        work(1)
    with session(tmp_path / "c.yaml", "none"), pytest.raises(CassetteMiss):
        work(5)


def test_answers_take_their_time_where_that_is_wanted(tmp_path, server):
    with session(tmp_path / "c.yaml"):
        events_of_requests(f"{server.url}/events")
        events_of_aiohttp(f"{server.url}/events")
    with session(tmp_path / "c.yaml", "none", pace="recorded"):
        began = time.perf_counter()
        events_of_requests(f"{server.url}/events")
        events_of_aiohttp(f"{server.url}/events")

    assert time.perf_counter() - began > 0.18


# --- what goes wrong -------------------------------------------------------------------------------------------------


@each_client
def test_a_miss_reaches_the_caller_and_is_not_tried_again(tmp_path, server, ask: Ask):
    with session(tmp_path / "c.yaml", "none") as replayed:
        try:
            ask(f"{server.url}/echo")
        except Exception as error:
            raised = error
    if ask is by_botocore:  # It wraps whatever is raised below it.
        raised = raised.__context__  # type: ignore[assignment]
    assert type(raised) is NothingRecorded
    assert len(replayed.cassette.misses) == 1
    assert server.asked == 0


def test_a_miss_is_not_tried_again_by_retries(tmp_path, server):
    adapter = requests.adapters.HTTPAdapter(max_retries=urllib3.Retry(3, backoff_factor=0))
    with session(tmp_path / "c.yaml", "none") as replayed, requests.Session() as one:
        one.mount("http://", adapter)
        with pytest.raises(CassetteMiss):
            one.get(f"{server.url}/echo")

    assert len(replayed.cassette.misses) == 1


def fails(ask: Ask, *args: Any, **kwargs: Any) -> tuple[list[type], str]:
    """The error that this raises, with those that led to it."""
    try:
        ask(*args, **kwargs)
    except Exception as error:
        kinds: list[type] = []
        at: BaseException | None = error
        while at is not None:
            kinds.append(type(at))
            at = at.__context__
        return kinds, str(error)
    raise AssertionError("nothing was raised")


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def outer(kinds: list[type]) -> list[type]:
    """The errors of the client; what it made of the socket's is another matter."""
    return [kind for kind in kinds if not kind.__module__.startswith(("builtins", "socket"))] or kinds[:1]


@each_client
@pytest.mark.parametrize("page", ["refused", "slow", "hangup", "cut"])
def test_failures_are_recorded_and_raised_again(tmp_path, server, ask: Ask, page):
    if ask is by_botocore and page == "cut":
        pytest.skip("it takes half an answer for a whole one")
    url = f"http://127.0.0.1:{closed_port()}/" if page == "refused" else f"{server.url}/{page}"
    untouched = fails(ask, url, timeout=0.2)

    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, lambda: fails(ask, url, timeout=0.2))

    assert recorded[0] == untouched[0]
    assert replayed[0][0] is recorded[0][0]
    if ask is not by_tornado:  # It gives its errors as values, with nothing that led to them.
        assert outer(replayed[0]) == outer(recorded[0])
    assert all(each.failure is not None for each in exchanges)


@pytest.mark.parametrize("ask", [by_requests, by_urllib3, by_urllib, by_aiohttp], ids=lambda ask: ask.__name__[3:])
def test_a_name_that_is_not_known_is_a_failure_too(tmp_path, server, monkeypatch, ask: Ask):
    def unknown(*_args: object, **_kwargs: object) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    recorded, replayed, _ = twice(tmp_path / "c.yaml", server, lambda: fails(ask, "http://nowhere.invalid/x"))

    assert replayed[0][0] is recorded[0][0]
    assert "not known" in replayed[1]


def test_a_connection_that_takes_too_long(tmp_path, server, monkeypatch):
    def late(*_args: object, **_kwargs: object) -> Any:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", late)
    monkeypatch.setattr(urllib3.util.connection, "create_connection", late)
    recorded, replayed, _ = twice(
        tmp_path / "c.yaml",
        server,
        lambda: [fails(by_requests, f"{server.url}/1")[0][0], fails(by_urllib, f"{server.url}/2")[0][0]],
    )

    assert recorded == replayed == [requests.exceptions.ConnectTimeout, urllib.error.URLError]


def test_the_whole_call_of_aiohttps_takes_too_long(tmp_path, server):
    async def ask():
        limit = aiohttp.ClientTimeout(total=0.2)
        async with aiohttp.ClientSession(timeout=limit) as one, one.get(f"{server.url}/slow"):
            pass

    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, lambda: fails(lambda: asyncio.run(ask())))

    assert recorded[0][0] is replayed[0][0] is TimeoutError
    assert exchanges[0].failure is not None
    assert exchanges[0].failure.kind == "TimeoutError"


def test_a_call_that_was_cancelled_waits_to_be_cancelled_again(tmp_path, server):
    async def ask():
        async with aiohttp.ClientSession() as one:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(one.get(f"{server.url}/slow"), 0.2)

    _, _, exchanges = twice(tmp_path / "c.yaml", server, lambda: asyncio.run(ask()))

    assert exchanges[0].failure is not None
    assert exchanges[0].failure.kind == "Cancelled"


def test_each_attempt_of_a_retry_is_an_exchange(tmp_path, server):
    def work():
        retry = urllib3.Retry(3, backoff_factor=0, status_forcelist=[503])
        with requests.Session() as one:
            one.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
            return one.get(f"{server.url}/busy").text

    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, work)

    assert recorded == replayed == "done"
    assert [each.response.status for each in exchanges if each.response] == [503, 200]


def test_a_request_whose_answer_nobody_asks_for_is_a_failure(server):
    with watching(Recording("test")) as recording:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
        connection.request("GET", "/echo")
        connection.close()

    assert [each.failure.kind for each in recording.exchanges if each.failure] == ["Cancelled"]


# --- whose request it is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [by_requests, by_http_client, by_aiohttp], ids=lambda ask: ask.__name__[3:])
def test_many_threads_each_get_their_own_answer_once(tmp_path, server, ask: Ask):
    def one(number):
        return ask(f"{server.url}/echo", "POST", b"%d" % (number // 2))[1]

    def work():
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(one, range(120)))

    recorded, replayed, exchanges = twice(tmp_path / "c.yaml", server, work)

    assert recorded == replayed == [b"POST /echo\n%d" % (number // 2) for number in range(120)]
    assert sorted(each.number for each in exchanges) == list(range(1, 121))


class Prepared:
    """A recording that has one answer to each number, and gives it once."""

    pace: Any = "none"

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def send(self, request: Request) -> Exchange:
        self.given.append(request.body)
        return Exchange(1, request, Response(200, "OK", (), b"answer to " + request.body))

    def hold(self, *_args: object) -> None: ...

    def receive(self, *_args: object) -> None: ...

    def now(self) -> float:
        return 0.0

    def ran_out(self, exchange: Exchange) -> Exception:
        return AssertionError(exchange)


def test_two_thousand_requests_of_threads_that_share_a_session():
    prepared = Prepared()

    def ask(number):
        return one.post("http://127.0.0.1:9/", data=b"%d" % number).text

    with requests.Session() as one, patched(lambda: prepared), ThreadPoolExecutor(8) as pool:
        one.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=4, pool_block=True))
        answers = list(pool.map(ask, range(2000)))

    assert answers == [f"answer to {number}" for number in range(2000)]
    assert len(set(prepared.given)) == len(prepared.given) == 2000


def test_twenty_prompts_at_once_each_get_their_own_answer(tmp_path):
    def answer(request):
        return Says(f"answer to {request.body['messages'][0]['content']}")

    async def ask(url):
        async with aiohttp.ClientSession() as one:

            async def single(number):
                message = {"role": "user", "content": f"prompt {number}"}
                async with one.post(url, json={"model": "gpt-5-mini", "messages": [message]}) as reply:
                    return (await reply.json())["choices"][0]["message"]["content"]

            return await asyncio.gather(*map(single, range(20)))

    with ScriptedModel(answer) as model, session(tmp_path / "c.yaml"):
        url = f"{model.base_url}/chat/completions"
        recorded = asyncio.run(ask(url))
    with session(tmp_path / "c.yaml", "none"):
        replayed = asyncio.run(ask(url))

    assert recorded == replayed == [f"answer to prompt {number}" for number in range(20)]


def test_two_recordings_in_two_threads_keep_apart(server):
    both = threading.Barrier(2)
    kept = {}

    def run(name):
        with watching(Recording(name)) as recording:
            both.wait()
            for number in range(20):
                by_requests(f"{server.url}/{name}/{number}")
                by_urllib(f"{server.url}/{name}/{number}")
                by_aiohttp(f"{server.url}/{name}/{number}")
            both.wait()
        kept[name] = [each.request.location.path for each in recording.exchanges]

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {name: set(paths) for name, paths in kept.items()} == {
        name: {f"/{name}/{number}" for number in range(20)} for name in ("a", "b")
    }


@each_client
def test_a_request_of_nobodys_passes_through(server, ask: Ask):
    with patched(lambda: None):
        assert ask(f"{server.url}/binary") == (200, BYTES)
        assert fails(ask, f"{server.url}/hangup")


def test_httpx2_is_not_seen_twice(server):
    with watching(Recording("test")) as recording:
        httpx2.get(f"{server.url}/echo")
        requests.get(f"{server.url}/echo")

    assert len(recording.exchanges) == 2


# --- what is patched, and until when ---------------------------------------------------------------------------------


def state() -> dict[str, object]:
    names = ("http.client", "urllib3.connection", "urllib3.connectionpool", "aiohttp.client", "botocore.awsrequest")
    names += ("httplib2", "tornado.simple_httpclient", "urllib.request", "requests.adapters")
    found: dict[str, object] = {"meta_path": list(sys.meta_path)}
    for name in names:
        for key, value in vars(sys.modules[name]).items() if name in sys.modules else ():
            found[f"{name}.{key}"] = value
            if isinstance(value, type):
                found |= {f"{name}.{key}.{attribute}": each for attribute, each in vars(value).items()}
    return {key: value for key, value in found.items() if not key.endswith(("__abstractmethods__", "_abc_impl"))}


def test_everything_is_as_it_was_before(server):
    for ask in ALL[:4]:
        ask(f"{server.url}/echo")  # urllib remembers an opener from its first request on.
    before = state()
    with watching(Recording("test")):
        for ask in ALL[:4]:
            ask(f"{server.url}/echo")
        assert state() != before

    after = state()
    assert {key for key in before if after.get(key) is not before[key]} - {"meta_path"} == set()
    assert after["meta_path"] == before["meta_path"]


def test_connections_made_before_are_watched_and_let_go_afterwards(tmp_path, server):
    place = server.url.removeprefix("http://")
    plain = http.client.HTTPConnection(place)
    kinds = []

    def ask(one):
        plain.request("GET", "/echo/plain")
        return one.get(f"{server.url}/echo/pooled").content, plain.getresponse().read()

    with requests.Session() as one:
        ask(one)
        with session(tmp_path / "c.yaml"):
            ask(one)
            kinds.append(type(plain))
            made = http.client.HTTPConnection(place)
        assert len(load(tmp_path / "c.yaml").exchanges) == 2
        assert type(plain) is type(made) is http.client.HTTPConnection
        asked = server.asked
        with session(tmp_path / "c.yaml", "none"):
            assert ask(one) == (b"GET /echo/pooled\n", b"GET /echo/plain\n")
        assert server.asked == asked
        ask(one)
        assert server.asked == asked + 2
    plain.close()
    assert kinds[0] is not http.client.HTTPConnection
    assert issubclass(kinds[0], http.client.HTTPConnection)


def test_a_name_taken_from_http_client_before_and_a_class_derived_from_it_are_watched(server):
    class Own(http.client.HTTPConnection):
        """Somebody's own connection."""

    with watching(Recording("test")) as recording:
        for kind in (Own, http.client.HTTPConnection):
            connection = kind(server.url.removeprefix("http://"))
            connection.request("GET", "/echo")
            assert connection.getresponse().read()
            connection.close()

    assert len(recording.exchanges) == 2


def test_what_is_imported_during_the_recording_is_watched_and_nothing_else_is_imported(server):
    program = f"""
        import sys
        from pytest_agentops.capture import Recording, watching

        names = ("requests", "urllib3", "aiohttp", "tornado", "vcr", "botocore")
        with watching(Recording("test")) as recording:
            assert not [name for name in names if name in sys.modules]
            import asyncio, aiohttp, requests, urllib.request
            requests.get("{server.url}/echo/1")
            async def ask():
                async with aiohttp.ClientSession() as one, one.get("{server.url}/echo/2") as answer:
                    await answer.read()
            asyncio.run(ask())
            urllib.request.urlopen("{server.url}/echo/3").read()
        assert "vcr" not in sys.modules
        requests.get("{server.url}/echo/4")
        asyncio.run(ask())
        print([each.request.location.path for each in recording.exchanges])
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False, timeout=60
    )

    assert run.stderr == ""
    assert run.stdout == "['/echo/1', '/echo/2', '/echo/3']\n"
