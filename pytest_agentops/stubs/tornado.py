"""tornado's clients, the simple one and that of libcurl."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from typing import Any

from pytest_agentops.exchange import Request, headers_from
from pytest_agentops.stubs import OF_THE_WIRE, Flight, Stubs, Wrap, raised
from pytest_agentops.transports import Owner, Ticket


def stubs(owner: Owner) -> Stubs:
    """Let clients ask the recordings that `owner` names."""
    return _Clients(owner)


class _Clients:
    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def seams(self, module: str) -> Iterator[tuple[str, str, Wrap]]:
        kind = "SimpleAsyncHTTPClient" if module == "tornado.simple_httpclient" else "CurlAsyncHTTPClient"
        yield kind, "fetch_impl", functools.partial(_watched, self._owner)

    def let_go(self) -> None:
        """Nothing is left of it once the method is put back."""


def _watched(owner: Owner, original: Callable[..., None]) -> Callable[..., None]:
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
            return original(self, request, _kept(request, Flight(recording, sent), callback))
        if (recorded := sent.response) is None or sent.failure is not None:
            error = raised(
                sent.failure, ("tornado.simple_httpclient", "tornado.curl_httpclient", "builtins", "socket", "ssl")
            )
            callback(HTTPResponse(request, 599, error=error))
            return None
        headers = HTTPHeaders()
        for name, value in recorded.headers:
            if name not in OF_THE_WIRE:
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


def _kept(request: Any, flight: Flight, callback: Callable[[Any], None]) -> Callable[[Any], None]:
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
