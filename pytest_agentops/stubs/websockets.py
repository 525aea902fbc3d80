"""The clients of websockets, the one for asyncio and the one for threads.

What is watched is the library's own protocol, which both share and which does no input or output. On replay another
protocol of the library's plays the server: it answers the handshake, the pings and the close of the client, and says
what was recorded, so that the program has the library's own connection before it.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from types import CodeType, FunctionType
from typing import Any, Literal
from urllib.parse import urlsplit

from pytest_agentops.exchange import Exchange, Failure, Request, header, headers_from
from pytest_agentops.frames import CONTENT_TYPE, Frame, Sender, frames_of
from pytest_agentops.stubs import OF_THE_WIRE, Flight, Stubs, Wrap, raised
from pytest_agentops.transports import CANCELLED, Listener, Owner, Reader

PATIENCE = 30.0
"""Seconds for which a replayed connection waits longer than its whole recording took for who else may say something."""


def stubs(owner: Owner) -> Stubs:
    """Let connections ask the recordings that `owner` names."""
    return _Connections(owner)


class _Connections:
    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def seams(self, module: str) -> Iterator[tuple[str, str, Wrap]]:
        if module == "websockets.asyncio.client":
            yield "connect", "create_connection", functools.partial(_for_asyncio, self._owner)
        else:
            # A function that was imported by name is reached by nothing but its code.
            yield "connect", "__code__", functools.partial(_for_threads, self._owner)

    def let_go(self) -> None:
        """Nothing is left of it once the methods are put back."""


def _handshake(uri: str, headers: Any) -> Request:
    from websockets.datastructures import Headers

    return Request("GET", uri, headers_from(Headers(headers or ()).raw_items()))


# --- the client for asyncio ------------------------------------------------------------------------------------------


def _for_asyncio(owner: Owner, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def create_connection(self: Any) -> Any:
        recording = owner()
        if recording is None:
            return await original(self)
        # Before its version 15, the library kept them among what it hands on.
        headers = self.additional_headers if hasattr(self, "additional_headers") else self.handshake_args[0]
        sent = recording.send(_handshake(self.uri, headers))
        if isinstance(sent, Exchange):
            return await _replayed_for_asyncio(self, sent, recording)
        flight = Flight(recording, sent)
        try:
            connection = await original(self)
        except BaseException as error:
            flight.failed(error)
            raise
        _overhear(connection.protocol, flight)
        return connection

    return create_connection


async def _replayed_for_asyncio(connect: Any, exchange: Exchange, recording: Listener) -> Any:
    from websockets.uri import parse_uri

    if exchange.failure is not None and exchange.failure.kind == CANCELLED:
        await asyncio.Event().wait()
    if exchange.response is None:
        raise _error(exchange.failure)
    connection = connect.protocol_factory(parse_uri(connect.uri))
    transport = _Transport(connection, connect.uri)
    far = transport.far = _FarSide(exchange, recording, transport.deliver)
    connection.connection_made(transport)
    send, recv, recv_streaming = connection.send, connection.recv, connection.recv_streaming

    async def checked_send(*args: Any, **kwargs: Any) -> Any:
        with far:
            return await send(*args, **kwargs)

    async def checked_recv(*args: Any, **kwargs: Any) -> Any:
        with far:
            try:
                async with asyncio.timeout(far.patience):
                    return await recv(*args, **kwargs)
            except TimeoutError:
                raise far.stuck() from None

    async def checked_recv_streaming(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with far:
            async for piece in recv_streaming(*args, **kwargs):
                yield piece

    connection.send, connection.recv = checked_send, checked_recv
    connection.recv_streaming = checked_recv_streaming
    return connection


class _Transport(asyncio.Transport):
    """Takes what the client writes to the far side, and hands what that says over in turns of the event loop."""

    far: _FarSide

    def __init__(self, connection: Any, uri: str) -> None:
        super().__init__({"peername": _peer(uri), "sockname": ("127.0.0.1", 0)})
        self._connection = connection
        self._arriving: deque[tuple[float, bytes]] = deque()
        self._reading, self._closing = True, False
        self._next: asyncio.Handle | None = None

    def deliver(self, seconds: float, data: bytes) -> None:
        """Let this arrive, so many seconds after what arrived before; nothing at all is the end."""
        self._arriving.append((seconds, data))
        self._arrive()

    def _arrive(self) -> None:
        if self._next is None and self._reading and not self._closing and self._arriving:
            seconds, loop = self._arriving[0][0], self._connection.loop
            self._next = loop.call_later(seconds, self._hand_over) if seconds else loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._next = None
        if not self._reading or self._closing:
            return
        data = self._arriving.popleft()[1]
        if data:
            self._connection.data_received(data)
        else:
            self._connection.eof_received()
            self.close()
        self._arrive()

    def write(self, data: Any) -> None:
        if not self._closing:
            self.far.receive(bytes(data))

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._arrive()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._connection.loop.call_soon(self._connection.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """The far side has nothing to learn from it."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever waiting to be written."""


