"""What the dialects share. Each is a module that says an answer as one provider's API would, plain and streamed.

They look alike: `serves(path)`, `streams(request)`, `body`, `pieces`, `error`, `headers` and `said`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from pytest_agentops.testing.replies import Asks, Fails, Says, compact

if TYPE_CHECKING:
    from pytest_agentops.testing.requests import ScriptedRequest

Json: TypeAlias = dict[str, Any]
Ids: TypeAlias = Callable[[str], str]

EVENTS = "text/event-stream; charset=utf-8"
"""The content type of a stream of server-sent events."""


class Provider(Protocol):
    """What is the same at every endpoint of a provider."""

    def error(self, failure: Fails) -> Json:
        """The body of an error."""

    def headers(self, ids: Ids, latency: float) -> dict[str, str]:
        """The identifying headers of the provider, so that redaction has work to do."""


class Dialect(Provider, Protocol):
    """One provider's way to be asked and to answer."""

    STREAMED: str
    """The content type of a stream."""

    def serves(self, path: str) -> bool:
        """Whether what is sent to this path, without its query, is in this dialect."""

    def streams(self, request: ScriptedRequest) -> bool:
        """Whether the answer is to be streamed."""

    def body(self, request: ScriptedRequest, answer: Says | Asks, ids: Ids, created: int) -> Json:
        """The answer as a whole."""

    def pieces(self, request: ScriptedRequest, answer: Says | Asks, body: Json) -> Iterator[Piece]:
        """The same answer as a stream."""

    def said(self, body: Mapping[str, Any]) -> Iterator[Said]:
        """What a request tells the model."""


@dataclass(frozen=True)
class Said:
    """One text of a request, and whose it is."""

    role: Literal["user", "tool", "other"]
    """`tool` for the result of one; `other` for instructions, and for what the model itself has said."""
    text: str

    @classmethod
    def by(cls, role: object, text: str) -> Said:
        """A message of this role, which may be any."""
        return cls("user" if role == "user" else "tool" if role == "tool" else "other", text)


@dataclass(frozen=True)
class Piece:
    """What goes over the wire at once while an answer is streamed."""

    content: bytes
    is_chunk: bool = False
    """Whether it carries a piece of the answer; pauses and disconnects count these."""


def event(data: Json | str, *, name: str | None = None, is_chunk: bool = False) -> Piece:
    """One server-sent event."""
    lines = [f"event: {name}"] if name else []
    lines.append(f"data: {data if isinstance(data, str) else compact(data)}")
    return Piece("\n".join([*lines, "", ""]).encode(), is_chunk)


@dataclass(frozen=True)
class Tokens:
    """Token counts of one answer, by the rules that its fields state."""

    input: int
    """Those that were read from a cache, or written to it, included."""
    output: int
    """Those of the reasoning included."""

    @classmethod
    def of(cls, request: ScriptedRequest, answer: Says | Asks) -> Tokens:
        """What the script says, or else the words that were counted."""
        words = [answer.text, answer.refusal or ""]
        words += [text for tool in answer.tool_requests for text in (tool.name, tool.arguments_text)]
        counted_output = sum(len(text.split()) for text in words) + answer.reasoning_tokens
        counted_input = max(request.word_count, answer.cached_tokens + answer.cache_write_tokens)
        return cls(
            input=counted_input if answer.input_tokens is None else answer.input_tokens,
            output=counted_output if answer.output_tokens is None else answer.output_tokens,
        )


def words(text: str) -> list[str]:
    """The text cut into words, each with the space before it; joined they are the text again."""
    return re.findall(r"\s*\S+|\s+", text)


def argument_pieces(arguments: str) -> list[str]:
    """JSON cut about where a model's tokens end: `{"`, `city`, `":"`, `Oslo`, `"}`."""
    return re.findall(r"\w+|\W+", arguments)


def text_pieces(answer: Says | Asks) -> list[str]:
    """How the text of the answer is cut when it is streamed."""
    return words(answer.text) if answer.chunks is None else list(answer.chunks)


def is_empty(answer: Says | Asks) -> bool:
    """Whether it says nothing, which goes over the wire as an empty text."""
    return not answer.text and not answer.tool_requests and answer.refusal is None


def with_refusal(answer: Says | Asks) -> tuple[str, list[str]]:
    """The text and its pieces for a provider that has no field for a refusal, and says it as a text."""
    if answer.refusal is None:
        return answer.text, text_pieces(answer)
    return answer.text + answer.refusal, [*text_pieces(answer), *words(answer.refusal)]


def text_of(content: object) -> str:
    """The text of a message: the content itself, or its text parts, one a line."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in mappings(content) if isinstance(part.get("text"), str))


def mappings(value: object) -> list[Json]:
    """The JSON objects of a list; clients send what they like."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def json_text(value: object) -> str:
    """A text as it is, and anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def phrase(status: int) -> str:
    """The standard phrase of an HTTP status; providers have some of their own, such as 529 for overloaded."""
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown Status"
