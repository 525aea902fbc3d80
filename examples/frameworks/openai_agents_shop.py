"""The OpenAI Agents SDK: two agents and a handoff, a guardrail, a tool that a person has to allow."""

from agents import (
    Agent,
    GuardrailFunctionOutput,
    ModelSettings,
    OpenAIChatCompletionsModel,
    RunContextWrapper,
    Runner,
    function_tool,
    handoff,
    input_guardrail,
)
from agents.extensions import handoff_filters
from openai import AsyncOpenAI

from . import shop

SETTINGS = ModelSettings(temperature=0, max_tokens=200)
look_up_order = function_tool(shop.look_up_order)


@function_tool(needs_approval=True)
def refund_order(order_id: int) -> str:
    """Pay the money for one order back.

    Args:
        order_id: The number of the order.
    """
    return f"order {order_id} was refunded"


@input_guardrail
async def no_secrets(_context: RunContextWrapper, _agent: Agent, question: str | list) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered="password" in str(question))


def client() -> AsyncOpenAI:
    return AsyncOpenAI(base_url=shop.BASE_URL, api_key=shop.API_KEY, timeout=shop.TIMEOUT, max_retries=0)


def desk(model: OpenAIChatCompletionsModel) -> Agent:
    """Receives customers and hands those with an order over."""
    orders = Agent(
        "orders", instructions=shop.INSTRUCTIONS, model=model, model_settings=SETTINGS, tools=[look_up_order]
    )
    return Agent(
        "desk",
        instructions="You receive customers. Whoever asks about an order is handed over to the agent for orders.",
        model=model,
        model_settings=SETTINGS,
        # Without the tool calls before, the small model would hand over to itself for ever.
        handoffs=[handoff(orders, input_filter=handoff_filters.remove_all_tools)],
        input_guardrails=[no_secrets],
    )


def refunds(model: OpenAIChatCompletionsModel) -> Agent:
    """Pays money back, if it may."""
    return Agent(
        "refunds",
        instructions="Refund the order that the customer names with refund_order, then say so in one sentence.",
        model=model,
        model_settings=SETTINGS,
        tools=[refund_order],
    )


async def answer(question: str) -> str:
    async with client() as openai:
        agent = desk(OpenAIChatCompletionsModel(shop.MODEL, openai))
        return str((await Runner.run(agent, question)).final_output)


async def refund(question: str, *, allowed: bool) -> str:
    """Ask, stop where a person has to allow something, and go on with what that person said."""
    async with client() as openai:
        agent = refunds(OpenAIChatCompletionsModel(shop.MODEL, openai))
        result = await Runner.run(agent, question)
        if result.interruptions:
            state = result.to_state()
            for item in result.interruptions:
                if allowed:
                    state.approve(item)
                else:
                    state.reject(item)
            result = await Runner.run(agent, state)
        return str(result.final_output)