# --- the client for threads ------------------------------------------------------------------------------------------

_connect_instead: Callable[..., Any]
"""What the function `connect` does while it is watched; it stays here, since a thread may be on its way to it."""


def _for_threads(owner: Owner, code: CodeType) -> CodeType:
    global _connect_instead
    module: Any = sys.modules["websockets.sync.client"]
    original: Any = FunctionType(code, module.__dict__, "connect", module.connect.__defaults__)
    original.__kwdefaults__ = module.connect.__kwdefaults__

    def watched(uri: str, **kwargs: Any) -> Any:
        recording = owner()
        if recording is None:
            return original(uri, **kwargs)
        sent = recording.send(_handshake(uri, kwargs.get("additional_headers")))
        if isinstance(sent, Exchange):
            return _replayed_for_threads(original, uri, kwargs, sent, recording)
        flight = Flight(recording, sent)
        make = kwargs.pop("create_connection", None) or module.ClientConnection

        def create_connection(socket: Any, protocol: Any, **options: Any) -> Any:
            _overhear(protocol, flight)
            return make(socket, protocol, **options)

        try:
            return original(uri, create_connection=create_connection, **kwargs)
        except BaseException as error:
            flight.failed(error)
            raise

    _connect_instead = watched
    return _connect.__code__


def _connect(*args: Any, **kwargs: Any) -> Any:
    import sys  # This code runs with the globals of another module.

    return sys.modules["pytest_agentops.stubs.websockets"]._connect_instead(*args, **kwargs)


