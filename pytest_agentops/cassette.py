"""Record and replay: the lookup, the modes, drafts, the miss, and what may not go live."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pytest_agentops import rpc
from pytest_agentops.capture import Recording, foreground, guarded_here, owner, watching
from pytest_agentops.credentials import PLACEHOLDER
from pytest_agentops.errors import (
    CassetteMiss,
    CassetteUnplayed,
    CassetteUnreadable,
    CassetteUsedUp,
    LiveCallRefused,
    NothingRecorded,
    StrayRequest,
)
from pytest_agentops.exchange import Exchange, Request
from pytest_agentops.frames import Frame, frames_of
from pytest_agentops.guard import Hosts, Refusal, protecting
from pytest_agentops.journal import Journal, ignored_by_git
from pytest_agentops.matching import Cause, Key, Renaming, causes, nearest, request_key, without
from pytest_agentops.redaction import Redactor, Rules
from pytest_agentops.settings import RecordMode
from pytest_agentops.spans import Brought
from pytest_agentops.tape import Outcome, Parser, Tape, load, save
from pytest_agentops.trace import Render, Span, Trace
from pytest_agentops.transports import Pace, Talk
from pytest_agentops.volatile import Volatile, volatile_in


@dataclass(frozen=True)
class Miss:
    """A request without an answer."""

    request: Request
    cassette: Path
    mode: RecordMode
    exists: bool
    """Whether there is a cassette at all."""
    recorded: int
    used: int
    used_up: bool
    """Whether the very same request is recorded, and every answer to it was given."""
    nearest: Exchange | None
    """The recorded exchange whose request is most like this one."""
    test: str
    """What to run to record again."""
    ignore: tuple[str, ...] = ()
    """JSON paths that do not count."""
    ran_out: Exchange | None = None
    """The recorded exchange whose stream was read on beyond where its first reader had left it."""
    websocket: Exchange | None = None
    """The recorded WebSocket on which the client said something else; `request` is that, and `nearest` what it was."""
    revised: tuple[Revised, ...] = ()
    """The prompts that were recorded in another state than the one they have now."""

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Why the nearest request is not this one."""
        return () if self.nearest is None else causes(self.nearest.request, self.request, self.ignore)

    def error(self) -> CassetteMiss:
        """The error that says so."""
        if not self.exists:
            return NothingRecorded(self)
        return CassetteUsedUp(self) if self.used_up else CassetteMiss(self)


@dataclass(frozen=True)
class Revised:
    """A prompt that has changed since it was recorded."""

    name: str
    recorded: str | None
    """The version that was recorded."""
    now: str | None


def _revised(recorded: Sequence[Render], now: Sequence[Render]) -> tuple[Revised, ...]:
    before, after = ({render.name: render for render in renders} for renders in (recorded, now))
    return tuple(
        Revised(name, was.version, after[name].version)
        for name, was in before.items()
        if name in after and after[name].digest not in {render.digest for render in recorded if render.name == name}
    )


@dataclass(frozen=True)
class Unplayed:
    """Recorded exchanges that nobody asked for."""

    cassette: Path
    exchanges: tuple[Exchange, ...]
    recorded: int
    test: str


