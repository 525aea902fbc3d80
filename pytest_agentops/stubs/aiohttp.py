"""aiohttp from 3.12 on, where a middleware hears of every hop."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from pytest_agentops.exchange import Exchange, Failure, Request, headers_from
from pytest_agentops.stubs import LENGTH, OF_THE_WIRE, Flight, Stubs, Wrap, raised
from pytest_agentops.transports import CANCELLED, Listener, Owner, Reader, failure_of, paced, wait


def stubs(owner: Owner) -> Stubs:
    """Let sessions ask the recordings that `owner` names."""
    return _Sessions(owner)


class _Sessions:
    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def seams(self, module: str) -> Iterator[tuple[str, str, Wrap]]:  # noqa: ARG002
        yield "ClientSession", "_request", functools.partial(_watched, self._owner)

    def let_go(self) -> None:
        """Nothing is left of it once the method is put back."""


def _watched(owner: Owner, original: Callable[..., Any]) -> Callable[..., Any]:
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
        self._flight: Flight | None = None

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
            return await _replay(request, sent, self._recording)
        flight = self._flight = Flight(self._recording, sent)
        try:
            response = await handler(request)
        except Exception as error:
            flight.failed(error)
            raise
        self._flight = None
        _keep(response, flight, decompressed=request.session.auto_decompress)
        return response


def _keep(response: Any, flight: Flight, *, decompressed: bool) -> None:
    coding = ("content-encoding", LENGTH) if decompressed and "content-encoding" in response.headers else ()
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


async def _replay(request: Any, exchange: Exchange, recording: Listener) -> Any:
    from aiohttp import http as wire
    from multidict import CIMultiDict, CIMultiDictProxy

    recorded = exchange.response
    if exchange.failure is not None and exchange.failure.kind == CANCELLED:
        await asyncio.Event().wait()
    if seconds := wait(exchange, recording.pace):
        await asyncio.sleep(seconds)
    if recorded is None:
        raise _error(request, exchange.failure)
    left_out = OF_THE_WIRE - {LENGTH} if request.method == "HEAD" else OF_THE_WIRE
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
    stream = _replayed_stream()(connection, exchange, recording, functools.partial(_error, request))
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
            self._exchange, self._recording, self.raised = exchange, recording, raised
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
                raise self.raised(self._exchange.failure)
            elif self._exchange.response is not None and not self._exchange.response.complete:
                raise self._recording.ran_out(self._exchange)
            else:
                self.feed_eof()

    return Replayed


def _error(request: Any, failure: Failure | None) -> Exception:
    import aiohttp

    def unreachable(kind: type, message: str) -> object:
        if not issubclass(kind, aiohttp.ClientConnectorError):
            return None
        why = re.search(r"\[(.*)\]$", message, re.DOTALL)
        return kind(request.connection_key, OSError(0, why[1] if why else message))

    return raised(failure, ("aiohttp", "aiohttp.client_exceptions", "builtins", "socket", "ssl"), unreachable)
