"""Traces as HTML for the playground: what people and models wrote is text, and nothing is hidden without a word."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from pytest_agentops.formats import comparison
from pytest_agentops.formats.traces import (
    Shown,
    facts_html,
    graph_html,
    messages_html,
    pair_html,
    runs_html,
    tree_html,
    waterfall_html,
)
from pytest_agentops.gates import Gates
from pytest_agentops.regression import Case, Take
from pytest_agentops.report import PromptChange, Report
from pytest_agentops.sessions import Run
from pytest_agentops.trace import (
    Attempt,
    CallError,
    Finding,
    Message,
    ModelCall,
    Render,
    ResponseText,
    Span,
    ToolCall,
    Trace,
    Usage,
)

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)><a href=javascript:alert(1)>x</a>{{ 7*7 }}\x1b[2J"


class Tags(HTMLParser):
    """Every tag of a text, with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def hostile() -> Trace:
    call = ToolCall(HOSTILE, {HOSTILE: HOSTILE}, HOSTILE, "error", id="c1")
    return Trace(
        (
            ModelCall(
                "r1", HOSTILE, HOSTILE, (Message(HOSTILE, HOSTILE), Message("user", [{"type": HOSTILE}])),
                response=ResponseText(HOSTILE), tool_calls=(call,), attempts=(Attempt(1, 1.0),), started=0.0,
                agent=HOSTILE, finish_reason=HOSTILE, span=1,
            ),
            ModelCall("r2", "p", "m", error=CallError(HOSTILE), attempts=(Attempt(2, 1.0),), started=2.0),
        ),
        prompts=(Render(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}),),
        findings=(Finding("failed", HOSTILE),),
        spans=(
            Span(1, "agent", HOSTILE, input=HOSTILE, output=HOSTILE, error=HOSTILE, origin=HOSTILE, started=0.0),
            Span(2, "handoff", f"{HOSTILE} -> other", attributes={HOSTILE: HOSTILE}),
        ),
    )  # fmt: skip


def all_parts() -> list[str]:
    trace = hostile()
    opened = Shown(opened=frozenset({"span-1", "span-2", "model-0", "model-1", "tool-0-0"}))
    take = Take("passed", calls=trace.tool_calls, response=HOSTILE, models=(HOSTILE,), findings=(HOSTILE,))
    report = Report.of(
        [Case(HOSTILE, (Take("failed"),), (take,)), Case("broken", trouble=HOSTILE)],
        gates=Gates(),
        prompts=(PromptChange(HOSTILE, "changed", HOSTILE, HOSTILE, old_body="a", new_body=HOSTILE, case=HOSTILE),),
    )
    everything = frozenset({HOSTILE, "broken"})
    return [
        waterfall_html(trace, opened),
        tree_html(trace, opened),
        graph_html(trace),
        messages_html(trace),
        facts_html(trace),
        pair_html(trace, Trace(), (HOSTILE, HOSTILE)),
        pair_html(trace, trace, (HOSTILE, HOSTILE)),
        runs_html([Run(HOSTILE, HOSTILE, "failed", said=HOSTILE, models=(HOSTILE,), prompts=((HOSTILE, HOSTILE),))]),
        runs_html([Run(HOSTILE, HOSTILE, "unreadable", problem=HOSTILE)]),
        comparison.counts_html(report),
        comparison.cases_html(report, opened=everything),
        comparison.prompts_html(report, everything),
    ]


@pytest.mark.parametrize("part", range(12))
def test_whatever_people_and_models_wrote_is_text(part):
    html = all_parts()[part]

    tags = Tags(html).found
    assert {tag for tag, _ in tags} & {"script", "img", "a", "iframe", "object", "link", "style", "form"} == set()
    assert [
        name for _, attributes in tags for name in attributes if name.startswith("on") or name in ("href", "src")
    ] == []
    styles = [attributes.get("style") or "" for _, attributes in tags]
    assert [style for style in styles if not re.fullmatch(r"[a-z0-9:;.%\s-]*", style)] == []
    assert "49" not in html
    assert "\x1b" not in html


