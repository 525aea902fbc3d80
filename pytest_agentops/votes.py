"""Which of two answers people found better, without knowing whose they were; and what many such votes say together.

Votes are lines of JSON in the repository. Each keeps the digests of what it was about, so that one about a prompt
which is no more is known for that.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from math import exp, inf, log, log1p, sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal, NamedTuple, get_args

from pytest_agentops.datasets import Case, append_line, digest
from pytest_agentops.errors import HistoryError, PromptError, VoteError
from pytest_agentops.repository import PromptRepository
from pytest_agentops.trials import CONFIDENCE

FOLDER = "votes"
"""Where a project keeps its votes, from its root."""

FORMAT = 1

Winner = Literal["left", "right", "tie"]


class Contestant(NamedTuple):
    """Whom votes compare: a state of a prompt, asked of a model with some settings."""

    prompt: str
    digest: str
    model: str = ""
    settings: str = ""
    """The digest of the settings; empty where there are none."""


@dataclass(frozen=True)
class Side:
    """One of the two answers of a vote, and what it came from."""

    prompt: str
    digest: str
    """Of the prompt as it was."""
    reference: str
    """What it was called, such as `support/triage@1.2.0`."""
    model: str
    settings: str
    """The digest of the settings; empty where there are none."""
    answer: str
    """The digest of what was shown."""

    @property
    def contestant(self) -> Contestant:
        """Whose answer it is."""
        return Contestant(self.prompt, self.digest, self.model, self.settings)


@dataclass(frozen=True)
class Vote:
    """That somebody found one of two answers better, or neither."""

    case: str
    """The digest of the case that both answer."""
    left: Side
    """The one that was shown on the left."""
    right: Side
    winner: Winner
    at: datetime
    by: str = ""
    """Whom git takes for the author of commits; those without a name count as one person."""
    seed: int = 0
    """What decided which side was which."""

    @property
    def prompt(self) -> str:
        """Whose votes it is kept among: the first by name, where two prompts are compared."""
        return min(self.left.prompt, self.right.prompt)

    @property
    def pair(self) -> frozenset[Contestant]:
        """Whom it compares."""
        return frozenset((self.left.contestant, self.right.contestant))


@dataclass(frozen=True)
class Candidate:
    """An answer that may be voted on."""

    prompt: str
    reference: str
    """What people call this state of the prompt, such as `support/triage@1.2.0`."""
    digest: str
    """Of the prompt."""
    model: str
    case: Case
    answer: str
    calls: tuple[str, ...] = ()
    """The tool calls before it, as text."""
    settings: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def side(self) -> Side:
        """What a vote keeps of it."""
        return Side(
            self.prompt, self.digest, self.reference, self.model,
            _digest(self.settings) if self.settings else "", _digest([self.answer, *self.calls]),
        )  # fmt: skip

    @cached_property
    def asked(self) -> str:
        """The digest of its case."""
        return digest(self.case)


@dataclass(frozen=True)
class Question:
    """Two answers to one case; people see nothing else of them."""

    left: Candidate
    right: Candidate
    seed: int

    @property
    def key(self) -> tuple[str, frozenset[Contestant]]:
        """What nobody is asked twice."""
        return self.left.asked, frozenset((self.left.side.contestant, self.right.side.contestant))

    def vote(self, winner: Winner, *, by: str = "", at: datetime | None = None) -> Vote:
        """The vote of somebody who was asked this."""
        now = (at or datetime.now(UTC)).astimezone(UTC)
        return Vote(self.left.asked, self.left.side, self.right.side, winner, now, by, self.seed)


def _digest(value: object) -> str:
    written = json.dumps(value, sort_keys=True, default=str)
    return f"sha256:{hashlib.sha256(written.encode()).hexdigest()}"


# --- files -----------------------------------------------------------------------------------------------------------


def home(root: Path, prompt: str) -> Path:
    """Where the votes of a prompt are kept."""
    return root / FOLDER / f"{prompt.replace('/', '__')}.jsonl"


def cast(path: Path, vote: Vote) -> None:
    """Add a vote to a file: one line in one write, on the disk when this returns.

    Raises:
        VoteError: the file cannot be written.
    """
    try:
        append_line(path, _line(vote))
    except OSError as error:
        raise VoteError(f"the vote was not kept: {path} cannot be written: {error.strerror or error}") from error


def _line(vote: Vote) -> str:
    said = {"format": FORMAT, "at": vote.at.isoformat(timespec="milliseconds"), "by": vote.by, "winner": vote.winner}
    said |= {"case": vote.case, "left": asdict(vote.left), "right": asdict(vote.right), "seed": vote.seed}
    return json.dumps(said)


@dataclass(frozen=True)
class Kept:
    """What stands in a file of votes."""

    votes: tuple[Vote, ...] = ()
    damaged: tuple[str, ...] = ()
    """Lines that are no votes: where each stands, and why."""


def read(path: Path) -> Kept:
    """The votes of a file, each once however often merges have repeated its line; none where there is no file.

    A last line that a kill has cut is left out; other lines that are no votes are told.

    Raises:
        VoteError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Kept()
    except OSError as error:
        raise VoteError(f"{path} cannot be read: {error.strerror or error}") from error
    votes: dict[Vote, None] = {}
    damaged = []
    lines = data.split(b"\n")
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            votes[_vote(line)] = None
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            if at < len(lines):  # The last line has no end: what wrote it was killed.
                damaged.append(f"{path}:{at}: {_why(line, error)}; mend or remove this line")
    return Kept(tuple(votes), tuple(damaged))


