"""Record and replay on vcrpy: the lookup, the modes, drafts, and the miss."""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import vcr.cassette
from vcr.record_mode import RecordMode as VcrMode
from vcr.request import Request as VcrRequest

from pytest_agentops.capture import Recording, foreground, watching
from pytest_agentops.errors import CassetteMiss, CassetteUnplayed, CassetteUnreadable
from pytest_agentops.exchange import Exchange, Request, Response
from pytest_agentops.matching import nearest, request_key
from pytest_agentops.redaction import Redactor
from pytest_agentops.settings import RecordMode
from pytest_agentops.tape import Outcome, Tape, load, save, stored_headers


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


@dataclass(frozen=True)
class Unplayed:
    """Recorded exchanges that nobody asked for."""

    cassette: Path
    exchanges: tuple[Exchange, ...]
    recorded: int
    test: str


class Cassette(vcr.cassette.Cassette):  # type: ignore[misc]
    """vcrpy's cassette with a keyed lookup: answers cost the same however many there are.

    Each recorded answer is given once, identical requests are answered in the order they were issued, and a request
    without an answer is a `CassetteMiss` that this object remembers even when the program swallows it.
    """

    def __init__(self, path: Path, tape: Tape, *, mode: RecordMode, test: str = "", ignore: Sequence[str] = ()) -> None:
        vcr_mode = {"none": VcrMode.NONE, "once": VcrMode.ONCE, "all": VcrMode.ALL, "live": VcrMode.ALL}[mode]
        super().__init__(str(path), record_mode=vcr_mode)
        self.tape = tape
        """What was recorded."""
        self.misses: list[Miss] = []
        """Every request that got no answer."""
        self._mode, self._test, self._ignore = mode, test, tuple(ignore)
        self._file = path
        self._redactor = Redactor()
        self._lock_replay = threading.Lock()
        self._waiting: dict[bytes, deque[Exchange]] = defaultdict(deque)
        self._played: set[int] = set()
        self._reserved: dict[int, Exchange] = {}
        for exchange in sorted(tape.exchanges, key=lambda each: each.number):
            self._waiting[self._key(exchange.request)].append(exchange)
            self.data.append((_vcr_request(exchange.request), _vcr_response(exchange)))
        self.rewound = bool(tape.exchanges)
        self.strict = True
        """Whether a request without an answer is a miss; where it is not, it may go live."""

    @property
    def ends(self) -> float:
        """Seconds that the recorded exchanges take."""
        timings = [exchange.timing for exchange in self.tape.exchanges if exchange.timing]
        return max((timing.started + timing.seconds for timing in timings), default=0.0)

    @property
    def recorded(self) -> datetime | None:
        """When it was recorded."""
        return self.tape.recorded

    @property
    def unplayed(self) -> tuple[Exchange, ...]:
        """The recorded exchanges that nobody has asked for yet."""
        return tuple(exchange for exchange in self.tape.exchanges if exchange.number not in self._played)

    def play(self, request: Request) -> Exchange | None:
        """The recorded exchange that answers this redacted request; None where it may go live.

        Raises:
            CassetteMiss: there is no answer, and nothing may go live.
        """
        key = self._key(request)
        with self._lock_replay:
            waiting = self._waiting.get(key)
            if waiting:
                exchange = waiting.popleft()
                self._played.add(exchange.number)
                return exchange
            if not self.strict:
                return None
            miss = self._miss(request, used_up=waiting is not None)
            self.misses.append(miss)
        raise CassetteMiss(miss)

    # What vcrpy's own stubs call; a reservation in the first call closes the gap before the second.

    def can_play_response_for(self, request: Any) -> bool:
        exchange = self.play(self._redactor.request(_request_of(request)))
        if exchange is None or exchange.response is None:
            return False
        self._reserved[id(request)] = exchange
        return True

    def play_response(self, request: Any) -> Any:
        exchange = self._reserved.pop(id(request))
        self.play_counts[exchange.number] += 1
        return _vcr_response(exchange)

    def _key(self, request: Request) -> bytes:
        return request_key(request, self._ignore)

    def _miss(self, request: Request, *, used_up: bool) -> Miss:
        return Miss(
            request=request,
            cassette=self._file,
            mode=self._mode,
            exists=self.rewound or self._file.is_file(),
            recorded=len(self.tape.exchanges),
            used=len(self._played),
            used_up=used_up,
            nearest=nearest(request, self.tape.exchanges, self._played),
            test=self._test,
        )


