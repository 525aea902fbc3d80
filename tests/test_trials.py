"""What several takes of a test prove, beside what counting every possibility says, and on simulated pull requests."""

from __future__ import annotations

import random
from datetime import datetime
from fractions import Fraction
from itertools import combinations, product
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agentops.gates import Gates
from pytest_agentops.history import Commit
from pytest_agentops.regression import Case, Take
from pytest_agentops.report import Report
from pytest_agentops.trials import (
    Pair,
    Rate,
    better_by_chance,
    corrected,
    difference,
    takes_needed,
    worse_by_chance,
)


def by_counting(pairs: list[Pair]) -> Fraction:
    """The same as `worse_by_chance`: of all ways to deal the outcomes to both sides, those with as few passed heads."""
    seen = sum(pair.head.passed for pair in pairs)
    deals = []
    for pair in pairs:
        outcomes = [True] * (pair.base.passed + pair.head.passed)
        outcomes += [False] * (pair.base.runs + pair.head.runs - len(outcomes))
        deals.append([sum(outcomes[i] for i in heads) for heads in combinations(range(len(outcomes)), pair.head.runs)])
    every = list(product(*deals))
    return Fraction(sum(sum(deal) <= seen for deal in every), len(every))


rates = st.integers(1, 3).flatmap(lambda runs: st.builds(Rate, st.integers(0, runs), st.just(runs)))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.builds(Pair, rates, rates), min_size=1, max_size=3))
def test_the_exact_test_is_what_counting_every_possibility_gives(pairs):
    assert worse_by_chance(pairs) == pytest.approx(float(by_counting(pairs)), abs=1e-9)


def test_of_one_take_each_it_is_the_test_of_mcnemar():
    worse, better, same = Pair(Rate(1, 1), Rate(0, 1)), Pair(Rate(0, 1), Rate(1, 1)), Pair(Rate(1, 1), Rate(1, 1))

    # Five changed for the worse and one for the better: at most one of six heads, each of two ways.
    assert worse_by_chance([worse] * 5 + [better] + [same] * 40) == pytest.approx((1 + 6) / 64)
    assert better_by_chance([better] * 3) == pytest.approx(1 / 8)
    assert worse_by_chance([same] * 10) == 1.0


@pytest.mark.parametrize(
    ("passed", "runs", "interval"),
    # Published by R. G. Newcombe (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0000, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_the_interval_of_a_rate_is_the_published_one(passed, runs, interval):
    assert Rate(passed, runs).interval() == pytest.approx(interval, abs=5e-5)


def test_the_interval_of_a_difference_is_the_published_one():
    # R. G. Newcombe (1998), comparison of two proportions, table II, method 10: 56 of 70 less 48 of 80.
    low, high = difference(Pair(Rate(48, 80), Rate(56, 70)))

    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_a_rate_of_nothing_may_be_anything():
    assert Rate(0, 0).interval() == (0.0, 1.0)
    assert Rate(5, 5).interval()[1] == 1.0
    assert Rate(0, 5).interval()[0] == 0.0


def test_chances_are_corrected_for_how_many_were_asked():
    clear, same = Pair(Rate(5, 5), Rate(0, 5)), Pair(Rate(5, 5), Rate(5, 5))
    one, two, ten = (corrected([clear] * number, 0.025)[0] for number in (1, 2, 10))

    assert (one, two) == pytest.approx((1 / 252, 2 / 252))
    assert ten == 1.0  # Ten of them together ask for more than five takes can give.
    # Tests in which nothing ever failed could not have been evidence, and cost nothing.
    assert corrected([clear, *[same] * 30], 0.025) == pytest.approx([1 / 252, *[1.0] * 30])
    assert corrected([], 0.025) == []


def test_what_would_be_needed_to_see_a_difference():
    assert takes_needed(Pair(Rate(9, 10), Rate(9, 10))) is None
    many, few = (takes_needed(Pair(Rate(10, 10), Rate(head, 10))) for head in (8, 2))
    assert many is not None
    assert few is not None
    assert many > few


# --- simulated pull requests -----------------------------------------------------------------------------------------

GATES = Gates.from_table({"regressed": "== 0"}, "here")
COMMIT = Commit("a" * 40, datetime(2026, 11, 24), "Ada", "base")


def pull_request(chance: random.Random, tests: list[tuple[float, float]], takes: int) -> str:
    """What the gate says of one pull request whose tests pass with these rates, on the base and on the head."""

    def side(rate: float) -> tuple[Take, ...]:
        return tuple(
            Take("passed" if chance.random() < rate else "failed", number, said="q", figures={"model calls": 1.0})
            for number in range(1, takes + 1)
        )

    cases = [Case(f"t{index}", side(base), side(head)) for index, (base, head) in enumerate(tests)]
    return Report.of(cases, gates=GATES, base=COMMIT, made="now", by="here").gated


@pytest.mark.slow
@pytest.mark.parametrize("takes", [5, 10, 20])
def test_the_gate_rarely_fails_where_nothing_changed(takes):
    """At a confidence of 95 %, of 2,000 pull requests that change nothing it fails in at most 5 %."""
    chance = random.Random(takes)
    mixed = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.0, 0.6, 0.85]

    failed = sum(pull_request(chance, [(rate, rate) for rate in mixed], takes) == "failed" for _ in range(2000))

    # Were it exactly 5 %, a sample of 2,000 would show more than 5.9 % once in forty times.
    most = 0.05 + NormalDist().inv_cdf(0.975) * (0.05 * 0.95 / 2000) ** 0.5
    assert failed / 2000 <= most


@pytest.mark.slow
def test_the_power_against_a_drop_of_20_points_is_what_the_docs_say():
    """Ten tests that pass nine times in ten, and then seven times in ten."""
    chance = random.Random(1)

    power = {
        takes: sum(pull_request(chance, [(0.9, 0.7)] * 10, takes) == "failed" for _ in range(300)) / 300
        for takes in (5, 10, 20)
    }

    documented = {5: 0.64, 10: 0.93, 20: 1.0}
    assert power == pytest.approx(documented, abs=0.1)