def _why(line: bytes, error: Exception) -> str:
    if line.startswith((b"<<<<<<<", b"=======", b">>>>>>>")):
        return "a marker of an unresolved merge stands here"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return "it is not JSON"
    if isinstance(error, KeyError):
        return f"it is no vote: {error} is missing"
    return f"it is no vote: {error}"


def _vote(line: bytes) -> Vote:
    said = json.loads(line)
    if not isinstance(said, dict):
        raise ValueError("it is no object")
    if said.get("format") != FORMAT:
        raise ValueError(f"it has format {said.get('format')!r}, and this version of pytest-agentops reads {FORMAT}")
    if said["winner"] not in get_args(Winner):
        raise ValueError(f"its winner is {said['winner']!r}; there are: {', '.join(get_args(Winner))}")
    return Vote(
        _text(said, "case"), _side(said["left"]), _side(said["right"]), said["winner"],
        datetime.fromisoformat(said["at"]).astimezone(UTC), _text(said, "by"), int(said.get("seed", 0)),
    )  # fmt: skip


def _side(said: Mapping[str, Any]) -> Side:
    return Side(*(_text(said, name) for name in ("prompt", "digest", "reference", "model", "settings", "answer")))


def _text(said: Mapping[str, Any], name: str) -> str:
    if not isinstance(said[name], str):
        raise ValueError(f"{name!r} is no text")
    return str(said[name])


def files(root: Path) -> tuple[Path, ...]:
    """The files of votes in a project."""
    return tuple(sorted((root / FOLDER).glob("*.jsonl")))


# --- what still counts -----------------------------------------------------------------------------------------------

Standing = Mapping[str, Mapping[str, str]]
"""By the name of a prompt, the digests of what stands of it now, each with what it is called."""


def standing(prompts: PromptRepository, names: Iterable[str]) -> Standing:
    """What stands of these prompts: the working tree, and each version in its newest state."""
    return {name: _standing(prompts, name) for name in set(names)}