class Cassette:
    """Recorded answers with a keyed lookup: one costs the same however many there are.

    Each recorded answer is given once, identical requests are answered in the order they were issued, and a request
    without an answer is a `CassetteMiss` that this object remembers even when the program swallows it.
    """

    def __init__(
        self,
        path: Path,
        tape: Tape,
        *,
        mode: RecordMode,
        test: str = "",
        ignore: Sequence[str] = (),
        spare: Tape | None = None,
    ) -> None:
        self.tape = tape
        """What was recorded."""
        self.misses: list[Miss] = []
        """Every request that got no answer."""
        self.strict = True
        """Whether a request without an answer is a miss; where it is not, it may go live."""
        self._mode, self._test, self._ignore = mode, test, tuple(ignore)
        self._file = path
        self._lock = threading.Lock()
        self._answers = _Answers(tape.exchanges, self._ignore)
        self._spare = _Answers(spare.exchanges if spare else (), self._ignore)
        self._diverged = False
        self._talks: list[Talk] = []

    @property
    def recorded(self) -> datetime | None:
        """When it was recorded; where only the draft of another run answers, when that was."""
        return self.tape.recorded

    @property
    def spans(self) -> tuple[Span, ...]:
        """What was told of the run that was recorded."""
        return self.tape.spans

    @property
    def unplayed(self) -> tuple[Exchange, ...]:
        """The recorded exchanges that nobody has asked for yet, nor for what they were part of, and WebSockets whose
        client has not said all yet."""
        opened = [talk.exchange for talk in self._talks if len(talk.said) < len(_said_by_client(talk.exchange))]
        brought = {each.number for each in self.brought().exchanges}
        waiting = [
            each for each in self._answers.unplayed if each.number not in brought and not self._answers.is_known(each)
        ]
        return tuple(sorted((*waiting, *opened), key=lambda exchange: exchange.number))

    def brought(self) -> Brought:
        """What other agents had asked while they worked for an answer that was played: they are not asked again.

        It is told by the times: whatever began and ended while they were waited for, and was not played itself.
        """
        waited = [
            each.timing
            for each in self.tape.exchanges
            if each.timing is not None and each.number in self._answers.played and rpc.delegates(each.request)
        ]

        def inside(started: float | None, seconds: float | None) -> bool:
            return started is not None and any(
                each.started <= started and started + (seconds or 0.0) <= each.started + each.seconds for each in waited
            )

        exchanges = tuple(
            each
            for each in self._answers.unplayed
            if waited and each.timing is not None and inside(each.timing.started, each.timing.seconds)
        )
        if not exchanges:
            return Brought()
        spans = {span.number: span for span in self.tape.spans if inside(span.started, span.seconds)}
        needed: set[int] = set()
        for number in {each.span for each in exchanges}:
            while number in spans and number not in needed:
                needed.add(number)
                number = spans[number].parent
        for span in spans.values():  # A span stands before those inside it.
            if span.parent in needed:
                needed.add(span.number)
        return Brought(exchanges, tuple(span for number, span in spans.items() if number in needed))

    @property
    def left(self) -> tuple[Exchange, ...]:
        """The exchanges of the draft that nobody has asked for yet."""
        return tuple(exchange for exchange in self._spare.unplayed if not exchange.is_websocket)

    def play(self, request: Request) -> Exchange | None:
        """The recorded exchange that answers this redacted request, spelled as recorded; None where it may go live.

        What may go live does so from the first request that is not recorded; from there on only a draft answers.

        Raises:
            CassetteMiss: there is no answer, and nothing may go live.
        """
        key = request_key(request, self._ignore)
        with self._lock:
            if (request.is_handshake or request.location.scheme == rpc.STDIO) and not self.strict:
                # One that turned out otherwise in its middle could go live no more.
                self._diverged = True
                return None
            if not self._diverged:
                exchange = self._answers.take(key, request)
                if exchange is not None:
                    return exchange
                if self.strict:
                    miss = self._miss(request, used_up=self._answers.knows(key))
                    self.misses.append(miss)
                    raise miss.error()
                self._diverged = True
            return self._spare.take(key, request)

    def talk(self, exchange: Exchange) -> Talk:
        """A connection was opened that replays this WebSocket."""
        talk = Talk(exchange)
        with self._lock:
            self._talks.append(talk)
        return talk

    def hear(self, talk: Talk, said: Frame) -> None:
        """The client said this on a replayed WebSocket.

        Where threads open several of one address, which of them is which turns out by what they say.

        Raises:
            CassetteMiss: it is something else than it had said, or more.
        """
        with self._lock:
            if self._same([said], talk.exchange, len(talk.said)) or self._change_places(talk, [*talk.said, said]):
                talk.said.append(said)
                return
            exchange = talk.exchange
            recorded = _said_by_client(exchange)[len(talk.said) :]
            nearest = replace(exchange, request=_as_request(exchange, recorded[0])) if recorded else None
            miss = replace(self._miss(_as_request(exchange, said), used_up=False), nearest=nearest, websocket=exchange)
            self.misses.append(miss)
        raise miss.error()

    def _same(self, said: Sequence[Frame], exchange: Exchange, at: int = 0) -> bool:
        """Whether this is what the client had said there from its frame `at` on."""
        recorded = _said_by_client(exchange)[at : at + len(said)]
        asked, was = (
            [request_key(_as_request(exchange, frame), self._ignore) for frame in frames] for frames in (said, recorded)
        )
        return self._answers.same(asked, was)

    def _change_places(self, talk: Talk, said: Sequence[Frame]) -> bool:
        """Let this go on with another recorded WebSocket of the same address, if on one all this was said."""
        for other in self._talks:
            if (
                other is not talk
                and self._alike(other.exchange, talk.exchange)
                and self._same(said, other.exchange)
                and self._same(other.said, talk.exchange)
            ):
                talk.exchange, other.exchange = other.exchange, talk.exchange
                return True
        for exchange in self._answers.unplayed:
            if exchange.is_websocket and self._alike(exchange, talk.exchange) and self._same(said, exchange):
                self._answers.instead(talk.exchange, exchange)
                talk.exchange = replace(exchange, request=talk.exchange.request)
                return True
        return False

    def _alike(self, one: Exchange, other: Exchange) -> bool:
        return request_key(one.request, self._ignore).digest == request_key(other.request, self._ignore).digest

    def ran_out(self, exchange: Exchange) -> CassetteMiss:
        """The miss of a reader who wants more of a stream than the one who was recorded had read."""
        miss = replace(self._miss(exchange.request, used_up=False), ran_out=exchange)
        with self._lock:
            self.misses.append(miss)
        return miss.error()

    def _miss(self, request: Request, *, used_up: bool) -> Miss:
        recording = owner(stray=False)
        return Miss(
            request=request,
            cassette=self._file,
            mode=self._mode,
            exists=bool(self.tape.exchanges) or self._file.is_file(),
            recorded=len(self.tape.exchanges),
            used=len(self._answers.played),
            used_up=used_up,
            nearest=nearest(request, self.tape.exchanges, self._answers.played),
            test=self._test,
            ignore=self._ignore,
            revised=_revised(self.tape.prompts, recording.renders if recording is not None else ()),
        )


