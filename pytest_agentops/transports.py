"""How httpx and httpx2 are watched: what stands in for their transports' methods while a recording is open.

Both libraries are the same to the letter where we touch them; each function is given the one it serves.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import zip_longest
from types import ModuleType, SimpleNamespace
from typing import Any, Literal, Protocol

from pytest_agentops.exchange import Exchange, Failure, Request, Response, header, headers_from
from pytest_agentops.frames import Frame

Pace = Literal["none", "recorded"]
"""Whether a replayed answer comes at once, or takes the time it took: each event of a stream at its own."""


@dataclass(frozen=True)
class Ticket:
    """A request that is on its way."""

    number: int
    request: Request
    """Redacted."""
    started: float
    prompts: tuple[int, ...]
    parts: tuple[int, ...]


@dataclass(eq=False)
class Talk:
    """A WebSocket that is being replayed."""

    exchange: Exchange
    """The recorded one; several of one address may change places as long as what was said is the same."""
    said: list[Frame] = field(default_factory=list)
    """What the client has said so far."""


class Listener(Protocol):
    """What hears of the requests: an open recording."""

    def send(self, request: Request) -> Exchange | Ticket:
        """The recorded exchange that answers this request, or a ticket with which it goes live."""

    def hold(self, ticket: Ticket, finish: Callable[[], None]) -> None:
        """A response is being read; `finish` keeps what is there if the recording ends before the reader does."""

    def receive(
        self,
        ticket: Ticket,
        response: Response | None,
        failure: Failure | None = None,
        first: float | None = None,
        events: tuple[float, ...] = (),
    ) -> None:
        """Keep what became of a request that went live."""

    def so_far(self, ticket: Ticket, response: Response) -> None:
        """Write down what has been said on a WebSocket that stays open, in case this process does not live on."""

    def talk(self, exchange: Exchange) -> Talk:
        """A connection was opened that replays this WebSocket."""

    def hear(self, talk: Talk, said: Frame) -> None:
        """The client said this on a replayed WebSocket.

        Raises:
            CassetteMiss: it is something else than it had said, or more.
        """

    def meet(self, client: str, target: str, instead: str) -> None:
        """A call is made through a client that can be neither recorded nor replayed; `instead` says what could be.

        Raises:
            LiveCallRefused: nothing may go live.
        """

    def now(self) -> float:
        """Seconds since the recording began."""

    def ran_out(self, exchange: Exchange) -> Exception:
        """What to raise where a reader wants more of a stream than the one who was recorded had read."""

    @property
    def pace(self) -> Pace:
        """Whether replayed answers take the time they took."""


Owner = Callable[[], Listener | None]
"""Gives the recording that what happens here and now belongs to."""


def replacements(library: ModuleType, owner: Owner) -> Iterator[tuple[type, str, Callable[..., Any]]]:
    """What to put where in this library: a class, the name of its method and the method that watches."""
    for name, method, watched in _TRANSPORTS:
        transport = getattr(library, name)
        yield transport, method, watched(library, getattr(transport, method), owner)


@functools.cache
def _sync(library: ModuleType, original: Callable[..., Any], owner: Owner) -> Callable[..., Any]:
    @functools.wraps(original)
    def handle_request(self: Any, request: Any) -> Any:
        recording = owner()
        if recording is None:
            return original(self, request)
        sent = recording.send(_request(request, request.read()))
        if isinstance(sent, Exchange):
            if seconds := wait(sent, recording.pace):
                time.sleep(seconds)
            return _replayed(library, sent, recording)
        back_off.replayed(failed=False)
        try:
            response = original(self, request)
        except Exception as error:
            recording.receive(sent, None, failure_of(error))
            raise
        _keep_body(response, Reader(recording, sent, response), library, _streams(library).Kept)
        return response

    return handle_request


@functools.cache
def _async(library: ModuleType, original: Callable[..., Any], owner: Owner) -> Callable[..., Any]:
    import anyio  # Both libraries bring it.

    @functools.wraps(original)
    async def handle_async_request(self: Any, request: Any) -> Any:
        recording = owner()
        if recording is None:
            return await original(self, request)
        sent = recording.send(_request(request, await request.aread()))
        if isinstance(sent, Exchange):
            if sent.failure is not None and sent.failure.kind == CANCELLED:
                await anyio.sleep_forever()
            if seconds := wait(sent, recording.pace):
                await anyio.sleep(seconds)
            return _replayed(library, sent, recording)
        back_off.replayed(failed=False)
        try:
            response = await original(self, request)
        except Exception as error:
            recording.receive(sent, None, failure_of(error))
            raise
        except anyio.get_cancelled_exc_class():
            recording.receive(sent, None, Failure(CANCELLED, "the caller did not wait for the answer"))
            raise
        _keep_body(response, Reader(recording, sent, response), library, _streams(library).AsyncKept)
        return response

    return handle_async_request


CANCELLED = "Cancelled"
"""The kind of failure that is the caller's doing: on replay it waits to be cancelled again."""