def _replayed_for_threads(
    original: Callable[..., Any], uri: str, kwargs: dict[str, Any], exchange: Exchange, recording: Listener
) -> Any:
    if exchange.response is None:
        raise _error(exchange.failure)
    socket = _Socket(uri)
    far = socket.far = _FarSide(exchange, recording, socket.deliver)
    instead: dict[str, Any] = {"sock": socket, "proxy": None, "proxy_ssl": None}
    if uri.startswith("wss:"):
        instead["ssl"] = _NoTls()
    given = {name: value for name, value in kwargs.items() if name not in ("path", "ssl_context")}
    connection = original(uri, **{**given, **instead})
    send, recv, recv_streaming = connection.send, connection.recv, connection.recv_streaming

    def checked_send(*args: Any, **kwargs: Any) -> Any:
        with far:
            return send(*args, **kwargs)

    def checked_recv(timeout: float | None = None, *args: Any, **kwargs: Any) -> Any:
        with far:
            try:
                return recv(far.patience if timeout is None else timeout, *args, **kwargs)
            except TimeoutError:
                if timeout is not None:
                    raise
                raise far.stuck() from None

    def checked_recv_streaming(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with far:
            yield from recv_streaming(*args, **kwargs)

    connection.send, connection.recv = checked_send, checked_recv
    connection.recv_streaming = checked_recv_streaming
    return connection


class _NoTls:
    """What a connection takes for its TLS context, where there is nothing to encrypt."""

    def wrap_socket(self, sock: Any, **_options: Any) -> Any:
        return sock


class _Socket:
    """Takes what the client writes to the far side, and waits for what that says."""

    far: _FarSide

    def __init__(self, uri: str) -> None:
        self._peer = _peer(uri)
        self._arriving: deque[tuple[float, bytes]] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._timeout: float | None = None

    def deliver(self, seconds: float, data: bytes) -> None:
        """Let this arrive, so many seconds after what arrived before; nothing at all is the end."""
        with self._changed:
            self._arriving.append((seconds, data))
            self._changed.notify_all()

    def recv(self, _size: int) -> bytes:
        with self._changed:
            if not self._changed.wait_for(lambda: self._arriving or self._ended, self._timeout):
                raise TimeoutError("timed out")
            seconds, data = (0.0, b"") if self._ended else self._arriving.popleft()
        if seconds:
            time.sleep(seconds)
        return data

    def sendall(self, data: bytes) -> None:
        self.far.receive(data)

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def shutdown(self, how: int) -> None:
        from socket import SHUT_WR

        if how != SHUT_WR:
            self.close()

    def setsockopt(self, *_options: object) -> None:
        """There is no packet to delay."""

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 0

    def getpeername(self) -> tuple[str, int]:
        return self._peer


# --- a live connection -----------------------------------------------------------------------------------------------


def _overhear(protocol: Any, flight: Flight) -> None:
    """Keep what passes through this protocol of a client."""
    overheard = _Overheard(protocol, flight)
    for name in ("process_response", "recv_frame", "send_frame", "receive_eof"):
        setattr(protocol, name, functools.partial(getattr(overheard, name), getattr(protocol, name)))


class _Overheard:
    """What both sides have said so far; each method is given the protocol's own."""

    def __init__(self, protocol: Any, flight: Flight) -> None:
        self._protocol, self._flight = protocol, flight
        self._reader: Reader | None = None
        self._begun: dict[Sender, tuple[Literal["text", "binary"], list[bytes]]] = {}
        self._closed = False
        self._last: Sender = "client"
        self._frames = self._noted = 0

    def process_response(self, original: Callable[[Any], None], response: Any) -> None:
        opened = response.status_code == 101
        headers = list(response.headers.raw_items())
        if opened:
            headers = [pair for pair in headers if pair[0].lower() != "content-type"]
            headers.append(("content-type", CONTENT_TYPE))
        reader = self._flight.answered(response.status_code, response.reason_phrase, headers)
        if opened:
            self._reader = reader
        elif reader is not None:
            reader.add(bytes(response.body or b""))
            reader.finish(complete=True)
        original(response)

    def recv_frame(self, original: Callable[[Any], None], frame: Any) -> None:
        self._hear("server", frame)  # First, since the protocol may answer it at once.
        original(frame)

    def send_frame(self, original: Callable[[Any], None], frame: Any) -> None:
        original(frame)
        self._hear("client", frame)

    def receive_eof(self, original: Callable[[], None]) -> None:
        original()
        if self._reader is None:
            self._flight.failed(self._protocol.handshake_exc or ConnectionError("the handshake broke off"))
        elif self._closed:
            self._reader.finish(complete=True)
        else:
            self._reader.finish(failure=Failure("ConnectionClosedError", "no close frame received or sent"))

    def _hear(self, sender: Sender, frame: Any) -> None:
        from websockets.frames import Close, Opcode

        if frame.opcode is Opcode.CLOSE and not self._closed:
            self._closed = True  # What the other side says to that is no more than politeness.
            close = Close.parse(frame.data)
            self._keep(Frame(sender, "close", close.reason.encode(), close.code if frame.data else None))
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._begun[sender] = ("text" if frame.opcode is Opcode.TEXT else "binary", [])
            kind, parts = self._begun.get(sender, ("binary", []))
            parts.append(bytes(frame.data))
            if frame.fin:
                self._keep(Frame(sender, kind, b"".join(parts)))

    def _keep(self, frame: Frame) -> None:
        if self._reader is None:
            return
        # Each note is of the whole, so that they are few: at the ends of turns, and not before it has grown.
        if frame.sender == "client" and self._last == "server" and self._frames > self._noted * 1.25:
            self._noted = self._frames
            self._reader.note()
        self._frames += 1
        self._last = frame.sender
        self._reader.add(frame.line())


# --- a replayed connection -------------------------------------------------------------------------------------------


class _FarSide:
    """The server of a replayed connection; as a context it raises what is wrong with what the client said in it."""

    def __init__(self, exchange: Exchange, recording: Listener, deliver: Callable[[float, bytes], None]) -> None:
        from websockets.server import ServerProtocol

        assert exchange.response is not None
        self._talk, self._recording, self._deliver = recording.talk(exchange), recording, deliver
        self._response = exchange.response
        self._waiting: deque[tuple[Frame, float]] = deque()
        """What comes next, each with the seconds after what came before it."""
        self._opened = False
        self._go_on(0)
        self._parts: list[bytes] = []
        self._error: Exception | None = None
        self._gone = False
        subprotocol: Any = header(self._response.headers, _SUBPROTOCOL)
        self._protocol = ServerProtocol(select_subprotocol=lambda _protocol, _offered: subprotocol, max_size=None)

    @property
    def patience(self) -> float:
        """Seconds for which a client may wait for something to be said, before it is stuck."""
        timing = self._talk.exchange.timing
        return PATIENCE + (timing.seconds if timing is not None else 0.0)

    def stuck(self) -> Exception:
        """What to raise where the client waits, and the recording goes on with the client, or not at all."""
        self._error = self._error or self._recording.ran_out(self._talk.exchange)
        return self._error

    def __enter__(self) -> None:
        """Nothing is known yet."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if self._error is not None and (error is None or isinstance(error, Exception)) and error is not self._error:
            raise self._error from None

    def receive(self, data: bytes) -> None:
        """The client writes this."""
        if self._gone:
            return
        from websockets.frames import Opcode
        from websockets.http11 import Request as Asked

        self._protocol.receive_data(data)
        events: list[Any] = self._protocol.events_received()
        for event in events:
            if isinstance(event, Asked):
                self._answer(event)
            elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._kind: Literal["text", "binary"]
                if event.opcode is not Opcode.CONT:
                    self._kind = "text" if event.opcode is Opcode.TEXT else "binary"
                self._parts.append(bytes(event.data))
                if event.fin:
                    said, self._parts = b"".join(self._parts), []
                    self._hear(Frame("client", self._kind, said))
            elif event.opcode is Opcode.CLOSE:
                self._waiting.clear()
            self._flush()

    def _answer(self, request: Any) -> None:
        from websockets.datastructures import Headers
        from websockets.http11 import Response

        headers = [pair for pair in self._response.headers if pair[0] not in (*OF_THE_WIRE, _SUBPROTOCOL)]
        if self._response.status == 101:
            response = self._protocol.accept(request)
            response.headers.update([pair for pair in headers if pair[0] != "content-type"])
        else:
            body = self._response.body
            headers.append(("content-length", str(len(body))))
            response = Response(self._response.status, self._response.reason, Headers(headers), body)
        self._protocol.send_response(response)
        self._opened = True
        self._flush()
        self._speak()

    def _hear(self, said: Frame) -> None:
        try:
            self._recording.hear(self._talk, said)
        except Exception as error:
            self._error = error
            self._hang_up()
        else:
            if self._talk.exchange is not self._followed:  # Another one was recorded with what is said here.
                self._go_on(len(self._talk.said) - 1)
            self._waiting.popleft()
            self._speak()

    def _speak(self) -> None:
        """Say what was said until the client said something, or the end came."""
        while self._waiting and self._waiting[0][0].sender == "server" and not self._gone:
            frame, wait = self._waiting.popleft()
            if frame.kind == "text":
                self._protocol.send_text(frame.data)
            elif frame.kind == "binary":
                self._protocol.send_binary(frame.data)
            else:
                self._protocol.send_close(frame.code, frame.data.decode())
                self._waiting.clear()
            self._flush(wait)
        exchange = self._talk.exchange
        if not self._waiting and exchange.is_websocket and exchange.failure is not None:
            self._hang_up()

    def _go_on(self, said: int) -> None:
        """Go on where the client is to say its next after so many."""
        exchange = self._followed = self._talk.exchange
        if not exchange.is_websocket or exchange.response is None:
            return
        frames = frames_of(exchange.response.body)
        waiting = list(zip(frames, self._pauses(len(frames)), strict=True))
        clients = [at for at, frame in enumerate(frames) if frame.sender == "client" and frame.kind != "close"]
        self._waiting = deque(waiting[clients[said] :] if said or self._opened else waiting)

    def _pauses(self, count: int) -> Iterator[float]:
        """How long after the frame before it each of them came, where replays take their time."""
        timing = self._talk.exchange.timing
        if timing is None or self._recording.pace == "none" or len(timing.events) != count:
            yield from [0.0] * count
            return
        before = timing.first or 0.0
        for moment in timing.events:
            yield max(0.0, moment - before)
            before = moment

    def _hang_up(self) -> None:
        self._flush()
        if not self._gone:
            self._gone = True
            self._deliver(0.0, b"")

    def _flush(self, wait: float = 0.0) -> None:
        for data in self._protocol.data_to_send():
            self._gone = self._gone or not data
            self._deliver(wait, data)
            wait = 0.0


_SUBPROTOCOL = "sec-websocket-protocol"


def _error(failure: Failure | None) -> Exception:
    return raised(failure, ("websockets.exceptions", "builtins", "socket", "ssl"))


def _peer(uri: str) -> tuple[str, int]:
    location = urlsplit(uri)
    return location.hostname or "", location.port or (443 if location.scheme == "wss" else 80)
