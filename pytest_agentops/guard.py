"""Nothing goes live in replay: connections and lookups that would leave this machine are refused.

Inside the process an audit hook sees every socket that Python opens, whichever client opens it. What Python does not
see, child processes and libcurl, is told by the proxy variables to ask a listener on loopback, which refuses.

What neither sees: sockets that a C library opens by itself and without asking the proxy variables (libpq, c-ares; the
calls of gRPC are refused one by one, by `stubs.foreign`), and children that do not ask them either (ssh, ping, psql,
`curl --noproxy`). NO_PROXY, which tells children what they may reach, cannot express a `*` inside a name, a refused
port of loopback, nor a name without its subdomains; where a client does not understand an entry of it, the listener
says so and carries nothing.
"""

from __future__ import annotations

import _thread
import base64
import binascii
import fnmatch
import functools
import inspect
import ipaddress
import json
import os
import re
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol
from urllib.parse import quote, unquote, urlsplit

from pytest_agentops.errors import LiveCallRefused

# --- what is told ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """A connection or a lookup that was refused."""

    client: str
    """Who wanted it: a package such as `requests`, a module such as `urllib.request`; a child's User-Agent."""
    target: str
    """Where to: `api.openai.com:443`; without a port where a lookup named none."""
    test: str
    """The test's id."""
    place: str
    """The line of the project that led here, such as `tests/test_refund.py:12`; empty when unknown."""
    child: bool
    """Whether another process told it: one that was started or forked, or libcurl inside this one."""
    instead: str = ""
    """What to do instead, where it was called through a client that can be neither recorded nor replayed."""

    @property
    def host(self) -> str:
        """The target without its port."""
        return re.sub(r":\d+$", "", self.target).strip("[]")


class Guarded(Protocol):
    """What nothing may leave: a replaying recording."""

    @property
    def name(self) -> str:
        """The test's id."""

    @property
    def root(self) -> Path:
        """The project's folder: the lines of the files below it are worth showing."""

    @property
    def hosts(self) -> Hosts:
        """What may be reached all the same."""

    def refused(self, refusal: Refusal) -> None:
        """Remember this, so that a refusal that the program swallowed fails the test all the same."""


Finder = Callable[[], Guarded | None]
"""Gives what the things that happen here and now belong to; None lets them pass."""


# --- what may be reached ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hosts:
    """What may be reached: loopback, and what the setting `allow_hosts` lists.

    An entry is a name, a name with `*`, an address or a network, each with an optional port. With `!` before it, it
    is refused, even on loopback and whatever else allows it.

    Raises:
        ValueError: an entry that cannot be understood.

    Example:
        >>> hosts = Hosts(["db.internal:5432", "*.svc.local", "10.0.0.0/8", "!127.0.0.1:11434"])
        >>> hosts.allows("db.internal", 5432), hosts.allows("db.internal", 80), hosts.allows("127.0.0.1", 11434)
        (True, False, False)
    """

    allowed: Sequence[str] = ()
    """The entries as they were written."""
    _entries: tuple[_Entry, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.allowed, str):
            raise ValueError(f"{self.allowed!r} is one text; write a list of hosts: [{self.allowed!r}]")
        object.__setattr__(self, "allowed", tuple(self.allowed))
        object.__setattr__(self, "_entries", tuple(map(_Entry.parse, self.allowed)))

    def allows(self, host: str, port: int | None) -> bool:
        """Whether this may be reached; without a port, whether any port of it may."""
        return self.verdict(host, port) is True

    def names(self, target: str) -> bool:
        """Whether an entry allows this `host:port`, so that it is not merely on this machine."""
        try:
            location = urlsplit(f"//{target}")
            host, port = location.hostname or "", location.port
        except ValueError:
            return False
        name, address = _spelled(host)
        named = any(entry.matches(name, address, port) for entry in self._entries)
        return named and self.verdict(host, port) is True

    def verdict(self, host: str, port: int | None) -> bool | None:
        """Whether this is allowed or refused; None where nothing is said about it, so that it is not allowed."""
        name, address = _spelled(host)
        matching = [entry for entry in self._entries if entry.matches(name, address, port)]
        if any(entry.refuses for entry in matching):
            return False
        return True if matching or _is_here(host) else None

    @functools.cached_property
    def no_proxy(self) -> str:
        """The same for child processes, as far as NO_PROXY can say it."""
        texts = [text for text in ("localhost", "127.0.0.1", "::1", "0.0.0.0") if self.allows(text, None)]
        if self.allows("any.localhost", None):
            texts.append(".localhost")
        refusing = [entry for entry in self._entries if entry.refuses]
        loopback = _Entry(_LOOPBACK, None, refuses=False)
        if not any(entry.port is None and entry.overlaps(loopback) for entry in refusing):
            texts.append(loopback.no_proxy)
        for entry in self._entries:
            if not entry.refuses and not any(each.overlaps(entry) for each in refusing):
                texts.append(entry.no_proxy)
        return ",".join(dict.fromkeys(filter(None, texts)))


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
_NAME = re.compile(r"[\w*?-]+(\.[\w*?-]+)*\.?")


