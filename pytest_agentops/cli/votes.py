"""`pytest-agentops votes list|rank`."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_agentops.cli import command, printable, tell
from pytest_agentops.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from pytest_agentops.votes import Rank, Tally

ABOUT = "blind votes on answers, and the ranking that they make"


def add(commands: Any) -> None:
    """Add the commands of this area."""
    listing = command(commands, "list", "the prompts that people voted on, and how many of their votes count", _list)
    ranking = command(commands, "rank", "how states of prompts and models fare against each other", _rank)
    for each in (listing, ranking):
        each.add_argument("prompt", nargs="?", help="of this prompt alone")


def _list(options: argparse.Namespace) -> int:
    found = {name: _tally([name]) for name in _names(options.prompt)}
    rows = [
        {
            "prompt": name,
            "votes": len(tally.counted.votes),
            "stale": tally.counted.stale,
            "replaced": tally.counted.replaced,
            "by": dict(Counter(vote.by for vote in tally.counted.votes)),
            "last": tally.counted.votes[-1].at.isoformat() if tally.counted.votes else None,
        }
        for name, tally in found.items()
    ]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        tell(_lines(rows))
    return _complained(_tally([]))


def _lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        yield "nobody has voted yet; the page Vote of `pytest-agentops playground` asks"
    for row in rows:
        stale = f", {row['stale']} about what has changed since" if row["stale"] else ""
        by = ", ".join(f"{name or 'somebody'} {count}" for name, count in sorted(row["by"].items()))
        yield f"{row['prompt']}: {row['votes']} {_plural('vote', row['votes'])}{stale}{f' ({by})' if by else ''}"


def _rank(options: argparse.Namespace) -> int:
    from pytest_agentops.votes import ranking

    tally = _tally(_names(options.prompt) if options.prompt else None)
    ranks = ranking(tally.counted.votes)
    if options.json:
        print(json.dumps({"ranks": [_as_json(rank) for rank in ranks], "stale": tally.counted.stale}, indent=2))
    else:
        tell(_rank_lines(ranks, tally))
    return _complained(tally)


def _as_json(rank: Rank) -> dict[str, Any]:
    low, high = rank.interval
    return {
        **rank.contestant._asdict(),
        "name": rank.name,
        "strength": rank.strength,
        "low": rank.low if isfinite(rank.low) else None,
        "high": rank.high if isfinite(rank.high) else None,
        "chance": rank.chance,
        "interval": [low, high],
        "wins": rank.wins,
        "losses": rank.losses,
        "ties": rank.ties,
        "group": rank.group,
    }


def _rank_lines(ranks: Sequence[Rank], tally: Tally) -> Iterator[str]:
    from pytest_agentops.formats.votes import labels, share

    names = labels(ranks)
    wide = max(map(len, names.values()), default=0)
    if ranks:
        yield "chance to win against an average one, with where it truly lies in 95 of 100 samples"
    group = 0
    for rank in ranks:
        if rank.group != group:
            group = rank.group
            yield "never compared with those above:"
        told = f"{rank.wins} won, {rank.losses} lost, {rank.ties} tied"
        yield f"  {names[rank]:{wide}}  {share(rank):16}  {told}"
    if not ranks:
        yield "no vote counts"
    if stale := tally.counted.stale:
        yield f"{stale} {_plural('vote', stale)} about what has changed since; not counted"


def _plural(word: str, number: int) -> str:
    return word if number == 1 else f"{word}s"


def _complained(tally: Tally) -> int:
    """Tell of damaged lines; the exit code says whether there are any."""
    for each in tally.damaged:
        print(printable(f"pytest-agentops: {each}"), file=sys.stderr)
    return 1 if tally.damaged else 0


def _names(prompt: str | None) -> list[str]:
    """The prompts that there are votes about, or the one that was asked for.

    Raises:
        UsageError: nobody has voted on it.
    """
    from pytest_agentops.settings import project_root
    from pytest_agentops.votes import files, read

    kept = [vote for path in files(project_root(Path.cwd())) for vote in read(path).votes]
    names = sorted({side.prompt for vote in kept for side in (vote.left, vote.right)})
    if prompt is None:
        return names
    if prompt not in names:
        raise UsageError(
            f"nobody has voted on {prompt!r}{did_you_mean(prompt, names)}\n  all: pytest-agentops votes list"
        )
    return [prompt]


def _tally(names: list[str] | None) -> Tally:
    from pytest_agentops.repository import PromptRepository
    from pytest_agentops.settings import project_root, read_settings
    from pytest_agentops.votes import tally

    settings = read_settings(project_root(Path.cwd()))
    return tally(settings.root, PromptRepository(settings.prompts), names)
