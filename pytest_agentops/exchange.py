"""An exchange: one HTTP request and its response, as bytes, live or replayed.

Everything else is read from exchanges: the trace decodes them, the cassette keeps them.
"""

from __future__ import annotations

import importlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

Headers = tuple[tuple[str, str], ...]
"""Names in lower case with their values, in the order they came; a name may come twice."""


def headers_from(pairs: Iterable[tuple[str, str]]) -> Headers:
    """These pairs with their names in lower case."""
    return tuple((name.lower(), value) for name, value in pairs)


def header(headers: Headers, name: str) -> str | None:
    """The first value of this header, or None."""
    return next((value for key, value in headers if key == name), None)


@dataclass(frozen=True)
class Request:
    """What was sent."""

    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""

    @cached_property
    def location(self) -> SplitResult:
        """The URL in its parts."""
        return urlsplit(self.url)

    @cached_property
    def json(self) -> Any:
        """The body as JSON, or None when it is not JSON."""
        return parse_json(self.body)

    @property
    def is_handshake(self) -> bool:
        """Whether this opens a WebSocket."""
        return self.url.startswith(("ws://", "wss://"))


@dataclass(frozen=True)
class Response:
    """What came back; the body as the server meant it, without transfer or content encoding."""

    status: int
    reason: str = ""
    headers: Headers = ()
    body: bytes = b""
    complete: bool = True
    """False when the reader left, or the connection broke, before the end."""

    @cached_property
    def json(self) -> Any:
        """The body as JSON, or None when it is not JSON."""
        return parse_json(self.body)

    @cached_property
    def kind(self) -> str:
        """The media type of the body, with its parameters; empty where the server does not say."""
        return header(self.headers, "content-type") or ""

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is a stream of server-sent events."""
        return self.kind.startswith("text/event-stream")

    @property
    def is_stream(self) -> bool:
        """Whether the body comes in pieces that each say something: events, or one JSON value a line."""
        return self.kind.startswith(("text/event-stream", "application/x-ndjson", "application/jsonl"))

    def pieces(self) -> Iterator[bytes]:
        """The body as it came: a stream event by event, anything else whole."""
        if not self.is_stream:
            yield self.body
            return
        end = rb"(?:\r\n|\n|\r){2}" if self.is_event_stream else rb"\n"
        at = 0
        for found in re.finditer(end, self.body):
            yield self.body[at : found.end()]
            at = found.end()
        if at < len(self.body):
            yield self.body[at:]


@dataclass(frozen=True)
class Failure:
    """Why no response came: the client's own exception, so that a replay can raise it again."""

    kind: str
    """The exception's class name, such as `ConnectTimeout`."""
    message: str


@dataclass(frozen=True)
class Timing:
    """When an exchange happened, in seconds; on replay, when it happened while it was recorded."""

    started: float
    """Since the recording began."""
    seconds: float
    """From sending the request to the last byte of the response."""
    first: float | None = None
    """From sending the request to the first byte of the body."""
    events: tuple[float, ...] = ()
    """From sending the request to each event of a stream; empty where that was not seen."""


@dataclass(frozen=True)
class Exchange:
    """One HTTP request and what became of it."""

    number: int
    """The order in which requests were issued, from 1; the only source of order in a trace."""
    request: Request
    response: Response | None = None
    failure: Failure | None = None
    timing: Timing | None = None
    """None when a foreign recording has no times."""
    prompts: tuple[int, ...] = ()
    """Which renders of the recording this request carries, as indexes."""
    judge: bool = False
    """Whether an expectation asked this, to judge the run: it is kept with the run and is no part of it."""
    span: int | None = None
    """The number of the innermost span that it was sent in."""

    @property
    def is_websocket(self) -> bool:
        """Whether this is a WebSocket that was opened: the body of the response is then what both sides said."""
        return self.request.is_handshake and self.response is not None and self.response.status == 101

    @property
    def failed(self) -> bool:
        """Whether there is no answer, half of one, or one that says no."""
        return self.response is None or self.response.status >= 400 or not self.response.complete


@dataclass(frozen=True)
class ServerEvent:
    """One server-sent event."""

    name: str
    data: str

    @cached_property
    def json(self) -> Any:
        """The data as JSON, or None when it is not JSON."""
        return parse_json(self.data)


def server_events(body: bytes) -> Iterator[ServerEvent]:
    """The events of a `text/event-stream` body, as the HTML standard reads them."""
    sent = text(body)
    if "\r" in sent:
        sent = sent.replace("\r\n", "\n").replace("\r", "\n")
    for block in sent.split("\n\n"):
        name, data = "message", []
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
        if data:
            yield ServerEvent(name, "\n".join(data))


def is_loopback(host: str) -> bool:
    """Whether this host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def parse_json(body: bytes | str) -> Any:
    """The value of a JSON text, or None when it is not JSON or empty."""
    if not body:
        return None
    try:
        # Nearly every body is UTF-8 and begins with a brace; guessing the encoding takes as long as a small body.
        return json.loads(
            body.decode("utf-8", "surrogatepass") if isinstance(body, bytes) and body.startswith(_PLAIN) else body
        )
    except (ValueError, RecursionError):
        return None


_PLAIN = (b'{"', b"[{", b"{\n")


def text(body: bytes) -> str:
    """The bytes as text; what is not UTF-8 is shown as U+FFFD."""
    return body.decode("utf-8", errors="replace")


def without_content_encoding(response: Response) -> Response:
    """The response with its body decompressed and no `content-encoding`, unchanged where that cannot be done.

    A body cut off in the middle keeps what could be decompressed.
    """
    codings = [value.strip() for value in (header(response.headers, "content-encoding") or "").lower().split(",")]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    if not codings:
        return response
    body = response.body
    try:
        for coding in reversed(codings):
            body = _decompressors()[coding](body)
    except Exception:  # Every library has its own errors; a body that is not what it claims stays as it came.
        return response
    headers = tuple(pair for pair in response.headers if pair[0] not in ("content-encoding", "content-length"))
    return replace(response, headers=headers, body=body)


_LIBRARIES = (
    ("brotli", "br"),
    ("brotlicffi", "br"),
    ("zstandard", "zstd"),
    ("backports.zstd", "zstd"),
    ("compression.zstd", "zstd"),
)
"""Where decompressors may be found, and for which coding."""


def _decompressors() -> Mapping[str, Callable[[bytes], bytes]]:
    found: dict[str, Callable[[bytes], bytes]] = {"gzip": _gunzip, "x-gzip": _gunzip, "deflate": _inflate}
    # A client asks only for codings whose library it has, so the library is there when it is needed.
    for module, coding in _LIBRARIES:
        try:
            library = importlib.import_module(module)
        except ImportError:
            continue
        found[coding] = _unzstd if module == "zstandard" else library.decompress
    return found


def _gunzip(body: bytes) -> bytes:
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(body)


def _inflate(body: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(body)
    except zlib.error:  # Some servers send the bare stream without the zlib header.
        return zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(body)


def _unzstd(body: bytes) -> bytes:
    library = importlib.import_module("zstandard")
    # Streamed frames carry no content size, which the one-shot call insists on.
    return bytes(library.ZstdDecompressor().decompressobj().decompress(body))
