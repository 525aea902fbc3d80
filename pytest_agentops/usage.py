"""Who uses a prompt: recorded tests, with the inputs they gave it, and code that names it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_agentops.errors import CassetteError
from pytest_agentops.housekeeping import cassettes
from pytest_agentops.tape import load
from pytest_agentops.trace import Render

_SKIPPED = {"node_modules", "site-packages", "__pycache__", "venv", "env", "build", "dist"}


@dataclass(frozen=True)
class Mention:
    """One place in code that names a prompt."""

    path: Path
    line: int
    text: str
    """The reference as it is written, such as `support/triage@production`."""


@dataclass(frozen=True)
class Recorded:
    """One render of a prompt that a cassette knows of."""

    cassette: Path
    version: str | None
    digest: str
    inputs: Mapping[str, Any] = field(hash=False)


class Usage:
    """What a project's cassettes and code say of its prompts."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def renders(self) -> Mapping[Path, Sequence[Render]]:
        """The renders that each cassette of the project knows of; unreadable ones are left out."""
        found = {}
        for path in cassettes([self.root]):
            try:
                found[path] = load(path).prompts
            except CassetteError:
                continue
        return found

    @cached_property
    def recorded(self) -> Mapping[str, Sequence[Recorded]]:
        """Every render that a cassette of the project knows of, by the prompt's name."""
        found: dict[str, list[Recorded]] = {}
        for path, renders in self.renders.items():
            for render in renders:
                found.setdefault(render.name, []).append(Recorded(path, render.version, render.digest, render.inputs))
        return found

    def inputs(self, name: str) -> list[Mapping[str, Any]]:
        """The different inputs with which recorded tests rendered a prompt."""
        found: list[Mapping[str, Any]] = []
        for each in self.recorded.get(name, ()):
            if each.inputs not in found:
                found.append(each.inputs)
        return found

    def cassettes(self, name: str) -> list[Path]:
        """The cassettes of the tests that rendered a prompt."""
        return list(dict.fromkeys(each.cassette for each in self.recorded.get(name, ())))

    def mentions(self, name: str) -> Iterator[Mention]:
        """The places in Python code that name a prompt in a text of its own."""
        wanted = re.compile(rf"{re.escape(name)}(?:[@|:].*)?", re.DOTALL)
        for path in self._code():
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
                tree = ast.parse(text if name in text else "")
            except (OSError, SyntaxError, ValueError, RecursionError):
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and wanted.fullmatch(node.value):
                    yield Mention(path, node.lineno, node.value)

    def _code(self) -> Iterator[Path]:
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(each for each in folders if each not in _SKIPPED and not each.startswith("."))
            yield from (Path(folder, each) for each in sorted(files) if each.endswith(".py"))
