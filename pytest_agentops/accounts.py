"""Prompts, their versions and what became of them as lines of text, for the command line and reports alike."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from pytest_agentops.history import Change, Commit, Ref
from pytest_agentops.impact import Effect
from pytest_agentops.kinds import Field
from pytest_agentops.prompt import Prompt
from pytest_agentops.releases import Debt, Plan
from pytest_agentops.revision import RenderedTwice, Revision

_WIDTH = 100
_MOST_PAIRS = 9_000_000
"""Of words that are compared with each other, which takes about a second."""


def estimated_tokens(text: str) -> int:
    """About how many tokens a text is: four letters of an alphabet, or one sign of a script without spaces."""
    dense = sum(character > "\u2e80" for character in text)
    return dense + round((len(text) - dense) / 4)


def word_diff(old: str, new: str, *, context: int = 4, most: int = 40) -> Iterator[str]:
    """The stretches where two texts differ, line by line, as `[-old-]` and `{+new+}` between the words around them."""
    before, after = old.splitlines(), new.splitlines()
    # Of many lines the frequent ones are no landmarks, or comparing them would take a time that grows with the square.
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=len(before) * len(after) > _MOST_PAIRS)
    shown = 0
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        if kind == "equal":
            continue
        gone, come = before[start:end], after[other_start:other_end]
        for was, now in zip(gone, come, strict=False):
            yield f"~ {other_start + 1}: {_words(was, now, context)}"
        longer = max(len(gone), len(come))
        for line in gone[len(come) :]:
            yield f"- {start + 1}: {_cut(line)}"
        for line in come[len(gone) :]:
            yield f"+ {other_start + 1}: {_cut(line)}"
        shown += longer
        if shown > most:
            yield "and further on"
            return


def words(old: str, new: str) -> Iterator[tuple[Literal["same", "old", "new"], str]]:
    """Both texts, cut where they differ in a word; whole where they are too long to be compared word by word."""
    left, right = re.findall(r"\s+|[^\s]+", old), re.findall(r"\s+|[^\s]+", new)
    if len(left) * len(right) > _MOST_PAIRS:
        yield from (("old", old), ("new", new)) if old != new else (("same", old),)
        return
    for kind, start, end, other_start, other_end in difflib.SequenceMatcher(
        None, left, right, autojunk=False
    ).get_opcodes():
        if kind == "equal":
            yield "same", "".join(left[start:end])
            continue
        if end > start:
            yield "old", "".join(left[start:end])
        if other_end > other_start:
            yield "new", "".join(right[other_start:other_end])


def _words(old: str, new: str, context: int) -> str:
    told = []
    for kind, text in words(old, new):
        if kind != "same":
            told.append(f"[-{text}-]" if kind == "old" else f"{{+{text}+}}")
            continue
        parts = re.findall(r"\s+|[^\s]+", text)
        if len(parts) > 4 * context:
            parts[2 * context : -2 * context] = [" ... "]
        told.append("".join(parts))
    return "".join(told)


def revision_lines(revision: Revision, recorded: Sequence[Mapping[str, Any]] = ()) -> Iterator[str]:
    """What became of a prompt: versions and level, contract, settings, text, tokens, and recorded inputs rendered."""
    old, new = revision.old, revision.new
    yield f"{new.name}: {old.version or 'no version'} -> {new.version or 'no version'}"
    level = revision.level(recorded)
    if level == "none":
        yield "  nothing that a model sees has changed"
    else:
        raised = (old.version or "") != (new.version or "")
        yield f"  a {level} change" if raised else f"  this owes a {level} bump"
    for change in revision.contract:
        yield f"  {'breaking' if change.breaking else 'safe':<8}  {change.path}: {change.message}"
    for path, was, now in revision.settings:
        yield f"  {path}: {_json(was)} -> {_json(now)}"
    if old.body != new.body:
        yield "  text"
        yield from (f"    {line}" for line in word_diff(old.body, new.body))
    for name in revision.partials:
        yield f"  {name}, which it includes"
        yield from (f"    {line}" for line in word_diff(old.partials.get(name, ""), new.partials.get(name, "")))
    before, after = (estimated_tokens(each.body + "".join(each.partials.values())) for each in (old, new))
    yield f"  about {before:,} tokens of the author's -> about {after:,}"
    twice = list(revision.rendered(recorded))
    moved = [each for each in twice if not each.same]
    if twice:
        yield f"  {len(moved)} of {len(twice)} recorded inputs render otherwise"
    for each in moved[:3]:
        yield from (f"    {line}" for line in _rendered_lines(each))


def _rendered_lines(twice: RenderedTwice) -> Iterator[str]:
    yield f"with {_cut(_json(twice.inputs))}"
    if isinstance(twice.new, str):
        yield f"  fails now: {twice.new}"
        return
    if isinstance(twice.old, str):
        yield f"  failed before: {twice.old}"
        return
    if len(twice.old) != len(twice.new):
        yield f"  {len(twice.old)} messages -> {len(twice.new)}"
    for index, (was, now) in enumerate(zip(twice.old, twice.new, strict=False)):
        if was != now:
            yield f"  message {index} ({now['role']})"
            yield from (f"    {line}" for line in word_diff(_text(was), _text(now)))


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1)


def prompt_lines(prompt: Prompt) -> Iterator[str]:
    """A prompt: what it says of itself, what it takes and gives, and its body."""
    yield f"{prompt.name}: {prompt.version or 'no version'}"
    if prompt.description:
        yield f"  {prompt.description}"
    yield f"  digest   {prompt.digest}"
    if prompt.model:
        yield f"  model    {_json(prompt.model)}"
    for title, fields in (("takes", prompt.inputs), ("gives", prompt.outputs)):
        for each in fields.values():
            yield f"  {title:<8} {_field(each)}"
    for tool in prompt.tools:
        yield f"  tool     {tool.name}({', '.join(each.name for each in tool.parameters)})"
    for name in prompt.partials:
        yield f"  includes {name}"
    yield ""
    yield from prompt.body.rstrip("\n").splitlines()


def _field(each: Field) -> str:
    about = [each.kind]
    if each.allowed:
        about.append(f"one of {', '.join(map(_json, each.allowed))}")
    if each.default is not None:
        about.append(f"default {_json(each.default)}")
    elif not each.required:
        about.append("optional")
    if each.trust == "untrusted":
        about.append("untrusted")
    return f"{each.name}: {', '.join(about)}{f'  {each.description}' if each.description else ''}"


def message_lines(messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Rendered messages, each below its role."""
    for message in messages:
        yield f"{message['role']}:"
        yield from _text(message).splitlines()


