"""The file of a cassette: vcrpy's YAML, read whoever wrote it and written so that a person can read it.

What we add stands under `agentops:`, at the top and beside each interaction, where stock vcrpy does not look; so its
files replay here and ours replay there. The last line counts the exchanges: a file without it was cut.
"""

from __future__ import annotations

import gc
import hashlib
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import yaml

from pytest_agentops import document
from pytest_agentops.assembly import trace_of
from pytest_agentops.errors import (
    CassetteConflict,
    CassetteCut,
    CassetteMissing,
    CassetteUnreadable,
    CassetteVersion,
    SecretFound,
)
from pytest_agentops.exchange import Exchange
from pytest_agentops.interaction import entry_of, exchange_of, mapping
from pytest_agentops.trace import Finding, Render, Span, Trace, spans_from

if TYPE_CHECKING:
    from pytest_agentops.redaction import Hit

FORMAT = 2
"""The version of what stands under `agentops:`. Format 1 had no last line."""

_END = "agentops_end"


@cache
def _recorder() -> str:
    return f"pytest-agentops {version('pytest-agentops')}"


Outcome = Literal["passed", "failed", "interrupted"]
"""How a run ended; only a draft is ever of one that was interrupted."""


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
    findings: tuple[Finding, ...] = ()
    """What was seen while it was recorded that is no exchange."""
    spans: tuple[Span, ...] = ()
    """What decorators, frameworks and OpenTelemetry told of the run."""
    tests: Mapping[str, Tape] = field(default_factory=dict)
    """What each test recorded into a cassette that several share, by the test's id; under `""` what none of them did.
    The other fields are then those of all together."""

    def trace(self) -> Trace:
        """The trace of the run that was recorded."""
        trace = trace_of(
            self.exchanges, source="imported", prompts=self.prompts, spans=self.spans, recorded=self.recorded
        )
        return replace(trace, findings=(*trace.findings, *self.findings)) if self.findings else trace

    def of(self, test: str) -> Tape | None:
        """What this test finds on it; None when others recorded here and this test did not."""
        return self.tests.get(test, self.tests.get("")) if self.tests else self

    def recorded_by(self, test: str, tape: Tape) -> Tape:
        """The same with what this test recorded instead of what it had recorded before."""
        # A file of another tool's may serve other tests too; one of ours that names no test belonged to this one.
        others = dict(self.tests) if self.tests else {"": self} if self.outcome is None and self.exchanges else {}
        return _together({**others, test: tape})


def one_after_another(tapes: Iterable[Tape]) -> Tape:
    """What these hold, each after what was before it: exchanges, prompts and spans, numbered through."""
    exchanges: list[Exchange] = []
    prompts: list[Render] = []
    spans: list[Span] = []
    for tape in tapes:
        last, rendered = max((each.number for each in exchanges), default=0), len(prompts)
        told = max((each.number for each in spans), default=0)
        for exchange in tape.exchanges:
            carried = tuple(index + rendered for index in exchange.prompts)
            within = None if exchange.span is None else exchange.span + told
            exchanges.append(replace(exchange, number=exchange.number + last, prompts=carried, span=within))
        for span in tape.spans:
            parent = None if span.parent is None else span.parent + told
            spans.append(
                replace(span, number=span.number + told, parent=parent, after=span.after and span.after + last)
            )
        prompts += tape.prompts
    return Tape(exchanges=tuple(exchanges), prompts=tuple(prompts), spans=tuple(spans))


def _together(tests: Mapping[str, Tape]) -> Tape:
    outcomes = {tape.outcome for tape in tests.values()} - {None}
    return replace(
        one_after_another(tests.values()),
        outcome="failed" if "failed" in outcomes else "passed" if outcomes else None,
        recorded=max((tape.recorded for tape in tests.values() if tape.recorded), default=None),
        findings=tuple(finding for tape in tests.values() for finding in tape.findings),
        tests=tests,
    )


# --- reading ---------------------------------------------------------------------------------------------------------


