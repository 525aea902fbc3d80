"""The file of a cassette: vcrpy's YAML, read whoever wrote it and written so that a person can read it.

What we add stands under `agentops:`, at the top and beside each interaction, where stock vcrpy does not look; so its
files replay here and ours replay there.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import yaml
from vcr.serializers import yamlserializer

from pytest_agentops.assembly import trace_of
from pytest_agentops.errors import CassetteMissing, CassetteUnreadable
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
from pytest_agentops.trace import Render, Trace

FORMAT = 1
"""The version of what stands under `agentops:`."""

Outcome = Literal["passed", "failed"]


@dataclass(frozen=True)
class Tape:
    """What a cassette holds."""

    exchanges: tuple[Exchange, ...] = ()
    outcome: Outcome | None = None
    """How the run ended that recorded it; None when another tool wrote the file."""
    prompts: tuple[Render, ...] = ()
    recorded: datetime | None = None
    teardown: int | None = None
    """The number of the first exchange that happened while fixtures were torn down."""

    def trace(self) -> Trace:
        """The trace of the run that was recorded."""
        return trace_of(self.exchanges, source="imported", prompts=self.prompts, recorded=self.recorded)


def load(path: Path) -> Tape:
    """What is in this file.

    Raises:
        CassetteMissing: there is no such file.
        CassetteUnreadable: it is not a cassette, or a damaged one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CassetteMissing(f"there is no cassette {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CassetteUnreadable(f"{path} cannot be read: {error}") from error
    try:
        return loads(text)
    except CassetteUnreadable as error:
        raise CassetteUnreadable(f"{path}: {error}") from error.__cause__


def loads(text: str) -> Tape:
    """What is in the text of a cassette.

    Raises:
        CassetteUnreadable: it is not a cassette, or a damaged one.
    """
    if re.search(r"^(<{7} |>{7} )", text, re.MULTILINE):
        raise CassetteUnreadable("it holds the markers of an unresolved merge")
    try:
        data = yamlserializer.deserialize(text)
    except (yaml.YAMLError, ImportError, RecursionError) as error:
        raise CassetteUnreadable(f"it is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, Mapping) or not isinstance(data.get("interactions"), list):
        raise CassetteUnreadable("it is not a cassette: it has no list of interactions")
    added = _mapping(data.get("agentops"))
    if added.get("format", FORMAT) != FORMAT:
        raise CassetteUnreadable(
            f"it has format {added['format']!r}, and this version of pytest-agentops reads {FORMAT}; upgrade it"
        )
    count = added.get("exchanges")
    if isinstance(count, int) and count != len(data["interactions"]):
        raise CassetteUnreadable(f"it is cut: it announces {count} exchanges and holds {len(data['interactions'])}")
    try:
        return Tape(
            exchanges=tuple(_exchange(index, entry) for index, entry in enumerate(data["interactions"], 1)),
            outcome=added.get("outcome"),
            prompts=tuple(Render(**render) for render in added.get("prompts", ())),
            recorded=_date(added.get("recorded")),
            teardown=added.get("teardown"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CassetteUnreadable(f"an interaction has not the form that vcrpy writes: {error!r}") from error


def dumps(tape: Tape) -> str:
    """The text of a cassette that holds this tape."""
    models = {call.model: None for call in tape.trace().model_calls if call.model}
    added = {
        "format": FORMAT,
        "recorder": f"pytest-agentops {version('pytest-agentops')}",
        "recorded": tape.recorded.isoformat() if tape.recorded else None,
        "outcome": tape.outcome,
        "exchanges": len(tape.exchanges),
        "models": list(models) or None,
        "prompts": [asdict(render) for render in tape.prompts] or None,
        "teardown": tape.teardown,
    }
    data = {
        "version": 1,
        "agentops": {key: value for key, value in added.items() if value is not None},
        "interactions": [_entry(exchange) for exchange in tape.exchanges],
    }
    dumped: str = yaml.dump(data, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)
    return dumped


def save(tape: Tape, path: Path) -> None:
    """Write the cassette of this tape; the file is replaced whole or not at all."""
    text = dumps(tape)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:50]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


# --- reading an interaction ------------------------------------------------------------------------------------------


def _exchange(index: int, entry: Mapping[str, Any]) -> Exchange:
    added = _mapping(entry.get("agentops"))
    asked, answered = entry["request"], entry["response"]
    timing = _mapping(added.get("timing"))
    request = Request(str(asked["method"]), str(asked["uri"]), _headers(asked.get("headers")), _body(asked))
    failure = Failure(**added["failure"]) if added.get("failure") else None
    response = None
    if not (failure and added.get("response") is False):
        status = _mapping(answered.get("status"))
        response = without_content_encoding(
            Response(
                int(answered.get("status_code") or status["code"]),
                str(status.get("message") or ""),
                _headers(answered.get("headers")),
                _body(answered),
                complete=bool(added.get("complete", True)),
            )
        )
    return Exchange(
        number=int(added.get("sequence", index)),
        request=request,
        response=response,
        failure=failure,
        timing=Timing(**timing) if timing else None,
        prompts=tuple(added.get("prompts", ())),
    )


def _headers(stored: object) -> Headers:
    found = []
    for name, values in _mapping(stored).items():
        for value in values if isinstance(values, list | tuple) else [values]:
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


def _date(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


# --- writing an interaction ------------------------------------------------------------------------------------------


class _Dumper(yaml.CSafeDumper if hasattr(yaml, "CSafeDumper") else yaml.SafeDumper):  # type: ignore[misc]
    """Writes texts of several lines as literal blocks."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text_node(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text_node)

_LEAVES_BLOCK_STYLE = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
"""Characters for which libyaml gives up literal blocks; inside JSON each has an escape that means the same."""


def _entry(exchange: Exchange) -> dict[str, Any]:
    request, response = exchange.request, exchange.response
    added: dict[str, Any] = {"sequence": exchange.number}
    if exchange.timing is not None:
        added["timing"] = {key: value for key, value in asdict(exchange.timing).items() if value is not None}
    if exchange.prompts:
        added["prompts"] = list(exchange.prompts)
    if exchange.failure is not None:
        added["failure"] = asdict(exchange.failure)
    if response is None:
        added["response"] = False
        # Stock vcrpy needs a response to read the file at all; this one says what happened.
        response = Response(599, f"{exchange.failure and exchange.failure.kind}")
    elif not response.complete:
        added["complete"] = False
    return {
        "agentops": added,
        "request": {
            "method": request.method,
            "uri": request.url,
            "headers": stored_headers(request.headers),
            "body": _readable(request.body, request.headers) if request.body else None,
        },
        "response": {
            "status": {"code": response.status, "message": response.reason},
            "headers": stored_headers(response.headers),
            "body": {"string": _readable(response.body, response.headers)},
        },
    }


def stored_headers(headers: Headers) -> dict[str, list[str]]:
    """Headers as vcrpy keeps them: a list of values for each name."""
    stored: dict[str, list[str]] = defaultdict(list)
    for name, value in headers:
        stored[name].append(value)
    return dict(stored)


def _readable(body: bytes, headers: Headers) -> str | bytes:
    """The body as a person wants to read it: JSON indented, events line by line; bytes where it is no text."""
    kind = header(headers, "content-type") or ""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return body
    if kind.startswith("text/event-stream"):
        return _readable_events(text)
    if "json" in kind or text[:1] in ("{", "["):
        value = _exact_json(text)
        if value is not None:
            return _escaped(json.dumps(value, ensure_ascii=False, indent=2))
    return text if _survives_yaml(text) else body


def _exact_json(text: str) -> Any:
    """The value, where writing it anew loses nothing; a body with a name given twice stays as it came."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) != len({name for name, _ in pairs}):
            raise ValueError("a name is given twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return None


def _readable_events(text: str) -> str | bytes:
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        field, colon, value = line.partition(":")
        if field == "data" and _LEAVES_BLOCK_STYLE.search(value) and parse_json(value) is not None:
            value = _escaped(value)
        lines.append(f"{field}{colon}{value}")
    readable = "\n".join(lines)
    return readable if _survives_yaml(readable) else text.encode()


def _escaped(text: str) -> str:
    """JSON in which every character that YAML cannot show plainly is written as its escape."""

    def escape(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))

    return _LEAVES_BLOCK_STYLE.sub(escape, text)


def _survives_yaml(text: str) -> bool:
    """Whether YAML gives this text back as it was: it turns other line ends into its own."""
    return not re.search("[\r\x85\u2028\u2029\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]", text)