def _standing(prompts: PromptRepository, name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for version, change in prompts.states(name).items():
        if (then := prompts.readable(change)) is not None:
            found[then.digest] = f"{name}@{version}"
    with suppress(PromptError):  # It is broken or gone: nothing of the working tree stands.
        found.setdefault(prompts.at_hand(name).digest, name)
    return found


def voter(prompts: PromptRepository) -> str:
    """Who votes: whom git takes for the author of commits; empty where git does not know or is not there."""
    try:
        return prompts.history.user
    except HistoryError:
        return ""


@dataclass(frozen=True)
class Counted:
    """What became of votes."""

    votes: tuple[Vote, ...]
    """Those that count, the oldest first; each side is called what it is called now."""
    stale: int = 0
    """How many were about a prompt that is not as it was."""
    replaced: int = 0
    """How many had a later one of the same person about the same pair and case."""


def counting(votes: Iterable[Vote], digests: Standing) -> Counted:
    """The votes that still count, given what stands of the prompts now.

    A vote counts while both of its prompts stand as they were. Of one person's votes on a pair and case the last one
    counts: who votes again has thought again.
    """
    live: dict[tuple[str, str, frozenset[Contestant]], Vote] = {}
    stale = every = 0
    for vote in sorted(votes, key=lambda each: each.at):
        every += 1
        sides = [_called(side, digests) for side in (vote.left, vote.right)]
        if sides[0] is None or sides[1] is None:
            stale += 1
            continue
        key = (vote.by, vote.case, vote.pair)
        live.pop(key, None)
        live[key] = replace(vote, left=sides[0], right=sides[1])
    return Counted(tuple(live.values()), stale, every - stale - len(live))


def _called(side: Side, digests: Standing) -> Side | None:
    name = digests.get(side.prompt, {}).get(side.digest)
    return None if name is None else replace(side, reference=name)


# --- what to ask next ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ballot:
    """What there is to ask of one person."""

    questions: tuple[Question, ...]
    """What is left to ask, the most telling first."""
    asked: int
    """How many are answered by this person."""
    alike: int
    """How many are not asked, since both answers are the same."""

    @property
    def every(self) -> int:
        """How many there are, answered or not."""
        return self.asked + len(self.questions)


def pairs(
    candidates: Sequence[Candidate],
    votes: Sequence[Vote],
    *,
    by: str = "",
    seed: int = 0,
    skipped: Collection[tuple[str, frozenset[Contestant]]] = (),
) -> Ballot:
    """What to ask this person: each two answers to one case, once.

    First come those who were compared least, of these the ones whose strengths are closest, which tell most. The rest
    is drawn by the seed, as is who stands on the left, for each person anew; the same seed draws the same. What was
    skipped comes last.
    """
    told = {(vote.case, vote.pair) for vote in votes if vote.by == by}
    compared = Counter(vote.pair for vote in votes)
    on_case = Counter((vote.case, vote.pair) for vote in votes)
    contests = _contests(votes)
    strengths = {
        each: strength for group in _groups(contests) for each, strength in _strengths(group, contests.wins).items()
    }
    found: list[tuple[tuple[Any, ...], Question]] = []
    asked = alike = 0
    for one, other in _couples(candidates):
        key = (one.asked, frozenset((one.side.contestant, other.side.contestant)))
        if key in told:
            asked += 1
            continue
        if one.side.answer == other.side.answer:
            alike += 1
            continue
        drawn = _drawn(seed, by, one, other)
        left, right = (one, other) if drawn[0] % 2 else (other, one)
        apart = abs(strengths.get(one.side.contestant, 0.0) - strengths.get(other.side.contestant, 0.0))
        order = (key in skipped, compared[key[1]], on_case[key], round(apart, 6), drawn)
        found.append((order, Question(left, right, seed)))
    found.sort(key=lambda each: each[0])
    return Ballot(tuple(question for _, question in found), asked, alike)


def _couples(candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, Candidate]]:
    """Each two contestants that answered one case, in an order that does not depend on that of the candidates."""
    by_case: dict[str, dict[Contestant, Candidate]] = defaultdict(dict)
    for each in candidates:
        by_case[each.asked].setdefault(each.side.contestant, each)  # Of repeats, the first.
    for answers in by_case.values():
        ordered = [answers[contestant] for contestant in sorted(answers)]
        yield from ((one, other) for index, one in enumerate(ordered) for other in ordered[index + 1 :])