class Parser(Protocol):
    """Reads the text of a document, perhaps from a cache."""

    def parse(self, raw: bytes) -> object:
        """The document as plain data."""


def load(path: Path, parser: Parser | None = None) -> Tape:
    """What is in this file.

    Raises:
        CassetteMissing: there is no such file.
        CassetteCut: its end is missing.
        CassetteConflict: it holds the markers of an unresolved merge.
        CassetteVersion: its format is not known.
        CassetteUnreadable: it is not a cassette, or damaged in another way.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise CassetteMissing(f"there is no cassette {path}") from None
    except OSError as error:
        raise CassetteUnreadable(f"{path} cannot be read: {error.strerror or error}") from error

    def fetch(name: str) -> bytes:
        return _fetched(bodies_folder(path), name)

    try:
        return _loaded(raw, fetch, parser)
    except CassetteUnreadable as error:
        raise type(error)(f"{path}: {error}") from error.__cause__


def loads(text: str, fetch: Callable[[str], bytes] | None = None) -> Tape:
    """What is in the text of a cassette; `fetch` gives the bodies that have files of their own, which are else empty.

    Raises:
        CassetteUnreadable: it is not a cassette, or a damaged one.
    """
    return _loaded(text.encode("utf-8", "surrogatepass"), fetch)


def _loaded(raw: bytes, fetch: Callable[[str], bytes] | None = None, parser: Parser | None = None) -> Tape:
    with _without_collecting():
        return _read(_unzipped(raw), fetch, parser)


_LARGEST = 500_000_000
"""No cassette is larger, and what unpacks to more is no cassette."""


def _unzipped(raw: bytes) -> bytes:
    """The text of a file that another recorder has packed."""
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    unpacked = zlib.decompressobj(wbits=31)
    try:
        text = unpacked.decompress(raw, _LARGEST)
    except zlib.error as error:
        raise CassetteUnreadable(f"it is not gzip: {error}") from None
    if unpacked.unconsumed_tail:
        raise CassetteUnreadable(f"it unpacks to more than {_LARGEST:,} bytes")
    if not unpacked.eof:
        raise CassetteCut("it is cut: the end of the gzip file is missing")
    return text


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Keep the garbage collector from going over what is being built, again and again, of which nothing is garbage."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _read(raw: bytes, fetch: Callable[[str], bytes] | None, parser: Parser | None) -> Tape:
    if b"\n<<<<<<< " in raw or b"\n>>>>>>> " in raw or raw.startswith(b"<<<<<<< "):
        raise CassetteConflict("it holds the markers of an unresolved merge")
    data = _parsed(raw, parser)
    if not isinstance(data, Mapping) or not isinstance(data.get("interactions"), list):
        if _is_cut(raw):
            raise CassetteCut(_CUT)
        raise CassetteUnreadable("it is not a cassette: it has no list of interactions")
    added = mapping(data.get("agentops"))
    form = added.get("format", FORMAT)
    if form not in (1, FORMAT):
        raise CassetteVersion(f"it has format {form!r}, and this version of pytest-agentops reads 1 to {FORMAT}")
    held = len(data["interactions"])
    for count in (added.get("exchanges"), data.get(_END)):
        if isinstance(count, int) and count != held:
            raise CassetteCut(f"it is cut: it announces {count} exchanges and holds {held}")
    if added.get("format") == FORMAT and _END not in data:
        raise CassetteCut(_CUT)
    try:
        return _tape(added, data["interactions"], fetch)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
        raise CassetteUnreadable(f"an interaction has not the form that vcrpy writes: {error!r}") from error


_CUT = f"it is cut: its last line, `{_END}`, is missing"


def _parsed(raw: bytes, parser: Parser | None) -> object:
    try:
        if b"!!python/" in raw:  # Old versions of vcrpy wrote tuples and buffers so; its loader takes just those.
            from vcr.serializers import yamlserializer

            text = raw.decode("utf-8")
            document.check_depth(text)  # PyYAML's C code recurses without a guard.
            return yamlserializer.deserialize(text)
        return parser.parse(raw) if parser is not None else document.parse(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise CassetteUnreadable(f"it is not UTF-8: {error.reason} at byte {error.start}") from error
    except (yaml.YAMLError, ImportError, RecursionError, ValueError) as error:
        if _is_cut(raw):
            raise CassetteCut(_CUT) from error
        raise CassetteUnreadable(f"it is not YAML: {' '.join(str(error).split())}") from error


def _is_cut(raw: bytes) -> bool:
    """Whether a file that begins as ours do has not the end that ours have."""
    begins = re.match(rb"version: 1\r?\nagentops:\r?\n  format: (\d+)\r?\n", raw)
    return begins is not None and int(begins[1]) > 1 and f"\n{_END}:".encode() not in raw[-200:]


def _tape(added: Mapping[str, Any], entries: Sequence[Any], fetch: Callable[[str], bytes] | None) -> Tape:
    if not added.get("tests"):
        return _headed(added, [exchange_of(index, entry, fetch) for index, entry in enumerate(entries, 1)])
    found: dict[str, list[Exchange]] = {test: [] for test in added["tests"]}
    for index, entry in enumerate(entries, 1):
        found[str(mapping(entry.get("agentops")).get("test", ""))].append(exchange_of(index, entry, fetch))
    return _together({test: _headed(head, found[test]) for test, head in added["tests"].items()})


def _headed(head: Mapping[str, Any], exchanges: Sequence[Exchange]) -> Tape:
    return Tape(
        exchanges=tuple(exchanges),
        outcome=head.get("outcome"),
        prompts=tuple(Render(**render) for render in head.get("prompts", ())),
        recorded=_date(head.get("recorded")),
        teardown=head.get("teardown"),
        findings=tuple(Finding(**finding) for finding in head.get("findings", ())),
        spans=_spans(head.get("spans", ())),
    )


def _spans(stored: Any) -> tuple[Span, ...]:
    try:
        return spans_from(stored)
    except (TypeError, ValueError) as error:
        raise CassetteUnreadable(f"its spans are damaged: {error}") from error


def _date(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    return datetime.fromisoformat(value) if isinstance(value, str) else None


# --- writing ---------------------------------------------------------------------------------------------------------


def dumps(tape: Tape, keep: Callable[[bytes], str] | None = None) -> str:
    """The text of a cassette that holds this tape; `keep` takes large binary bodies and names them."""
    models = {call.model: None for call in tape.trace().model_calls if call.model}
    added = {
        "format": FORMAT,
        "recorder": _recorder(),
        **_head(tape),
        "exchanges": len(tape.exchanges),
        "models": list(models) or None,
        "tests": {test: _given(_head(each)) for test, each in tape.tests.items()} or None,
    }
    data = {
        "version": 1,
        "agentops": _given(added),
        "interactions": list(_entries(tape, keep)),
        _END: len(tape.exchanges),
    }
    dumped: str = yaml.dump(data, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)
    # libyaml ends a document so wherever a block kept its last line end.
    return dumped.removesuffix("...\n")


def _head(tape: Tape) -> dict[str, Any]:
    return {
        "recorded": tape.recorded.isoformat() if tape.recorded else None,
        "outcome": tape.outcome,
        "prompts": None if tape.tests else [asdict(render) for render in tape.prompts] or None,
        "teardown": tape.teardown,
        "findings": None if tape.tests else [asdict(finding) for finding in tape.findings] or None,
        "spans": None if tape.tests else [_told(span) for span in tape.spans] or None,
    }


def _told(span: Span) -> dict[str, Any]:
    """The span without what it has none of; texts as JSON writes them survive YAML."""
    return {key: value for key, value in asdict(span).items() if value not in (None, {}) or key == "number"}


def _given(head: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in head.items() if value is not None}


def _entries(tape: Tape, keep: Callable[[bytes], str] | None) -> Iterator[dict[str, Any]]:
    for test, each in (tape.tests or {"": tape}).items():
        for exchange in each.exchanges:
            entry = entry_of(exchange, keep)
            if test:
                entry["agentops"]["test"] = test
            yield entry


class _Dumper(yaml.CSafeDumper if hasattr(yaml, "CSafeDumper") else yaml.SafeDumper):  # type: ignore[misc]
    """Writes texts of several lines as literal blocks."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text_node(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text_node)


