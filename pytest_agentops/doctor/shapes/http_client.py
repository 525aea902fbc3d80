"""http.client of the standard library."""

from __future__ import annotations

import http.client
from typing import Any
from urllib.parse import urlsplit

from pytest_agentops.doctor import Heard, Shape
from pytest_agentops.doctor.shapes import CHAT, JSON, PATH, STREAMED, body, completion, events


def plain(url: str) -> Heard:
    """One answer."""
    connection, answer = _asked(url, CHAT)
    with answer:
        heard = completion(answer.read())
    connection.close()
    return heard


def streamed(url: str) -> Heard:
    """An answer line by line."""
    connection, answer = _asked(url, STREAMED)
    with answer:
        heard = events(answer)
    connection.close()
    return heard


def _asked(url: str, asked: dict[str, Any]) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request("POST", PATH, body(asked), JSON)
    return connection, connection.getresponse()


SHAPES = (Shape("plain", plain), Shape("streamed", streamed))
