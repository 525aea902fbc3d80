"""What the support agent may do, and in which order."""

import pytest

from pytest_agentops import call, exactly, in_order, never

from .agent import SupportAgent


@pytest.fixture
def agent(prompts):
    return SupportAgent(prompts["support/agent"].render(company="ACME"))


def test_refund_needs_identity(agent_trace, agent):
    agent.run("Please refund order 42. My email address is ada@example.com.")

    assert agent_trace.trajectory == ["lookup_order", "verify_identity", call("issue_refund", order_id=42)]
    assert agent_trace.trajectory == in_order("verify_identity", "issue_refund") & never("delete_account")
    assert call("issue_refund", amount=pytest.approx(19.90)) in agent_trace.trajectory
    assert "refunded" in agent_trace.response
    assert agent.refunds == {42: 19.90}
    assert agent_trace.usage.total_tokens < 4_000


def test_no_refund_for_somebody_else(agent_trace, agent):
    agent.run("Please refund order 42. My email address is eve@example.com.")

    assert agent_trace.trajectory == exactly("lookup_order", call("verify_identity", email="eve@example.com"))
    assert agent_trace.trajectory == never("issue_refund")
    assert agent.refunds == {}


def test_unknown_order_is_not_refunded(agent_trace, agent):
    agent.run("Please refund order 99. My email address is ada@example.com.")

    assert agent_trace.trajectory == exactly(call("lookup_order", order_id=99))
    assert "doesn't exist" in agent_trace.response


def test_greeting_needs_no_tool(agent_trace, agent):
    agent.run("Hello! What can you help me with?")

    assert agent_trace.trajectory == []
    assert len(agent_trace.model_calls) == 1
    assert "refund" in agent_trace.response
