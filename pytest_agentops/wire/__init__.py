"""What the provider formats share. Each format is a module with `reads(request)` and `decode(exchange)`.

A decoder is a pure function: one finished exchange in, one `ModelCall` out, streamed or not. It never raises on what a
server sent; what it cannot read it leaves empty, with the reason in `ModelCall.error` where there is no answer at all.
A format that has several calls in one exchange has `parts(exchange)` besides, which gives an exchange for each of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from pytest_agentops.exchange import Exchange, Request, ServerEvent, parse_json, server_events, text
from pytest_agentops.trace import CallError, ModelCall, ToolCall

_PROVIDERS = {
    "api.anthropic.com": "anthropic",
    "api.openai.com": "openai",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "api.mistral.ai": "mistral_ai",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
}
"""Hosts with a well-known `gen_ai.provider.name` in OpenTelemetry's GenAI conventions."""


class Format(Protocol):
    """One provider's way of writing a model call."""

    def reads(self, request: Request) -> bool:
        """Whether this request is written in this format."""

    def decode(self, exchange: Exchange) -> ModelCall:
        """The model call that this exchange is."""


def provider_of(request: Request) -> str:
    """OpenTelemetry's name of the provider behind this host, or the host itself."""
    host = request.location.hostname or ""
    if host.endswith((".openai.azure.com", ".cognitiveservices.azure.com")):
        return "azure.ai.openai"
    if host == "aiplatform.googleapis.com" or host.endswith("-aiplatform.googleapis.com"):
        return "gcp.vertex_ai"
    if host.startswith("bedrock-") and host.endswith((".amazonaws.com", ".api.aws")):
        return "aws.bedrock"
    return _PROVIDERS.get(host, host)


def error_of(exchange: Exchange) -> CallError | None:
    """Why this exchange gave no answer, or None when it did."""
    if exchange.response is None:
        failure = exchange.failure
        return CallError(failure.message, code=failure.kind) if failure else CallError("no response was captured")
    body = exchange.response.json
    if exchange.response.status < 400:
        if exchange.response.is_stream or isinstance(body, Mapping):
            return None
        what = "is no JSON object" if exchange.response.complete else "broke off"
        return CallError(f"the answer {what}: {text(exchange.response.body)[:200]!r}", exchange.response.status)
    # JSON is written anew, since a cassette keeps its value and not its spaces.
    otherwise = text(exchange.response.body) if body is None else json.dumps(body, ensure_ascii=False)
    return error_from(body, otherwise[:500], exchange.response.status)


def answer_of(
    exchange: Exchange, joined: Callable[[Iterable[ServerEvent]], Mapping[str, Any]]
) -> tuple[Mapping[str, Any], CallError | None]:
    """The body of the answer, streamed ones as `joined` adds them up, and why there is none."""
    error = error_of(exchange)
    if error is not None or exchange.response is None:
        return {}, error
    if exchange.response.is_event_stream:
        answer = joined(server_events(exchange.response.body))
    elif exchange.response.is_stream:
        answer = joined(ServerEvent("message", text(line)) for line in exchange.response.pieces())
    else:
        answer = mapping(exchange.response.json)
    failed = answer.get("error") or answer.get("status") == "failed"
    return answer, error_from(answer, "the provider says that it failed") if failed else None


def error_from(body: Any, otherwise: str = "", status: int | None = None) -> CallError:
    """The error in a body such as OpenAI and its followers write it: `{"error": {"message", "code", "type"}}`."""
    error = mapping(body).get("error")
    if isinstance(error, str):
        return CallError(error, status)
    details = mapping(error)
    code = details.get("code") or details.get("type")
    return CallError(str(details.get("message") or otherwise), status, None if code is None else str(code))


def tool_call(name: object, arguments: object, id: object) -> ToolCall:  # noqa: A002 - the field's own name
    """A tool call from arguments as they stand on the wire: a JSON text, or already decoded.

    The empty text, `null` and nothing at all mean no arguments; what is not JSON is kept in `malformed`.
    """
    decoded, malformed = arguments, None
    if isinstance(arguments, str):
        decoded = parse_json(arguments)
        if decoded is None and arguments.strip() not in ("", "null"):
            malformed = arguments
    return ToolCall(
        str(name or ""), {} if decoded is None else decoded, id="" if id is None else str(id), malformed=malformed
    )


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is an object of JSON, else an empty one; servers send what they like."""
    # Asking for the class is five times as fast as asking for the protocol, and decoders ask all the time.
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def count(value: object) -> int:
    """The value if it is a whole number, else 0; some write it with a decimal point."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def reported(value: object) -> Mapping[str, Any] | None:
    """The figures as the provider wrote them, or None where there are none."""
    return mapping(value) or None


def optional_text(value: object) -> str | None:
    """The value if it is a text that says something, else None."""
    return value if isinstance(value, str) and value else None
