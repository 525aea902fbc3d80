"""The settings of a project: one frozen value that remembers where each part came from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pytest_agentops.errors import SettingsError, did_you_mean
from pytest_agentops.gates import Gates
from pytest_agentops.guard import Hosts
from pytest_agentops.models import Models
from pytest_agentops.redaction import Rules
from pytest_agentops.transports import Pace

RecordMode = Literal["none", "once", "changed", "all", "verify", "live"]
MODES: tuple[RecordMode, ...] = get_args(RecordMode)


@dataclass(frozen=True)
class Settings:
    """What `[tool.agentops]`, the environment and the command line say, the last one first."""

    root: Path
    """The folder of the project: relative paths start here."""
    record: RecordMode = "once"
    """What may go live; `none` by default where `CI` is set."""
    prompts: Path = Path("prompts")
    """The prompts folder."""
    base: str | None = None
    """The commit, branch or tag that changes are compared with; where this branch left the main one, if not given."""
    ignore: tuple[str, ...] = ()
    """JSON paths into request bodies that do not count when a request is looked up."""
    allow_hosts: tuple[str, ...] = ()
    """What may be reached while nothing may go live, besides loopback."""
    redact: Rules = field(default_factory=Rules)
    """What counts as a secret, besides what always does."""
    scope: Literal["tests", "all"] = "tests"
    """Whether only tests that use us are kept from the network, or the whole session."""
    timing: Pace = "none"
    """Whether replayed answers take the time they took."""
    models: Models = field(default_factory=Models)
    """Models that are gone, and where to ask those that the project names."""
    trials: int = 1
    """How many takes of each test there are."""
    gate: Gates = field(default_factory=Gates)
    """The bounds that decide whether a change may go on."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where each setting came from."""

    @property
    def drafts(self) -> Path:
        """Where recordings of failed runs wait for the next one."""
        return self.root / ".agentops" / "drafts"


def project_root(start: Path) -> Path:
    """The project's folder: the nearest one around `start` with a `pyproject.toml` or a `.git`, else itself."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file() or (folder / ".git").exists():
            return folder
    return start


def read_settings(
    root: Path, options: Mapping[str, Any] | None = None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """The settings of the project at `root`; `options` are those of the command line that were given.

    Raises:
        SettingsError: an unknown key, or a value that cannot be used; the message says where it stands.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if environment.get("CI"):
        values["record"], origins["record"] = "none", "the environment (CI)"
    sources = (
        ("pyproject.toml", _table(root / "pyproject.toml")),
        ("the environment", _from_environment(environment)),
        ("the command line", options or {}),
    )
    for origin, given in sources:
        for name, value in given.items():
            values[name] = _checked(name, value, root, origin)
            origins[name] = origin
    return Settings(root=root, **{"prompts": root / "prompts", **values}, origins=origins)


def _table(path: Path) -> Mapping[str, Any]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    tools = data.get("tool", {})
    table = tools.get("agentops", {}) if isinstance(tools, Mapping) else None
    if not isinstance(table, Mapping):
        raise SettingsError(f"{path}: agentops under [tool] must be a table: write [tool.agentops]")
    return table


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _CHECKS:
        if value := environment.get(f"AGENTOPS_{name.upper()}"):
            found[name] = _READ.get(name, str)(value)
    return found


def _checked(name: str, value: Any, root: Path, origin: str) -> Any:
    if name not in _CHECKS:
        hint = did_you_mean(name, _CHECKS)
        raise SettingsError(
            f"[tool.agentops] in {origin} has no setting {name!r}{hint}; there are: {', '.join(_CHECKS)}"
        )
    return _CHECKS[name](name, value, root, origin)


def _record(name: str, value: Any, _root: Path, origin: str) -> str:
    if value not in MODES:
        hint = did_you_mean(value, MODES)
        raise SettingsError(f"{name} = {value!r} in {origin} is no record mode{hint}; there are: {', '.join(MODES)}")
    return str(value)


def _folder(name: str, value: Any, root: Path, origin: str) -> Path:
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{name} = {value!r} in {origin} must be the path of a folder, as text")
    return root / value


def _ref(name: str, value: Any, _root: Path, origin: str) -> str:
    if not isinstance(value, str) or not value.strip() or value.startswith("-"):
        raise SettingsError(f"{name} = {value!r} in {origin} must be a commit, a branch or a tag, as text")
    return value


def _paths(name: str, value: Any, _root: Path, origin: str) -> tuple[str, ...]:
    return json_paths(value, f"{name} = {value!r} in {origin}")


def json_paths(value: object, what: str) -> tuple[str, ...]:
    """The JSON paths in a list of them; `what` says in an error where it stands.

    Raises:
        SettingsError: it is no list of texts, or one of them is no JSON path.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(path, str) for path in value):
        raise SettingsError(f'{what} must be a list of JSON paths, such as ["$.metadata.id"]')
    if value:
        import jsonpath

        for path in value:
            try:
                jsonpath.compile(path)
            except jsonpath.JSONPathError as error:
                raise SettingsError(f"{what}: {path!r} is no JSON path: {str(error).splitlines()[0]}") from None
    return tuple(value)


def _hosts(name: str, value: Any, _root: Path, origin: str) -> tuple[str, ...]:
    what = f"{name} = {value!r} in {origin}"
    if not isinstance(value, list | tuple) or not all(isinstance(host, str) for host in value):
        raise SettingsError(f'{what} must be a list of hosts, such as ["db.internal", "10.0.0.0/8:5432"]')
    try:
        Hosts(value)
    except ValueError as error:
        raise SettingsError(f"{what}: {error}") from None
    return tuple(value)


def _rules(name: str, value: Any, _root: Path, origin: str) -> Rules:
    return Rules.from_table(value, f"{name} in {origin}")


def _models(name: str, value: Any, _root: Path, origin: str) -> Models:
    return Models.from_table(value, f"[tool.agentops.{name}] in {origin}")


def _count(name: str, value: Any, _root: Path, origin: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1000:
        raise SettingsError(f"{name} = {value!r} in {origin} must be a number from 1 to 1000")
    return value


def _gates(name: str, value: Any, _root: Path, origin: str) -> Gates:
    return Gates.from_table(value, f"[tool.agentops.{name}] in {origin}")


def _one_of(*choices: str) -> Any:
    def check(name: str, value: Any, _root: Path, origin: str) -> str:
        if value not in choices:
            raise SettingsError(f"{name} = {value!r} in {origin} must be one of: {', '.join(choices)}")
        return str(value)

    return check


_CHECKS = {
    "record": _record,
    "prompts": _folder,
    "base": _ref,
    "ignore": _paths,
    "allow_hosts": _hosts,
    "redact": _rules,
    "scope": _one_of("tests", "all"),
    "timing": _one_of("none", "recorded"),
    "models": _models,
    "gate": _gates,
    "trials": _count,
}


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _inline_table(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"{text!r} in the environment is no TOML table, such as {{patterns = ['x-[0-9]+']}}: {error}"
        ) from None


_READ: dict[str, Any] = {"ignore": _listed, "allow_hosts": _listed, "redact": _inline_table, "models": _inline_table,
                         "gate": _inline_table}  # fmt: skip
"""How a value in the environment is written, where it is more than a text."""
