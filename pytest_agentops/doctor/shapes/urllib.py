"""urllib of the standard library."""

from __future__ import annotations

import urllib.request

from pytest_agentops.doctor import Heard, Shape
from pytest_agentops.doctor.shapes import CHAT, JSON, PATH, STREAMED, body, completion, events


def plain(url: str) -> Heard:
    """One answer."""
    asked = urllib.request.Request(f"{url}{PATH}", body(CHAT), JSON)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return completion(answer.read())


def streamed(url: str) -> Heard:
    """An answer line by line."""
    asked = urllib.request.Request(f"{url}{PATH}", body(STREAMED), JSON)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return events(answer)


SHAPES = (Shape("plain", plain), Shape("streamed", streamed))