@dataclass(frozen=True)
class _Entry:
    """One entry of `allow_hosts`."""

    host: str | _Network
    port: int | None
    refuses: bool

    @classmethod
    def parse(cls, text: str) -> _Entry:
        def wrong(what: str, right: str) -> ValueError:
            return ValueError(f"{text!r} is no host to allow: {what}; write {right}")

        rest = text.strip().removeprefix("!").strip()
        if not rest:
            raise wrong("it is empty", "a name, an address or a network, such as 'db.internal' or '10.0.0.0/8'")
        if "://" in rest:
            bare = rest.partition("://")[2].partition("/")[0].rpartition("@")[2]
            raise wrong("it is a URL", f"the host alone: {bare!r}" if bare else "the host alone")
        host, port = rest, ""
        if bracketed := re.fullmatch(r"\[([^\]]*)\](?::(.*))?", rest, re.DOTALL):
            host, port = bracketed[1], bracketed[2] or ("" if bracketed[2] is None else "?")
        elif rest.count(":") == 1:
            host, _, port = rest.partition(":")
            port = port or "?"
        if port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise wrong("its port is no number from 1 to 65535", f"'{host}:443', or {host!r} for every port")
        number, refuses = int(port) if port else None, text.strip().startswith("!")
        if "/" in host:
            try:
                return cls(ipaddress.ip_network(host), number, refuses)
            except ValueError:
                pass
            try:
                right = str(ipaddress.ip_network(host, strict=False))
            except ValueError:
                raise wrong(
                    "what stands before the '/' and after it is no network", "a network such as '10.0.0.0/8'"
                ) from None
            raise wrong("it is an address inside a network", f"the network: {right!r}")
        name, address = _spelled(host)
        if address is not None and "[" not in host and "]" not in host:
            return cls(ipaddress.ip_network(address), number, refuses)
        if bracketed or re.search(r"[\[\]:]", host) or re.fullmatch(r"[\d.]+", host):
            raise wrong("it is no address", "an address such as '10.0.0.5' or '[fd00::5]:443'")
        if not _NAME.fullmatch(host):
            raise wrong("it is no name of a host", "a name such as 'db.internal' or '*.internal'")
        return cls(name, number, refuses)

    def matches(self, name: str, address: _Address | None, port: int | None) -> bool:
        if self.port is not None and port != self.port and (port is not None or self.refuses):
            return False
        if isinstance(self.host, str):
            return fnmatch.fnmatchcase(name, self.host)
        return address is not None and address.version == self.host.version and address in self.host

    def overlaps(self, other: _Entry) -> bool:
        """Whether some host may be meant by both; in doubt it may."""
        if isinstance(self.host, str):
            if "*" in self.host.removeprefix("*.") or "?" in self.host:
                return True
            if not isinstance(other.host, str):
                return False
            ours, theirs = (f".{host.removeprefix('*.')}" for host in (self.host, other.host))
            return ours.endswith(theirs) or theirs.endswith(ours) or fnmatch.fnmatchcase(self.host, other.host)
        if isinstance(other.host, str):
            return "*" in other.host.removeprefix("*.") or "?" in other.host
        return self.host.version == other.host.version and self.host.overlaps(other.host)

    @property
    def no_proxy(self) -> str:
        """How NO_PROXY says it; empty where it cannot, and then a child may not."""
        if isinstance(self.host, str):
            text = self.host.removeprefix("*") if self.host.startswith("*.") else self.host
            text = "" if text != "*" and re.search(r"[*?]", text) else text
        else:
            text = str(self.host.network_address if self.host.num_addresses == 1 else self.host)
            text = "" if "/" in text and self.host.version == 6 else text  # httpx fails on it.
        if self.port is None or not text:
            return text
        return "" if "/" in text or ":" in text or text == "*" else f"{text}:{self.port}"


