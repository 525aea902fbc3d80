"""What is made of an answer that was seen: a test with its cassette, where the prompt was edited with its version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
import ui

from pytest_agentops.errors import AgentopsError
from pytest_agentops.formats import edit as drawn
from pytest_agentops.repository import PromptRepository
from pytest_agentops.saving import NewTest, NewVersion, Offer, containing, offered, save_test, save_version
from pytest_agentops.settings import Settings
from pytest_agentops.tape import load
from pytest_agentops.trace import Trace
from pytest_agentops.trees import EditedTree


@dataclass(frozen=True)
class Seen:
    """One answer: what was asked with which inputs, and where it is recorded."""

    reference: str
    """The prompt, as `support/agent` or `support/agent@1.2.0`."""
    inputs: Mapping[str, Any]
    cassette: Path
    key_from: str | None = None
    """The environment variable with the key of the endpoint; None where it needs none."""
    source: str | None = None
    """The text of the prompt, where it was edited and is not saved."""


def test_form(settings: Settings, prompts: PromptRepository, seen: Seen, key: str) -> None:
    """Let somebody pick what a test asks, see it, and write it."""
    try:
        _test(settings, prompts, seen, key)
    except AgentopsError as error:
        ui.problem(error)


def _test(settings: Settings, prompts: PromptRepository, seen: Seen, key: str) -> None:
    tape = load(seen.cassette)
    trace = tape.trace()
    name = seen.reference.partition("@")[0]
    there = prompts if seen.source is None else PromptRepository(
        prompts.folder, tree=EditedTree(prompts.tree, {name: seen.source})
    )  # fmt: skip
    prompt = there.get(seen.reference)
    with st.form(f"{key}/form", border=False):
        expected = _picked(trace, offered(trace, tuple(prompt.outputs.values())), key)
        first, second = st.columns(2)
        file = first.text_input("File", _file(settings.root, name), key=f"{key}/file")
        test = second.text_input("Name of the test", f"test_{_word(name)}", key=f"{key}/test")
        message = "" if seen.source is None else st.text_input(
            "Why the prompt changes", key=f"{key}/message", placeholder="It goes into the commit with the test"
        )  # fmt: skip
        asked = st.form_submit_button("Show what would be written", icon=":material/checklist:")
    saying = (seen, expected, file, test, message)
    if asked:
        st.session_state.pop(f"{key}/done", None)
        st.session_state.pop(f"{key}/planned", None)
        if isinstance(expected, AgentopsError):
            raise expected
        made = save_test(
            settings.root / file, test, root=settings.root, prompts=there, reference=seen.reference,
            inputs=seen.inputs, tape=tape, expected=expected, key_from=seen.key_from, ignore=settings.ignore,
            rules=settings.redact,
        )  # fmt: skip
        version = None
        if seen.source is not None:
            version = save_version(
                prompts, name, seen.source, message=message, base=settings.base, beside=made.plan.edits
            )
        st.session_state[f"{key}/planned"] = saying, made, version
    before, made, version = st.session_state.get(f"{key}/planned", (None, None, None))
    if made is None or before != saying:
        st.caption(
            "The test replays this answer, so that it passes without a key."
            if seen.source is None
            else "The prompt was edited, so the test goes with its new version, as one commit on a new branch."
        )
        return
    _write(settings.root, made, version, key)


def _picked(trace: Trace, offers: tuple[Offer, ...], key: str) -> tuple[Offer, ...] | AgentopsError:
    """The expectations that are ticked, and the phrase that was typed."""
    picked = [
        each
        for number, each in enumerate(offers)
        if st.checkbox(ui.plain(each.words), each.picked, key=f"{key}/offer/{number}")
    ]
    phrase = st.text_input("The response contains", key=f"{key}/phrase", placeholder="a phrase of it")
    try:
        return (*picked, containing(trace, phrase)) if phrase else tuple(picked)
    except AgentopsError as error:
        return error


def _write(root: Path, made: NewTest, version: NewVersion | None, key: str) -> None:
    done = f"{key}/done" in st.session_state
    if f"{key}/failed" in st.session_state:
        ui.problem(st.session_state.pop(f"{key}/failed"))
    if not done:
        says = "Write the test" if version is None else f"Commit to {version.branch}"
        st.button(
            ui.plain(says), type="primary", icon=":material/save:", key=f"{key}/write",
            on_click=_carry_out, args=[made if version is None else version, key],
        )  # fmt: skip
    commands = (*(version.commands if version is not None else ()), *made.commands)
    if done:
        st.success(ui.plain(f"{made.test} is written." if version is None else f"It is on {version.branch}."))
        st.code("\n".join(commands), language=None)
    plan = made.plan if version is None else version.plan
    steps = plan.steps if version is None else (*plan.steps, *made.plan.steps)
    names = {edit.path: _shown(edit.path, root) for edit in plan.edits}
    ui.sheet(drawn.plan(steps, plan.edits, () if done else commands, shown=names), key=f"{key}/plan")


def _carry_out(plan: NewTest | NewVersion, key: str) -> None:
    try:
        plan.apply()
        st.session_state[f"{key}/done"] = True
    except AgentopsError as error:
        st.session_state[f"{key}/failed"] = error


def _shown(path: Path, root: Path) -> str:
    root = root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _file(root: Path, name: str) -> str:
    return f"{'tests/' if (root / 'tests').is_dir() else ''}test_{_word(name)}.py"


def _word(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "prompt"
