"""Nothing goes live in replay. No address outside of loopback is spoken to here: 127.0.0.2 plays the foreign one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import http.client
import http.server
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from inspect import currentframe
from pathlib import Path

import pytest

from pytest_agentops import guard
from pytest_agentops.errors import LiveCallRefused
from pytest_agentops.guard import Hosts, Refusal, protecting

HERE = Path(__file__).resolve().parent
CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(CURL is None, reason="curl is not installed")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@dataclass
class Replay:
    """What nothing may leave; it remembers what wanted to."""

    hosts: Hosts = field(default_factory=lambda: Hosts(["!127.0.0.2"]))
    name: str = "tests/test_refund.py::test_whole_order"
    root: Path = HERE
    refusals: list[Refusal] = field(default_factory=list)

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def protected(self):
        return protecting(self, lambda: self)


class Foreign:
    """A server at an address that counts as foreign here, and must never hear anything."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.host, self.port = server.getsockname()
        self.url = f"http://{self.host}:{self.port}/"
        self.target = f"{self.host}:{self.port}"

    @property
    def was_reached(self) -> bool:
        try:
            self._server.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def foreign() -> Iterator[Foreign]:
    with socket.create_server(("127.0.0.2", 0)) as server:
        server.setblocking(False)
        yield Foreign(server)


@pytest.fixture
def local() -> Iterator[str]:
    """The URL of a server on loopback that answers `hello`."""

    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """A mistake inside the guard would go to `sys.unraisablehook`, where it is an error of ours."""
    mistakes: list[object] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda about: mistakes.append(about.exc_value)
    yield
    guard.close()
    gc.collect()
    sys.unraisablehook = before
    assert mistakes == []


def line(back: int) -> str:
    """The place of the line so many lines above the one that calls this."""
    frame = currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f"test_guard.py:{frame.f_back.f_lineno - back}"


@contextmanager
def refusing() -> Iterator[None]:
    with pytest.raises(LiveCallRefused):
        yield


# --- what may be reached ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    "127.0.0.1 127.8.9.10 127.1 2130706433 0x7f000001 ::1 [::1] ::ffff:127.0.0.1 localhost LOCALHOST localhost. "
    "api.localhost 0.0.0.0 :: 0".split(),
)
def test_loopback_is_allowed_however_it_is_written(host):
    assert Hosts().allows(host, 80)


def test_the_machine_s_own_name_is_allowed():
    assert Hosts().allows(socket.gethostname(), None)


@pytest.mark.parametrize(
    "host",
    "api.openai.com 8.8.8.8 134744072 ::ffff:8.8.8.8 2001:db8::1 localhost.example.com notlocalhost 10.0.0.1 "
    "255.255.255.255 169.254.169.254 fe80::1%eth0".split(),
)
def test_everything_else_is_not(host):
    assert not Hosts().allows(host, 443)


@pytest.mark.parametrize(
    ("entry", "host", "port"),
    [
        ("example.com", "example.com", 443),
        ("example.com", "EXAMPLE.com.", 443),
        ("bücher.example", "xn--bcher-kva.example", 443),
        ("example.com:443", "example.com", 443),
        ("example.com:443", "example.com", None),
        ("*.internal", "db.eu.internal", 5432),
        ("db-?.internal:5432", "db-1.internal", 5432),
        ("10.0.0.5", "10.0.0.5", 80),
        ("10.0.0.5", "::ffff:10.0.0.5", 80),
        ("10.0.0.0/8", "10.200.3.4", 80),
        ("10.0.0.0/8:80", "10.200.3.4", 80),
        ("fd00::5", "fd00:0::5", 80),
        ("[fd00::5]", "fd00::5", 80),
        ("[fd00::5]:443", "fd00::5", 443),
        ("fd00::/8", "fdff::1", 443),
        ("[fd00::/8]:443", "fdff::1%eth0", 443),
        ("*", "anything.example", 1),
        ("*", "8.8.8.8", 1),
    ],
)
def test_an_entry_allows_what_it_names(entry, host, port):
    assert Hosts([entry]).allows(host, port)


@pytest.mark.parametrize(
    ("entry", "host", "port"),
    [
        ("example.com", "www.example.com", 443),
        ("example.com", "example.community", 443),
        ("example.com:443", "example.com", 80),
        ("*.internal", "internal", 80),
        ("*.internal", "db.internal.example.com", 80),
        ("10.0.0.0/8", "11.0.0.1", 80),
        ("10.0.0.0/8:80", "10.0.0.1", 81),
        ("10.0.0.0/8", "::a00:1", 80),
        ("[fd00::5]:443", "fd00::5", 80),
    ],
)
def test_an_entry_allows_nothing_else(entry, host, port):
    assert not Hosts([entry]).allows(host, port)


