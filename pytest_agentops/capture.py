"""The open recording: it observes the clients' transports, keeps the exchanges and freezes them to a trace.

httpx and httpx2 are watched where they are installed, and only while a recording is open. A recording owns the
requests of the task and the threads that it started; nothing is watched for anybody else.
"""

from __future__ import annotations

import concurrent.futures
import functools
import importlib
import itertools
import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, Protocol

from pytest_agentops import frameworks, prompt, spans, stubs, transports
from pytest_agentops.assembly import trace_of
from pytest_agentops.errors import AgentopsError, StrayRequest
from pytest_agentops.exchange import (
    Exchange,
    Failure,
    Request,
    Response,
    Timing,
    without_content_encoding,
)
from pytest_agentops.frames import Frame, frames_of
from pytest_agentops.guard import Guarded, Hosts, refuse
from pytest_agentops.redaction import Redactor
from pytest_agentops.spans import Brought, Diary, OpenSpan, Told, timed_as
from pytest_agentops.trace import (
    Finding,
    ModelCall,
    Reading,
    Render,
    ResponseText,
    Source,
    Span,
    ToolCall,
    Trace,
    Trajectory,
)
from pytest_agentops.transports import Pace, Talk, Ticket

_current: ContextVar[Recording | None] = ContextVar("agentops_recording", default=None)
_parts: ContextVar[tuple[int, ...]] = ContextVar("agentops_parts", default=())
_judging: ContextVar[bool] = ContextVar("agentops_judging", default=False)


class Player(Protocol):
    """What may answer instead of the network."""

    @property
    def strict(self) -> bool:
        """Whether nothing may go live; where it may, this run's own order counts and not the recorded one."""

    @property
    def recorded(self) -> datetime | None:
        """When its exchanges happened; None when that is not known or there are none."""

    @property
    def spans(self) -> Sequence[Span]:
        """What was told of the run that was recorded; a replay takes its times from there."""

    def brought(self) -> Brought:
        """What was recorded in the course of exchanges that were played, and was not asked for itself."""

    def play(self, request: Request) -> Exchange | None:
        """The recorded exchange that answers this request, spelled as it was recorded; None where it may go live.

        Raises:
            CassetteMiss: there is no answer, and nothing may go live.
        """

    def talk(self, exchange: Exchange) -> Talk:
        """A connection was opened that replays this WebSocket."""

    def hear(self, talk: Talk, said: Frame) -> None:
        """The client said this on a replayed WebSocket.

        Raises:
            CassetteMiss: it is something else than it had said, or more.
        """

    def ran_out(self, exchange: Exchange) -> Exception:
        """What to raise where a reader wants more of a stream than the one who was recorded had read."""


class Notes(Protocol):
    """Where what goes live is written down before the program goes on."""

    def note(self, note: Exchange | Render) -> None:
        """Write this down."""

    def rewrite(self, notes: Sequence[Exchange | Render]) -> None:
        """Write these down instead of all before: a secret was learned that an earlier one holds."""


