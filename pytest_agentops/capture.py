"""The open recording: it observes the clients' transports, keeps the exchanges and freezes them to a trace.

httpx and httpx2 are watched where they are installed, and only while a recording is open. A recording owns the
requests of the task and the threads that it started; nothing is watched for anybody else.
"""

from __future__ import annotations

import concurrent.futures
import functools
import importlib
import itertools
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

from pytest_agentops import prompt
from pytest_agentops.assembly import trace_of
from pytest_agentops.errors import StrayRequest
from pytest_agentops.exchange import (
    Exchange,
    Failure,
    Request,
    Response,
    Timing,
    headers_from,
    without_content_encoding,
)
from pytest_agentops.redaction import Redactor
from pytest_agentops.trace import Finding, ModelCall, Reading, Render, Source, Trace

_current: ContextVar[Recording | None] = ContextVar("agentops_recording", default=None)
_parts: ContextVar[tuple[int, ...]] = ContextVar("agentops_parts", default=())


class Tape(Protocol):
    """What may answer instead of the network."""

    @property
    def ends(self) -> float:
        """Seconds that the exchanges on it take; what goes live is timed from there."""

    @property
    def strict(self) -> bool:
        """Whether nothing may go live; where it may, this run's own order counts and not the recorded one."""

    @property
    def recorded(self) -> datetime | None:
        """When its exchanges happened; None when that is not known or there are none."""

    def play(self, request: Request) -> Exchange | None:
        """The recorded exchange that answers this request, or None where it may go live.

        Raises:
            CassetteMiss: there is no answer, and nothing may go live.
        """


@dataclass(frozen=True)
class Ticket:
    """A request that is on its way."""

    number: int
    request: Request
    """Redacted."""
    started: float
    prompts: tuple[int, ...]
    parts: tuple[int, ...]