def test_a_refusing_entry_wins_over_loopback_and_over_what_else_allows_it():
    hosts = Hosts(["10.0.0.0/8", "!10.0.0.5", "!127.0.0.2", "!127.0.0.1:11434", "!ollama.localhost"])

    assert hosts.allows("10.0.0.4", 80)
    assert not hosts.allows("10.0.0.5", 80)
    assert not hosts.allows("127.0.0.2", 80)
    assert not hosts.allows("127.2", 80)
    assert not hosts.allows("127.0.0.1", 11434)
    assert hosts.allows("127.0.0.1", 11435)
    assert hosts.allows("127.0.0.1", None), "some port of it may be reached"
    assert not hosts.allows("ollama.localhost", 80)


def test_hosts_are_values():
    assert Hosts(["a.example"]) == Hosts(("a.example",))
    assert len({Hosts(["a.example"]), Hosts(["a.example"]), Hosts()}) == 2
    assert repr(Hosts(["a.example"])) == "Hosts(allowed=('a.example',))"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("", "it is empty; write a name, an address or a network, such as 'db.internal' or '10.0.0.0/8'"),
        ("!", "it is empty; write a name, an address or a network, such as 'db.internal' or '10.0.0.0/8'"),
        ("https://me@x.com/v1", "it is a URL; write the host alone: 'x.com'"),
        ("x.com:", "its port is no number from 1 to 65535; write 'x.com:443', or 'x.com' for every port"),
        ("x.com:http", "its port is no number from 1 to 65535; write 'x.com:443', or 'x.com' for every port"),
        ("x.com:65536", "its port is no number from 1 to 65535; write 'x.com:443', or 'x.com' for every port"),
        ("10.0.0.1/8", "it is an address inside a network; write the network: '10.0.0.0/8'"),
        (
            "x.com/v1",
            "what stands before the '/' and after it is no network; write a network such as '10.0.0.0/8'",
        ),
        ("10.0.0.256", "it is no address; write an address such as '10.0.0.5' or '[fd00::5]:443'"),
        ("[::1", "it is no address; write an address such as '10.0.0.5' or '[fd00::5]:443'"),
        ("[x.com]:80", "it is no address; write an address such as '10.0.0.5' or '[fd00::5]:443'"),
        ("x com", "it is no name of a host; write a name such as 'db.internal' or '*.internal'"),
        ("x..com", "it is no name of a host; write a name such as 'db.internal' or '*.internal'"),
    ],
)
def test_a_malformed_entry_says_what_is_wrong_and_what_would_be_right(entry, message):
    with pytest.raises(ValueError) as raised:
        Hosts([entry])

    assert str(raised.value) == f"{entry!r} is no host to allow: {message}"


def test_one_text_instead_of_a_list_is_refused():
    with pytest.raises(ValueError, match="write a list of hosts"):
        Hosts("example.com")


@pytest.mark.parametrize(
    ("allowed", "no_proxy"),
    [
        ([], "localhost,127.0.0.1,::1,0.0.0.0,.localhost,127.0.0.0/8"),
        (["!127.0.0.2"], "localhost,127.0.0.1,::1,0.0.0.0,.localhost"),
        (["!127.0.0.0/8", "!localhost"], "::1,0.0.0.0,.localhost"),
        (["!*"], ""),
        (
            ["*.internal", "db.example:5432", "10.0.0.0/8", "fd00::/8", "a*b.example", "10.1.0.0/16:80"],
            "localhost,127.0.0.1,::1,0.0.0.0,.localhost,127.0.0.0/8,.internal,db.example:5432,10.0.0.0/8",
        ),
        (["!127.0.0.1:11434"], "localhost,127.0.0.1,::1,0.0.0.0,.localhost,127.0.0.0/8"),
        (
            ["10.0.0.0/8", "!10.0.0.5:80", "*.internal", "!db.internal", "x.com", "!www.x.com", "y.com"],
            "localhost,127.0.0.1,::1,0.0.0.0,.localhost,127.0.0.0/8,y.com",
        ),
        (["*", "!x.com"], "localhost,127.0.0.1,::1,0.0.0.0,.localhost,127.0.0.0/8"),
    ],
)
def test_no_proxy_says_what_it_can_express(allowed, no_proxy):
    assert Hosts(allowed).no_proxy == no_proxy


def test_httpx_understands_what_no_proxy_says(monkeypatch):
    httpx = pytest.importorskip("httpx")
    monkeypatch.setenv("no_proxy", Hosts(["*.internal", "db.x:5432", "10.0.0.0/8", "fd00::5"]).no_proxy)
    monkeypatch.setenv("https_proxy", "http://agentops:0a1b.0@127.0.0.1:9")

    httpx.Client().close()


def test_a_refusal_tells_its_host_without_the_port():
    def host(target: str) -> str:
        return Refusal("socket", target, "", "", child=False).host

    assert host("api.openai.com:443") == "api.openai.com"
    assert host("api.openai.com") == "api.openai.com"
    assert host("[2001:db8::1]:443") == "2001:db8::1"
    assert host("[2001:db8::1]") == "2001:db8::1"


