"""What every expectation says in every situation, kept in `__snapshots__`; renew with `pytest --snapshot-update`."""

from __future__ import annotations

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
    never,
    no_cycle,
    no_repeats,
    one_of,
    only,
    only_tools,
    optional,
    repeated,
    together,
)
from pytest_agentops.explain import mismatch_lines
from pytest_agentops.trace import ToolCall
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
