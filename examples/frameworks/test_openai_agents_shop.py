"""What the OpenAI Agents SDK tells beside the wire: who asked, who handed over to whom, what was stopped."""

import pytest

from pytest_agentops import call

pytest.importorskip("agents", reason="the OpenAI Agents SDK is not installed")

from agents import InputGuardrailTripwireTriggered

from . import openai_agents_shop as shop


@pytest.mark.asyncio
async def test_the_desk_hands_over_to_orders(agent_trace):
    await shop.answer("Where is my order 42?")

    assert agent_trace.agents == ("desk", "orders")
    assert agent_trace.trajectory == ["transfer_to_orders", call("look_up_order", order_id=42)]
    assert agent_trace.of(agent="orders").trajectory == [call("look_up_order", order_id=42)]
    assert [span.name for span in agent_trace.spans if span.kind == "handoff"] == ["desk -> orders"]
    assert "Monday" in agent_trace.response


@pytest.mark.asyncio
async def test_a_guardrail_stops_the_run(agent_trace):
    with pytest.raises(InputGuardrailTripwireTriggered):
        await shop.answer("My password is hunter2, where is my order?")

    (guardrail,) = [span for span in agent_trace.spans if span.kind == "guardrail"]
    assert (guardrail.name, guardrail.output) == ("no_secrets", {"triggered": True})
    assert agent_trace.trajectory == []


@pytest.mark.asyncio
async def test_an_allowed_refund_is_paid(agent_trace):
    await shop.refund("Please refund order 42.", allowed=True)

    assert agent_trace.trajectory == [call("refund_order", order_id=42).returning("order 42 was refunded")]


@pytest.mark.asyncio
async def test_a_refund_that_nobody_allowed_is_not_paid(agent_trace):
    await shop.refund("Please refund order 42.", allowed=False)

    assert agent_trace.trajectory == [call("refund_order", order_id=42)]
    assert agent_trace.trajectory.executed == []
