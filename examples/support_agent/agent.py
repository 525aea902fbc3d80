"""A customer support agent in one file: the plain `openai` client, a loop and three tools."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openai import OpenAI, omit

DEFAULT_MODEL = "qwen2.5-coder-1.5b-instruct"
DEFAULT_BASE_URL = "http://127.0.0.1:8195/v1"
"""The server the cassettes were recorded from."""

MAX_STEPS = 6
"""Model calls per question; a model that still wants tools after that is going round in circles."""

STOP = ["\n"]
"""One line a reply. A small model likes to write all calls of its plan at once, one a line, with made-up results in
mind; cut off after the first line, it sees the real result before it decides about the next call."""


class ToolError(Exception):
    """What a tool tells the model when it cannot do what was asked."""


@dataclass(frozen=True)
class Order:
    item: str
    amount: float
    email: str


ORDERS = {
    42: Order(item="electric kettle", amount=19.90, email="ada@example.com"),
    43: Order(item="desk lamp", amount=34.50, email="grace@example.com"),
}


def tool(name: str, description: str, **properties: object) -> dict[str, Any]:
    """One tool as the chat completions API wants it; every property is required."""
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    tool(
        "lookup_order",
        "Look up one order: what was bought and how much was paid.",
        order_id={"type": "integer"},
    ),
    tool(
        "verify_identity",
        "Check that the customer's email address belongs to the order.",
        order_id={"type": "integer"},
        email={"type": "string"},
    ),
    tool(
        "issue_refund",
        "Pay the money back. It cannot be undone.",
        order_id={"type": "integer"},
        amount={"type": "number", "description": "the amount that was paid"},
    ),
]


class SupportAgent:
    """Answers one question at a time, with the orders of a small shop at hand.

    `SupportAgent(instructions).run("Refund order 42, please")` returns the text for the customer.
    """

    def __init__(
        self,
        instructions: str,
        *,
        client: OpenAI | None = None,
        model: str | None = None,
        temperature: float = 0,
    ) -> None:
        self.instructions = instructions
        self.temperature = temperature
        self.client = client or OpenAI(
            base_url=os.environ.get("OPENAI_BASE_URL", DEFAULT_BASE_URL),
            api_key=os.environ.get("OPENAI_API_KEY", "not-needed-locally"),
            max_retries=0,
            timeout=600,
        )
        self.model = model or os.environ.get("OPENAI_MODEL", DEFAULT_MODEL)
        self.refunds: dict[int, float] = {}
        self._tools: dict[str, Callable[..., dict[str, object]]] = {
            "lookup_order": self.lookup_order,
            "verify_identity": self.verify_identity,
            "issue_refund": self.issue_refund,
        }

    def run(self, question: str) -> str:
        messages: list[Any] = [
            {"role": "system", "content": self.instructions},
            {"role": "user", "content": question},
        ]
        tools: Any = TOOLS
        for _ in range(MAX_STEPS):
            completion = self.client.chat.completions.create(
                model=self.model,
                messages=messages,
                tools=tools,
                temperature=self.temperature,
                max_tokens=200,
                stop=STOP,
            )
            message = completion.choices[0].message
            if not message.tool_calls:
                return message.content or ""
            messages.append(message.model_dump(exclude_none=True))
            for wanted in message.tool_calls:
                result = self._call(wanted.function.name, wanted.function.arguments)
                messages.append({"role": "tool", "tool_call_id": wanted.id, "content": json.dumps(result)})
                if "error" in result:
                    # A small model goes on trying after an error, so from here on it can only talk.
                    tools = omit
        raise RuntimeError(f"no answer after {MAX_STEPS} model calls")

    def _call(self, name: str, arguments: str) -> dict[str, object]:
        """The result of one tool, or what went wrong: the model is to tell the customer."""
        try:
            return self._tools[name](**json.loads(arguments))
        except KeyError:
            return {"error": f"there is no tool called {name}"}
        except (ToolError, TypeError, ValueError) as error:
            return {"error": str(error)}

    def lookup_order(self, order_id: int) -> dict[str, object]:
        order = self._order(order_id)
        return {"order_id": order_id, "item": order.item, "amount": order.amount}

    def verify_identity(self, order_id: int, email: str) -> dict[str, object]:
        if email.casefold() != self._order(order_id).email:
            raise ToolError(f"{email} is not the email address of order {order_id}.")
        return {"verified": True}

    def issue_refund(self, order_id: int, amount: float) -> dict[str, object]:
        self._order(order_id)
        self.refunds[order_id] = amount
        return {"refunded": amount}

    def _order(self, order_id: int) -> Order:
        if order_id not in ORDERS:
            raise ToolError(f"There is no order {order_id}.")
        return ORDERS[order_id]