class Recording:
    """The exchanges of one test, as they happen."""

    def __init__(
        self,
        name: str,
        tape: Player | None = None,
        *,
        redactor: Redactor | None = None,
        notes: Notes | None = None,
        pace: Pace = "none",
    ) -> None:
        self.name = name
        """Whose recording it is: a test's id."""
        self.pace = pace
        """Whether replayed answers take the time they took."""
        self.paused = False
        """A paused recording owns only what its own tasks and threads do."""
        self.limit: Callable[[Recording], None] | None = None
        """Asked before each request of the run that would go live; it raises an `AgentopsError` to stop it."""
        self.revision = 0
        """How often something that was known already has come to be known better."""
        self.overrun: AgentopsError | None = None
        """Why a request was stopped; no other goes live after it."""
        self.guarded: Guarded | None = None
        """What nothing may leave meanwhile; None where it may go live."""
        self.hosts = Hosts()
        """What may be reached even through clients that cannot be recorded, where it is named."""
        self.recorded = (tape.recorded if tape is not None else None) or datetime.now(UTC).replace(microsecond=0)
        """When the exchanges happened; on replay, when they were recorded."""
        self.closed = False
        self.findings: list[Finding] = []
        """What was seen that is no exchange."""
        self._tape = tape
        self._notes = notes
        self._redactor = redactor or Redactor()
        self._process = os.getpid()
        self._children: tuple[int, int] | None = None
        self._heard = b""
        self._opened = time.perf_counter()
        self._replayed_until = 0.0
        self._numbers = itertools.count(1)
        self._exchanges: dict[int, Exchange] = {}
        self._parts_of: dict[int, tuple[int, ...]] = {}
        self._renders: list[prompt.Rendered] = []
        self._live: set[int] = set()
        self._judged: set[int] = set()
        self._diary = Diary()
        self._unfinished: dict[int, Callable[[], None]] = {}
        self._talks: list[Talk] = []
        self._growing: dict[int, Exchange] = {}
        """What has been written down of WebSockets that are still open."""
        self._learned = self._redactor.learned
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
        brought = self._brought()
        told = self.told(part, brought)
        exchanges = [
            replace(exchange, span=told.within.get(exchange.number))
            for exchange in (*self.exchanges, *brought.exchanges)
            if part is None or part in self._parts_of.get(exchange.number, ())
        ]
        trace = trace_of(exchanges, source=self.source, prompts=self.renders, spans=told.spans, recorded=self.recorded)
        return replace(trace, findings=(*trace.findings, *self.findings)) if self.findings else trace

    def _brought(self) -> Brought:
        """What other agents had done for an answer that was replayed, and do not do again."""
        return self._tape.brought() if self._tape is not None and self._tape.strict else Brought()

    def told(self, part: int | None = None, brought: Brought | None = None) -> Told:
        """What decorators and frameworks have told so far; on replay with the times that were recorded."""
        told = self._diary.told(self._redactor.value, part, brought)
        if told.spans and self._tape is not None and self.source == "replayed":
            return replace(told, spans=timed_as(told.spans, self._tape.spans))
        return told

    @property
    def changes(self) -> int:
        """A number that grows whenever something happens that a trace tells."""
        return len(self._exchanges) + len(self._renders) + len(self.findings) + len(self._diary) + self.revision

    def begin(self, span: OpenSpan) -> None:
        """A stretch of the run begins here and now, inside the innermost one that is under way."""
        if self.closed or _judging.get() or os.getpid() != self._process:
            return
        span.parent = self._diary.innermost((span.parent, span_here(), *frameworks.here()))
        span.started = self.now()
        self._diary.begin(span, parts_here())

    def end(self, span: OpenSpan) -> None:
        """It ends."""
        span.ended = self.now()
        self._diary.end(span)

    def _here(self) -> OpenSpan | None:
        return self._diary.innermost((span_here(), *frameworks.here()))

    def tally(self) -> Trace:
        """The trace without what was said to the models, for who wants only its figures: that is read much faster."""
        exchanges = (*self.exchanges, *self._brought().exchanges)
        if any(exchange.failed for exchange in exchanges):  # Attempts are told by what was said.
            return self.freeze()
        brief = [replace(each, request=_without_conversation(each.request)) for each in exchanges]
        return trace_of(brief, source=self.source, recorded=self.recorded)

    def note(self, rendered: prompt.Rendered) -> None:
        """Remember that a prompt was rendered."""
        inputs = self._redactor.value(rendered.render.inputs)
        if inputs != rendered.render.inputs and isinstance(inputs, Mapping):
            rendered = replace(rendered, render=replace(rendered.render, inputs=inputs))
        with self._lock:
            self._renders.append(rendered)
            if self._notes is not None:
                self._notes.note(rendered.render)

    def send(self, request: Request) -> Exchange | Ticket:
        """The recorded exchange that answers this request, or a ticket with which it goes live.

        Raises:
            CassetteMiss: there is no answer, and nothing may go live.
            StrayRequest: a forked child of the test asks; its exchanges cannot come back to it.
        """
        if os.getpid() != self._process:
            raise self._stray(request)
        request = self._redactor.request(request)
        # An empty tape is false, since a vcrpy cassette has a length, and must be asked all the same.
        played = self._tape.play(request) if self._tape is not None else None
        judge = _judging.get()
        prompts = () if judge else self._carried(request)
        with self._lock:
            if played is not None and self._tape is not None:
                number = played.number if self._tape.strict else next(self._numbers)
                played = replace(played, number=number, prompts=prompts, judge=judge)
                if played.timing is not None:
                    self._replayed_until = max(self._replayed_until, played.timing.started + played.timing.seconds)
                self._diary.sent(number, None if judge else self._here())
                self._keep(played, parts_here())
                return played
            if not judge:
                self._within_limit()
            number = next(self._numbers)
            if not self._live:
                self._goes_live()
            self._live.add(number)
            self._diary.sent(number, None if judge else self._here())
            if judge:
                self._judged.add(number)
        return Ticket(number, request, self.now(), prompts, parts_here())

    def _within_limit(self) -> None:
        if self.limit is not None and self.overrun is None:
            try:
                self.limit(self)
            except AgentopsError as error:
                self.overrun = error
        if self.overrun is not None:
            raise self.overrun

    @property
    def in_flight(self) -> int:
        """How many requests went live and are not finished."""
        return len(self._live - set(self._exchanges))

    def hold(self, ticket: Ticket, finish: Callable[[], None]) -> None:
        """A response is being read; `finish` keeps what is there if the recording ends before the reader does."""
        with self._lock:
            self._unfinished[ticket.number] = finish

    def receive(
        self,
        ticket: Ticket,
        response: Response | None,
        failure: Failure | None = None,
        first: float | None = None,
        events: tuple[float, ...] = (),
    ) -> None:
        """Keep what became of a request that went live."""
        now = self.now()
        if response is not None:
            response = self._redactor.response(without_content_encoding(response))
        if failure is not None:
            failure = replace(failure, message=self._redactor.text(failure.message))
        timing = Timing(
            started=round(ticket.started, 4),
            seconds=round(now - ticket.started, 4),
            first=None if first is None else round(first, 4),
            events=events,
        )
        exchange = Exchange(
            ticket.number, ticket.request, response, failure, timing, ticket.prompts, ticket.number in self._judged
        )
        if exchange.is_websocket and not exchange.judge:
            exchange = self._told(exchange, frames_of(exchange.response.body if exchange.response else b""))
        with self._lock:
            self._unfinished.pop(ticket.number, None)
            self._growing.pop(ticket.number, None)
            self._keep(exchange, ticket.parts)
            self._write_down(exchange)

    def _write_down(self, exchange: Exchange) -> None:
        if self._notes is None or self.closed:
            return
        if self._forget():
            noted = {number: each for number, each in self._exchanges.items() if number in self._live} | self._growing
            self._notes.rewrite([*self.renders, *(noted[number] for number in sorted(noted))])
        else:
            self._notes.note(exchange)

    def so_far(self, ticket: Ticket, response: Response) -> None:
        """Write down what has been said on a WebSocket that stays open, in case this process does not live on."""
        timing = Timing(round(ticket.started, 4), round(self.now() - ticket.started, 4))
        exchange = Exchange(ticket.number, ticket.request, self._redactor.response(response), timing=timing)
        with self._lock:
            self._growing[ticket.number] = exchange
            self._write_down(exchange)

    def talk(self, exchange: Exchange) -> Talk:
        """A connection was opened that replays this WebSocket."""
        assert self._tape is not None
        talk = self._tape.talk(exchange)
        with self._lock:
            self._talks.append(talk)
        return talk

    def hear(self, talk: Talk, said: Frame) -> None:
        """The client said this on a replayed WebSocket.

        Raises:
            CassetteMiss: it is something else than it had said, or more.
        """
        assert self._tape is not None
        said = self._redactor.frame(said)
        with self._lock:
            before = talk.exchange
            self._tape.hear(talk, said)
            if talk.exchange is before and not self._renders:
                return
            if before.number not in {each.exchange.number for each in self._talks}:
                self._exchanges.pop(before.number, None)
            exchange = talk.exchange
            self._keep(exchange if exchange.judge else self._told(exchange, talk.said), parts_here())
            self.revision += 1

    def meet(self, client: str, target: str, instead: str) -> None:
        """A call is made through a client that can be neither recorded nor replayed; `instead` says what could be.

        Raises:
            LiveCallRefused: nothing may go live, and `allow_hosts` does not name where it goes.
        """
        if self.hosts.names(target):
            return
        if self.guarded is not None:
            refuse(self.guarded, client, target, instead)
        message = f"{client} called {target}, which was seen and not recorded; a replay refuses it: {instead}"
        finding = Finding("unrecorded", message)
        with self._lock:
            if finding not in self.findings:
                self.findings.append(finding)

    def _told(self, exchange: Exchange, frames: Iterable[Frame]) -> Exchange:
        """The WebSocket with the prompts that its client's frames carry."""
        said = "\0".join(text for frame in frames if frame.sender == "client" for text in _strings(frame.json))
        carried = {*exchange.prompts, *self._carried_by(said)}
        return replace(exchange, prompts=tuple(sorted(carried)))

    def ran_out(self, exchange: Exchange) -> Exception:
        """What to raise where a reader wants more of a stream than the one who was recorded had read."""
        assert self._tape is not None
        return self._tape.ran_out(exchange)

    def withdraw_judgement(self) -> None:
        """Take back the last live answer of a judge: it is no verdict, and not to be kept."""
        with self._lock:
            live = [number for number in self._live & self._judged if number in self._exchanges]
            if live:
                del self._exchanges[max(live)], self._parts_of[max(live)]

    def forget(self) -> None:
        """Take out of what is kept the secrets that were learned after it was."""
        with self._lock:
            self._forget()

    def _forget(self) -> bool:
        if self._redactor.learned == self._learned:
            return False
        self._learned = self._redactor.learned
        before = self._exchanges, self._growing
        self._exchanges, self._growing = (
            {number: self._redactor.exchange(exchange) for number, exchange in exchanges.items()}
            for exchanges in before
        )
        return before != (self._exchanges, self._growing)

    def _goes_live(self) -> None:
        """From here on, times go on after what was replayed, and prices are today's."""
        if self._replayed_until:
            self._opened = time.perf_counter() - self._replayed_until
        self.recorded = datetime.now(UTC).replace(microsecond=0)

    def close(self) -> None:
        """End the recording; responses still being read are kept as far as they came."""
        for finish in tuple(self._unfinished.values()):
            finish()
        self.closed = True
        if self._children is not None and self._process == os.getpid():
            self._heard = "\n".join(self.strays).encode()
            for end in self._children:
                os.close(end)
            self._children = None

    def _keep(self, exchange: Exchange, parts: tuple[int, ...]) -> None:
        if not self.closed:
            self._exchanges[exchange.number] = exchange
            self._parts_of[exchange.number] = parts

    def now(self) -> float:
        """Seconds since the recording began."""
        return time.perf_counter() - self._opened

    # What a forked child asks is lost with it, unless it says so to its parent before.

    def before_fork(self) -> None:
        """A child may come to be: let it be able to speak."""
        if self._children is None and os.getpid() == self._process:
            self._children = os.pipe()
            os.set_blocking(self._children[0], False)

    @property
    def strays(self) -> tuple[str, ...]:
        """The requests that forked children of the test made, and were refused."""
        if self._children is not None:
            with suppress(BlockingIOError):
                self._heard += os.read(self._children[0], 65536)
        return tuple(dict.fromkeys(self._heard.decode(errors="replace").splitlines()))

    def _stray(self, request: Request) -> StrayRequest:
        where = f"{request.method} {request.location.scheme}://{request.location.hostname}{request.location.path}"
        line = f"the child process {os.getpid()} of {self.name} made a request: {where}"
        if self._children is not None:
            os.write(self._children[1], line.encode(errors="replace")[:4000] + b"\n")
        return StrayRequest(
            f"{line}\n  what a child process asks can be neither recorded nor replayed\n"
            "  let the test's own process make the request, or a thread of it"
        )

    def _carried(self, request: Request) -> tuple[int, ...]:
        if not self._renders:
            return ()
        return self._carried_by("\0".join(_strings(request.json)))

    def _carried_by(self, sent: str) -> tuple[int, ...]:
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
        count = self._recording.changes
        if self._frozen is None or self._frozen[0] != count:
            self._frozen = (count, self._recording.freeze(self._part))
        return self._frozen[1]

    @property
    def trajectory(self) -> Trajectory:
        """The tool calls so far, as every expectation reads them; it stays as it is when more happens."""
        return self.freeze().trajectory

    @property
    def response(self) -> ResponseText:
        """The final answer so far: the text of the last model call that asked for no tool."""
        return self.freeze().response

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
    def program_calls(self) -> tuple[ToolCall, ...]:
        """The tools so far that the program ran without a model having asked for them."""
        return self.freeze().program_calls

    @property
    def spans(self) -> tuple[Span, ...]:
        """What decorators, frameworks and OpenTelemetry have told so far."""
        return self.freeze().spans

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
        self._troubles: list[Finding] = []
        self._threads: weakref.WeakKeyDictionary[
            threading.Thread, tuple[Recording, tuple[int, ...], OpenSpan | None]
        ] = weakref.WeakKeyDictionary()

    def enter(self, recording: Recording) -> None:
        with self._lock:
            if not self.open:
                self._patch()
            self.open.append(recording)
            recording.findings += self._troubles

    def _trouble(self, message: str) -> None:
        self._troubles.append(finding := Finding("framework", message))
        for recording in self.open:
            recording.findings.append(finding)

    def leave(self, recording: Recording) -> None:
        with self._lock:
            self.open.remove(recording)
            if not self.open:
                self._patches.close()

    def started_by(self, thread: threading.Thread) -> Recording | None:
        return self._threads[thread][0] if thread in self._threads else None

    def parts(self, thread: threading.Thread) -> tuple[int, ...]:
        return self._threads[thread][1] if thread in self._threads else ()

    def span(self, thread: threading.Thread) -> OpenSpan | None:
        return self._threads[thread][2] if thread in self._threads else None

    def start(self, thread: threading.Thread) -> None:
        if recording := owner(stray=False):
            self._threads[thread] = recording, parts_here(), span_here()

    def _patch(self) -> None:
        prompt.observers.append(_note)
        self._patches.callback(prompt.observers.remove, _note)
        spans.keeper = functools.partial(owner, stray=False)
        self._patches.callback(setattr, spans, "keeper", None)
        self._troubles.clear()
        self._patches.enter_context(frameworks.watched(spans.keeper, self._trouble))
        for library in filter(None, map(_imported, ("httpx", "httpx2"))):
            for transport, method, watched in transports.replacements(library, owner):
                self._replace(transport, method, watched)
        self._patches.callback(transports.back_off.restore)
        children = {"multiprocessing.process": ("BaseProcess", "start", _start_child)}
        self._patches.enter_context(stubs.patched(owner, children))
        _tell_of_forks()
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
    """Let this recording see the requests of this task, and of the tasks and threads started from it, and end it."""
    with _here(recording):
        try:
            yield recording
        finally:
            recording.close()