# --- inside the process ----------------------------------------------------------------------------------------------


def test_a_socket_that_connects_is_refused_with_who_where_and_from_which_line(foreign):
    replay = Replay()
    with replay.protected(), socket.socket() as sock, pytest.raises(LiveCallRefused) as raised:
        sock.connect((foreign.host, foreign.port))
    expected = Refusal("socket", foreign.target, replay.name, line(1), child=False)
    assert raised.value.refusal == expected
    assert replay.refusals == [expected]
    assert not foreign.was_reached


def test_connect_ex_is_refused_too(foreign):
    with Replay().protected(), socket.socket() as sock, refusing():
        sock.connect_ex((foreign.host, foreign.port))

    assert not foreign.was_reached


@pytest.mark.parametrize("send", ["sendto", "sendmsg", "connect"])
def test_datagrams_are_refused(send):
    replay = Replay()
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as sock:
        server.bind(("127.0.0.2", 0))
        server.setblocking(False)
        address = server.getsockname()
        with replay.protected(), refusing():
            {
                "sendto": lambda: sock.sendto(b"x", address),
                "sendmsg": lambda: sock.sendmsg([b"x"], [], 0, address),
                "connect": lambda: sock.connect(address),
            }[send]()

        with pytest.raises(BlockingIOError):
            server.recv(1)
    assert [refusal.target for refusal in replay.refusals] == [f"127.0.0.2:{address[1]}"]


def test_ipv6_and_mapped_addresses_are_refused():
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6 here")
    replay = Replay(Hosts(["!::1", "!127.0.0.2"]))
    with replay.protected(), socket.socket(socket.AF_INET6) as sock:
        with refusing():
            sock.connect(("::1", 443))
        with refusing():
            sock.connect(("::ffff:127.0.0.2", 443))

    assert [refusal.target for refusal in replay.refusals] == ["[::1]:443", "127.0.0.2:443"]


@pytest.mark.parametrize(
    ("lookup", "target"),
    [
        (lambda: socket.getaddrinfo("api.openai.invalid", 443), "api.openai.invalid:443"),
        (lambda: socket.getaddrinfo(b"api.openai.invalid", "https"), "api.openai.invalid:443"),
        (lambda: socket.getaddrinfo("api.openai.invalid", None), "api.openai.invalid"),
        (lambda: socket.gethostbyname("api.openai.invalid"), "api.openai.invalid"),
        (lambda: socket.gethostbyname_ex("api.openai.invalid"), "api.openai.invalid"),
        (lambda: socket.gethostbyaddr("api.openai.invalid"), "api.openai.invalid"),
        (lambda: socket.gethostbyaddr("127.0.0.2"), "127.0.0.2"),
        (lambda: socket.create_connection(("api.openai.invalid", 443)), "api.openai.invalid:443"),
    ],
)
def test_a_name_is_refused_when_it_is_looked_up(lookup, target):
    replay = Replay()
    with replay.protected(), refusing():
        lookup()

    assert [refusal.target for refusal in replay.refusals] == [target]


def test_an_address_may_be_looked_up_since_nobody_is_asked():
    with Replay().protected():
        assert socket.getaddrinfo("127.0.0.2", 80, type=socket.SOCK_STREAM)[0][4] == ("127.0.0.2", 80)


def test_urllib_is_refused(foreign):
    replay = Replay()
    with replay.protected(), refusing():
        urllib.request.urlopen(foreign.url)
    assert replay.refusals == [Refusal("urllib.request", foreign.target, replay.name, line(1), child=False)]
    assert not foreign.was_reached


def test_http_client_is_refused(foreign):
    replay = Replay()
    with replay.protected(), refusing():
        http.client.HTTPConnection(foreign.host, foreign.port).request("GET", "/")
    assert replay.refusals == [Refusal("http.client", foreign.target, replay.name, line(1), child=False)]
    assert not foreign.was_reached


def test_requests_is_refused_at_once_and_named_rather_than_what_it_stands_on(foreign):
    requests = pytest.importorskip("requests")
    replay = Replay()
    with replay.protected(), refusing():
        requests.post(foreign.url, json={})
    assert replay.refusals == [Refusal("requests", foreign.target, replay.name, line(1), child=False)]
    with replay.protected(), refusing():
        requests.get("https://api.openai.invalid/v1/models")
    assert replay.refusals[1:] == [
        Refusal("requests", "api.openai.invalid:443", replay.name, line(2), child=False),
    ]
    assert not foreign.was_reached


def test_urllib3_is_refused(foreign):
    urllib3 = pytest.importorskip("urllib3")
    replay = Replay()
    with replay.protected(), urllib3.PoolManager() as pool, refusing():
        pool.request("GET", foreign.url)
    assert replay.refusals == [Refusal("urllib3", foreign.target, replay.name, line(1), child=False)]