class Recording:
    """The exchanges of one test, as they happen."""

    def __init__(self, name: str, tape: Tape | None = None) -> None:
        self.name = name
        """Whose recording it is: a test's id."""
        self.paused = False
        """A paused recording owns only what its own tasks and threads do."""
        self.recorded = (tape.recorded if tape is not None else None) or datetime.now(UTC).replace(microsecond=0)
        """When the exchanges happened; on replay, when they were recorded."""
        self.closed = False
        self.findings: list[Finding] = []
        """What was seen that is no exchange."""
        self._tape = tape
        self._redactor = Redactor()
        self._opened = time.perf_counter() - (tape.ends if tape is not None else 0.0)
        self._numbers = itertools.count(1)
        self._exchanges: dict[int, Exchange] = {}
        self._parts_of: dict[int, tuple[int, ...]] = {}
        self._renders: list[prompt.Rendered] = []
        self._live: set[int] = set()
        self._unfinished: dict[int, Callable[[], None]] = {}
        self._lock = threading.RLock()

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The finished exchanges, in the order their requests were issued."""
        with self._lock:
            return tuple(self._exchanges[number] for number in sorted(self._exchanges))

    @property
    def renders(self) -> tuple[Render, ...]:
        """Every prompt rendered so far."""
        return tuple(rendered.render for rendered in self._renders)

    @property
    def source(self) -> Source:
        """`replayed` when every exchange was, else `live`."""
        return "live" if self._live or not self._exchanges else "replayed"

    def freeze(self, part: int | None = None) -> Trace:
        """The trace of what has happened so far, or of one part of it."""
        exchanges = [exchange for exchange in self.exchanges if part is None or part in self._parts_of[exchange.number]]
        trace = trace_of(exchanges, source=self.source, prompts=self.renders, recorded=self.recorded)
        return replace(trace, findings=(*trace.findings, *self.findings)) if self.findings else trace

    def note(self, rendered: prompt.Rendered) -> None:
        """Remember that a prompt was rendered."""
        with self._lock:
            self._renders.append(rendered)

    def send(self, request: Request) -> Exchange | Ticket:
        """The recorded exchange that answers this request, or a ticket with which it goes live.

        Raises:
            CassetteMiss: there is no answer, and nothing may go live.
        """
        request = self._redactor.request(request)
        # An empty tape is false, since a vcrpy cassette has a length, and must be asked all the same.
        played = self._tape.play(request) if self._tape is not None else None
        prompts = self._carried(request)
        with self._lock:
            if played is not None and self._tape is not None:
                # The request is this run's own: it differs from the recorded one in what the key leaves out.
                number = played.number if self._tape.strict else next(self._numbers)
                played = replace(played, number=number, request=request, prompts=prompts)
                self._keep(played, parts_here())
                return played
            number = next(self._numbers)
            self._live.add(number)
        return Ticket(number, request, self._now(), prompts, parts_here())

    def hold(self, ticket: Ticket, finish: Callable[[], None]) -> None:
        """A response is being read; `finish` keeps what is there if the recording ends before the reader does."""
        with self._lock:
            self._unfinished[ticket.number] = finish

    def receive(
        self, ticket: Ticket, response: Response | None, failure: Failure | None = None, first: float | None = None
    ) -> None:
        """Keep what became of a request that went live."""
        now = self._now()
        if response is not None:
            response = self._redactor.response(without_content_encoding(response))
        if failure is not None:
            failure = replace(failure, message=self._redactor.text(failure.message))
        timing = Timing(
            started=round(ticket.started, 4),
            seconds=round(now - ticket.started, 4),
            first=None if first is None else round(first, 4),
        )
        with self._lock:
            self._unfinished.pop(ticket.number, None)
            self._keep(Exchange(ticket.number, ticket.request, response, failure, timing, ticket.prompts), ticket.parts)

    def close(self) -> None:
        """End the recording; responses still being read are kept as far as they came."""
        for finish in tuple(self._unfinished.values()):
            finish()
        self.closed = True

    def _keep(self, exchange: Exchange, parts: tuple[int, ...]) -> None:
        if not self.closed:
            self._exchanges[exchange.number] = exchange
            self._parts_of[exchange.number] = parts

    def _now(self) -> float:
        return time.perf_counter() - self._opened

    def _carried(self, request: Request) -> tuple[int, ...]:
        if not self._renders:
            return ()
        sent = "\0".join(_strings(request.json))
        return tuple(
            index
            for index, rendered in enumerate(self._renders)
            if rendered.texts and all(text in sent for text in rendered.texts)
        )


class AgentTrace(Reading):
    """The recording of this test, read as a trace; each access sees what has happened so far."""

    def __init__(self, recording: Recording, part: int | None = None, *, name: str | None = None) -> None:
        self.name = name or recording.name
        """Whose trace this is: the test's id, or the name of the part."""
        self._recording = recording
        self._part = part
        self._frozen: tuple[int, Trace] | None = None

    def freeze(self) -> Trace:
        """The trace of what has happened so far, as a value that stays as it is."""
        count = len(self._recording.exchanges) + len(self._recording.renders) + len(self._recording.findings)
        if self._frozen is None or self._frozen[0] != count:
            self._frozen = (count, self._recording.freeze(self._part))
        return self._frozen[1]

    @contextmanager
    def part(self, name: str) -> Iterator[AgentTrace]:
        """The trace of one stretch of the test: what is sent inside the block, by its tasks and threads too.

        Example:
            ```python
            with agent_trace.part("first question") as part:
                agent.run("Where is order 42?")
            assert part.trajectory == ["lookup_order"]
            ```
        """
        number = next(_part_numbers)
        token = _parts.set((*parts_here(), number))
        try:
            yield AgentTrace(self._recording, number, name=name)
        finally:
            _parts.reset(token)

    @property
    def model_calls(self) -> tuple[ModelCall, ...]:
        """The model calls so far, in the order they were issued."""
        return self.freeze().model_calls

    @property
    def captured(self) -> bool:
        """Whether there is any evidence to judge."""
        return self.freeze().captured

    @property
    def prompts(self) -> tuple[Render, ...]:
        """Every prompt rendered so far, in order."""
        return self.freeze().prompts

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Something odd that nobody asserted on."""
        return self.freeze().findings

    @property
    def source(self) -> Source:
        """`replayed` when every exchange so far was, else `live`."""
        return self.freeze().source

    @property
    def duration(self) -> float:
        """Seconds from the first request to the last byte, as recorded, on replay too.

        Raises:
            UnknownDuration: the recording has no times.
        """
        return self.freeze().duration

    def to_json(self, *, indent: int | None = None) -> str:
        """The trace so far as JSON."""
        return self.freeze().to_json(indent=indent)

    def __repr__(self) -> str:
        return f"<AgentTrace {self.name}: {len(self.model_calls)} model calls, {self.trajectory!r}>"


_part_numbers = itertools.count(1)


class _Watch:
    """The patches, there from the first recording that opens to the last that closes."""

    def __init__(self) -> None:
        self.open: list[Recording] = []
        self._lock = threading.RLock()
        self._patches = ExitStack()
        self._threads: weakref.WeakKeyDictionary[threading.Thread, tuple[Recording, tuple[int, ...]]]
        self._threads = weakref.WeakKeyDictionary()

    def enter(self, recording: Recording) -> None:
        with self._lock:
            if not self.open:
                self._patch()
            self.open.append(recording)

    def leave(self, recording: Recording) -> None:
        with self._lock:
            self.open.remove(recording)
            if not self.open:
                self._patches.close()

    def started_by(self, thread: threading.Thread) -> Recording | None:
        return self._threads[thread][0] if thread in self._threads else None

    def parts(self, thread: threading.Thread) -> tuple[int, ...]:
        return self._threads[thread][1] if thread in self._threads else ()

    def start(self, thread: threading.Thread) -> None:
        if recording := owner(stray=False):
            self._threads[thread] = recording, parts_here()

    def _patch(self) -> None:
        prompt.observers.append(_note)
        self._patches.callback(prompt.observers.remove, _note)
        for library in filter(None, map(_imported, ("httpx", "httpx2"))):
            for name, method, wrapper in _TRANSPORTS:
                transport = getattr(library, name)
                self._replace(transport, method, wrapper(library, getattr(transport, method)))
        self._replace(threading.Thread, "start", _start_thread(threading.Thread.start))
        pool = concurrent.futures.ThreadPoolExecutor
        self._replace(pool, "submit", _submit(pool.submit))

    def _replace(self, holder: type, name: str, replacement: object) -> None:
        original = getattr(holder, name)
        setattr(holder, name, replacement)
        self._patches.callback(setattr, holder, name, original)


_watch = _Watch()


@contextmanager
def watching(recording: Recording) -> Iterator[Recording]:
    """Let this recording see the requests of this task, and of the tasks and threads started from it."""
    with in_background(recording):
        token = _current.set(recording)
        try:
            yield recording
        finally:
            # A recording may be closed in another context than it was opened in, whose value is not ours to reset.
            if _current.get() is recording:
                _current.set(token.old_value if token.old_value is not token.MISSING else None)


@contextmanager
def in_background(recording: Recording) -> Iterator[Recording]:
    """Keep this recording open without giving it this task: it sees what is done while it is in the foreground."""
    _watch.enter(recording)
    try:
        yield recording
    finally:
        recording.close()
        _watch.leave(recording)


@contextmanager
def foreground(recording: Recording) -> Iterator[None]:
    """Let what happens here belong to this open recording, such as a shared fixture's; the others pause meanwhile."""
    before = [(each, each.paused) for each in _watch.open]
    for each, _ in before:
        each.paused = each is not recording
    token = _current.set(recording)
    try:
        yield
    finally:
        _current.reset(token)
        for each, paused in before:
            each.paused = paused
        recording.paused = True


