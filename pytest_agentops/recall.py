"""What recordings know: which answers a prompt was given with which inputs, so that none has to be paid for again."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_agentops.assembly import trace_of
from pytest_agentops.datasets import Case
from pytest_agentops.errors import AgentopsError, CassetteError, PromptError
from pytest_agentops.exchange import Exchange
from pytest_agentops.housekeeping import cassettes
from pytest_agentops.prompt import Prompt
from pytest_agentops.repository import PromptRepository
from pytest_agentops.tape import Tape, load
from pytest_agentops.trace import Render


@dataclass(frozen=True)
class Recalled:
    """One recorded answer to a prompt: the exchanges that carried it, which may be a whole agent's run."""

    tape: Tape
    """Those exchanges alone."""
    cassette: str
    """Where they are recorded; with the commit, where that is not the working tree."""
    digest: str
    """The state of the prompt that was asked."""
    case: Case
    """The inputs it was given, and what the user said after it."""
    models: tuple[str, ...]
    """The models that were asked."""


class Recall:
    """What the recordings of a project know of its prompts. It may be asked from several threads."""

    def __init__(self, root: Path, prompts: PromptRepository) -> None:
        self._root, self._prompts = root, prompts
        self._lock = threading.Lock()
        self._read: dict[tuple[Path, int, int], Tape | None] = {}
        self._committed: dict[tuple[str, str], tuple[Recalled, ...]] = {}
        self._known: dict[str, tuple[object, tuple[Recalled, ...]]] = {}

    def of(self, name: str) -> tuple[Recalled, ...]:
        """Every recorded answer to a prompt of this name in the working tree, in whatever state it was then."""
        with self._lock:
            files = list(self._files())
            stamp, found = self._known.get(name, (None, ()))
            if stamp != files:
                found = tuple(each for file in files for each in self._in_file(file, name))
                self._known[name] = files, found
            return found

    def cases(self, name: str) -> tuple[Case, ...]:
        """The different inputs with which recorded tests asked a prompt, those that asked it as it is first."""
        try:
            now = self._prompts.at_hand(name).digest
        except PromptError:
            now = ""
        found: dict[str, Case] = {}
        for each in sorted(self.of(name), key=lambda each: each.digest != now):
            found.setdefault(_same(each.case), each.case)
        return tuple(found.values())

    def answer(self, prompt: Prompt, case: Case, model: str = "", repeat: int = 1) -> Recalled | None:
        """What was answered to this very prompt with these inputs; where it was asked often, each repeat has its own.

        Recordings of the working tree come first, then those of the commits that brought this state of the prompt.
        `model` asks for the answers of one model, if it is given.
        """
        wanted = _same(case)
        for source in (self.of(prompt.name), self._at_its_commits(prompt)):
            found = [
                each
                for each in source
                if each.digest == prompt.digest and _same(each.case) == wanted and (not model or model in each.models)
            ]
            if found:
                return found[(repeat - 1) % len(found)]
        return None

    def models(self, names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """The models that answered prompts of these names, each with the recorded tests in which it did."""
        found: dict[str, set[str]] = {}
        for each in (each for name in names for each in self.of(name)):
            for model in each.models:
                found.setdefault(model, set()).add(each.case.name)
        return {model: tuple(sorted(found[model])) for model in sorted(found)}

    def _files(self) -> Iterator[tuple[Path, int, int]]:
        for path in cassettes([self._root]):
            with suppress(OSError):  # Gone meanwhile.
                stat = path.stat()
                yield path, stat.st_mtime_ns, stat.st_size

    def _in_file(self, file: tuple[Path, int, int], name: str) -> Iterator[Recalled]:
        path = file[0]
        if file not in self._read:
            self._read[file] = None
            try:
                # Most recordings know nothing of prompts, and looking is much faster than decoding.
                data = path.read_bytes()
                if b"digest: sha256:" in data or b'"digest"' in data:
                    self._read[file] = load(path)
            except (CassetteError, OSError):
                pass  # `cassettes check` tells of it, and the page of traces does.
        tape = self._read[file]
        if tape is not None:
            place = path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else str(path)
            yield from self._answers(tape, name, place)

    def _at_its_commits(self, prompt: Prompt) -> tuple[Recalled, ...]:
        """What the cassettes knew at the last commit that had this state of the prompt."""
        from pytest_agentops.behaviour import Committed

        key = prompt.name, prompt.digest
        with self._lock:
            if key not in self._committed:
                self._committed[key] = ()
                try:
                    commit = self._last_commit_of(prompt)
                    if commit is not None:
                        side = Committed(self._prompts.history, commit)
                        self._committed[key] = tuple(
                            each
                            for path, blob in side.files.items()
                            if prompt.digest.encode() in side.history.read(blob)
                            for each in self._answers(side.tape(path), prompt.name, f"{path} at {commit[:9]}")
                        )
                except AgentopsError:  # No git, no history, or a recording of then that cannot be read.
                    pass
            return self._committed[key]

    def _last_commit_of(self, prompt: Prompt) -> str | None:
        """The commit before the one that changed it, by when tests had been recorded with it."""
        newer = ""
        for change in self._prompts.log(prompt.name):
            then = self._prompts.readable(change)
            if then is not None and then.digest == prompt.digest:
                return self._prompts.history.commit(f"{newer}~1" if newer else "HEAD")
            newer = change.commit.sha
        return None

    def _answers(self, tape: Tape, name: str, place: str) -> Iterator[Recalled]:
        """The answers on this tape to a prompt of this name: one for each test and each of its renders."""
        if tape.tests:
            for test, own in tape.tests.items():
                yield from self._answers(own, name, f"{place}::{test}" if test else place)
            return
        renders: dict[str, list[int]] = {}
        for index, render in enumerate(tape.prompts):
            if render.name == name:
                renders.setdefault(f"{render.digest} {_canonical(render.inputs)}", []).append(index)
        for indexes in renders.values():
            render = tape.prompts[indexes[0]]
            asks_itself = self._asks_itself(render)
            carrying = [each for each in tape.exchanges if set(indexes) & set(each.prompts) and not each.judge]
            for message, exchanges in _conversations(carrying).items():
                trace = trace_of(exchanges, source="imported", prompts=tape.prompts, recorded=tape.recorded)
                if trace.model_calls:
                    yield Recalled(
                        tape=replace(tape, exchanges=tuple(exchanges), tests={}, spans=()),
                        cassette=place,
                        digest=render.digest,
                        case=Case(
                            inputs=dict(render.inputs), message="" if asks_itself else message, name=_named(place)
                        ),
                        models=tuple(dict.fromkeys(call.model for call in trace.model_calls)),
                    )

    def _asks_itself(self, render: Render) -> bool:
        """Whether the prompt has a message of the user's of its own, which is then no part of the case."""
        try:
            return "user" in self._prompts.at_hand(render.name).roles
        except PromptError:  # It is broken now.
            return False


def _conversations(exchanges: Sequence[Exchange]) -> Mapping[str, Sequence[Exchange]]:
    """The exchanges by what the user said first: a prompt may be used for several things in one test."""
    found: dict[str, list[Exchange]] = {}
    for exchange in exchanges:
        for call in trace_of([exchange], source="imported").model_calls:
            said = [message.text for message in call.messages if message.role == "user"]
            found.setdefault(said[0] if said else "", []).append(exchange)
    return found


def _named(place: str) -> str:
    """What a recorded test is called in short: `test_refund` of `cassettes/test_support/test_refund.yaml`."""
    return _TAKE.sub("", place.rpartition("::")[2].rpartition("/")[2])


_TAKE = re.compile(r"(\.take\d+)?\.yaml$")


def _same(case: Case) -> str:
    return _canonical([case.inputs, case.message])


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