def test_asyncio_streams_are_refused_by_address_and_by_name(foreign):
    replay = Replay()
    places = []

    async def by_address() -> None:
        places.append(line(-1))
        await asyncio.open_connection(foreign.host, foreign.port)

    async def by_name() -> None:
        places.append(line(-1))
        await asyncio.open_connection("api.openai.invalid", 443)

    for connect in by_address, by_name:
        with replay.protected(), refusing():
            asyncio.run(connect())

    assert replay.refusals == [
        Refusal("asyncio", foreign.target, replay.name, places[0], child=False),
        Refusal("asyncio", "api.openai.invalid:443", replay.name, places[1], child=False),
    ]
    assert not foreign.was_reached


@pytest.mark.parametrize("how", ["gather", "shield", "task", "wait", "wait_for"])
def test_the_line_is_found_through_the_tasks_that_wait(how):
    """The lookup runs in a pool's thread, for a task in which no line of the project is."""
    replay = Replay()
    places = []
    wait = {
        "gather": lambda ours: asyncio.gather(ours, asyncio.sleep(0)),
        "shield": asyncio.shield,
        "task": asyncio.create_task,
        "wait": lambda ours: asyncio.wait([asyncio.create_task(ours)]),
        "wait_for": lambda ours: asyncio.wait_for(ours, 10),
    }[how]

    async def main() -> None:
        places.append(line(-1))
        await wait(asyncio.open_connection("api.openai.invalid", 443))

    with replay.protected(), suppress(LiveCallRefused):
        asyncio.run(main())
    gc.collect()  # What `wait` leaves behind, asyncio logs now and not in another test.

    assert replay.refusals == [Refusal("asyncio", "api.openai.invalid:443", replay.name, places[0], child=False)]


def test_the_line_is_found_through_a_task_group():
    replay = Replay()
    places = []

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.open_connection("api.openai.invalid", 443))
            places.append(line(2))

    with replay.protected(), pytest.raises(ExceptionGroup):
        asyncio.run(main())

    assert replay.refusals == [Refusal("asyncio", "api.openai.invalid:443", replay.name, places[0], child=False)]


def test_aiohttp_is_refused(foreign):
    aiohttp = pytest.importorskip("aiohttp")
    replay = Replay()
    places = []

    async def main(url: str) -> None:
        async with aiohttp.ClientSession() as session:
            places.append(line(-1))
            await session.get(url)

    for url in foreign.url, "https://api.openai.invalid/v1":
        with replay.protected(), refusing():
            asyncio.run(main(url))

    assert replay.refusals == [
        Refusal("aiohttp", foreign.target, replay.name, places[0], child=False),
        Refusal("aiohttp", "api.openai.invalid:443", replay.name, places[1], child=False),
    ]
    assert not foreign.was_reached


def test_trio_is_refused(foreign):
    trio = pytest.importorskip("trio")
    replay = Replay()

    async def main(host: str) -> None:
        await trio.open_tcp_stream(host, foreign.port)

    for host in foreign.host, "api.openai.invalid":
        with replay.protected(), pytest.raises((LiveCallRefused, ExceptionGroup)):
            trio.run(main, host)

    assert [(each.client, each.target) for each in replay.refusals] == [
        ("trio", foreign.target),
        ("trio", f"api.openai.invalid:{foreign.port}"),
    ]
    assert all(each.place.startswith("test_guard.py:") for each in replay.refusals)
    assert not foreign.was_reached


