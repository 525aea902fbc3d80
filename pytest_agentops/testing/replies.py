"""What a script says: the replies of a scripted model, which mean the same to every provider's client."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

FinishReason: TypeAlias = Literal["stop", "length", "content_filter", "tool_calls"]


@dataclass(frozen=True)
class ToolRequest:
    """One tool call that the scripted model asks for."""

    name: str
    arguments: Mapping[str, object] | str = field(default_factory=dict)
    """A mapping becomes compact JSON; text is sent as it is, so that malformed arguments can be scripted."""

    @property
    def arguments_text(self) -> str:
        """The arguments as they go over the wire where they are a text."""
        return self.arguments if isinstance(self.arguments, str) else compact(dict(self.arguments))

    @property
    def arguments_value(self) -> object:
        """The arguments as they go over the wire where they are a value; text that is not JSON stays text."""
        if not isinstance(self.arguments, str):
            return dict(self.arguments)
        try:
            return json.loads(self.arguments)
        except ValueError:
            return self.arguments


def compact(value: object) -> str:
    """The value as JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What `Says` and `Asks` have in common: usage, headers and pace."""

    finish_reason: FinishReason = "stop"
    """In the words of chat completions; every other API gets its own word for it."""
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    """How many of the input were read from the provider's cache."""
    cache_write_tokens: int = 0
    """How many of the input were written to it; chat completions, Gemini, Cohere and Ollama have no place for that."""
    input_tokens: int | None = None
    """Default: the whitespace-separated words of every text in the request, and never less than those of the cache."""
    output_tokens: int | None = None
    """Default: the whitespace-separated words of the text, the refusal and each tool's name and arguments, plus
    `reasoning_tokens`."""
    latency: float = 0.0
    """Seconds before the first byte."""
    pause: float = 0.0
    """Seconds between two streamed chunks."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Response headers; they replace the server's own of the same name."""


@dataclass(frozen=True)
class Says(_Answer):
    """The model answers with `text`, or declines with `refusal`."""

    text: str
    refusal: str | None = field(default=None, kw_only=True)
    """OpenAI's APIs have a field for it; elsewhere it is the text of an answer that was withheld."""
    chunks: Sequence[str] | None = field(default=None, kw_only=True)
    """How `text` is cut when it is streamed. Default: into words, each with the space before it."""

    def __post_init__(self) -> None:
        if self.chunks is not None and "".join(self.chunks) != self.text:
            raise ValueError(f"the chunks make {''.join(self.chunks)!r}, which is not the text {self.text!r}")

    @property
    def tool_requests(self) -> tuple[ToolRequest, ...]:
        """Empty; `Asks` has some."""
        return ()


@dataclass(frozen=True, init=False)
class Asks(_Answer):
    """The model asks for one tool call, or for several in parallel; `text` is what it says besides."""

    tool_requests: tuple[ToolRequest, ...]
    text: str

    def __init__(
        self,
        *tool_requests: ToolRequest,
        text: str = "",
        finish_reason: FinishReason = "tool_calls",
        reasoning_tokens: int = 0,
        cached_tokens: int = 0,
        cache_write_tokens: int = 0,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        latency: float = 0.0,
        pause: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not tool_requests:
            raise ValueError("Asks needs at least one ToolRequest; Says is the answer without any")
        super().__init__(
            finish_reason=finish_reason,
            reasoning_tokens=reasoning_tokens,
            cached_tokens=cached_tokens,
            cache_write_tokens=cache_write_tokens,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            latency=latency,
            pause=pause,
            headers=headers or {},
        )
        object.__setattr__(self, "tool_requests", tool_requests)
        object.__setattr__(self, "text", text)

    @property
    def refusal(self) -> None:
        """None; only `Says` can decline."""
        return None

    @property
    def chunks(self) -> None:
        """None; the text of an `Asks` is always cut into words."""
        return None


@dataclass(frozen=True)
class Embeds:
    """The answer to a request for embeddings: one vector for each of its texts."""

    vectors: Sequence[Sequence[float]] = ()
    """Default: vectors of length 1 made from the texts, so that the same text has the same vector in every run; they
    know nothing of meaning."""
    dimensions: int = 8
    """How many numbers a vector has that is made from a text; where the request says it, that counts."""
    input_tokens: int | None = None
    """Default: the whitespace-separated words of the texts."""
    latency: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fails:
    """The provider answers with an HTTP error, and with the body that its errors have.

    The openai and anthropic clients retry 408, 409, 429 and 5xx, and every attempt takes the next reply of a script.
    The header `{"retry-after-ms": "1"}` makes them retry without a wait, `{"x-should-retry": "false"}` not at all.
    """

    status: int
    message: str = ""
    """Default: the standard phrase of the status."""
    code: str | None = None
    """Only OpenAI's errors have one besides their type."""
    type: str | None = None
    """The kind of the error in the provider's own words; default: what the provider says with that status."""
    headers: Mapping[str, str] = field(default_factory=dict)
    latency: float = 0.0


@dataclass(frozen=True)
class Disconnects:
    """The connection closes without an answer, or in the middle of `reply`.

    With a `reply` that the request asks to be streamed, the connection closes after `after` chunks of it; one that is
    not streamed is cut in the middle of its body.
    """

    after: int = 0
    reply: Says | Asks | None = None

    def __post_init__(self) -> None:
        if self.after and self.reply is None:
            raise ValueError(f"Disconnects(after={self.after}) needs the reply that it cuts short")


Reply: TypeAlias = Says | Asks | Embeds | Fails | Disconnects
