"""OpenAI realtime: a WebSocket at `.../v1/realtime`, on which each response is a model call.

Source of the format: OpenAI's API reference, "Client events" and "Server events" of the Realtime API, and the names
that its beta had for some of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs

from pytest_agentops.exchange import Exchange, Request, Response, Timing
from pytest_agentops.frames import messages
from pytest_agentops.trace import CallError, Message, ModelCall, ResponseText, ToolCall, Usage
from pytest_agentops.wire import count, error_from, items, mapping, optional_text, provider_of, tool_call


def reads(request: Request) -> bool:
    """Whether this opens a realtime session."""
    return request.is_handshake and request.location.path.rstrip("/").endswith("/v1/realtime")


def parts(exchange: Exchange) -> tuple[Exchange, ...]:
    """The WebSocket as one exchange for each response: what the model was told until then, and what it said."""
    if not exchange.is_websocket or exchange.response is None:
        return (exchange,)
    session = _Session(exchange)
    for index, sender, event in messages(exchange.response.body):
        if sender == "client":
            session.told(index, event)
        else:
            session.heard(index, event)
    return tuple(session.exchanges())


def decode(exchange: Exchange) -> ModelCall:
    """The model call of one response; of a whole WebSocket, the last one on it."""
    if exchange.is_websocket:
        whole = parts(exchange)
        return decode(whole[-1] if whole else replace(exchange, response=None))
    asked, answer = mapping(exchange.request.json), mapping(exchange.response.json if exchange.response else None)
    session, wanted = mapping(asked.get("session")), mapping(asked.get("response"))
    output = [mapping(item) for item in items(answer.get("output"))]
    calls = tuple(_tool_calls(output))
    error = _error(exchange, answer)
    tools = wanted.get("tools", session.get("tools"))
    return ModelCall(
        id=str(answer.get("id") or f"call-{exchange.number}"),
        provider=provider_of(exchange.request),
        model=str(session.get("model") or "".join(parse_qs(exchange.request.location.query).get("model", ())[:1])),
        messages=tuple(_messages(wanted.get("instructions", session.get("instructions")), asked.get("conversation"))),
        tools=tuple(tool for tool in items(tools) if isinstance(tool, Mapping)),
        response=ResponseText("".join(_said(item) for item in output)),
        tool_calls=calls,
        usage=_usage(answer.get("usage")),
        finish_reason=_finish_reason(answer, calls, error),
        error=error,
    )


# --- the session -----------------------------------------------------------------------------------------------------


@dataclass
class _Asked:
    """One response in the making."""

    began: int
    """The index of the frame that asked for it; where the server began by itself, of the one that says so."""
    wanted: Mapping[str, Any]
    session: Mapping[str, Any]
    told: Sequence[str] = ()
    """The items that the model has before it, by their names here."""
    event_id: object = None
    answer: dict[str, Any] = field(default_factory=dict)
    output: dict[int, Any] = field(default_factory=dict)
    text: dict[int, str] = field(default_factory=dict)
    first: int | None = None
    ended: int | None = None


class _Session:
    """What both sides know at each moment of a realtime session."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._session: dict[str, Any] = {}
        self._items: dict[str, Any] = {}
        self._order: list[str] = []
        self._unnamed: list[str] = []
        """Items of the client's that the server has not given a name yet."""
        self._asked: list[_Asked] = []

    def told(self, index: int, event: Mapping[str, Any]) -> None:
        """The client said this."""
        kind = event.get("type")
        if kind == "session.update":
            self._session |= mapping(event.get("session"))
        elif kind == "conversation.item.create":
            item = mapping(event.get("item"))
            name = str(item.get("id") or f"of the client, {index}")
            if not item.get("id"):
                self._unnamed.append(name)
            self._place(name, item, event.get("previous_item_id"))
        elif kind == "response.create":
            wanted = mapping(event.get("response"))
            self._asked.append(
                _Asked(index, wanted, dict(self._session), tuple(self._order), event_id=event.get("event_id"))
            )

    def heard(self, index: int, event: Mapping[str, Any]) -> None:
        """The server said this."""
        kind = str(event.get("type"))
        item = mapping(event.get("item"))
        if kind in ("session.created", "session.updated"):
            self._session |= mapping(event.get("session"))
        elif kind in ("conversation.item.created", "conversation.item.added", "conversation.item.done"):
            self._named(item, event.get("previous_item_id"))
        elif kind == "conversation.item.deleted":
            self._order = [name for name in self._order if name != event.get("item_id")]
        elif kind == "conversation.item.input_audio_transcription.completed":
            known = mapping(self._items.get(str(event.get("item_id"))))
            self._items[str(event.get("item_id"))] = _transcribed(known, event)
        elif kind == "error":
            self._failed(index, mapping(event.get("error")))
        elif kind.startswith("response."):
            self._answered(index, kind, event)

    def exchanges(self) -> Iterator[Exchange]:
        """One for each response."""
        timing = self._exchange.timing
        for asked in self._asked:
            said = asked.wanted.get("input")
            conversation = [self._items[name] for name in asked.told if name in self._items]
            if isinstance(said, list):
                conversation = [self._items.get(str(mapping(item).get("id")), item) for item in said]
            told = {"session": asked.session, "response": asked.wanted, "conversation": conversation}
            for at, text in asked.text.items():
                part = {"type": "output_text", "text": text}
                asked.output.setdefault(at, {"type": "message", "role": "assistant", "content": [part]})
            answer = {"output": [asked.output[at] for at in sorted(asked.output)], **asked.answer}
            yield replace(
                self._exchange,
                request=replace(self._exchange.request, body=json.dumps(told).encode()),
                response=Response(200, body=json.dumps(answer).encode(), complete=asked.ended is not None),
                failure=self._exchange.failure if asked.ended is None else None,
                timing=None if timing is None else _stretch(timing, asked),
            )

    # Items

    def _named(self, item: Mapping[str, Any], before: object) -> None:
        name = str(item.get("id"))
        if name not in self._items:
            for own in self._unnamed:
                if all(self._items[own].get(key) == item.get(key) for key in ("type", "role", "call_id")):
                    self._unnamed.remove(own)
                    self._order = [name if each == own else each for each in self._order]
                    for asked in self._asked:
                        asked.told = [name if each == own else each for each in asked.told]
                    self._items[name] = {**item, **self._items.pop(own)}
                    return
        if name in self._items:
            self._items[name] = {**self._items[name], **_given(item)}
        else:
            self._place(name, item, before)

    def _place(self, name: str, item: Mapping[str, Any], before: object) -> None:
        self._items[name] = item
        at = self._order.index(before) + 1 if before in self._order else 0 if before == "root" else len(self._order)
        self._order.insert(at, name)

    # Responses

    def _answered(self, index: int, kind: str, event: Mapping[str, Any]) -> None:
        response = mapping(event.get("response"))
        if kind == "response.created":
            self._begun(index, response.get("id"))
            return
        name = response.get("id") or event.get("response_id")
        asked = next((each for each in reversed(self._asked) if each.answer.get("id") == name), None)
        if asked is None:
            asked = self._begun(index, name)
        at = count(event.get("output_index"))
        if kind == "response.done":
            asked.answer, asked.ended = dict(response), index
            if not items(response.get("output")):
                asked.answer.pop("output", None)
            for item in map(mapping, items(response.get("output"))):
                if item.get("id") and response.get("conversation_id", "") is not None:
                    self._named(item, None)
        elif kind == "response.output_item.done":
            asked.output[at] = event.get("item")
        elif kind.endswith((".text.delta", "_text.delta", "_transcript.delta")):
            asked.text[at] = asked.text.get(at, "") + str(event.get("delta") or "")
        if kind.endswith(".delta") and asked.first is None:
            asked.first = index

    def _begun(self, index: int, name: object) -> _Asked:
        asked = next((each for each in self._asked if not each.answer), None)
        if asked is None:  # The server heard that somebody stopped speaking.
            asked = _Asked(index, {}, {}, tuple(self._order))
            self._asked.append(asked)
        asked.session = dict(self._session)  # The server may have said what it is after it was asked.
        asked.answer = {"id": name, "status": "in_progress"}
        return asked

    def _failed(self, index: int, error: Mapping[str, Any]) -> None:
        for asked in self._asked:
            if not asked.answer and asked.event_id == error.get("event_id"):
                asked.answer, asked.ended = {"status": "failed", "error": dict(error)}, index
                return


