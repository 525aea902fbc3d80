"""requests."""

from __future__ import annotations

import requests

from pytest_agentops.doctor import Heard, Shape
from pytest_agentops.doctor.shapes import CHAT, PATH, STREAMED, completion, events


def plain(url: str) -> Heard:
    """One answer."""
    return completion(requests.post(f"{url}{PATH}", json=CHAT, timeout=10).content)


def streamed(url: str) -> Heard:
    """A session, and an answer line by line."""
    with requests.Session() as session, session.post(f"{url}{PATH}", json=STREAMED, timeout=10, stream=True) as answer:
        return events(answer.iter_lines())


SHAPES = (Shape("plain", plain), Shape("streamed", streamed))
