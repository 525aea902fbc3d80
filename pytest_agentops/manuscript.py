"""A prompt while it is written: its lines with what is wrong on them, what it says, what that takes, what changed.

Its text may be broken; then everything that can be told of it still is.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

from pytest_agentops.accounts import estimated_tokens, words
from pytest_agentops.errors import PromptError
from pytest_agentops.history import ENDING
from pytest_agentops.lint import Complaint, lint
from pytest_agentops.prompt import Prompt
from pytest_agentops.repository import PromptRepository
from pytest_agentops.requests import chat_request
from pytest_agentops.revision import Revision
from pytest_agentops.trees import decoded_or_not

Provenance = Literal["author", "trusted", "untrusted"]
"""Who wrote a stretch of text: the author of the prompt, or whoever fills in an input, whom one trusts or not."""


@dataclass(frozen=True)
class Line:
    """One line of a prompt file, and what is wrong on it."""

    number: int
    text: str
    complaints: tuple[Complaint, ...] = ()


@dataclass(frozen=True)
class Stretch:
    """A stretch of a message that came from one source."""

    text: str
    provenance: Provenance = "author"
    inputs: tuple[str, ...] = ()
    """The inputs that it may hold something of."""


@dataclass(frozen=True)
class Said:
    """One rendered message, stretch by stretch."""

    role: str
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True)
class Weight:
    """About how many tokens one source of a request takes."""

    what: str
    """The role for what the author wrote, else the name of an input, `tools` or `outputs`."""
    provenance: Provenance
    tokens: int


@dataclass(frozen=True)
class Manuscript:
    """One text of a prompt."""

    name: str
    text: str
    prompt: Prompt | None
    """None where the text cannot be understood."""
    complaints: tuple[Complaint, ...]
    """What is wrong, by line; for a text that cannot be understood, why."""

    @property
    def problem(self) -> Complaint | None:
        """Why it cannot be understood."""
        return next((each for each in self.complaints if each.rule == "syntax"), None) if self.prompt is None else None

    @property
    def lines(self) -> tuple[Line, ...]:
        """Its lines, each with what is wrong on it."""
        texts = self.text.removesuffix("\n").split("\n")
        at: dict[int, list[Complaint]] = {}
        for each in self.complaints:
            at.setdefault(min(max(each.line, 1), len(texts)), []).append(each)
        return tuple(Line(number, text, tuple(at.get(number, ()))) for number, text in enumerate(texts, 1))

    def rendered(self, inputs: Mapping[str, Any]) -> tuple[Said, ...]:
        """What it says with these inputs; messages, images and files that are inputs are left out.

        Raises:
            PromptError: it cannot be understood, or not rendered with these inputs.
        """
        prompt = self._understood()
        return tuple(
            Said(each.role, tuple(_stretch(prompt, part.text, part.inputs) for part in each.segments if part.text))
            for each in prompt.segments(**inputs)
        )

    def weights(self, inputs: Mapping[str, Any]) -> tuple[Weight, ...]:
        """About how many tokens a request with these inputs takes, by where they come from.

        Raises:
            PromptError: it cannot be understood, or not rendered with these inputs.
        """
        prompt = self._understood()
        texts: dict[tuple[str, Provenance], str] = {}
        for each in self.rendered(inputs):
            for part in each.stretches:
                what = " and ".join(part.inputs) if part.inputs else each.role
                texts[what, part.provenance] = texts.get((what, part.provenance), "") + part.text
        found = [Weight(what, provenance, estimated_tokens(text)) for (what, provenance), text in texts.items()]
        named = replace(prompt, front_matter={**prompt.front_matter, "model": {**prompt.model, "id": "any"}})
        request = chat_request(named, ())
        for what, key in (("tools", "tools"), ("outputs", "response_format")):
            if key in request:
                tokens = estimated_tokens(json.dumps(request[key], ensure_ascii=False, default=str))
                found.append(Weight(what, "author", tokens))
        return tuple(found)

    def _understood(self) -> Prompt:
        if self.prompt is None:
            problem = self.problem
            raise PromptError(f"line {problem.line}: {problem.message}" if problem else "it cannot be understood")
        return self.prompt


def manuscript(
    prompts: PromptRepository, name: str, text: str, *, today: date, gone: Mapping[str, str] | None = None
) -> Manuscript:
    """This text of a prompt, which includes what is in `prompts`; `gone` are models that are, with the day."""
    path = f"{name}{ENDING}"
    try:
        prompt = Prompt.parse(name, text, path=path, source=prompts.tree.text)
    except PromptError as error:
        prompt, reason = None, str(error).removeprefix(f"{path}:")
    complaints = tuple(lint(name, text, path=path, source=prompts.tree.text, today=today, models=gone))
    if prompt is None and not any(each.rule == "syntax" for each in complaints):
        number, _, message = reason.partition(":")
        line, said = (int(number), message.strip()) if number.isdigit() else (1, reason.strip())
        complaints = (*complaints, Complaint(name, path, line, "syntax", said, serious=True))
    return Manuscript(name, text, prompt, complaints)


def source_of(prompts: PromptRepository, name: str, wanted: str = "worktree") -> str:
    """The text of a prompt's file at a version, a label or a commit, also where it is broken in the working tree.

    Raises:
        PromptError: there is none.
    """
    if wanted != "worktree":
        return prompts.resolve(name, wanted).text
    data = prompts.tree.raw(f"{name}{ENDING}")
    return prompts.tree.text(name) if data is None else decoded_or_not(data)


def _stretch(prompt: Prompt, text: str, inputs: Sequence[str]) -> Stretch:
    if not inputs:
        return Stretch(text)
    trusted = all(name in prompt.inputs and prompt.inputs[name].trust == "trusted" for name in inputs)
    return Stretch(text, "trusted" if trusted else "untrusted", tuple(inputs))


# --- what changed ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One line of a comparison of two texts."""

    kind: Literal["same", "old", "new", "gap"]
    """A `gap` stands for lines that are the same and are not shown."""
    old: int | None
    """The number of the line in the old text."""
    new: int | None
    parts: tuple[tuple[Literal["same", "changed"], str], ...] = ()