def test_uvloop_is_refused(foreign):
    uvloop = pytest.importorskip("uvloop")
    replay = Replay()
    places = []
    methods = [getattr(uvloop.Loop, name) for name in ("getaddrinfo", "create_connection")]

    async def main(host: str) -> None:
        places.append(line(-1))
        await asyncio.open_connection(host, foreign.port)

    async def datagram() -> None:
        places.append(line(-1))
        await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.2", 9)
        )

    for work in main(foreign.host), main("api.openai.invalid"), datagram():
        with replay.protected(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, refusing():
            runner.run(work)

    assert replay.refusals == [
        Refusal("asyncio", foreign.target, replay.name, places[0], child=False),
        Refusal("asyncio", f"api.openai.invalid:{foreign.port}", replay.name, places[1], child=False),
        Refusal("socket", "127.0.0.2:9", replay.name, places[2], child=False),
    ]
    assert not foreign.was_reached
    assert [getattr(uvloop.Loop, name) for name in ("getaddrinfo", "create_connection")] == methods


def test_a_thread_is_refused_and_its_line_is_its_own(foreign):
    replay = Replay()
    places = []

    def work() -> None:
        with refusing():
            places.append(line(-1))
            urllib.request.urlopen(foreign.url)

    with replay.protected():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    assert replay.refusals == [Refusal("urllib.request", foreign.target, replay.name, places[0], child=False)]


def test_work_in_a_pool_without_a_line_of_its_own_shows_where_the_test_waits(foreign):
    replay = Replay()
    with replay.protected(), concurrent.futures.ThreadPoolExecutor(1) as pool:
        work = pool.submit(urllib.request.urlopen, foreign.url)
        with refusing():
            work.result()
    file = replay.refusals[0].place.partition(":")[0]
    assert (replay.refusals[0].client, file) == ("urllib.request", "test_guard.py")


def test_work_that_a_task_waits_for_shows_the_line_that_waits(foreign):
    replay = Replay()
    places = []

    async def main() -> None:
        places.append(line(-1))
        await asyncio.to_thread(urllib.request.urlopen, foreign.url)

    with replay.protected(), refusing():
        asyncio.run(main())

    assert replay.refusals == [Refusal("urllib.request", foreign.target, replay.name, places[0], child=False)]


def test_a_refusal_that_the_program_swallowed_is_remembered(foreign):
    replay = Replay()
    with replay.protected(), suppress(Exception):
        urllib.request.urlopen(foreign.url)

    assert [refusal.target for refusal in replay.refusals] == [foreign.target]


def test_a_line_outside_of_the_project_is_not_shown(foreign, tmp_path):
    replay = Replay(root=tmp_path)
    with replay.protected(), refusing():
        urllib.request.urlopen(foreign.url)

    assert replay.refusals[0].place == ""


def test_loopback_passes(local):
    with Replay().protected():
        assert urllib.request.urlopen(local).read() == b"hello"
        assert urllib.request.urlopen(local.replace("127.0.0.1", "localhost")).read() == b"hello"


def test_local_sockets_pass(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as sock, Replay().protected():
        server.bind(path)
        server.listen()
        sock.connect(path)


def test_a_server_on_every_address_may_look_up_the_machine_s_own_name():
    with Replay().protected():
        http.server.HTTPServer(("", 0), http.server.BaseHTTPRequestHandler).server_close()


def test_what_is_allowed_passes(foreign):
    replay = Replay(Hosts([f"127.0.0.0/8:{foreign.port}", "!127.0.0.3"]))
    with replay.protected():
        socket.create_connection((foreign.host, foreign.port)).close()

    assert foreign.was_reached
    assert replay.refusals == []


@pytest.mark.parametrize("lookup", ["getaddrinfo", "gethostbyname", "gethostbyname_ex"])
def test_where_an_allowed_name_was_found_may_be_reached(lookup, monkeypatch):
    """The double stands for the resolver of the system; 198.51.100.7 is reserved for documentation."""
    answers = {
        "getaddrinfo": [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("198.51.100.7", 5432))],
        "gethostbyname": "198.51.100.7",
        "gethostbyname_ex": ("db.internal", [], ["198.51.100.7"]),
    }
    monkeypatch.setattr(socket, lookup, lambda *_: answers[lookup])
    replay = Replay(Hosts(["db.internal:5432"]))
    with replay.protected():
        getattr(socket, lookup)(*(("db.internal", 5432) if lookup == "getaddrinfo" else ("db.internal",)))

        assert judged("198.51.100.7", 5432) is None
        assert judged("198.51.100.7", 80) is not None, "the entry names a port"
        assert judged("198.51.100.8", 5432) is not None
    with Replay().protected():
        assert judged("198.51.100.7", 5432) is not None, "another test does not allow the name"
    with Replay(Hosts(["db.internal", "!198.51.100.7"])).protected():
        assert judged("198.51.100.7", 5432) is not None, "what is refused stays refused"


def judged(host: str, port: int) -> Refusal | None:
    """What a connection would meet, without one: the same event that a socket tells the hook."""
    with socket.socket() as sock:
        try:
            sys.audit("socket.connect", sock, (host, port))
        except LiveCallRefused as refused:
            return refused.refusal
    return None


def test_what_belongs_to_nobody_passes(foreign):
    with protecting(Replay(), lambda: None):
        socket.create_connection((foreign.host, foreign.port)).close()

    assert foreign.was_reached


def test_it_is_asked_anew_whose_each_connection_is(foreign):
    mine: contextvars.ContextVar[Replay | None] = contextvars.ContextVar("mine", default=None)
    replay = Replay()
    with protecting(replay, mine.get), socket.socket() as sock:
        context = contextvars.copy_context()
        context.run(mine.set, replay)
        with refusing():
            context.run(sock.connect, (foreign.host, foreign.port))
        sock.connect((foreign.host, foreign.port))

    assert foreign.was_reached


def test_a_finder_that_opens_sockets_does_not_ask_itself(foreign):
    replay = Replay()

    def find() -> Replay:
        socket.create_connection((foreign.host, foreign.port)).close()
        return replay

    with protecting(replay, find), socket.socket() as sock, refusing():
        sock.connect((foreign.host, foreign.port))

    assert foreign.was_reached, "by the finder"
    assert not foreign.was_reached, "by the program"


def test_a_mistake_of_the_guard_does_not_break_the_program(foreign, monkeypatch):
    mistakes: list[BaseException] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda about: mistakes.append(about.exc_value))

    def find() -> Replay:
        raise RuntimeError("a mistake of ours")

    with protecting(Replay(), find), socket.socket() as sock:
        sock.connect((foreign.host, foreign.port))

    assert [str(mistake) for mistake in mistakes] == ["a mistake of ours"]
    assert mistakes[0].__notes__ == ["pytest-agentops: could not judge socket.connect, and let it pass"]


