"""What a report in Markdown vouches for: digests of itself and of every file that its verdict rests on.

A seal tells a report that is stale, edited, or about other files from one that is not. It is no signature: whoever can
write the files can write the seal.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pytest_agentops.behaviour import is_cassette
from pytest_agentops.errors import CassetteError, ReportError
from pytest_agentops.history import History
from pytest_agentops.impact import is_report
from pytest_agentops.regression import Take
from pytest_agentops.tape import load

Part = Literal["prompts", "tools", "datasets", "cassettes", "code"]
PARTS: tuple[Part, ...] = get_args(Part)
"""What a verdict rests on. Tools are their declarations as recorded; datasets are tables and lists of data."""

_DATA = (".csv", ".jsonl", ".ndjson", ".parquet", ".tsv")
_LINE = re.compile(r"\n<!-- pytest-agentops seal (\{.*\}) -->\n?\Z")
_VERSION = 1


@dataclass(frozen=True)
class Seal:
    """What stands at the end of a report."""

    commit: str
    """The newest commit when it was made."""
    parts: Mapping[str, str]
    """The digest of each part of the project."""
    text: str
    """The digest of the report's own text."""


def sealed(text: str, path: Path, history: History) -> str:
    """The text with a seal at its end; `path` is where it will stand. Reports are no part of what it vouches for."""
    body = text.rstrip("\n") + "\n"
    told = {
        "version": _VERSION,
        "commit": history.commit("HEAD"),
        **digests(history, path),
        "text": _digest(body.encode("utf-8", "backslashreplace")),
    }
    return f"{body}\n<!-- pytest-agentops seal {json.dumps(told)} -->\n"


def verify(path: Path, history: History) -> Seal:
    """The seal of a report that tells of what is here.

    Raises:
        ReportError: there is no seal, the text was edited, or what it vouches for is another one here.
    """
    try:
        whole = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ReportError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    whole = whole.replace("\r\n", "\n")
    found = _LINE.search(whole)
    if found is None:
        raise ReportError(f"{path} has no seal\n  make one: pytest --agentops-report={path.name}")
    try:
        told = json.loads(found[1])
        seal = Seal(told["commit"], {part: told[part] for part in PARTS}, told["text"])
        known = told["version"] == _VERSION
        if known and not all(re.fullmatch("[0-9a-f]{40,64}", each) for each in (seal.commit, seal.text)):
            raise ValueError("no digest")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ReportError(f"{path} has a seal that cannot be read: it was edited") from None
    if not known:
        raise ReportError(f"{path} has a seal of version {told['version']!r}, and this is {_VERSION}")
    if _digest(whole[: found.start()].encode("utf-8")) != seal.text:
        raise ReportError(f"{path} was edited: its text is not the one that was sealed")
    now = digests(history, path)
    if changed := [part for part in PARTS if now[part] != seal.parts[part]]:
        raise ReportError(
            "\n".join(
                [
                    f"{path} is stale; what it tells of is another by now: {', '.join(changed)}",
                    *_since(history, seal.commit, path, changed),
                    f"  make it anew: pytest --agentops-report={path.name}",
                ]
            )
        )
    return seal


def _since(history: History, commit: str, path: Path, parts: Sequence[Part]) -> Iterator[str]:
    """Which files are others than when the report was made, as far as git can tell: best what is not committed."""
    from pytest_agentops.errors import HistoryError

    def changed(ref: str) -> list[str]:
        wanted = {*parts, *(["cassettes"] if "tools" in parts else [])}
        files = [file for file in history.changed_since(ref) if _part(file, history.prefix) in wanted]
        return [file for file in files if history.root / file != path.resolve() and not is_report(history.root / file)]

    if files := changed("HEAD"):
        yield f"  not committed: {', '.join(files[:5])}{f' and {len(files) - 5} more' if len(files) > 5 else ''}"
        return
    try:
        files = changed(commit)
    except HistoryError:
        yield f"  it was made at {commit[:9]}, which is not here"
        return
    shown = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
    nothing = "nothing that was committed; perhaps a file was there that never was"
    yield f"  changed since {commit[:9]}, at which it was made: {shown or nothing}"


def digests(history: History, report: Path) -> dict[str, str]:
    """The digest of each part of the project as it is in the working tree; reports of it are left out."""
    found: dict[Part, list[tuple[str, str]]] = {part: [] for part in PARTS}
    tools: set[tuple[str, str]] = set()
    for name in history.present():
        path = history.root / name
        if path == report.resolve() or not path.is_file() or is_report(path):
            continue
        part = _part(name, history.prefix)
        found[part].append((name, _digest(_content(path))))
        if part == "cassettes" and name.endswith(".yaml"):
            tools |= set(_tools(path))
    found["tools"] = sorted(tools)
    return {part: _digest(json.dumps(sorted(rows)).encode()) for part, rows in found.items()}


def _part(name: str, prefix: str) -> Part:
    if prefix and name.startswith(prefix):
        return "prompts"
    if is_cassette(name) or ".bodies/" in name:
        return "cassettes"
    return "datasets" if name.lower().endswith(_DATA) else "code"


def _tools(path: Path) -> Iterator[tuple[str, str]]:
    try:
        yield from Take.of(load(path)).tools.items()
    except CassetteError:
        return


def _content(path: Path) -> bytes:
    """The bytes of a file; of a text with the ends of lines that git keeps, whatever a checkout makes of them."""
    data = path.read_bytes()
    return data if b"\0" in data[:8000] else data.replace(b"\r\n", b"\n")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
