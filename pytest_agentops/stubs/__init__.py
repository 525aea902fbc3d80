"""How every other client is watched: requests, urllib3, botocore, httplib2, urllib and http.client, aiohttp, tornado,
websockets; and how those are met that cannot be watched, gRPC and libcurl.

One file for each way in. vcrpy's patches cannot serve here. Each live request of theirs takes all of vcrpy's patches
away for the whole process, those of httpx too, and two of them at once put back what the other had taken away: eight
threads with 160 requests were recorded 25 to 67 times, and a fifth of what httpx2 asked meanwhile went past us.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace
from typing import Any, Protocol

from pytest_agentops.arrivals import awaited
from pytest_agentops.exchange import Failure
from pytest_agentops.transports import CANCELLED, Listener, Owner, Reader, Ticket, failure_of

Wrap = Callable[[Any], Any]
"""What makes of a method the one that watches."""


class Stubs(Protocol):
    """One way in: what is to be replaced where one of its modules is imported."""

    def seams(self, module: str) -> Iterator[tuple[str, str, Wrap]]:
        """The classes of this module, the name of a method of each, and what makes the one that watches.

        Where there is no name of a class, it is the module's own.
        """

    def let_go(self) -> None:
        """Nothing is watched any more; the methods are put back after this."""


_ROOMS = {
    "http.client": "http_client",
    "urllib3.connectionpool": "http_client",
    "aiohttp.client": "aiohttp",
    "tornado.simple_httpclient": "tornado",
    "tornado.curl_httpclient": "tornado",
    "grpc._channel": "foreign",
    "grpc.aio._channel": "foreign",
    "curl_cffi.curl": "foreign",
    "curl_cffi.aio": "foreign",
    "pycurl": "foreign",
    "mcp.client.stdio": "mcp_stdio",
    "websockets.asyncio.client": "websockets",
    "websockets.sync.client": "websockets",
}
"""Which file here watches what a module holds; it is imported after that module was."""


@contextmanager
def patched(owner: Owner, others: Mapping[str, tuple[str, str, Wrap]] | None = None) -> Iterator[None]:
    """Let the recordings that `owner` names hear of these clients; one that is imported meanwhile is watched too.

    `others` are methods in further modules, to be replaced as soon as those are there.
    """
    others = others or {}
    rooms: dict[str, Stubs] = {}
    with ExitStack() as patches:

        def seams(module: str) -> Iterator[tuple[str, str, Wrap]]:
            if module in others:
                yield others[module]
            if (name := _ROOMS.get(module)) is not None:
                if name not in rooms:
                    rooms[name] = importlib.import_module(f"{__name__}.{name}").stubs(owner)
                    patches.callback(rooms[name].let_go)
                yield from rooms[name].seams(module)

        def patch(module: str) -> None:
            for holder, method, watched in seams(module):
                loaded = sys.modules.get(module)
                if (found := getattr(loaded, holder, None) if holder else loaded) is not None:
                    # A function has no dictionary of what makes it; a class's gives its own method, as it stands there.
                    original = found.__dict__[method] if isinstance(found, type) else getattr(found, method)
                    setattr(found, method, watched(original))
                    patches.callback(setattr, found, method, original)

        patches.enter_context(awaited({*_ROOMS, *others}, patch))
        yield


# --- one request -----------------------------------------------------------------------------------------------------


class Flight:
    """A request that went live, until it is known what becomes of it; what is told first counts."""

    def __init__(self, recording: Listener, ticket: Ticket) -> None:
        self._recording = recording
        self._tickets = [ticket]
        recording.hold(ticket, self.dropped)

    def failed(self, error: BaseException, kind: str | None = None) -> None:
        """No answer came."""
        failure = failure_of(error) if isinstance(error, Exception) else _DROPPED
        self._end(Failure(kind, failure.message) if kind else failure)

    def dropped(self) -> None:
        """Nobody waits for the answer any more."""
        self._end(_DROPPED)

    def answered(self, status: int, reason: str, headers: Iterable[tuple[str, str]]) -> Reader | None:
        """An answer begins; None when the recording has ended meanwhile."""
        with suppress(IndexError):
            ticket, pairs = self._tickets.pop(), list(headers)
            head = SimpleNamespace(
                status_code=status, reason_phrase=reason, headers=SimpleNamespace(multi_items=lambda: pairs)
            )
            return Reader(self._recording, ticket, head)
        return None

    def _end(self, failure: Failure) -> None:
        with suppress(IndexError):
            self._recording.receive(self._tickets.pop(), None, failure)


_DROPPED = Failure(CANCELLED, "the caller did not wait for the answer")


def raised(
    failure: Failure | None, modules: Sequence[str], make: Callable[[type, str], Any] | None = None
) -> Exception:
    """The client's own exception for a recorded failure, or the nearest of its bases that can be made."""
    failure = failure or Failure("ConnectionError", "no response was recorded")
    kinds = (getattr(sys.modules.get(module), failure.kind, None) for module in modules)
    kind = next((each for each in kinds if isinstance(each, type) and issubclass(each, Exception)), ConnectionError)
    for base in kind.__mro__:
        for attempt in (make, _with_errno, lambda base, message: base(message), _without_init):
            try:
                error = attempt(base, failure.message) if attempt is not None else None
                if isinstance(error, Exception) and isinstance(str(error), str):
                    return error
            except Exception:  # Each kind wants arguments of its own.
                continue
    return ConnectionError(failure.message)


def _with_errno(kind: Any, message: str) -> object:
    number = re.match(r"\[Errno (-?\d+)\] (.*)", message, re.DOTALL)
    return kind(int(number[1]), number[2]) if number and issubclass(kind, OSError) else None


def _without_init(kind: Any, message: str) -> object:
    error = kind.__new__(kind)
    error.args = (message,)
    return error


LENGTH = "content-length"
OF_THE_WIRE = {LENGTH, "transfer-encoding", "content-encoding", "connection", "keep-alive"}
"""What belongs to a connection: the bodies of recordings are whole and not compressed."""