# --- children and libcurl --------------------------------------------------------------------------------------------


def curl(url: str, *options: str) -> list[str]:
    assert CURL is not None
    return [CURL, "--silent", "--show-error", "--max-time", "5", *options, url]


@needs_curl
@pytest.mark.parametrize("env", ["none", "copied", "minimal", "bytes", "its own proxy"])
def test_a_child_is_refused_whatever_environment_it_is_given(foreign, env):
    given = {
        "none": None,
        "copied": {**os.environ},
        "minimal": {"PATH": os.environ["PATH"]},
        "bytes": {b"http_proxy": b"", b"no_proxy": b"*"},
        "its own proxy": {"http_proxy": foreign.url, "NO_PROXY": "*"},
    }[env]
    before = dict(given) if given is not None else None
    replay = Replay()
    with replay.protected():
        ran = subprocess.run(curl(foreign.url), env=given, capture_output=True, text=True)
    assert ran.stdout == f"pytest-agentops: {foreign.target} refused, nothing may go live in {replay.name}\n"
    assert [(each.target, each.place, each.child) for each in replay.refusals] == [(foreign.target, line(2), True)]
    assert replay.refusals[0].client.startswith("curl/")
    assert given == before, "the caller's mapping is the caller's"
    assert not foreign.was_reached


@needs_curl
def test_a_child_that_wants_a_tunnel_is_refused():
    replay = Replay()
    with replay.protected():
        ran = subprocess.run(curl("https://api.openai.invalid/v1"), capture_output=True, text=True)

    assert ran.returncode == 56
    assert "403" in ran.stderr
    assert [refusal.target for refusal in replay.refusals] == ["api.openai.invalid:443"]


@needs_curl
def test_a_child_that_sends_a_long_body_hears_the_answer(foreign, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"x" * 5_000_000)
    replay = Replay()
    with replay.protected():
        options = ("--header", "Expect:", "--data-binary", f"@{body}")
        ran = subprocess.run(curl(foreign.url, *options), capture_output=True, text=True)

    assert "nothing may go live" in ran.stdout
    assert len(replay.refusals) == 1


@needs_curl
def test_a_child_may_reach_loopback_and_what_is_allowed(local, foreign):
    replay = Replay(Hosts([foreign.host]))
    with replay.protected():
        assert subprocess.run(curl(local), capture_output=True, text=True).stdout == "hello"
        subprocess.run(curl(foreign.url, "--connect-timeout", "2", "--max-time", "0.5"), capture_output=True)

    assert foreign.was_reached
    assert replay.refusals == []


@needs_curl
def test_a_child_that_asks_the_listener_for_what_is_allowed_is_told_so(local):
    """curl does not know ports in NO_PROXY."""
    replay = Replay(Hosts(["db.internal:80"]))
    with replay.protected():
        ran = subprocess.run(curl("http://db.internal/"), capture_output=True, text=True)

    assert ran.stdout == (
        "pytest-agentops: db.internal:80 may be reached, but not through this proxy; "
        "it stands in NO_PROXY where that can say it\n"
    )
    assert replay.refusals == []


@needs_curl
def test_a_child_of_asyncio_is_refused(foreign):
    replay = Replay()

    async def main() -> None:
        child = await asyncio.create_subprocess_exec(*curl(foreign.url), stdout=asyncio.subprocess.PIPE)
        await child.communicate()

    with replay.protected():
        asyncio.run(main())

    assert [(each.target, each.child) for each in replay.refusals] == [(foreign.target, True)]
    assert replay.refusals[0].place.startswith("test_guard.py:")


@needs_curl
@pytest.mark.parametrize("start", ["posix_spawn", "spawnve", "system", "fork and execve", "fork and execv"])
def test_a_child_that_the_os_module_starts_is_refused(foreign, start):
    command = [*curl(foreign.url), "--output", os.devnull]
    replay = Replay()
    with replay.protected():
        if start == "posix_spawn":
            os.waitpid(os.posix_spawn(command[0], command, {}), 0)
        elif start == "spawnve":
            os.spawnve(os.P_WAIT, command[0], command, {})
        elif start == "system":
            os.system(" ".join(command))
        elif child := os.fork():
            os.waitpid(child, 0)
        else:
            with suppress(BaseException):
                os.execve(command[0], command, {}) if start.endswith("ve") else os.execv(command[0], command)
            os._exit(1)

    assert [(each.target, each.child) for each in replay.refusals] == [(foreign.target, True)]
    assert not foreign.was_reached


