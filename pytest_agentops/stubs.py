"""How every other client is watched: requests, urllib3, botocore, httplib2, urllib and http.client, aiohttp, tornado.

All but the last two end in a connection of `http.client` or of a class derived from it. While a recording is open such
a connection changes its class for one that asks the recording first, and changes it back when that is done: what reads
the answer, live or replayed, is the client's own code. A replayed connection speaks to a socket that has the answer.

vcrpy's patches cannot serve here. Each live request of theirs takes all of vcrpy's patches away for the whole process,
those of httpx too, and two of them at once put back what the other had taken away: eight threads with 160 requests were
recorded 25 to 67 times, and a fifth of what httpx2 asked meanwhile went past us.
"""

from __future__ import annotations

import asyncio
import functools
import http.client
import inspect
import io
import re
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

from pytest_agentops.exchange import Exchange, Failure, Request, headers_from
from pytest_agentops.transports import CANCELLED, Listener, Owner, Reader, Ticket, failure_of, paced, wait


@contextmanager
def patched(owner: Owner) -> Iterator[None]:
    """Let the recordings that `owner` names hear of these clients; one that is imported meanwhile is watched too."""
    connections = _Connections(owner)
    seams: tuple[_Seam, ...] = (
        ("http.client", "HTTPConnection", "__init__", connections.made),
        ("http.client", "HTTPConnection", "request", connections.asked),
        ("urllib3.connectionpool", "HTTPConnectionPool", "_get_conn", connections.taken),
        ("aiohttp.client", "ClientSession", "_request", functools.partial(_aiohttp, owner)),
        ("tornado.simple_httpclient", "SimpleAsyncHTTPClient", "fetch_impl", functools.partial(_tornado, owner)),
        ("tornado.curl_httpclient", "CurlAsyncHTTPClient", "fetch_impl", functools.partial(_tornado, owner)),
    )
    with ExitStack() as patches:
        patches.callback(connections.let_go)

        def patch(name: str) -> None:
            for module, holder, method, watched in seams:
                if module == name and (found := getattr(sys.modules.get(module), holder, None)) is not None:
                    original = found.__dict__[method]
                    setattr(found, method, watched(original))
                    patches.callback(setattr, found, method, original)

        names = {module for module, *_ in seams}
        late = _Late({name for name in names if name not in sys.modules}, patch)
        sys.meta_path.insert(0, late)
        patches.callback(late.stop)
        for name in names - late.names:
            patch(name)
        yield


_Seam = tuple[str, str, str, Callable[[Callable[..., Any]], Callable[..., Any]]]
"""A module, a class in it, the name of its method, and what makes of that method the one that watches."""


class _Late:
    """Tells when one of these modules has been imported."""

    def __init__(self, names: set[str], imported: Callable[[str], None]) -> None:
        self.names, self._imported = names, imported

    def stop(self) -> None:
        self._imported = lambda _name: None  # An import may be under way.
        sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self.names:
            return None
        after = sys.meta_path[sys.meta_path.index(self) + 1 :] if self in sys.meta_path else ()
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in after)), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                self._imported(name)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


# --- one request -----------------------------------------------------------------------------------------------------


class _Flight:
    """A request that went live, until it is known what becomes of it; what is told first counts."""

    def __init__(self, recording: Listener, ticket: Ticket) -> None:
        self._recording = recording
        self._tickets = [ticket]
        recording.hold(ticket, self.dropped)

    def failed(self, error: BaseException, kind: str | None = None) -> None:
        """No answer came."""
        failure = failure_of(error) if isinstance(error, Exception) else _DROPPED
        self._end(Failure(kind, failure.message) if kind else failure)

    def dropped(self) -> None:
        """Nobody waits for the answer any more."""
        self._end(_DROPPED)

    def answered(self, status: int, reason: str, headers: Iterable[tuple[str, str]]) -> Reader | None:
        """An answer begins; None when the recording has ended meanwhile."""
        with suppress(IndexError):
            ticket, pairs = self._tickets.pop(), list(headers)
            head = SimpleNamespace(
                status_code=status, reason_phrase=reason, headers=SimpleNamespace(multi_items=lambda: pairs)
            )
            return Reader(self._recording, ticket, head)
        return None

    def _end(self, failure: Failure) -> None:
        with suppress(IndexError):
            self._recording.receive(self._tickets.pop(), None, failure)