_TRANSPORTS = (
    ("HTTPTransport", "handle_request", _sync),
    ("MockTransport", "handle_request", _sync),
    ("WSGITransport", "handle_request", _sync),
    ("AsyncHTTPTransport", "handle_async_request", _async),
    ("MockTransport", "handle_async_request", _async),
    ("ASGITransport", "handle_async_request", _async),
)


def _request(request: Any, body: bytes) -> Request:
    return Request(request.method, str(request.url), headers_from(request.headers.multi_items()), body)


def failure_of(error: Exception) -> Failure:
    return Failure(type(error).__name__, str(error))


def wait(exchange: Exchange, pace: Pace) -> float:
    """Seconds until the answer begins."""
    if pace == "none" or exchange.timing is None:
        return 0.0
    timing = exchange.timing
    streams = exchange.response is not None and timing.events
    return timing.first or 0.0 if streams else timing.seconds


def _replayed(library: ModuleType, exchange: Exchange, recording: Listener) -> Any:
    """The client's own response for a recorded one; a recorded failure is raised again."""
    recorded = exchange.response
    back_off.replayed(failed=exchange.failed and recording.pace == "none")
    if recorded is None:
        raise _raised(library, exchange.failure or Failure("TransportError", "no response was recorded"))
    return library.Response(
        recorded.status,
        headers=list(recorded.headers),
        stream=_streams(library).Replayed(exchange, recording),
        extensions={"reason_phrase": recorded.reason.encode("ascii", "replace")} if recorded.reason else None,
    )


class _BackOff:
    """Lets the openai and anthropic clients try again at once: the answer to that is recorded too.

    Both ask one private method how long to wait; where that is gone, they wait.
    """

    def __init__(self) -> None:
        self._answered: ContextVar[bool] = ContextVar("agentops_replayed_failure", default=False)
        self._originals: dict[type, Any] = {}

    def replayed(self, *, failed: bool) -> None:
        """The last answer that came here was a replayed one, and whether it was a failure."""
        self._answered.set(failed)
        for name in ("openai", "anthropic") if failed else ():
            client = getattr(sys.modules.get(f"{name}._base_client"), "BaseClient", None)
            original = getattr(client, "_calculate_retry_timeout", None)
            if client is not None and original is not None and client not in self._originals:
                self._originals[client] = original
                client._calculate_retry_timeout = self._at_once(original)

    def restore(self) -> None:
        """Let the clients wait again."""
        while self._originals:
            client, original = self._originals.popitem()
            client._calculate_retry_timeout = original  # type: ignore[attr-defined]

    def _at_once(self, original: Callable[..., float]) -> Callable[..., float]:
        @functools.wraps(original)
        def calculate(*args: Any, **kwargs: Any) -> float:
            return 0.0 if self._answered.get() else original(*args, **kwargs)

        return calculate


back_off = _BackOff()


def _raised(library: ModuleType, failure: Failure) -> Exception:
    kind = getattr(library, failure.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, library.TransportError)):
        kind = library.TransportError
    error: Exception = kind(failure.message)
    return error


def paced(exchange: Exchange, pace: Pace) -> Iterator[tuple[float, bytes]]:
    """The pieces of a recorded body, each with the seconds to wait before it."""
    assert exchange.response is not None
    moments = exchange.timing.events if exchange.timing and pace == "recorded" else ()
    before = (exchange.timing.first if exchange.timing else None) or 0.0
    for piece, moment in zip_longest(exchange.response.pieces(), moments[:1_000_000]):
        if piece is None:
            return
        yield (max(0.0, (moment or before) - before), piece)
        before = moment or before


