"""What a voter sees, without whose it is, and the ranking that votes make, as HTML; whatever anybody wrote is text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import isinf
from typing import Any

from pytest_agentops.datasets import MISSING
from pytest_agentops.formats import plain, template
from pytest_agentops.votes import Ballot, Candidate, Question, Rank


def question(asked: Question, ballot: Ballot) -> str:
    """Two answers side by side, below the case that they answer and how far this has come."""
    case = asked.left.case
    rows = [*case.inputs.items()]
    if case.message:
        rows.append(("message", case.message))
    if case.expected is not MISSING:
        rows.append(("expected", case.expected))
    return _drawn(
        case=case.name,
        rows=[(name, _shown(value)) for name, value in rows],
        sides=[("Left", _answer(asked.left)), ("Right", _answer(asked.right))],
        done=ballot.asked,
        every=ballot.every,
        percent=round(100 * ballot.asked / max(1, ballot.every)),
        ranks=None,
    )


def ranking(ranks: Sequence[Rank]) -> str:
    """How all contestants fare: the chance of each to win against an average one, with its interval."""
    names = labels(ranks)
    return _drawn(
        case=None,
        ranks=[
            {
                "place": _place(ranks, rank),
                "name": names[rank],
                "share": share(rank),
                "at": round(100 * rank.chance, 1),
                "low": round(100 * rank.interval[0], 1),
                "width": round(100 * (rank.interval[1] - rank.interval[0]), 1),
                "open": " open-below" if isinf(rank.low) else " open-above" if isinf(rank.high) else "",
                "counts": f"{rank.wins} won, {rank.losses} lost, {rank.ties} tied",
                "begins": rank.group > 0 and _place(ranks, rank) == 1,
            }
            for rank in ranks
        ],
    )


def labels(ranks: Sequence[Rank]) -> Mapping[Rank, str]:
    """What to call each: the prompt, its model, and of its settings as much as tells it from others."""
    short = {rank: " · ".join(filter(None, (rank.name, rank.contestant.model))) for rank in ranks}
    often = Counter(short.values())
    return {rank: name if often[name] == 1 else f"{name} · {_settings(rank)}" for rank, name in short.items()}


def _settings(rank: Rank) -> str:
    settings = rank.contestant.settings.removeprefix("sha256:")[:7]
    return f"settings {settings}" if settings else "no settings"


def share(rank: Rank) -> str:
    """The chance to win against an average contestant in words; nothing is said of an end that nothing bounds."""
    low, high = (f"{100 * each:.0f}" for each in rank.interval)
    if isinf(rank.high) and isinf(rank.low):
        return "not known"
    if isinf(rank.high):
        return f"at least {low} %"
    if isinf(rank.low):
        return f"at most {high} %"
    return f"{100 * rank.chance:.0f} % ({low} to {high})"


def _place(ranks: Sequence[Rank], rank: Rank) -> int:
    return [each for each in ranks if each.group == rank.group].index(rank) + 1


def _drawn(**values: Any) -> str:
    return plain(template("votes.html.jinja").render(values))


def _answer(candidate: Candidate) -> dict[str, Any]:
    text, structured = candidate.answer, False
    if text[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            text, structured = json.dumps(json.loads(text), ensure_ascii=False, indent=2), True
    return {"text": text, "structured": structured, "calls": candidate.calls}


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
