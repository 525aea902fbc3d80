"""What every expectation says in every situation, kept in `__snapshots__`; renew with `pytest --snapshot-update`."""

from __future__ import annotations

import re

import pytest
from syrupy.assertion import SnapshotAssertion

from pytest_agentops import (
    any_order,
    at_least,
    at_most,
    before,
    call,
    exactly,
    in_order,
    includes,
    judged,
    matches_schema,
    never,
    no_cycle,
    no_repeats,
    one_of,
    only,
    only_tools,
    optional,
    repeated,
    similar_to,
    together,
)
from pytest_agentops.expect.responses import NotJudged, Verdict, Vote
from pytest_agentops.explain import explained, mismatch_lines
from pytest_agentops.trace import ModelCall, ResponseText, ToolCall, Trace
from tests.test_explain import run

LOOKUP, REFUND = call("lookup_order", order_id=42), call("issue_refund", order_id=42, amount=19.9)

EXPECTATIONS = [
    exactly(LOOKUP, "verify_identity", REFUND),
    exactly(LOOKUP, optional("ask"), one_of("verify_identity", "call_manager"), repeated(REFUND, 1, 2)),
    in_order(LOOKUP, REFUND),
    in_order(one_of(LOOKUP, "search"), repeated("verify_identity", 1, 3), REFUND),
    any_order(REFUND, LOOKUP, "verify_identity"),
    includes(REFUND, "verify_identity"),
    only(LOOKUP, "verify_identity", REFUND),
    only_tools("lookup_order", "verify_identity", "issue_refund"),
    together(LOOKUP, "verify_identity"),
    never(call("issue_refund", amount=float), "send_mail"),
    at_least(2, "verify_identity"),
    at_most(0, "verify_identity"),
    before("verify_identity", "issue_refund"),
    no_repeats(),
    no_cycle(),
    in_order(LOOKUP, REFUND) & never("verify_identity"),
    in_order(REFUND, LOOKUP) | never("lookup_order"),
    ~in_order("lookup_order"),
]

lookup, refund = ToolCall("lookup_order", {"order_id": 42}), ToolCall("issue_refund", {"order_id": 42, "amount": 19.9})
OTHER = ToolCall("issue_refund", {"order_id": 21, "amount": 40.0})

