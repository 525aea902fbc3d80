"""Gemini: `POST .../models/MODEL:generateContent` and `:streamGenerateContent`, of Google AI Studio and of Vertex AI.

Source of the format: Google's API reference, "Generating content" and "Function calling".
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_agentops.exchange import Exchange, Request, ServerEvent
from pytest_agentops.trace import CallError, Message, ModelCall, ResponseText, ToolCall, Usage
from pytest_agentops.wire import (
    answer_of,
    count,
    error_from,
    items,
    mapping,
    optional_text,
    provider_of,
    reported,
    tool_call,
)

_MODEL = re.compile(r"/models/([^/:]+):(?:generateContent|streamGenerateContent)$")
_FINISHED = {"STOP": "stop", "MAX_TOKENS": "length"}
"""Why an answer ended, in the words of chat completions; every other reason is one for which it was withheld."""


def reads(request: Request) -> bool:
    """Whether this generates content."""
    return request.method == "POST" and _MODEL.search(request.location.path) is not None


def decode(exchange: Exchange) -> ModelCall:
    """The model call of a generation."""
    asked = mapping(exchange.request.json)
    answer, error = _answer(exchange)
    named = _MODEL.search(exchange.request.location.path)
    candidates = [mapping(each) for each in items(answer.get("candidates"))] or [{}]
    candidate = min(candidates, key=lambda each: count(each.get("index")))
    parts = _parts(candidate.get("content"))
    known = Counter[str]()
    messages = tuple(_messages(asked, known))
    calls = tuple(_tool_calls(parts, known))
    blocked = optional_text(_get(mapping(_get(answer, "promptFeedback")), "blockReason"))
    said = "".join(_texts(parts))
    return ModelCall(
        id=str(_get(answer, "responseId") or f"call-{exchange.number}"),
        provider=provider_of(exchange.request),
        model=str(_get(answer, "modelVersion") or (named[1] if named else "")),
        messages=messages,
        tools=tuple(tool for tool in items(asked.get("tools")) if isinstance(tool, Mapping)),
        response=ResponseText(said),
        tool_calls=calls,
        usage=_usage(_get(answer, "usageMetadata")),
        reported_usage=reported(_get(answer, "usageMetadata")),
        finish_reason="content_filter" if blocked else _finish_reason(candidate, calls),
        error=error,
        refusal=f"the prompt was blocked: {blocked}" if blocked else None,
        alternatives=tuple(
            "".join(_texts(_parts(each.get("content")))) for each in candidates if each is not candidate
        ),
    )


def _get(value: Mapping[str, Any], name: str) -> Any:
    """A field, in either spelling that Google takes."""
    return value[name] if name in value else value.get(_snake(name))


@functools.cache
def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name)


def _answer(exchange: Exchange) -> tuple[Mapping[str, Any], CallError | None]:
    """The answer; a stream comes as events, or as one list of what they would have been."""
    chunks = exchange.response.json if exchange.response is not None else None
    if not isinstance(chunks, list) or exchange.response is None:
        return answer_of(exchange, _joined)
    if exchange.response.status >= 400:
        return {}, error_from(next(iter(chunks), None), "", exchange.response.status)
    return _sum(map(mapping, chunks)), None


def _finish_reason(candidate: Mapping[str, Any], calls: tuple[ToolCall, ...]) -> str | None:
    reason = optional_text(_get(candidate, "finishReason"))
    if reason is None:
        return None
    if reason == "STOP" and any(not call.by_provider for call in calls):
        return "tool_calls"
    return _FINISHED.get(reason, "content_filter" if reason.isupper() else reason)


def _parts(content: object) -> list[Mapping[str, Any]]:
    if isinstance(content, str):
        return [{"text": content}]
    return [mapping(part) for part in items(mapping(content).get("parts"))]


def _texts(parts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (str(part["text"]) for part in parts if part.get("text") and not part.get("thought"))


def _messages(asked: Mapping[str, Any], known: Counter[str]) -> Iterator[Message]:
    """The conversation; each result of a function as a message of its own.

    Calls and results carry no ids, as a rule: the second result of a function answers its second call. `known` counts
    the calls of each function so far.
    """
    system = _get(asked, "systemInstruction")
    if system:
        yield Message("system", _content(_parts(system)))
    answered = Counter[str]()
    contents = asked.get("contents")
    for sent in map(
        mapping, [{"role": "user", "parts": [{"text": contents}]}] if isinstance(contents, str) else items(contents)
    ):
        parts = _parts(sent)
        role = {"model": "assistant", "function": "tool"}.get(str(sent.get("role")), str(sent.get("role") or "user"))
        results = [mapping(_get(part, "functionResponse")) for part in parts if _get(part, "functionResponse")]
        for result in results:
            response = result.get("response")
            yield Message(
                "tool",
                response if response is not None else "",
                tool_call_id=_id(result, answered),
                failed=isinstance(response, Mapping) and set(response) == {"error"},
            )
        calls = tuple(_tool_calls(parts, known))
        rest = [part for part in parts if not _get(part, "functionResponse") and not _get(part, "functionCall")]
        if rest or calls or not results:
            yield Message(role, _content(rest), calls)


def _content(parts: list[Mapping[str, Any]]) -> Any:
    told = [part for part in parts if not part.get("thought")]
    if all(set(part) <= {"text", "thoughtSignature", "thought_signature"} for part in told):
        return "".join(_texts(told))
    return [dict(part) for part in parts]


def _id(call: Mapping[str, Any], counted: Counter[str]) -> str:
    """The id of a call or a result; where it carries none, its name and which one of that name it is."""
    name = str(call.get("name") or "")
    counted[name] += 1
    return optional_text(call.get("id")) or f"{name}#{counted[name]}"


def _tool_calls(parts: Iterable[Mapping[str, Any]], known: Counter[str]) -> Iterator[ToolCall]:
    parts = list(parts)
    for index, part in enumerate(parts):
        if call := mapping(_get(part, "functionCall")):
            yield tool_call(call.get("name"), call.get("args"), _id(call, known))
        elif code := mapping(_get(part, "executableCode")):
            later = (mapping(_get(each, "codeExecutionResult")) for each in parts[index + 1 :])
            result = next((each for each in later if each), None)
            fine = result is not None and result.get("outcome") in ("OUTCOME_OK", None)
            yield ToolCall(
                "code_execution",
                {"language": code.get("language"), "code": code.get("code")},
                result=result.get("output") if result else None,
                status="ok" if fine else "error" if result else "unanswered",
                by_provider=True,
            )


def _usage(figures: object) -> Usage | None:
    """What the model thought counts as output; what tools of the provider gave it to read, as input."""
    if not isinstance(figures, Mapping):
        return None
    prompt, by_tools, candidates, thoughts, cached = (
        count(_get(figures, f"{name}TokenCount"))
        for name in ("prompt", "toolUsePrompt", "candidates", "thoughts", "cachedContent")
    )
    return Usage(
        input_tokens=prompt + by_tools,
        output_tokens=candidates + thoughts,
        cached_input_tokens=cached,
        reasoning_tokens=thoughts,
        input_audio_tokens=_sound(figures, "prompt") + _sound(figures, "toolUsePrompt"),
        output_audio_tokens=_sound(figures, "candidates"),
        cached_audio_tokens=_sound(figures, "cache"),
    )


def _sound(figures: Mapping[str, Any], what: str) -> int:
    """The tokens of sound among these, of which Google tells each kind apart."""
    kinds = (mapping(each) for each in items(_get(figures, f"{what}TokensDetails")))
    return sum(count(_get(each, "tokenCount")) for each in kinds if each.get("modality") == "AUDIO")


def _joined(events: Iterable[ServerEvent]) -> dict[str, Any]:
    return _sum(mapping(event.json) for event in events)


def _sum(chunks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The answer that the chunks of a stream add up to."""
    joined: dict[str, Any] = {}
    parts: dict[int, list[Mapping[str, Any]]] = {0: []}
    finished: dict[int, object] = {}
    for chunk in chunks:
        joined |= {key: value for key, value in chunk.items() if key != "candidates" and value}
        for candidate in map(mapping, items(chunk.get("candidates"))):
            index = count(candidate.get("index"))
            parts.setdefault(index, []).extend(_parts(candidate.get("content")))
            finished[index] = _get(candidate, "finishReason") or finished.get(index)
    whole = [
        {"index": index, "content": {"parts": parts[index]}, "finishReason": finished.get(index)}
        for index in sorted(parts)
    ]
    return {**joined, "candidates": whole}