def _drawn(seed: int, by: str, one: Candidate, other: Candidate) -> bytes:
    said = json.dumps([seed, by, one.asked, one.side.contestant, other.side.contestant])
    return hashlib.blake2b(said.encode(), digest_size=8).digest()


# --- what they say together ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rank:
    """How one contestant fares in the votes."""

    contestant: Contestant
    name: str
    """What the prompt is called, as in the last vote about it."""
    strength: float
    """The logarithm of its strength; the average of those that were compared with each other is 0."""
    low: float
    """Where the true one begins, in so many of a hundred samples; minus infinity where it lost every vote."""
    high: float
    """Where it ends; infinity where it won every vote, since nothing bounds it then."""
    wins: int
    losses: int
    ties: int
    group: int = 0
    """Contestants of different groups were never compared, not even through others, and have no order."""

    @property
    def votes(self) -> int:
        """How many votes there are about it."""
        return self.wins + self.losses + self.ties

    @property
    def chance(self) -> float:
        """How likely it is to win against an average one."""
        return _sigma(self.strength)

    @property
    def interval(self) -> tuple[float, float]:
        """Where that chance truly lies."""
        return _sigma(self.low), _sigma(self.high)


def ranking(votes: Iterable[Vote], confidence: float = CONFIDENCE) -> tuple[Rank, ...]:
    """The contestants of these votes, the strongest first: strengths in the model of Bradley and Terry (1952).

    The chance of one to win against another is its share of both strengths; a tie is half a win of each. The strengths
    are the likeliest ones, found by the MM algorithm (D. R. Hunter, 2004), with one virtual tie of each contestant
    against an average one. Without it who won everything would be infinitely strong; with it an estimate always exists,
    a little nearer to the average. The intervals are those of the profile likelihood, for the strength against the mean
    of its group. Where somebody won or lost every vote, nothing bounds one end, and it is open.
    """
    contests = _contests(votes)
    found: list[Rank] = []
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    for group, members in enumerate(_groups(contests)):
        strengths = _strengths(members, contests.wins)
        likelihood = _Likelihood(members, contests.wins, [*strengths.values()])
        middle = sum(strengths.values()) / len(members)
        for at, each in enumerate(members):
            told = contests.outcomes[each]
            found.append(
                Rank(
                    each,
                    contests.names[each],
                    strengths[each] - middle,
                    -inf if told["lost"] == told.total() else likelihood.end(at, -z),
                    inf if told["won"] == told.total() else likelihood.end(at, z),
                    told["won"],
                    told["lost"],
                    told["tied"],
                    group,
                )
            )
    return tuple(sorted(found, key=lambda rank: (rank.group, -rank.strength, rank.name, rank.contestant)))


Wins = Mapping[tuple[Contestant, Contestant], float]
"""How often the first of two won against the second; a tie is half a win of each."""


@dataclass(frozen=True)
class _Contests:
    wins: Wins
    outcomes: Mapping[Contestant, Counter[str]]
    names: Mapping[Contestant, str]


def _contests(votes: Iterable[Vote]) -> _Contests:
    """The votes added up; one on two answers of the same contestant says nothing."""
    wins: dict[tuple[Contestant, Contestant], float] = defaultdict(float)
    outcomes: dict[Contestant, Counter[str]] = defaultdict(Counter)
    names: dict[Contestant, str] = {}
    for vote in votes:
        left, right = vote.left.contestant, vote.right.contestant
        if left == right:
            continue
        names |= {left: vote.left.reference, right: vote.right.reference}
        share = {"left": 1.0, "tie": 0.5, "right": 0.0}[vote.winner]
        wins[left, right] += share
        wins[right, left] += 1 - share
        outcomes[left][{"left": "won", "right": "lost"}.get(vote.winner, "tied")] += 1
        outcomes[right][{"right": "won", "left": "lost"}.get(vote.winner, "tied")] += 1
    return _Contests(wins, outcomes, names)


