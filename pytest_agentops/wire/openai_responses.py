"""OpenAI responses: `POST .../responses`, and what asks later for an answer that is made in the background.

Source of the format: OpenAI's API reference, "Responses", "Streaming events", "Background mode" and
"Conversation state".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pytest_agentops.exchange import Exchange, Request, ServerEvent
from pytest_agentops.trace import CallError, Message, ModelCall, ResponseText, ToolCall, Usage
from pytest_agentops.wire import (
    answer_of,
    count,
    items,
    mapping,
    optional_text,
    provider_of,
    reported,
    tool_call,
)

_LATER = re.compile(r"/responses/([^/]+?)(/cancel)?$")
_OF_CALLER = ("computer_call", "local_shell_call", "shell_call", "apply_patch_call", "tool_search_call")
"""Tools of the provider's that the caller runs, unless the answer has what came of them."""
_UNFINISHED = {
    "queued": "the answer was not there yet",
    "in_progress": "the answer was not there yet",
    "cancelled": "the answer was cancelled",
}
"""What the states of an answer mean in which there is none."""


def reads(request: Request) -> bool:
    """Whether this creates a response."""
    return request.method == "POST" and request.location.path.rstrip("/").endswith("/responses")


def later(request: Request) -> str | None:
    """The id of the response that this asks for again, or cancels; None when it does neither."""
    found = _LATER.search(request.location.path.rstrip("/"))
    asks = found is not None and request.method == ("POST" if found[2] else "GET")
    return found[1] if found is not None and asks else None


def decode(exchange: Exchange) -> ModelCall:
    """The model call of a response."""
    asked = mapping(exchange.request.json)
    answer, error = answer_of(exchange, _joined)
    output = [mapping(item) for item in items(answer.get("output"))]
    calls = tuple(_tool_calls(output))
    finish_reason = _finish_reason(answer, calls, error)
    state = answer.get("status")
    if error is None and isinstance(state, str) and state in _UNFINISHED:
        error = CallError(_UNFINISHED[state], code=state)
    refusal = "".join(_parts(output, "refusal", "refusal")) or None
    return ModelCall(
        id=str(answer.get("id") or f"call-{exchange.number}"),
        provider=provider_of(exchange.request),
        model=str(answer.get("model") or asked.get("model") or ""),
        messages=tuple(_messages(asked)),
        tools=tuple(tool for tool in items(asked.get("tools")) if isinstance(tool, Mapping)),
        response=ResponseText("".join(_parts(output, "output_text", "text")) or refusal or ""),
        tool_calls=calls,
        usage=_usage(answer.get("usage")),
        reported_usage=reported(answer.get("usage")),
        finish_reason=finish_reason,
        error=error,
        refusal=refusal,
        continues=optional_text(asked.get("previous_response_id")),
        conversation=_conversation(answer.get("conversation")) or _conversation(asked.get("conversation")),
    )


def _conversation(value: object) -> str | None:
    """The id of a conversation, which stands alone or in an object."""
    return optional_text(mapping(value).get("id")) or optional_text(value)


def _messages(asked: Mapping[str, Any]) -> Iterator[Message]:
    if isinstance(asked.get("instructions"), str):
        yield Message("system", asked["instructions"])
    if isinstance(asked.get("input"), str):
        yield Message("user", asked["input"])
    for item in map(mapping, items(asked.get("input"))):
        kind = str(item.get("type") or "message")
        if kind == "message":
            yield Message(str(item.get("role") or ""), _content(item.get("content")))
        elif kind == "mcp_approval_response":
            said = {key: item[key] for key in ("approve", "reason") if key in item}
            yield Message("tool", said, tool_call_id=optional_text(item.get("approval_request_id")))
        elif kind.endswith("_output"):
            yield Message(
                "tool",
                _content(item.get("output", item.get("tools"))),
                tool_call_id=optional_text(item.get("call_id")),
                failed=item.get("status") == "failed",
            )
        elif calls := tuple(_tool_calls([item])):
            yield Message("assistant", "", calls)


def _content(content: object) -> Any:
    parts = [mapping(part) for part in items(content)]
    if parts and all(part.get("type") in ("input_text", "output_text", "text") for part in parts):
        return "".join(str(part.get("text") or "") for part in parts)
    return "" if content is None else content


def _parts(output: Iterable[Mapping[str, Any]], kind: str, key: str) -> Iterator[str]:
    for item in output:
        if item.get("type") == "message":
            for part in map(mapping, items(item.get("content"))):
                if part.get("type") == kind:
                    yield str(part.get(key) or "")


def _tool_calls(output: Iterable[Mapping[str, Any]]) -> Iterator[ToolCall]:
    """The calls of an answer; those that the provider ran itself with what came of them."""
    output = list(output)
    for index, item in enumerate(output):
        kind = str(item.get("type"))
        id_ = item.get("call_id") or item.get("id")
        if kind == "function_call":
            yield tool_call(item.get("name"), item.get("arguments"), id_)
        elif kind == "custom_tool_call":
            yield tool_call(item.get("name"), {"input": item.get("input")}, id_)
        elif kind == "mcp_approval_request":
            yield tool_call(kind, _arguments(item), item.get("id"))
        elif kind == "mcp_call":
            yield _by_provider(item, str(item.get("name") or kind), item.get("arguments"), item.get("output"))
        elif kind == "mcp_list_tools" and item.get("error"):
            # No model asked for the list, so that one that came is no call; one that did not come is worth seeing.
            yield _by_provider(item, kind, _arguments(item), None)
        elif kind in _OF_CALLER:
            came = _came(item, output[index + 1 :])
            name, arguments = kind.removesuffix("_call"), _arguments(item)
            if came is None and item.get("execution") != "server":
                yield tool_call(name, arguments, id_)
            else:
                yield _by_provider(item, name, arguments, came)
        elif kind.endswith("_call"):
            yield _by_provider(item, kind.removesuffix("_call"), _arguments(item), _result(item))