def log_lines(states: Sequence[tuple[Change, Prompt | None]]) -> Iterator[str]:
    """The commits that changed a prompt, with the version that each left and what it owed."""
    for (change, prompt), (_, before) in pairwise([*states, (None, None)]):
        if change is None:
            continue
        version = "gone" if change.blob is None else (prompt.version or "no version") if prompt else "broken"
        level = ""
        if prompt is not None and before is not None:
            owed = Revision(before, prompt).level()
            level = f" ({owed})" if owed != "none" else " (as it was)"
        moved = f"  moved from {change.was_at}" if change.was_at else ""
        digest = prompt.digest[7:15] if prompt is not None else "-" * 8
        yield f"{_commit(change.commit)}  {digest}  {version}{level}  {change.commit.message}{moved}"


def _commit(commit: Commit) -> str:
    return f"{commit.short}  {commit.date:%Y-%m-%d}  {commit.author}"


def ref_labels(refs: Iterable[Ref]) -> dict[str, str]:
    """By what is typed for it, what a commit is: its name, the versions that it brought, its date and message."""
    versions: dict[str, list[str]] = {}
    kinds = ("branch", "tag", "version", "commit")
    ordered = sorted(refs, key=lambda ref: kinds.index(ref.kind))
    for ref in ordered:
        if ref.kind == "version":
            versions.setdefault(ref.name, []).append(ref.about)
    found: dict[str, str] = {}
    for ref in ordered:
        brought = versions.get(ref.name, [])
        more = f" and {len(brought) - 2} more" if len(brought) > 2 else ""
        name = f"{', '.join(brought[:2])}{more} · {ref.name}" if brought else ref.name
        found.setdefault(ref.name, f"{name} · {ref.commit.date:%Y-%m-%d} · {ref.commit.message}")
    return found


def blame_lines(lines: Iterable[tuple[Commit, int, str]], versions: Mapping[str, str]) -> Iterator[str]:
    """Each line of a prompt with the commit that wrote it and the version that this commit left."""
    rows = [
        (commit.short if set(commit.sha) != {"0"} else "not yet", versions.get(commit.sha, ""), commit, number, text)
        for commit, number, text in lines
    ]
    width = max((len(row[1]) for row in rows), default=0)
    for short, version, commit, number, text in rows:
        yield f"{short:<9} {version:<{width}} {commit.date:%Y-%m-%d} {commit.author[:16]:<16} {number:>4}  {text}"


def debt_lines(debts: Sequence[Debt]) -> Iterator[str]:
    """What is owed before a branch may be merged, and what to type."""
    for debt in debts:
        yield f"{debt.name}: {debt.kind}: {debt.message}"
        if debt.remedy:
            yield f"  to mend it: {debt.remedy}" if debt.remedy.startswith("pytest-agentops") else f"  {debt.remedy}"
    if not debts:
        yield "nothing is owed"


def effect_lines(effects: Sequence[Effect], base: Commit, code: Sequence[str]) -> Iterator[str]:
    """Which recorded tests a change of prompts touches, and why; which it does not."""
    touched = [effect for effect in effects if effect.affected]
    yield f"{len(touched)} of {len(effects)} recorded tests are touched since {base.short} of {base.date:%Y-%m-%d}"
    for effect in touched:
        yield f"{effect.cassette}: touched"
        for touch in effect.touched[:5]:
            yield f"  {touch.prompt}: {touch.reason}, with {_cut(_json(touch.inputs))}"
    for effect in effects:
        if not effect.affected:
            yield f"{effect.cassette}: as it was ({', '.join(effect.prompts) or 'it renders no prompt'})"
    if code:
        more = f" and {len(code) - 3} more" if len(code) > 3 else ""
        yield f"code changed too, which may touch any test: {', '.join(code[:3])}{more}"


def plan_lines(plan: Plan, *, done: bool) -> Iterator[str]:
    """What a plan does, or has done, with the files it changes."""
    yield from (line for step in plan.steps for line in step.splitlines())
    for edit in plan.edits:
        yield f"{'written' if done else 'would write'}: {edit.path}"
        if not done and edit.old is not None and edit.path.suffix != ".lock":
            yield from (f"  {line}" for line in word_diff(edit.old, edit.new, most=12))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
