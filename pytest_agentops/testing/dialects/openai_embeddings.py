"""OpenAI embeddings: vectors instead of an answer, as lists or in base64."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_agentops.testing.dialects import Json, Said
from pytest_agentops.testing.dialects.openai import error, headers
from pytest_agentops.testing.replies import Embeds, compact

if TYPE_CHECKING:
    from pytest_agentops.testing.requests import ScriptedRequest

__all__ = ["body", "error", "headers", "said", "serves"]


def serves(path: str) -> bool:
    """Whether embeddings are asked for."""
    return path == "/v1/embeddings"


def body(request: ScriptedRequest, reply: Embeds) -> Json:
    """The body of the answer.

    Raises:
        ValueError: the script has another number of vectors than the request has texts.
    """
    texts = _texts(request.body)
    dimensions = request.body.get("dimensions") or reply.dimensions
    vectors: Sequence[Sequence[float]] = reply.vectors or [_vector(text, dimensions) for text in texts]
    if len(vectors) != len(texts):
        raise ValueError(f"Embeds has {len(vectors)} vectors, and the request {len(texts)} texts")
    in_base64 = request.body.get("encoding_format") == "base64"
    tokens = sum(len(text.split()) for text in texts) if reply.input_tokens is None else reply.input_tokens
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if in_base64 else list(vector)}
            for index, vector in enumerate(vectors)
        ],
        "model": request.body.get("model"),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def said(body: Mapping[str, Any]) -> Iterator[Said]:
    """Each text."""
    return (Said("user", text) for text in _texts(body))


def _texts(body: Mapping[str, Any]) -> list[str]:
    """The texts; one that comes as the numbers of its tokens is the text of these."""
    given = body.get("input")
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        return []
    if given and all(isinstance(each, int) for each in given):
        return [compact(given)]
    return [each if isinstance(each, str) else compact(each) for each in given]


def _vector(text: str, dimensions: int) -> list[float]:
    """A vector of length 1, of numbers that base64 carries as exactly as JSON does."""
    digests = (hashlib.sha256(f"{index}:{text}".encode()).digest() for index in range(dimensions))
    raw = [int.from_bytes(digest[:4], "big") / 2**31 - 1 for digest in digests]
    length = math.hypot(*raw) or 1.0
    return [struct.unpack("<f", struct.pack("<f", number / length))[0] for number in raw]


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