def test_a_waterfall_of_more_than_can_be_drawn_says_how_many_there_are_and_leads_to_them():
    trace = Trace(
        tuple(ModelCall(f"r{n}", "p", "m", attempts=(Attempt(n, 0.5),), started=float(n)) for n in range(1, 1001))
    )

    first, last = waterfall_html(trace), waterfall_html(trace, Shown(first=900))

    assert "rows 1 to 300 of 1,000" in first
    assert 'data-pick="from:300"' in first
    assert first.count('data-pick="row:') == 300
    assert [page[1] for page in re.findall(r'data-pick="from:(\d+)" aria-current="\w+">(\d)<', first)][:4] == [*"1234"]
    assert "rows 901 to 1,000 of 1,000" in last
    assert 'data-pick="from:600"' in last


def test_a_bar_stands_where_its_time_is():
    trace = Trace(
        (
            ModelCall("r1", "p", "m", attempts=(Attempt(1, 1.0),), started=0.0, usage=Usage(1000, 234), cost=0.5),
            ModelCall("r2", "p", "m", attempts=(Attempt(2, 2.0),), started=2.0),
        )
    )

    html = waterfall_html(trace)

    assert "left: 0.0%; width: 25.0%" in html
    assert "left: 50.0%; width: 50.0%" in html
    assert "1,234" in html
    assert "$0.5000" in html


def test_a_run_in_which_nothing_happened_says_so():
    for draw in (waterfall_html, tree_html, graph_html, messages_html):
        assert "No model was asked in this run, and no tool was called." in draw(Trace())


def test_a_click_folds_opens_and_goes_on():
    shown = Shown().toggled("fold:span-1").toggled("row:model-0").toggled("row:model-1").toggled("row:model-0")

    assert shown == Shown(0, frozenset({"span-1"}), frozenset({"model-1"}))
    assert shown.toggled("from:300").first == 300
    assert shown.toggled("from:nowhere") == shown
    assert shown.toggled("") == shown


def test_a_long_text_is_folded_and_a_very_long_one_says_what_is_missing():
    def drawn(length: int) -> str:
        return messages_html(Trace((ModelCall("r1", "p", "m", (Message("user", "x" * length),)),)))

    assert "more characters" not in drawn(2_000)
    assert "8,000 more characters" in drawn(10_000)
    assert "998,000 more characters, the first 100,000 of them" in drawn(1_000_000)


def test_figures_that_are_not_known_are_no_zeros():
    trace = Trace((ModelCall("r1", "p", "local", response=ResponseText("yes")),))

    html = facts_html(trace)

    assert "$0" not in html
    assert html.count("<b>–</b>") == 3
    assert "nothing odd was seen" in html.lower()


def test_a_list_shows_its_beginning_and_which_way_it_is_sorted():
    runs = [Run(f"cassettes/test_a/test_{n}.yaml", "x", "passed", cost=None, tokens=n) for n in range(250)]

    html = runs_html(runs, sort="tokens", descending=False, first=100)

    assert "runs 101 to 200 of 250" in html
    assert 'aria-sort="ascending"><button data-pick="sort:tokens">tokens ↑' in html
    assert html.count('data-pick="run:') == 100


def test_tests_are_found_by_verdict_and_by_words():
    passed, failed = Take("passed"), Take("failed")
    report = Report.of(
        [
            Case("tests/test_a.py::test_worse", (passed,), (failed,)),
            Case("tests/test_a.py::test_better", (failed,), (passed,)),
            Case("tests/test_b.py::test_new", (), (passed,)),
        ],
        gates=Gates(),
    )

    def names(**wanted: str) -> list[str]:
        return [case.name.rpartition("_")[2] for case in comparison.chosen(report, **wanted)]

    assert names() == ["worse", "better", "new"]
    assert names(verdict="improved") == ["better"]
    assert names(text="TEST_A worse") == ["worse"]
    assert names(verdict="new", text="test_a") == []