def compared(old: str, new: str, *, context: int = 3) -> Iterator[Row]:
    """Two texts line by line, with what changed inside a line, and some lines around each change."""
    before, after = old.splitlines(), new.splitlines()
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=len(before) * len(after) > 4_000_000)
    last = 0
    for group in matcher.get_grouped_opcodes(context):
        if group[0][1] > last:
            yield Row("gap", None, None, (("same", _lines(group[0][1] - last)),))
        for kind, start, end, other, until in group:
            if kind == "equal":
                for offset in range(end - start):
                    yield Row("same", start + offset + 1, other + offset + 1, (("same", before[start + offset]),))
                continue
            yield from _changed(before[start:end], after[other:until], start, other)
        last = group[-1][2]
    if last and len(before) > last:
        yield Row("gap", None, None, (("same", _lines(len(before) - last)),))


def _lines(count: int) -> str:
    return f"{count} line{'s' * (count != 1)} as they were" if count != 1 else "1 line as it was"


def _changed(gone: Sequence[str], come: Sequence[str], start: int, other: int) -> Iterator[Row]:
    pairs = [tuple(words(was, now)) for was, now in zip(gone, come, strict=False)]
    for index, text in enumerate(gone):
        yield Row("old", start + index + 1, None, _side(pairs[index], "old") if index < len(pairs) else _whole(text))
    for index, text in enumerate(come):
        yield Row("new", None, other + index + 1, _side(pairs[index], "new") if index < len(pairs) else _whole(text))


def _whole(text: str) -> tuple[tuple[Literal["same", "changed"], str], ...]:
    return (("changed", text),)


def _side(
    parts: Sequence[tuple[Literal["same", "old", "new"], str]], side: Literal["old", "new"]
) -> tuple[tuple[Literal["same", "changed"], str], ...]:
    return tuple(("same" if kind == "same" else "changed", text) for kind, text in parts if kind in ("same", side))


def consequences(revision: Revision, recorded: Sequence[Mapping[str, Any]] = ()) -> Iterator[tuple[str, str]]:
    """What a change of a prompt means, each with how much: `major`, `minor`, `patch`, `none`, `breaking`, `safe`."""
    level = revision.level(recorded)
    said = {
        "none": "nothing that a model sees has changed",
        "patch": "it owes a patch bump: what was recorded renders as it did",
        "minor": "it owes a minor bump: a model sees something else",
        "major": "it owes a major bump: programs that use it have to change",
    }
    yield level, said[level]
    for change in revision.contract:
        yield ("breaking" if change.breaking else "safe"), f"{change.path}: {change.message}"
    for path, was, now in revision.settings:
        yield "safe", f"{path}: {json.dumps(was, default=str)} is now {json.dumps(now, default=str)}"
