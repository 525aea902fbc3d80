"""The public kit for testing agents: a scripted model server, deterministic ids and clock, and tiny pytest projects.

    from openai import OpenAI
    from pytest_agentops.testing import Asks, Says, ScriptedModel, ToolRequest

    with ScriptedModel(Asks(ToolRequest("get_order", {"id": 42})), Says("It has shipped.")) as model:
        client = OpenAI(base_url=model.base_url, api_key="scripted")

In a `conftest.py`, `from pytest_agentops.testing import scripted_model, tiny_project` makes both fixtures available.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Any, Literal, TypeAlias

import pytest

__all__ = [
    "Asks",
    "CommandRun",
    "CountingIds",
    "Disconnects",
    "Fails",
    "FixedClock",
    "PytestRun",
    "Reply",
    "Says",
    "ScriptExhaustedError",
    "ScriptedModel",
    "ScriptedRequest",
    "TinyProject",
    "ToolRequest",
    "scripted_model",
    "tiny_project",
]

FinishReason: TypeAlias = Literal["stop", "length", "content_filter", "tool_calls"]
Json: TypeAlias = dict[str, Any]


# --- Ids and time ----------------------------------------------------------------------------------------------------


class CountingIds:
    """Ids that count from 1 for each prefix: `ids("call_")` is `call_1`, then `call_2`. Safe to share by threads."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, prefix: str) -> str:
        with self._lock:
            self._counts[prefix] += 1
            return f"{prefix}{self._counts[prefix]}"


class FixedClock:
    """A clock that stands at `start`, in seconds since 1970, until `advance` moves it."""

    def __init__(self, start: float = 1_700_000_000) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


# --- Replies ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ToolRequest:
    """One tool call that the scripted model asks for."""

    name: str
    arguments: Mapping[str, object] | str = field(default_factory=dict)
    """A mapping becomes compact JSON; text is sent as it is, so that malformed arguments can be scripted."""

    @property
    def arguments_text(self) -> str:
        """The arguments as they go over the wire."""
        return self.arguments if isinstance(self.arguments, str) else _compact(dict(self.arguments))


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What `Says` and `Asks` have in common: usage, headers and pace."""

    finish_reason: FinishReason = "stop"
    """In the words of chat completions; the responses API gets its own status for `length` and `content_filter`."""
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    input_tokens: int | None = None
    """Default: the whitespace-separated words of every text in the request, and never less than `cached_tokens`."""
    output_tokens: int | None = None
    """Default: the whitespace-separated words of the text, the refusal and each tool's name and arguments, plus
    `reasoning_tokens`."""
    latency: float = 0.0
    """Seconds before the first byte."""
    pause: float = 0.0
    """Seconds between two streamed chunks."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Response headers; they replace the server's own of the same name."""


@dataclass(frozen=True)
class Says(_Answer):
    """The model answers with `text`, or declines with `refusal`."""

    text: str
    refusal: str | None = field(default=None, kw_only=True)
    chunks: Sequence[str] | None = field(default=None, kw_only=True)
    """How `text` is cut when it is streamed. Default: into words, each with the space before it."""

    def __post_init__(self) -> None:
        if self.chunks is not None and "".join(self.chunks) != self.text:
            raise ValueError(f"the chunks make {''.join(self.chunks)!r}, which is not the text {self.text!r}")

    @property
    def tool_requests(self) -> tuple[ToolRequest, ...]:
        """Empty; `Asks` has some."""
        return ()