class _Answers:
    """Recorded exchanges by their keys; each is given once."""

    def __init__(self, exchanges: Sequence[Exchange], ignore: Sequence[str]) -> None:
        self.played: set[int] = set()
        self._exchanges = exchanges
        self._renaming = Renaming()
        self._waiting: dict[bytes, deque[tuple[Key, Exchange]]] = {}
        self._looked_up: dict[bytes, tuple[Key, Exchange]] = {}
        self._ignore = ignore
        for exchange in sorted(exchanges, key=lambda each: each.number):
            key = request_key(exchange.request, ignore)
            self._waiting.setdefault(key.digest, deque()).append((key, exchange))

    @property
    def unplayed(self) -> tuple[Exchange, ...]:
        return tuple(exchange for exchange in self._exchanges if exchange.number not in self.played)

    def knows(self, key: Key) -> bool:
        return key.digest in self._waiting

    def is_known(self, exchange: Exchange) -> bool:
        """Whether it tells what there is, and another one has told so already."""
        return bool(self._looked_up) and request_key(exchange.request, self._ignore).digest in self._looked_up

    def same(self, asked: Sequence[Key], recorded: Sequence[Key]) -> bool:
        """Whether these are the same, each with its counterpart, with secrets that can be the same ones."""
        renaming = self._renaming.copy()
        if len(asked) != len(recorded):
            return False
        for ours, theirs in zip(asked, recorded, strict=True):
            if ours.digest != theirs.digest or not renaming.fits(ours, theirs):
                return False
            renaming.learn(ours, theirs)
        self._renaming = renaming
        return True

    def instead(self, played: Exchange, waiting: Exchange) -> None:
        """Let the one that was given wait again, and the other one count as given; both answer the same request."""
        self.played.symmetric_difference_update((played.number, waiting.number))
        for queue in self._waiting.values():
            for index, (key, exchange) in enumerate(queue):
                if exchange.number == waiting.number:
                    back = next(each for each in self._exchanges if each.number == played.number)
                    queue[index] = key, back
                    return

    def take(self, key: Key, request: Request) -> Exchange | None:
        """The first waiting answer to this request; it carries the request as this run asks it."""
        waiting = self._waiting.get(key.digest, ())
        for index, (recorded, exchange) in enumerate(waiting):
            if not key.names or self._renaming.fits(key, recorded):
                self._renaming.learn(key, recorded)
                del self._waiting[key.digest][index]
                self.played.add(exchange.number)
                if rpc.looks_up(request):
                    self._looked_up[key.digest] = recorded, exchange
                return self._answer(exchange, request)
        recorded, known = self._looked_up.get(key.digest, (key, None))
        if known is not None and self._renaming.fits(key, recorded):
            return self._answer(known, request)
        return None

    def _answer(self, exchange: Exchange, request: Request) -> Exchange:
        # It differs from the recorded one in what the key leaves out.
        return replace(rpc.answered_as(exchange, request), request=self._renaming.spelled(request))


