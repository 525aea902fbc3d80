"""Blind votes: kept line by line, counted while their prompts stand, asked for in a telling order, ranked honestly."""

from __future__ import annotations

import json
import random
import subprocess
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from math import exp, inf, isinf, log
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agentops.cli import main
from pytest_agentops.datasets import Case
from pytest_agentops.errors import VoteError
from pytest_agentops.formats import votes as drawn
from pytest_agentops.repository import PromptRepository
from pytest_agentops.votes import (
    Candidate,
    Contestant,
    Side,
    Vote,
    _balanced,
    _strengths,
    cast,
    counting,
    home,
    pairs,
    ranking,
    read,
    standing,
    tally,
    voter,
)

START = datetime(2026, 11, 28, 7, tzinfo=UTC)


def side(name: str, *, model: str = "m", settings: str = "", prompt: str = "support/triage") -> Side:
    return Side(prompt, f"sha256:{name}", f"{prompt}@{name}", model, settings, f"sha256:answer-{name}")


def vote(left: str, right: str, winner: str = "left", *, case: str = "c", by: str = "Ada", minute: int = 0) -> Vote:
    return Vote(case, side(left), side(right), winner, START + timedelta(minutes=minute), by)


def candidate(name: str, ticket: str = "Refund me", **more) -> Candidate:
    given = {"answer": f"{name} says: {ticket}", "model": "m", "case": Case({"ticket": ticket}), **more}
    return Candidate("support/triage", f"support/triage@{name}", f"sha256:{name}", **given)


def sigma(x: float) -> float:
    return 1 / (1 + exp(-x))


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_vote_is_one_line_that_is_read_again(tmp_path):
    path = home(tmp_path, "support/triage")
    first, second = vote("1", "2", "left"), replace(vote("2", "1", "tie", by=""), seed=7)

    cast(path, first)
    cast(path, second)

    assert path == tmp_path / "votes" / "support__triage.jsonl"
    assert read(path).votes == (first, second)
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0]) == {
        "format": 1,
        "at": "2026-11-28T07:00:00.000+00:00",
        "by": "Ada",
        "winner": "left",
        "case": "c",
        "left": {
            "prompt": "support/triage",
            "digest": "sha256:1",
            "reference": "support/triage@1",
            "model": "m",
            "settings": "",
            "answer": "sha256:answer-1",
        },
        "right": {
            "prompt": "support/triage",
            "digest": "sha256:2",
            "reference": "support/triage@2",
            "model": "m",
            "settings": "",
            "answer": "sha256:answer-2",
        },
        "seed": 0,
    }


def test_no_file_is_no_vote(tmp_path):
    assert read(tmp_path / "x.jsonl").votes == ()


def test_a_last_line_that_a_kill_has_cut_harms_nothing_and_the_next_vote_is_kept(tmp_path):
    path = tmp_path / "x.jsonl"
    cast(path, vote("1", "2"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])

    assert (len(read(path).votes), read(path).damaged) == (1, ())
    cast(path, vote("2", "3"))

    assert read(path).votes == (vote("1", "2"), vote("2", "3"))
    assert read(path).damaged == (f"{path}:2: it is not JSON; mend or remove this line",)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"\xff", "it is not JSON"),
        (b"<<<<<<< HEAD", "a marker of an unresolved merge stands here"),
        (b"[]", "it is no vote: it is no object"),
        (b'{"format": 2}', "it is no vote: it has format 2, and this version of pytest-agentops reads 1"),
        (b'{"format": 1}', "it is no vote: 'winner' is missing"),
        (b'{"format": 1, "winner": "both"}', "it is no vote: its winner is 'both'; there are: left, right, tie"),
        (b'{"format": 1, "winner": "tie", "case": 3}', "it is no vote: 'case' is no text"),
        (b'{"format": 1, "winner": "tie", "case": "c", "left": 3}', "it is no vote: 'int' object is not subscriptable"),
    ],
)
def test_a_damaged_line_is_named_and_the_others_count(tmp_path, line, why):
    path = tmp_path / "x.jsonl"
    cast(path, vote("1", "2"))
    path.write_bytes(line + b"\n" + path.read_bytes())

    assert read(path).votes == (vote("1", "2"),)
    assert read(path).damaged == (f"{path}:1: {why}; mend or remove this line",)


