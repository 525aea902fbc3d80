"""What can be neither recorded nor replayed is refused in replay and named while it is recorded: gRPC and libcurl."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pytest_agentops.cassette import Equipment, Session
from pytest_agentops.errors import LiveCallRefused
from pytest_agentops.guard import Hosts
from pytest_agentops.tape import Tape, save

grpc = pytest.importorskip("grpc")
curl_cffi = pytest.importorskip("curl_cffi")

from curl_cffi import requests as curl_requests  # noqa: E402
from grpc import aio  # noqa: E402


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """The address of a real gRPC server that says everything again, in each of the four ways to call."""
    server = grpc.server(ThreadPoolExecutor(2))
    ways = {
        "UnaryUnary": grpc.unary_unary_rpc_method_handler(lambda request, _context: request),
        "UnaryStream": grpc.unary_stream_rpc_method_handler(lambda request, _context: iter([request])),
        "StreamUnary": grpc.stream_unary_rpc_method_handler(lambda requests, _context: b"".join(requests)),
        "StreamStream": grpc.stream_stream_rpc_method_handler(lambda requests, _context: requests),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", ways),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


class Page(BaseHTTPRequestHandler):
    """One page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_args: object) -> None:
        """Nothing is printed."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of an HTTP server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def replaying(folder: Path, *hosts: str) -> Session:
    """A session in which nothing may go live."""
    save(Tape(outcome="passed"), folder / "c.yaml")
    equipment = Equipment(root=Path(__file__).parent, hosts=Hosts(hosts))
    return Session(folder / "c.yaml", mode="none", name="tests/test_it.py::test", equipment=equipment)


def recording(folder: Path, *hosts: str) -> Session:
    equipment = Equipment(root=Path(__file__).parent, hosts=Hosts(hosts))
    return Session(folder / "new.yaml", mode="once", name="tests/test_it.py::test", equipment=equipment)


# --- gRPC ------------------------------------------------------------------------------------------------------------


def blocking(address: str, call: Callable[[Any], Any]) -> Any:
    with grpc.insecure_channel(address) as channel:
        return call(channel)


CALLS: dict[str, Callable[[Any], Any]] = {
    "unary": lambda channel: channel.unary_unary("/test.Echo/UnaryUnary")(b"hi", timeout=10),
    "with_call": lambda channel: channel.unary_unary("/test.Echo/UnaryUnary").with_call(b"hi", timeout=10)[0],
    "future": lambda channel: channel.unary_unary("/test.Echo/UnaryUnary").future(b"hi", timeout=10).result(),
    "unary_stream": lambda channel: b"".join(channel.unary_stream("/test.Echo/UnaryStream")(b"hi", timeout=10)),
    "stream_unary": lambda channel: channel.stream_unary("/test.Echo/StreamUnary")(iter([b"h", b"i"]), timeout=10),
    "stream_stream": lambda channel: b"".join(
        channel.stream_stream("/test.Echo/StreamStream")(iter([b"hi"]), timeout=10)
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_through_grpc_is_refused_in_replay(tmp_path: Path, echo: str, call: Callable[[Any], Any]):
    run = replaying(tmp_path)
    with run.open(), pytest.raises(LiveCallRefused):
        blocking(echo, call)
    with pytest.raises(LiveCallRefused):
        run.check()
    assert blocking(echo, call) == b"hi"


def test_the_refusal_says_what_happened_and_what_to_do_instead(tmp_path: Path, echo: str):
    run = replaying(tmp_path)
    with run.open(), pytest.raises(LiveCallRefused) as caught:
        blocking(echo, CALLS["unary"])
    assert re.sub(r"(py|127\.0\.0\.1):\d+", r"\1:N", str(caught.value)).splitlines() == [
        "grpc wanted to reach 127.0.0.1:N, and nothing may go live",
        "  test      tests/test_it.py::test",
        "  line      test_foreign_transports.py:N",
        "  how       through grpc, which can be neither recorded nor replayed",
        '  instead   let the client speak REST (transport="rest" in Google\'s clients), or ask through httpx',
        '  to let it through: allow_hosts = ["127.0.0.1"] in [tool.agentops]',
    ]


def test_a_channel_made_before_is_refused_too_and_a_swallowed_refusal_fails(tmp_path: Path, echo: str):
    with grpc.insecure_channel(f"dns:///{echo}") as channel:
        say = channel.unary_unary("/test.Echo/UnaryUnary")
        assert say(b"warm") == b"warm"
        run = replaying(tmp_path)
        with run.open(), contextlib.suppress(Exception):
            say(b"hi")
        assert [(each.client, each.target) for each in run.refusals] == [("grpc", echo)]
        with pytest.raises(LiveCallRefused):
            run.check()


async def all_ways(address: str) -> list[bytes]:
    """What each way to call gives, through the client for asyncio; nothing where it is refused."""
    heard = []
    async with aio.insecure_channel(address) as channel:
        for call in (
            lambda: channel.unary_unary("/test.Echo/UnaryUnary")(b"hi"),
            lambda: channel.stream_unary("/test.Echo/StreamUnary")(iter([b"hi"])),
        ):
            with contextlib.suppress(LiveCallRefused):
                heard.append(await call())
        for stream in (
            lambda: channel.unary_stream("/test.Echo/UnaryStream")(b"hi"),
            lambda: channel.stream_stream("/test.Echo/StreamStream")(iter([b"hi"])),
        ):
            with contextlib.suppress(LiveCallRefused):
                heard += [piece async for piece in stream()]
    return heard


def test_the_client_for_asyncio_is_met_as_well(tmp_path: Path, echo: str):
    replay = replaying(tmp_path)
    with replay.open():
        assert asyncio.run(all_ways(echo)) == []
    assert [refusal.target for refusal in replay.refusals] == [echo] * 4

    live = recording(tmp_path)
    with live.open():
        assert asyncio.run(all_ways(echo)) == [b"hi"] * 4
    assert [finding.kind for finding in live.recording.freeze().findings] == ["unrecorded"]


def test_what_is_recorded_meanwhile_tells_of_it(tmp_path: Path, echo: str):
    run = recording(tmp_path)
    with run.open():
        assert blocking(echo, CALLS["unary"]) == blocking(echo, CALLS["future"]) == b"hi"
        findings = run.recording.freeze().findings
    (finding,) = findings
    assert finding.kind == "unrecorded"
    assert finding.message == (
        f"grpc called {echo}, which was seen and not recorded; a replay refuses it: let the client speak REST "
        '(transport="rest" in Google\'s clients), or ask through httpx'
    )


def test_an_address_that_is_allowed_by_its_name_is_let_through(tmp_path: Path, echo: str):
    for run in (replaying(tmp_path, echo), replaying(tmp_path, "127.0.0.1"), recording(tmp_path, echo)):
        with run.open():
            assert blocking(echo, CALLS["unary"]) == b"hi"
        run.check()
        assert run.recording.findings == []
    refused = replaying(tmp_path, "127.0.0.1", f"!{echo}")
    with refused.open(), pytest.raises(LiveCallRefused):
        blocking(echo, CALLS["unary"])


# --- libcurl ---------------------------------------------------------------------------------------------------------


async def get_async(url: str, **options: Any) -> bytes:
    async with curl_requests.AsyncSession() as session:
        response = await session.get(url, **options)
        return bytes(await response.acontent() if options.get("stream") else response.content)


def get_low(url: str) -> bytes:
    heard: list[bytes] = []
    curl = curl_cffi.Curl()
    curl.setopt(curl_cffi.CurlOpt.URL, url.encode())
    curl.setopt(curl_cffi.CurlOpt.WRITEFUNCTION, lambda data: heard.append(data) or len(data))
    curl.perform()
    curl.close()
    return b"".join(heard)


GETS: dict[str, Callable[[str], bytes]] = {
    "session": lambda url: bytes(curl_requests.get(url).content),
    "handle": get_low,
    "asyncio": lambda url: asyncio.run(get_async(url)),
    "stream": lambda url: asyncio.run(get_async(url, stream=True)),
}


@pytest.mark.parametrize("get", GETS.values(), ids=GETS)
def test_a_request_through_curl_cffi_is_refused_in_replay(tmp_path: Path, site: str, get: Callable[[str], bytes]):
    run = replaying(tmp_path)
    with run.open(), pytest.raises(LiveCallRefused):
        get(f"http://{site}/page")
    with pytest.raises(LiveCallRefused, match="ask through httpx, aiohttp or requests"):
        run.check()
    assert {(each.client, each.target) for each in run.refusals} == {("curl_cffi", site)}
    assert get(f"http://{site}/page") == b"ok"


@pytest.mark.parametrize("get", GETS.values(), ids=GETS)
def test_a_request_through_curl_cffi_is_a_finding_while_it_is_recorded(tmp_path: Path, site: str, get: Any):
    run = recording(tmp_path)
    with run.open():
        assert get(f"http://{site}/page") == b"ok"
    assert [(finding.kind, finding.message.partition(",")[0]) for finding in run.recording.findings] == [
        ("unrecorded", f"curl_cffi called {site}")
    ]


def test_pycurl_is_met_as_well(tmp_path: Path, site: str):
    pycurl = pytest.importorskip("pycurl")
    before = pycurl.Curl

    def get() -> bytes:
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, f"http://{site}/page")
        said: bytes = curl.perform_rb()
        return said

    replay, live = replaying(tmp_path), recording(tmp_path)
    with replay.open(), pytest.raises(LiveCallRefused, match="pycurl"):
        get()
    with live.open():
        assert get() == b"ok"
    assert [finding.kind for finding in live.recording.findings] == ["unrecorded"]
    assert pycurl.Curl is before


# --- before and after ------------------------------------------------------------------------------------------------


def places() -> list[object]:
    """Everything that may be replaced, as it is now."""
    from curl_cffi import aio as curl_aio
    from curl_cffi import curl
    from grpc import _channel
    from grpc.aio import _channel as aio_channel

    kinds = [
        value for module in (_channel, aio_channel) for name, value in vars(module).items() if "MultiCallable" in name
    ]
    return [dict(vars(kind)) for kind in (*kinds, curl.Curl, curl_aio.AsyncCurl)]


def test_all_is_put_back(tmp_path: Path):
    before = places()
    with replaying(tmp_path).open():
        assert places() != before
    assert places() == before


def test_a_test_that_swallows_the_refusal_fails(tiny_project: Any, echo: str):
    tiny_project.write(
        "test_it.py",
        f"""
        import contextlib
        import grpc

        def test_of_a_model_behind_grpc(agent_trace):
            with contextlib.suppress(Exception), grpc.insecure_channel("{echo}") as channel:
                channel.unary_unary("/test.Echo/UnaryUnary")(b"hi")
        """,
    )
    result = tiny_project.run("--agentops-record=none")
    assert "grpc, which can be neither recorded nor replayed" in result.stdout
    assert result.exit_code == 1