def owner(*, stray: bool = True) -> Recording | None:
    """The recording that what happens here and now belongs to; None when nobody asked to see it.

    Raises:
        StrayRequest: the thread was started by a test that has ended, unless `stray` is false: then it is no request
            that is asked about, and nothing is raised or found.
    """
    recording = _current.get()
    if recording is not None and not recording.closed:
        return recording
    started_by = _watch.started_by(threading.current_thread())
    if started_by is not None:
        if not started_by.closed:
            return started_by
        if stray:
            raise StrayRequest(
                f"{started_by.name} started the thread {threading.current_thread().name!r} and has ended; "
                "a request that this thread makes now belongs to no test\n"
                "  let the test wait for its threads, or start the thread in a fixture of the scope it lives in"
            )
        return None
    candidates = [candidate for candidate in _watch.open if not candidate.paused]
    if len(candidates) == 1:
        return candidates[0]
    for candidate in candidates if stray else ():
        candidate.findings.append(
            Finding("unknown_endpoint", "a request was made that could belong to several open recordings")
        )
    return None


def parts_here() -> tuple[int, ...]:
    """The parts of a recording that what happens here and now belongs to; a plain thread inherits its starter's."""
    return _parts.get() or _watch.parts(threading.current_thread())


def _note(rendered: prompt.Rendered) -> None:
    if recording := owner(stray=False):
        recording.note(rendered)


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


# --- threads ---------------------------------------------------------------------------------------------------------


def _start_thread(original: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @functools.wraps(original)
    def start(self: threading.Thread) -> None:
        _watch.start(self)
        original(self)

    return start


def _submit(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def submit(self: Any, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        recording = owner(stray=False)
        if recording is not None:
            work = functools.partial(_owned, recording, parts_here(), work)
        return original(self, work, *args, **kwargs)

    return submit


def _owned(recording: Recording, parts: tuple[int, ...], work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Work in a pool's thread belongs to who submitted it, whoever started the thread."""
    before, parts_before = _current.set(recording), _parts.set(parts)
    try:
        return work(*args, **kwargs)
    finally:
        _current.reset(before)
        _parts.reset(parts_before)


# --- httpx and httpx2 ------------------------------------------------------------------------------------------------


def _sync_transport(library: ModuleType, original: Callable[..., Any]) -> Callable[..., Any]:
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


def _async_transport(library: ModuleType, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def handle_async_request(self: Any, request: Any) -> Any:
        recording = owner()
        if recording is None:
            return await original(self, request)
        sent = recording.send(_request(request, await request.aread()))
        if isinstance(sent, Exchange):
            return _replayed(library, sent)
        try:
            response = await original(self, request)
        except Exception as error:
            recording.receive(sent, None, _failure(error))
            raise
        _keep_body(response, _Reader(recording, sent, response), library, _streams(library).AsyncKept)
        return response

    return handle_async_request


_TRANSPORTS = (
    ("HTTPTransport", "handle_request", _sync_transport),
    ("MockTransport", "handle_request", _sync_transport),
    ("WSGITransport", "handle_request", _sync_transport),
    ("AsyncHTTPTransport", "handle_async_request", _async_transport),
    ("MockTransport", "handle_async_request", _async_transport),
    ("ASGITransport", "handle_async_request", _async_transport),
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

    def __init__(self, recording: Recording, ticket: Ticket, response: Any) -> None:
        self._recording, self._ticket = recording, ticket
        self._status, self._reason = response.status_code, response.reason_phrase
        self._headers = headers_from(response.headers.multi_items())
        self._chunks: list[bytes] = []
        self._began = time.perf_counter()
        self._sent_after = recording._now() - ticket.started
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
