"""JSON-RPC between an agent and what it works with: tools of MCP servers, and other agents by A2A.

Over HTTP and over the standard streams of a child process alike: there each message is one exchange of the scheme
`stdio`, written as the streamable HTTP transport writes it.

Sources: the Model Context Protocol's specification (2025-11-25 and 2026-07-28), and the Agent2Agent protocol's (0.3 and
1.0), whose methods have other names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from pytest_agentops.exchange import Exchange, Request, parse_json, server_events
from pytest_agentops.trace import Span

STDIO = "stdio"
"""The scheme of an exchange with a child process."""

_MCP = (
    "completion", "elicitation", "initialize", "logging", "notifications", "ping", "prompts", "resources", "roots",
    "sampling", "server", "subscriptions", "tools",
)  # fmt: skip
"""How a method of MCP begins."""
_DELEGATES = ("message/send", "message/stream", "SendMessage", "SendStreamingMessage")
_A2A = (
    *_DELEGATES, "tasks/get", "tasks/list", "tasks/cancel", "tasks/resubscribe", "GetTask", "ListTasks", "CancelTask",
    "SubscribeToTask", "GetExtendedAgentCard", "agent/getAuthenticatedExtendedCard",
)  # fmt: skip
_CARDS = ("/.well-known/agent-card.json", "/.well-known/agent.json")


@dataclass(frozen=True)
class Said:
    """One message of JSON-RPC that a client sent."""

    protocol: Literal["mcp", "a2a"]
    method: str
    """Empty where it answers a question of the server's."""
    params: Mapping[str, Any]
    id: Any = None


def said(request: Request) -> Said | None:
    """What this request says in MCP or A2A; None where it speaks neither."""
    if request.location.scheme == STDIO and not request.body:
        return Said("mcp", "initialize", {})
    value = request.json if request.method == "POST" else None
    if not isinstance(value, Mapping) or value.get("jsonrpc") != "2.0":
        return None
    method, params = str(value.get("method") or ""), value.get("params")
    protocol: Literal["mcp", "a2a"]
    if method in _A2A or method.startswith("tasks/pushNotificationConfig"):
        protocol = "a2a"
    elif not method or method.partition("/")[0] in _MCP or method.startswith("tasks/"):
        protocol = "mcp"
    else:
        return None
    return Said(protocol, method, params if isinstance(params, Mapping) else {}, value.get("id"))


def speaks(request: Request, exchanges: Sequence[Exchange]) -> bool:
    """Whether it belongs to MCP or A2A: it says something, or listens or ends where something was said."""
    if said(request) is not None or is_card(request):
        return True
    return request.method in ("GET", "DELETE") and any(
        each.request.url == request.url and said(each.request) is not None for each in exchanges
    )


def delegates(request: Request) -> bool:
    """Whether it asks another agent to do something."""
    spoken = said(request)
    return spoken is not None and spoken.method in _DELEGATES


def looks_up(request: Request) -> bool:
    """Whether it asks an MCP server what there is, which changes nothing.

    How often that is asked is a matter of pace: the MCP SDK asks for the tools when a result comes
    before they are known.
    """
    spoken = said(request)
    return spoken is not None and spoken.method in _LOOKS_UP


_LOOKS_UP = ("prompts/list", "resources/list", "resources/templates/list", "server/discover", "tools/list")


def is_card(request: Request) -> bool:
    """Whether this asks an agent who it is."""
    return request.method == "GET" and request.location.path.endswith(_CARDS)


def comparable(value: Any) -> Any:
    """The JSON of a request without what is new in every run and says nothing: numbers of messages, trace contexts."""
    if not isinstance(value, Mapping) or value.get("jsonrpc") != "2.0":
        return value
    kept = {key: inner for key, inner in value.items() if key != "id" or "method" not in value}
    params = kept.get("params")
    if isinstance(params, Mapping):
        meta, message = params.get("_meta"), params.get("message")
        if isinstance(meta, Mapping):
            meta = {key: inner for key, inner in meta.items() if key not in _OF_A_RUN}
            params = {key: inner for key, inner in params.items() if key != "_meta"} | ({"_meta": meta} if meta else {})
        if isinstance(message, Mapping):
            message = {key: inner for key, inner in message.items() if key not in ("messageId", "message_id")}
            params = {**params, "message": message}
        kept["params"] = params
    return kept


