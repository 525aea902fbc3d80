"""Which recorded tests a change of prompts touches: those whose requests it changes, with the inputs they had.

A change inside a branch that a test's inputs never take does not touch it. What is not known counts as touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from pytest_agentops.trees import is_partial
from pytest_agentops.versions import LABELS, LOCK

REPORT_MARK = "<!-- pytest-agentops -->"
"""With what a report in Markdown begins."""
_REPORT_MARKS = {
    ".md": REPORT_MARK.encode(),
    ".html": b'<meta name="generator" content="pytest-agentops">',
    ".json": b'"$schema": "urn:pytest-agentops:report:',
}
"""What stands at the beginning of a report, by the end of its file's name."""


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
    cassette: Path
    """It need not be there."""
    shared: tuple[Path, ...] = ()
    """The folders of the cassettes of shared fixtures that it uses."""
    pins: Mapping[str, str] = field(default_factory=dict)
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
        if file is None or any(path == file or not _is_another_test(path, test.file) for path in self.code()):
            return None
        shared = [path for folder in test.shared for path in sorted(folder.glob("*.yaml"))]
        if not test.cassette.is_file() or any(map(self.recording_changed, [test.cassette, *shared])):
            return None
        if any(self._changed_below(folder) for folder in test.shared):
            return None
        try:
            tapes = [(tape.of(test.name) or tape) for tape in map(load, [test.cassette, *shared])]
        except CassetteError:
            return None
        if self.revised and any(not call.prompts for tape in tapes for call in tape.trace().model_calls):
            return None  # What it was told came from somewhere else, perhaps from a prompt all the same.
        if any(map(self._repinned, test.pins.items())):
            return None
        effect = self.of(test.cassette, (render for tape in tapes for render in tape.prompts), list(test.pins))
        if effect.affected:
            return None
        return f"its requests are what they were: {', '.join(effect.prompts) or 'it renders no prompt'}"

    def code(self) -> list[str]:
        """The files that changed since the base and are no prompts, recordings or notes for people: code, perhaps.

        Raises:
            HistoryError: the base is not in a git repository.
        """
        history = self.head.history
        return [
            path
            for path in sorted(self._changed)
            if not (_is_of_prompts(path, history.prefix) or _is_recorded(path) or _is_read_by_people(path))
            and not is_report(history.root / path)
        ]

    def recording_changed(self, cassette: Path) -> bool:
        """Whether a cassette is not as it was at the base.

        Raises:
            HistoryError: the base is not in a git repository.
        """
        inside, history = self._inside(cassette), self.head.history
        # What git does not know of may have been anything.
        return (
            inside is None
            or inside in self._changed
            or inside not in history.everything(history.commit(self.base.head))
        )

    def _changed_below(self, folder: Path) -> bool:
        inside = self._inside(folder)
        return inside is None or any(path.startswith(f"{inside}/") for path in self._changed)

    def _inside(self, path: Path) -> str | None:
        """Where it is in the repository; None outside of it."""
        root = self.head.history.root
        return path.resolve().relative_to(root).as_posix() if path.resolve().is_relative_to(root) else None

    @cached_property
    def revised(self) -> bool:
        """Whether any prompt is another one than at the base."""
        names = {*self.base.tree.names(), *self.head.tree.names()}
        return any(self._revision(name) is not None for name in names if not is_partial(name))

    def _repinned(self, pin: tuple[str, str]) -> bool:
        """Whether the version that a test names is another one, or not to be found."""
        name, version = pin
        if version == "worktree":
            return self._revision(name) is not None
        try:
            return self.base.resolve(name, version).digest != self.head.resolve(name, version).digest
        except PromptError:
            return True

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
        if "REDACTED-" in json.dumps(render.inputs, default=str):
            return Touch(render.name, "an input of it was not recorded as it was", render.inputs)
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


def _is_recorded(path: str) -> bool:
    return "/cassettes/" in f"/{path}" and (path.endswith(".yaml") or ".bodies/" in path)


def _is_read_by_people(path: str) -> bool:
    name = path.rpartition("/")[2].upper()
    return path.startswith("docs/") or name.startswith(("README", "CHANGELOG", "CONTRIBUTING", "LICENSE"))


def is_report(path: Path) -> bool:
    """Whether a file is a report of ours, which may stand beside the code that it tells of."""
    mark = _REPORT_MARKS.get(path.suffix.lower())
    if mark is None or not path.is_file():
        return False
    with path.open("rb") as file:
        return mark in file.read(400)


def _is_another_test(path: str, own: Path) -> bool:
    """Whether a file holds tests alone, by its name, and this one does not name it, so that it touches none of its."""
    name = path.rpartition("/")[2]
    if not (name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))):
        return False
    return name.removesuffix(".py") not in own.read_text(encoding="utf-8", errors="replace")


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
