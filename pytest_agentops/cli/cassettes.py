"""`pytest-agentops cassettes list|show|check|prune|import`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_agentops.cli import command, recorded, tell
from pytest_agentops.errors import CassetteUnreadable

if TYPE_CHECKING:
    from pytest_agentops.housekeeping import Complaint, House
    from pytest_agentops.tape import Tape

ABOUT = "recorded exchanges"


def add(commands: Any) -> None:
    """Add the commands of this area."""
    listing = command(commands, "list", "every cassette below a folder, with its size, outcome and models", _list)
    listing.add_argument("paths", nargs="*", type=Path, help="folders or files (default: this folder)")
    showing = command(commands, "show", "the exchanges of one cassette, one line each", _show)
    showing.add_argument("path", type=Path, help="a cassette")
    checking = command(commands, "check", "secrets, damage and disorder in cassettes", _check)
    checking.add_argument("paths", nargs="*", type=Path, help="folders or files (default: this folder)")
    checking.add_argument("--strict", action="store_true", help="fail on disorder too, not on secrets and damage alone")
    pruning = command(commands, "prune", "remove the cassettes that no test owns; shows them first", _prune)
    pruning.add_argument("paths", nargs="*", type=Path, help="folders (default: this folder)")
    pruning.add_argument("--yes", action="store_true", help="remove them without asking for it again")
    adopting = command(
        commands, "import", "make cassettes of vcrpy and others ours, without secrets; shows the plan", _import
    )
    adopting.add_argument("paths", nargs="+", type=Path, help="folders or files")
    adopting.add_argument(
        "--into", type=Path, metavar="FOLDER", help="write them below this folder, not in their place"
    )
    adopting.add_argument("--yes", action="store_true", help="do it")


def _import(options: argparse.Namespace) -> int:
    from pytest_agentops.adoption import Adoption, adopt, adoptions
    from pytest_agentops.errors import UsageError
    from pytest_agentops.settings import project_root, read_settings

    for path in options.paths:
        if not path.exists():
            raise UsageError(f"there is no {path}")
    rules = read_settings(project_root(Path.cwd())).redact
    found = list(adoptions(options.paths, into=options.into, rules=rules))
    failed: dict[Path, Adoption] = {}
    if options.yes:
        failed = {each.source: each for each in adopt(found, rules)}
    rows = [_adopted(failed.get(each.source, each), done=options.yes) for each in found]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        tell(_adoption_lines(rows, done=options.yes))
    return 1 if any(row["problem"] and row["problem"] != "it is ours already" for row in rows) else 0


def _adopted(each: Any, *, done: bool) -> dict[str, Any]:
    return {
        "source": str(each.source),
        "target": str(each.target),
        "exchanges": len(each.tape.exchanges),
        "models": list(each.models),
        "secrets": each.secrets,
        "unknown": list(each.unknown),
        "problem": each.problem,
        "done": done and not each.problem,
    }


def _adoption_lines(rows: Sequence[dict[str, Any]], *, done: bool) -> Iterator[str]:
    for row in rows:
        if row["problem"]:
            yield f"{row['source']}: left as it is: {row['problem']}"
            continue
        where = "" if row["source"] == row["target"] else f" -> {row['target']}"
        secrets = f", {row['secrets']} secrets taken out" if row["secrets"] else ""
        yield f"{row['source']}{where}: {row['exchanges']} exchanges, {', '.join(row['models']) or 'no model'}{secrets}"
        yield from (f"  not a model's endpoint: {each}" for each in row["unknown"])
    good = sum(not row["problem"] for row in rows)
    yield f"{good} of {len(rows)} cassettes {'are ours now' if done else 'would be ours'}"
    if good and not done:
        yield "  to do it: the same with --yes"


def _list(options: argparse.Namespace) -> int:
    from pytest_agentops.housekeeping import cassettes
    from pytest_agentops.tape import load

    rows, broken = [], 0
    for path in cassettes(options.paths or [Path()]):
        try:
            rows.append({"cassette": str(path), **_about(load(path))})
        except CassetteUnreadable as error:
            broken += 1
            rows.append({"cassette": str(path), "error": str(error)})
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        print("\n".join(_table(rows)) if rows else "no cassettes here; tests that use agent_trace record them")
    return 1 if broken else 0


def _show(options: argparse.Namespace) -> int:
    from pytest_agentops.explain import exchange_line

    tape = recorded(options.path)
    if options.json:
        print(json.dumps({"cassette": str(options.path), **_about(tape), "exchanges": list(_entries(tape))}, indent=2))
        return 0
    about = _about(tape)
    parts = [about["outcome"] or "written by another tool", ", ".join(about["models"]), about["recorded"]]
    print(f"{options.path}: {', '.join(filter(None, parts))}")
    for exchange in tape.exchanges:
        print(f"  {exchange_line(exchange)}")
    return 0


def _check(options: argparse.Namespace) -> int:
    complaints = list(_house().check(options.paths or [Path()]))
    serious = [complaint for complaint in complaints if complaint.serious]
    if options.json:
        print(json.dumps([_told(complaint) for complaint in complaints], indent=2))
    else:
        print("\n".join(_complaint_lines(complaints, len(serious))))
    return 1 if serious or (options.strict and complaints) else 0


def _complaint_lines(complaints: Sequence[Complaint], serious: int) -> Iterator[str]:
    for complaint in complaints:
        yield f"{complaint.path}: {complaint.kind}: {complaint.message}"
    if not complaints:
        yield "nothing to complain about"
        return
    untidy = len(complaints) - serious
    yield f"{serious} serious, {untidy} untidy"
    if serious:
        yield "  secrets: record the test again, and change a secret that was committed; damage: record it again"
    if any(complaint.kind in ("orphaned", "leftover") for complaint in complaints):
        yield "  to remove what no test owns: pytest-agentops cassettes prune"


def _prune(options: argparse.Namespace) -> int:
    from pytest_agentops.housekeeping import removals, remove

    complaints = list(_house().check(options.paths or [Path()]))
    going = removals(complaints)
    if options.json:
        print(json.dumps({"remove": [str(path) for path in going], "removed": options.yes}, indent=2))
    else:
        print("\n".join(_removal_lines(going, complaints, done=options.yes)))
    if options.yes:
        remove(going)
    return 0


def _removal_lines(going: Sequence[Path], complaints: Iterable[Complaint], *, done: bool) -> Iterator[str]:
    if not going:
        yield "nothing to remove"
        return
    why = {complaint.path: complaint.message for complaint in complaints if complaint.kind in ("orphaned", "leftover")}
    yield "removed:" if done else "would remove:"
    for path in going:
        yield f"  {path}  ({why.get(path, 'its bodies')})"
    if not done:
        yield "  to do it: pytest-agentops cassettes prune --yes"


def _told(complaint: Complaint) -> dict[str, Any]:
    return {
        "cassette": str(complaint.path),
        "kind": complaint.kind,
        "message": complaint.message,
        "serious": complaint.serious,
    }


def _house() -> House:
    from functools import partial

    from pytest_agentops.housekeeping import House
    from pytest_agentops.redaction import scan
    from pytest_agentops.settings import project_root, read_settings

    settings = read_settings(project_root(Path.cwd()))
    return House(
        root=settings.root,
        prompts=settings.prompts,
        scan=partial(scan, rules=settings.redact),
        models=settings.models.gone,
    )


def _about(tape: Tape) -> dict[str, Any]:
    models = dict.fromkeys(call.model for call in tape.trace().model_calls if call.model)
    return {
        "outcome": tape.outcome,
        "exchanges": len(tape.exchanges),
        "models": list(models),
        "recorded": tape.recorded.isoformat() if tape.recorded else None,
    }


def _entries(tape: Tape) -> Iterator[dict[str, Any]]:
    for exchange in tape.exchanges:
        yield {
            "number": exchange.number,
            "method": exchange.request.method,
            "url": exchange.request.url,
            "status": exchange.response.status if exchange.response else None,
            "failure": exchange.failure.kind if exchange.failure else None,
            "seconds": exchange.timing.seconds if exchange.timing else None,
            "request_bytes": len(exchange.request.body),
            "response_bytes": len(exchange.response.body) if exchange.response else 0,
        }


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    width = max(len(row["cassette"]) for row in rows)
    for row in rows:
        if "error" in row:
            yield f"{row['cassette']:<{width}}  unreadable: {row['error'].removeprefix(row['cassette'] + ': ')}"
            continue
        date = (row["recorded"] or "no date")[:10]
        models = ", ".join(row["models"]) or "no model"
        outcome = row["outcome"] or "foreign"
        yield f"{row['cassette']:<{width}}  {row['exchanges']:>4}  {outcome:<7} {date:<10}  {models}"
