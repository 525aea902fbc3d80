"""The shop that every agent here works for, and the server that answers them."""

import os

MODEL = os.environ.get("OPENAI_MODEL", "qwen2.5-coder-1.5b-instruct")
BASE_URL = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8195/v1")
API_KEY = os.environ.get("OPENAI_API_KEY", "not-needed-locally")
TIMEOUT = 600
"""Seconds; a small model on a busy machine takes its time."""

INSTRUCTIONS = (
    "You answer customers of a shop. Look up the order before you say anything about it, then answer briefly."
)

ORDERS = {42: "electric kettle, shipped on Monday", 43: "desk lamp, not paid yet"}


def look_up_order(order_id: int) -> str:
    """Look up one order: what was bought, and where it is.

    Args:
        order_id: The number of the order.
    """
    return ORDERS.get(order_id, "there is no such order")