_OF_A_RUN = ("traceparent", "tracestate", "baggage", "progressToken")


def answered_as(exchange: Exchange, request: Request) -> Exchange:
    """The recorded exchange as the answer to this request, whose number may be another one."""
    if exchange.response is None or b'"jsonrpc"' not in request.body:
        return exchange
    asked, was = request.json, exchange.request.json
    if not isinstance(asked, Mapping) or not isinstance(was, Mapping) or asked.get("id") == was.get("id"):
        return exchange
    body = exchange.response.body
    if exchange.response.is_event_stream:
        body = b"".join(
            _renumbered_event(piece, was.get("id"), asked.get("id")) for piece in exchange.response.pieces()
        )
    else:
        body = _renumbered(body, was.get("id"), asked.get("id"))
    return replace(exchange, response=replace(exchange.response, body=body))


def _renumbered(text: bytes, was: Any, now: Any) -> bytes:
    value = parse_json(text)
    if isinstance(value, dict) and "method" not in value and value.get("id") == was:
        return json.dumps({**value, "id": now}, ensure_ascii=False).encode()
    return text


def _renumbered_event(piece: bytes, was: Any, now: Any) -> bytes:
    lines = piece.split(b"\n")
    for at, line in enumerate(lines):
        if line.startswith(b"data:"):
            lines[at] = b"data: " + _renumbered(line[5:].strip(), was, now)
    return b"\n".join(lines)


def messages(exchange: Exchange) -> Iterator[Mapping[str, Any]]:
    """What the server said in answer to it, in order."""
    if exchange.response is None:
        return
    if exchange.response.is_event_stream:
        values: Iterable[Any] = (event.json for event in server_events(exchange.response.body))
    else:
        values = (exchange.response.json,)
    yield from (value for value in values if isinstance(value, Mapping))


# --- spans -----------------------------------------------------------------------------------------------------------


def spans_of(exchanges: Sequence[Exchange], told: Sequence[Span] = ()) -> Iterator[Span]:
    """The tools that MCP servers ran, and what was delegated to other agents, as spans numbered after those told."""
    names: dict[str, str] = {}
    number = max((span.number for span in told), default=0)
    callers = {span.number: span for span in told if span.kind == "tool"}
    tools = set(callers)
    for exchange in exchanges:
        if is_card(exchange.request):
            names |= _named(exchange)
        spoken = said(exchange.request)
        if spoken is None:
            continue
        if spoken.protocol == "mcp" and spoken.method == "tools/call":
            number += 1
            span = _tool(exchange, spoken, number)
            if span.parent not in tools:
                span = replace(span, parent=_caller(span, callers.values()) or span.parent)
            callers.pop(span.parent or 0, None)
            yield span
        elif spoken.method in _DELEGATES:
            number += 1
            yield _delegation(exchange, spoken, number, names)


def _span(exchange: Exchange, number: int, **told: Any) -> Span:
    timing = exchange.timing
    return Span(
        number=number,
        parent=exchange.span,
        after=exchange.number,
        started=timing.started if timing else None,
        seconds=timing.seconds if timing else None if exchange.response is None else 0.0,
        **told,
    )