def _as_request(exchange: Exchange, frame: Frame) -> Request:
    """A frame as the request that it is to who compares requests; where it went has been compared already."""
    location = exchange.request.location
    return Request("SEND", f"{location.scheme}://{location.netloc}", body=frame.data)


@lru_cache(maxsize=64)
def _said_in(body: bytes) -> tuple[Frame, ...]:
    return tuple(frame for frame in frames_of(body) if frame.sender == "client" and frame.kind != "close")


def _said_by_client(exchange: Exchange) -> tuple[Frame, ...]:
    return _said_in(exchange.response.body) if exchange.response is not None else ()


# --- one run ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Equipment:
    """What the sessions of one run share."""

    root: Path = field(default_factory=Path.cwd)
    """The folder of the project."""
    rules: Rules = field(default_factory=Rules)
    """What counts as a secret."""
    hosts: Hosts = field(default_factory=Hosts)
    """What may be reached while nothing may go live."""
    pace: Pace = "none"
    """Whether replayed answers take the time they took."""
    journal: Journal | None = None
    """Where what goes live is written down before the program goes on."""
    parser: Parser | None = None
    """Reads cassettes, perhaps from a cache."""
    late: list[Refusal] = field(default_factory=list)
    """The connections that were refused to what outlives its test."""


@dataclass
class _Guarded:
    """What nothing may leave while a session replays. What outlives the test keeps this, and not all that was said."""

    name: str
    root: Path
    hosts: Hosts
    late: list[Refusal]
    """Where refusals go once the test has ended."""
    refusals: list[Refusal] = field(default_factory=list)
    ended: bool = False

    def refused(self, refusal: Refusal) -> None:
        """Remember a connection that was refused, in case the program swallows that."""
        (self.late if self.ended else self.refusals).append(refusal)


