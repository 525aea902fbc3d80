"""The door for a shell: `pytest-agentops cassettes|prompts|traces|votes COMMAND`; each area has a module of its own."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_agentops.errors import AgentopsError, CassetteMissing, UsageError, did_you_mean

if TYPE_CHECKING:
    from pytest_agentops.tape import Tape

AREAS = ("cassettes", "prompts", "report", "traces", "votes")
"""Each has commands of its own."""
COMMANDS = ("compare", "doctor", "gate", "init", "playground")
"""Commands of no area."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 is fine, 1: something is wrong, 2: the command was used wrongly, 3: a gate is undecided."""
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
        prog="pytest-agentops", description="Look at what agents did and were told: cassettes, traces, prompts, votes."
    )
    parser.add_argument("--version", action="version", version=f"pytest-agentops {version('pytest-agentops')}")
    areas = parser.add_subparsers(title="what to look at", metavar="AREA or COMMAND", required=True)
    for name in AREAS:
        area = import_module(f"{__name__}.{name}")
        commands = areas.add_parser(name, help=area.ABOUT, description=area.ABOUT)
        area.add(commands.add_subparsers(metavar="COMMAND", required=True))
    for name in COMMANDS:
        module = import_module(f"{__name__}.{name}")
        module.add(areas.add_parser(name, help=module.ABOUT, description=module.ABOUT))
    return parser


def recorded(path: Path) -> Tape:
    """What is in the cassette at this path.

    Raises:
        CassetteMissing: there is none; the one that was meant is suggested.
        CassetteUnreadable: it is not a cassette, or damaged.
    """
    from pytest_agentops.housekeeping import cassettes
    from pytest_agentops.tape import load

    try:
        return load(path)
    except CassetteMissing as error:
        found = list(cassettes([Path()]))
        same_name = [str(each) for each in found if each.stem == path.stem]
        near = f"; did you mean {same_name[0]!r}?" if same_name else did_you_mean(path, map(str, found))
        raise CassetteMissing(f"{error}{near}\n  all of them: pytest-agentops cassettes list") from None


def command(commands: Any, name: str, about: str, run: Any) -> argparse.ArgumentParser:
    """A command of an area, which can always give JSON."""
    made: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    made.add_argument("--json", action="store_true", help="the same as JSON")
    made.set_defaults(run=run)
    return made


def printable(text: str) -> str:
    """The text without what UTF-8 has no way to write, such as half of a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


_STYLES = (
    (r"\[-.*?-\]|^\s*- .*", "red"),
    (r"\{\+.*?\+\}|^\s*\+ .*", "green"),
    (r"^\S[^:]*:(?=\s|$)", "bold"),
    (r"\b[0-9a-f]{9}\b|sha256:[0-9a-f]+", "dim"),
)
"""What stands out on a terminal: what went, what came, what a paragraph is about, the names of commits."""


def tell(lines: Iterable[str]) -> None:
    """Print the lines: with colours on a terminal, as they are to a file or a pipe."""
    lines = map(printable, lines)
    if not sys.stdout.isatty():
        for line in lines:
            print(line)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        text = Text(line)
        for pattern, style in _STYLES:
            for found in re.finditer(pattern, line):
                text.stylize(style, *found.span())
        console.print(text)
