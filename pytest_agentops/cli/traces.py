"""`pytest-agentops traces list|show|compare|export`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_agentops.cli import command, printable, recorded, tell

if TYPE_CHECKING:
    from pytest_agentops.sessions import Run
    from pytest_agentops.trace import Trace
    from pytest_agentops.views import SideBySide

ABOUT = "what an agent did"


def add(commands: Any) -> None:
    """Add the commands of this area."""
    listing = command(commands, "list", "every recorded run of the project: of tests, drafts and the playground", _list)
    listing.add_argument("--search", default="", metavar="WORDS", help="runs in which each of these words stands")
    for name in _FILTERS:
        listing.add_argument(f"--{name}", default="", help=f"runs of this {name}")
    listing.add_argument("--sort", default="recorded", metavar="FIELD", help="what to sort by (default: recorded)")
    listing.add_argument("--ascending", action="store_true", help="the least first, or the oldest")
    telling = command(commands, "show", "a trace as a tree: model calls, tool calls, results, answers, findings", _tell)
    telling.add_argument("path", type=Path, help="a cassette, or a trace that was saved as JSON")
    comparing = command(commands, "compare", "two traces side by side: tool calls, answers, figures", _compare)
    comparing.add_argument("one", type=Path, help="a cassette, or a trace that was saved as JSON")
    comparing.add_argument("other", type=Path, help="another one")
    about = "traces as OpenTelemetry's spans, printed as OTLP JSON or sent to a collector"
    exporting: argparse.ArgumentParser = commands.add_parser("export", help=about, description=about)
    exporting.set_defaults(run=_export)
    exporting.add_argument("paths", nargs="+", type=Path, help="cassettes, or traces that were saved as JSON")
    exporting.add_argument("--to", metavar="URL", help="a collector, such as http://127.0.0.1:4318 (OTLP/HTTP)")
    exporting.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a header for the collector; may be repeated",
    )


_FILTERS = ("status", "place", "prompt", "model", "agent", "tool")


def _list(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from pytest_agentops.errors import UsageError, did_you_mean
    from pytest_agentops.sessions import SORTS, RunIndex, Wanted
    from pytest_agentops.settings import project_root

    if options.sort not in SORTS:
        hint = did_you_mean(options.sort, SORTS)
        raise UsageError(f"--sort {options.sort!r} is no field{hint}; there are: {', '.join(SORTS)}")
    filters = {name: getattr(options, name) for name in _FILTERS}
    wanted = Wanted(options.search, **filters, sort=options.sort, descending=not options.ascending)
    with RunIndex(project_root(Path.cwd())) as index:
        for _ in index.refresh():
            pass
        found = wanted.of(index.runs(), index.containing)
    if options.json:
        print(printable(json.dumps([asdict(run) for run in found], ensure_ascii=False, indent=2)))
    else:
        tell(_run_lines(found))
    return 0


def _run_lines(runs: Sequence[Run]) -> Iterator[str]:
    from pytest_agentops.explain import dollars

    if not runs:
        yield "no recorded run is like that"
    for run in runs:
        figures = [
            f"{run.recorded[:16].replace('T', ' ')}" if run.recorded else "no date",
            f"{run.tokens:,} tokens" if run.tokens is not None else "tokens not known",
            dollars(run.cost) if run.cost is not None else "no known price",
            f"{run.seconds:,.1f} s" if run.seconds is not None else "no times",
        ]
        yield f"{run.status:<11} {run.name}"
        yield f"            {run.problem or ', '.join(figures)}"


def _compare(options: argparse.Namespace) -> int:
    from pytest_agentops.views import aligned

    one, other = _read(options.one)[0], _read(options.other)[0]
    found = aligned(one, other)
    if options.json:
        told = {
            "same": found.same,
            "calls": [
                {"kind": each.kind, "one": each.one and str(each.one), "other": each.other and str(each.other)}
                for each in found.calls
            ],
            "answer": [{"kind": kind, "text": text} for kind, text in found.answer],
            "figures": {each.name: [each.base, each.head] for each in found.case.figures},
        }
        print(printable(json.dumps(told, ensure_ascii=False, indent=2)))
    else:
        tell(_pair_lines(one, other, found))
    return 0


def _pair_lines(one: Trace, other: Trace, found: SideBySide) -> Iterator[str]:
    from pytest_agentops.accounts import word_diff
    from pytest_agentops.explain import totals

    yield f"one:   {totals(one)}"
    yield f"other: {totals(other)}"
    if found.same:
        yield "they called the same tools with the same arguments and came to the same answer"
        return
    yield "tool calls:"
    for each in found.calls:
        if each.kind == "same":
            yield f"    {each.one}"
        if each.kind in ("removed", "changed"):
            yield f"  - {each.one}"
        if each.kind in ("added", "changed"):
            yield f"  + {each.other}"
    yield "answer:"
    answers = list(word_diff(str(one.response), str(other.response)))
    yield from (f"  {line}" for line in answers or ["  the same"])


def _tell(options: argparse.Namespace) -> int:
    from pytest_agentops.explain import trace_lines

    trace, _began = _read(options.path)
    if options.json:
        print(trace.to_json(indent=2))
    else:
        tell(trace_lines(trace))
    return 0


def _export(options: argparse.Namespace) -> int:
    from pytest_agentops.errors import UsageError
    from pytest_agentops.formats.otlp import otlp, send

    if wrong := [header for header in options.header if "=" not in header]:
        raise UsageError(f"--header {wrong[0]!r} is not NAME=VALUE")
    headers = dict(header.split("=", 1) for header in options.header)
    for path in options.paths:
        trace, began = _read(path)
        document = otlp(trace, path.stem, began=began)
        if options.to is None:
            print(json.dumps(document))
        else:
            send(document, options.to, headers)
            count = len(document["resourceSpans"][0]["scopeSpans"][0]["spans"])
            tell([f"{path}: sent as {count} span{'s' * (count != 1)}"])
    return 0


def _read(path: Path) -> tuple[Trace, datetime | None]:
    """The trace, and when it was recorded, where that is known."""
    from pytest_agentops.trace import Trace

    if path.suffix == ".json" and path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
        if '"interactions"' not in text:
            return Trace.from_json(text), None
    tape = recorded(path)
    return tape.trace(), tape.recorded
