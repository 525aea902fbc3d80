"""Compressed answers, through real clients over loopback: kept as they are meant, replayed as they were read."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import brotli
import httpx2
import pytest
import requests

try:
    from compression import zstd
except ImportError:
    from backports import zstd

from pytest_agentops.cassette import Session
from pytest_agentops.tape import load

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "gzip, br": lambda body: brotli.compress(gzip.compress(body)),
}
ANSWER = json.dumps({"text": "A word, and a word again. " * 40, "sign": "✓"}, ensure_ascii=False).encode()


@contextmanager
def server(coding: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = CODINGS[coding](ANSWER)
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-encoding", coding)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=one.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{one.server_port}/answer"
    finally:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("get", [httpx2.get, requests.get], ids=["httpx2", "requests"])
def test_a_compressed_answer_is_kept_readable_and_replayed(
    coding: str, get: Callable[[str], Any], tmp_path: Path
) -> None:
    path = tmp_path / "cassette.yaml"
    with server(coding) as url:
        session = Session(path, mode="once", name="test")
        with session.open():
            live = get(url).json()
        session.close("passed")
    with Session(path, mode="none", name="test").open():
        replayed = get(url).json()

    [exchange] = load(path).exchanges
    assert exchange.response is not None
    assert live == replayed == exchange.response.json == json.loads(ANSWER)
    assert "A word, and a word again." in path.read_text()
