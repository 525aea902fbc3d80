"""The door for a shell: `pytest-agentops cassettes list|show|check|prune` and `traces show`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_agentops.errors import AgentopsError, CassetteMissing, CassetteUnreadable, UsageError

if TYPE_CHECKING:
    from pytest_agentops.housekeeping import Complaint, House
    from pytest_agentops.tape import Tape
    from pytest_agentops.trace import Trace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 is fine, 1 says that something is wrong with a file, 2 that the command was used wrongly."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except (UsageError, CassetteMissing) as error:
        print(f"pytest-agentops: {error}", file=sys.stderr)
        return 2
    except AgentopsError as error:
        print(f"pytest-agentops: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # The reader, such as `head`, has seen enough.
        sys.stderr.close()
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pytest-agentops", description="Look at what agents did: cassettes and the traces in them."
    )
    parser.add_argument("--version", action="version", version=f"pytest-agentops {version('pytest-agentops')}")
    areas = parser.add_subparsers(title="what to look at", metavar="AREA", required=True)

    cassettes = _area(areas, "cassettes", "recorded exchanges")
    listing = _command(cassettes, "list", "every cassette below a folder, with its size, outcome and models", _list)
    listing.add_argument("paths", nargs="*", type=Path, help="folders or files (default: this folder)")
    showing = _command(cassettes, "show", "the exchanges of one cassette, one line each", _show)
    showing.add_argument("path", type=Path, help="a cassette")
    checking = _command(cassettes, "check", "secrets, damage and disorder in cassettes", _check)
    checking.add_argument("paths", nargs="*", type=Path, help="folders or files (default: this folder)")
    checking.add_argument("--strict", action="store_true", help="fail on disorder too, not on secrets and damage alone")
    pruning = _command(cassettes, "prune", "remove the cassettes that no test owns; shows them first", _prune)
    pruning.add_argument("paths", nargs="*", type=Path, help="folders (default: this folder)")
    pruning.add_argument("--yes", action="store_true", help="remove them without asking for it again")

    traces = _area(areas, "traces", "what an agent did")
    telling = _command(traces, "show", "a trace as a tree: model calls, tool calls, results, answers, findings", _tell)
    telling.add_argument("path", type=Path, help="a cassette, or a trace that was saved as JSON")
    return parser


def _area(areas: Any, name: str, about: str) -> Any:
    return areas.add_parser(name, help=about, description=about).add_subparsers(metavar="COMMAND", required=True)


def _command(commands: Any, name: str, about: str, run: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    command.add_argument("--json", action="store_true", help="the same as JSON")
    command.set_defaults(run=run)
    return command


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
    from pytest_agentops.tape import load

    tape = load(options.path)
    if options.json:
        print(json.dumps({"cassette": str(options.path), **_about(tape), "exchanges": list(_entries(tape))}, indent=2))
        return 0
    about = _about(tape)
    parts = [about["outcome"] or "written by another tool", ", ".join(about["models"]), about["recorded"]]
    print(f"{options.path}: {', '.join(filter(None, parts))}")
    for exchange in tape.exchanges:
        print(f"  {exchange_line(exchange)}")
    return 0


def _tell(options: argparse.Namespace) -> int:
    from pytest_agentops.explain import trace_lines

    trace = _trace(options.path)
    print(trace.to_json(indent=2) if options.json else "\n".join(trace_lines(trace)))
    return 0


def _trace(path: Path) -> Trace:
    from pytest_agentops.trace import Trace

    if path.suffix == ".json" and path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
        if '"interactions"' not in text:
            return Trace.from_json(text)
    return Trace.from_cassette(path)


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
        root=settings.root, prompts=settings.prompts, scan=partial(scan, rules=settings.redact), models=settings.models
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


if __name__ == "__main__":
    raise SystemExit(main())