SITUATIONS = {
    "as expected": run(lookup, "verify_identity", refund),
    "nothing called": run(),
    "wrong order": run(refund, "verify_identity", lookup),
    "wrong argument": run(lookup, "verify_identity", OTHER),
    "near name": run("lookup_orders", "verify_identify", refund),
    "extra call": run(lookup, "verify_identity", "send_mail", refund),
    "parallel calls": run([lookup, "verify_identity", refund]),
    "200 calls": run(*[lookup, "verify_identity"] * 99, OTHER, "send_mail"),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_expectation_explains_itself(situation, snapshot: SnapshotAssertion):
    trajectory = SITUATIONS[situation]
    told = []
    for expectation in EXPECTATIONS:
        mismatch = expectation.mismatch(trajectory)
        told.append("\n".join(mismatch_lines(mismatch)) if mismatch else f"holds: {expectation!r}")

    assert "\n\n".join(told) == snapshot


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_first_eight_lines_say_what_matters(situation):
    """Where pytest cuts: the comparison, a summary, what came closest."""
    for expectation in EXPECTATIONS:
        mismatch = expectation.mismatch(SITUATIONS[situation])
        if mismatch is not None:
            lines = list(mismatch_lines(mismatch))
            assert lines[0].startswith(f"trajectory == {expectation!r}"[:80])
            assert len(lines) > 1
            assert all(line.startswith("  ") for line in lines[1:])


ORDER = {
    "type": "object",
    "required": ["order", "total"],
    "properties": {"order": {"type": "integer"}, "total": {"type": "number", "minimum": 0}},
    "additionalProperties": False,
}
ANSWERED = similar_to("Your refund of 19.90 for order 42 is on its way.", at_least=0.9)

RESPONSES = {
    "as expected": '{"order": 42, "total": 19.9}',
    "empty": "",
    "prose": "Your refund of 199.00 for order 42 was refused.",
    "fenced": '```json\n{"order": 42, "total": 19.9}\n```',
    "other values": '{"order": "42", "total": -1, "note": "late"}',
    "cut": '{"order": 42, "tot',
}


@pytest.mark.parametrize("situation", RESPONSES)
def test_every_expectation_of_a_response_explains_itself(situation, snapshot: SnapshotAssertion):
    response = ResponseText(RESPONSES[situation])
    told = []
    for expectation in (matches_schema(ORDER), ANSWERED, matches_schema(ORDER) & ANSWERED, ~matches_schema(ORDER)):
        mismatch = expectation.mismatch(response)
        told.append("\n".join(mismatch_lines(mismatch)) if mismatch else f"holds: {expectation!r}")

    assert "\n\n".join(told) == snapshot


def test_a_judge_that_says_no_is_quoted():
    votes = Vote("It does not say when.", "fail"), Vote("Monday is named.", "pass"), Vote("No date.", "fail")
    response = ResponseText("Soon, on Monday.")

    assert list(mismatch_lines(NotJudged(judged("says when"), response, Verdict(votes[:1])))) == [
        "response == judged('says when')",
        "  the judge says no",
        "  no:  It does not say when.",
        "  the response: 'Soon, on Monday.'",
    ]
    assert list(mismatch_lines(NotJudged(judged("says when", votes=3), response, Verdict(votes)))) == [
        "response == judged('says when', votes=3)",
        "  2 of 3 votes say no",
        "  no:  It does not say when.",
        "  yes: Monday is named.",
        "  no:  No date.",
        "  the response: 'Soon, on Monday.'",
    ]


def test_a_response_is_explained_whichever_side_it_stands_on_and_where_it_should_not_hold():
    response, text = ResponseText("On Monday."), similar_to("On Monday.")
    other = similar_to("Never at all.")

    assert explained("==", response, other) == explained("==", other, response)
    assert explained("!=", response, text) == [
        "response != similar_to('On Monday.', at_least=0.8)",
        "  it holds; the response: 'On Monday.'",
    ]
    assert explained("==", response, "On Friday.") is None, "texts are pytest's to compare"


def test_calls_and_response_are_explained_together():
    answered = ModelCall("call-2", "openai", "m", response=ResponseText("Refused."))
    trace = Trace((ModelCall("call-1", "openai", "m", tool_calls=(lookup,)), answered), exchanges=2)

    assert explained("==", trace.trajectory, never("lookup_order") & similar_to("It is on its way.")) == [
        "trajectory == never('lookup_order') & similar_to('It is on its way.', at_least=0.8)",
        "  never('lookup_order') does not hold:",
        "    it was asked for in step 0: lookup_order(order_id=42)",
        "  similar_to('It is on its way.', at_least=0.8) does not hold:",
        "    similar by 0.16, where at least 0.80 was expected",
        "    what differs, expected as [-old-], answered as {+new+}:",
        "      [-It is on its way.-]{+Refused.+}",
        "    the response: 'Refused.'",
    ]


def test_lists_of_other_lengths_are_told_item_by_item():
    wanted = exactly(call("plan", steps=["look", "pay", "tell"], tags=[re.compile("a")]))
    trajectory = run(ToolCall("plan", {"steps": ["look", "ask", "pay"], "tags": ["a", "b"]}))
    longer = run(ToolCall("plan", {"steps": ["look", "ask", "pay", "tell"], "tags": ["a"]}))

    assert explained("==", trajectory, wanted) == [
        "trajectory == [call('plan', steps=['look', 'pay', 'tell'], tags=[re.compile('a')])]",
        "  calls: 1 with other arguments",
        "  ~ plan(steps=['look', 'ask', 'pay'], tags=['a', 'b'])",
        "      steps[1]: expected 'pay', got 'ask'",
        "      steps[2]: expected 'tell', got 'pay'",
        "      tags: expected [re.compile('a')], got ['a', 'b']",
    ]
    assert explained("==", longer, wanted) == [
        "trajectory == [call('plan', steps=['look', 'pay', 'tell'], tags=[re.compile('a')])]",
        "  calls: 1 with other arguments",
        "  ~ plan(steps=['look', 'ask', 'pay', 'tell'], tags=['a'])",
        "      steps: expected ['look', 'pay', 'tell'], got ['look', 'ask', 'pay', 'tell']",
        "        [1] is not expected: 'ask'",
    ]
