"""Reranking: a query and documents in, their order out: `POST .../rerank`.

Source of the format: the API references of Cohere ("Rerank", v1 and v2), Jina ("Reranker") and Voyage ("Rerankers"),
which vLLM and others speak too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pytest_agentops.exchange import Exchange, Request
from pytest_agentops.trace import Message, ModelCall, ResponseText, Usage
from pytest_agentops.wire import answer_of, count, items, mapping, provider_of, reported


def reads(request: Request) -> bool:
    """Whether this asks for documents to be ranked."""
    return (
        request.method == "POST"
        and request.location.path.rstrip("/").endswith("/rerank")
        and mapping(request.json).keys() >= {"query", "documents"}
    )


def decode(exchange: Exchange) -> ModelCall:
    """The model call that ranked documents.

    Its messages are the query and the documents; its answer is JSON: `index` and `relevance_score`, the best first.
    """
    asked = mapping(exchange.request.json)
    answer, error = answer_of(exchange, lambda _events: {})
    results = [mapping(each) for each in items(answer.get("results")) or items(answer.get("data"))]
    ranked = [{key: each.get(key) for key in ("index", "relevance_score")} for each in results]
    return ModelCall(
        id=str(answer.get("id") or f"call-{exchange.number}"),
        provider=provider_of(exchange.request),
        model=str(answer.get("model") or asked.get("model") or ""),
        messages=(
            Message("user", asked.get("query")),
            *(Message("document", _text(each)) for each in items(asked.get("documents"))),
        ),
        response=ResponseText(json.dumps(ranked) if error is None else ""),
        usage=_usage(answer),
        reported_usage=reported(answer.get("usage")) or reported(answer.get("meta")),
        finish_reason="" if error is None else None,
        error=error,
        operation="rerank",
    )


def _text(document: Any) -> Any:
    return document["text"] if isinstance(document, Mapping) and set(document) == {"text"} else document


def _usage(answer: Mapping[str, Any]) -> Usage | None:
    """The tokens that were read, of providers that count them; others count searches."""
    counted = mapping(answer.get("usage")), mapping(mapping(answer.get("meta")).get("tokens"))
    for figures in counted:
        for key in ("prompt_tokens", "input_tokens", "total_tokens"):
            if figures.get(key) is not None:
                return Usage(input_tokens=count(figures[key]))
    return None