def save(
    tape: Tape,
    path: Path,
    *,
    test: str | None = None,
    lock: AbstractContextManager[object] | None = None,
    scan: Callable[[bytes], Sequence[Hit]] | None = None,
    synced: bool = True,
) -> None:
    """Write the cassette of this tape; the file is replaced whole or not at all.

    With `test` the cassette is one that several tests share, and what the others recorded stays; `lock` keeps other
    processes away meanwhile. `scan` looks for secrets in the very bytes. What is not `synced` survives the end of the
    process, and not that of the machine within the next seconds; it need not wait for the disk.

    Raises:
        SecretFound: there is one; nothing was written.
    """
    with lock or nullcontext():
        if test is not None:
            tape = _current(path).recorded_by(test, tape)
        _write(tape, path, scan, synced=synced)


def _current(path: Path) -> Tape:
    """What is recorded now; what cannot be read is recorded anew."""
    try:
        return load(path)
    except (CassetteMissing, CassetteUnreadable):
        return Tape()


def _write(tape: Tape, path: Path, scan: Callable[[bytes], Sequence[Hit]] | None, *, synced: bool = True) -> None:
    bodies: dict[str, bytes] = {}

    def keep(body: bytes) -> str:
        name = f"{hashlib.blake2b(body, digest_size=16).hexdigest()}.bin"
        bodies[name] = body
        return name

    text = dumps(tape, keep).encode("utf-8")
    folder = bodies_folder(path)
    for file, content in [*((folder / name, body) for name, body in bodies.items()), (path, text)]:
        if hits := scan(content) if scan is not None else ():
            raise SecretFound(hits, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The bodies first: whenever the process dies, the cassette that is there finds what it names.
    for name, body in bodies.items():
        folder.mkdir(exist_ok=True)
        if not (folder / name).exists():
            write_whole(folder / name, body, synced=synced)
    write_whole(path, text, synced=synced)
    _sweep(folder, bodies)


def write_whole(path: Path, content: bytes, *, synced: bool = True) -> None:
    """Write a file so that it is replaced whole or not at all, whatever happens meanwhile.

    Where it need not be `synced`, that does not hold for what happens to the machine.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:50]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if synced:
                os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if not synced:
        return
    with suppress(OSError):  # Where folders can be synced, a power cut does not undo the replacement.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


# --- bodies that have files of their own -----------------------------------------------------------------------------


def bodies_folder(path: Path) -> Path:
    """Where the large binary bodies of this cassette are."""
    return path.with_suffix(".bodies")


def _fetched(folder: Path, name: str) -> bytes:
    # A cassette is untrusted: what it names is a hash and never a way out of its folder.
    if not re.fullmatch(r"[0-9a-f]{32}\.bin", name):
        raise CassetteUnreadable(f"{name!r} is no name of a body")
    try:
        body = (folder / name).read_bytes()
    except OSError as error:
        raise CassetteUnreadable(f"a body is missing: {folder / name} ({error.strerror or error})") from error
    if hashlib.blake2b(body, digest_size=16).hexdigest() != name.removesuffix(".bin"):
        raise CassetteUnreadable(f"a body is damaged: {folder / name} is not what was recorded")
    return body


def _sweep(folder: Path, kept: Mapping[str, bytes]) -> None:
    """Take away the bodies that the cassette no longer names."""
    if not folder.is_dir():
        return
    for file in folder.glob("*.bin"):
        if file.name not in kept:
            file.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
