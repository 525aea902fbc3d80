"""A server on loopback that answers with what its script says, in the dialect in which it is asked."""

from __future__ import annotations

import json
import socket
import sys
import textwrap
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from itertools import count
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Any

import pytest

from pytest_agentops.testing.dialects import Json, Piece, Provider, openai, openai_embeddings, phrase
from pytest_agentops.testing.ids import CountingIds, FixedClock
from pytest_agentops.testing.replies import Asks, Disconnects, Embeds, Fails, Reply, Says, compact
from pytest_agentops.testing.requests import ScriptedRequest, asks_for_vectors, dialect_of


class ScriptExhaustedError(LookupError):
    """More requests came than replies were scripted."""

    def __init__(self, scripted: int, number: int, request: ScriptedRequest) -> None:
        self.scripted = scripted
        self.number = number
        self.request = request
        replies = "1 reply was" if scripted == 1 else f"{scripted} replies were"
        super().__init__(
            f"{replies} scripted, and request {number} came: {request.method} {request.path}, "
            f"last user message {textwrap.shorten(request.prompt, 80)!r}"
        )


@dataclass(frozen=True)
class _Transmission:
    """Everything that goes back over the socket, and when."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    pieces: tuple[Piece, ...] | None = None
    """What is streamed instead of a body."""
    latency: float = 0.0
    pause: float = 0.0
    cut_after: int | None = None
    """The number of streamed chunks after which the connection closes; a body is cut in its middle."""
    silent: bool = False
    """Close the connection without a byte."""


class ScriptedModel:
    """A server on 127.0.0.1 that answers with what its script says, whichever provider's client asks.

    The script is a row of replies, given in the order in which requests arrive, or one function that makes the reply
    to each request. The function is called for one request at a time, in the order of arrival, so it may keep state
    without a lock; to answer slowly it returns a reply with `latency`, during which other requests are served.

        def answer(request: ScriptedRequest) -> Reply:
            return Says("It has shipped.") if request.tool_results else Asks(ToolRequest("get_order", {"id": 42}))

        with ScriptedModel(answer) as model:
            client = OpenAI(base_url=model.base_url, api_key="scripted")

    The path of a request decides in which dialect it is answered, plain or streamed:

    | dialect | paths |
    | --- | --- |
    | OpenAI | `/v1/chat/completions`, `/v1/responses`, `/v1/embeddings` (a reply `Embeds`) |
    | Anthropic | `/v1/messages` |
    | Gemini | `/v1beta/models/MODEL:generateContent` and `:streamGenerateContent` |
    | Bedrock | `/model/MODEL/converse` and `converse-stream` |
    | Cohere | `/v2/chat` |
    | Ollama | `/api/chat` |

    OpenAI's clients take `base_url`, all others `url`. Anything else is answered with OpenAI's 404 and takes no reply.
    A request too many, and a function that raises, are answered with HTTP 500 that the openai and anthropic clients do
    not retry, and kept in `errors`. The server listens from its creation to `close`.

    `port` 0 takes any free one. `ids` and `clock` make the ids and the time in answers; `gzip` compresses bodies for
    clients that accept it, streams excepted.
    """

    def __init__(
        self,
        *script: Reply | Callable[[ScriptedRequest], Reply],
        port: int = 0,
        ids: Callable[[str], str] | None = None,
        clock: Callable[[], float] | None = None,
        gzip: bool = False,
    ) -> None:
        self._reply_to = _script(script)
        self._ids = ids or CountingIds()
        self._clock = clock or FixedClock()
        self._gzip = gzip
        self._arrival = threading.Lock()
        self.requests: list[ScriptedRequest] = []
        """Every request in the order of arrival; the client's retries are requests too."""
        self.errors: list[Exception] = []
        """What went wrong on this side: a function that raised, a script that ran out."""
        self._server = _Server(port, self)
        self._thread = threading.Thread(target=self._server.serve, name="scripted-model", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return self._server.port

    @property
    def url(self) -> str:
        """What clients of Anthropic, Google and others take as their base URL, such as `http://127.0.0.1:49152`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What a client of OpenAI takes as its base URL, such as `http://127.0.0.1:49152/v1`."""
        return f"{self.url}/v1"

    def close(self) -> None:
        """Stop listening and hang up on every client; closing twice does no harm."""
        self._server.hang_up()
        self._thread.join()

    def __enter__(self) -> ScriptedModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, request: ScriptedRequest, problem: str | None) -> _Transmission:
        """Everything that depends on the order of arrival: the reply, the ids and the time."""
        with self._arrival:
            self.requests.append(request)
            if problem:
                return self._failure(Fails(400, problem), request)
            if request.method != "POST" or not (dialect_of(request) or asks_for_vectors(request)):
                return self._failure(Fails(404, f"Invalid URL ({request.method} {request.path})"), request)
            try:
                return self._transmission(self._reply_to(request), request)
            except Exception as error:
                # Whatever a script does wrong has to reach the test, and the client waits for an answer meanwhile.
                self.errors.append(error)
                message = str(error) if isinstance(error, ScriptExhaustedError) else f"{type(error).__name__}: {error}"
                refusal = Fails(500, message, type="scripted_model_error", headers={"x-should-retry": "false"})
                return self._failure(refusal, request)

    def _transmission(self, reply: Reply, request: ScriptedRequest) -> _Transmission:
        match reply:
            case Fails():
                return self._failure(reply, request)
            case Disconnects(reply=None):
                return _Transmission(silent=True)
            case Disconnects(after=after, reply=cut) if cut is not None:
                return self._success(cut, request, cut_after=after)
            case Says() | Asks():
                return self._success(reply, request)
            case Embeds():
                return self._vectors(reply, request)
        raise TypeError(f"a script gives Says, Asks, Embeds, Fails or Disconnects, and this one gave {reply!r}")

    def _success(self, answer: Says | Asks, request: ScriptedRequest, *, cut_after: int | None = None) -> _Transmission:
        dialect = dialect_of(request)
        if dialect is None:
            raise TypeError(f"a request for embeddings is answered by Embeds, and the script gave {answer!r}")
        headers = self._headers(dialect, answer.latency)
        body = dialect.body(request, answer, self._ids, int(self._clock()))
        if dialect.streams(request):
            headers |= {"content-type": dialect.STREAMED} | _lower(answer.headers)
            pieces = tuple(dialect.pieces(request, answer, body))
            return _Transmission(200, headers, b"", pieces, answer.latency, answer.pause, cut_after)
        content, headers = self._encoded(body, request, headers | _lower(answer.headers))
        return _Transmission(200, headers, content, latency=answer.latency, cut_after=cut_after)

    def _vectors(self, reply: Embeds, request: ScriptedRequest) -> _Transmission:
        if not asks_for_vectors(request):
            raise TypeError(f"only a request for embeddings is answered by Embeds, and {request.path} came")
        headers = self._headers(openai_embeddings, reply.latency) | _lower(reply.headers)
        content, headers = self._encoded(openai_embeddings.body(request, reply), request, headers)
        return _Transmission(200, headers, content, latency=reply.latency)

    def _failure(self, failure: Fails, request: ScriptedRequest) -> _Transmission:
        dialect = dialect_of(request) or openai
        headers = self._headers(dialect, failure.latency) | _lower(failure.headers)
        content, headers = self._encoded(dialect.error(failure), request, headers)
        return _Transmission(failure.status, headers, content, latency=failure.latency)

    def _headers(self, provider: Provider, latency: float) -> dict[str, str]:
        return {
            "date": formatdate(self._clock(), usegmt=True),
            "content-type": "application/json",
            **provider.headers(self._ids, latency),
        }

    def _encoded(self, body: Json, request: ScriptedRequest, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        content = compact(body).encode()
        if self._gzip and "gzip" in request.headers.get("accept-encoding", ""):
            # Window bits of 31 ask for a gzip frame, and unlike `gzip.compress` put no time of day into it.
            content = zlib.compress(content, wbits=31)
            headers = headers | {"content-encoding": "gzip"}
        return content, headers | {"content-length": str(len(content))}


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _script(
    script: tuple[Reply | Callable[[ScriptedRequest], Reply], ...],
) -> Callable[[ScriptedRequest], Reply]:
    """One function, whichever form the script has."""
    if len(script) == 1 and callable(script[0]):
        return script[0]
    replies: list[Reply] = []
    for entry in script:
        if not isinstance(entry, Says | Asks | Embeds | Fails | Disconnects):
            raise TypeError(f"a script is a row of replies, as in ScriptedModel(*replies), or one function: {entry!r}")
        replies.append(entry)
    numbers = count(1)

    def next_reply(request: ScriptedRequest) -> Reply:
        number = next(numbers)
        if number > len(replies):
            raise ScriptExhaustedError(len(replies), number, request)
        return replies[number - 1]

    return next_reply


# `http.server.HTTPServer` looks its own name up in DNS when it starts, which can take seconds without a network.
class _Server(ThreadingTCPServer):
    """The listening socket, and the open connections of a `ScriptedModel`."""

    allow_reuse_address = True
    daemon_threads = True
    # Twenty clients may knock at once; a full queue costs each of the others a second.
    request_queue_size = 128

    def __init__(self, port: int, model: ScriptedModel) -> None:
        self.model = model
        self.closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def port(self) -> int:
        address: tuple[str, int] = self.server_address  # type: ignore[assignment]  # TCP, so never text or bytes.
        return address[1]

    def serve(self) -> None:
        self.serve_forever(poll_interval=0.01)

    def hang_up(self) -> None:
        """Stop accepting, and end the kept-alive connections: a closed model must not answer any more."""
        self.closing.set()
        self.shutdown()
        with self._connections_lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._connections_lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the signature is given.
        """A client may hang up when it likes; anything else is kept for the test instead of printed."""
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, ConnectionError):
            self.model.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    """Reads requests from one connection and writes transmissions to it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        request, problem = self._request()
        transmission = self.server.model._answer(request, problem)
        self._wait(transmission.latency)
        if transmission.silent or self.server.closing.is_set():
            self.close_connection = True
        elif transmission.pieces is None:
            self._send_body(transmission)
        else:
            self._send_pieces(transmission, transmission.pieces)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - `http.server` looks for these names.

    def _request(self) -> tuple[ScriptedRequest, str | None]:
        """The request, and what is wrong with it if something is."""
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        body: object = {}
        with suppress(ValueError):
            body = json.loads(content or b"{}")
            if isinstance(body, dict):
                return ScriptedRequest(self.path, self.command, _lower(dict(self.headers)), body), None
        problem = "We could not parse the JSON body of your request."
        return ScriptedRequest(self.path, self.command, _lower(dict(self.headers)), {}), problem

    def _send_body(self, transmission: _Transmission) -> None:
        cut = transmission.cut_after is not None
        body = transmission.body[: len(transmission.body) // 2] if cut else transmission.body
        self.wfile.write(self._head(transmission, {}) + body)
        self.close_connection = self.close_connection or cut

    def _send_pieces(self, transmission: _Transmission, pieces: tuple[Piece, ...]) -> None:
        chunks = 0
        self.wfile.write(self._head(transmission, {"transfer-encoding": "chunked"}))
        for piece in pieces:
            if piece.is_chunk and chunks == transmission.cut_after:
                break
            if piece.is_chunk and chunks:
                self._wait(transmission.pause)
            chunks += piece.is_chunk
            self._send_chunk(piece.content)
        # Without the empty chunk that ends a stream, the client can tell that it was cut off.
        if transmission.cut_after is None and not self.server.closing.is_set():
            self._send_chunk(b"")
        else:
            self.close_connection = True

    def _send_chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))

    def _head(self, transmission: _Transmission, framing: Mapping[str, str]) -> bytes:
        lines = [f"HTTP/1.1 {transmission.status} {phrase(transmission.status)}"]
        lines += [f"{name}: {value}" for name, value in {**transmission.headers, **framing}.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _wait(self, seconds: float) -> None:
        """Sleep, but no longer than the server lives."""
        if seconds:
            self.server.closing.wait(seconds)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature is given.
        """Nothing: a test reads `requests` instead."""


@pytest.fixture
def scripted_model() -> Iterator[Callable[..., ScriptedModel]]:
    """A function that starts a `ScriptedModel` with its arguments; every one is closed when the test ends.

    def test_answer(scripted_model):
        model = scripted_model(Says("It has shipped."))
    """
    with ExitStack() as stack:

        def start(*script: Reply | Callable[[ScriptedRequest], Reply], **options: Any) -> ScriptedModel:
            return stack.enter_context(ScriptedModel(*script, **options))

        yield start