@dataclass(frozen=True, init=False)
class Asks(_Answer):
    """The model asks for one tool call, or for several in parallel; `text` is what it says besides."""

    tool_requests: tuple[ToolRequest, ...]
    text: str

    def __init__(
        self,
        *tool_requests: ToolRequest,
        text: str = "",
        finish_reason: FinishReason = "tool_calls",
        reasoning_tokens: int = 0,
        cached_tokens: int = 0,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        latency: float = 0.0,
        pause: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not tool_requests:
            raise ValueError("Asks needs at least one ToolRequest; Says is the answer without any")
        super().__init__(
            finish_reason=finish_reason,
            reasoning_tokens=reasoning_tokens,
            cached_tokens=cached_tokens,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            latency=latency,
            pause=pause,
            headers=headers or {},
        )
        object.__setattr__(self, "tool_requests", tool_requests)
        object.__setattr__(self, "text", text)

    @property
    def refusal(self) -> None:
        """None; only `Says` can decline."""
        return None

    @property
    def chunks(self) -> None:
        """None; the text of an `Asks` is always cut into words."""
        return None


@dataclass(frozen=True)
class Fails:
    """The provider answers with an HTTP error and the OpenAI error body.

    The openai client retries 408, 409, 429 and 5xx, and every attempt takes the next reply of a script. The header
    `{"retry-after-ms": "1"}` makes it retry without a wait, `{"x-should-retry": "false"}` not at all.
    """

    status: int
    message: str = ""
    """Default: the standard phrase of the status."""
    code: str | None = None
    type: str | None = None
    """Default: `requests` for 429, `server_error` from 500 on, else `invalid_request_error`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    latency: float = 0.0


@dataclass(frozen=True)
class Disconnects:
    """The connection closes without an answer, or in the middle of `reply`.

    With a `reply` that the request asks to be streamed, the connection closes after `after` chunks of it; one that is
    not streamed is cut in the middle of its body.
    """

    after: int = 0
    reply: Says | Asks | None = None

    def __post_init__(self) -> None:
        if self.after and self.reply is None:
            raise ValueError(f"Disconnects(after={self.after}) needs the reply that it cuts short")


Reply: TypeAlias = Says | Asks | Fails | Disconnects


# --- Requests --------------------------------------------------------------------------------------------------------


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
        """The text of the last user message, in either API; empty when there is none."""
        texts = [_text_of(item.get("content")) for item in self._items() if item.get("role") == "user"]
        return texts[-1] if texts else ""

    @property
    def tool_results(self) -> list[str]:
        """The texts of all tool results that the request carries, in its order, in either API."""
        return list(self._tool_results())

    @property
    def word_count(self) -> int:
        """How many whitespace-separated words the instructions, messages and tool results have together."""
        texts = [_text_of(self.body.get("instructions"))]
        for item in self._items():
            texts += [_text_of(item.get("content")), _text_of(item.get("output"))]
        return sum(len(text.split()) for text in texts)

    def _items(self) -> list[Json]:
        """Messages of a chat completion, or input items of a response."""
        items = self.body.get("messages") or self.body.get("input") or []
        return [{"role": "user", "content": items}] if isinstance(items, str) else items

    def _tool_results(self) -> Iterator[str]:
        for item in self._items():
            if item.get("role") == "tool":
                yield _text_of(item.get("content"))
            elif item.get("type") == "function_call_output":
                yield _text_of(item.get("output"))


def _text_of(content: object) -> str:
    """The text of a message: the content itself, or its text parts, one a line."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


# --- Wire shapes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Event:
    """One server-sent event."""

    data: Json | str
    name: str | None = None
    """Chat completions leave their events unnamed, the responses API names each."""
    is_chunk: bool = False
    """Whether it carries a piece of the answer; pauses and disconnects count these."""

    def frame(self) -> bytes:
        data = self.data if isinstance(self.data, str) else _compact(self.data)
        lines = [f"event: {self.name}"] if self.name else []
        return "\n".join([*lines, f"data: {data}", "", ""]).encode()


@dataclass(frozen=True)
class _Usage:
    """Token counts of one answer, by the rule that `_Answer` states."""

    input: int
    output: int

    @classmethod
    def of(cls, request: ScriptedRequest, answer: Says | Asks) -> _Usage:
        words = [answer.text, answer.refusal or ""]
        words += [text for tool in answer.tool_requests for text in (tool.name, tool.arguments_text)]
        counted_output = sum(len(text.split()) for text in words) + answer.reasoning_tokens
        counted_input = max(request.word_count, answer.cached_tokens)
        return cls(
            input=counted_input if answer.input_tokens is None else answer.input_tokens,
            output=counted_output if answer.output_tokens is None else answer.output_tokens,
        )


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _words(text: str) -> list[str]:
    """The text cut into words, each with the space before it; joined they are the text again."""
    return re.findall(r"\s*\S+|\s+", text)


def _argument_pieces(arguments: str) -> list[str]:
    """JSON cut about where a model's tokens end: `{"`, `city`, `":"`, `Oslo`, `"}`."""
    return re.findall(r"\w+|\W+", arguments)


def _pieces(answer: Says | Asks) -> list[str]:
    return _words(answer.text) if answer.chunks is None else list(answer.chunks)


def _is_empty(answer: Says | Asks) -> bool:
    """Whether it says nothing, which goes over the wire as an empty text."""
    return not answer.text and not answer.tool_requests and answer.refusal is None


def _chat_completion(request: ScriptedRequest, answer: Says | Asks, ids: Callable[[str], str], created: int) -> Json:
    """The body of a plain chat completion."""
    usage = _Usage.of(request, answer)
    message: Json = {
        "role": "assistant",
        "content": answer.text or ("" if _is_empty(answer) else None),
        "refusal": answer.refusal,
        "annotations": [],
    }
    completion: Json = {
        "id": ids("chatcmpl-"),
        "object": "chat.completion",
        "created": created,
        "model": request.body.get("model"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}],
        "usage": {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
            "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": answer.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }
    if answer.tool_requests:
        message["tool_calls"] = [
            {
                "id": ids("call_"),
                "type": "function",
                "function": {"name": tool.name, "arguments": tool.arguments_text},
            }
            for tool in answer.tool_requests
        ]
    return completion


def _chat_events(request: ScriptedRequest, answer: Says | Asks, completion: Json) -> Iterator[_Event]:
    """The same completion as a stream."""
    with_usage = bool((request.body.get("stream_options") or {}).get("include_usage"))
    shared = {key: completion[key] for key in ("id", "created", "model", "service_tier", "system_fingerprint")}
    # A stream that ends with its usage says null in every chunk before; one that does not leaves the key out.
    no_usage_yet: Json = {"usage": None} if with_usage else {}

    def chunk(choices: list[Json], usage: Json) -> Json:
        return {**shared, "object": "chat.completion.chunk", "choices": choices, **usage}

    for delta, is_chunk in _chat_deltas(answer, completion["choices"][0]["message"]):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        yield _Event(chunk([choice], no_usage_yet), is_chunk=is_chunk)
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": answer.finish_reason}
    yield _Event(chunk([choice], no_usage_yet))
    if with_usage:
        yield _Event(chunk([], {"usage": completion["usage"]}))
    yield _Event("[DONE]")


def _chat_deltas(answer: Says | Asks, message: Json) -> Iterator[tuple[Json, bool]]:
    """Each delta, and whether it carries a piece of the answer."""
    calls = [
        {"index": index, **call, "function": {**call["function"], "arguments": ""}}
        for index, call in enumerate(message.get("tool_calls", []))
    ]
    opening: Json = {"role": "assistant", "content": None if message["content"] is None else "", "refusal": None}
    if answer.refusal is not None:
        opening["refusal"] = ""
    # The provider puts the head of a lone tool call into the first delta, and gives parallel ones a delta each.
    is_lone_call = len(calls) == 1 and not answer.text
    yield (opening | {"tool_calls": calls} if is_lone_call else opening), False
    for piece in _pieces(answer):
        yield {"content": piece}, True
    for piece in _words(answer.refusal or ""):
        yield {"refusal": piece}, True
    for call, tool in zip(calls, answer.tool_requests, strict=True):
        if not is_lone_call:
            yield {"tool_calls": [call]}, False
        for piece in _argument_pieces(tool.arguments_text):
            yield {"tool_calls": [{"index": call["index"], "function": {"arguments": piece}}]}, True


_RESPONSE_ECHOES: Json = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats from its request, and what it says when the request did not."""


def _echo(value: object, default: object) -> object:
    if isinstance(default, dict) and isinstance(value, dict):
        return default | value
    return default if value is None else value


_INCOMPLETE_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


def _response(request: ScriptedRequest, answer: Says | Asks, ids: Callable[[str], str], created: int) -> Json:
    """The body of a plain response."""
    usage = _Usage.of(request, answer)
    reason = _INCOMPLETE_REASONS.get(answer.finish_reason)
    status = "incomplete" if reason else "completed"
    response: Json = {
        "id": ids("resp_"),
        "object": "response",
        "created_at": created,
        "completed_at": None if reason else created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": request.body.get("model"),
    }
    response |= {key: _echo(request.body.get(key), default) for key, default in _RESPONSE_ECHOES.items()}
    response["output"] = list(_output_items(answer, ids, status))
    response["service_tier"] = "default"
    response["usage"] = {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": usage.input + usage.output,
    }
    return response


def _output_items(answer: Says | Asks, ids: Callable[[str], str], status: str) -> Iterator[Json]:
    parts: list[Json] = []
    if answer.text or _is_empty(answer):
        parts.append({"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text})
    if answer.refusal is not None:
        parts.append({"type": "refusal", "refusal": answer.refusal})
    if parts:
        yield {"id": ids("msg_"), "type": "message", "status": status, "content": parts, "role": "assistant"}
    for tool in answer.tool_requests:
        yield {
            "id": ids("fc_"),
            "type": "function_call",
            "status": status,
            "arguments": tool.arguments_text,
            "call_id": ids("call_"),
            "name": tool.name,
        }


def _response_events(
    request: ScriptedRequest,  # noqa: ARG001 - streams of both APIs are made by functions of one shape.
    answer: Says | Asks,
    response: Json,
) -> Iterator[_Event]:
    """The same response as a stream."""
    begun: Json = {
        **response,
        "status": "in_progress",
        "completed_at": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }
    for sequence_number, event in enumerate(_response_event_bodies(answer, begun, response)):
        name = event["type"]
        data = event | {"sequence_number": sequence_number}
        yield _Event(data, name=name, is_chunk=name.endswith(".delta"))


def _response_event_bodies(answer: Says | Asks, begun: Json, response: Json) -> Iterator[Json]:
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        emptied: Json = {"content": []} if item["type"] == "message" else {"arguments": ""}
        yield {
            "type": "response.output_item.added",
            "output_index": index,
            "item": item | emptied | {"status": "in_progress"},
        }
        for event in _message_events(answer, item) if item["type"] == "message" else _function_call_events(item):
            yield event | {"item_id": item["id"], "output_index": index}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{response['status']}", "response": response}


def _message_events(answer: Says | Asks, item: Json) -> Iterator[Json]:
    for index, part in enumerate(item["content"]):
        for event in _text_events(answer, part) if part["type"] == "output_text" else _refusal_events(part):
            yield event | {"content_index": index}


def _text_events(answer: Says | Asks, part: Json) -> Iterator[Json]:
    yield {"type": "response.content_part.added", "part": part | {"text": ""}}
    for piece in _pieces(answer):
        yield {"type": "response.output_text.delta", "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", "part": part}


def _refusal_events(part: Json) -> Iterator[Json]:
    yield {"type": "response.content_part.added", "part": part | {"refusal": ""}}
    for piece in _words(part["refusal"]):
        yield {"type": "response.refusal.delta", "delta": piece}
    yield {"type": "response.refusal.done", "refusal": part["refusal"]}
    yield {"type": "response.content_part.done", "part": part}


def _function_call_events(item: Json) -> Iterator[Json]:
    for piece in _argument_pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", "delta": piece}
    yield {"type": "response.function_call_arguments.done", "arguments": item["arguments"]}


@dataclass(frozen=True)
class _Api:
    """One endpoint of the provider: how an answer looks there, plain and streamed."""

    body: Callable[[ScriptedRequest, Says | Asks, Callable[[str], str], int], Json]
    events: Callable[[ScriptedRequest, Says | Asks, Json], Iterator[_Event]]


_APIS = {
    "/v1/chat/completions": _Api(_chat_completion, _chat_events),
    "/v1/responses": _Api(_response, _response_events),
}


# --- The server ------------------------------------------------------------------------------------------------------


class ScriptExhaustedError(LookupError):
    """More requests came than replies were scripted."""

    def __init__(self, scripted: int, number: int, request: ScriptedRequest) -> None:
        self.scripted = scripted
        self.number = number
        self.request = request
        replies = "1 reply was" if scripted == 1 else f"{scripted} replies were"
        super().__init__(
            f"{replies} scripted, and request {number} came: {request.method} {request.path}, "
            f"last user message {textwrap.shorten(request.prompt, 80)!r}"
        )


@dataclass(frozen=True)
class _Transmission:
    """Everything that goes back over the socket, and when."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    events: tuple[_Event, ...] | None = None
    """What is streamed instead of a body."""
    latency: float = 0.0
    pause: float = 0.0
    cut_after: int | None = None
    """The number of streamed chunks after which the connection closes; a body is cut in its middle."""
    silent: bool = False
    """Close the connection without a byte."""


class ScriptedModel:
    """An OpenAI-compatible server on 127.0.0.1 that answers with what its script says.

    The script is a row of replies, given in the order in which requests arrive, or one function that makes the reply
    to each request. The function is called for one request at a time, in the order of arrival, so it may keep state
    without a lock; to answer slowly it returns a reply with `latency`, during which other requests are served.

        def answer(request: ScriptedRequest) -> Reply:
            return Says("It has shipped.") if request.tool_results else Asks(ToolRequest("get_order", {"id": 42}))

        with ScriptedModel(answer) as model:
            client = OpenAI(base_url=model.base_url, api_key="scripted")

    It serves `POST /v1/chat/completions` and `POST /v1/responses`, plain and streamed; anything else is answered with
    the provider's 404 and takes no reply. A request too many, and a function that raises, are answered with HTTP 500
    that the openai client does not retry, and kept in `errors`. The server listens from its creation to `close`.

    `port` 0 takes any free one. `ids` and `clock` make the ids and the time in answers; `gzip` compresses bodies for
    clients that accept it, streams excepted.
    """

    def __init__(
        self,
        *script: Reply | Callable[[ScriptedRequest], Reply],
        port: int = 0,
        ids: Callable[[str], str] | None = None,
        clock: Callable[[], float] | None = None,
        gzip: bool = False,
    ) -> None:
        self._reply_to = _script(script)
        self._ids = ids or CountingIds()
        self._clock = clock or FixedClock()
        self._gzip = gzip
        self._arrival = threading.Lock()
        self.requests: list[ScriptedRequest] = []
        """Every request in the order of arrival; the client's retries are requests too."""
        self.errors: list[Exception] = []
        """What went wrong on this side: a function that raised, a script that ran out."""
        self._server = _Server(port, self)
        self._thread = threading.Thread(target=self._server.serve, name="scripted-model", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return self._server.port

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL, such as `http://127.0.0.1:49152/v1`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        """Stop listening and hang up on every client; closing twice does no harm."""
        self._server.hang_up()
        self._thread.join()

    def __enter__(self) -> ScriptedModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, request: ScriptedRequest, problem: str | None) -> _Transmission:
        """Everything that depends on the order of arrival: the reply, the ids and the time."""
        with self._arrival:
            self.requests.append(request)
            headers = self._headers()
            if problem:
                return self._failure(Fails(400, problem), request, headers)
            api = _APIS.get(request.path.partition("?")[0]) if request.method == "POST" else None
            if api is None:
                return self._failure(Fails(404, f"Invalid URL ({request.method} {request.path})"), request, headers)
            try:
                return self._transmission(self._reply_to(request), request, api, headers)
            except Exception as error:
                # Whatever a script does wrong has to reach the test, and the client waits for an answer meanwhile.
                self.errors.append(error)
                message = str(error) if isinstance(error, ScriptExhaustedError) else f"{type(error).__name__}: {error}"
                refusal = Fails(500, message, type="scripted_model_error", headers={"x-should-retry": "false"})
                return self._failure(refusal, request, headers)

    def _headers(self) -> dict[str, str]:
        """Headers as the provider sends them, the identifying ones included, so that redaction has work to do."""
        return {
            "date": formatdate(self._clock(), usegmt=True),
            "content-type": "application/json",
            "x-request-id": self._ids("req_"),
            "openai-organization": "org-scripted",
            "openai-processing-ms": "0",
            "openai-version": "2020-10-01",
            "set-cookie": "__cf_bm=scripted",
        }

    def _transmission(
        self, reply: Reply, request: ScriptedRequest, api: _Api, headers: dict[str, str]
    ) -> _Transmission:
        match reply:
            case Fails():
                return self._failure(reply, request, headers)
            case Disconnects(reply=None):
                return _Transmission(silent=True)
            case Disconnects(after=after, reply=cut) if cut is not None:
                return self._success(cut, request, api, headers, cut_after=after)
            case Says() | Asks():
                return self._success(reply, request, api, headers)
        raise TypeError(f"a script gives Says, Asks, Fails or Disconnects, and this one gave {reply!r}")

    def _success(
        self,
        answer: Says | Asks,
        request: ScriptedRequest,
        api: _Api,
        headers: dict[str, str],
        *,
        cut_after: int | None = None,
    ) -> _Transmission:
        headers |= {"openai-processing-ms": str(round(answer.latency * 1000))}
        body = api.body(request, answer, self._ids, int(self._clock()))
        if request.body.get("stream"):
            headers |= {"content-type": "text/event-stream; charset=utf-8"} | _lower(answer.headers)
            events = tuple(api.events(request, answer, body))
            return _Transmission(200, headers, b"", events, answer.latency, answer.pause, cut_after)
        content, headers = self._encoded(body, request, headers | _lower(answer.headers))
        return _Transmission(200, headers, content, latency=answer.latency, cut_after=cut_after)

    def _failure(self, failure: Fails, request: ScriptedRequest, headers: dict[str, str]) -> _Transmission:
        error = {
            "message": failure.message or _phrase(failure.status),
            "type": failure.type or _error_type(failure.status),
            "param": None,
            "code": failure.code,
        }
        headers |= {"openai-processing-ms": str(round(failure.latency * 1000))} | _lower(failure.headers)
        content, headers = self._encoded({"error": error}, request, headers)
        return _Transmission(failure.status, headers, content, latency=failure.latency)

    def _encoded(self, body: Json, request: ScriptedRequest, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        content = _compact(body).encode()
        if self._gzip and "gzip" in request.headers.get("accept-encoding", ""):
            # Window bits of 31 ask for a gzip frame, and unlike `gzip.compress` put no time of day into it.
            content = zlib.compress(content, wbits=31)
            headers = headers | {"content-encoding": "gzip"}
        return content, headers | {"content-length": str(len(content))}


def _error_type(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "requests"
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"


def _phrase(status: int) -> str:
    # Providers have statuses of their own, such as 529 for overloaded.
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown Status"


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _script(
    script: tuple[Reply | Callable[[ScriptedRequest], Reply], ...],
) -> Callable[[ScriptedRequest], Reply]:
    """One function, whichever form the script has."""
    if len(script) == 1 and callable(script[0]):
        return script[0]
    replies: list[Reply] = []
    for entry in script:
        if not isinstance(entry, Says | Asks | Fails | Disconnects):
            raise TypeError(f"a script is a row of replies, as in ScriptedModel(*replies), or one function: {entry!r}")
        replies.append(entry)
    numbers = count(1)

    def next_reply(request: ScriptedRequest) -> Reply:
        number = next(numbers)
        if number > len(replies):
            raise ScriptExhaustedError(len(replies), number, request)
        return replies[number - 1]

    return next_reply


# `http.server.HTTPServer` looks its own name up in DNS when it starts, which can take seconds without a network.
class _Server(ThreadingTCPServer):
    """The listening socket, and the open connections of a `ScriptedModel`."""

    allow_reuse_address = True
    daemon_threads = True
    # Twenty clients may knock at once; a full queue costs each of the others a second.
    request_queue_size = 128

    def __init__(self, port: int, model: ScriptedModel) -> None:
        self.model = model
        self.closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def port(self) -> int:
        address: tuple[str, int] = self.server_address  # type: ignore[assignment]  # TCP, so never text or bytes.
        return address[1]

    def serve(self) -> None:
        self.serve_forever(poll_interval=0.01)

    def hang_up(self) -> None:
        """Stop accepting, and end the kept-alive connections: a closed model must not answer any more."""
        self.closing.set()
        self.shutdown()
        with self._connections_lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._connections_lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the signature is given.
        """A client may hang up when it likes; anything else is kept for the test instead of printed."""
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, ConnectionError):
            self.model.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    """Reads requests from one connection and writes transmissions to it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        request, problem = self._request()
        transmission = self.server.model._answer(request, problem)
        self._wait(transmission.latency)
        if transmission.silent or self.server.closing.is_set():
            self.close_connection = True
        elif transmission.events is None:
            self._send_body(transmission)
        else:
            self._send_events(transmission, transmission.events)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - `http.server` looks for these names.

    def _request(self) -> tuple[ScriptedRequest, str | None]:
        """The request, and what is wrong with it if something is."""
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        body: object = {}
        with suppress(ValueError):
            body = json.loads(content or b"{}")
            if isinstance(body, dict):
                return ScriptedRequest(self.path, self.command, _lower(dict(self.headers)), body), None
        problem = "We could not parse the JSON body of your request."
        return ScriptedRequest(self.path, self.command, _lower(dict(self.headers)), {}), problem

    def _send_body(self, transmission: _Transmission) -> None:
        cut = transmission.cut_after is not None
        body = transmission.body[: len(transmission.body) // 2] if cut else transmission.body
        self.wfile.write(self._head(transmission, {}) + body)
        self.close_connection = self.close_connection or cut

    def _send_events(self, transmission: _Transmission, events: tuple[_Event, ...]) -> None:
        chunks = 0
        self.wfile.write(self._head(transmission, {"transfer-encoding": "chunked"}))
        for event in events:
            if event.is_chunk and chunks == transmission.cut_after:
                break
            if event.is_chunk and chunks:
                self._wait(transmission.pause)
            chunks += event.is_chunk
            self._send_chunk(event.frame())
        # Without the empty chunk that ends a stream, the client can tell that it was cut off.
        if transmission.cut_after is None and not self.server.closing.is_set():
            self._send_chunk(b"")
        else:
            self.close_connection = True

    def _send_chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))

    def _head(self, transmission: _Transmission, framing: Mapping[str, str]) -> bytes:
        lines = [f"HTTP/1.1 {transmission.status} {_phrase(transmission.status)}"]
        lines += [f"{name}: {value}" for name, value in {**transmission.headers, **framing}.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _wait(self, seconds: float) -> None:
        """Sleep, but no longer than the server lives."""
        if seconds:
            self.server.closing.wait(seconds)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature is given.
        """Nothing: a test reads `requests` instead."""


@pytest.fixture
def scripted_model() -> Iterator[Callable[..., ScriptedModel]]:
    """A function that starts a `ScriptedModel` with its arguments; every one is closed when the test ends.

    def test_answer(scripted_model):
        model = scripted_model(Says("It has shipped."))
    """
    with ExitStack() as stack:

        def start(*script: Reply | Callable[[ScriptedRequest], Reply], **options: Any) -> ScriptedModel:
            return stack.enter_context(ScriptedModel(*script, **options))

        yield start


# --- Tiny projects ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CommandRun:
    """What a finished command left behind."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        """The lines of `stdout`."""
        return self.stdout.splitlines()


_RULE = re.compile(r"([=_-])\1* (?P<title>.*\S) \1+")
_RULE_RANKS = "-_="
_SUMMARY = re.compile(r"(?:=+ )?(?P<counts>\S.*) in \d+\.\d+s\b.*")
_COUNT = re.compile(r"(\d+) (\w+)(?=,|$)")
_PLURALS = {"error": "errors", "warning": "warnings"}


@dataclass(frozen=True)
class PytestRun(CommandRun):
    """What a finished pytest left behind."""

    @property
    def outcomes(self) -> dict[str, int]:
        """The counts of pytest's last summary line, such as `{"passed": 2, "errors": 1}`; empty without any.

        The nouns are pytest's own, with `errors` and `warnings` always in the plural.
        """
        for line in reversed(self.lines):
            if summary := _SUMMARY.fullmatch(line):
                counts = _COUNT.findall(summary["counts"])
                return {_PLURALS.get(noun, noun): int(count) for count, noun in counts}
        return {}

    def section(self, title: str) -> str:
        """The text below the rule `--- title ---` (or `=== title ===`, `___ title ___`) of the report.

        It ends at the next rule of the same or of a higher kind, where `=` is above `_` and `_` above `-`. The first
        section counts when several have the title; `LookupError` names the titles there are when none has it.
        """
        lines = self.lines
        titles: list[str] = []
        for number, line in enumerate(lines):
            if rule := _RULE.fullmatch(line):
                titles.append(rule["title"])
                if rule["title"] == title:
                    return "\n".join(_until_rule(lines[number + 1 :], line[0]))
        raise LookupError(f"no section {title!r} in the report; it has {', '.join(map(repr, titles)) or 'none at all'}")


def _until_rule(lines: list[str], kind: str) -> Iterator[str]:
    ends = _RULE_RANKS[_RULE_RANKS.index(kind) :]
    for line in lines:
        # Three signs at least: a shorter row may be text, such as an item of a list.
        if _RULE.fullmatch(line) and line[0] in ends and line.startswith(line[0] * 3):
            return
        yield line


_DROPPED = re.compile(r"(OPENAI|AGENTOPS|PYTEST)_.*|CI|BUILD_NUMBER|PY_COLORS")
"""What would make pytest or an agent in a tiny project depend on where its test happens to run."""

_FIXED = {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", "COLUMNS": "120"}


@dataclass(frozen=True)
class TinyProject:
    """A directory with a `pyproject.toml` of its own, in which pytest and other commands really run."""

    path: Path
    plugins: tuple[str, ...] | None = None
    """The plugins that pytest loads beside its own, by the names that `-p` takes; None loads whatever is installed.

    A run that loads only what it needs starts in a fraction of the time.
    """

    def __post_init__(self) -> None:
        if not (self.path / "pyproject.toml").exists():
            # Pytest takes the directory for its rootdir because of this table, even an empty one.
            self.write("pyproject.toml", "[tool.pytest.ini_options]\n")

    def write(self, relative_path: str, text: str) -> Path:
        """The path of a file that now holds `text`, without its common indentation and its first line if empty."""
        path = self.path / relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).removeprefix("\n"), encoding="utf-8")
        return path

    def run(self, *pytest_args: str, env: Mapping[str, str | None] | None = None, timeout: float = 120) -> PytestRun:
        """What pytest did in a process of its own; raises `subprocess.TimeoutExpired` after `timeout` seconds.

        The environment is the present one without `CI` and without what starts with `OPENAI_`, `AGENTOPS_` or
        `PYTEST_`. `env` adds variables, or removes those that it sets to None.
        """
        alone = {} if self.plugins is None else {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        loaded = [part for name in self.plugins or () for part in ("-p", name)]
        done = self._finished(
            [sys.executable, "-m", "pytest", *loaded, *pytest_args], {**alone, **(env or {})}, timeout
        )
        return PytestRun(done.returncode, done.stdout, done.stderr)

    def command(self, *args: str, env: Mapping[str, str | None] | None = None, timeout: float = 120) -> CommandRun:
        """What any command did, run in the same way as pytest."""
        done = self._finished(list(args), env, timeout)
        return CommandRun(done.returncode, done.stdout, done.stderr)

    def _finished(
        self, args: list[str], env: Mapping[str, str | None] | None, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            args,
            cwd=self.path,
            env=_environment(env or {}),
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not _DROPPED.fullmatch(name)}
    wanted: dict[str, str | None] = {**inherited, **_FIXED, **changes}
    return {name: value for name, value in wanted.items() if value is not None}


@pytest.fixture
def tiny_project(tmp_path: Path) -> TinyProject:
    """An empty `TinyProject` in the test's temporary directory."""
    return TinyProject(tmp_path)