_DROPPED = Failure(CANCELLED, "the caller did not wait for the answer")


def _raised(
    failure: Failure | None, modules: Sequence[str], make: Callable[[type, str], Any] | None = None
) -> Exception:
    """The client's own exception for a recorded failure, or the nearest of its bases that can be made."""
    failure = failure or Failure("ConnectionError", "no response was recorded")
    kinds = (getattr(sys.modules.get(module), failure.kind, None) for module in modules)
    kind = next((each for each in kinds if isinstance(each, type) and issubclass(each, Exception)), ConnectionError)
    for base in kind.__mro__:
        for attempt in (make, _with_errno, lambda base, message: base(message), _without_init):
            try:
                error = attempt(base, failure.message) if attempt is not None else None
                if isinstance(error, Exception) and isinstance(str(error), str):
                    return error
            except Exception:  # Each kind wants arguments of its own.
                continue
    return ConnectionError(failure.message)


def _with_errno(kind: Any, message: str) -> object:
    number = re.match(r"\[Errno (-?\d+)\] (.*)", message, re.DOTALL)
    return kind(int(number[1]), number[2]) if number and issubclass(kind, OSError) else None


def _without_init(kind: Any, message: str) -> object:
    error = kind.__new__(kind)
    error.args = (message,)
    return error


# --- http.client and what is built on it -----------------------------------------------------------------------------


class _Connections:
    """The connections that ask a recording first."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._watching = True
        self._all: weakref.WeakSet[Any] = weakref.WeakSet()
        self._classes: dict[type, type] = {}

    def made(self, original: Callable[..., None]) -> Callable[..., None]:
        """`HTTPConnection.__init__`, which every class that is derived from it calls."""

        @functools.wraps(original)
        def __init__(connection: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(connection, *args, **kwargs)
            self.watch(connection)

        return __init__

    def asked(self, original: Callable[..., None]) -> Callable[..., None]:
        """`HTTPConnection.request`, by which a connection is met that was made before."""

        @functools.wraps(original)
        def request(connection: Any, *args: Any, **kwargs: Any) -> None:
            if _BUSY in connection.__dict__ or self._owner() is None or not self.watch(connection):
                return original(connection, *args, **kwargs)
            connection.request(*args, **kwargs)
            return None

        return request

    def taken(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`HTTPConnectionPool._get_conn`, by which urllib3 uses one again that was made before."""

        @functools.wraps(original)
        def _get_conn(pool: Any, *args: Any, **kwargs: Any) -> Any:
            connection = original(pool, *args, **kwargs)
            if isinstance(connection, http.client.HTTPConnection):
                self.watch(connection)
            return connection

        return _get_conn

    def watch(self, connection: Any) -> bool:
        """Let this connection ask first; whether it does so now and did not before."""
        kind = type(connection)
        if not self._watching or issubclass(kind, _Watched):
            return False
        if (left := connection.__dict__.pop(_BUSY, None)) is not None:
            left()
        connection.__class__ = self._class(kind)
        self._all.add(connection)
        return True

    def let_go(self) -> None:
        """Let every connection be what it was."""
        self._watching = False
        for connection in tuple(self._all):
            if isinstance(connection, _Watched):
                connection.step_aside()

    def resume(self, connection: Any, watched: type) -> None:
        """It has been what it was for one request."""
        connection.__dict__.pop(_BUSY, None)
        if self._watching:
            connection.__class__ = watched

    def _class(self, kind: type) -> type:
        if kind not in self._classes:
            own = {"watched_kind": kind, "watched_by": self, "__module__": kind.__module__, "__doc__": kind.__doc__}
            self._classes[kind] = type(kind.__name__, (_Watched, kind), own)
        return self._classes[kind]

    @property
    def owner(self) -> Listener | None:
        """Whose recording it is, here and now."""
        return self._owner()