def _request_of(request: Any) -> Request:
    body = request.body_bytes or b""
    headers = tuple((str(name).lower(), str(value)) for name, value in request.headers.items())
    return Request(request.method, request.uri, headers, body.encode() if isinstance(body, str) else bytes(body))


def _vcr_request(request: Request) -> Any:
    return VcrRequest(request.method, request.url, request.body, dict(request.headers))


def _vcr_response(exchange: Exchange) -> dict[str, Any]:
    response = exchange.response or Response(599)
    return {
        "status": {"code": response.status, "message": response.reason},
        "headers": stored_headers(response.headers),
        "body": {"string": response.body},
    }


# --- one run ---------------------------------------------------------------------------------------------------------


class Session:
    """One run with a cassette: what may go live, and what is saved when it ends."""

    def __init__(
        self,
        path: Path,
        *,
        mode: RecordMode,
        name: str,
        draft: Path | None = None,
        ignore: Sequence[str] = (),
    ) -> None:
        self.path, self.draft, self.mode = path, draft, mode
        self.saved: Path | None = None
        """Where this run was saved, once it is closed; None when there was nothing to save."""
        self._had = _existing(path, mode)
        self._ignore = tuple(ignore)
        self.cassette = Cassette(path, self._tape(), mode=mode, test=name, ignore=ignore)
        self.cassette.strict = mode == "none" or (mode == "once" and self._had is not None)
        self.recording = Recording(name, self.cassette)
        self._teardown: int | None = None

    @property
    def replays(self) -> bool:
        """Whether nothing can go live."""
        return bool(self.cassette.strict)

    @contextmanager
    def open(self) -> Iterator[Session]:
        """Watch the clients; where there is something to replay, a missing key does not matter."""
        with watching(self.recording), _stand_in_keys(self.replays or bool(self.cassette.tape.exchanges)):
            yield self

    @contextmanager
    def foreground(self) -> Iterator[Session]:
        """The same for a stretch of a shared fixture's life: while it is set up, and while it is torn down."""
        with foreground(self.recording), _stand_in_keys(self.replays or bool(self.cassette.tape.exchanges)):
            yield self

    def check(self, *, teardown: bool = False) -> None:
        """Whether the run and its cassette agree.

        Raises:
            CassetteMiss: a request had no answer, whatever the program made of that.
            CassetteUnplayed: an answer was not asked for.
        """
        if self.cassette.misses:
            raise CassetteMiss(self.cassette.misses[0])
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
        """Save what the mode asks for; None, for a skipped test, saves nothing but a draft."""
        if self.mode in ("none", "live") or self.replays or not self.recording.exchanges:
            return
        exchanges = self.recording.exchanges
        later = self._teardown if self._teardown and exchanges[-1].number >= self._teardown else None
        tape = Tape(exchanges, outcome, self.recording.renders, self.recording.recorded, later)
        if outcome == "passed" or (self.mode == "all" and outcome == "failed" and not self._would_spoil(tape)):
            save(tape, self.path)
            self.saved = self.path
            if self.draft is not None:
                self.draft.unlink(missing_ok=True)
        elif self.draft is not None:
            _ignored_by_git(self.draft)
            save(tape, self.draft)
            self.saved = self.draft

    def _tape(self) -> Tape:
        if self.mode in ("all", "live"):
            return Tape()
        if self._had is not None:
            return self._had
        if self.mode == "once" and self.draft is not None and self.draft.exists():
            drafted = load(self.draft)
            # What failed on its way is asked again: a missing key or a busy server should not be remembered.
            kept = [exchange for exchange in drafted.exchanges if not exchange.failed]
            return replace(drafted, exchanges=tuple(kept))
        return Tape()

    def _would_spoil(self, tape: Tape) -> bool:
        """Whether a failed run would replace a passed one that asked the very same."""
        if self._had is None or self._had.outcome != "passed":
            return False
        return self._keys(self._had) == self._keys(tape)

    def _keys(self, tape: Tape) -> Counter[bytes]:
        return Counter(request_key(exchange.request, self._ignore) for exchange in tape.exchanges)


def _existing(path: Path, mode: RecordMode) -> Tape | None:
    if mode == "live" or not path.exists():
        return None
    try:
        return load(path)
    except CassetteUnreadable:
        if mode == "all":  # What is recorded anew may have been beyond reading.
            return None
        raise


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


def _ignored_by_git(draft: Path) -> None:
    for folder in draft.parents:
        if folder.name == ".agentops":
            folder.mkdir(parents=True, exist_ok=True)
            ignore = folder / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
            return
