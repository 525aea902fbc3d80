"""A prompt while it is written, as HTML for the playground; whatever prompts and people say is text in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pytest_agentops.formats import macros, plain
from pytest_agentops.manuscript import Manuscript, Row, Said, Weight, compared
from pytest_agentops.releases import Edit

_MOST_ROWS = 400
"""Of a comparison; whoever wants to see more asks git."""
_MOST_ADDED = 60
"""Lines of a new file."""


def rendered(said: Sequence[Said], *, left_out: Sequence[str] = (), stale: str = "") -> str:
    """Messages with each stretch coloured by who wrote it; `stale` says why they are not those of the text now.

    `left_out` are inputs that are messages, images or files.
    """
    return _made("rendered", said, list(left_out), stale)


def findings(of: Manuscript) -> str:
    """The lines of a prompt with what is wrong below each, and how its author allows it."""
    kept = _near(of)
    lines = [
        (
            line,
            [(each, each.allowance(of.text)) for each in line.complaints],
            index > 0 and kept[index - 1] != number - 1,
        )
        for index, number in enumerate(kept)
        for line in (of.lines[number],)
    ]
    return _made("findings", lines, len(of.complaints), sum(each.serious for each in of.complaints))


def _near(of: Manuscript) -> list[int]:
    """The places of the lines that have findings, and of those around them."""
    wrong = [index for index, line in enumerate(of.lines) if line.complaints]
    near = {each + offset for each in wrong for offset in range(-2, 3)}
    return [index for index in range(len(of.lines)) if index in near]


def tokens(weights: Sequence[Weight]) -> str:
    """About how many tokens each source takes, as bars."""
    most = max((each.tokens for each in weights), default=0) or 1
    rows = [(each, round(100 * each.tokens / most)) for each in weights]
    return _made("tokens", rows, sum(each.tokens for each in weights))


def comparison(rows: Iterable[Row], said: Sequence[tuple[str, str]] = (), *, old: str, new: str) -> str:
    """Two texts line by line, below what their difference means; `old` and `new` name them."""
    return _made("comparison", list(_shown(rows)), list(said), old, new)


def plan(
    steps: Sequence[str], edits: Sequence[Edit], commands: Sequence[str], *, shown: Mapping[Path, str] | None = None
) -> str:
    """What would be changed: in words, and each file line by line, before it is done.

    `shown` are the names of files as a person would type them.
    """
    names = shown or {}
    files = [
        {
            "name": names.get(edit.path, str(edit.path)),
            "new": edit.old is None,
            "rows": list(_shown(compared(edit.old or "", edit.new), _MOST_ADDED if edit.old is None else _MOST_ROWS)),
        }
        for edit in edits
    ]
    return _made("plan", [step.splitlines() for step in steps], files, list(commands))


def _shown(rows: Iterable[Row], most: int = _MOST_ROWS) -> Iterator[Row]:
    whole = iter(rows)
    yield from islice(whole, most)
    if more := sum(row.kind != "gap" for row in whole):
        yield Row("gap", None, None, (("same", f"{more} more lines"),))


def _made(view: str, *values: Any) -> str:
    return plain(getattr(macros("edit.html.jinja"), view)(*values))
