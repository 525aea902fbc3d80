"""Which recorded tests a change of prompts touches: those whose requests it changes, with the inputs they had.

A change inside a branch that a test's inputs never take does not touch it. What is not known counts as touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_agentops.errors import CassetteError, PromptError
from pytest_agentops.kinds import ENDING
from pytest_agentops.prompt import Prompt
from pytest_agentops.repository import PromptRepository
from pytest_agentops.revision import Revision
from pytest_agentops.tape import load
from pytest_agentops.trace import Render
from pytest_agentops.versions import LABELS, LOCK


@dataclass(frozen=True)
class Touch:
    """Why a change of one prompt touches a test."""

    prompt: str
    reason: str
    inputs: Mapping[str, Any]
    """Those with which it is seen."""


@dataclass(frozen=True)
class Effect:
    """What a change means for one recorded test."""

    cassette: Path
    prompts: tuple[str, ...]
    """The prompts that the test rendered."""
    touched: tuple[Touch, ...]

    @property
    def affected(self) -> bool:
        """Whether the test has to run."""
        return bool(self.touched)


@dataclass(frozen=True)
class RecordedTest:
    """One test and what it has recorded."""

    name: str
    file: Path
    cassettes: tuple[Path, ...]
    """Its own first, which need not be there; then those of shared fixtures that may be its."""
    pinned: tuple[str, ...] = ()
    """The prompts whose version it names itself."""


class Impact:
    """A change of prompts from one state to another."""

    def __init__(self, base: PromptRepository, head: PromptRepository) -> None:
        self.base = base
        self.head = head
        self._revisions: dict[str, Revision | str | None] = {}

    def of(self, cassette: Path, renders: Iterable[Render], pinned: Sequence[str] = ()) -> Effect:
        """What it means for the test that recorded these renders; `pinned` are prompts whose version the test names."""
        seen = list(renders)
        touched = tuple(
            touch for render in _different(seen) if render.name not in pinned and (touch := self._touch(render))
        )
        return Effect(cassette, tuple(dict.fromkeys(render.name for render in seen)), touched)

    def untouched(self, test: RecordedTest) -> str | None:
        """Why a test need not run; None where it has to, or where that is not known.

        Raises:
            HistoryError: the base is not in a git repository.
        """
        file = self._inside(test.file)
        own, *_ = test.cassettes
        if any(path == file or not _is_another_test(path) for path in self.code()):
            return None
        if not own.is_file() or any(map(self.recording_changed, test.cassettes)):
            return None
        try:
            tapes = [(tape.of(test.name) or tape) for tape in map(load, test.cassettes)]
        except CassetteError:
            return None
        effect = self.of(own, (render for tape in tapes for render in tape.prompts), test.pinned)
        if effect.affected:
            return None
        return f"its requests are what they were: {', '.join(effect.prompts) or 'it renders no prompt'}"

    def code(self) -> list[str]:
        """The files besides prompts, cassettes and Markdown that changed since the base: they may touch any test.

        Raises:
            HistoryError: the base is not in a git repository.
        """
        history = self.head.history
        return [
            path
            for path in sorted(self._changed)
            if not (_is_of_prompts(path, history.prefix) or "/cassettes/" in f"/{path}" or path.endswith(".md"))
        ]

    def recording_changed(self, cassette: Path) -> bool:
        """Whether a cassette is not as it was at the base.

        Raises:
            HistoryError: the base is not in a git repository.
        """
        return self._inside(cassette) in self._changed

    def _inside(self, path: Path) -> str:
        root = self.head.history.root
        return path.resolve().relative_to(root).as_posix() if path.resolve().is_relative_to(root) else str(path)

    @cached_property
    def _changed(self) -> frozenset[str]:
        return frozenset(self.head.history.changed_since(self.base.head))

    @cached_property
    def _labels(self) -> tuple[Mapping[str, Mapping[str, str]], Mapping[str, Mapping[str, str]]]:
        return self.base.labels, self.head.labels

    def _touch(self, render: Render) -> Touch | None:
        before, after = self._labels
        if before.get(render.name) != after.get(render.name):
            return Touch(render.name, "a label of it points elsewhere", render.inputs)
        revision = self._revision(render.name)
        if revision is None or isinstance(revision, str):
            return None if revision is None else Touch(render.name, revision, render.inputs)
        reasons = list(differing(revision, render.inputs))
        return Touch(render.name, "; ".join(reasons), render.inputs) if reasons else None

    def _revision(self, name: str) -> Revision | str | None:
        """What became of a prompt; a reason where that is not known, None where nothing did."""
        if name not in self._revisions:
            self._revisions[name] = self._found(name)
        return self._revisions[name]

    def _found(self, name: str) -> Revision | str | None:
        sides: list[Prompt | str] = []
        for side, prompts in (("base", self.base), ("head", self.head)):
            try:
                sides.append(prompts.at_hand(name))
            except PromptError as error:
                there = name in prompts.tree.names()
                sides.append(f"it cannot be read at the {side}: {error}" if there else f"it is not there at the {side}")
        old, new = sides
        if isinstance(old, str) or isinstance(new, str):
            return "; ".join(side for side in sides if isinstance(side, str))
        return None if old.digest == new.digest else Revision(old, new)


def _is_of_prompts(path: str, prefix: str) -> bool:
    """Whether a file is looked at as a prompt, or says something of prompts alone."""
    return path.startswith(prefix) and path.endswith((ENDING, LOCK, LABELS))


def _is_another_test(path: str) -> bool:
    """Whether a file holds tests alone, by its name, so that it touches none but its own."""
    name = path.rpartition("/")[2]
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


def differing(revision: Revision, inputs: Mapping[str, Any]) -> Iterator[str]:
    """What of a request differs between two states of a prompt, with the same inputs; nothing where it is the same."""
    for key in ("model", "tools", "outputs"):
        if revision.old.front_matter.get(key) != revision.new.front_matter.get(key):
            yield f"another {'output schema' if key == 'outputs' else key}"
    # What was recorded as it is by default was not given, and the default may be another one now.
    defaults = {name: wanted.default for name, wanted in revision.old.inputs.items() if not wanted.required}
    given = {name: value for name, value in inputs.items() if name not in defaults or value != defaults[name]}
    [twice] = revision.rendered([given])
    if isinstance(twice.new, str):
        yield f"it fails with what was recorded: {twice.new.splitlines()[0]}"
    elif isinstance(twice.old, str):
        yield f"it failed before with what was recorded: {twice.old.splitlines()[0]}"
    elif len(twice.old) != len(twice.new):
        yield f"{len(twice.new)} messages instead of {len(twice.old)}"
    else:
        for index, (was, now) in enumerate(zip(twice.old, twice.new, strict=True)):
            if was != now:
                yield f"message {index} ({now['role']}) differs"


def _different(renders: Iterable[Render]) -> Iterator[Render]:
    """Each render once."""
    seen: list[tuple[str, Mapping[str, Any]]] = []
    for render in renders:
        if (render.name, render.inputs) not in seen:
            seen.append((render.name, render.inputs))
            yield render
