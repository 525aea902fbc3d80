"""A prompt beside its effects: source, what it says, what is wrong, what it takes, what changed, its next version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import editor
import forms
import streamlit as st
import ui

from pytest_agentops.errors import AgentopsError, PromptError
from pytest_agentops.formats import edit as drawn
from pytest_agentops.kinds import RICH
from pytest_agentops.manuscript import Manuscript, compared, consequences, manuscript, source_of
from pytest_agentops.repository import PromptRepository
from pytest_agentops.revision import Revision
from pytest_agentops.saving import NewVersion, save_version
from pytest_agentops.settings import Settings
from pytest_agentops.usage import Usage

LEVELS = {"as much as is owed": None, "patch": "patch", "minor": "minor", "major": "major"}

_FIRST = """---
name: hello
version: 1.0.0
model: {id: gpt-5-mini}
inputs:
  name: {kind: string}
---
user:
Say hello to {{ name }}."""


@st.cache_resource(ttl=60, show_spinner="Reading what tests have recorded")
def _recorded(root: Path, name: str) -> Sequence[Mapping[str, Any]]:
    """The inputs with which recorded tests rendered a prompt; cassettes are not read anew for each letter typed."""
    return Usage(root).inputs(name)


def _state(kind: str) -> dict[str, Any]:
    """What is remembered of each prompt, whatever page one visits meanwhile; `edited` is for other pages too."""
    found: dict[str, Any] = st.session_state.setdefault(kind if kind == "edited" else f"edit.{kind}", {})
    return found


def _page(settings: Settings) -> None:
    prompts = ui.prompts(settings)
    ui.edited(settings)
    names = list(prompts)
    if not names:
        where = f"{settings.prompts.name}/hello.prompty"
        ui.empty(f"There is no prompt in {settings.prompts} yet. A first one is a file such as this, {where}:", _FIRST)
        return
    name, wanted, start = _picked(prompts, names)
    text = _state("edited").get(name, start)
    written = manuscript(prompts, name, text, today=datetime.now(UTC).date(), gone=settings.models.gone)
    if written.prompt is not None:
        _state("understood")[name] = written
    left, right = st.columns(2, gap="medium")
    with left:
        editor.source(
            written,
            key=f"editor/{name}",
            document=f"{name}@{wanted}/{_state('opened').get(name, 0)}",
            changed=lambda new: _keep(name, new, start),
        )
    with right:
        _effects(settings, prompts, written)


def _picked(prompts: PromptRepository, names: list[str]) -> tuple[str, str, str]:
    """The prompt, the state of it to start from, and its text."""
    first, second, third = st.columns([5, 4, 3], vertical_alignment="bottom")
    _among(names, "edit/name")
    name = first.selectbox("Prompt", names, key="edit/name", persist_state="session")
    known = prompts.references(name)
    _among(list(known), f"edit/start/{name}")
    wanted = second.selectbox(
        "Start from", known, key=f"edit/start/{name}", format_func=lambda each: known[each], on_change=_put_aside,
        args=(name,), persist_state="session",
    )  # fmt: skip
    try:
        start = source_of(prompts, name, wanted)
    except PromptError as error:
        ui.problem(error)
        wanted, start = "worktree", source_of(prompts, name)
    if name in _state("edited"):
        third.button("Undo all changes", on_click=_put_aside, args=(name,), icon=":material/undo:", width="stretch")
    elif name in _state("aside"):
        third.button(
            "Bring my changes back", on_click=_bring_back, args=(name,), icon=":material/redo:", width="stretch"
        )
    return name, wanted, start


def _among(options: Sequence[str], key: str) -> None:
    """See that what was chosen is still there; files and branches come and go meanwhile."""
    if st.session_state.get(key) not in options:
        st.session_state[key] = options[0]


def _keep(name: str, text: str, start: str) -> None:
    edited = _state("edited")
    if text == start:
        edited.pop(name, None)
    else:
        edited[name] = text
        _state("aside").pop(name, None)


def _put_aside(name: str) -> None:
    if name in _state("edited"):
        _state("aside")[name] = _state("edited").pop(name)
    _state("opened")[name] = _state("opened").get(name, 0) + 1


def _bring_back(name: str) -> None:
    _state("edited")[name] = _state("aside").pop(name)
    _state("opened")[name] = _state("opened").get(name, 0) + 1


# --- what becomes of it ----------------------------------------------------------------------------------------------


def _effects(settings: Settings, prompts: PromptRepository, written: Manuscript) -> None:
    understood: Manuscript | None = _state("understood").get(written.name)
    tabs = st.tabs(["Rendered", "Findings", "Tokens", "Diff", "Save as version"], key="edit/tab", on_change="rerun")
    inputs: dict[str, Any] = {}
    if tabs[0].open or tabs[2].open:
        with tabs[0] if tabs[0].open else tabs[2]:
            inputs = _inputs(settings, understood)
    if tabs[0].open:
        with tabs[0]:
            _rendered(written, understood, inputs)
    if tabs[1].open:
        with tabs[1]:
            ui.sheet(drawn.findings(written), key="edit/findings")
    if tabs[2].open:
        with tabs[2]:
            _tokens(written, understood, inputs)
    if tabs[3].open:
        with tabs[3]:
            _diff(settings, prompts, written)
    if tabs[4].open:
        with tabs[4]:
            _save(settings, prompts, written)


def _inputs(settings: Settings, understood: Manuscript | None) -> dict[str, Any]:
    if understood is None or understood.prompt is None or not understood.prompt.inputs:
        return {}
    name = understood.name
    recorded = next(iter(_recorded(settings.root, name)), {})
    with st.expander("Inputs", expanded=True, key="edit/inputs"):
        fields = tuple(understood.prompt.inputs.values())
        filled = forms.inputs_form(fields, f"edit/{name}", {**recorded, **_state("given").get(name, {})})
    _state("given")[name] = filled
    return filled


def _rendered(written: Manuscript, understood: Manuscript | None, inputs: Mapping[str, Any]) -> None:
    stale = ""
    try:
        _state("said")[written.name] = written.rendered(inputs)
    except PromptError as error:
        stale = _first_line(error)
    said = _state("said").get(written.name)
    if said is None:
        ui.sheet(drawn.rendered((), stale=stale), key="edit/rendered")
        return
    prompt = understood.prompt if understood is not None else None
    left_out = [each.name for each in prompt.inputs.values() if each.kind in RICH] if prompt else []
    if stale:
        stale = f"{stale.rstrip('.')}. Below is what could be rendered last."
    ui.sheet(drawn.rendered(said, left_out=left_out, stale=stale), key="edit/rendered")


def _tokens(written: Manuscript, understood: Manuscript | None, inputs: Mapping[str, Any]) -> None:
    try:
        ui.sheet(drawn.tokens((understood or written).weights(inputs)), key="edit/tokens")
    except PromptError as error:
        ui.problem(error)


def _first_line(error: AgentopsError) -> str:
    return str(error).partition("\n")[0]


def _diff(settings: Settings, prompts: PromptRepository, written: Manuscript) -> None:
    known = prompts.references(written.name)
    wanted = st.selectbox(
        "Compare with",
        known,
        key=f"edit/against/{written.name}",
        format_func=lambda each: known.get(each, each),
        accept_new_options=True,
        help="A version, a label, or a commit as git:REF; others can be typed.",
    )
    try:
        old = source_of(prompts, written.name, wanted)
    except PromptError as error:
        ui.problem(error)
        return
    called = known.get(wanted, wanted)
    said: list[tuple[str, str]] = []
    if written.prompt is not None and old != written.text:
        try:
            revision = Revision(prompts.resolve(written.name, wanted), written.prompt)
            said = list(consequences(revision, _recorded(settings.root, written.name)))
        except PromptError as error:
            said = [("broken", f"{called} cannot be read: {_first_line(error)}")]
    html = drawn.comparison(compared(old, written.text), said, old=called, new="the text here")
    ui.sheet(html, key="edit/diff")


# --- a version of it -------------------------------------------------------------------------------------------------


def _save(settings: Settings, prompts: PromptRepository, written: Manuscript) -> None:
    name = written.name
    with st.form(f"edit/save/{name}", border=False):
        message = st.text_input(
            "Why",
            key=f"edit/message/{name}",
            placeholder="What is better now; it goes into the commit and the changelog",
            persist_state="session",
        )
        first, second = st.columns(2)
        branch = first.text_input(
            "New branch", key=f"edit/branch/{name}", placeholder=f"prompt/{name.replace('/', '-')}-VERSION"
        )
        level = LEVELS[second.selectbox("Bump", list(LEVELS), key=f"edit/level/{name}")]
        asked = st.form_submit_button("Show what would be done", icon=":material/checklist:")
    saying = (written.text, message, branch, level)
    if asked:
        _state("planned").pop(name, None)
        _state("committed").pop(name, None)
        plan = save_version(
            prompts,
            name,
            written.text,
            message=message,
            branch=branch,
            level=level,  # type: ignore[arg-type]
            base=settings.base,
            rules=settings.redact,
            recorded=lambda each: _recorded(settings.root, each),
        )
        _state("planned")[name] = saying, plan
    before, plan = _state("planned").get(name, (None, None))
    if plan is None or before != saying:
        st.caption("A new branch gets a commit of its own. The working tree and what is staged stay as they are.")
        return
    _carry_out(name, plan)


def _carry_out(name: str, plan: NewVersion) -> None:
    committed = _state("committed").get(name)
    if committed is None and st.button(
        ui.plain(f"Commit to {plan.branch}"), type="primary", icon=":material/commit:", key=f"edit/commit/{name}"
    ):
        committed = _state("committed")[name] = plan.apply()
        st.rerun()
    if committed is not None:
        st.success(ui.plain(f"{plan.bump.name} {plan.bump.new} is commit {committed[:9]} on {plan.branch}."))
        st.code("\n".join(plan.commands), language=None)
    shown = {edit.path: edit.path.relative_to(plan.history.root).as_posix() for edit in plan.plan.edits}
    commands = () if committed is not None else plan.commands
    ui.sheet(drawn.plan(plan.plan.steps, plan.plan.edits, commands, shown=shown), key="edit/plan")


with ui.page("Edit", "A prompt beside its effects: what it says, what is wrong, what it takes, and what changed."):
    _page(ui.settings())