def _groups(contests: _Contests) -> list[list[Contestant]]:
    """Those that were compared with each other, directly or through others; the largest group first."""
    beside: dict[Contestant, set[Contestant]] = {each: set() for each in contests.outcomes}
    for one, other in contests.wins:
        beside[one].add(other)
    groups = []
    left = set(beside)
    for first in sorted(beside):
        if first not in left:
            continue
        waiting, group = [first], set[Contestant]()
        while waiting:
            each = waiting.pop()
            if each not in group:
                group.add(each)
                waiting += beside[each]
        left -= group
        groups.append(sorted(group))
    return sorted(groups, key=lambda group: -len(group))


_VIRTUAL = 1.0
"""How many ties against an average contestant each one is given."""

_CLOSE = 1e-10
_MOST_ROUNDS = 10_000


def _strengths(members: Sequence[Contestant], wins: Wins, virtual: float = _VIRTUAL) -> dict[Contestant, float]:
    """The logarithms of the likeliest strengths; that of an average contestant is 0."""
    met = {
        one: [(other, wins[one, other] + wins[other, one]) for other in members if (one, other) in wins]
        for one in members
    }
    won = {one: sum(wins[one, other] for other, _ in met[one]) + virtual / 2 for one in members}
    found = dict.fromkeys(members, 1.0)
    for _ in range(_MOST_ROUNDS):
        moved = 0.0
        for one in members:
            mine = found[one]
            new = won[one] / (sum(n / (mine + found[other]) for other, n in met[one]) + virtual / (mine + 1))
            moved = max(moved, abs(log(new / mine)))
            found[one] = new
        # Where the average lies only the virtual ties say; so little would move it slowly.
        scale = _balanced(found.values())
        found = {one: value * scale for one, value in found.items()}
        if moved < _CLOSE:
            break
    return {one: log(value) for one, value in found.items()}


def _balanced(strengths: Collection[float]) -> float:
    """What to multiply strengths with, so that together they win half of their games against an average contestant."""
    logs = [log(each) for each in strengths]
    low, high = -max(logs), -min(logs)
    for _ in range(60):
        middle = (low + high) / 2
        if sum(_sigma(each + middle) for each in logs) < len(logs) / 2:
            low = middle
        else:
            high = middle
    return exp((low + high) / 2)