_ABOUT = ("id", "call_id", "type", "status", "execution", "results", "outputs", "result", "error", "tools")
"""What an item says beside the arguments of its call."""


def _arguments(item: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {key: value for key, value in item.items() if key not in _ABOUT}
    if "action" in arguments:  # What a search found stands inside of what it was asked.
        action = mapping(arguments["action"])
        arguments["action"] = {key: value for key, value in action.items() if key != "sources"}
    return arguments


def _result(item: Mapping[str, Any]) -> Any:
    """What came of a tool that the provider ran: rows of a search, logs of code, an image as base64."""
    found = (item.get(key) for key in ("output", "results", "outputs", "result"))
    return next((each for each in found if each), mapping(item.get("action")).get("sources"))


def _came(call: Mapping[str, Any], later: Iterable[Mapping[str, Any]]) -> Any:
    """What came of a call, where the answer tells that too; the provider's own carry no id at times."""
    kind = str(call.get("type")).removesuffix("_call")
    for item in later:
        if item.get("type") in (f"{kind}_output", f"{kind}_call_output") and item.get("call_id") == call.get("call_id"):
            return item.get("output", item.get("tools"))
    return None


def _by_provider(item: Mapping[str, Any], name: str, arguments: object, result: object) -> ToolCall:
    failed = item.get("status") == "failed" or bool(item.get("error"))
    # An image stays "generating" when it is there.
    settled = result is not None or item.get("status") in (None, "completed")
    return replace(
        tool_call(name, arguments, item.get("id")),
        result=item.get("error") or result,
        status="error" if failed else "ok" if settled else "unanswered",
        by_provider=True,
    )


def _usage(figures: object) -> Usage | None:
    if not isinstance(figures, Mapping):
        return None
    read, written = mapping(figures.get("input_tokens_details")), mapping(figures.get("output_tokens_details"))
    return Usage(
        input_tokens=count(figures.get("input_tokens")),
        output_tokens=count(figures.get("output_tokens")),
        cached_input_tokens=count(read.get("cached_tokens")),
        reasoning_tokens=count(written.get("reasoning_tokens")),
        input_audio_tokens=count(read.get("audio_tokens")),
        output_audio_tokens=count(written.get("audio_tokens")),
    )


def _finish_reason(answer: Mapping[str, Any], calls: tuple[ToolCall, ...], error: CallError | None) -> str | None:
    """The reason in the words of chat completions, so that one word means one thing whatever the API."""
    if error is not None:
        return "error"
    if answer.get("status") == "incomplete":
        reason = mapping(answer.get("incomplete_details")).get("reason")
        return "length" if reason == "max_output_tokens" else str(reason or "incomplete")
    if answer.get("status") == "cancelled":
        return "cancelled"
    if answer.get("status") != "completed":
        return None
    return "tool_calls" if any(not call.by_provider for call in calls) else "stop"


_PIECES = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.function_call_arguments.delta": "arguments",
    "response.mcp_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}
"""What each kind of event adds a piece to."""
_LAST = tuple(f"response.{state}" for state in ("completed", "incomplete", "failed", "cancelled"))


def _joined(events: Iterable[ServerEvent]) -> Mapping[str, Any]:
    """The response that a stream ends with, or what it had said when it was cut."""
    begun: Mapping[str, Any] = {}
    output: dict[int, Mapping[str, Any]] = {}
    pieces: dict[int, dict[str, list[str]]] = {}
    for event in events:
        data = mapping(event.json)
        kind = str(data.get("type") or event.name)
        index = count(data.get("output_index"))
        if kind in _PIECES:
            pieces.setdefault(index, {}).setdefault(_PIECES[kind], []).append(str(data.get("delta") or ""))
        elif kind in _LAST:
            return mapping(data.get("response"))
        elif kind == "error":
            return {**begun, "error": data.get("error") or data}
        elif kind in ("response.created", "response.queued", "response.in_progress"):
            begun = mapping(data.get("response"))
        elif kind in ("response.output_item.added", "response.output_item.done"):
            output[index] = mapping(data.get("item"))
            if kind.endswith("done"):
                pieces.pop(index, None)
    for index, said in pieces.items():
        output[index] = _unfinished(output.get(index, {}), {key: "".join(each) for key, each in said.items()})
    return {**begun, "status": None, "output": [output[index] for index in sorted(output)]}


def _unfinished(item: Mapping[str, Any], said: Mapping[str, str]) -> Mapping[str, Any]:
    """An item that was cut, with what had come of it."""
    if "text" in said or "refusal" in said:
        parts = [{"type": "output_text" if key == "text" else key, key: words} for key, words in said.items()]
        return {**item, "type": "message", "content": parts}
    return {**item, **said}