_BUSY = "_agentops_busy"
"""Among a connection's attributes while it is what it was for one request: what to do if nobody asks for the answer."""

_ASKED = "_agentops_asked"
"""Among a connection's attributes while a request is put together piece by piece."""


@dataclass
class _Asked:
    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def said(self) -> bytes:
        """The body without the chunks that it was sent in."""
        chunked = any(name.lower() == "transfer-encoding" for name in self.headers)
        return _Chunks().body(self.body) if chunked else self.body


class _Watched:
    """Mixed into the class of a connection: it asks the recording, then lets the class itself go on."""

    watched_kind: type
    watched_by: _Connections

    def step_aside(self) -> None:
        """Be what it was."""
        self.__class__ = self.watched_kind

    def connect(self: Any) -> None:
        """Wait for the request, which may be answered without a connection; when it goes live, it connects."""
        if self.watched_by.owner is None:
            self.step_aside()
            self.connect()
        elif self.default_port == http.client.HTTPS_PORT:
            self.is_verified = True  # Else urllib3 warns of a connection that does not exist.

    def request(self: Any, method: str, url: str, body: Any = None, headers: Any = None, *args: Any, **kw: Any) -> None:
        """Ask the recording, and go on with what it says."""
        recording = self.watched_by.owner
        headers = {} if headers is None else headers
        if recording is None:
            self.step_aside()
            return self.request(method, url, body, headers, *args, **kw)  # type: ignore[no-any-return]
        # Python's own connection sends text as it was in 1999.
        plain = self.watched_kind.request.__module__ == "http.client"
        content = _content(body, "iso-8859-1" if plain else "utf-8")
        sent = _ask_for(self, recording, method, url, headers, content or b"")
        # Text is left to the class, whose `content-length` counts it in its own way.
        sendable = body if isinstance(body, str) else content
        return _go_on(self, recording, sent, (method, url), (sendable, headers, *args), kw)

    # The same request, put together piece by piece; it is whole when its answer is asked for.

    def putrequest(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        """Begin a request."""
        if self.watched_by.owner is None:
            self.step_aside()
            self.putrequest(method, url, *args, **kwargs)
        else:
            self.__dict__[_ASKED] = _Asked(method, url)

    def putheader(self: Any, name: Any, *values: Any) -> None:
        """Add a header."""
        headers, name = self.__dict__[_ASKED].headers, _text(name)
        before = [headers[name]] if name in headers else []
        headers[name] = ", ".join([*before, *map(_text, values)])

    def endheaders(self: Any, message_body: Any = None, **_kwargs: Any) -> None:
        """Add the body, if it is known."""
        if message_body is not None:
            self.send(message_body)

    def send(self: Any, data: Any) -> None:
        """Add to the body."""
        if _ASKED not in self.__dict__:
            raise http.client.CannotSendRequest
        self.__dict__[_ASKED].body += _content(data, "iso-8859-1")

    def getresponse(self: Any, *args: Any, **kwargs: Any) -> Any:
        """The answer, as the class itself gives it."""
        asked, recording = self.__dict__.pop(_ASKED, None), self.watched_by.owner
        if asked is None:
            return self.watched_kind.getresponse(self, *args, **kwargs)
        whole = asked.method, asked.url
        rest = asked.body or None, asked.headers
        if recording is None:
            self.step_aside()
            self.request(*whole, *rest)
        else:
            sent = _ask_for(self, recording, *whole, asked.headers, asked.said)
            _go_on(self, recording, sent, whole, rest, {})
        return self.getresponse(*args, **kwargs)


def _ask_for(
    connection: Any, recording: Listener, method: str, url: str, headers: Any, body: bytes
) -> Exchange | Ticket:
    pairs = headers_from((_text(name), _text(value)) for name, value in headers.items())
    return recording.send(Request(_text(method), _location(connection, url), pairs, body))


def _go_on(connection: Any, recording: Listener, sent: Exchange | Ticket, whole: Any, rest: Any, kwargs: Any) -> None:
    """Let the class send this, with `rest` being the body, the headers and what else it takes."""
    if isinstance(sent, Exchange):
        _replay(connection, _Answer(sent, recording, whole[0] == "HEAD"), (*whole, None, {}, *rest[2:]), kwargs)
    else:
        _go_live(connection, _Flight(recording, sent), (*whole, *rest), kwargs)


def _go_live(connection: Any, flight: _Flight, request: tuple[Any, ...], kwargs: Any) -> None:
    connections, watched = connection.watched_by, type(connection)
    connection.__dict__[_BUSY] = flight.dropped
    connection.step_aside()
    try:
        connection.request(*request, **kwargs)
    except BrokenPipeError as error:
        # The server wants to hear no more, and may have answered already: urllib3 asks for that.
        _listen(connection, flight, connections, watched, functools.partial(flight.failed, error))
        raise
    except BaseException as error:
        # Only a socket's own time-out does not say whether the connection or the answer took too long.
        flight.failed(error, _NOT_CONNECTED if type(error) is TimeoutError else None)
        connections.resume(connection, watched)
        raise
    _listen(connection, flight, connections, watched, flight.dropped)


_NOT_CONNECTED = "ConnectTimeout"


def _listen(connection: Any, flight: _Flight, connections: _Connections, watched: type, unasked: Any) -> None:
    """Hear the answer when the connection makes its response."""
    make = connection.response_class
    own = "response_class" in connection.__dict__

    def restore() -> None:
        if own:
            connection.response_class = make
        else:
            connection.__dict__.pop("response_class", None)
        connections.resume(connection, watched)

    def left() -> None:
        restore()
        unasked()

    def response_class(*args: Any, **kwargs: Any) -> Any:
        restore()
        response = make(*args, **kwargs)
        begin = response.begin

        def begun() -> None:
            del response.begin
            try:
                begin()
            except BaseException as error:
                flight.failed(error)
                raise
            _keep(response, flight)

        response.begin = begun
        return response

    connection.__dict__[_BUSY] = left
    connection.response_class = response_class


def _keep(response: Any, flight: _Flight) -> None:
    reader = flight.answered(response.status, response.reason, response.headers.items())
    if reader is None:
        return
    if response.fp is None or response.length == 0:
        reader.finish(complete=True)
    else:
        response.fp = _Tee(response.fp, reader, None if response.chunked else response.length, response.chunked)


class _Tee:
    """What a response reads from, with the body kept that passes through."""

    def __init__(self, file: Any, reader: Reader, length: int | None, chunked: bool) -> None:
        self._file, self._reader, self._length = file, reader, length
        self._chunks = _Chunks() if chunked else None

    def read(self, size: int | None = -1) -> bytes:
        return self._kept(lambda: self._file.read(size), sys.maxsize if size is None or size < 0 else size)

    def read1(self, size: int = -1) -> bytes:
        return self._kept(lambda: self._file.read1(size), min(abs(size), 1))

    def readline(self, size: int = -1) -> bytes:
        return self._kept(lambda: self._file.readline(size), min(abs(size), 1))

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._reader.finish()
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def _kept(self, read: Callable[[], bytes], least: int) -> bytes:
        """What was read; less than the least that was wanted is the end."""
        try:
            data = read()
        except BaseException as error:
            self._reader.finish(failure=failure_of(error) if isinstance(error, Exception) else None)
            raise
        body = data if self._chunks is None else self._chunks.body(data)
        if body:
            self._reader.add(body)
        if self._length is not None:
            self._length -= len(data)
        if self._length == 0 or (self._chunks is not None and self._chunks.ended):
            self._reader.finish(complete=True)
        elif len(data) < least:
            if self._length is None and self._chunks is None:
                self._reader.finish(complete=True)
            else:
                self._reader.finish(failure=Failure(_CUT, "the connection ended before the answer did"))
        return data


_CUT = "IncompleteRead"
"""The kind of failure that needs nobody to raise it: where the answer ends too early, the client says so itself."""


class _Chunks:
    """What is said in HTTP's chunks, however they are cut while they are read."""

    def __init__(self) -> None:
        self.ended = False
        self._raw = b""
        self._left = 0

    def body(self, data: bytes) -> bytes:
        """What these further bytes add to the body."""
        said, self._raw = [], self._raw + data
        while self._raw and not self.ended:
            if self._left:
                piece, self._raw = self._raw[: self._left], self._raw[self._left :]
                self._left -= len(piece)
                said.append(piece)
                continue
            line, found, rest = self._raw.partition(b"\n")
            if not found:
                break
            self._raw = rest
            if size := line.split(b";")[0].strip():
                with suppress(ValueError):  # The client complains of what is no number.
                    self._left = int(size, 16)
                    self.ended = self._left == 0
        return b"".join(said)


@dataclass(frozen=True)
class _Answer:
    """A recorded exchange as the bytes of an HTTP response."""

    exchange: Exchange
    recording: Listener
    bodiless: bool
    """Whether the request wants the head only."""

    @property
    def early(self) -> Exception | None:
        """What to raise before anything is read, where the request itself could not be sent."""
        if self.exchange.response is not None:
            return None
        error = self._error()
        late = isinstance(
            error, TimeoutError | http.client.HTTPException | ConnectionResetError | ConnectionAbortedError
        )
        return None if late and not self._not_connected else error

    def pieces(self) -> Iterator[bytes]:
        response = self.exchange.response
        if seconds := wait(self.exchange, self.recording.pace):
            time.sleep(seconds)
        if response is None:
            raise self._error()
        chunked = response.is_stream and not self.bodiless
        yield self._head(chunked)
        if self.bodiless:
            return
        for seconds, piece in paced(self.exchange, self.recording.pace):
            if seconds:
                time.sleep(seconds)
            yield b"%x\r\n%b\r\n" % (len(piece), piece) if chunked and piece else piece
        if self.exchange.failure is not None and self.exchange.failure.kind != _CUT:
            raise self._error()
        if self.exchange.failure is None and not response.complete:
            raise self.recording.ran_out(self.exchange)
        if chunked and self.exchange.failure is None:
            yield b"0\r\n\r\n"

    def _head(self, chunked: bool) -> bytes:
        response = self.exchange.response
        assert response is not None
        kept = [
            pair for pair in response.headers if pair[0] not in _OF_THE_WIRE or (self.bodiless and pair[0] == _LENGTH)
        ]
        if chunked:
            kept.append(("transfer-encoding", "chunked"))
        elif not self.bodiless and not 100 <= response.status < 200 and response.status not in (204, 304):
            kept.append((_LENGTH, str(len(response.body) + (not response.complete))))
        lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in kept)]
        return "".join(" ".join(line.splitlines()) + "\r\n" for line in [*lines, ""]).encode("iso-8859-1", "replace")

    def _error(self) -> Exception:
        failure = self.exchange.failure
        if failure is not None and self._not_connected:
            return TimeoutError(failure.message)
        return _raised(failure, ("builtins", "socket", "ssl", "http.client", "urllib3.exceptions", "httplib2"))

    @property
    def _not_connected(self) -> bool:
        return self.exchange.failure is not None and self.exchange.failure.kind == _NOT_CONNECTED


