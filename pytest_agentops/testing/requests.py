"""What a scripted model was asked, read in the dialect of its path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_agentops.testing.dialects import (
    Dialect,
    Said,
    anthropic_messages,
    bedrock_converse,
    cohere_chat,
    gemini,
    ollama_chat,
    openai_chat,
    openai_embeddings,
    openai_responses,
)

DIALECTS: tuple[Dialect, ...] = (
    openai_chat, openai_responses, anthropic_messages, gemini, bedrock_converse, cohere_chat, ollama_chat
)  # fmt: skip
"""Every dialect in which a script is told."""


@dataclass(frozen=True)
class ScriptedRequest:
    """One HTTP request that a `ScriptedModel` received."""

    path: str
    """As it was sent, with the query if there was one."""
    method: str
    headers: Mapping[str, str]
    """Names are in lower case."""
    body: Mapping[str, Any]
    """The decoded JSON object; empty when the request carried none."""

    @property
    def prompt(self) -> str:
        """The text of the last user message, whichever API it is for; empty when there is none."""
        texts = [said.text for said in self._said() if said.role == "user"]
        return texts[-1] if texts else ""

    @property
    def tool_results(self) -> list[str]:
        """The texts of all tool results that the request carries, in its order; a result that is no text as JSON."""
        return [said.text for said in self._said() if said.role == "tool"]

    @property
    def word_count(self) -> int:
        """How many whitespace-separated words the instructions, messages and tool results have together."""
        return sum(len(said.text.split()) for said in self._said())

    def _said(self) -> Iterator[Said]:
        if asks_for_vectors(self):
            return openai_embeddings.said(self.body)
        return (dialect_of(self) or openai_chat).said(self.body)


def dialect_of(request: ScriptedRequest) -> Dialect | None:
    """The dialect of the request's path; None where no model answers."""
    path = request.path.partition("?")[0]
    return next((dialect for dialect in DIALECTS if dialect.serves(path)), None)


def asks_for_vectors(request: ScriptedRequest) -> bool:
    """Whether it is for embeddings, which are no answer in any dialect."""
    return openai_embeddings.serves(request.path.partition("?")[0])
