"""The frames of a WebSocket: what each side said, in order, as lines of JSON in the body of one exchange."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

CONTENT_TYPE = "application/jsonl"
"""What the body of a recorded WebSocket says it is; on the wire the answer to a handshake has no body."""

Sender = Literal["client", "server"]


@dataclass(frozen=True)
class Frame:
    """One message of a WebSocket, whole however it was fragmented; or that one side closed it."""

    sender: Sender
    kind: Literal["text", "binary", "close"]
    data: bytes = b""
    """What was said; for `close` the reason, in UTF-8."""
    code: int | None = None
    """For `close` the status code; None where none was given."""

    @property
    def json(self) -> Any:
        """The data as JSON, or None when it is not JSON."""
        return _parsed(self.data)

    def line(self) -> bytes:
        """The frame as one line of a recorded body; JSON stands in it as JSON, so that it can be read and redacted."""
        said: dict[str, Any] = {"from": self.sender}
        if self.kind == "binary":
            said["binary"] = True
        text = _decoded(self.data)
        if self.kind == "close":
            said["close"] = self.code
            if text:
                said["reason"] = text
        elif text is None:
            said["base64"] = base64.b64encode(self.data).decode()
        elif (value := _exact(text)) is not None:
            said["json"] = value
        else:
            said["text"] = text
        return json.dumps(said, ensure_ascii=False).encode() + b"\n"


def frames_of(body: bytes) -> tuple[Frame, ...]:
    """The frames in the body of a recorded WebSocket; a line that is no frame, such as one cut off, is left out."""
    return tuple(frame for line in body.split(b"\n") if (frame := _frame(_parsed(line))) is not None)


def messages(body: bytes) -> Iterator[tuple[int, Sender, Mapping[str, Any]]]:
    """What was said in JSON objects: the index of the frame, who said it and the object."""
    for index, frame in enumerate(frames_of(body)):
        value = frame.json if frame.kind != "close" else None
        if isinstance(value, Mapping):
            yield index, frame.sender, value


def _frame(said: object) -> Frame | None:
    if not isinstance(said, Mapping) or said.get("from") not in ("client", "server"):
        return None
    sender: Sender = said["from"]
    if "close" in said:
        code = said["close"]
        return Frame(sender, "close", str(said.get("reason", "")).encode(), code if isinstance(code, int) else None)
    kind: Literal["text", "binary"] = "binary" if said.get("binary") else "text"
    if "json" in said:
        return Frame(sender, kind, json.dumps(said["json"], ensure_ascii=False).encode("utf-8", "replace"))
    if "base64" in said:
        text = str(said["base64"])
        try:
            return Frame(sender, kind, base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):  # A secret was taken out of it.
            return Frame(sender, kind, text.encode())
    return Frame(sender, kind, str(said.get("text", "")).encode("utf-8", "replace"))


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _exact(text: str) -> object:
    """The object or list that this text is, where writing it anew loses nothing: no name given twice, no digit."""
    value = _parsed(text.encode())
    if not isinstance(value, dict | list):
        return None
    try:
        again = json.dumps(value, ensure_ascii=False).encode().decode()
    except UnicodeEncodeError:  # Half of a surrogate pair.
        return None
    return value if _spelled(text) == _spelled(again) else None


def _spelled(text: str) -> object:
    return json.loads(text, object_pairs_hook=tuple, parse_int=str, parse_float=str, parse_constant=str)