_LENGTH = "content-length"
_OF_THE_WIRE = {_LENGTH, "transfer-encoding", "content-encoding", "connection", "keep-alive"}
"""What belongs to a connection: the bodies of recordings are whole and not compressed."""


def _replay(connection: Any, answer: _Answer, request: tuple[Any, ...], kwargs: Any) -> None:
    if error := answer.early:
        if seconds := wait(answer.exchange, answer.recording.pace):
            time.sleep(seconds)
        raise error
    connections, watched, socket = connection.watched_by, type(connection), connection.sock

    def restore() -> None:
        connection.sock = socket
        connections.resume(connection, watched)

    connection.__dict__[_BUSY] = restore
    connection.step_aside()
    connection.sock = _Socket(answer, restore)
    try:
        connection.request(*request, **kwargs)
    except BaseException:
        restore()
        raise


class _Socket:
    """Takes what is sent, and has the answer."""

    def __init__(self, answer: _Answer, asked: Callable[[], None]) -> None:
        self._answer, self._asked = answer, asked

    def makefile(self, *_args: object, **_kwargs: object) -> io.BufferedReader:
        """The answer; the connection needs this socket no more."""
        self._asked()
        return io.BufferedReader(_Pieces(self._answer.pieces()))

    def _nothing(self, *_args: object) -> None:
        """There is nobody at the other end."""

    sendall = settimeout = setsockopt = shutdown = close = _nothing


