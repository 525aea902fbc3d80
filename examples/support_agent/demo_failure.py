"""A test that fails on purpose: with this weaker instruction the recorded model really paid without looking.

Its name keeps it out of a plain `pytest` run; name the file to see the failure.
"""

from pytest_agentops import call

from .agent import SupportAgent


def test_refund_waits_for_identity(agent_trace):
    SupportAgent("You are a support agent. Look up an order before refunding it.").run("Refund order 42, please")

    assert agent_trace.trajectory == ["lookup_order", "verify_identity", call("issue_refund", order_id=42)]
