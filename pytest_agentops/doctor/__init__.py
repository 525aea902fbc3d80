"""Whether what is installed here is captured: the call shapes of clients, asked of a scripted model on loopback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_agentops.testing import Asks, Embeds, Reply, Says, ToolRequest

QUESTION = "Where is order 42?"
TEXT = "It has shipped."

SAYS = Says(TEXT, input_tokens=120, output_tokens=30, cached_tokens=20)
ASKS = Asks(ToolRequest("get_order", {"number": 42}), input_tokens=80, output_tokens=12)
SAYS_JSON = Says('{"number": 42, "status": "shipped"}', input_tokens=120, output_tokens=30)
EMBEDS = Embeds([[0.25, -1.0]], input_tokens=4)

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"number": {"type": "integer"}},
    "required": ["number"],
    "additionalProperties": False,
}
"""What `get_order` takes."""


@dataclass(frozen=True)
class Heard:
    """What a client made of an answer."""

    text: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    """Each tool that it is told to call, with the arguments."""
    vector: tuple[float, ...] = ()

    @classmethod
    def of(cls, reply: Reply) -> Heard:
        """What a client should make of this reply."""
        match reply:
            case Says() | Asks():
                return cls(reply.text, tuple((tool.name, tool.arguments_value) for tool in reply.tool_requests))
            case Embeds():
                return cls(vector=tuple(reply.vectors[0]))
        raise TypeError(f"no answer is scripted by {reply!r}")


@dataclass(frozen=True)
class Shape:
    """One way to call a client."""

    name: str
    ask: Callable[[str], Heard]
    """Ask the server with this URL, such as `http://127.0.0.1:49152`, with a client of its own."""
    script: tuple[Reply, ...] = (SAYS,)
    """What the server answers, one reply for each model call."""
    heard: Heard | None = None
    """What comes of it in the end; by default what the last reply says."""
    tells_usage: bool = True
    """Whether the provider counts tokens in an answer of this shape."""

    @property
    def expected(self) -> Heard:
        """What should come of it in the end."""
        return self.heard or Heard.of(self.script[-1])
