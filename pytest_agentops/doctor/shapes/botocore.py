"""botocore: Bedrock's converse, plain and streamed."""

from __future__ import annotations

import functools
from typing import Any

from botocore.config import Config
from botocore.session import Session

from pytest_agentops.doctor import ASKS, PARAMETERS, QUESTION, Heard, Shape

CONVERSE: dict[str, Any] = {"modelId": "scripted", "messages": [{"role": "user", "content": [{"text": QUESTION}]}]}
SPECIFIED = {"name": "get_order", "inputSchema": {"json": PARAMETERS}}
TOOLS: dict[str, Any] = {**CONVERSE, "toolConfig": {"tools": [{"toolSpec": SPECIFIED}]}}


@functools.cache
def session() -> Any:
    """One for all shapes: each reads the description of the service anew, which takes most of a second."""
    made = Session()
    made.set_credentials("scripted", "scripted")
    return made


def client(url: str) -> Any:
    """A client of this server, whatever the environment says."""
    config = Config(retries={"max_attempts": 0}, connect_timeout=10, read_timeout=10)
    return session().create_client("bedrock-runtime", "us-east-1", endpoint_url=url, config=config)


def of_answer(answer: Any) -> Heard:
    """What an answer says."""
    blocks = answer["output"]["message"]["content"]
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    text = "".join(block.get("text", "") for block in blocks)
    return Heard(text, tuple((use["name"], use["input"]) for use in uses))


def plain(url: str) -> Heard:
    """One answer."""
    return of_answer(client(url).converse(**CONVERSE))


def tools(url: str) -> Heard:
    """An answer that asks for a tool."""
    return of_answer(client(url).converse(**TOOLS))


def streamed(url: str) -> Heard:
    """An answer in Amazon's frames."""
    events = list(client(url).converse_stream(**CONVERSE)["stream"])
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    return Heard("".join(delta.get("text", "") for delta in deltas))


SHAPES = (
    Shape("converse: plain", plain),
    Shape("converse: tools", tools, (ASKS,)),
    Shape("converse: streamed", streamed),
)
