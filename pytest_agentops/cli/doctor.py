"""`pytest-agentops doctor`: whether the clients that are installed here are captured."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_agentops.cli import tell

if TYPE_CHECKING:
    from pytest_agentops.doctor.examination import Examination, Row

ABOUT = "whether the clients and frameworks that are installed here are captured and replayed, shape by shape"


def add(parser: Any) -> None:
    """Add what this command takes."""
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="CLIENT",
        help="examine this one, such as openai; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from pytest_agentops.doctor.examination import examine

    found = examine(options.only)
    if options.json:
        print(json.dumps(found.to_data(), indent=2))
    else:
        tell(_lines(found))
    return 0 if found.is_well else 1


def _lines(found: Examination) -> Iterator[str]:
    for client, rows in found.clients.items():
        yield from _client_lines(client, rows)
    if found.transports:
        yield "installed too, and not seen:"
        width = max(len(each.name) for each in found.transports)
        yield from (f"    {each.name:<{width}}  {each.what}" for each in found.transports)
    installed = [row for row in found.rows if row.status != "not installed"]
    captured = sum(row.status == "captured" for row in installed)
    yield f"{captured} of {len(installed)} shapes of what is installed are captured and replayed"


def _client_lines(client: str, rows: list[Row]) -> Iterator[str]:
    first = rows[0]
    if first.status == "not installed":
        yield f"{client}: not installed: {first.reason}"
        return
    yield f"{client}: {first.version}" if first.version else f"{client}: of the standard library"
    width = max(len(row.shape or "") for row in rows)
    for row in rows:
        shape = f"{row.shape:<{width}}  " if row.shape else ""
        if row.status == "captured":
            yield f"  + {shape}seen, read, replayed"
        else:
            yield f"  - {shape}{row.status}: {row.reason}"