def test_a_child_in_python_is_refused(foreign):
    program = f"import urllib.request; urllib.request.urlopen({foreign.url!r})"
    replay = Replay()
    with replay.protected():
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert "HTTP Error 403: pytest-agentops: " in ran.stderr
    assert [(each.target, each.child) for each in replay.refusals] == [(foreign.target, True)]
    assert replay.refusals[0].client.startswith("Python-urllib/")
    assert not foreign.was_reached


def test_a_spawned_process_is_refused(foreign):
    replay = Replay()
    with replay.protected():
        process = multiprocessing.get_context("spawn").Process(target=ask, args=(foreign.url,))
        process.start()
        process.join()

    assert [(each.target, each.child) for each in replay.refusals] == [(foreign.target, True)]


def ask(url: str) -> None:
    with suppress(Exception):
        urllib.request.urlopen(url)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_is_refused_and_its_parent_hears_of_it(foreign):
    replay = Replay()
    with replay.protected():
        process = multiprocessing.get_context("fork").Process(target=ask, args=(foreign.url,))
        process.start()
        process.join()

    assert [(each.client, each.target, each.child) for each in replay.refusals] == [
        ("urllib.request", foreign.target, True)
    ]
    assert replay.refusals[0].place.startswith("test_guard.py:")
    assert not foreign.was_reached


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_that_protects_something_itself_has_a_listener_of_its_own(foreign):
    replay = Replay()
    with replay.protected():
        child = os.fork()
        if not child:
            code = 1
            with suppress(BaseException):
                inner = Replay()
                with inner.protected():
                    subprocess.run([sys.executable, "-c", f"import urllib.request as u; u.urlopen({foreign.url!r})"])
                code = 0 if len(inner.refusals) == 1 else 2
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    assert replay.refusals == []


@needs_curl
def test_a_child_that_outlives_its_test_is_told_to_the_test_that_started_it(foreign):
    first, second = Replay(name="first"), Replay(name="second")
    with first.protected():
        child = subprocess.Popen(["sh", "-c", "read go; exec " + " ".join(curl(foreign.url))], stdin=subprocess.PIPE)
    with second.protected():
        child.communicate(b"go\n")

    assert ([each.test for each in first.refusals], second.refusals) == (["first"], [])


def test_a_request_without_credentials_belongs_to_the_newest(foreign):
    older, newer = Replay(name="older"), Replay(name="newer")
    with older.protected(), newer.protected():
        asked(f"GET {foreign.url} HTTP/1.1")

    assert (older.refusals, [each.client for each in newer.refusals]) == ([], ["a child process"])


@pytest.mark.parametrize(
    "line", ["GET / HTTP/1.1", "CONNECT [::1 HTTP/1.1", "nonsense", "", "POST /refused/%7B HTTP/1.1"]
)
def test_what_is_no_request_to_a_proxy_is_refused_and_not_remembered(line, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda about: None)
    replay = Replay()
    with replay.protected():
        assert asked(line)[:12] in ("HTTP/1.1 400", "HTTP/1.1 403")

    assert replay.refusals == []


def test_the_listener_answers_while_another_connection_says_nothing(foreign):
    replay = Replay()
    with replay.protected(), socket.create_connection(("127.0.0.1", port_of_the_listener())):
        assert asked(f"CONNECT {foreign.target} HTTP/1.1").startswith("HTTP/1.1 403")


def port_of_the_listener() -> int:
    listener = guard._guard.listener
    assert listener is not None
    return listener.port


