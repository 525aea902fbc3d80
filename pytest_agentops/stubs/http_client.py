"""http.client, and what is built on it: requests, urllib3, botocore, httplib2, urllib.

They all end in a connection of `http.client` or of a class derived from it. While a recording is open such a connection
changes its class for one that asks the recording first, and changes it back when that is done: what reads the answer,
live or replayed, is the client's own code. A replayed connection speaks to a socket that has the answer.
"""

from __future__ import annotations

import functools
import http.client
import io
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pytest_agentops.exchange import Exchange, Failure, Request, headers_from
from pytest_agentops.stubs import LENGTH, OF_THE_WIRE, Flight, Stubs, Wrap, raised
from pytest_agentops.transports import Listener, Owner, Reader, Ticket, failure_of, paced, wait


def stubs(owner: Owner) -> Stubs:
    """Let connections ask the recordings that `owner` names."""
    return _Connections(owner)


class _Connections:
    """The connections that ask a recording first."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._watching = True
        self._all: weakref.WeakSet[Any] = weakref.WeakSet()
        self._classes: dict[type, type] = {}

    def seams(self, module: str) -> Iterator[tuple[str, str, Wrap]]:
        """The methods by which a connection is met."""
        if module == "http.client":
            yield "HTTPConnection", "__init__", self.made
            yield "HTTPConnection", "request", self.asked
        else:
            yield "HTTPConnectionPool", "_get_conn", self.taken

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
        _go_live(connection, Flight(recording, sent), (*whole, *rest), kwargs)


def _go_live(connection: Any, flight: Flight, request: tuple[Any, ...], kwargs: Any) -> None:
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


def _listen(connection: Any, flight: Flight, connections: _Connections, watched: type, unasked: Any) -> None:
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


def _keep(response: Any, flight: Flight) -> None:
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
            pair for pair in response.headers if pair[0] not in OF_THE_WIRE or (self.bodiless and pair[0] == LENGTH)
        ]
        if chunked:
            kept.append(("transfer-encoding", "chunked"))
        elif not self.bodiless and not 100 <= response.status < 200 and response.status not in (204, 304):
            kept.append((LENGTH, str(len(response.body) + (not response.complete))))
        lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in kept)]
        return "".join(" ".join(line.splitlines()) + "\r\n" for line in [*lines, ""]).encode("iso-8859-1", "replace")

    def _error(self) -> Exception:
        failure = self.exchange.failure
        if failure is not None and self._not_connected:
            return TimeoutError(failure.message)
        return raised(failure, ("builtins", "socket", "ssl", "http.client", "urllib3.exceptions", "httplib2"))

    @property
    def _not_connected(self) -> bool:
        return self.exchange.failure is not None and self.exchange.failure.kind == _NOT_CONNECTED


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
