"""MCP over the standard streams of a child process, as the MCP SDK's client starts one.

What is stood in for is the process: on replay none is started. Each message becomes an exchange as the streamable HTTP
transport would have made it: a request is posted, and answered with the notifications that came meanwhile and the
result; the start of the server is an exchange of its own, whose answer holds what it says unasked.
"""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from pytest_agentops.exchange import Exchange, Request, parse_json
from pytest_agentops.stubs import Flight, Stubs, Wrap, raised
from pytest_agentops.transports import Listener, Owner, Reader

_JSON = (("content-type", "application/json"),)
_EVENTS = (("content-type", "text/event-stream"),)


def stubs(owner: Owner) -> Stubs:
    """Let servers that are started ask the recordings that `owner` names."""
    return _Servers(owner)


class _Servers:
    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def seams(self, module: str) -> Iterator[tuple[str, str, Wrap]]:  # noqa: ARG002 - there is but one.
        yield "", "_create_platform_compatible_process", functools.partial(_started, self._owner)

    def let_go(self) -> None:
        """Nothing is left of it once the function is put back."""


def _started(owner: Owner, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def start(command: str, args: Sequence[str], *rest: Any, **options: Any) -> Any:
        recording = owner()
        if recording is None:
            return await original(command, args, *rest, **options)
        url = _address(command, args)
        sent = recording.send(Request("GET", url))
        if isinstance(sent, Exchange):
            if sent.response is None:
                raise raised(sent.failure, ("builtins", "anyio"))
            return _Replayed(recording, url, sent)
        flight = Flight(recording, sent)
        try:
            process = await original(command, args, *rest, **options)
        except BaseException as error:
            flight.failed(error)
            raise
        _Overheard(recording, url, process, flight.answered(200, "OK", _EVENTS))
        return process

    return start


def _address(command: str, args: Sequence[str]) -> str:
    """The server by what is started, without where that lies on this machine."""
    name = "python" if command == sys.executable else PurePath(command).name
    words = [PurePath(word).name if PurePath(word).is_absolute() else word for word in args]
    return f"stdio://{quote(name.lower(), safe='')}/{'/'.join(quote(word, safe='') for word in words)}"


def _posted(url: str, message: Mapping[str, Any]) -> Request:
    return Request("POST", url, _JSON, json.dumps(message, ensure_ascii=False).encode())


class _Lines:
    """Bytes as they come, in lines of JSON."""

    def __init__(self) -> None:
        self._begun = b""

    def read(self, data: bytes) -> Iterator[Mapping[str, Any]]:
        *lines, self._begun = (self._begun + data).split(b"\n")
        for value in map(parse_json, lines):
            if isinstance(value, Mapping):
                yield value


def _event(message: Mapping[str, Any]) -> bytes:
    return b"event: message\ndata: " + json.dumps(message, ensure_ascii=False).encode() + b"\n\n"


class _Overheard:
    """A live server: what passes through its two streams is kept."""

    def __init__(self, recording: Listener, url: str, process: Any, unasked: Reader | None) -> None:
        self._recording, self._url, self._unasked = recording, url, unasked
        self._waiting: dict[Any, Reader] = {}
        self._said, self._heard = _Lines(), _Lines()
        send, receive, close = process.stdin.send, process.stdout.receive, process.stdout.aclose

        async def heard_send(data: bytes) -> None:
            for message in self._said.read(data):
                self._ask(message)
            await send(data)

        async def heard_receive(max_bytes: int = 65536) -> bytes:
            try:
                data: bytes = await receive(max_bytes)
            except BaseException as error:
                if type(error).__name__ in ("EndOfStream", "BrokenResourceError"):
                    self._end(answered=False)
                raise
            for message in self._heard.read(data):
                self._answer(message)
            return data

        async def heard_close() -> None:
            self._end()
            await close()

        process.stdin.send, process.stdout.receive, process.stdout.aclose = heard_send, heard_receive, heard_close

    def _ask(self, message: Mapping[str, Any]) -> None:
        sent = self._recording.send(_posted(self._url, message))
        if isinstance(sent, Exchange):
            return
        flight = Flight(self._recording, sent)
        if "method" in message and message.get("id") is not None:
            if (reader := flight.answered(200, "OK", _EVENTS)) is not None:
                self._waiting[message["id"]] = reader
        elif (reader := flight.answered(202, "Accepted", ())) is not None:
            reader.finish(complete=True)

    def _answer(self, message: Mapping[str, Any]) -> None:
        if "method" not in message and (reader := self._waiting.pop(message.get("id"), None)) is not None:
            reader.add(_event(message))
            reader.finish(complete=True)
        elif (reader := next(iter(self._waiting.values()), self._unasked)) is not None:
            reader.add(_event(message))

    def _end(self, *, answered: bool = True) -> None:
        """Nothing more comes; not `answered` where the server ended, and left waiting who had asked it something."""
        for reader in self._waiting.values():
            reader.finish(complete=answered)
        if self._unasked is not None:
            self._unasked.finish(complete=True)
        self._waiting, self._unasked = {}, None


class _Replayed:
    """A server that is not there: a process of which only the streams and the end are real."""

    pid = 0

    def __init__(self, recording: Listener, url: str, started: Exchange) -> None:
        import anyio

        self.returncode: int | None = None
        self._recording, self._url, self._heard = recording, url, _Lines()
        self._write, self._read = anyio.create_memory_object_stream[bytes](math.inf)
        self._held: dict[Any, tuple[Iterator[Mapping[str, Any]], bool]] = {}
        self.stdin, self.stdout = _Stdin(self), _Stdout(self._read)
        self._say(started)

    def hear(self, data: bytes) -> None:
        from anyio import BrokenResourceError

        from pytest_agentops.errors import CassetteError

        if self.returncode is not None:
            raise BrokenResourceError
        for message in self._heard.read(data):
            try:
                sent = self._recording.send(_posted(self._url, message))
            except CassetteError as error:
                # The recording remembers the miss; the client is told in its own words, instead of waiting for ever.
                if message.get("id") is not None:
                    refused = {"code": -32000, "message": str(error)}
                    self._put({"jsonrpc": "2.0", "id": message["id"], "error": refused})
            else:
                assert isinstance(sent, Exchange)
                self._say(sent)
            if "method" not in message and (held := self._held.pop(message.get("id"), None)) is not None:
                self._pass_on(*held)

    def _say(self, exchange: Exchange) -> None:
        from pytest_agentops.rpc import messages

        self._pass_on(messages(exchange), exchange.response is None or exchange.response.complete)

    def _pass_on(self, waiting: Iterator[Mapping[str, Any]], complete: bool) -> None:
        """Say what waits, up to a question to the client: the rest comes once that is answered, as it did live."""
        for message in waiting:
            self._put(message)
            if "method" in message and message.get("id") is not None:
                self._held[message["id"]] = waiting, complete
                return
        if not complete:
            self.end()  # So did the server, in the middle of its answer.

    def _put(self, message: Mapping[str, Any]) -> None:
        self._write.send_nowait(json.dumps(message, ensure_ascii=False).encode() + b"\n")

    def end(self) -> None:
        self.returncode = 0
        self._write.close()

    def terminate(self) -> None:
        self.end()

    kill = terminate

    async def wait(self) -> int:
        self.end()
        return 0


class _Stdin:
    def __init__(self, process: _Replayed) -> None:
        self._process = process

    async def send(self, data: bytes) -> None:
        self._process.hear(data)

    async def aclose(self) -> None:
        self._process.end()


class _Stdout:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def receive(self, _max_bytes: int = 65536) -> bytes:
        data: bytes = await self._stream.receive()
        return data

    async def aclose(self) -> None:
        self._stream.close()