def asked(line: str) -> str:
    """What the listener answers to this."""
    with socket.create_connection(("127.0.0.1", port_of_the_listener()), timeout=10) as sock:
        sock.sendall(f"{line}\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


def test_pycurl_is_refused(foreign):
    pycurl = pytest.importorskip("pycurl")
    replay = Replay()
    with replay.protected():
        request = pycurl.Curl()
        request.setopt(pycurl.URL, foreign.url)
        request.setopt(pycurl.WRITEFUNCTION, lambda _: None)
        request.perform()
        request.close()

    assert [(each.target, each.child) for each in replay.refusals] == [(foreign.target, True)]
    assert not foreign.was_reached


def test_curl_cffi_is_refused(foreign):
    requests = pytest.importorskip("curl_cffi.requests")
    replay = Replay()
    with replay.protected():
        requests.get(foreign.url)
        with pytest.raises(requests.exceptions.RequestException):
            requests.get("https://api.openai.invalid/")

    assert [(each.target, each.child) for each in replay.refusals] == [
        (foreign.target, True),
        ("api.openai.invalid:443", True),
    ]
    assert not foreign.was_reached


# --- before and after ------------------------------------------------------------------------------------------------


def environment_of_children() -> dict[str, str]:
    """What the C library's environment holds, which `os.environ` does not show."""
    text = subprocess.run(["env", "-0"], capture_output=True, text=True, check=True).stdout
    return dict(each.partition("=")[::2] for each in text.split("\0") if each)


def test_nothing_stays_patched_and_the_environment_is_as_it_was(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.delenv("https_proxy", raising=False)
    patched = [
        (subprocess.Popen, "__init__"),
        (os, "execve"),
        (os, "posix_spawn"),
        (socket, "getaddrinfo"),
        (socket, "gethostbyname"),
    ]
    functions = [getattr(*each) for each in patched]
    ours, theirs = dict(os.environ), environment_of_children()
    with Replay().protected():
        assert dict(os.environ) == ours, "clients build transports for what stands there"
        assert environment_of_children()["HTTP_PROXY"].startswith("http://agentops:")

    assert [getattr(*each) for each in patched] == functions
    assert dict(os.environ) == ours
    assert environment_of_children() == theirs


def test_what_the_program_sets_meanwhile_does_not_lead_its_children_out(monkeypatch):
    with Replay().protected():
        monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
        assert environment_of_children()["http_proxy"].startswith("http://agentops:")
        assert os.environ["http_proxy"] == "http://proxy.example:3128"

    assert environment_of_children()["http_proxy"] == "http://proxy.example:3128"


def test_several_may_be_under_way_and_end_in_any_order(foreign):
    outer, inner = Replay(name="outer"), Replay(Hosts([foreign.host]), name="inner")
    popen = subprocess.Popen.__init__
    theirs = environment_of_children()
    whose: list[Replay] = [outer]

    def find() -> Replay:
        return whose[0]

    first, second = ExitStack(), ExitStack()
    first.enter_context(protecting(outer, find))
    second.enter_context(protecting(inner, find))
    with socket.socket() as sock, refusing():
        sock.connect((foreign.host, foreign.port))
    whose[0] = inner
    first.close()
    socket.create_connection((foreign.host, foreign.port)).close()
    assert foreign.was_reached
    assert subprocess.Popen.__init__ is not popen
    second.close()

    assert (len(outer.refusals), len(inner.refusals)) == (1, 0)
    assert subprocess.Popen.__init__ is popen
    assert environment_of_children() == theirs


@needs_curl
def test_a_child_belongs_to_what_started_it_not_to_the_newest(foreign):
    older, newer = Replay(name="older"), Replay(name="newer")
    with protecting(older, lambda: older), protecting(newer, lambda: None):
        subprocess.run(curl(foreign.url), capture_output=True)

    assert ([each.test for each in older.refusals], newer.refusals) == (["older"], [])


def test_a_child_that_belongs_to_nobody_is_not_kept_from_anything():
    before = environment_of_children()
    with protecting(Replay(), lambda: None):
        assert environment_of_children() == before


def test_somebody_who_wraps_what_is_patched_may_take_it_back_later():
    original = socket.getaddrinfo
    with Replay().protected(), pytest.MonkeyPatch.context() as patch:
        wrapped = socket.getaddrinfo
        patch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: wrapped(*args, **kwargs))
    assert socket.getaddrinfo is original

    with pytest.MonkeyPatch.context() as patch:
        with Replay().protected():
            wrapped_again = socket.getaddrinfo
            patch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: wrapped_again(*args, **kwargs))
        assert socket.getaddrinfo("127.0.0.1", 80)
    socket.getaddrinfo = original  # Not by monkeypatch, which would put back what stands there now.
    assert socket.getaddrinfo("127.0.0.1", 80)


def test_after_closing_the_listener_another_is_started_when_it_is_needed(foreign):
    replay = Replay()
    with replay.protected():
        before = threading.active_count()
    guard.close()
    guard.close()
    assert threading.active_count() == before, "its thread is not among the program's"

    with replay.protected():
        asked(f"CONNECT {foreign.target} HTTP/1.1")
    assert len(replay.refusals) == 1


def test_many_threads_arm_and_disarm_at_once(foreign):
    def work(number: int) -> int:
        replay = Replay(name=str(number))
        mine = threading.get_ident()
        for _ in range(20):
            with (
                protecting(replay, lambda: replay if threading.get_ident() == mine else None),
                suppress(LiveCallRefused),
            ):
                socket.create_connection((foreign.host, foreign.port))
        return len([each for each in replay.refusals if each.test == str(number)])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [20] * 8
    assert not foreign.was_reached


def test_the_hook_of_an_idle_process_asks_one_thing():
    """What it costs the rest of the suite: no event is looked at while nothing is armed."""
    asked: list[str] = []

    class Event(str):
        def __hash__(self) -> int:
            asked.append(str(self))
            return super().__hash__()

    guard._audit(Event("socket.connect"), ())
    assert asked == []