class _Pieces(io.RawIOBase):
    """Bytes that come piece by piece."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        data, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _location(connection: Any, url: str) -> str:
    """The whole URL; a proxy is told it whole already."""
    if not url.startswith("/"):
        return url if "://" in url else f"{_origin(connection)}/{url}"
    return _origin(connection) + url


def _origin(connection: Any) -> str:
    tunnel = connection._tunnel_host
    host, port = (tunnel, connection._tunnel_port) if tunnel else (connection.host, connection.port)
    host = _text(host).strip("[]")
    scheme = "https" if connection.default_port == http.client.HTTPS_PORT else "http"
    where = f"[{host}]" if ":" in host else host
    return f"{scheme}://{where}" if port in (None, connection.default_port) else f"{scheme}://{where}:{port}"


def _text(value: Any) -> str:
    return value.decode("iso-8859-1") if isinstance(value, bytes) else str(value)


def _content(body: Any, encoding: str) -> bytes | None:
    """A body as bytes, read where it is a file or comes piece by piece."""
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode(encoding)
    if hasattr(body, "read"):
        return _content(body.read(), encoding)
    try:
        return bytes(memoryview(body))
    except TypeError:
        return b"".join(_content(piece, encoding) or b"" for piece in body)


# --- aiohttp ---------------------------------------------------------------------------------------------------------


def _aiohttp(owner: Owner, original: Callable[..., Any]) -> Callable[..., Any]:
    if "middlewares" not in inspect.signature(original).parameters:
        return original  # aiohttp before 3.12 has nothing that hears of every hop.

    @functools.wraps(original)
    async def _request(self: Any, method: str, url: Any, *, middlewares: Any = None, **kwargs: Any) -> Any:
        recording = owner()
        if recording is None:
            return await original(self, method, url, middlewares=middlewares, **kwargs)
        hops = _Hops(recording)
        before = self._middlewares if middlewares is None else middlewares
        try:
            return await original(self, method, url, middlewares=(*before, hops), **kwargs)
        except Exception as error:
            hops.interrupted(error)
            raise
        except asyncio.CancelledError as error:
            hops.interrupted(error)
            raise

    return _request


class _Hops:
    """The last middleware of one call: it hears of the request itself and of each redirect that is followed."""

    def __init__(self, recording: Listener) -> None:
        self._recording = recording
        self._flight: _Flight | None = None

    def interrupted(self, error: BaseException) -> None:
        """The call ended; a time-out of aiohttp's comes as a cancellation that the session makes an error of."""
        if self._flight is not None:
            self._flight.failed(error)

    async def __call__(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await handler(request)
        body = request.body
        content = bytes(body) if isinstance(body, bytes | bytearray | memoryview) else await body.as_bytes()
        asked = Request(request.method, str(request.url), headers_from(request.headers.items()), content)
        sent = self._recording.send(asked)
        if isinstance(sent, Exchange):
            return await _replay_aiohttp(request, sent, self._recording)
        flight = self._flight = _Flight(self._recording, sent)
        try:
            response = await handler(request)
        except Exception as error:
            flight.failed(error)
            raise
        self._flight = None
        _keep_aiohttp(response, flight, decompressed=request.session.auto_decompress)
        return response


def _keep_aiohttp(response: Any, flight: _Flight, *, decompressed: bool) -> None:
    coding = ("content-encoding", _LENGTH) if decompressed and "content-encoding" in response.headers else ()
    headers = [pair for pair in response.headers.items() if pair[0].lower() not in coding]
    reader = flight.answered(response.status, response.reason or "", headers)
    if reader is None:
        return
    content = response.content
    for chunk in tuple(getattr(content, "_buffer", ())):
        reader.add(bytes(chunk))
    if content.is_eof():
        reader.finish(complete=True)
    elif (error := content.exception()) is not None:
        reader.finish(failure=failure_of(error))
    else:
        content.__class__ = _kept_stream(type(content), reader)


def _kept_stream(kind: Any, reader: Reader) -> type:
    """The stream's class, which keeps what arrives; a stream has no place for an attribute."""

    class Kept(kind):  # type: ignore[misc]
        __slots__ = ()

        def feed_data(self, data: Any, *args: Any) -> Any:
            if data:
                reader.add(bytes(data))
            return super().feed_data(data, *args)

        def feed_eof(self) -> None:
            reader.finish(complete=True)
            super().feed_eof()

        def set_exception(self, exc: Any, *args: Any) -> None:
            error = exc() if isinstance(exc, type) else exc
            # A response that is closed tells its stream so; then it is the reader who left.
            left = type(error).__name__ == "ClientConnectionError" and str(error) == "Connection closed"
            reader.finish(failure=None if left else failure_of(error))
            super().set_exception(exc, *args)

    return Kept


async def _replay_aiohttp(request: Any, exchange: Exchange, recording: Listener) -> Any:
    from aiohttp import http as wire
    from multidict import CIMultiDict, CIMultiDictProxy

    recorded = exchange.response
    if exchange.failure is not None and exchange.failure.kind == CANCELLED:
        await asyncio.Event().wait()
    if seconds := wait(exchange, recording.pace):
        await asyncio.sleep(seconds)
    if recorded is None:
        raise _raised_aiohttp(request, exchange.failure)
    left_out = _OF_THE_WIRE - {_LENGTH} if request.method == "HEAD" else _OF_THE_WIRE
    headers = [pair for pair in recorded.headers if pair[0] not in left_out]
    raw = tuple((name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers)
    proxy = CIMultiDictProxy(CIMultiDict(headers))
    message = wire.RawResponseMessage(
        wire.HttpVersion11, recorded.status, recorded.reason, proxy, raw, False, None, False, False
    )
    given = {
        "writer": None,
        "continue100": None,
        "timer": None,
        "request_info": request.request_info,
        "traces": [],
        "loop": asyncio.get_running_loop(),
        "session": request.session,
        "stream_writer": SimpleNamespace(output_size=0),
    }
    wanted = inspect.signature(request.response_class.__init__).parameters
    given = {name: value for name, value in given.items() if name in wanted}
    response = request.response_class(request.method, request.original_url, **given)
    connection = _Connection()
    stream = _replayed_stream()(connection, exchange, recording, functools.partial(_raised_aiohttp, request))
    connection.answer = message, stream
    return await response.start(connection)


class _Connection:
    """What a replayed response of aiohttp takes for its connection, and for the protocol of that."""

    answer: tuple[Any, Any]
    _reading_paused = False
    upgraded = False
    connected = True
    transport = None

    def __init__(self) -> None:
        self.protocol = self
        self._callbacks: list[Callable[[], None]] = []

    async def read(self) -> tuple[Any, Any]:
        return self.answer

    def add_callback(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def release(self) -> None:
        while self._callbacks:
            self._callbacks.pop()()

    close = release

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self, *_args: object, **_kwargs: object) -> None:
        """Nothing comes by itself."""


@functools.cache
def _replayed_stream() -> Any:
    from aiohttp.streams import StreamReader

    class Replayed(StreamReader):
        """A recorded body, which comes piece by piece when more is asked for; it ends as the recording did."""

        def __init__(self, connection: Any, exchange: Exchange, recording: Listener, raised: Any) -> None:
            super().__init__(connection, 2**16, loop=asyncio.get_running_loop())
            self._pieces = paced(exchange, recording.pace)
            self._exchange, self._recording, self._raised = exchange, recording, raised
            response = exchange.response
            assert response is not None
            if response.complete and not response.is_stream:
                self.feed_data(response.body)
                self.feed_eof()

        async def _wait(self, func_name: str) -> None:  # noqa: ARG002
            seconds, piece = next(self._pieces, (0.0, None))
            if seconds:
                await asyncio.sleep(seconds)
            if piece is not None:
                self.feed_data(piece)
            elif self._exchange.failure is not None:
                raise self._raised(self._exchange.failure)
            elif self._exchange.response is not None and not self._exchange.response.complete:
                raise self._recording.ran_out(self._exchange)
            else:
                self.feed_eof()

    return Replayed


def _raised_aiohttp(request: Any, failure: Failure | None) -> Exception:
    import aiohttp

    def unreachable(kind: type, message: str) -> object:
        if not issubclass(kind, aiohttp.ClientConnectorError):
            return None
        why = re.search(r"\[(.*)\]$", message, re.DOTALL)
        return kind(request.connection_key, OSError(0, why[1] if why else message))

    return _raised(failure, ("aiohttp", "aiohttp.client_exceptions", "builtins", "socket", "ssl"), unreachable)


# --- tornado ---------------------------------------------------------------------------------------------------------


def _tornado(owner: Owner, original: Callable[..., None]) -> Callable[..., None]:
    from tornado.httpclient import HTTPResponse
    from tornado.httputil import HTTPHeaders

    @functools.wraps(original)
    def fetch_impl(self: Any, request: Any, callback: Callable[[Any], None]) -> None:
        recording = owner()
        if recording is None or getattr(request, "original_request", None) is not None:
            return original(self, request, callback)  # Nobody's, or a redirect that belongs to another request.
        pairs = headers_from(request.headers.get_all())
        sent = recording.send(Request(request.method, request.url, pairs, request.body or b""))
        if isinstance(sent, Ticket):
            return original(self, request, _kept_tornado(request, _Flight(recording, sent), callback))
        if (recorded := sent.response) is None or sent.failure is not None:
            error = _raised(
                sent.failure, ("tornado.simple_httpclient", "tornado.curl_httpclient", "builtins", "socket", "ssl")
            )
            callback(HTTPResponse(request, 599, error=error))
            return None
        headers = HTTPHeaders()
        for name, value in recorded.headers:
            if name not in _OF_THE_WIRE:
                headers.add(name, value)
        if request.header_callback is not None:
            for line in (f"HTTP/1.1 {recorded.status} {recorded.reason}", *map(": ".join, headers.get_all()), ""):
                request.header_callback(f"{line}\r\n")
        if request.streaming_callback is not None:
            for piece in recorded.pieces():
                request.streaming_callback(piece)
        buffer = io.BytesIO(b"" if request.streaming_callback is not None else recorded.body)
        callback(HTTPResponse(request, recorded.status, headers, buffer, request.url, reason=recorded.reason))
        return None

    return fetch_impl


def _kept_tornado(request: Any, flight: _Flight, callback: Callable[[Any], None]) -> Callable[[Any], None]:
    """The callback, after what it is given has been kept."""
    streamed: list[bytes] = []
    if (pass_on := request.streaming_callback) is not None:

        def streaming_callback(chunk: bytes) -> Any:
            streamed.append(chunk)
            return pass_on(chunk)

        request.streaming_callback = streaming_callback

    def kept(response: Any) -> None:
        if response.code == 599:
            flight.failed(response.error or ConnectionError("no response"))
        # What asked for compressed answers has decompressed them.
        elif reader := flight.answered(response.code, response.reason, response.headers.get_all()):
            if body := b"".join(streamed) or response.body:
                reader.add(body)
            reader.finish(complete=True)
        callback(response)

    return kept