@contextmanager
def foreground(recording: Recording) -> Iterator[None]:
    """Let what happens here belong to this recording, such as a shared fixture's; the others pause meanwhile."""
    others = [each for each in _watch.open if not each.paused]
    for each in others:
        each.paused = True
    try:
        with _here(recording):
            yield
    finally:
        for each in others:
            each.paused = False


@contextmanager
def _here(recording: Recording) -> Iterator[None]:
    _watch.enter(recording)
    token = _current.set(recording)
    try:
        yield
    finally:
        # A recording may be left in another context than it was entered in, whose value is not ours to reset.
        if _current.get() is recording:
            _current.set(token.old_value if token.old_value is not token.MISSING else None)
        _watch.leave(recording)


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


def guarded_here() -> Guarded | None:
    """What nothing may leave that happens here and now; None where it may, or where it is nobody's."""
    recording = _current.get()
    if recording is None or recording.closed:
        # A thread whose test has ended is held to what that test allowed.
        recording = _watch.started_by(threading.current_thread()) or owner(stray=False)
    if recording is None and _watch.open and all(each.guarded is not None for each in _watch.open):
        recording = _watch.open[-1]  # Whosever it is, it may not.
    return recording.guarded if recording is not None else everything


everything: Guarded | None = None
"""What nothing may leave even where no recording is open; set for a whole session by the setting `scope`."""


