"""Embeddings: texts in, vectors out, which nobody reads and which are not kept. All providers' ways in one place.

They differ in little: the path, where the texts stand and where the tokens are counted.

Source of the formats: the API references of OpenAI ("Embeddings", which Azure, Mistral, Ollama, vLLM, Jina and Voyage
speak too), Cohere ("Embed", v1 and v2), Google ("Embeddings" of Gemini, "Text embeddings" of Vertex AI) and Ollama
("Generate embeddings").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_agentops.exchange import Exchange, Request
from pytest_agentops.trace import Message, ModelCall, Usage
from pytest_agentops.wire import answer_of, count, items, mapping, provider_of, reported

_PATH = re.compile(r"/(?:embeddings|contextualizedembeddings|multimodalembeddings|v[12]/embed|api/embed)$")
_OF_GOOGLE = re.compile(
    r"/models/([^/:]+):(?:embedContent|batchEmbedContents)$|/models/([^/:]*embedding[^/:]*):predict$"
)

_FIGURES = ("usage", "usageMetadata", "meta", "metadata")


def reads(request: Request) -> bool:
    """Whether this asks for embeddings."""
    path = request.location.path.rstrip("/")
    return request.method == "POST" and bool(_PATH.search(path) or _OF_GOOGLE.search(path))


def decode(exchange: Exchange) -> ModelCall:
    """The model call that made embeddings; its messages are the texts, and its answer has no words."""
    asked = mapping(exchange.request.json)
    answer, error = answer_of(exchange, lambda _events: {})
    named = _OF_GOOGLE.search(exchange.request.location.path)
    of_path = (named[1] or named[2]) if named else ""
    return ModelCall(
        id=str(answer.get("id") or f"call-{exchange.number}"),
        provider=provider_of(exchange.request),
        model=str(answer.get("model") or asked.get("model") or of_path),
        messages=tuple(Message("user", text) for text in _texts(asked)),
        usage=_usage(answer),
        reported_usage=next((found for key in _FIGURES if (found := reported(answer.get(key)))), None),
        finish_reason="" if error is None else None,
        error=error,
        operation="embeddings",
    )


def _texts(asked: Mapping[str, Any]) -> Iterator[Any]:
    """What was embedded: text as a rule; images and lists of tokens as they were sent."""
    for key in ("input", "inputs", "texts", "images", "prompt", "inputText", "content", "requests", "instances"):
        value = asked.get(key)
        # A list of numbers is one text, in tokens.
        several = value if isinstance(value, list) and not (value and isinstance(value[0], int)) else [value]
        yield from (_text(each) for each in several if each is not None)


def _text(value: Any) -> Any:
    """The text of one input, where it has nothing else: Google wraps it in contents and parts."""
    held = mapping(value)
    if "content" in held:
        return _text(held["content"])
    parts = [mapping(part) for part in items(held.get("parts"))]
    if parts and all(isinstance(part.get("text"), str) for part in parts):
        return "".join(part["text"] for part in parts)
    return value


def _usage(answer: Mapping[str, Any]) -> Usage | None:
    """The tokens that were read; none are written."""
    figures, billed = mapping(answer.get("usage")), mapping(mapping(answer.get("meta")).get("billed_units"))
    google = mapping(answer.get("usageMetadata"))
    found = [
        *(figures.get(key) for key in ("prompt_tokens", "input_tokens", "total_tokens")),
        billed.get("input_tokens"),
        google.get("promptTokenCount"),
        answer.get("prompt_eval_count"),
        answer.get("inputTextTokenCount"),
    ]
    if any(each is not None for each in found):
        images = count(billed.get("image_tokens"))
        return Usage(input_tokens=count(next(each for each in found if each is not None)) + images)
    if "image_tokens" in billed:
        return Usage(input_tokens=count(billed["image_tokens"]))
    made = [mapping(mapping(each).get("embeddings")) for each in items(answer.get("predictions"))]
    statistics = [mapping(each.get("statistics")) for each in made]
    if statistics and all("token_count" in each for each in statistics):
        return Usage(input_tokens=sum(count(each["token_count"]) for each in statistics))
    return None
