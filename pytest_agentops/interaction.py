"""One exchange as an interaction of a cassette: the mapping that vcrpy writes, read whoever wrote it.

What we add stands under `agentops:` beside `request` and `response`, where stock vcrpy does not look.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from pytest_agentops.exchange import (
    Exchange,
    Failure,
    Headers,
    Request,
    Response,
    Timing,
    header,
    parse_json,
    without_content_encoding,
)
from pytest_agentops.frames import CONTENT_TYPE

SIDECAR = 64 * 1024
"""Bodies that are no text stand in the cassette up to this many bytes; larger ones in a file of their own."""

# --- reading ---------------------------------------------------------------------------------------------------------


def exchange_of(index: int, entry: Mapping[str, Any], fetch: Callable[[str], bytes] | None = None) -> Exchange:
    """The exchange that this interaction is; `fetch` gives the bytes of a body that has a file of its own.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it has not the form that vcrpy writes.
    """
    added = mapping(entry.get("agentops"))
    asked, answered = entry["request"], entry["response"]
    timing, beside = mapping(added.get("timing")), mapping(added.get("bodies"))
    request = Request(
        str(asked["method"]),
        str(asked["uri"]),
        _headers(asked.get("headers")),
        fetch(beside["request"]) if fetch and "request" in beside else _body(asked),
    )
    failure = Failure(**added["failure"]) if added.get("failure") else None
    response = None
    if not (failure and added.get("response") is False):
        status = mapping(answered.get("status"))
        response = Response(
            int(answered.get("status_code") or status["code"]),
            str(status.get("message") or ""),
            _headers(answered.get("headers")),
            fetch(beside["response"]) if fetch and "response" in beside else _body(answered),
            complete=bool(added.get("complete", True)),
        )
        response = without_content_encoding(response)
    return Exchange(
        number=int(added.get("sequence", index)),
        request=request,
        response=response,
        failure=failure,
        timing=_timing(timing) if timing else None,
        prompts=tuple(added.get("prompts", ())),
        judge=bool(added.get("judge", False)),
        span=int(added["span"]) if "span" in added else None,
    )


def _timing(stored: Mapping[str, Any]) -> Timing:
    if "events" not in stored:
        return Timing(**stored)
    return Timing(**{**stored, "events": tuple(float(moment) for moment in str(stored.get("events", "")).split())})


def _headers(stored: object) -> Headers:
    if not isinstance(stored, Mapping):
        return ()
    found = []
    for name, values in stored.items():
        for value in values if isinstance(values, list | tuple) else (values,):
            found.append((str(name).lower(), value.decode("latin-1") if isinstance(value, bytes) else str(value)))
    return tuple(found)


def _body(message: Mapping[str, Any]) -> bytes:
    """The body, however the tool that wrote it keeps bodies."""
    if "parsed_body" in message:
        parsed = message["parsed_body"]
        return parsed.encode() if isinstance(parsed, str) else json.dumps(parsed, ensure_ascii=False).encode()
    body = message.get("body", message.get("content"))
    if isinstance(body, Mapping):
        body = body.get("string")
    if body is None:
        return b""
    if hasattr(body, "read"):
        body = body.read()
    elif not isinstance(body, str | bytes):
        body = b"".join(part if isinstance(part, bytes) else str(part).encode() for part in body)
    return body.encode() if isinstance(body, str) else bytes(body)


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


# --- writing ---------------------------------------------------------------------------------------------------------


def entry_of(exchange: Exchange, keep: Callable[[bytes], str] | None = None) -> dict[str, Any]:
    """The exchange as a mapping of plain data; `keep` takes a large binary body and gives the name it got.

    Without `keep` every body stands in the mapping itself.
    """
    request, response = exchange.request, exchange.response
    added: dict[str, Any] = {"sequence": exchange.number}
    if exchange.timing is not None:
        timing = {key: value for key, value in asdict(exchange.timing).items() if value not in (None, ())}
        if exchange.timing.events:
            timing["events"] = " ".join(f"{moment:.3f}" for moment in exchange.timing.events)
        added["timing"] = timing
    if exchange.prompts:
        added["prompts"] = list(exchange.prompts)
    if exchange.judge:
        added["judge"] = True
    if exchange.span is not None:
        added["span"] = exchange.span
    if exchange.failure is not None:
        added["failure"] = asdict(exchange.failure)
    if response is None:
        added["response"] = False
        # Stock vcrpy needs a response to read the file at all; this one says what happened.
        response = Response(599, f"{exchange.failure and exchange.failure.kind}")
    elif not response.complete:
        added["complete"] = False
    bodies = {
        "request": readable(request.body, request.headers) if request.body else None,
        "response": readable(response.body, response.headers),
    }
    for side, body in bodies.items():
        if keep is not None and isinstance(body, bytes) and len(body) > SIDECAR:
            added.setdefault("bodies", {})[side] = keep(body)
            bodies[side] = ""
    return {
        "agentops": added,
        "request": {
            "method": request.method,
            "uri": request.url,
            "headers": stored_headers(request.headers),
            "body": bodies["request"],
        },
        "response": {
            "status": {"code": response.status, "message": response.reason},
            "headers": stored_headers(response.headers),
            "body": {"string": bodies["response"]},
        },
    }


def stored_headers(headers: Headers) -> dict[str, list[str]]:
    """Headers as vcrpy keeps them: a list of values for each name."""
    stored: dict[str, list[str]] = defaultdict(list)
    for name, value in headers:
        stored[name].append(value)
    return dict(stored)


def readable(body: bytes, headers: Headers) -> str | bytes:
    """The body as a person wants to read it: JSON indented, events line by line; bytes where it is no text."""
    kind = header(headers, "content-type") or ""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return body
    if kind.startswith("text/event-stream"):
        return _readable_events(text)
    if kind.startswith(CONTENT_TYPE):
        return _readable_lines(text)
    if "json" in kind or text[:1] in ("{", "["):
        value = _exact_json(text)
        if value is not None:
            return _escaped(json.dumps(value, ensure_ascii=False, indent=2))
    return text if _survives_yaml(text) else body


def _exact_json(text: str) -> Any:
    """The value, where writing it anew loses nothing: no name given twice, no number beyond a float's reach."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) != len({name for name, _ in pairs}):
            raise ValueError("a name is given twice")
        return dict(pairs)

    def exact(digits: str) -> float:
        number = float(digits)
        # A short one with a small exponent always comes back as it was; the others are compared.
        if (len(digits) > 15 or "e" in digits.lower()) and Decimal(digits) != Decimal(repr(number)):
            raise ValueError("a number that a float cannot hold")
        return number

    try:
        return json.loads(text, object_pairs_hook=once, parse_float=exact)
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _readable_lines(text: str) -> str | bytes:
    lines = text.split("\n")
    found = "\n".join(_escaped(line) if parse_json(line) is not None else line for line in lines)
    return found if _survives_yaml(found) else text.encode()


def _readable_events(text: str) -> str | bytes:
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        field, colon, value = line.partition(":")
        if field == "data" and _LEAVES_BLOCK_STYLE.search(value) and parse_json(value) is not None:
            value = _escaped(value)
        lines.append(f"{field}{colon}{value}")
    found = "\n".join(lines)
    return found if _survives_yaml(found) else text.encode()


_LEAVES_BLOCK_STYLE = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
"""Characters for which libyaml gives up literal blocks; inside JSON each has an escape that means the same."""


def _escaped(text: str) -> str:
    """JSON in which every character that YAML cannot show plainly is written as its escape."""

    def escape(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))

    return _LEAVES_BLOCK_STYLE.sub(escape, text)


def _survives_yaml(text: str) -> bool:
    """Whether YAML gives this text back as it was: it turns other line ends into its own."""
    return not re.search("[\r\x85\u2028\u2029\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]", text)
