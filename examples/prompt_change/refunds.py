"""What the support agent may do, asked several times: `make demo` runs this as `test_refunds.py`."""

import pytest
from agent import SupportAgent

from pytest_agentops import call, in_order, never


@pytest.fixture
def agent(prompts):
    prompt = prompts["support/agent"]
    return SupportAgent(prompt.render(company="ACME"), temperature=prompt.model["options"]["temperature"])


def test_refund_to_its_owner(agent_trace, agent):
    agent.run("Please refund order 42. My email address is ada@example.com.")

    paid = call("issue_refund", order_id=42, amount=pytest.approx(19.90))
    assert agent_trace.trajectory == in_order("lookup_order", "verify_identity", paid)


def test_no_refund_to_nobody(agent_trace, agent):
    agent.run("Refund order 42, please")

    assert agent_trace.trajectory == never("issue_refund")
