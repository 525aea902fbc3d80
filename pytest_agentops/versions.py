"""Semantic versions, and the two files that name them: `prompts.lock` and `labels.toml`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import total_ordering
from typing import Any, Literal

from pytest_agentops.errors import LockError, PromptError

Level = Literal["none", "patch", "minor", "major"]
LEVELS: tuple[Level, ...] = ("none", "patch", "minor", "major")
"""From the least to the most."""

_SEMVER = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_RANGE = re.compile(r"([\^~]?)(0|[1-9]\d{0,8})(?:\.(0|[1-9]\d{0,8}))?(?:\.(0|[1-9]\d{0,8}))?(?:\.[x*])?")


@total_ordering
@dataclass(frozen=True)
class Semver:
    """A semantic version (semver.org, 2.0.0)."""

    major: int
    minor: int
    patch: int
    prerelease: str = ""

    @classmethod
    def parse(cls, text: str) -> Semver:
        """The version that this text says.

        Raises:
            PromptError: it is none.
        """
        found = _SEMVER.fullmatch(text)
        if found is None:
            raise PromptError(f"{text!r} is no semantic version; write one such as 1.3.0")
        return cls(int(found[1]), int(found[2]), int(found[3]), found[4] or "")

    def raised(self, level: Level) -> Semver:
        """The next version of this level; itself for `none`. What follows a prerelease is its release."""
        if self.prerelease and level != "none":
            return Semver(self.major, self.minor, self.patch)
        match level:
            case "major":
                return Semver(self.major + 1, 0, 0)
            case "minor":
                return Semver(self.major, self.minor + 1, 0)
            case "patch":
                return Semver(self.major, self.minor, self.patch + 1)
        return self

    def _order(self) -> tuple[Any, ...]:
        parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.prerelease.split(".")]
        return self.major, self.minor, self.patch, not self.prerelease, parts

    def __lt__(self, other: Semver) -> bool:
        return self._order() < other._order()

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}{'-' * bool(self.prerelease)}{self.prerelease}"


def is_semver(text: str) -> bool:
    """Whether this is a semantic version."""
    return _SEMVER.fullmatch(text) is not None


def is_range(text: str) -> bool:
    """Whether this asks for the newest of several versions: `^1.2`, `~1.2.3`, `1`, `1.2.x`."""
    return _RANGE.fullmatch(text) is not None and _SEMVER.fullmatch(text) is None


def newest(wanted: str, versions: Iterable[str]) -> str | None:
    """The newest of these versions that a range allows; a prerelease never is. `^1.2` allows 1.x from 1.2 on."""
    found = _RANGE.fullmatch(wanted)
    assert found is not None
    given = [int(part) for part in found.groups()[1:] if part is not None]
    major, minor, patch = [*given, 0, 0][:3]
    least = Semver(major, minor, patch)
    # What has to stay: with ^ all up to the first that is not 0, with ~ major and minor, else what is written.
    kept = len(given)
    if found[1] == "^":
        kept = next((index + 1 for index, part in enumerate(given) if part), kept)
    elif found[1] == "~":
        kept = min(2, len(given))

    def allowed(version: Semver) -> bool:
        parts = (version.major, version.minor, version.patch)
        return not version.prerelease and version >= least and parts[:kept] == tuple(given[:kept])

    return max((each for each in versions if allowed(Semver.parse(each))), key=Semver.parse, default=None)


# --- prompts.lock ----------------------------------------------------------------------------------------------------

LOCK = "prompts.lock"
_HEAD = "# Which digest each prompt has at which version; written by: pytest-agentops prompts bump, prompts lock\n"


@dataclass(frozen=True)
class Locked:
    """One line of the lock."""

    version: str | None
    """None for a partial, which has no version of its own."""
    digest: str


def read_lock(text: str | None, path: str) -> dict[str, Locked]:
    """What the lock says, by name; nothing where there is none.

    Raises:
        LockError: a line that cannot be understood, or the markers of a merge; the message names the line.
    """
    found: dict[str, Locked] = {}
    for number, line in enumerate((text or "").splitlines(), 1):
        if re.match(r"<{7}|={7}|>{7}|\|{7}", line):
            raise LockError(
                f"{path}:{number}: it holds the markers of an unresolved merge\n"
                "  two branches claimed the same version, or neighbouring lines changed: remove the markers, bump the\n"
                "  prompt that both have changed once more, then: pytest-agentops prompts lock"
            )
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split()
        if len(parts) != 3 or not re.fullmatch(r"sha256:[0-9a-f]{64}", parts[2]) or not _is_version(parts[1]):
            raise LockError(
                f"{path}:{number}: {line[:80]!r} is no line of a lock: it has a name, a version and a digest\n"
                "  to write it anew: pytest-agentops prompts lock"
            )
        if parts[0] in found:
            raise LockError(
                f"{path}:{number}: {parts[0]} is there twice\n  to write it anew: pytest-agentops prompts lock"
            )
        found[parts[0]] = Locked(None if parts[1] == "-" else parts[1], parts[2])
    return found


def _is_version(text: str) -> bool:
    return text == "-" or _SEMVER.fullmatch(text) is not None


def written_lock(locked: Mapping[str, Locked]) -> str:
    """The text of a lock: one line for each name, sorted, so that two branches that change one prompt conflict."""
    lines = [f"{name} {each.version or '-'} {each.digest}\n" for name, each in sorted(locked.items())]
    return _HEAD + "".join(lines)


# --- labels.toml -----------------------------------------------------------------------------------------------------

LABELS = "labels.toml"
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def read_labels(text: str | None, path: str) -> dict[str, dict[str, str]]:
    """Which version each label of each prompt points to.

    Raises:
        LockError: it is no TOML, or says something else.
    """
    import tomllib

    try:
        data = tomllib.loads(text or "")
    except tomllib.TOMLDecodeError as error:
        raise LockError(f"{path}: it is not TOML: {error}") from None
    found: dict[str, dict[str, str]] = {}
    for name, labels in data.items():
        if not isinstance(labels, dict):
            raise LockError(f'{path}: {name} is no table; write ["{name}"] and below it: production = "1.3.0"')
        for label, version in labels.items():
            if not isinstance(version, str) or not _SEMVER.fullmatch(version):
                raise LockError(f'{path}: {label} of {name} is {version!r}; write a version, such as "1.3.0"')
            if not _LABEL.fullmatch(label):
                raise LockError(f"{path}: {label!r} of {name} is no name of a label: letters, digits, - and _")
        found[name] = dict(labels)
    return found


def with_label(text: str | None, name: str, label: str, version: str | None) -> str:
    """The text with this label pointing to this version, or gone; comments and order stay.

    Raises:
        LockError: the label has a name that none may have.
    """
    import tomlkit

    if not _LABEL.fullmatch(label):
        raise LockError(f"{label!r} is no name of a label: letters, digits, - and _")
    document = tomlkit.parse(text or "")
    table: Any = document.get(name)
    if version is not None:
        if table is None:
            table = document[name] = tomlkit.table()
        table[label] = version
    elif table is not None:
        table.pop(label, None)
        if not table:
            document.remove(name)
    return tomlkit.dumps(document)
