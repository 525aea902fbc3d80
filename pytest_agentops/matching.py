"""When two recorded requests are the same, and how much two different ones have in common."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pytest_agentops.credentials import PLACEHOLDER
from pytest_agentops.exchange import Exchange, Request, header, is_loopback, parse_json
from pytest_agentops.rpc import comparable
from pytest_agentops.volatile import kinds_in, normalised


@dataclass(frozen=True)
class Key:
    """What makes two requests the same."""

    digest: bytes
    names: tuple[str, ...] = ()
    """The placeholders of secrets in it, each once, in the order they stand. Another run may number its secrets
    otherwise, so the numbers do not count, but which of them are the same does."""


def request_key(request: Request, ignore: Sequence[str] = ()) -> Key:
    """What makes two requests the same: method, scheme, host, path, query and canonical body.

    The port does not count on loopback. JSON bodies compare by value, whatever the order of their names; `ignore`
    leaves JSON paths out of them. The random boundary of a multipart body does not count, nor do the numbers and trace
    contexts of JSON-RPC.
    """
    content = repr(_target(request.method, request.url)).encode() + b"\0" + _canonical(request, ignore)
    names: dict[bytes, bytes] = {}
    if b"REDACTED" in content:
        content = PLACEHOLDER.sub(lambda found: names.setdefault(found[0], b"REDACTED:%d" % len(names)), content)
    return Key(hashlib.blake2b(content, digest_size=16).digest(), tuple(name.decode() for name in names))


class Renaming:
    """Which placeholder of this run stands for which of the recording: one for one, as far as is known."""

    def __init__(self) -> None:
        self._recorded: dict[str, str] = {}

    def copy(self) -> Renaming:
        """The same, to try what else may be."""
        copy = Renaming()
        copy._recorded = dict(self._recorded)
        return copy

    def fits(self, asked: Key, recorded: Key) -> bool:
        """Whether the secrets in two requests of one digest can be the same ones."""
        taken = set(self._recorded.values())
        return all(
            # Format 1 had one placeholder for all of them.
            theirs == "REDACTED" or self._recorded.get(ours, theirs if theirs not in taken else None) == theirs
            for ours, theirs in zip(asked.names, recorded.names, strict=True)
        )

    def learn(self, asked: Key, recorded: Key) -> None:
        """These two requests were found to be the same."""
        self._recorded |= dict(zip(asked.names, recorded.names, strict=True))

    def spelled(self, request: Request) -> Request:
        """The request with its placeholders as the recording numbers them."""
        if not self._recorded or (b"REDACTED" not in request.body and "REDACTED" not in request.url):
            return request

        def renamed(found: re.Match[bytes]) -> bytes:
            name = found[0].decode()
            return self._recorded.get(name, name).encode()

        url, body = (PLACEHOLDER.sub(renamed, text) for text in (request.url.encode(), request.body))
        return replace(request, url=url.decode(), body=body)


def _canonical(request: Request, ignore: Sequence[str]) -> bytes:
    if not request.body:
        return b""
    # What is left out is taken out in place, so that needs a value of its own.
    value = parse_json(request.body) if ignore else request.json
    if value is not None:
        return _JSON.encode(comparable(without(value, ignore))).encode()
    boundary = re.search(r'boundary="?([^";,]+)', header(request.headers, "content-type") or "")
    return request.body.replace(boundary[1].encode(), b"boundary") if boundary else request.body


_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def without(value: Any, ignore: Sequence[str]) -> Any:
    """The JSON value without what these paths name."""
    if not ignore:
        return value
    import jsonpath

    for path in ignore:
        # Later items first, so that taking one out of a list does not move the next.
        for found in reversed(list(jsonpath.finditer(path, value))):
            if found.parent is not None:
                parent: Any = found.parent.obj
                with suppress(KeyError, IndexError):
                    del parent[found.parts[-1]]
    return value


def nearest(request: Request, exchanges: Iterable[Exchange], played: Collection[int]) -> Exchange | None:
    """The exchange whose request differs least; among equals one that is still waiting, then the earliest."""

    def distance(exchange: Exchange) -> tuple[float, bool, int]:
        return (_distance(request, exchange.request), exchange.number in played, exchange.number)

    same_place = [
        exchange
        for exchange in exchanges
        if exchange.request.method == request.method and exchange.request.location.path == request.location.path
    ]
    return min(same_place or exchanges, key=distance, default=None)


def _distance(asked: Request, recorded: Request) -> float:
    points = float(asked.location.hostname != recorded.location.hostname) + float(asked.method != recorded.method)
    points += float(asked.location.path != recorded.location.path)
    if asked.body == recorded.body:
        return points
    return points + sum(_weight(change) for change in changes(recorded.json, asked.json))


def _weight(change: Change) -> float:
    if isinstance(change.recorded, str) and isinstance(change.asked, str):
        longest = 400  # Enough to tell which text is meant; comparing whole documents takes seconds.
        return 1.0 - difflib.SequenceMatcher(None, change.recorded[:longest], change.asked[:longest]).quick_ratio() / 2
    return 1.0


ABSENT = type("Absent", (), {"__repr__": lambda _: "nothing"})()
"""Stands for what one side does not have."""


@dataclass(frozen=True)
class Change:
    """One place where two JSON values differ."""

    pointer: str
    """A JSON pointer (RFC 6901); empty for the whole value."""
    recorded: Any
    asked: Any


def changes(recorded: Any, asked: Any, pointer: str = "") -> Iterator[Change]:
    """Where two JSON values differ, in the order of the recorded one."""
    if isinstance(recorded, Mapping) and isinstance(asked, Mapping):
        for name in [*recorded, *(name for name in asked if name not in recorded)]:
            part = str(name).replace("~", "~0").replace("/", "~1")
            yield from changes(recorded.get(name, ABSENT), asked.get(name, ABSENT), f"{pointer}/{part}")
    elif isinstance(recorded, list) and isinstance(asked, list):
        for index in range(max(len(recorded), len(asked))):
            left = recorded[index] if index < len(recorded) else ABSENT
            right = asked[index] if index < len(asked) else ABSENT
            yield from changes(left, right, f"{pointer}/{index}")
    elif recorded is not asked and (type(recorded), recorded) != (type(asked), asked):
        yield Change(pointer, recorded, asked)


# --- why two requests are not the same -------------------------------------------------------------------------------

CauseKind = Literal[
    "endpoint", "model", "prompt", "tools", "tool result", "earlier answer", "output schema", "arguments", "options",
    "body", "volatile value", "white space",
]  # fmt: skip
"""What may have changed; the first ones explain the later ones."""


@dataclass(frozen=True)
class Cause:
    """One reason why a request is not the recorded one."""

    kind: CauseKind
    changes: tuple[Change, ...] = ()
    detail: str = ""
    """For a prompt whose; for a volatile value what it is."""


def causes(recorded: Request, asked: Request, ignore: Sequence[str] = ()) -> tuple[Cause, ...]:
    """Why these two requests differ, the weightiest reason first; changed but volatile values come last."""
    found: dict[tuple[CauseKind, str], list[Change]] = {}
    if _target(recorded.method, recorded.url) != _target(asked.method, asked.url):
        found[_endpoint(recorded, asked)] = []
    was, now = (comparable(without(parse_json(request.body), ignore)) for request in (recorded, asked))
    for change in changes(was, now):
        found.setdefault(_reason(change, was, now), []).append(change)
    if was is None and now is None and recorded.body != asked.body:
        found["body", ""] = []
    order = CauseKind.__args__  # type: ignore[attr-defined]
    return tuple(
        Cause(kind, tuple(found[kind, detail]), detail)
        for kind, detail in sorted(found, key=lambda reason: order.index(reason[0]))
    )


@lru_cache(maxsize=256)
def _target(method: str, url: str) -> tuple[object, ...]:
    location = urlsplit(url)
    host = location.hostname or ""
    port = None if is_loopback(host) else location.port
    query = sorted(parse_qsl(location.query, keep_blank_values=True))
    return method.upper(), location.scheme, host, port, location.path or "/", query


def _endpoint(recorded: Request, asked: Request) -> tuple[CauseKind, str]:
    # Gemini and Bedrock name the model in the path: .../models/NAME:generateContent, /model/NAME/converse.
    models = [re.sub(r"(/models?/)[^/:]+", r"\1*", request.location.path) for request in (recorded, asked)]
    same_place = models[0] == models[1] and recorded.location.hostname == asked.location.hostname
    return ("model", "") if same_place and recorded.location.path != asked.location.path else ("endpoint", "")


_FIELDS: Mapping[str, CauseKind] = {
    "model": "model",
    "modelId": "model",
    "instructions": "prompt",
    "system": "prompt",
    "systemInstruction": "prompt",
    "system_instruction": "prompt",
    "prompt": "prompt",
    "tools": "tools",
    "tool_choice": "tools",
    "toolConfig": "tools",
    "functions": "tools",
    "function_call": "tools",
    "response_format": "output schema",
    "text": "output schema",
}
"""What the first name of a pointer says, in the formats of OpenAI, Anthropic, Gemini and Bedrock."""

_ENVELOPES = ("session", "response", "setup")
"""What the frames of realtime sessions put around their settings."""

_CONVERSATIONS = ("messages", "input", "contents")


def _reason(change: Change, recorded: Any, asked: Any) -> tuple[CauseKind, str]:
    if normalised(change.recorded) == normalised(change.asked):
        kinds = dict.fromkeys(kind for side in (change.recorded, change.asked) for kind in kinds_in(str(side)))
        return ("volatile value", ", ".join(kinds)) if kinds else ("white space", "")
    field, *rest = change.pointer.split("/")[1:] or [""]
    if field in _ENVELOPES and rest:
        field, *rest = rest
    if field == "item":
        item = next(
            (turn for turn in (_at(side, "item") for side in (recorded, asked)) if isinstance(turn, Mapping)), {}
        )
        result = str(item.get("type", "")).endswith("_output")
        return ("tool result", "") if result else ("prompt", str(item.get("role") or "user"))
    if field == "params" and rest[:1] == ["arguments"]:  # Of a tool that an MCP server is asked to run.
        return "arguments", ""
    if field in _CONVERSATIONS:
        return _said(field, rest, recorded, asked)
    return _FIELDS.get(field, "options" if field else "body"), ""


def _said(field: str, rest: Sequence[str], recorded: Any, asked: Any) -> tuple[CauseKind, str]:
    """Whose words in a conversation changed."""
    if not rest:
        return "prompt", "user"
    # What only one side has tells of itself; else it is the recorded one's turn.
    turns = [_at(_at(side, field), rest[0]) for side in (recorded, asked)]
    turn = next((turn for turn in turns if isinstance(turn, Mapping)), {})
    role, kind = str(turn.get("role", "")), str(turn.get("type", ""))
    part = _at(_at(turn, "content" if "content" in turn else "parts"), rest[2] if len(rest) > 2 else "0")
    part = part if isinstance(part, Mapping) else {}
    answers = {"tool_result", "functionResponse", "function_response", "toolResult"}
    if role in ("tool", "function") or kind.endswith("_output") or answers & {str(part.get("type", "")), *part}:
        return "tool result", ""
    if role in ("assistant", "model") or kind in ("function_call", "reasoning"):
        return "earlier answer", ""
    return "prompt", role or "user"


def _at(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name)
    return value[int(name)] if isinstance(value, list) and name.isdigit() and int(name) < len(value) else None
