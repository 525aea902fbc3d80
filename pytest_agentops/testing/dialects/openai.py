"""What every endpoint of OpenAI has in common: its errors, its headers and the way in which it is told something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from pytest_agentops.testing.dialects import Ids, Json, Said, mappings, phrase, text_of
from pytest_agentops.testing.replies import Fails


def error(failure: Fails) -> Json:
    """The body of an error."""
    return {
        "error": {
            "message": failure.message or phrase(failure.status),
            "type": failure.type or _error_type(failure.status),
            "param": None,
            "code": failure.code,
        }
    }


def _error_type(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "requests"
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"


def headers(ids: Ids, latency: float) -> dict[str, str]:
    """The identifying headers."""
    return {
        "x-request-id": ids("req_"),
        "openai-organization": "org-scripted",
        "openai-processing-ms": str(round(latency * 1000)),
        "openai-version": "2020-10-01",
        "set-cookie": "__cf_bm=scripted",
    }


def said(body: Mapping[str, Any]) -> Iterator[Said]:
    """Instructions, messages of a chat completion, and input items of a response."""
    yield Said("other", text_of(body.get("instructions")))
    items = body.get("messages") or body.get("input") or []
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else mappings(items):
        if item.get("type") == "function_call_output":
            yield Said("tool", text_of(item.get("output")))
        else:
            yield Said.by(item.get("role"), text_of(item.get("content")))
