"""How httpx and httpx2 are watched: what stands in for their transports' methods while a recording is open.

Both libraries are the same to the letter where we touch them; each function is given the one it serves.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

from pytest_agentops.exchange import Exchange, Failure, Request, Response, headers_from


@dataclass(frozen=True)
class Ticket:
    """A request that is on its way."""

    number: int
    request: Request
    """Redacted."""
    started: float
    prompts: tuple[int, ...]
    parts: tuple[int, ...]


class Listener(Protocol):
    """What hears of the requests: an open recording."""

    def send(self, request: Request) -> Exchange | Ticket:
        """The recorded exchange that answers this request, or a ticket with which it goes live."""

    def hold(self, ticket: Ticket, finish: Callable[[], None]) -> None:
        """A response is being read; `finish` keeps what is there if the recording ends before the reader does."""

    def receive(
        self, ticket: Ticket, response: Response | None, failure: Failure | None = None, first: float | None = None
    ) -> None:
        """Keep what became of a request that went live."""

    def now(self) -> float:
        """Seconds since the recording began."""


Owner = Callable[[], Listener | None]
"""Gives the recording that what happens here and now belongs to."""


def replacements(library: ModuleType, owner: Owner) -> Iterator[tuple[type, str, Callable[..., Any]]]:
    """What to put where in this library: a class, the name of its method and the method that watches."""
    for name, method, watched in _TRANSPORTS:
        transport = getattr(library, name)
        yield transport, method, watched(library, getattr(transport, method), owner)


def _sync(library: ModuleType, original: Callable[..., Any], owner: Owner) -> Callable[..., Any]:
    @functools.wraps(original)
    def handle_request(self: Any, request: Any) -> Any:
        recording = owner()
        if recording is None:
            return original(self, request)
        sent = recording.send(_request(request, request.read()))
        if isinstance(sent, Exchange):
            return _replayed(library, sent)
        try:
            response = original(self, request)
        except Exception as error:
            recording.receive(sent, None, _failure(error))
            raise
        _keep_body(response, _Reader(recording, sent, response), library, _streams(library).Kept)
        return response

    return handle_request


def _async(library: ModuleType, original: Callable[..., Any], owner: Owner) -> Callable[..., Any]:
    import anyio  # Both libraries bring it.

    @functools.wraps(original)
    async def handle_async_request(self: Any, request: Any) -> Any:
        recording = owner()
        if recording is None:
            return await original(self, request)
        sent = recording.send(_request(request, await request.aread()))
        if isinstance(sent, Exchange):
            if sent.failure is not None and sent.failure.kind == _CANCELLED:
                await anyio.sleep_forever()
            return _replayed(library, sent)
        try:
            response = await original(self, request)
        except Exception as error:
            recording.receive(sent, None, _failure(error))
            raise
        except anyio.get_cancelled_exc_class():
            recording.receive(sent, None, Failure(_CANCELLED, "the caller did not wait for the answer"))
            raise
        _keep_body(response, _Reader(recording, sent, response), library, _streams(library).AsyncKept)
        return response

    return handle_async_request


_CANCELLED = "Cancelled"
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


def _failure(error: Exception) -> Failure:
    return Failure(type(error).__name__, str(error))


def _replayed(library: ModuleType, exchange: Exchange) -> Any:
    """The client's own response for a recorded one; a recorded failure is raised again."""
    recorded = exchange.response
    if recorded is None:
        raise _raised(library, exchange.failure or Failure("TransportError", "no response was recorded"))
    return library.Response(
        recorded.status,
        headers=list(recorded.headers),
        stream=_streams(library).Replayed(tuple(_chunks(recorded)), exchange.failure),
        extensions={"reason_phrase": recorded.reason.encode("ascii", "replace")} if recorded.reason else None,
    )


def _raised(library: ModuleType, failure: Failure) -> Exception:
    kind = getattr(library, failure.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, library.TransportError)):
        kind = library.TransportError
    error: Exception = kind(failure.message)
    return error


def _chunks(response: Response) -> Iterator[bytes]:
    """The body in pieces: event by event where it is a stream of events, else whole."""
    if not response.is_event_stream:
        yield response.body
        return
    *events, rest = response.body.split(b"\n\n")
    for event in events:
        yield event + b"\n\n"
    if rest:
        yield rest


class _Reader:
    """What has been read of a live response."""

    def __init__(self, recording: Listener, ticket: Ticket, response: Any) -> None:
        self._recording, self._ticket = recording, ticket
        self._status, self._reason = response.status_code, response.reason_phrase
        self._headers = headers_from(response.headers.multi_items())
        self._chunks: list[bytes] = []
        self._began = time.perf_counter()
        self._sent_after = recording.now() - ticket.started
        self._first: float | None = None
        self._done = False
        recording.hold(ticket, self.finish)

    def add(self, chunk: bytes) -> None:
        if self._first is None:
            self._first = self._sent_after + time.perf_counter() - self._began
        self._chunks.append(chunk)

    def finish(self, *, complete: bool = False, failure: Failure | None = None) -> None:
        """Keep the response; only the first call counts."""
        if not self._done:
            self._done = True
            body = b"".join(self._chunks)
            # A client that has read the last event of a stream closes without asking for the end.
            complete = complete or body.rstrip().endswith(b"data: [DONE]")
            response = Response(self._status, self._reason, self._headers, body, complete)
            self._recording.receive(self._ticket, response, failure, self._first)


def _keep_body(response: Any, reader: _Reader, library: ModuleType, kept: Callable[..., Any]) -> None:
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

        def __init__(self, stream: Any, reader: _Reader) -> None:
            self._stream, self._reader = stream, reader

        def __iter__(self) -> Iterator[bytes]:
            try:
                for chunk in self._stream:
                    self._reader.add(chunk)
                    yield chunk
            except Exception as error:
                self._reader.finish(failure=_failure(error))
                raise
            self._reader.finish(complete=True)

        def close(self) -> None:
            self._reader.finish()
            self._stream.close()

    class AsyncKept(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        """The same for asynchronous clients."""

        def __init__(self, stream: Any, reader: _Reader) -> None:
            self._stream, self._reader = stream, reader

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in self._stream:
                    self._reader.add(chunk)
                    yield chunk
            except Exception as error:
                self._reader.finish(failure=_failure(error))
                raise
            self._reader.finish(complete=True)

        async def aclose(self) -> None:
            self._reader.finish()
            await self._stream.aclose()

    class Replayed(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc, name-defined]
        """A recorded body; where the recording broke off with an error, so does the replay."""

        def __init__(self, chunks: tuple[bytes, ...], failure: Failure | None) -> None:
            self._parts, self._failure = chunks, failure

        def __iter__(self) -> Iterator[bytes]:
            yield from self._parts
            if self._failure is not None:
                raise _raised(library, self._failure)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in self._parts:
                yield chunk
            if self._failure is not None:
                raise _raised(library, self._failure)

    return SimpleNamespace(Kept=Kept, AsyncKept=AsyncKept, Replayed=Replayed)
