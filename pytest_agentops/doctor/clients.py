"""Which clients and frameworks are examined, and which ways out of the process are known not to be seen."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_agentops.doctor import Shape


def is_installed(module: str) -> bool:
    """Whether this module could be imported; nothing but the packages around it is."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@dataclass(frozen=True)
class Client:
    """A client library, or a framework with the client that it is used with."""

    name: str
    needs: tuple[str, ...]
    """The modules without which there is nothing to examine."""
    room: str
    """The module that holds its shapes, in `SHAPES`; it imports the client."""
    distribution: str | None = None
    """What has its version; None for what comes with Python."""

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are needed and are not installed here; it can be examined where there are none."""
        return tuple(module for module in self.needs if not is_installed(module))

    @property
    def version(self) -> str | None:
        """Its version, where it is known."""
        try:
            return importlib.metadata.version(self.distribution) if self.distribution else None
        except importlib.metadata.PackageNotFoundError:
            return None

    def shapes(self) -> tuple[Shape, ...]:
        """Its shapes; the client is imported by this, and whatever that raises is raised here."""
        shapes: tuple[Shape, ...] = importlib.import_module(self.room).SHAPES
        return shapes


def _ours(name: str, room: str, *needs: str, distribution: str | None = None) -> Client:
    return Client(name, needs, f"pytest_agentops.doctor.shapes.{room}", distribution)


CLIENTS = (
    _ours("openai", "openai", "openai", distribution="openai"),
    _ours("anthropic", "anthropic", "anthropic", distribution="anthropic"),
    _ours("google-genai", "google_genai", "google.genai", distribution="google-genai"),
    _ours("botocore", "botocore", "botocore", distribution="botocore"),
    _ours("httpx", "httpx", "httpx", distribution="httpx"),
    _ours("httpx2", "httpx2", "httpx2", distribution="httpx2"),
    _ours("requests", "requests", "requests", distribution="requests"),
    _ours("urllib3", "urllib3", "urllib3", distribution="urllib3"),
    _ours("aiohttp", "aiohttp", "aiohttp", distribution="aiohttp"),
    _ours("http.client", "http_client"),
    _ours("urllib", "urllib"),
    _ours("openai-agents", "openai_agents", "agents", "openai", distribution="openai-agents"),
    _ours("langgraph", "langgraph", "langgraph", "langchain_openai", distribution="langgraph"),
    _ours("pydantic-ai", "pydantic_ai", "pydantic_ai", "openai", distribution="pydantic-ai-slim"),
    _ours("smolagents", "smolagents", "smolagents", "openai", distribution="smolagents"),
)
"""In the order in which they are told."""


@dataclass(frozen=True)
class Transport:
    """A way out of the process that is known not to be seen."""

    name: str
    module: str
    """What is imported for it."""
    what: str
    """What becomes of what goes this way."""


TRANSPORTS = (
    Transport(
        "gRPC",
        "grpc",
        "not recorded: its connections are made in C, where a replay does not see them and cannot refuse",
    ),
    Transport("curl_cffi", "curl_cffi", "not recorded: libcurl sends it; in a replay it meets a proxy that refuses"),
    Transport("pycurl", "pycurl", "not recorded: libcurl sends it; in a replay it meets a proxy that refuses"),
    Transport(
        "WebSockets (websocket-client)",
        "websocket",
        "not recorded: those of the library websockets are; a replay refuses it, except on loopback",
    ),
    Transport("llama.cpp in this process", "llama_cpp", "not recorded: nothing goes over HTTP"),
    Transport("transformers in this process", "transformers", "not recorded: nothing goes over HTTP"),
)
"""None of these can be examined, since what they would show is that nothing was seen."""