class Session:
    """One run with a cassette: what may go live, and what is saved when it ends."""

    def __init__(
        self,
        path: Path,
        *,
        mode: RecordMode,
        name: str,
        command: str | None = None,
        draft: Path | None = None,
        ignore: Sequence[str] = (),
        shared: bool = False,
        sample: bool = False,
        equipment: Equipment | None = None,
    ) -> None:
        self.path, self.draft, self.mode, self.name = path, draft, mode, name
        self.saved: Path | None = None
        """Where this run was saved, once it is closed; None when there was nothing to save."""
        self._equipment = equipment or Equipment()
        self._ignore, self._shared, self._sample = tuple(ignore), shared, sample
        self._had = self._existing()
        self._drafted = self._existing_draft()
        played = self._had if self._had is not None and mode in ("none", "once", "changed") else Tape()
        self.cassette = Cassette(
            path, played, mode=mode, test=command or name, ignore=ignore, spare=self._spare(self._drafted)
        )
        self.cassette.strict = mode == "none" or (mode == "once" and self._had is not None)
        self._redactor = Redactor(self._equipment.rules, first=1 + _placeholders(played, self._drafted))
        self._page = (
            self._equipment.journal.page(draft, self._redactor.scan)
            if self._equipment.journal is not None and draft is not None and mode in _WRITE and not self.replays
            else None
        )
        self.recording = Recording(
            name, self.cassette, redactor=self._redactor, notes=self._page, pace=self._equipment.pace
        )
        self._guarded = _Guarded(name, self._equipment.root, self._equipment.hosts, self._equipment.late)
        self.recording.guarded = self._guarded if self.replays else None
        self.recording.hosts = self._equipment.hosts
        self._teardown: int | None = None

    @property
    def replays(self) -> bool:
        """Whether nothing can go live."""
        return self.cassette.strict

    @property
    def refusals(self) -> Sequence[Refusal]:
        """Every connection that was refused since nothing may go live."""
        return self._guarded.refusals

    @contextmanager
    def open(self) -> Iterator[Session]:
        """Watch the clients; where there is something to replay, a missing key does not matter."""
        try:
            with watching(self.recording), self._around():
                yield self
        finally:
            self._guarded.ended = True

    @contextmanager
    def foreground(self) -> Iterator[Session]:
        """The same for a stretch of a shared fixture's life: while it is set up, and while it is torn down."""
        with foreground(self.recording), self._around():
            yield self

    @contextmanager
    def _around(self) -> Iterator[None]:
        known = self.replays or bool(self.cassette.tape.exchanges) or bool(self.cassette.left)
        guard: AbstractContextManager[None] = protecting(self._guarded, guarded_here) if self.replays else nullcontext()
        with _stand_in_keys(known), guard:
            yield

    def check(self, *, teardown: bool = False) -> None:
        """Whether the run and its cassette agree.

        Raises:
            BudgetExceeded: a call was stopped that would go over the budget, whatever the program made of that.
            CassetteMiss: a request had no answer, whatever the program made of that.
            LiveCallRefused: something wanted to reach the network past the clients that are watched.
            StrayRequest: a forked child made a request.
            CassetteUnplayed: an answer was not asked for.
        """
        if self.recording.overrun is not None:
            raise self.recording.overrun
        if self.cassette.misses:
            raise self.cassette.misses[0].error()
        if self.refusals:
            raise LiveCallRefused(self.refusals[0])
        if self.recording.strays:
            raise StrayRequest(
                "\n".join(self.recording.strays) + "\n  what a child process asks can be neither recorded nor replayed"
            )
        if not self.replays:
            return
        later = self.cassette.tape.teardown
        unplayed = tuple(
            exchange for exchange in self.cassette.unplayed if teardown or later is None or exchange.number < later
        )
        if unplayed:
            recorded = len(self.cassette.tape.exchanges)
            raise CassetteUnplayed(Unplayed(self.path, unplayed, recorded, self.recording.name))

    def begin_teardown(self) -> None:
        """From here on, exchanges are those of fixtures that are torn down."""
        self._teardown = max((exchange.number for exchange in self.recording.exchanges), default=0) + 1

    def close(self, outcome: Outcome | None) -> None:
        """Save what the mode asks for; None, for a skipped test, saves nothing but a draft.

        Raises:
            SecretFound: what would be written holds a secret; nothing was written.
        """
        if self.mode in _WRITE and not self.replays and self.recording.exchanges and not self._unchanged(outcome):
            self.recording.forget()
            tape = self._recorded(outcome)
            if outcome == "passed" or (outcome == "failed" and self._counts_all_the_same(tape)):
                self._save(tape)
            elif self.draft is not None:
                self._save_draft(tape)
        if self._page is not None:
            self._page.tear_out()

    def _unchanged(self, outcome: Outcome | None) -> bool:
        """Whether the cassette says it all already."""
        if self.mode != "changed" or self._had is None or self.cassette.unplayed or self.recording.source == "live":
            return False
        return outcome in (None, self._had.outcome) or (outcome != "passed" and self._had.outcome == "passed")

    def _counts_all_the_same(self, tape: Tape) -> bool:
        """Whether a failed run is saved as the test's recording."""
        if self._sample:
            # Of several takes each counts, or their rate would be that of the better ones; but a call that got no
            # answer says nothing of the agent.
            return not tape.exchanges[-1].failed
        return self.mode in ("all", "changed") and not self._would_spoil(tape)

    def _recorded(self, outcome: Outcome | None) -> Tape:
        told = self.recording.told()
        exchanges = tuple(replace(each, span=told.within.get(each.number)) for each in self.recording.exchanges)
        return Tape(
            exchanges,
            outcome,
            self.recording.renders,
            self.recording.recorded,
            self._teardown if self._teardown and exchanges[-1].number >= self._teardown else None,
            tuple(self.recording.findings),
            told.spans,
        )

    def _save(self, tape: Tape) -> None:
        test = self.name if self._shared else None
        save(tape, self.path, test=test, lock=self._lock(), scan=self._redactor.scan)
        self.saved = self.path
        if self.draft is not None:
            self.draft.unlink(missing_ok=True)

    def _save_draft(self, tape: Tape) -> None:
        assert self.draft is not None
        _ignored(self.draft)
        # What an earlier run paid for and this one did not ask for may serve the next.
        last = tape.exchanges[-1].number
        left = [
            replace(each, number=last + index, prompts=(), span=None)
            for index, each in enumerate(self.cassette.left, 1)
        ]
        save(replace(tape, exchanges=(*tape.exchanges, *left)), self.draft, scan=self._redactor.scan)
        self.saved = self.draft

    def _lock(self) -> AbstractContextManager[object]:
        """Keeps other processes that record into the same cassette away."""
        if not self._shared:
            return nullcontext()
        from filelock import FileLock

        place = self.draft or self.path
        if self.draft is not None:
            _ignored(self.draft)
        place.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(place.with_name(f"{place.name}.lock"))

    def _existing(self) -> Tape | None:
        if self.mode == "live" or not self.path.exists():
            return None
        try:
            tape = load(self.path, self._equipment.parser)
        except CassetteUnreadable:
            if self.mode == "all":  # What is recorded anew may have been beyond reading.
                return None
            raise
        return tape.of(self.name)

    def _existing_draft(self) -> Tape:
        waits = self.mode in ("all", "changed") or (self.mode == "once" and self._had is None)
        if not waits or self.draft is None or not self.draft.exists():
            return Tape()
        drafted = load(self.draft)
        # Who records everything anew asks the model again, but does not pay twice for a run that was killed.
        return Tape() if self.mode == "all" and drafted.outcome != "interrupted" else drafted

    @staticmethod
    def _spare(drafted: Tape) -> Tape:
        # What failed on its way is asked again: a missing key or a busy server should not be remembered.
        kept = tuple(exchange for exchange in drafted.exchanges if not exchange.failed)
        return replace(drafted, exchanges=kept)

    def _would_spoil(self, tape: Tape) -> bool:
        """Whether a failed run would replace a passed one that asked the very same."""
        if self._had is None or self._had.outcome != "passed":
            return False
        return self._keys(self._had) == self._keys(tape)

    def _keys(self, tape: Tape) -> Counter[bytes]:
        return Counter(request_key(exchange.request, self._ignore).digest for exchange in tape.exchanges)

    # What may be said of the run besides.

    def drift(self) -> tuple[Trace, Trace] | None:
        """What was recorded and what happened now, where this run is one that verifies a recording."""
        if self.mode != "verify" or self._had is None:
            return None
        return self._had.trace(), self.recording.freeze()

    def volatile(self, source: str = "") -> tuple[Volatile, ...]:
        """The values in what was recorded that look as if the next run would send others.

        What stands in `source`, the text of the test, or in an earlier reply comes back as it was.
        """
        found: dict[str, Volatile] = {}
        heard = source
        for exchange in self.recording.exchanges:
            for asked, answered in _turns(exchange):
                body = rpc.comparable(without(asked, self._ignore))
                for each in volatile_in(body, now=datetime.now(UTC), known=heard.__contains__):
                    found.setdefault(each.value, each)
                heard += answered.decode("utf-8", "replace")
        return tuple(found.values())