class _Likelihood:
    """The logarithm of the likelihood of some logarithms of strengths, with the virtual ties."""

    def __init__(self, members: Sequence[Contestant], wins: Wins, best: Sequence[float]) -> None:
        self._won = [[wins.get((one, other), 0.0) for other in members] for one in members]
        self._met = [
            [(j, won + self._won[j][i]) for j, won in enumerate(row) if won + self._won[j][i]]
            for i, row in enumerate(self._won)
        ]
        self._best = list(best)
        self._most = self._at(self._best)

    def end(self, of: int, z: float) -> float:
        """How far the strength of one against the mean can be moved, until the rest can make up for it no more.

        That is where twice the logarithm has fallen by the square of `z`, whose sign is the direction.
        """
        mean = sum(self._best) / len(self._best)
        start = self._best[of] - mean
        against = [float(i == of) - 1 / len(self._best) for i in range(len(self._best))]
        spread = sqrt(_dot(against, _solved(self._information(self._best), against)[0]))
        # The root of what is lost grows nearly evenly, so that few steps lead to the end.
        inner, outer, far, where = 0.0, inf, spread * abs(z), self._best
        for _ in range(40):
            where = self._best_with(where, against, start + far * (1 if z > 0 else -1))
            lost = sqrt(max(0.0, 2 * (self._most - self._at(where))))
            if abs(lost - abs(z)) < 1e-6:
                break
            if lost < abs(z):
                inner = far
            else:
                outer = far
            far = far * abs(z) / lost if lost else far * 2
            if not inner < far < outer:
                far = (inner + outer) / 2
        return start + far * (1 if z > 0 else -1)

    def _at(self, logs: Sequence[float]) -> float:
        found = sum(_VIRTUAL / 2 * (_log_sigma(each) + _log_sigma(-each)) for each in logs)
        for i, row in enumerate(self._met):
            found += sum(self._won[i][j] * _log_sigma(logs[i] - logs[j]) for j, _ in row)
        return found

    def _slope(self, logs: Sequence[float]) -> list[float]:
        return [
            sum(self._won[i][j] - n * _sigma(logs[i] - logs[j]) for j, n in row) + _VIRTUAL * (0.5 - _sigma(logs[i]))
            for i, row in enumerate(self._met)
        ]

    def _information(self, logs: Sequence[float]) -> list[list[float]]:
        """Fisher's: how sharply it bends."""
        found = [[0.0] * len(logs) for _ in logs]
        for i, row in enumerate(self._met):
            found[i][i] += _VIRTUAL * _sigma(logs[i]) * _sigma(-logs[i])
            for j, n in row:
                weight = n * _sigma(logs[i] - logs[j]) * _sigma(logs[j] - logs[i])
                found[i][i] += weight
                found[i][j] -= weight
        return found

    def _best_with(self, logs: Sequence[float], against: Sequence[float], value: float) -> list[float]:
        """The likeliest of those whose product with `against` is this value, by Newton's method with a multiplier."""
        found = list(logs)
        for _ in range(60):
            along, aside = _solved(self._information(found), self._slope(found), against)
            pull = (value - _dot(against, found) - _dot(against, along)) / _dot(against, aside)
            step = [one + pull * other for one, other in zip(along, aside, strict=True)]
            longest = max(map(abs, step))
            # Far from the best a whole step may lead further away.
            found = (
                [each + by * min(1.0, 2 / longest) for each, by in zip(found, step, strict=True)] if longest else found
            )
            if longest < 1e-9:
                break
        return found


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(map(operator.mul, one, other), 0.0)


def _solved(matrix: Sequence[Sequence[float]], *rights: Sequence[float]) -> list[list[float]]:
    """What the matrix times makes each right side, by elimination; it is positive definite, so that no pivot is 0."""
    size = len(matrix)
    rows = [[*row, *(right[i] for right in rights)] for i, row in enumerate(matrix)]
    for at, row in enumerate(rows):
        for below in rows[at + 1 :]:
            if factor := below[at] / row[at]:
                below[at:] = [each - factor * own for each, own in zip(below[at:], row[at:], strict=True)]
    found = [[0.0] * size for _ in rights]
    for index, solution in enumerate(found):
        for at in range(size - 1, -1, -1):
            row = rows[at]
            solution[at] = (row[size + index] - _dot(row[at + 1 : size], solution[at + 1 :])) / row[at]
    return found


def _log_sigma(x: float) -> float:
    return -log1p(exp(-x)) if x > 0 else x - log1p(exp(x))


def _sigma(x: float) -> float:
    return 1 / (1 + exp(-x)) if x > -700 else 0.0


# --- everything at once ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tally:
    """The votes of a project."""

    counted: Counted
    damaged: tuple[str, ...] = ()


def tally(
    root: Path, prompts: PromptRepository, names: Collection[str] | None = None, candidates: Sequence[Candidate] = ()
) -> Tally:
    """The votes about these prompts, or about all; what candidates were made from stands too, saved or not.

    Raises:
        VoteError: a file cannot be read.
    """
    kept = [read(path) for path in files(root)]
    wanted = None if names is None else set(names)
    votes = [
        vote for each in kept for vote in each.votes if wanted is None or {vote.left.prompt, vote.right.prompt} & wanted
    ]
    sides = [side for vote in votes for side in (vote.left, vote.right)]
    stands = {name: dict(digests) for name, digests in standing(prompts, {each.prompt for each in sides}).items()}
    for each in candidates:
        stands.setdefault(each.prompt, {}).setdefault(each.digest, each.reference)
    return Tally(counting(votes, stands), tuple(line for each in kept for line in each.damaged))
