"""Rates over several takes of a test: what a sample says, and whether two samples differ by more than chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, comb, sqrt
from statistics import NormalDist

CONFIDENCE = 0.95
"""How sure a verdict over several takes is, where nothing else is asked for."""


@dataclass(frozen=True)
class Rate:
    """How many of some runs passed."""

    passed: int
    runs: int

    @property
    def value(self) -> float:
        """The share that passed; of no runs it is 0."""
        return self.passed / self.runs if self.runs else 0.0

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Wilson's score interval: where the true rate lies, in so many of a hundred samples (E. B. Wilson, 1927)."""
        if not self.runs:
            return 0.0, 1.0
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        spread = z * sqrt(self.value * (1 - self.value) / self.runs + z * z / (4 * self.runs**2))
        middle, scale = self.value + z * z / (2 * self.runs), 1 + z * z / self.runs
        low, high = (middle - spread) / scale, (middle + spread) / scale
        # At the ends the interval touches them, whatever rounding makes of that.
        return 0.0 if self.passed == 0 else max(low, 0.0), 1.0 if self.passed == self.runs else min(high, 1.0)


@dataclass(frozen=True)
class Pair:
    """The takes of one case on both sides."""

    base: Rate
    head: Rate

    @property
    def difference(self) -> float:
        """The rate of the head minus that of the base."""
        return self.head.value - self.base.value


def worse_by_chance(pairs: Iterable[Pair]) -> float:
    """How likely it is that the heads pass as seldom as they did, or less often, if nothing had changed.

    The exact test of several two-by-two tables, given the totals of each (Cochran, Mantel and Haenszel; W. G. Cochran,
    1954). Of one case it is Fisher's exact test, of cases with one take on each side McNemar's.
    """
    # A case in which all takes ended alike says nothing about a difference.
    telling = [
        pair
        for pair in pairs
        if 0 < pair.base.passed + pair.head.passed < pair.base.runs + pair.head.runs
        and pair.base.runs
        and pair.head.runs
    ]
    if sum(pair.head.runs for pair in telling) > _EXACT:
        return _nearly(telling)
    ways = [1.0]
    seen = 0
    for pair in telling:
        total = pair.base.passed + pair.head.passed
        least = max(0, total - pair.base.runs)
        seen += pair.head.passed - least
        ways = _convolved(ways, _shares(pair, least, min(pair.head.runs, total), total))
    return min(1.0, sum(ways[: seen + 1]))


_EXACT = 2_000
"""Up to so many takes the chances are counted out, which takes a time that grows with their square."""


def _nearly(pairs: Sequence[Pair]) -> float:
    """The same by the normal distribution that it comes close to for many takes, corrected for continuity."""
    above, spread = 0.0, 0.0
    for pair in pairs:
        total, runs = pair.base.passed + pair.head.passed, pair.base.runs + pair.head.runs
        above += pair.head.passed - pair.head.runs * total / runs
        spread += pair.base.runs * pair.head.runs * total * (runs - total) / (runs * runs * (runs - 1))
    return NormalDist().cdf((above + 0.5) / sqrt(spread))


def better_by_chance(pairs: Iterable[Pair]) -> float:
    """The same for passing as often as they did, or more often."""
    return worse_by_chance(Pair(pair.head, pair.base) for pair in pairs)


def _shares(pair: Pair, least: int, most: int, total: int) -> list[float]:
    """How likely each count of passed heads is, from the least on, given how many takes passed on both sides."""
    runs = pair.base.runs + pair.head.runs
    every = comb(runs, pair.head.runs)
    return [comb(total, x) * comb(runs - total, pair.head.runs - x) / every for x in range(least, most + 1)]


def _convolved(ways: Sequence[float], shares: Sequence[float]) -> list[float]:
    found = [0.0] * (len(ways) + len(shares) - 1)
    for index, way in enumerate(ways):
        for other, share in enumerate(shares):
            found[index + other] += way * share
    return found


def corrected(pairs: Sequence[Pair], level: float) -> list[float]:
    """`worse_by_chance` of each pair, corrected for how many are asked, so that rarely any of them is wrong.

    At `level` the chance that any is taken for evidence though nothing changed is at most that. Tests in which hardly
    anything failed, or passed, could never be evidence, and do not count (R. E. Tarone, 1990).
    """
    chances = [(worse_by_chance([pair]), _least(pair)) for pair in pairs]
    asked = next((k for k in range(1, len(pairs) + 1) if sum(least <= level / k for _, least in chances) <= k), 1)
    return [min(1.0, chance * asked) if least <= level / asked else 1.0 for chance, least in chances]


def _least(pair: Pair) -> float:
    """The smallest chance that these takes could have given, with as many passed in all."""
    total = pair.base.passed + pair.head.passed
    passed = max(0, total - pair.base.runs)
    return worse_by_chance([Pair(Rate(total - passed, pair.base.runs), Rate(passed, pair.head.runs))])


def difference(pair: Pair, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Where the true difference of two rates lies: the interval of R. G. Newcombe (1998), made of Wilson's two."""
    (low, high), (head_low, head_high) = pair.base.interval(confidence), pair.head.interval(confidence)
    was, now = pair.base.value, pair.head.value
    below = sqrt((now - head_low) ** 2 + (high - was) ** 2)
    above = sqrt((head_high - now) ** 2 + (was - low) ** 2)
    return max(-1.0, now - was - below), min(1.0, now - was + above)


def takes_needed(pair: Pair, confidence: float = CONFIDENCE, power: float = 0.8) -> int | None:
    """About how many takes on each side would show this difference, were it real, in so many of a hundred tries.

    The formula of J. L. Fleiss (1981); None where there is no difference.
    """
    was, now = pair.base.value, pair.head.value
    if was == now:
        return None
    middle = (was + now) / 2
    sure, found = NormalDist().inv_cdf(confidence), NormalDist().inv_cdf(power)
    spread = sure * sqrt(2 * middle * (1 - middle)) + found * sqrt(was * (1 - was) + now * (1 - now))
    takes = ceil((spread / (was - now)) ** 2)
    # The formula knows nothing of how coarse a few takes are.
    worse, better = sorted((was, now))
    for number in range(takes, _EXACT):
        if worse_by_chance([Pair(Rate(round(better * number), number), Rate(round(worse * number), number))]) <= (
            1 - confidence
        ):
            return number
    return takes