def _given(item: Mapping[str, Any]) -> dict[str, Any]:
    """What an item says anew; what is in progress comes without its content."""
    return {key: value for key, value in item.items() if value not in (None, [], "")}


def _transcribed(item: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    content = [dict(mapping(part)) for part in items(item.get("content"))] or [{"type": "input_audio"}]
    at = count(event.get("content_index"))
    if at < len(content):
        content[at]["transcript"] = event.get("transcript")
    return {"type": "message", "role": "user", **item, "content": content}


def _stretch(timing: Timing, asked: _Asked) -> Timing | None:
    """When this response happened, in the times of the frames."""
    if len(timing.events) <= max(asked.began, asked.ended or 0, asked.first or 0):
        return None
    began = timing.events[asked.began]
    ended = timing.seconds if asked.ended is None else timing.events[asked.ended]
    first = None if asked.first is None else round(timing.events[asked.first] - began, 4)
    return Timing(round(timing.started + began, 4), round(ended - began, 4), first)


# --- one response ----------------------------------------------------------------------------------------------------


def _messages(instructions: object, conversation: object) -> Iterator[Message]:
    if instructions and isinstance(instructions, str):
        yield Message("system", instructions)
    for item in map(mapping, items(conversation)):
        if item.get("type") == "function_call_output":
            yield Message("tool", item.get("output") or "", tool_call_id=optional_text(item.get("call_id")))
        elif calls := tuple(_tool_calls([item])):
            yield Message("assistant", "", calls)
        elif item.get("type") == "message":
            yield Message(str(item.get("role") or ""), _said(item))


def _said(item: Mapping[str, Any]) -> str:
    """The words of a message, spoken or written."""
    if item.get("type") != "message":
        return ""
    return "".join(
        str(part.get("text") or part.get("transcript") or "") for part in map(mapping, items(item.get("content")))
    )


def _tool_calls(output: Iterable[Mapping[str, Any]]) -> Iterator[ToolCall]:
    for item in output:
        if item.get("type") == "function_call":
            yield tool_call(item.get("name"), item.get("arguments"), item.get("call_id") or item.get("id"))
        elif item.get("type") == "mcp_call":
            made = tool_call(item.get("name"), item.get("arguments"), item.get("id"))
            status, result = ("error", item["error"]) if item.get("error") else ("ok", item.get("output"))
            yield replace(made, result=result, status=status, by_provider=True)  # type: ignore[arg-type]  # One of two words.


def _usage(reported: object) -> Usage | None:
    """Token counts; those of audio are part of the others."""
    if not isinstance(reported, Mapping):
        return None
    return Usage(
        input_tokens=count(reported.get("input_tokens")),
        output_tokens=count(reported.get("output_tokens")),
        cached_input_tokens=count(mapping(reported.get("input_token_details")).get("cached_tokens")),
    )


def _error(exchange: Exchange, answer: Mapping[str, Any]) -> CallError | None:
    if exchange.response is None:
        failure = exchange.failure
        return CallError(failure.message, code=failure.kind) if failure else CallError("no response was captured")
    if exchange.response.status >= 400:
        return error_from(answer, exchange.response.reason, exchange.response.status)
    if answer.get("status") != "failed":
        return None
    details = answer.get("error") or mapping(answer.get("status_details")).get("error")
    return error_from({"error": details}, "the provider says that it failed")


def _finish_reason(answer: Mapping[str, Any], calls: Sequence[ToolCall], error: CallError | None) -> str | None:
    """The reason in the words of chat completions, so that one word means one thing whatever the API."""
    if error is not None:
        return "error"
    status = answer.get("status")
    if status == "completed":
        return "tool_calls" if any(not call.by_provider for call in calls) else "stop"
    if status == "incomplete":
        reason = mapping(answer.get("status_details")).get("reason")
        return "length" if reason == "max_output_tokens" else str(reason or "incomplete")
    return "cancelled" if status == "cancelled" else None
