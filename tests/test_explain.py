"""What people read when something is red, compared whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_agentops import call, in_order, never
from pytest_agentops.cassette import Miss, Unplayed
from pytest_agentops.exchange import Exchange, Failure, Request, Response
from pytest_agentops.expect import Expectation, Mismatch
from pytest_agentops.explain import explained, miss_lines, totals, trace_lines, unplayed_lines
from pytest_agentops.trace import (
    Attempt,
    CallError,
    Finding,
    Message,
    ModelCall,
    ResponseText,
    ToolCall,
    Trace,
    Trajectory,
    Usage,
)


def run(*steps: ToolCall | str | list[ToolCall | str]) -> Trajectory:
    """A trajectory; a step of one call stands as the call, a call without arguments as its name."""
    return Trajectory(
        [
            [replace(each, step=index) if isinstance(each, ToolCall) else ToolCall(each, step=index) for each in calls]
            for index, calls in enumerate(step if isinstance(step, list) else [step] for step in steps)
        ]
    )


REFUND = run(
    ToolCall("lookup_order", {"order_id": 42}),
    "verify_identity",
    ToolCall("issue_refund", {"order_id": 42, "amount": 19.9}),
)


def told(op: str, left: object, right: object) -> str:
    """What a failed comparison tells; at most eight lines, which is where pytest cuts."""
    lines = explained(op, left, right)
    assert lines is not None
    assert len(lines) <= 8
    return "\n".join(lines)


# --- exactly ---------------------------------------------------------------------------------------------------------


def test_a_call_that_was_not_expected():
    assert told("==", REFUND, ["lookup_order", "issue_refund"]) == (
        "trajectory == ['lookup_order', 'issue_refund']\n"
        "  calls: 2 as expected, 1 not expected\n"
        "    lookup_order(order_id=42)\n"
        "  + verify_identity()\n"
        "    issue_refund(order_id=42, amount=19.9)"
    )


def test_a_call_that_is_missing():
    assert told("==", REFUND, ["lookup_order", "verify_identity", call("issue_refund", order_id=42), "send_mail"]) == (
        "trajectory == ['lookup_order', 'verify_identity', call('issue_refund', order_id=42), 'send_mail']\n"
        "  calls: 3 as expected, 1 missing\n"
        "    lookup_order(order_id=42)\n"
        "    verify_identity()\n"
        "    issue_refund(order_id=42, amount=19.9)\n"
        "  - 'send_mail'"
    )


def test_a_call_with_other_arguments():
    assert told("==", REFUND, ["lookup_order", "verify_identity", call("issue_refund", order_id=21, amount=40)]) == (
        "trajectory == ['lookup_order', 'verify_identity', call('issue_refund', order_id=21, amount=40)]\n"
        "  calls: 2 as expected, 1 with other arguments\n"
        "    lookup_order(order_id=42)\n"
        "    verify_identity()\n"
        "  ~ issue_refund(order_id=42, amount=19.9)\n"
        "      order_id: expected 21, got 42\n"
        "      amount: expected 40, got 19.9"
    )


def test_a_call_out_of_order():
    assert told("==", REFUND, ["verify_identity", "lookup_order", "issue_refund"]) == (
        "trajectory == ['verify_identity', 'lookup_order', 'issue_refund']\n"
        "  calls: 2 as expected, 1 missing, 1 not expected\n"
        "  - 'verify_identity'  (it was asked for in step 1, out of order)\n"
        "    lookup_order(order_id=42)\n"
        "  + verify_identity()\n"
        "    issue_refund(order_id=42, amount=19.9)"
    )


def test_another_tool_than_expected():
    assert told("==", REFUND, ["lookup_order", "ask_manager", "issue_refund"]) == (
        "trajectory == ['lookup_order', 'ask_manager', 'issue_refund']\n"
        "  calls: 2 as expected, 1 missing, 1 not expected\n"
        "    lookup_order(order_id=42)\n"
        "  - 'ask_manager'\n"
        "  + verify_identity()\n"
        "    issue_refund(order_id=42, amount=19.9)"
    )


def test_no_call_where_some_were_expected():
    assert told("==", run(), ["lookup_order"]) == (
        "trajectory == ['lookup_order']\n  calls: 1 missing\n  - 'lookup_order'"
    )


def test_calls_where_none_were_expected():
    assert told("==", REFUND, []) == (
        "trajectory == []\n"
        "  calls: 3 not expected\n"
        "  + lookup_order(order_id=42)\n"
        "  + verify_identity()\n"
        "  + issue_refund(order_id=42, amount=19.9)"
    )


def test_the_order_inside_a_step_is_no_difference():
    assert told("==", run(["b", "a"], "c"), ["a", "b", "d"]) == (
        "trajectory == ['a', 'b', 'd']\n"
        "  calls: 2 as expected, 1 missing, 1 not expected\n"
        "    a()\n"
        "    b()\n"
        "  - 'd'\n"
        "  + c()"
    )


def test_what_agrees_far_from_a_difference_is_only_counted():
    assert told("==", run(*"abcdefghij"), list("abcdefXhij")) == (
        "trajectory == ['a', 'b', 'c', 'd', 'e', 'f', 'X', 'h', 'i', 'j']\n"
        "  calls: 9 as expected, 1 missing, 1 not expected\n"
        "    ... 5 more as expected\n"
        "    f()\n"
        "  - 'X'\n"
        "  + g()\n"
        "    h()\n"
        "    ... 2 more as expected"
    )


def test_arguments_that_are_no_json():
    assert told("==", run(ToolCall("refund", malformed='{"order": 4')), [call("refund", order=4)]) == (
        "trajectory == [call('refund', order=4)]\n"
        "  calls: 1 with other arguments\n"
        """  ~ refund(malformed: '{"order": 4')\n"""
        """      expected arguments that are JSON, got '{"order": 4'"""
    )


def test_long_values_are_cut():
    assert told("==", run(ToolCall("search", {"q": "x" * 300})), [call("search", q=re.compile("^a"), limit=int)]) == (
        "trajectory == [call('search', q=re.compile('^a'), limit=int)]\n"
        "  calls: 1 with other arguments\n"
        f"  ~ search(q='{'x' * 87}...\n"
        f"      q: expected re.compile('^a'), got '{'x' * 99}... (302 characters)\n"
        "      limit: expected int, got nothing"
    )


# --- in_order --------------------------------------------------------------------------------------------------------


def test_a_call_that_came_too_early():
    assert told("==", REFUND, in_order("issue_refund", "verify_identity")) == (
        "trajectory == in_order('issue_refund', 'verify_identity')\n"
        "  'verify_identity' was asked for in step 1, not after issue_refund(order_id=42, amount=19.9) (step 2)\n"
        "  what happened: lookup_order -> verify_identity -> issue_refund"
    )


def test_a_call_in_the_same_step():
    assert told("==", run(["a", "b"], "c"), in_order("a", "b")) == (
        "trajectory == in_order('a', 'b')\n"
        "  'b' was asked for in the same step as a() (step 0), not after it\n"
        "  what happened: a + b -> c"
    )


def test_a_call_that_did_not_come_again():
    assert told("==", run("a", "c"), in_order("a", "a")) == (
        "trajectory == in_order('a', 'a')\n  'a' was not asked for again after a() (step 0)\n  what happened: a -> c"
    )


def test_a_call_that_never_came_and_the_name_that_may_be_meant():
    assert told("==", REFUND, in_order("lookup_order", "issue_refnd")) == (
        "trajectory == in_order('lookup_order', 'issue_refnd')\n"
        "  'issue_refnd' was never called; did you mean 'issue_refund'?\n"
        "  what happened: lookup_order -> verify_identity -> issue_refund"
    )


def test_a_call_that_came_with_other_arguments():
    assert told("==", REFUND, in_order("lookup_order", call("issue_refund", amount=40))) == (
        "trajectory == in_order('lookup_order', call('issue_refund', amount=40))\n"
        "  'issue_refund' was called once, never with these arguments\n"
        "  closest: issue_refund(order_id=42, amount=19.9)\n"
        "    amount: expected 40, got 19.9\n"
        "  what happened: lookup_order -> verify_identity -> issue_refund"
    )


# --- never, & --------------------------------------------------------------------------------------------------------


def test_a_call_that_should_never_have_been():
    assert told("==", REFUND, never("issue_refund", "ban_customer")) == (
        "trajectory == never('issue_refund', 'ban_customer')\n"
        "  it was asked for in step 2: issue_refund(order_id=42, amount=19.9)"
    )


def test_each_part_of_a_conjunction_that_does_not_hold():
    assert told("==", REFUND, never("issue_refund") & in_order("lookup_order", "verify_identity") & in_order("a")) == (
        "trajectory == never('issue_refund') & in_order('lookup_order', 'verify_identity') & in_order('a')\n"
        "  never('issue_refund') does not hold:\n"
        "    it was asked for in step 2: issue_refund(order_id=42, amount=19.9)\n"
        "  in_order('a') does not hold:\n"
        "    'a' was never called\n"
        "    what happened: lookup_order -> verify_identity -> issue_refund"
    )


def test_an_expectation_of_somebody_elses():
    class Short(Expectation):
        def judge(self, subject):
            return Mismatch(self, subject) if len(subject.trajectory) > 2 else None

        def __repr__(self):
            return "Short()"

    assert told("==", REFUND, Short()) == (
        "trajectory == Short()\n  it does not hold\n  what happened: lookup_order -> verify_identity -> issue_refund"
    )


# --- in --------------------------------------------------------------------------------------------------------------


def test_a_call_that_is_not_in_a_trajectory():
    assert told("in", call("issue_refund", amount=40, order_id=21), REFUND) == (
        "call('issue_refund', amount=40, order_id=21) in trajectory\n"
        "  'issue_refund' was called once, never with these arguments\n"
        "  closest: issue_refund(order_id=42, amount=19.9)\n"
        "    amount: expected 40, got 19.9\n"
        "    order_id: expected 21, got 42\n"
        "  what happened: lookup_order -> verify_identity -> issue_refund"
    )


def test_the_closest_of_several_calls():
    calls = run(ToolCall("refund", {"order": 1, "amount": 2}), ToolCall("refund", {"order": 42, "amount": 2}))

    assert told("in", call("refund", order=42, amount=19.9), calls) == (
        "call('refund', order=42, amount=19.9) in trajectory\n"
        "  'refund' was called 2 times, never with these arguments\n"
        "  closest: refund(order=42, amount=2)\n"
        "    amount: expected 19.9, got 2\n"
        "  what happened: refund -> refund"
    )


def test_a_name_that_is_not_in_a_trajectory():
    assert told("in", "refund", REFUND) == (
        "'refund' in trajectory\n"
        "  'refund' was never called; did you mean 'issue_refund'?\n"
        "  what happened: lookup_order -> verify_identity -> issue_refund"
    )
    assert told("in", "refund", run()) == (
        "'refund' in trajectory\n  'refund' was never called\n  what happened: no tool was called"
    )


def test_a_call_that_is_in_a_trajectory_and_should_not_be():
    assert told("not in", call("issue_refund", amount=float), REFUND) == (
        "call('issue_refund', amount=float) not in trajectory\n"
        "  it was asked for in step 2: issue_refund(order_id=42, amount=19.9)"
    )


# --- other comparisons -----------------------------------------------------------------------------------------------


def test_a_comparison_that_holds_and_should_not():
    assert told("!=", REFUND, ["lookup_order", "verify_identity", "issue_refund"]) == (
        "trajectory != ['lookup_order', 'verify_identity', 'issue_refund']\n"
        "  it holds; what happened: lookup_order -> verify_identity -> issue_refund"
    )
    assert told("!=", REFUND, never("ban_customer")) == (
        "trajectory != never('ban_customer')\n"
        "  it holds; what happened: lookup_order -> verify_identity -> issue_refund"
    )


def test_two_trajectories_that_differ():
    assert told("==", REFUND, run("lookup_order", "verify_identity")) == (
        "trajectory == trajectory\n"
        "  step 0: lookup_order(order_id=42)\n"
        "  instead of lookup_order()\n"
        "  step 2: issue_refund(order_id=42, amount=19.9)\n"
        "  instead of nothing"
    )


def test_the_side_that_the_trajectory_stands_on_does_not_matter():
    assert told("==", ["lookup_order"], REFUND) == told("==", REFUND, ["lookup_order"])
    assert told("==", never("lookup_order"), REFUND) == told("==", REFUND, never("lookup_order"))


@pytest.mark.parametrize(
    ("op", "left", "right"),
    [
        ("==", 1, 2),
        ("in", 1, [2]),
        ("<", REFUND, REFUND),
        ("==", REFUND, {"a"}),
        ("==", REFUND, None),
        ("in", 3, REFUND),
    ],
)
def test_other_comparisons_are_left_to_pytest(op, left, right):
    assert explained(op, left, right) is None


# --- traces ----------------------------------------------------------------------------------------------------------


def model_call(*tool_calls: ToolCall, text: str = "", **fields: object) -> ModelCall:
    return ModelCall("c1", "openai", "gpt-5-mini", response=ResponseText(text), tool_calls=tool_calls, **fields)


def test_a_trace_as_a_tree():
    trace = Trace(
        model_calls=(
            model_call(
                ToolCall("lookup_order", {"order_id": 42}, "paid, 19.90", "ok"),
                ToolCall("log", {"note": "x" * 200}),
                usage=Usage(1200, 80),
                cost=0.25,
                attempts=(Attempt(1, 0.5, CallError("busy", 503)), Attempt(2, 1.25)),
                messages=(Message("user", "Refund order 42"),),
            ),
            model_call(text="It is\n  on its way. " * 10, usage=Usage(1500, 20), cost=1.0),
            model_call(error=CallError("no route", code="ConnectError")),
        ),
        findings=(Finding("unanswered", "log was asked for and no result was sent back", 2),),
        source="replayed",
        exchanges=4,
        seconds=12.34,
    )

    assert "\n".join(trace_lines(trace)) == (
        "3 model calls, 2 tool calls, 2,800 tokens, $1.25, 12.3 s, replayed\n"
        "  step 0  gpt-5-mini · 1,200 in, 80 out · 1.2 s · 2 attempts\n"
        '    lookup_order(order_id=42) -> "paid, 19.90"\n'
        f"    log(note='{'x' * 87}... -> unanswered\n"
        "  step 1  gpt-5-mini · 1,500 in, 20 out\n"
        f"    '{'It is on its way. ' * 5}It is o...'\n"
        "  step 2  gpt-5-mini\n"
        "    failed: ConnectError no route\n"
        "  finding: log was asked for and no result was sent back (unanswered)"
    )


def test_a_trace_without_figures_says_so_in_one_line():
    trace = Trace(model_calls=(model_call(ToolCall("log")),), source="imported")

    assert totals(trace) == "1 model call, 1 tool call, tokens not reported, no known price, no times, imported"


def test_a_trace_of_nothing_says_so():
    assert list(trace_lines(Trace())) == ["nothing was captured: no HTTP request was seen"]


# --- misses ----------------------------------------------------------------------------------------------------------

CHAT = "https://api.openai.com/v1/chat/completions"
HERE = Path("cassettes/test_a/test_x.yaml")


def exchange(number: int, content: str, **asked: object) -> Exchange:
    return Exchange(number, request(content, **asked), Response(200))


def request(content: str, url: str = CHAT, **asked: object) -> Request:
    messages = [{"role": "user", "content": content}]
    return Request("POST", url, (), json.dumps({"model": "gpt-5-mini", "messages": messages, **asked}).encode())


def miss(asked: Request, nearest: Exchange | None, **facts: object) -> str:
    given = {
        "mode": "none",
        "exists": True,
        "recorded": 3,
        "used": 1,
        "used_up": False,
        "test": "tests/test_a.py::test_x",
    }
    return "\n".join(miss_lines(Miss(request=asked, nearest=nearest, cassette=HERE, **{**given, **facts})))


def test_a_miss_names_the_nearest_request_and_what_differs():
    assert miss(request("Where is order 42?"), exchange(2, "Where is order 41?")) == (
        "no recorded reply for this request, and nothing may go live (record mode: none)\n"
        '  request   POST https://api.openai.com/v1/chat/completions  "Where is order 42?"\n'
        "  cassette  cassettes/test_a/test_x.yaml (3 replies, 1 used)\n"
        "  cause     the prompt changed (user)\n"
        "  closest   #2 differs in /messages/0/content\n"
        '            recorded  "Where is order 41?"\n'
        '            asked     "Where is order 42?"\n'
        "  to record again: pytest tests/test_a.py::test_x --agentops-record=changed"
    )


def test_a_miss_shows_the_words_that_differ_in_a_long_text():
    words = "You are the support agent of ACME. Be friendly and brief, and look an order up before you refund it."

    assert miss(request(words.replace("friendly", "formal")), exchange(2, words)).splitlines()[4:6] == [
        "  closest   #2 differs in /messages/0/content",
        "            agent of ACME. Be [-friendly-]{+formal+} and brief, and look",
    ]


def test_a_miss_shows_three_places_and_counts_the_others():
    recorded = exchange(1, "a", temperature=0, top_p=1, seed=1, n=1)

    assert miss(request("a", temperature=1, top_p=0, seed=2), recorded).splitlines()[3:] == [
        "  cause     other options",
        "  closest   #1 differs in /temperature, /top_p, /seed and 1 more place",
        "            recorded  0",
        "            asked     1",
        "            recorded  1",
        "            asked     0",
        "            recorded  1",
        "            asked     2",
        "  to record again: pytest tests/test_a.py::test_x --agentops-record=changed",
    ]


def test_a_miss_of_something_the_cassette_has_used_up():
    asked = request("again?")

    assert miss(asked, exchange(1, "again?"), recorded=1, used=1, used_up=True).splitlines()[2:] == [
        "  cassette  cassettes/test_a/test_x.yaml (1 reply, 1 used)",
        "  closest   this very request is recorded, and each of its replies was given already",
        "  to record again: pytest tests/test_a.py::test_x --agentops-record=changed",
    ]


def test_a_miss_where_there_is_no_cassette():
    assert miss(request("a"), None, exists=False).splitlines()[2:] == [
        "  cassette  cassettes/test_a/test_x.yaml does not exist",
        "  to record it: pytest tests/test_a.py::test_x --agentops-record=once",
    ]


def test_a_miss_where_the_cassette_is_empty():
    assert miss(request("a"), None, recorded=0, used=0).splitlines()[2:4] == [
        "  cassette  cassettes/test_a/test_x.yaml (0 replies, 0 used)",
        "  closest   nothing: it holds no reply for this test",
    ]


def test_a_miss_whose_nearest_went_elsewhere():
    assert miss(request("a", "https://api.groq.com/v1/chat/completions"), exchange(1, "a")).splitlines()[4] == (
        "  closest   #1 goes to POST https://api.openai.com/v1/chat/completions"
    )


def test_replies_that_were_not_asked_for():
    left = (exchange(2, "Where is order 42?"), Exchange(3, Request("GET", "https://weather.example/today?day=1")))
    refused = Exchange(4, Request("GET", "https://weather.example/"), None, Failure("ConnectError", "refused"))

    unplayed = Unplayed(HERE, (*left, refused), 4, "tests/test_a.py::test_x[a b]")

    assert "\n".join(unplayed_lines(unplayed)) == (
        "3 of 4 recorded replies were never asked for\n"
        "  cassette  cassettes/test_a/test_x.yaml\n"
        '  #2  POST https://api.openai.com/v1/chat/completions -> 200  "Where is order 42?"\n'
        "  #3  GET https://weather.example/today -> None\n"
        "  #4  GET https://weather.example/ -> ConnectError\n"
        "  to record again: pytest 'tests/test_a.py::test_x[a b]' --agentops-record=changed"
    )


# --- in pytest -------------------------------------------------------------------------------------------------------


def test_pytest_shows_the_whole_explanation_after_the_word_assert(tiny_project):
    tiny_project.write(
        "test_shop.py",
        """
        from pytest_agentops import call, in_order, never
        from pytest_agentops.trace import ToolCall, Trajectory

        RUN = Trajectory([[ToolCall("lookup_order", {"order_id": 42}, step=0)], [ToolCall("refund", {"order": 21}, step=1)]])

        def test_list():
            assert RUN == ["lookup_order", call("refund", order=12)]

        def test_in():
            assert call("refund", order=12) in RUN
        """,
    )

    shown = tiny_project.run()

    assert [line for line in shown.lines if line.startswith("E ")] == [
        "E       AssertionError: assert trajectory == ['lookup_order', call('refund', order=12)]",
        "E           calls: 1 as expected, 1 with other arguments",
        "E             lookup_order(order_id=42)",
        "E           ~ refund(order=21)",
        "E               order: expected 12, got 21",
        "E       AssertionError: assert call('refund', order=12) in trajectory",
        "E           'refund' was called once, never with these arguments",
        "E           closest: refund(order=21)",
        "E             order: expected 12, got 21",
        "E           what happened: lookup_order -> refund",
    ]