def _tool(exchange: Exchange, spoken: Said, number: int) -> Span:
    result, error = _outcome(exchange, spoken.id)
    content = _listed(result.get("content")) if isinstance(result, Mapping) else []
    texts = [str(part.get("text")) for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
    output = "\n".join(texts) if content and len(texts) == len(content) else result
    if isinstance(result, Mapping) and result.get("isError"):
        error = output if isinstance(output, str) and output else "the tool failed"
    arguments = spoken.params.get("arguments")
    return _span(
        exchange,
        number,
        kind="tool",
        name=str(spoken.params.get("name") or ""),
        origin="mcp",
        input=arguments if isinstance(arguments, Mapping) else {},
        output=output,
        error=error,
    )


def _caller(span: Span, callers: Iterable[Span]) -> int | None:
    """The first tool of the same name and arguments that had begun before: it asked the server to run this one.

    A client writes to its server in a task of its own, which began with the client and not inside that tool.
    """
    like = (each for each in callers if (each.name, each.input) == (span.name, span.input))
    return next((each.number for each in like if each.after < span.after), None)


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _outcome(exchange: Exchange, id_: Any) -> tuple[Any, str | None]:
    for message in messages(exchange):
        if "method" in message or message.get("id") != id_:
            continue
        if isinstance(error := message.get("error"), Mapping):
            return None, str(error.get("message") or error.get("code") or "error")
        return message.get("result"), None
    if exchange.failure is not None:
        return None, f"{exchange.failure.kind}: {exchange.failure.message}"
    return None, "no answer came"


def _named(exchange: Exchange) -> dict[str, str]:
    """The names of agents by their addresses, from a card that one gave."""
    card = exchange.response.json if exchange.response is not None else None
    if not isinstance(card, Mapping) or not card.get("name"):
        return {}
    offered = [card, *(each for each in _listed(card.get("supportedInterfaces")) if isinstance(each, Mapping))]
    addresses = [str(each["url"]) for each in offered if each.get("url")]
    return {urlsplit(url).netloc: str(card["name"]) for url in [exchange.request.url, *addresses]}


def _delegation(exchange: Exchange, spoken: Said, number: int, names: Mapping[str, str]) -> Span:
    location = exchange.request.location
    states: list[str] = []
    texts: list[str] = []
    task = error = None
    for message in messages(exchange):
        if isinstance(failed := message.get("error"), Mapping):
            error = str(failed.get("message") or "error")
        for value in _parts(message.get("result")):
            if state := _state(value):
                states += [] if states[-1:] == [state] else [state]
            task = task or value.get("taskId") or (value.get("id") if "status" in value else None)
            texts += _texts(value)
    if states and states[-1] in ("failed", "rejected", "canceled"):
        error = error or f"the task ended as {states[-1]}"
    if exchange.failure is not None:
        error = error or f"{exchange.failure.kind}: {exchange.failure.message}"
    sent = spoken.params.get("message")
    return _span(
        exchange,
        number,
        kind="delegation",
        name=names.get(location.netloc, location.netloc + location.path.rstrip("/")),
        origin="a2a",
        input={"message": "\n".join(_texts(sent)) if isinstance(sent, Mapping) else ""},
        output="\n".join(dict.fromkeys(texts)),
        error=error,
        attributes={"a2a.task.states": states, **({"a2a.task.id": task} if task else {})},
    )


def _parts(result: Any) -> Iterator[Mapping[str, Any]]:
    """A result, or in version 1.0 what it wraps: a task, a message, an update of one."""
    if not isinstance(result, Mapping):
        return
    wrapped = [result[name] for name in ("task", "message", "statusUpdate", "artifactUpdate") if name in result]
    for value in wrapped or [result]:
        if isinstance(value, Mapping):
            yield value


def _state(value: Mapping[str, Any]) -> str | None:
    status = value.get("status")
    state = status.get("state") if isinstance(status, Mapping) else None
    return str(state).removeprefix("TASK_STATE_").lower().replace("_", "-") if state else None


def _texts(value: Mapping[str, Any]) -> list[str]:
    """The texts of a message, of a status with a message, of a task's artifacts or of one."""
    found = [part.get("text") for part in _listed(value.get("parts")) if isinstance(part, Mapping)]
    inner = [*_listed(value.get("artifacts")), value.get("artifact")]
    status = value.get("status")
    if isinstance(status, Mapping):
        inner.append(status.get("message"))
    for each in inner:
        if isinstance(each, Mapping):
            found += _texts(each)
    return [text for text in found if isinstance(text, str)]
