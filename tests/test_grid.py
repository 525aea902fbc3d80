"""Answers side by side as HTML: figures, differences, and hostile text that stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_agentops.datasets import Case
from pytest_agentops.experiment import Experiment, Outcome, Place, Score, Trial, Variant
from pytest_agentops.formats.grid import _words, answer, dollars, grid, page, seconds, summary

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "</style><script>alert(1)</script>",
    "{{ 7 * 7 }} {% include 'x' %}",
    "javascript:alert(1)",
    "<a href='https://evil.example'>here</a> https://evil.example ![x](https://evil.example/x.png)",
    "\x1b[2J\x00\x07",
]


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def outcome(*texts: str, **more: object) -> Outcome:
    """One case, which each variant answers with one of these."""
    variants = tuple(Variant(f"prompt{index}", "model") for index in range(len(texts)))
    trials = tuple(Trial(Place(index, 0), "done", so_far=text, **more) for index, text in enumerate(texts))  # type: ignore[arg-type]
    return Outcome(Experiment(variants, (Case({"question": "Why?"}),)), trials)


def drawn(of: Outcome, **options: object) -> str:
    given: dict[str, object] = {"rows": [0], "columns": range(len(of.experiment.variants)), **options}
    return grid(of, **given)  # type: ignore[arg-type]


def words_of(html: str) -> str:
    return " ".join("".join(Tags(html).said).split())


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_wherever_it_stands(text):
    hostile = Outcome(
        Experiment(
            (Variant(text, text, {text: text}, source=text), Variant("b")),
            (Case({text: text}, message=text, expected=text, name=text),),
        ),
        (Trial(Place(0, 0), "failed", so_far=text, problem=text, origin=text, scores=(Score(text, False, text),)),
         Trial(Place(1, 0), "done", so_far=text + " more")),
    )  # fmt: skip

    for html in (
        drawn(hostile, reference=(0, None)),
        page(hostile, rows=[0], columns=[0, 1], reference=(0, None), made=text),
        answer(hostile.trials[0]),
    ):
        tags = Tags(html)
        assert {tag for tag, _ in tags.found} <= {
            "html", "meta", "title", "style", "h1", "div", "p", "b", "i", "span", "ins", "del", "button", "ul", "li", "dl",
            "dt", "dd",
        }  # fmt: skip
        allowed = {"class", "data-part", "data-pick", "role", "style", "tabindex", "title", "lang", "charset", "name",
                   "content", "http-equiv"}  # fmt: skip
        assert {name for _, attributes in tags.found for name in attributes} <= allowed
        assert not re.search(r"[\x00-\x08\x0e-\x1f]", html)


def test_the_file_to_pass_on_runs_nothing_and_fetches_nothing():
    html = page(outcome("one", "two"), rows=[0], columns=[0, 1], reference=None, made="2026-11-28")

    assert "default-src 'none'; style-src 'unsafe-inline'" in html
    assert "<script" not in html
    assert not re.search(r"(?:src|href)\s*=|url\(|@import", html)
    assert " data-pick=" not in html


def test_words_that_differ_from_the_reference_are_marked_and_the_reference_is_whole():
    html = drawn(outcome("It is due on Monday.", "It is due on Friday."), reference=(0, None))

    assert "It is due on <del>Monday.</del><ins>Friday.</ins>" in html
    assert html.count("<del>") == 1


def test_one_cell_as_reference_compares_only_its_row():
    both = Outcome(
        Experiment((Variant("a"), Variant("b")), (Case({}), Case({}))),
        tuple(Trial(Place(v, c), "done", so_far=f"say {v}") for v in (0, 1) for c in (0, 1)),
    )

    html = grid(both, rows=[0, 1], columns=[0, 1], reference=(0, 1))

    assert html.count("<ins>") == 1


def test_json_is_compared_by_its_values():
    html = drawn(
        outcome('{"queue": "billing", "urgent": false}', '{"urgent": false, "queue": "tech"}'), reference=(0, None)
    )

    assert "<dt>$.queue</dt><dd><del>&#34;billing&#34;</del> <ins>&#34;tech&#34;</ins></dd>" in html
    assert "urgent" not in html.partition("$.queue")[2].partition("</dl>")[0]


def test_answers_that_mean_the_same_are_said_to():
    html = drawn(outcome('{"a": 1, "b": 2}', '{"b": 2, "a": 1}'), reference=(0, None))

    assert "the same as the reference" in html


def test_a_long_answer_is_cut_in_the_table_and_whole_when_it_is_opened_and_in_the_file():
    long = outcome("word " * 1000)

    assert "characters more" in drawn(long)
    assert "characters more" not in answer(long.trials[0])
    assert page(long, rows=[0], columns=[0], reference=None, made="").count("word") >= 1000


def test_the_head_of_a_column_sums_up_its_answers():
    html = drawn(outcome("a", "b", cost=0.002, first=0.25, scores=(Score("kind", True),)))

    assert "$0.0020" in html
    assert "250 ms first" in html
    assert "✓ kind" in html


def test_the_summary_says_how_far_it_is():
    states = ("done", "replayed", "running", "failed", "stopped", "waiting")
    trials = tuple(Trial(Place(0, index), state, cost=0.01) for index, state in enumerate(states))

    said = summary(Outcome(Experiment((Variant("a"),), tuple(Case({}) for _ in states)), trials))

    assert said == "2 of 6 answered, 1 replayed, 1 running, 1 failed, 1 stopped, $0.0500 spent"


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "$0.00"), (1.5, "$1.50"), (0.0123, "$0.0123"), (0.00001, "<$0.0001"), (1234.5, "$1,234.50")],
)
def test_an_amount_has_as_many_places_as_it_takes_to_see_it(value, said):
    assert dollars(value) == said


def test_a_duration_is_told_in_milliseconds_or_seconds():
    assert (seconds(0.25), seconds(1.25)) == ("250 ms", "1.2 s")


words = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12).map(" ".join)


@given(words, words)
def test_marked_differences_hold_both_texts_whole(old, new):
    parts = _words(old, new)

    assert "".join(text for kind, text in parts if kind != "new") == old
    assert "".join(text for kind, text in parts if kind != "old") == new
