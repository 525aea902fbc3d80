"""Tiny projects in which pytest and other commands really run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class CommandRun:
    """What a finished command left behind."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        """The lines of `stdout`."""
        return self.stdout.splitlines()


_RULE = re.compile(r"([=_-])\1* (?P<title>.*\S) \1+")
_RULE_RANKS = "-_="
_SUMMARY = re.compile(r"(?:=+ )?(?P<counts>\S.*) in \d+\.\d+s\b.*")
_COUNT = re.compile(r"(\d+) (\w+)(?=,|$)")
_PLURALS = {"error": "errors", "warning": "warnings"}


@dataclass(frozen=True)
class PytestRun(CommandRun):
    """What a finished pytest left behind."""

    @property
    def outcomes(self) -> dict[str, int]:
        """The counts of pytest's last summary line, such as `{"passed": 2, "errors": 1}`; empty without any.

        The nouns are pytest's own, with `errors` and `warnings` always in the plural.
        """
        for line in reversed(self.lines):
            if summary := _SUMMARY.fullmatch(line):
                counts = _COUNT.findall(summary["counts"])
                return {_PLURALS.get(noun, noun): int(count) for count, noun in counts}
        return {}

    def section(self, title: str) -> str:
        """The text below the rule `--- title ---` (or `=== title ===`, `___ title ___`) of the report.

        It ends at the next rule of the same or of a higher kind, where `=` is above `_` and `_` above `-`. The first
        section counts when several have the title; `LookupError` names the titles there are when none has it.
        """
        lines = self.lines
        titles: list[str] = []
        for number, line in enumerate(lines):
            if rule := _RULE.fullmatch(line):
                titles.append(rule["title"])
                if rule["title"] == title:
                    return "\n".join(_until_rule(lines[number + 1 :], line[0]))
        raise LookupError(f"no section {title!r} in the report; it has {', '.join(map(repr, titles)) or 'none at all'}")


def _until_rule(lines: list[str], kind: str) -> Iterator[str]:
    ends = _RULE_RANKS[_RULE_RANKS.index(kind) :]
    for line in lines:
        # Three signs at least: a shorter row may be text, such as an item of a list.
        if _RULE.fullmatch(line) and line[0] in ends and line.startswith(line[0] * 3):
            return
        yield line


_DROPPED = re.compile(r"(OPENAI|AGENTOPS|PYTEST)_.*|CI|BUILD_NUMBER|PY_COLORS")
"""What would make pytest or an agent in a tiny project depend on where its test happens to run."""

_FIXED = {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", "COLUMNS": "120"}


@dataclass(frozen=True)
class TinyProject:
    """A directory with a `pyproject.toml` of its own, in which pytest and other commands really run."""

    path: Path
    plugins: tuple[str, ...] | None = None
    """The plugins that pytest loads beside its own, by the names that `-p` takes; None loads whatever is installed.

    A run that loads only what it needs starts in a fraction of the time.
    """

    def __post_init__(self) -> None:
        if not (self.path / "pyproject.toml").exists():
            # Pytest takes the directory for its rootdir because of this table, even an empty one.
            self.write("pyproject.toml", "[tool.pytest.ini_options]\n")

    def write(self, relative_path: str, text: str) -> Path:
        """The path of a file that now holds `text`, without its common indentation and its first line if empty."""
        path = self.path / relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).removeprefix("\n"), encoding="utf-8")
        return path

    def run(self, *pytest_args: str, env: Mapping[str, str | None] | None = None, timeout: float = 120) -> PytestRun:
        """What pytest did in a process of its own; raises `subprocess.TimeoutExpired` after `timeout` seconds.

        The environment is the present one without `CI` and without what starts with `OPENAI_`, `AGENTOPS_` or
        `PYTEST_`. `env` adds variables, or removes those that it sets to None.
        """
        done = self._finished([sys.executable, "-m", "pytest", *pytest_args], env, timeout)
        return PytestRun(done.returncode, done.stdout, done.stderr)

    def command(self, *args: str, env: Mapping[str, str | None] | None = None, timeout: float = 120) -> CommandRun:
        """What any command did, run in the same way as pytest."""
        done = self._finished(list(args), env, timeout)
        return CommandRun(done.returncode, done.stdout, done.stderr)

    def _finished(
        self, args: list[str], env: Mapping[str, str | None] | None, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            args,
            cwd=self.path,
            env=_environment({**self._loading(), **(env or {})}),
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )

    def _loading(self) -> dict[str, str]:
        """What makes every pytest that is started in the project load these plugins and no others."""
        if self.plugins is None:
            return {}
        loaded = " ".join(f"-p {name}" for name in self.plugins)
        return {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": loaded}


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not _DROPPED.fullmatch(name)}
    wanted: dict[str, str | None] = {**inherited, **_FIXED, **changes}
    return {name: value for name, value in wanted.items() if value is not None}


@pytest.fixture
def tiny_project(tmp_path: Path) -> TinyProject:
    """An empty `TinyProject` in the test's temporary directory."""
    return TinyProject(tmp_path)