@functools.lru_cache(maxsize=1024)
def _spelled(host: str) -> tuple[str, _Address | None]:
    """A host in its one spelling, and as an address where it is one: `127.1` and `::ffff:127.0.0.1` are `127.0.0.1`."""
    name = host.strip().strip("[]").partition("%")[0].rstrip(".").lower()
    address = _parsed(name)
    if address is not None:
        return str(address), address
    if not name.isascii():
        with suppress(UnicodeError):
            name = name.encode("idna").decode()
    return name, None


def _parsed(name: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        try:
            # What the system takes for an address without asking anybody.
            return ipaddress.IPv4Address(socket.inet_aton(name)) if name and " " not in name else None
        except (OSError, UnicodeError):
            return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@functools.lru_cache(maxsize=1024)
def _is_here(host: str) -> bool:
    """Whether this is this machine: loopback, what stands for every address of it, and its own name."""
    name, address = _spelled(host)
    if address is not None:
        return address.is_loopback or address.is_unspecified
    # A server that listens on every address looks up the machine's own name.
    return name in ("", "localhost") or name.endswith(".localhost") or name == _spelled(socket.gethostname())[0]


# --- the guard -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Armed:
    """One `protecting` that is under way, or lately was."""

    guarded: Guarded
    find: Finder
    port: int
    """Where the listener is."""
    process: int = field(default_factory=os.getpid)
    token: str = field(default_factory=lambda: os.urandom(16).hex())
    """What its children carry, so that the listener knows whose they are."""
    places: list[str] = field(default_factory=lambda: [""])
    """The lines that started a child; the children carry the index."""

    def variables(self, place: str = "") -> dict[str, str]:
        """The environment that keeps a child from the network."""
        if place not in self.places:
            self.places.append(place)
        proxy = f"http://agentops:{self.token}.{self.places.index(place)}@127.0.0.1:{self.port}"
        no_proxy = self.guarded.hosts.no_proxy
        return dict.fromkeys(_PROXIES, proxy) | dict.fromkeys(_NO_PROXIES, no_proxy) | {"NODE_USE_ENV_PROXY": "1"}


_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_NO_PROXIES = ("no_proxy", "NO_PROXY")
_VARIABLES = (*_PROXIES, *_NO_PROXIES, "NODE_USE_ENV_PROXY")


class _Guard:
    """Everything there is one of in a process: the hook, the listener, the patches, and who is protected."""

    def __init__(self) -> None:
        self.armed: tuple[_Armed, ...] = ()
        """Replaced as a whole; the hook reads it without a lock."""
        self.ended: deque[_Armed] = deque(maxlen=8)
        """A child may outlive its test; few of these are kept, since each keeps a recording."""
        self.listener: _Listener | None = None
        self.lock = threading.RLock()
        self.names: dict[str, set[str]] = {}
        """By address, the allowed names that were looked up and found there."""
        self._patches: list[_Patch] = []

    def arm(self, guarded: Guarded, find: Finder) -> _Armed:
        with self.lock:
            _install()
            if self.listener is None:
                self.listener = _Listener(self)
            armed = _Armed(guarded, find, self.listener.port)
            if not self.armed:
                self._patches = self._patches or _patches(self)
                if "uvloop" in sys.modules and not any(
                    patch.holder is sys.modules["uvloop"].Loop for patch in self._patches
                ):
                    self._patches += _patches_of_uvloop(self)
                for patch in self._patches:
                    patch.apply()
            self.armed = (*self.armed, armed)
            self.set_variables()
            return armed

    def disarm(self, armed: _Armed) -> None:
        with self.lock:
            self.armed = tuple(each for each in self.armed if each is not armed)
            self.ended.append(armed)
            self.set_variables()
            if not self.armed:
                for patch in reversed(self._patches):
                    patch.undo()

    def close(self) -> None:
        with self.lock:
            listener, self.listener = self.listener, None
            self.ended.clear()
            self.names.clear()
        if listener is not None:
            listener.close()

    def forked(self) -> None:
        """This is a child: the hook stays armed here; the listener's thread stayed with the parent."""
        self.lock = threading.RLock()
        _here.busy = False
        if self.listener is not None:
            self.listener.let_go()
            self.listener = None

    # What is asked of it.

    def judge(self, host: str, port: int | None) -> Refusal | None:
        """The refusal for this, which is remembered already; None where it may pass."""
        guarded = self.find(host, port)
        if guarded is None:
            return None
        client, place = _led_here(guarded)
        refusal = Refusal(client, _target(host, port), guarded.name, place, child=False)
        self.remember(guarded, refusal)
        return refusal

    def remember(self, guarded: Guarded, refusal: Refusal) -> None:
        """Let this fail the test, whatever the program makes of it."""
        try:
            guarded.refused(refusal)
            armed = self.armed_for(guarded)
            if armed is not None and armed.process != os.getpid():
                _tell(armed, refusal)
        except Exception:
            _report("could not remember a refused connection")

    def find(self, host: str, port: int | None) -> Guarded | None:
        """What does not allow this."""
        for guarded in self.guarded():
            if not self.allows(guarded.hosts, host, port):
                return guarded
        return None

    def guarded(self) -> Iterator[Guarded]:
        """What the things that happen here and now belong to, of the newest first."""
        asked: list[Finder] = []
        for armed in reversed(self.armed):
            if armed.find not in asked:
                asked.append(armed.find)
                if (guarded := armed.find()) is not None:
                    yield guarded

    def armed_for(self, guarded: Guarded | None) -> _Armed | None:
        known = (*self.ended, *self.armed)
        return next((armed for armed in reversed(known) if armed.guarded is guarded), None)

    def allows(self, hosts: Hosts, host: str, port: int | None) -> bool:
        verdict = hosts.verdict(host, port)
        if verdict is None:
            return any(hosts.allows(name, port) for name in self.names.get(_spelled(host)[0], ()))
        return verdict

    def found(self, host: object, addresses: Iterator[str]) -> None:
        """This name was looked up, and may have been: connections to where it was found are connections to it."""
        name, is_address = _spelled(_text(host))
        if self.armed and not is_address and len(self.names) < 4096:
            for address in addresses:
                self.names.setdefault(_spelled(address)[0], set()).add(name)

    def set_variables(self) -> None:
        """Tell C libraries and children, but not `os.environ`: clients would build more transports for what it says."""
        if self.armed:
            _put(self.armed[-1].variables())
        else:
            _put_back()

    @contextmanager
    def child(self, env: Mapping[Any, Any] | None) -> Iterator[Mapping[Any, Any] | None]:
        """The environment to start a child with; None where it inherits the right one."""
        if not self.armed or getattr(_here, "busy", False):
            yield env
            return
        _here.busy = True
        inherits = env is None
        try:
            guarded = next(self.guarded(), None)
            if guarded is not None:
                armed = self.armed_for(guarded) or self.armed[-1]
                variables = armed.variables(_origin(guarded.root)[1])
                if env is None:
                    _put(variables)
                else:
                    env = {name: value for name, value in env.items() if os.fsdecode(name) not in variables} | variables
            elif env is None:
                _put_back()  # What belongs to nobody is not kept from anything.
        except Exception:
            _report("could not keep a child process from the network, and let it start")
        finally:
            _here.busy = False
        try:
            yield env
        finally:
            if inherits:
                with self.lock:
                    self.set_variables()


_guard = _Guard()
_here = threading.local()
"""`busy` while the guard itself is at work in this thread, whose own sockets do not concern it."""


@contextmanager
def protecting(guarded: Guarded, find: Finder) -> Iterator[None]:
    """Refuse what would leave this machine and `find` says belongs to something guarded; children of it, too.

    Several may be under way, and they may end in any order. What is refused raises `LiveCallRefused`, after
    `guarded.refused` was told.
    """
    armed = _guard.arm(guarded, find)
    try:
        yield
    finally:
        _guard.disarm(armed)


def refuse(guarded: Guarded, client: str, target: str, instead: str) -> NoReturn:
    """Refuse a call whose socket nothing here would see.

    Raises:
        LiveCallRefused: always, after `guarded.refused` was told.
    """
    refusal = Refusal(client, target, guarded.name, _led_here(guarded)[1], child=False, instead=instead)
    _guard.remember(guarded, refusal)
    raise LiveCallRefused(refusal)


def _led_here(guarded: Guarded) -> tuple[str, str]:
    """Which client wants the network, and the line of the project that led to it, as far as that can be told."""
    try:
        return _origin(guarded.root)
    except Exception:
        _report("could not tell what led to a refused connection")
        return "socket", ""


def close() -> None:
    """Stop the listener; the next `protecting` starts another."""
    _guard.close()


# --- the hook --------------------------------------------------------------------------------------------------------


@functools.cache
def _install() -> None:
    sys.addaudithook(_audit)  # It cannot be taken back; while nothing is armed it does nothing.
    os.register_at_fork(after_in_child=_guard.forked)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if not _guard.armed:
        return
    read = _EVENTS.get(event)
    if read is None or getattr(_here, "busy", False):
        return
    try:
        _refuse(event, read, args)
    except LiveCallRefused:
        if event == "socket.connect" and sys._getframe(1).f_code.co_name == "create_connection":
            args[0].close()  # The standard library's and urllib3's forget it after anything but an OSError.
        raise


def _refuse(event: str, read: _Reader, args: tuple[Any, ...]) -> None:
    """Raise for what may not be."""
    _here.busy = True
    try:
        target = read(args)
        refusal = _guard.judge(*target) if target is not None else None
    except Exception:
        _report(f"could not judge {event}, and let it pass")
        return
    finally:
        _here.busy = False
    if refusal is not None:
        raise LiveCallRefused(refusal)


_FAMILY = socket.SocketType.family
"""A socket's family as a number; `socket.socket` has an enum instead, which is slow to build."""


def _address(args: tuple[Any, ...]) -> tuple[str, int | None] | None:
    """Where a socket is to connect or send to."""
    sock, address = args[:2]
    if not isinstance(address, tuple) or len(address) < 2 or _FAMILY.__get__(sock) not in _INTERNET:
        return None  # A local socket, or a packet to where the socket is connected already.
    return _text(address[0]), _number(address[1])


_INTERNET = {int(socket.AF_INET), int(socket.AF_INET6)}


def _lookup(args: tuple[Any, ...]) -> tuple[str, int | None] | None:
    """Which name is looked up; an address is not, and nobody is asked about it."""
    host = _text(args[0])
    return None if _spelled(host)[1] is not None else (host, _number(args[1]) if len(args) > 1 else None)


def _reverse_lookup(args: tuple[Any, ...]) -> tuple[str, int | None] | None:
    return _text(args[0]), None


_Reader = Callable[[tuple[Any, ...]], tuple[str, int | None] | None]
"""Reads from the arguments of an event where to; None where that is nobody's concern."""
_EVENTS: Mapping[str, _Reader] = {
    "socket.connect": _address,  # connect_ex, too.
    "socket.sendto": _address,
    "socket.sendmsg": _address,
    "socket.getaddrinfo": _lookup,
    "socket.gethostbyname": _lookup,  # gethostbyname_ex, too.
    "socket.gethostbyaddr": _reverse_lookup,
}


def _text(host: object) -> str:
    if type(host) is str:
        return host
    if isinstance(host, bytes | bytearray):
        return bytes(host).decode("ascii", "replace")
    return str(host) if host is not None else ""


def _number(port: object) -> int | None:
    """A port, which may be given as a text or as a service's name."""
    if type(port) is int:
        return port or None
    text = _text(port)
    if text.isdecimal():
        return int(text) or None
    try:
        return socket.getservbyname(text)
    except OSError:
        return None


def _target(host: str, port: int | None) -> str:
    name, address = _spelled(host)
    name = f"[{name}]" if isinstance(address, ipaddress.IPv6Address) else name
    return name if port is None else f"{name}:{port}"


def _report(what: str) -> None:
    """A mistake of ours must not break the program that is watched; pytest shows it as a warning."""
    error = sys.exception()
    if error is not None:
        error.add_note(f"pytest-agentops: {what}")
        _Mistake(error)


class _Mistake:
    """Goes to `sys.unraisablehook`, since what is raised here goes nowhere else."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __del__(self) -> None:
        raise self._error


# --- who and from where ----------------------------------------------------------------------------------------------

_Line = tuple[str, int, str]
"""A file, a line of it and the name of the module."""
_STDLIB = str(Path(os.__file__).parent) + os.sep


def _origin(root: Path) -> tuple[str, str]:
    """Which client wants the network, and the line of the project that led to it."""
    folder = os.path.join(os.path.realpath(root), "")  # noqa: PTH118 - with a separator at its end.
    package = module = place = ""
    near, far = _lines()
    for index, (file, number, name) in enumerate((*near, *far)):
        if name.partition(".")[0] == "pytest_agentops" or file.startswith("<"):
            continue
        installed = f"{os.sep}site-packages{os.sep}" in file
        standard = file.startswith(_STDLIB) and not installed
        if not installed and not standard and (path := os.path.realpath(file)).startswith(folder):
            place = f"{path.removeprefix(folder)}:{number}"
            break
        if index >= len(near):
            continue
        if not standard:
            package = name.partition(".")[0]
        elif name.startswith("asyncio."):
            module = module if module not in ("", "socket") else "asyncio"  # It may only have lent a thread.
        elif name.partition(".")[0] not in ("threading", "concurrent"):
            module = name
    return package or module or "socket", place


def _lines() -> tuple[list[_Line], list[_Line]]:
    """What led here, the innermost first; and what may have.

    The stack ends where an event loop or a pool's thread began to work for somebody. Then follows who waits for it.
    """
    near: list[_Line] = []
    frame: FrameType | None = sys._getframe(2)
    waited = None
    while frame is not None:
        code, module = frame.f_code, frame.f_globals.get("__name__", "")
        if module.partition(".")[0] in ("_pytest", "pluggy"):
            break
        if (module, code.co_name) == ("asyncio.events", "_run") or module == "asyncio.runners":
            with suppress(RuntimeError):  # No loop runs.
                waited = sys.modules["asyncio"].current_task()
            break
        if module == "concurrent.futures.thread" and code.co_name == "run":
            waited = getattr(frame.f_locals.get("self"), "future", None)
            break
        near.append(_line(frame))
        frame = frame.f_back
    near += _waited_for(waited)
    far = list(_outwards(frame))
    main = threading.main_thread()
    if threading.current_thread() is not main:
        far += _outwards(sys._current_frames().get(main.ident or 0))
    return near, far


def _outwards(frame: FrameType | None) -> Iterator[_Line]:
    while frame is not None:
        yield _line(frame)
        frame = frame.f_back


def _line(frame: FrameType) -> _Line:
    return frame.f_code.co_filename, frame.f_lineno, frame.f_globals.get("__name__", "")


def _waited_for(future: Any) -> list[_Line]:
    """The lines of the tasks that wait for this task, or for a pool's work."""
    for _ in range(10):
        if (lines := list(_waiting(future, set()))) or not hasattr(future, "_done_callbacks"):
            return lines
        time.sleep(0.002)  # A pool may be at work before the task that gave it has come to wait.
    return []


def _waiting(future: Any, seen: set[int]) -> Iterator[_Line]:
    """The same, at whatever remove.

    asyncio does not tell before 3.14, so this reads it off the callbacks: a waiting task's own, `shield`'s, `gather`'s,
    `wait`'s and `wait_for`'s, which hold a future, and a task group's. Where it finds nothing, the line is not known.
    """
    if future is None or id(future) in seen:
        return
    seen.add(id(future))
    callbacks = getattr(future, "_callbacks", None) or getattr(future, "_done_callbacks", None) or ()
    for callback in list(callbacks):
        called = callback[0] if isinstance(callback, tuple) else callback
        holders = [getattr(called, "__self__", None), *getattr(called, "args", ())]
        for cell in getattr(called, "__closure__", None) or ():
            with suppress(ValueError):  # An empty cell.
                holders.append(cell.cell_contents)
        for holder in holders:
            waiter: Any = getattr(holder, "_parent_task", None) or holder
            if hasattr(waiter, "get_coro"):
                if id(waiter) not in seen:
                    yield from reversed(list(_awaited(waiter.get_coro())))
                yield from _waiting(waiter, seen)
            elif hasattr(waiter, "_callbacks"):
                yield from _waiting(waiter, seen)


def _awaited(coroutine: Any) -> Iterator[_Line]:
    """The lines at which a coroutine and those it awaits are suspended, the outermost first."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield _line(frame)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


# --- children --------------------------------------------------------------------------------------------------------


class _Patch:
    """What stands in for a function while something is armed."""

    def __init__(self, holder: Any, name: str, replaced: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self.holder, self._name, self._replaced = holder, name, replaced
        self._original: Any = None
        self._replacement: Any = None
        self._inherited = False

    def apply(self) -> None:
        current = getattr(self.holder, self._name)
        if current is not self._replacement:
            self._inherited = self._name not in vars(self.holder)
            self._original, self._replacement = current, self._replaced(current)
            setattr(self.holder, self._name, self._replacement)

    def undo(self) -> None:
        # Where somebody has wrapped ours, it stays inside theirs, and does nothing while nothing is armed.
        if getattr(self.holder, self._name) is self._replacement:
            if self._inherited:
                delattr(self.holder, self._name)
            else:
                setattr(self.holder, self._name, self._original)
            self._original = self._replacement = None


def _patches(guard: _Guard) -> list[_Patch]:
    def starting(position: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A function that starts a program, whose environment stands at this position or is called `env`."""

        def replaced(original: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(original)
            def start(*args: Any, **kwargs: Any) -> Any:
                given = args[position] if len(args) > position else kwargs.get("env")
                with guard.child(given) as env:
                    if len(args) > position:
                        args = (*args[:position], env, *args[position + 1 :])
                    elif env is not given:
                        kwargs["env"] = env
                    return original(*args, **kwargs)

            return start

        return replaced

    def looking_up(addresses: Callable[[Any], Iterator[str]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A function that looks a name up, and how to read from its answer where that is."""

        def replaced(original: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(original)
            def look_up(*args: Any, **kwargs: Any) -> Any:
                answer = original(*args, **kwargs)
                guard.found(args[0] if args else kwargs.get("host"), addresses(answer))
                return answer

            return look_up

        return replaced

    return [
        _Patch(subprocess.Popen, "__init__", starting(11)),
        # os.spawn*e and os.exec*e call execve; subprocess may call posix_spawn.
        *(_Patch(os, name, starting(2)) for name in ("execve", "posix_spawn", "posix_spawnp") if hasattr(os, name)),
        _Patch(socket, "getaddrinfo", looking_up(lambda answer: (str(info[4][0]) for info in answer))),
        _Patch(socket, "gethostbyname", looking_up(lambda answer: iter([answer]))),
        _Patch(socket, "gethostbyname_ex", looking_up(lambda answer: iter(answer[2]))),
    ]


def _patches_of_uvloop(guard: _Guard) -> list[_Patch]:
    """The methods of its loop that look up and connect in C, where no hook sees it."""

    def asking(original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        @functools.wraps(original)
        async def ask(*args: Any, **kwargs: Any) -> Any:
            if guard.armed and not getattr(_here, "busy", False):
                given = signature.bind_partial(*args, **kwargs).arguments
                host, port = (given.get("remote_addr") or (given.get("host"), given.get("port")))[:2]
                read = _lookup if original.__name__ == "getaddrinfo" else _asked
                _refuse(f"uvloop's {original.__name__}", read, (host, port))
            return await original(*args, **kwargs)

        return ask

    loop = sys.modules["uvloop"].Loop
    return [_Patch(loop, name, asking) for name in ("getaddrinfo", "create_connection", "create_datagram_endpoint")]


def _asked(args: tuple[Any, ...]) -> tuple[str, int | None] | None:
    return (_text(args[0]), _number(args[1])) if args[0] is not None else None


def _put(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        os.putenv(name, value)


def _put_back() -> None:
    for name in _VARIABLES:
        if name in os.environ:
            os.putenv(name, os.environ[name])
        else:
            os.unsetenv(name)


# --- the listener ----------------------------------------------------------------------------------------------------

_PATIENCE = 5.0
"""Seconds for a child to say what it wants, and for a forked child to be heard."""
_LONGEST = 65536
"""Bytes that a request's head may have."""
_TOLD = "/refused/"
"""Where a forked child tells of its refusals."""


class _Listener:
    """A proxy on loopback that carries nothing: it refuses, and tells whose child wanted what."""

    def __init__(self, guard: _Guard) -> None:
        self._guard = guard
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._server.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._ended = threading.Event()
        self.port: int = self._server.getsockname()[1]
        # No `threading.Thread`: that would belong to the test that happens to run, and be seen among its threads.
        _thread.start_new_thread(self._serve, ())

    def close(self) -> None:
        self._wake.send(b"\0")
        self._ended.wait(_PATIENCE)
        self.let_go()

    def let_go(self) -> None:
        """Close the sockets; in a forked child they are the parent's."""
        for each in (self._server, self._wake, self._woken):
            each.close()

    def _serve(self) -> None:
        try:
            with selectors.PollSelector() as selector:
                selector.register(self._server, selectors.EVENT_READ)
                selector.register(self._woken, selectors.EVENT_READ)
                self._listen(selector)
        finally:
            self._ended.set()

    def _listen(self, selector: selectors.BaseSelector) -> None:
        calls: dict[socket.socket, _Call] = {}
        try:
            while True:
                for key, _ in selector.select(timeout=1.0 if calls else None):
                    if key.fileobj is self._woken:
                        return
                    if key.fileobj is self._server:
                        with suppress(OSError):
                            connection, _ = self._server.accept()
                            selector.register(connection, selectors.EVENT_READ)
                            calls[connection] = _Call(connection)
                    elif isinstance(key.fileobj, socket.socket):
                        calls[key.fileobj].read(self._answer)
                for connection in [each for each, call in calls.items() if call.over]:
                    selector.unregister(connection)
                    calls.pop(connection).connection.close()
        finally:
            for connection in calls:
                connection.close()

    def _answer(self, head: bytes) -> tuple[int, str]:
        """The status and a line, for a request that has come."""
        line, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
        method, _, target = line.rpartition(" ")[0].partition(" ")
        armed, place = self._whose(headers.get("proxy-authorization", ""))
        if armed is None:
            return 403, "nothing may go live"
        if target.startswith(_TOLD):
            told = Refusal(**json.loads(unquote(target.removeprefix(_TOLD))))
            armed.guarded.refused(replace(told, test=armed.guarded.name, child=True))
            return 200, "remembered"
        try:
            location = urlsplit(target if "://" in target else f"//{target}")
            host, port = location.hostname or "", location.port or (80 if location.scheme == "http" else 443)
        except ValueError:
            host, port = "", 0
        if not host or (method != "CONNECT" and "://" not in target):
            return 400, "this is a proxy, which was asked for something else"
        where = _target(host, port)
        if self._guard.allows(armed.guarded.hosts, host, port):
            return (
                502,
                f"{where} may be reached, but not through this proxy; it stands in NO_PROXY where that can say it",
            )
        client = headers.get("user-agent") or "a child process"
        armed.guarded.refused(Refusal(client, where, armed.guarded.name, place, child=True))
        return 403, f"{where} refused, nothing may go live in {armed.guarded.name}"

    def _whose(self, authorization: str) -> tuple[_Armed | None, str]:
        """Whose child sends these credentials, and the line that started it; without any, the newest's."""
        with suppress(ValueError, binascii.Error):
            secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")[2]
            token, _, number = secret.partition(".")
            for armed in (*self._guard.ended, *self._guard.armed):
                if armed.token == token:
                    return armed, armed.places[int(number)] if int(number) < len(armed.places) else ""
        return (self._guard.armed[-1] if self._guard.armed else None), ""


class _Call:
    """One connection to the listener."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.setblocking(False)
        self._head = b""
        self._until = time.monotonic() + _PATIENCE
        self._answered = self._closed = False

    @property
    def over(self) -> bool:
        return self._closed or time.monotonic() > self._until

    def read(self, answer: Callable[[bytes], tuple[int, str]]) -> None:
        try:
            data = self.connection.recv(_LONGEST)
            if not data or self._answered:
                self._closed = not data  # What follows the answer is read, since closing on it would take that back.
                return
            self._head += data
            if b"\r\n\r\n" in self._head or len(self._head) > _LONGEST:
                self._answered = True
                self.connection.sendall(_response(*self._asked(answer)))
                self.connection.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self._closed = True

    def _asked(self, answer: Callable[[bytes], tuple[int, str]]) -> tuple[int, str]:
        try:
            return answer(self._head.partition(b"\r\n\r\n")[0])
        except Exception:
            _report("could not understand what a child process asked")
            return 403, "nothing may go live"


def _response(status: int, line: str) -> bytes:
    reason = line.encode("ascii", "replace").decode()
    body = f"pytest-agentops: {line}\n".encode()
    head = f"HTTP/1.1 {status} pytest-agentops: {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def _tell(armed: _Armed, refusal: Refusal) -> None:
    """Let the parent of this forked child remember a refusal, too, and wait until it has."""
    facts = quote(json.dumps(asdict(refusal)), safe="")
    secret = base64.b64encode(f"agentops:{armed.token}.0".encode()).decode()
    request = f"POST {_TOLD}{facts} HTTP/1.1\r\nHost: 127.0.0.1\r\nProxy-Authorization: Basic {secret}\r\n\r\n"
    with suppress(OSError), socket.socket() as connection:
        connection.settimeout(_PATIENCE)
        connection.connect(("127.0.0.1", armed.port))
        connection.sendall(request.encode())
        connection.recv(_LONGEST)
