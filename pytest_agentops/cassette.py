"""Record and replay on vcrpy: the file, the request key, the lookup, the modes, drafts, and the miss.

The file is vcrpy's YAML. What we add stands under `agentops:`, at the top and beside each interaction, where stock
vcrpy does not look; so its files replay here and ours replay there.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import tempfile
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

import vcr.cassette
import yaml
from vcr.record_mode import RecordMode as VcrMode
from vcr.request import Request as VcrRequest
from vcr.serializers import yamlserializer

from pytest_agentops.assembly import trace_of
from pytest_agentops.capture import Recording, in_background, watching
from pytest_agentops.errors import CassetteMiss, CassetteMissing, CassetteUnplayed, CassetteUnreadable
from pytest_agentops.exchange import (
    Exchange,
    Failure,
    Headers,
    Request,
    Response,
    Timing,
    header,
    parse_json,
    without_content_encoding,
)
from pytest_agentops.redaction import Redactor
from pytest_agentops.settings import RecordMode
from pytest_agentops.trace import Render, Trace

FORMAT = 1
"""The version of what stands under `agentops:`."""

Outcome = Literal["passed", "failed"]


# --- the value -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tape:
    """What a cassette holds."""

    exchanges: tuple[Exchange, ...] = ()
    outcome: Outcome | None = None
    """How the run ended that recorded it; None when another tool wrote the file."""
    prompts: tuple[Render, ...] = ()
    recorded: datetime | None = None
    teardown: int | None = None
    """The number of the first exchange that happened while fixtures were torn down."""

    def trace(self) -> Trace:
        """The trace of the run that was recorded."""
        return trace_of(self.exchanges, source="imported", prompts=self.prompts, recorded=self.recorded)


def load(path: Path) -> Tape:
    """What is in this file.

    Raises:
        CassetteMissing: there is no such file.
        CassetteUnreadable: it is not a cassette, or a damaged one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CassetteMissing(f"there is no cassette {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CassetteUnreadable(f"{path} cannot be read: {error}") from error
    try:
        return loads(text)
    except CassetteUnreadable as error:
        raise CassetteUnreadable(f"{path}: {error}") from error.__cause__


def loads(text: str) -> Tape:
    """What is in the text of a cassette.

    Raises:
        CassetteUnreadable: it is not a cassette, or a damaged one.
    """
    if re.search(r"^(<{7} |>{7} )", text, re.MULTILINE):
        raise CassetteUnreadable("it holds the markers of an unresolved merge")
    try:
        data = yamlserializer.deserialize(text)
    except (yaml.YAMLError, ImportError, RecursionError) as error:
        raise CassetteUnreadable(f"it is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, Mapping) or not isinstance(data.get("interactions"), list):
        raise CassetteUnreadable("it is not a cassette: it has no list of interactions")
    added = _mapping(data.get("agentops"))
    if added.get("format", FORMAT) != FORMAT:
        raise CassetteUnreadable(
            f"it has format {added['format']!r}, and this version of pytest-agentops reads {FORMAT}; upgrade it"
        )
    count = added.get("exchanges")
    if isinstance(count, int) and count != len(data["interactions"]):
        raise CassetteUnreadable(f"it is cut: it announces {count} exchanges and holds {len(data['interactions'])}")
    try:
        return Tape(
            exchanges=tuple(_exchange(index, entry) for index, entry in enumerate(data["interactions"], 1)),
            outcome=added.get("outcome"),
            prompts=tuple(Render(**render) for render in added.get("prompts", ())),
            recorded=_date(added.get("recorded")),
            teardown=added.get("teardown"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CassetteUnreadable(f"an interaction has not the form that vcrpy writes: {error!r}") from error


def dumps(tape: Tape) -> str:
    """The text of a cassette that holds this tape."""
    models = {call.model: None for call in tape.trace().model_calls if call.model}
    added = {
        "format": FORMAT,
        "recorder": f"pytest-agentops {version('pytest-agentops')}",
        "recorded": tape.recorded.isoformat() if tape.recorded else None,
        "outcome": tape.outcome,
        "exchanges": len(tape.exchanges),
        "models": list(models) or None,
        "prompts": [asdict(render) for render in tape.prompts] or None,
        "teardown": tape.teardown,
    }
    data = {
        "version": 1,
        "agentops": {key: value for key, value in added.items() if value is not None},
        "interactions": [_entry(exchange) for exchange in tape.exchanges],
    }
    dumped: str = yaml.dump(data, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)
    return dumped


# --- reading an interaction ------------------------------------------------------------------------------------------


def _exchange(index: int, entry: Mapping[str, Any]) -> Exchange:
    added = _mapping(entry.get("agentops"))
    asked, answered = entry["request"], entry["response"]
    timing = _mapping(added.get("timing"))
    request = Request(str(asked["method"]), str(asked["uri"]), _headers(asked.get("headers")), _body(asked))
    failure = Failure(**added["failure"]) if added.get("failure") else None
    response = None
    if not (failure and added.get("response") is False):
        status = _mapping(answered.get("status"))
        response = without_content_encoding(
            Response(
                int(answered.get("status_code") or status["code"]),
                str(status.get("message") or ""),
                _headers(answered.get("headers")),
                _body(answered),
                complete=bool(added.get("complete", True)),
            )
        )
    return Exchange(
        number=int(added.get("sequence", index)),
        request=request,
        response=response,
        failure=failure,
        timing=Timing(**timing) if timing else None,
        prompts=tuple(added.get("prompts", ())),
    )


def _headers(stored: object) -> Headers:
    found = []
    for name, values in _mapping(stored).items():
        for value in values if isinstance(values, list | tuple) else [values]:
            found.append((str(name).lower(), value.decode("latin-1") if isinstance(value, bytes) else str(value)))
    return tuple(found)


def _body(message: Mapping[str, Any]) -> bytes:
    """The body, however the tool that wrote it keeps bodies."""
    if "parsed_body" in message:
        parsed = message["parsed_body"]
        return parsed.encode() if isinstance(parsed, str) else json.dumps(parsed, ensure_ascii=False).encode()
    body = message.get("body", message.get("content"))
    if isinstance(body, Mapping):
        body = body.get("string")
    if body is None:
        return b""
    if hasattr(body, "read"):
        body = body.read()
    elif not isinstance(body, str | bytes):
        body = b"".join(part if isinstance(part, bytes) else str(part).encode() for part in body)
    return body.encode() if isinstance(body, str) else bytes(body)


def _date(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


# --- writing an interaction ------------------------------------------------------------------------------------------


class _Dumper(yaml.CSafeDumper if hasattr(yaml, "CSafeDumper") else yaml.SafeDumper):  # type: ignore[misc]
    """Writes texts of several lines as literal blocks."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text_node(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text_node)

_LEAVES_BLOCK_STYLE = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
"""Characters for which libyaml gives up literal blocks; inside JSON each has an escape that means the same."""


def _entry(exchange: Exchange) -> dict[str, Any]:
    request, response = exchange.request, exchange.response
    added: dict[str, Any] = {"sequence": exchange.number}
    if exchange.timing is not None:
        added["timing"] = {key: value for key, value in asdict(exchange.timing).items() if value is not None}
    if exchange.prompts:
        added["prompts"] = list(exchange.prompts)
    if exchange.failure is not None:
        added["failure"] = asdict(exchange.failure)
    if response is None:
        added["response"] = False
        # Stock vcrpy needs a response to read the file at all; this one says what happened.
        response = Response(599, f"{exchange.failure and exchange.failure.kind}")
    elif not response.complete:
        added["complete"] = False
    return {
        "agentops": added,
        "request": {
            "method": request.method,
            "uri": request.url,
            "headers": _stored_headers(request.headers),
            "body": _readable(request.body, request.headers) if request.body else None,
        },
        "response": {
            "status": {"code": response.status, "message": response.reason},
            "headers": _stored_headers(response.headers),
            "body": {"string": _readable(response.body, response.headers)},
        },
    }


def _stored_headers(headers: Headers) -> dict[str, list[str]]:
    stored: dict[str, list[str]] = defaultdict(list)
    for name, value in headers:
        stored[name].append(value)
    return dict(stored)


def _readable(body: bytes, headers: Headers) -> str | bytes:
    """The body as a person wants to read it: JSON indented, events line by line; bytes where it is no text."""
    kind = header(headers, "content-type") or ""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return body
    if kind.startswith("text/event-stream"):
        return _readable_events(text)
    if "json" in kind or text[:1] in ("{", "["):
        value = _exact_json(text)
        if value is not None:
            return _escaped(json.dumps(value, ensure_ascii=False, indent=2))
    return text if _survives_yaml(text) else body


def _exact_json(text: str) -> Any:
    """The value, where writing it anew loses nothing; a body with a name given twice stays as it came."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) != len({name for name, _ in pairs}):
            raise ValueError("a name is given twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return None


def _readable_events(text: str) -> str | bytes:
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        field, colon, value = line.partition(":")
        if field == "data" and _LEAVES_BLOCK_STYLE.search(value) and parse_json(value) is not None:
            value = _escaped(value)
        lines.append(f"{field}{colon}{value}")
    readable = "\n".join(lines)
    return readable if _survives_yaml(readable) else text.encode()


def _escaped(text: str) -> str:
    """JSON in which every character that YAML cannot show plainly is written as its escape."""

    def escape(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))

    return _LEAVES_BLOCK_STYLE.sub(escape, text)


def _survives_yaml(text: str) -> bool:
    """Whether YAML gives this text back as it was: it turns other line ends into its own."""
    return not re.search("[\r\x85\u2028\u2029\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]", text)


# --- the key ---------------------------------------------------------------------------------------------------------


def request_key(request: Request, ignore: Sequence[str] = ()) -> bytes:
    """What makes two requests the same: method, scheme, host, path, query and canonical body.

    The port does not count on loopback. JSON bodies compare by value, whatever the order of their names; `ignore`
    leaves JSON paths out of them. The random boundary of a multipart body does not count.
    """
    location = request.location
    host = location.hostname or ""
    port = None if is_loopback(host) else location.port
    query = sorted(parse_qsl(location.query, keep_blank_values=True))
    digest = hashlib.blake2b(digest_size=16)
    where = (request.method.upper(), location.scheme, host, port, location.path or "/", query)
    digest.update(repr(where).encode())
    digest.update(_canonical(request, ignore))
    return digest.digest()


def _canonical(request: Request, ignore: Sequence[str]) -> bytes:
    if not request.body:
        return b""
    value = parse_json(request.body)
    if value is not None:
        return json.dumps(_without(value, ignore), sort_keys=True, separators=(",", ":")).encode()
    boundary = re.search(r'boundary="?([^";,]+)', header(request.headers, "content-type") or "")
    return request.body.replace(boundary[1].encode(), b"boundary") if boundary else request.body


def _without(value: Any, ignore: Sequence[str]) -> Any:
    if not ignore:
        return value
    import jsonpath

    for path in ignore:
        # Later items first, so that taking one out of a list does not move the next.
        for found in reversed(list(jsonpath.finditer(path, value))):
            if found.parent is not None:
                parent: Any = found.parent.obj
                with suppress(KeyError, IndexError):
                    del parent[found.parts[-1]]
    return value


def is_loopback(host: str) -> bool:
    """Whether this host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


# --- replay ----------------------------------------------------------------------------------------------------------


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
            nearest=_nearest(request, self.tape.exchanges, self._played),
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
        "headers": _stored_headers(response.headers),
        "body": {"string": response.body},
    }


def _nearest(request: Request, exchanges: Iterable[Exchange], played: set[int]) -> Exchange | None:
    """The exchange whose request differs least; among equals one that is still waiting, then the earliest."""

    def distance(exchange: Exchange) -> tuple[float, bool, int]:
        return (_distance(request, exchange.request), exchange.number in played, exchange.number)

    same_place = [
        exchange
        for exchange in exchanges
        if exchange.request.method == request.method and exchange.request.location.path == request.location.path
    ]
    return min(same_place or exchanges, key=distance, default=None)


def _distance(asked: Request, recorded: Request) -> float:
    points = float(asked.location.hostname != recorded.location.hostname) + float(asked.method != recorded.method)
    points += float(asked.location.path != recorded.location.path)
    if asked.body == recorded.body:
        return points
    return points + sum(_weight(change) for change in changes(recorded.json, asked.json))


def _weight(change: Change) -> float:
    if isinstance(change.recorded, str) and isinstance(change.asked, str):
        longest = 400  # Enough to tell which text is meant; comparing whole documents takes seconds.
        return 1.0 - difflib.SequenceMatcher(None, change.recorded[:longest], change.asked[:longest]).quick_ratio() / 2
    return 1.0


ABSENT = type("Absent", (), {"__repr__": lambda _: "nothing"})()
"""Stands for what one side does not have."""


@dataclass(frozen=True)
class Change:
    """One place where two JSON values differ."""

    pointer: str
    """A JSON pointer (RFC 6901); empty for the whole value."""
    recorded: Any
    asked: Any


def changes(recorded: Any, asked: Any, pointer: str = "") -> Iterator[Change]:
    """Where two JSON values differ, in the order of the recorded one."""
    if isinstance(recorded, Mapping) and isinstance(asked, Mapping):
        for name in [*recorded, *(name for name in asked if name not in recorded)]:
            part = str(name).replace("~", "~0").replace("/", "~1")
            yield from changes(recorded.get(name, ABSENT), asked.get(name, ABSENT), f"{pointer}/{part}")
    elif isinstance(recorded, list) and isinstance(asked, list):
        for index in range(max(len(recorded), len(asked))):
            left = recorded[index] if index < len(recorded) else ABSENT
            right = asked[index] if index < len(asked) else ABSENT
            yield from changes(left, right, f"{pointer}/{index}")
    elif recorded is not asked and (type(recorded), recorded) != (type(asked), asked):
        yield Change(pointer, recorded, asked)


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
    def open_in_background(self) -> Iterator[Session]:
        """The same for a shared fixture, which is in the foreground only while it is set up and torn down."""
        self.recording.paused = True
        with in_background(self.recording), _stand_in_keys(self.replays or bool(self.cassette.tape.exchanges)):
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
            _write(self.path, dumps(tape))
            self.saved = self.path
            if self.draft is not None:
                self.draft.unlink(missing_ok=True)
        elif self.draft is not None:
            _ignored_by_git(self.draft)
            _write(self.draft, dumps(tape))
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


def _write(path: Path, text: str) -> None:
    """Replace the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:50]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
