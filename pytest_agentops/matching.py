"""When two recorded requests are the same, and how much two different ones have in common."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl

from pytest_agentops.exchange import Exchange, Request, header, parse_json


def request_key(request: Request, ignore: Sequence[str] = ()) -> bytes:
    """What makes two requests the same: method, scheme, host, path, query and canonical body.

    The port does not count on loopback. JSON bodies compare by value, whatever the order of their names; `ignore`
    leaves JSON paths out of them. The random boundary of a multipart body does not count.
    """
    location = request.location
    host = location.hostname or ""
    port = None if is_loopback(host) else location.port
    query = sorted(parse_qsl(location.query, keep_blank_values=True))
    digest = hashlib.blake2b(digest_size=16)
    where = (request.method.upper(), location.scheme, host, port, location.path or "/", query)
    digest.update(repr(where).encode())
    digest.update(_canonical(request, ignore))
    return digest.digest()


def _canonical(request: Request, ignore: Sequence[str]) -> bytes:
    if not request.body:
        return b""
    value = parse_json(request.body)
    if value is not None:
        return json.dumps(_without(value, ignore), sort_keys=True, separators=(",", ":")).encode()
    boundary = re.search(r'boundary="?([^";,]+)', header(request.headers, "content-type") or "")
    return request.body.replace(boundary[1].encode(), b"boundary") if boundary else request.body


def _without(value: Any, ignore: Sequence[str]) -> Any:
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


def is_loopback(host: str) -> bool:
    """Whether this host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


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
