"""What became of each shape: whether its exchange was seen, read as it was scripted, and replayed."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pytest_agentops.cassette import Equipment, Session
from pytest_agentops.doctor import Heard, Shape
from pytest_agentops.doctor.clients import CLIENTS, TRANSPORTS, Client, Transport, is_installed
from pytest_agentops.errors import UsageError, did_you_mean
from pytest_agentops.guard import Hosts, Refusal, protecting
from pytest_agentops.testing import Asks, Embeds, Reply, Says, ScriptedModel
from pytest_agentops.trace import ModelCall, Trace

Status = Literal["captured", "not captured", "failed", "not installed"]
"""`failed` is a client that gave no answer at all, so that there was nothing to capture."""


@dataclass(frozen=True)
class Row:
    """What became of one shape of a client; or, without a shape, of the client."""

    client: str
    version: str | None
    shape: str | None
    status: Status
    reason: str = ""
    """Why it is not captured; empty where it is."""
    seen: bool = False
    """Whether its exchanges were seen while it was recorded."""
    decoded: bool = False
    """Whether they were read as they were scripted."""
    replayed: bool = False
    """Whether it gave the same answer and an equal trace from its cassette, with the server gone."""


@dataclass(frozen=True)
class Examination:
    """Every row, and what is known of the transports that are installed and not seen."""

    rows: tuple[Row, ...]
    transports: tuple[Transport, ...]

    @property
    def is_well(self) -> bool:
        """Whether something is installed, and all of it is captured."""
        told = {row.status for row in self.rows}
        return "captured" in told and told <= {"captured", "not installed"}

    @property
    def clients(self) -> dict[str, list[Row]]:
        """The rows of each client, in their order."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.client, []).append(row)
        return found

    def to_data(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {
            "captured": self.is_well,
            "rows": [asdict(row) for row in self.rows],
            "transports": [asdict(transport) for transport in self.transports],
        }


def examine(only: Sequence[str] = (), *, clients: Sequence[Client] = CLIENTS) -> Examination:
    """Ask every shape of the clients that are installed, or of those that `only` names, and tell what became of it.

    Nothing but loopback is reached. Meanwhile the environment holds no variable that a client might take for a key,
    an address or a proxy, and nothing that a client prints is shown.

    Raises:
        UsageError: `only` names a client that is not known.
    """
    known = {client.name: client for client in clients}
    for name in only:
        if name not in known:
            raise UsageError(f"no client {name!r} is known{did_you_mean(name, known)}\n  there are: {', '.join(known)}")
    chosen = [client for client in clients if not only or client.name in only]
    rows: list[Row] = []
    with TemporaryDirectory(prefix="agentops-doctor-") as folder, _without_keys(), _in_silence():
        for client in chosen:
            rows += _examined(client, Path(folder))
    transports = () if only else tuple(each for each in TRANSPORTS if is_installed(each.module))
    return Examination(tuple(rows), transports)


def _examined(client: Client, folder: Path) -> Iterator[Row]:
    if client.missing:
        reason = f"there is no module {' and no module '.join(client.missing)}"
        yield Row(client.name, client.version, None, "not installed", reason)
        return
    try:
        with _alone(folder):
            shapes = client.shapes()
    except (Exception, SystemExit) as error:  # Whatever a foreign package does when it is imported.
        yield Row(client.name, client.version, None, "failed", f"it cannot be imported: {_told(error)}")
        return
    for number, shape in enumerate(shapes):
        row = Row(client.name, client.version, shape.name, "captured")
        try:
            with _alone(folder):
                yield _run(shape, row, folder / f"{client.name}-{number}.yaml")
        except (Exception, SystemExit) as error:  # The same while it is asked.
            yield replace(row, status="failed", reason=f"it failed: {_told(error)}")


def _run(shape: Shape, row: Row, path: Path) -> Row:
    with ScriptedModel(*shape.script) as model:
        heard, trace = _asked(shape, model.url, path, replays=False)
        if model.errors:
            return replace(row, status="failed", reason=f"it asks what the script does not say: {model.errors[0]}")
        answered = len(model.requests)
    if heard != shape.expected:
        return replace(row, status="failed", reason=f"it made {_short(heard)} of {_short(shape.expected)}")
    if trace.exchanges < answered:
        return replace(row, status="not captured", reason=_unseen(shape, trace.exchanges, answered))
    row = replace(row, seen=True)
    if misread := "; ".join(_misread(shape, trace)):
        return replace(row, status="not captured", reason=f"it was seen and is not read as it was said: {misread}")
    row = replace(row, decoded=True)
    try:
        again, replayed = _asked(shape, model.url, path, replays=True)
    except (Exception, SystemExit) as error:
        return replace(row, status="not captured", reason=f"it was recorded and is not replayed: {_told(error)}")
    if again != heard:
        return replace(row, status="not captured", reason=f"it replayed {_short(again)} for {_short(heard)}")
    if replayed != replace(trace, source="replayed"):
        changed = ", ".join(
            key for key, value in vars(trace).items() if value != vars(replayed)[key] and key != "source"
        )
        return replace(row, status="not captured", reason=f"the replay has another trace, in its {changed}")
    return replace(row, replayed=True)


def _asked(shape: Shape, url: str, path: Path, *, replays: bool) -> tuple[Heard, Trace]:
    session = Session(path, mode="none" if replays else "once", name="doctor", equipment=Equipment(root=path.parent))
    with session.open():
        heard = shape.ask(url)
        trace = session.recording.freeze()
    if replays:
        session.check(teardown=True)
    session.close("passed")
    return heard, trace


def _unseen(shape: Shape, seen: int, answered: int) -> str:
    """Why a shape that got its answer was not recorded, and what would become of it in a replay."""
    with ScriptedModel(*shape.script) as model:
        alone = _Alone(Hosts([f"!127.0.0.1:{model.port}"]))
        with protecting(alone, lambda: alone), suppress(Exception, SystemExit):
            shape.ask(model.url)
        refused = bool(alone.refusals) and not model.requests
    then = "a replay refuses its sockets" if refused else "a replay does not notice it, and it goes live"
    return f"{seen} of {answered} requests were seen, the others go past every client that is watched; {then}"


# --- what was said ---------------------------------------------------------------------------------------------------


def _misread(shape: Shape, trace: Trace) -> Iterator[str]:
    """Where the trace is not what the script says."""
    if len(trace.model_calls) != len(shape.script):
        yield f"{len(trace.model_calls)} model calls instead of {len(shape.script)}"
        return
    for number, (call, reply) in enumerate(zip(trace.model_calls, shape.script, strict=True), 1):
        at = f" of call {number}" if len(shape.script) > 1 else ""
        if isinstance(reply, Says | Asks):
            pairs = _pairs(call, reply, tells_usage=shape.tells_usage)
        else:
            pairs = _pairs_of_embeddings(call, reply)
        for what, said, read in pairs:
            if said != read:
                yield f"the {what}{at} is {read!r} instead of {said!r}"


def _pairs(call: ModelCall, reply: Says | Asks, *, tells_usage: bool) -> Iterator[tuple[str, object, object]]:
    yield "error", None, call.error
    yield "text", reply.text, str(call.response)
    asked = [(tool.name, tool.arguments_value) for tool in reply.tool_requests]
    yield "tool calls", asked, [(tool.name, tool.arguments) for tool in call.tool_calls]
    yield "finish reason", reply.finish_reason, call.finish_reason
    used = call.usage
    counts = (reply.input_tokens, reply.output_tokens, reply.cached_tokens) if tells_usage else None
    yield (
        "usage (input, output, cached tokens)",
        counts,
        used and (used.input_tokens, used.output_tokens, used.cached_input_tokens),
    )


def _pairs_of_embeddings(call: ModelCall, reply: Reply) -> Iterator[tuple[str, object, object]]:
    yield "error", None, call.error
    yield "operation", "embeddings", call.operation
    counts = reply.input_tokens if isinstance(reply, Embeds) else None
    yield "usage (input tokens)", counts, call.usage and call.usage.input_tokens


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _told(error: BaseException) -> str:
    """The error on one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:300]}" if message else type(error).__name__


# --- the surroundings ------------------------------------------------------------------------------------------------


@dataclass
class _Alone:
    """What nothing may leave while a client is examined, recording included."""

    hosts: Hosts = field(default_factory=Hosts)
    root: Path = field(default_factory=Path.cwd)
    name: str = "pytest-agentops doctor"
    refusals: list[Refusal] = field(default_factory=list)

    def refused(self, refusal: Refusal) -> None:
        """Remember it."""
        self.refusals.append(refusal)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse whatever would leave this machine."""
    alone = _Alone(root=folder)
    with protecting(alone, lambda: alone):
        yield


_KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|PWD|LANG|LANGUAGE|LC_\w+|TZ|TERM|COLUMNS|LINES|TMPDIR|TEMP|TMP|VIRTUAL_ENV"
    r"|PYTHON\w+|LD_\w+|DYLD_\w+|SYSTEMROOT|SYSTEMDRIVE|WINDIR|COMSPEC|PATHEXT|APPDATA|LOCALAPPDATA|USERPROFILE"
)
"""What a process needs. Everything else may be a key or lead elsewhere, and no list of those would be whole."""

_ADDED = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NETRC": os.devnull,
    "HF_HUB_OFFLINE": "1",
}
"""What keeps clients from the keys that files hold, and from asking for some."""


@contextmanager
def _without_keys() -> Iterator[None]:
    before = dict(os.environ)
    kept = {name: value for name, value in before.items() if _KEPT.fullmatch(name.upper())}
    try:
        _set_environment(kept | _ADDED)
        yield
    finally:
        _set_environment(before)


def _set_environment(variables: dict[str, str]) -> None:
    for name in set(os.environ) - set(variables):
        del os.environ[name]
    os.environ.update(variables)


@contextmanager
def _in_silence() -> Iterator[None]:
    """What clients print and warn of is not what was asked for."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
