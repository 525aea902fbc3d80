"""urllib3."""

from __future__ import annotations

import urllib3

from pytest_agentops.doctor import Heard, Shape
from pytest_agentops.doctor.shapes import CHAT, JSON, PATH, STREAMED, body, completion, events


def plain(url: str) -> Heard:
    """One answer."""
    with urllib3.PoolManager(timeout=10) as pool:
        return completion(pool.request("POST", f"{url}{PATH}", body=body(CHAT), headers=JSON).data)


def streamed(url: str) -> Heard:
    """An answer that is read in pieces."""
    with urllib3.PoolManager(timeout=10) as pool:
        answer = pool.request("POST", f"{url}{PATH}", body=body(STREAMED), headers=JSON, preload_content=False)
        heard = events(b"".join(answer.stream()).splitlines())
        answer.release_conn()
        return heard


SHAPES = (Shape("plain", plain), Shape("streamed", streamed))
