"""The journal: what was recorded and is not saved yet, on disk before the program goes on.

Every process has a folder of its own below `.agentops/journal`, locked while it lives. What a killed process left there
becomes drafts when the next one begins, so that no reply that was paid for is lost.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from pytest_agentops.errors import CassetteError
from pytest_agentops.exchange import Exchange
from pytest_agentops.interaction import entry_of, exchange_of
from pytest_agentops.tape import Tape, load, one_after_another, save
from pytest_agentops.trace import Render

if TYPE_CHECKING:
    from pytest_agentops.redaction import Hit

_LOCK = "process.lock"


class Journal:
    """What this process records below `folder`, an `.agentops` folder, and has not saved yet."""

    def __init__(self, folder: Path) -> None:
        self.recovered: tuple[Path, ...] = ()
        """The drafts made from what killed processes left, once the journal is open."""
        self._home = folder
        self._folder: Path | None = None
        self._lock: FileLock | None = None
        self._opening = threading.Lock()
        self._names = iter(range(1, 1_000_000_000))

    def recover(self) -> None:
        """Make drafts of what killed processes left; other processes that begin now wait until it is done."""
        root = self._home / "journal"
        if not root.is_dir():
            return
        with FileLock(root / "recovery.lock"):
            drafts: list[Path] = []
            for folder in sorted(path for path in root.iterdir() if path.is_dir() and path != self._folder):
                lock = FileLock(folder / _LOCK)
                with suppress(Timeout, OSError):  # It lives, or somebody else has just taken it away.
                    with lock.acquire(timeout=0):
                        drafts += _drafted(folder)
                    shutil.rmtree(folder, ignore_errors=True)
            self.recovered = tuple(drafts)

    def page(self, draft: Path, scan: Callable[[bytes], Sequence[Hit]]) -> Page:
        """Where one recording notes what it will want to save; the file begins with the first note.

        A note in which `scan` finds a secret is not written.
        """
        return Page(self._new, draft, scan)

    def close(self) -> None:
        """The process ends: what is on its pages still is left to the next."""
        if self._folder is not None and self._lock is not None:
            left = any(self._folder.glob("*.jsonl"))
            self._lock.release()
            if not left:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = self._lock = None

    def _new(self) -> Path:
        with self._opening:
            if self._folder is None:
                ignored_by_git(self._home)
                folder = self._home / "journal" / f"{os.getpid()}-{secrets.token_hex(4)}"
                folder.mkdir(parents=True)
                self._lock = FileLock(folder / _LOCK)
                self._lock.acquire()
                self._folder = folder
            return self._folder / f"{next(self._names):06}.jsonl"


class Page:
    """The notes of one recording: one line for each finished exchange and each rendered prompt, redacted."""

    def __init__(self, new: Callable[[], Path], draft: Path, scan: Callable[[bytes], Sequence[Hit]]) -> None:
        self._new, self._scan = new, scan
        self._head = {"draft": str(draft), "recorded": datetime.now(UTC).replace(microsecond=0).isoformat()}
        self._path: Path | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._torn = False

    def note(self, note: Exchange | Render) -> None:
        """Write this down before the program goes on."""
        if os.getpid() != self._owner:
            return  # A forked child's are not ours to keep; its requests are refused anyhow.
        with self._lock:
            if self._torn:
                return
            if self._path is None:
                self._path = self._new()
                self._append(self._head)
            self._append(_noted(note))

    def rewrite(self, notes: Sequence[Exchange | Render]) -> None:
        """Write every note anew: a secret was learned that an earlier one may hold."""
        with self._lock:
            if self._path is not None and not self._torn:
                whole = self._path.with_suffix(".tmp")
                lines = map(_line, [self._head, *map(_noted, notes)])
                whole.write_bytes(b"".join(line for line in lines if not self._scan(line)))
                whole.replace(self._path)

    def tear_out(self) -> None:
        """What was noted is saved elsewhere, or is not wanted."""
        with self._lock:
            self._torn = True
            if self._path is not None and os.getpid() == self._owner:
                self._path.unlink(missing_ok=True)

    def _append(self, line: Mapping[str, Any]) -> None:
        assert self._path is not None
        text = _line(line)
        if self._scan(text):
            return
        with self._path.open("ab", buffering=0) as file:  # The kernel has it; a kill of ours does not matter then.
            file.write(text)


def ignored_by_git(folder: Path) -> None:
    """Make this folder and let git ignore what is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")


def _noted(note: Exchange | Render) -> dict[str, Any]:
    return {"render": asdict(note)} if isinstance(note, Render) else {"exchange": entry_of(note)}


def _line(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, default=_encoded).encode() + b"\n"


def _encoded(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return str(value)


def _decoded(value: dict[str, Any]) -> object:
    return base64.b64decode(value["base64"]) if set(value) == {"base64"} else value


def _drafted(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob("*.jsonl")):
        with suppress(CassetteError, KeyError, TypeError, ValueError, AttributeError):
            notes = list(_lines(path))
            draft = Path(notes[0]["draft"])
            said = [line["exchange"] for line in notes if "exchange" in line]
            # A WebSocket is noted several times while it grows; the last note of a number is the whole of it.
            found = [exchange_of(index, entry) for index, entry in enumerate(said, 1)]
            tape = Tape(
                exchanges=tuple({exchange.number: exchange for exchange in found}.values()),
                outcome="interrupted",
                prompts=tuple(Render(**line["render"]) for line in notes if "render" in line),
                recorded=datetime.fromisoformat(notes[0]["recorded"]),
            )
            save(added_to(draft, tape), draft)
            yield draft


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().split(b"\n")[:-1]:  # The last line was cut where there is something behind it.
        with suppress(ValueError):
            yield json.loads(line, object_hook=_decoded)


def added_to(draft: Path, tape: Tape) -> Tape:
    """What is in the draft already, and then what is new."""
    try:
        before = load(draft)
    except CassetteError:
        return tape
    both = one_after_another([before, tape])
    return replace(tape, exchanges=both.exchanges, prompts=both.prompts, spans=both.spans)