class Reader:
    """What has been read of a live response."""

    def __init__(self, recording: Listener, ticket: Ticket, response: Any) -> None:
        self._recording, self._ticket = recording, ticket
        self._status, self._reason = response.status_code, response.reason_phrase
        self._headers = headers_from(response.headers.multi_items())
        self._chunks: list[bytes] = []
        self._moments: list[float] = []
        self._began = time.perf_counter()
        self._sent_after = recording.now() - ticket.started
        self._first: float | None = None
        self._done = False
        recording.hold(ticket, self.finish)

    def add(self, chunk: bytes) -> None:
        moment = self._sent_after + time.perf_counter() - self._began
        if self._first is None:
            self._first = moment
        self._chunks.append(chunk)
        self._moments.append(moment)

    def note(self) -> None:
        """Let what has been read so far be written down."""
        if not self._done:
            response = Response(self._status, self._reason, self._headers, b"".join(self._chunks), complete=False)
            self._recording.so_far(self._ticket, response)

    def finish(self, *, complete: bool = False, failure: Failure | None = None) -> None:
        """Keep the response; only the first call counts."""
        if not self._done:
            self._done = True
            body = b"".join(self._chunks)
            # A client that has read the last event of a stream closes without asking for the end.
            complete = complete or body.rstrip().endswith(b"data: [DONE]")
            response = Response(self._status, self._reason, self._headers, body, complete)
            self._recording.receive(self._ticket, response, failure, self._first, self._events(response))

    def _events(self, response: Response) -> tuple[float, ...]:
        """When each piece of a stream had come; nothing where compression hides where they end."""
        if not response.is_stream or header(response.headers, "content-encoding"):
            return ()
        arrived, moments, length, at = [], iter(zip(self._chunks, self._moments, strict=True)), 0, 0
        moment = 0.0
        for piece in response.pieces():
            at += len(piece)
            while length < at:
                chunk, moment = next(moments)
                length += len(chunk)
            arrived.append(round(moment, 3))
        return tuple(arrived)


def _keep_body(response: Any, reader: Reader, library: ModuleType, kept: Callable[..., Any]) -> None:
    """Let the reader see the body as it is read."""
    if isinstance(response.stream, library.ByteStream):
        # A mock's response holds its whole body, and its client has read it already.
        for chunk in response.stream:
            reader.add(chunk)
        reader.finish(complete=True)
    else:
        response.stream = kept(response.stream, reader)


@functools.cache
def _streams(library: ModuleType) -> SimpleNamespace:
    """The byte streams of this library: its client insists on its own base classes."""

    class Kept(library.SyncByteStream):  # type: ignore[misc, name-defined]
        """A response's stream that keeps what passes through it, at the caller's own pace."""

        def __init__(self, stream: Any, reader: Reader) -> None:
            self._stream, self._reader = stream, reader

        def __iter__(self) -> Iterator[bytes]:
            try:
                for chunk in self._stream:
                    self._reader.add(chunk)
                    yield chunk
            except Exception as error:
                self._reader.finish(failure=failure_of(error))
                raise
            self._reader.finish(complete=True)

        def close(self) -> None:
            self._reader.finish()
            self._stream.close()

    class AsyncKept(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        """The same for asynchronous clients."""

        def __init__(self, stream: Any, reader: Reader) -> None:
            self._stream, self._reader = stream, reader

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in self._stream:
                    self._reader.add(chunk)
                    yield chunk
            except Exception as error:
                self._reader.finish(failure=failure_of(error))
                raise
            self._reader.finish(complete=True)

        async def aclose(self) -> None:
            self._reader.finish()
            await self._stream.aclose()

    class Replayed(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc, name-defined]
        """A recorded body; where the recording broke off, so does the replay."""

        def __init__(self, exchange: Exchange, recording: Listener) -> None:
            self._exchange, self._recording = exchange, recording

        def __iter__(self) -> Iterator[bytes]:
            for seconds, piece in paced(self._exchange, self._recording.pace):
                if seconds:
                    time.sleep(seconds)
                yield piece
            self._end()

        async def __aiter__(self) -> AsyncIterator[bytes]:
            import anyio

            for seconds, piece in paced(self._exchange, self._recording.pace):
                if seconds:
                    await anyio.sleep(seconds)
                yield piece
            self._end()

        def _end(self) -> None:
            if self._exchange.failure is not None:
                raise _raised(library, self._exchange.failure)
            if self._exchange.response is not None and not self._exchange.response.complete:
                raise self._recording.ran_out(self._exchange)

    return SimpleNamespace(Kept=Kept, AsyncKept=AsyncKept, Replayed=Replayed)
