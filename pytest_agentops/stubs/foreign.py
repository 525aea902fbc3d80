"""gRPC and libcurl: clients that open their own sockets, which can be neither recorded nor replayed.

A call through one of them is told to the recording, which refuses it where nothing may go live, and notes it where it
may. What is watched is the call itself, so that it does not matter when its channel or handle was made.
"""

from __future__ import annotations

import functools
import re
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pytest_agentops.stubs import Stubs, Wrap
from pytest_agentops.transports import Owner

GRPC = 'let the client speak REST (transport="rest" in Google\'s clients), or ask through httpx'
LIBCURL = "ask through httpx, aiohttp or requests"

_CALLS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "grpc._channel": {
        "_UnaryUnaryMultiCallable": ("__call__", "with_call", "future"),
        "_StreamUnaryMultiCallable": ("__call__", "with_call", "future"),
        "_UnaryStreamMultiCallable": ("__call__",),
        "_SingleThreadedUnaryStreamMultiCallable": ("__call__",),
        "_StreamStreamMultiCallable": ("__call__",),
    },
    "grpc.aio._channel": {
        "UnaryUnaryMultiCallable": ("__call__",),
        "StreamUnaryMultiCallable": ("__call__",),
        "UnaryStreamMultiCallable": ("__call__",),
        "StreamStreamMultiCallable": ("__call__",),
    },
}
"""The objects of grpcio that make a call each, and how each is asked to."""


def stubs(owner: Owner) -> Stubs:
    """Let calls be told to the recordings that `owner` names."""
    return _Foreign(owner)


class _Foreign:
    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._urls: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        """Where handles of libcurl are to go, which they do not tell before they have been there."""

    def seams(self, module: str) -> Iterator[tuple[str, str, Wrap]]:
        if module == "pycurl":
            yield "", "Curl", self._pycurl
        elif module == "curl_cffi.curl":
            yield "Curl", "setopt", functools.partial(self._noting, sys.modules[module].CurlOpt.URL)
            yield "Curl", "perform", self._performing
        elif module == "curl_cffi.aio":
            yield "AsyncCurl", "add_handle", self._adding
        for holder, methods in _CALLS.get(module, {}).items():
            known = vars(getattr(sys.modules[module], holder, object))
            yield from ((holder, method, self._calling) for method in methods if method in known)

    def let_go(self) -> None:
        """Nothing is left of it once the methods are put back."""

    def _tell(self, client: str, target: str, instead: str) -> None:
        recording = self._owner()
        if recording is not None:
            recording.meet(client, target, instead)

    def _calling(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(callable_: Any, *args: Any, **kwargs: Any) -> Any:
            self._tell("grpc", _target(callable_), GRPC)
            return original(callable_, *args, **kwargs)

        return call

    def _noting(self, url: object, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def setopt(curl: Any, option: Any, value: Any) -> Any:
            if option == url:
                self._urls[curl] = _text(value)
            return original(curl, option, value)

        return setopt

    def _performing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def perform(curl: Any, *args: Any, **kwargs: Any) -> Any:
            self._tell("curl_cffi", _place(self._urls.get(curl, "")), LIBCURL)
            return original(curl, *args, **kwargs)

        return perform

    def _adding(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def add_handle(several: Any, curl: Any) -> Any:
            self._tell("curl_cffi", _place(self._urls.get(curl, "")), LIBCURL)
            return original(several, curl)

        return add_handle

    def _pycurl(self, original: Any) -> type:
        """A class in the place of one that is written in C and takes no other methods."""
        tell, address = self._tell, sys.modules["pycurl"].URL

        class Curl(original):  # type: ignore[misc]
            _url = ""

            def setopt(self, option: Any, *value: Any) -> Any:
                if option == address and value:
                    self._url = _text(value[0])
                return super().setopt(option, *value)

            def perform(self) -> Any:
                tell("pycurl", _place(self._url), LIBCURL)
                return super().perform()

            def perform_rb(self) -> Any:
                tell("pycurl", _place(self._url), LIBCURL)
                return super().perform_rb()

            def perform_rs(self) -> Any:
                tell("pycurl", _place(self._url), LIBCURL)
                return super().perform_rs()

        return Curl


def _target(callable_: Any) -> str:
    """The address of the channel that this calls through, without how its name is resolved."""
    target = getattr(callable_, "_target", None) or getattr(getattr(callable_, "_channel", None), "target", "")
    text = _text(target() if callable(target) else target)
    return re.sub(r"^(dns|ipv4|ipv6|passthrough|xds):(//[^/]*/)?", "", text) or "an address that it does not tell"


def _place(url: str) -> str:
    """The host and port of a URL, which may come without its scheme."""
    try:
        location = urlsplit(url if "://" in url else f"//{url}")
        port = location.port or (80 if location.scheme in ("", "http", "ws") else 443)
        host = location.hostname or ""
    except ValueError:
        return "an address that is none"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}" if host else "an address that it does not tell"


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