def parts_here() -> tuple[int, ...]:
    """The parts of a recording that what happens here and now belongs to; a plain thread inherits its starter's."""
    return _parts.get() or _watch.parts(threading.current_thread())


def span_here() -> OpenSpan | None:
    """The innermost of our own spans that this runs in; a plain thread inherits its starter's."""
    return spans.current.get() or _watch.span(threading.current_thread())


@contextmanager
def judging() -> Iterator[None]:
    """What is asked and rendered inside the block judges the run: it is recorded with it and is no part of it."""
    token = _judging.set(True)
    try:
        yield
    finally:
        _judging.reset(token)


def _note(rendered: prompt.Rendered) -> None:
    if not _judging.get() and (recording := owner(stray=False)):
        recording.note(rendered)


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _without_conversation(request: Request) -> Request:
    asked = request.json
    if not isinstance(asked, Mapping):
        return request
    return replace(request, body=json.dumps({"model": asked.get("model"), "stream": asked.get("stream")}).encode())


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


# --- children --------------------------------------------------------------------------------------------------------


@functools.cache
def _tell_of_forks() -> None:
    os.register_at_fork(before=_before_fork)  # It cannot be taken back; with no open recording it does nothing.


def _before_fork() -> None:
    for recording in _watch.open:
        recording.before_fork()


@functools.cache
def _start_child(original: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(original)
    def start(self: Any) -> None:
        if recording := owner(stray=False):
            message = f"the child process {self.name} was started; what it asks is not recorded"
            recording.findings.append(Finding("child_process", message))
        original(self)

    return start


# --- threads ---------------------------------------------------------------------------------------------------------


@functools.cache
def _start_thread(original: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @functools.wraps(original)
    def start(self: threading.Thread) -> None:
        _watch.start(self)
        original(self)

    return start


@functools.cache
def _submit(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def submit(self: Any, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        recording = owner(stray=False)
        if recording is not None:
            work = functools.partial(_owned, recording, parts_here(), span_here(), work)
        return original(self, work, *args, **kwargs)

    return submit


def _owned(
    recording: Recording,
    parts: tuple[int, ...],
    span: OpenSpan | None,
    work: Callable[..., Any],
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Work in a pool's thread belongs to who submitted it, whoever started the thread."""
    before, parts_before, span_before = _current.set(recording), _parts.set(parts), spans.current.set(span)
    try:
        return work(*args, **kwargs)
    finally:
        _current.reset(before)
        _parts.reset(parts_before)
        spans.current.reset(span_before)
