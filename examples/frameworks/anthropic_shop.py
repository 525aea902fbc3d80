"""The anthropic client and a loop, over the messages API."""

from anthropic import Anthropic

from . import shop

TOOLS = [
    {
        "name": "look_up_order",
        "description": "Look up one order: what was bought, and where it is.",
        "input_schema": {"type": "object", "properties": {"order_id": {"type": "integer"}}, "required": ["order_id"]},
    }
]


def answer(question: str) -> str:
    with Anthropic(
        base_url=shop.BASE_URL.removesuffix("/v1"), api_key=shop.API_KEY, timeout=shop.TIMEOUT, max_retries=0
    ) as client:
        return run(client, question)


def run(client: Anthropic, question: str) -> str:
    messages: list = [{"role": "user", "content": question}]
    while True:
        with client.messages.stream(
            model=shop.MODEL, max_tokens=200, system=shop.INSTRUCTIONS, tools=TOOLS, messages=messages
        ) as stream:
            message = stream.get_final_message()
        messages.append({"role": "assistant", "content": message.content})
        asked = [block for block in message.content if block.type == "tool_use"]
        if not asked:
            return "".join(block.text for block in message.content if block.type == "text")
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": shop.look_up_order(**block.input)}
            for block in asked
        ]
        messages.append({"role": "user", "content": results})