@pytest.mark.parametrize(("name", "value"), [("seed", float("inf")), ("at", "0001-01-01T00:00:00+14:00")])
def test_a_vote_with_a_number_or_a_time_beyond_all_bounds_is_damaged(tmp_path, name, value):
    path = tmp_path / "x.jsonl"
    cast(path, vote("1", "2"))
    said = json.loads(path.read_bytes())
    path.write_text(json.dumps({**said, name: value}) + "\n")

    assert read(path).votes == ()
    assert read(path).damaged[0].startswith(f"{path}:1: it is no vote: ")


def test_a_line_that_a_merge_has_doubled_is_one_vote(tmp_path):
    path = tmp_path / "x.jsonl"
    cast(path, vote("1", "2"))
    path.write_bytes(path.read_bytes() * 2)

    assert len(read(path).votes) == 1


def test_votes_that_are_cast_at_once_are_all_kept(tmp_path):
    threads = [
        threading.Thread(target=lambda n=n: [cast(tmp_path / "x.jsonl", vote(str(n), str(i))) for i in range(10, 18)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(read(tmp_path / "x.jsonl").votes) == 32
    assert read(tmp_path / "x.jsonl").damaged == ()


def test_a_file_that_cannot_be_read_or_written_is_an_error_that_says_so(tmp_path):
    with pytest.raises(VoteError, match="cannot be read: Is a directory"):
        read(tmp_path)
    with pytest.raises(VoteError, match="the vote was not kept"):
        cast(tmp_path, vote("1", "2"))


# --- what still counts -----------------------------------------------------------------------------------------------


def stands(*names: str) -> dict[str, dict[str, str]]:
    return {"support/triage": {f"sha256:{name}": f"now called {name}" for name in names}}


def test_a_vote_about_a_changed_prompt_counts_no_more():
    counted = counting([vote("1", "2"), vote("1", "3"), vote("3", "4")], stands("1", "2"))

    assert [(each.left.reference, each.right.reference) for each in counted.votes] == [("now called 1", "now called 2")]
    assert (counted.stale, counted.replaced) == (2, 0)


def test_who_votes_again_has_thought_again_whichever_side_it_was_on():
    first, again = vote("1", "2", "left", minute=1), vote("2", "1", "left", minute=2)
    others = [vote("1", "2", by="Bob"), vote("1", "2", case="another")]

    counted = counting([again, first, *others], stands("1", "2"))

    assert Counter(each.winner for each in counted.votes) == {"left": 3}
    assert [each.left.digest for each in counted.votes if each.by == "Ada" and each.case == "c"] == ["sha256:2"]
    assert counted.replaced == 1


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def prompt_text(version: str, body: str) -> str:
    return f"---\nname: greeting\nversion: {version}\n---\nsystem:\n{body}\n"


def test_what_stands_are_the_working_tree_and_each_version_in_its_newest_state(tmp_path):
    path = tmp_path / "prompts" / "greeting.prompty"
    path.parent.mkdir()
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "user.name", "Ada Lovelace")
    digests = {}
    for version, body in (("1.0.0", "Hi."), ("1.0.0", "Hello."), ("1.1.0", "Good day.")):
        path.write_text(prompt_text(version, body), encoding="utf-8")
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", body)
        digests[body] = PromptRepository(path.parent)["greeting"].digest
    path.write_text(prompt_text("1.1.0", "Good evening."), encoding="utf-8")
    prompts = PromptRepository(path.parent)
    now = prompts["greeting"].digest

    assert standing(prompts, ["greeting", "gone"]) == {
        "greeting": {digests["Hello."]: "greeting@1.0.0", digests["Good day."]: "greeting@1.1.0", now: "greeting"},
        "gone": {},
    }
    assert voter(prompts) == "Ada Lovelace"


def test_without_git_or_with_a_broken_prompt_nothing_fails(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "broken.prompty").write_text("---\n", encoding="utf-8")
    (tmp_path / "prompts" / "greeting.prompty").write_text(prompt_text("1.0.0", "Hi."), encoding="utf-8")
    prompts = PromptRepository(tmp_path / "prompts")

    stand = standing(prompts, ["broken", "greeting"])

    assert (stand["broken"], list(stand["greeting"].values())) == ({}, ["greeting"])
    assert voter(prompts) == ""


def test_what_candidates_were_made_from_stands_too(tmp_path):
    cast(home(tmp_path, "support/triage"), vote("1", "2"))
    cast(
        home(tmp_path, "other"),
        replace(vote("1", "2"), left=side("1", prompt="other"), right=side("2", prompt="other")),
    )
    prompts = PromptRepository(tmp_path / "prompts")
    edited = [candidate("1"), candidate("2")]

    assert tally(tmp_path, prompts).counted.stale == 2
    assert tally(tmp_path, prompts, ["support/triage"], edited).counted.votes == (vote("1", "2"),)


# --- what to ask next ------------------------------------------------------------------------------------------------


def test_each_two_answers_to_a_case_are_asked_once():
    candidates = [candidate(name, ticket) for name in "123" for ticket in ("a", "b")]
    votes: list[Vote] = []

    while questions := pairs(candidates, votes, by="Ada").questions:
        votes.append(questions[0].vote("left", by="Ada", at=START + timedelta(minutes=len(votes))))

    asked = {(each.case, each.pair) for each in votes}
    assert len(asked) == len(votes) == 2 * 3
    assert pairs(candidates, votes, by="Ada").asked == 6
    assert pairs(candidates, votes, by="Bob").asked == 0


def test_the_order_and_the_sides_are_drawn_by_the_seed_alone():
    candidates = [candidate(name, ticket) for name in "1234" for ticket in ("a", "b", "c")]
    mixed = random.Random(1).sample(candidates, len(candidates))

    assert pairs(candidates, [], seed=3) == pairs(mixed, [], seed=3)
    assert pairs(candidates, [], seed=3) != pairs(candidates, [], seed=4)
    sides = Counter(
        question.left.digest < question.right.digest
        for seed in range(10)
        for question in pairs(candidates, [], seed=seed).questions
    )
    assert min(sides.values()) > 0.35 * sides.total()


def test_who_was_compared_least_is_asked_first_then_who_is_closest():
    candidates = [candidate(name, str(ticket)) for name in "123" for ticket in range(9)]
    votes = [vote("1", "2", "tie", case=f"x{i}") for i in range(3)] + [
        vote("1", "3", case="y"),
        vote("2", "3", case="z"),
    ]
    few = [vote("1", "2", "tie", case="x"), vote("1", "3", case="y"), vote("2", "3", case="z")]

    assert {pairs(candidates, votes).questions[0].key[1]} <= {votes[3].pair, votes[4].pair}
    assert pairs(candidates, few).questions[0].key[1] == few[0].pair


def test_two_answers_that_are_the_same_are_not_asked():
    same = [candidate(name, answer="Yes.") for name in "12"]

    ballot = pairs(same, [])

    assert (ballot.questions, ballot.alike, ballot.every) == ((), 1, 0)
    assert pairs([same[0], candidate("2", answer="Yes.", calls=("look(1)",))], []).every == 1


def test_of_repeats_and_of_variants_that_are_one_the_first_is_asked():
    again = [candidate("1", answer="a"), candidate("1", answer="b"), candidate("2", answer="c")]

    [question] = pairs(again, []).questions

    assert {question.left.answer, question.right.answer} == {"a", "c"}
    assert len({candidate("1", settings={"a": 1, "b": 2}).side, candidate("1", settings={"b": 2, "a": 1}).side}) == 1
    assert candidate("1", settings={"a": 1}).side.contestant != candidate("1").side.contestant


def test_what_was_skipped_comes_last():
    candidates = [candidate(name) for name in "123"]
    first = pairs(candidates, []).questions[0]

    skipped = pairs(candidates, [], skipped={first.key})

    assert skipped.questions[-1] == first
    assert skipped.every == 3


# --- what they say together ------------------------------------------------------------------------------------------

BASEBALL = {
    "Milwaukee": [0, 7, 9, 7, 7, 9, 11],
    "Detroit": [6, 0, 7, 5, 11, 9, 9],
    "Toronto": [4, 6, 0, 7, 7, 8, 12],
    "New York": [6, 8, 6, 0, 6, 7, 10],
    "Boston": [6, 2, 6, 7, 0, 7, 12],
    "Cleveland": [4, 4, 5, 6, 6, 0, 6],
    "Baltimore": [2, 4, 1, 3, 1, 7, 0],
}
"""The American League of 1987, from Agresti's Categorical Data Analysis: the wins of each team over each."""


def test_without_virtual_ties_the_strengths_are_those_of_the_textbook():
    teams = [Contestant("p", name) for name in BASEBALL]
    wins = {
        (one, other): float(BASEBALL[one.digest][index])
        for one in teams
        for index, other in enumerate(teams)
        if one != other
    }

    found = _strengths(teams, wins, virtual=1e-9)

    against_baltimore = {team.digest: value - found[teams[-1]] for team, value in found.items()}
    assert against_baltimore == pytest.approx(
        {
            "Milwaukee": 1.5814, "Detroit": 1.4364, "Toronto": 1.2945, "New York": 1.2476, "Boston": 1.1077,
            "Cleveland": 0.6839, "Baltimore": 0.0,
        },
        abs=5e-4,
    )  # fmt: skip


names = st.sampled_from("1234")
some_votes = st.lists(
    st.builds(vote, names, names, st.sampled_from(["left", "right", "tie"])), min_size=1, max_size=14
).map(lambda votes: [each for each in votes if each.left != each.right])


@settings(max_examples=60, deadline=None)
@given(some_votes)
def test_the_likeliest_strengths_expect_the_wins_that_were_seen(votes):
    """The logarithm of the likelihood is concave, so that where its slope is zero nothing is likelier."""
    ranks = ranking(votes)
    for group in {rank.group for rank in ranks}:
        strengths = {rank.contestant: rank.strength for rank in ranks if rank.group == group}
        shift = log(_balanced([exp(each) for each in strengths.values()]))
        for rank in (rank for rank in ranks if rank.group == group):
            mine = [each for each in votes if rank.contestant in each.pair]
            expected = sum(
                sigma(rank.strength - strengths[next(iter(each.pair - {rank.contestant}))]) for each in mine
            ) + sigma(rank.strength + shift)
            assert expected == pytest.approx(rank.wins + rank.ties / 2 + 0.5, abs=1e-5)
        assert sum(strengths.values()) == pytest.approx(0, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(some_votes, st.randoms())
def test_neither_the_order_of_votes_nor_the_sides_matter(votes, rng):
    mirrored = [
        replace(
            each, left=each.right, right=each.left, winner={"left": "right", "right": "left"}.get(each.winner, "tie")
        )
        for each in votes
    ]
    rng.shuffle(mirrored)

    for was, now in zip(ranking(votes), ranking(mirrored), strict=True):
        assert now.contestant == was.contestant or now.strength == pytest.approx(was.strength, abs=1e-6)
        assert (now.strength, now.votes) == (pytest.approx(was.strength, abs=1e-6), was.votes)


def test_of_two_the_interval_ends_where_the_likelihood_has_fallen_enough():
    votes = [vote("1", "2", case=str(i)) for i in range(7)] + [vote("2", "1", case=str(i)) for i in range(3)]

    one, other = ranking(votes)

    def likelihood(strength: float) -> float:
        won, lost = log(sigma(2 * strength)), log(sigma(-2 * strength))
        return 7 * won + 3 * lost + log(sigma(strength)) + log(sigma(-strength))

    assert max((i / 1000 for i in range(-2000, 2000)), key=likelihood) == pytest.approx(one.strength, abs=1e-3)
    for end in (one.low, one.high):
        assert 2 * (likelihood(one.strength) - likelihood(end)) == pytest.approx(1.959964**2, abs=1e-4)
    assert (one.low, one.high) == (pytest.approx(-other.high), pytest.approx(-other.low))


def test_of_three_the_interval_ends_where_no_strengths_of_the_others_make_up_for_it():
    votes = [
        vote("1", "2"),
        vote("1", "2", "tie"),
        vote("2", "3"),
        vote("3", "1"),
        vote("1", "3"),
        vote("1", "3", "tie"),
    ]
    wins = Counter({("1", "2"): 1.5, ("2", "1"): 0.5, ("2", "3"): 1, ("3", "1"): 1.5, ("1", "3"): 1.5})

    def likelihood(logs: dict[str, float]) -> float:
        told = sum(n * log(sigma(logs[one] - logs[other])) for (one, other), n in wins.items())
        return told + sum((log(sigma(each)) + log(sigma(-each))) / 2 for each in logs.values())

    def likeliest(strength: float) -> float:
        """By trying the strengths of the others around ever better ones."""
        best, width = (0.0, 0.0), 4.0
        while width > 1e-3:
            tried = [(best[0] + width * i / 4, best[1] + width * j / 4) for i in range(-4, 5) for j in range(-4, 5)]
            best = max(
                tried, key=lambda t: likelihood({"1": t[0] + strength, "2": t[0] + t[1], "3": t[0] - strength - t[1]})
            )
            width /= 2
        return likelihood({"1": best[0] + strength, "2": best[0] + best[1], "3": best[0] - strength - best[1]})

    rank = next(each for each in ranking(votes) if each.name.endswith("1"))

    for end in (rank.low, rank.high):
        assert 2 * (likeliest(rank.strength) - likeliest(end)) == pytest.approx(1.959964**2, abs=1e-3)


def test_the_intervals_hold_the_truth_as_often_as_they_say():
    rng, truth = random.Random(8), {"1": 1.2, "2": 0.4, "3": -0.4, "4": -1.2}
    held = 0
    for _ in range(60):
        votes = [
            vote(one, other, "left" if rng.random() < sigma(truth[one] - truth[other]) else "right", case=str(i))
            for one, other in combinations(truth, 2)
            for i in range(6)
        ]
        held += sum(rank.low <= truth[rank.contestant.digest[-1]] <= rank.high for rank in ranking(votes))

    assert 0.93 <= held / 240 <= 1.0


def test_who_won_or_lost_everything_has_a_bound_on_one_side_alone():
    best, worst = ranking([vote("1", "2", case=str(i)) for i in range(5)])

    assert (best.name, isinf(best.high), worst.low) == ("support/triage@1", True, -inf)
    assert 0.5 < best.interval[0] < best.chance < best.interval[1] == 1.0
    assert (drawn.share(best), drawn.share(worst)) == ("at least 54 %", "at most 46 %")


def test_who_only_tied_is_average():
    for rank in ranking([vote("1", "2", "tie")]):
        assert (rank.strength, rank.chance, rank.ties) == (pytest.approx(0), pytest.approx(0.5), 1)


def test_those_who_were_never_compared_have_no_order():
    ranks = ranking([vote("1", "2"), vote("2", "3"), vote("8", "9")])

    assert [(rank.name[-1], rank.group) for rank in ranks] == [("1", 0), ("2", 0), ("3", 0), ("8", 1), ("9", 1)]


def test_no_votes_are_no_ranking():
    assert ranking([]) == ()


# --- as HTML and as text ---------------------------------------------------------------------------------------------


def test_whatever_anybody_wrote_is_text_in_the_page():
    probe = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    both = [candidate(name, probe, model=probe, answer=f"{name}{probe}", calls=(probe,)) for name in "12"]
    ballot = pairs(both, [])

    page = drawn.question(ballot.questions[0], ballot)
    table = drawn.ranking(ranking([ballot.questions[0].vote("left", at=START)]))

    assert "<script" not in page + table
    assert "<img" not in page + table
    assert page.count("&lt;script&gt;") == 5
    assert "support/triage@" not in page, "who votes does not know whose answers these are"


def test_settings_tell_variants_apart_only_where_nothing_else_does():
    one, other, third = side("1", settings="sha256:abcdefgh"), side("1"), side("2")
    votes = [replace(vote("1", "1"), left=one, right=other), replace(vote("1", "1"), left=other, right=third)]

    assert sorted(drawn.labels(ranking(votes)).values()) == [
        "support/triage@1 · m · no settings",
        "support/triage@1 · m · settings abcdefg",
        "support/triage@2 · m",
    ]


def test_the_command_line_lists_and_ranks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "greeting.prompty").write_text(prompt_text("1.0.0", "Hi."), encoding="utf-8")
    now = PromptRepository(tmp_path / "prompts")["greeting"].digest
    left, right = (Side("greeting", now, "greeting@1.0.0", model, "", "sha256:a") for model in ("large", "small"))
    path = home(tmp_path, "greeting")

    def told(*arguments: str) -> tuple[int, str, str]:
        return main(["votes", *arguments]), *capsys.readouterr()

    assert told("list") == (0, "nobody has voted yet; the page Vote of `pytest-agentops playground` asks\n", "")
    assert told("rank") == (0, "no vote counts\n", "")
    for minute in range(3):
        cast(path, replace(vote("1", "2", case=str(minute), minute=minute), left=left, right=right))
    cast(path, replace(vote("1", "2", minute=9), left=replace(left, digest="sha256:old"), right=right))

    assert told("list") == (0, "greeting: 3 votes, 1 about what has changed since (Ada 3)\n", "")
    assert told("rank", "greeting") == (
        0,
        (
            "chance to win against an average one, with where it truly lies in 95 of 100 samples\n"
            "  greeting · large  at least 47 %     3 won, 0 lost, 0 tied\n"
            "  greeting · small  at most 53 %      0 won, 3 lost, 0 tied\n"
            "1 vote about what has changed since; not counted\n"
        ),
        "",
    )
    assert [each["model"] for each in json.loads(told("rank", "--json")[1])["ranks"]] == ["large", "small"]
    assert json.loads(told("list", "--json")[1])[0]["by"] == {"Ada": 3}
    assert told("rank", "greetings") == (
        2,
        "",
        "pytest-agentops: nobody has voted on 'greetings'; did you mean 'greeting'?\n  all: pytest-agentops votes list\n",
    )
    path.write_text("{}\n", encoding="utf-8")
    code, _, complaint = told("list")
    assert (code, complaint.partition(": it is no vote")[0]) == (1, f"pytest-agentops: {path}:1")