def _turns(exchange: Exchange) -> Iterator[tuple[object, bytes]]:
    """What was asked and what came back, in JSON and in bytes; on a WebSocket that is many a turn."""
    body = exchange.response.body if exchange.response is not None else b""
    if not exchange.is_websocket:
        yield exchange.request.json, body
        return
    for frame in frames_of(body):
        yield (frame.json, b"") if frame.sender == "client" else (None, frame.data)


_WRITE = ("once", "changed", "all")


def _placeholders(*tapes: Tape) -> int:
    """The highest number of a placeholder on these tapes."""
    return max(map(_number, _placeholders_in(tapes)), default=0)


def _placeholders_in(tapes: Iterable[Tape]) -> Iterator[bytes]:
    for tape in tapes:
        for exchange in tape.exchanges:
            texts = [exchange.request.url.encode(), exchange.request.body]
            if exchange.response is not None:
                texts.append(exchange.response.body)
            for text in texts:
                if b"REDACTED" in text:
                    yield from PLACEHOLDER.findall(text)


def _number(placeholder: bytes) -> int:
    found = re.search(rb"\d{1,9}$", placeholder)
    return int(found[0]) if found else 0


_STAND_INS = ("OPENAI_API_KEY",)


@contextmanager
def _stand_in_keys(wanted: bool) -> Iterator[None]:
    missing = [name for name in _STAND_INS if wanted and not os.environ.get(name)]
    before = {name: os.environ.get(name) for name in missing}
    for name in missing:
        os.environ[name] = "replayed-without-a-key"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _ignored(draft: Path) -> None:
    for folder in draft.parents:
        if folder.name == ".agentops":
            ignored_by_git(folder)
            return
