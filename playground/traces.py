"""Every recorded run of the project: a list, one of them in several views, two beside each other."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
import ui
from drawing import draw_pair, draw_trace

from pytest_agentops.errors import AgentopsError
from pytest_agentops.formats.traces import about_run, runs_html
from pytest_agentops.sessions import Run, RunIndex, Wanted, choices, opened, short_name, stamp_of
from pytest_agentops.tape import Tape
from pytest_agentops.trace import Trace

KEPT = 4
ABOUT = "The recorded runs of tests, drafts and the playground"


def the_list(root: Path, beside: str = "") -> None:
    """All runs; with `beside`, one of them is picked to be set beside that one."""
    with RunIndex(root) as index:
        refresh(index)
        runs = ui.runs(index)
        if not runs:
            ui.empty(
                "Nothing is recorded here yet. A test that uses agent_trace records what its agent does, "
                "and every run of the playground is kept.",
                "pytest-agentops init",
            )
            return
    if beside:
        st.info(ui.plain(f"Pick the run to set beside {short_name(beside)}."), icon=":material/compare_arrows:")
        st.button("Do not compare", icon=":material/close:", on_click=forget, args=("pick",))
    listing(root, runs, beside)


@st.fragment
def listing(root: Path, runs: tuple[Run, ...], beside: str) -> None:
    """The list, which is sorted and searched without reading any recording again."""
    if st.session_state.pop("runs-opened", False):
        st.rerun()
    wanted = choose(runs)
    with RunIndex(root) as index:
        found = wanted.of(runs, index.containing)
    st.caption(ui.plain(counted(runs, found)))
    if found:
        first = st.session_state.get("runs-first", 0)
        html = runs_html(found, sort=wanted.sort, descending=wanted.descending, first=first, marked=beside)
        ui.sheet(html, key="runs", picked=picked)
    else:
        ui.empty("No recorded run fits all of this; take a filter away, or search for less.")


def refresh(index: RunIndex) -> None:
    """Read what has changed; how far it is shows where that takes a while."""
    bar = None
    for progress in index.refresh():
        if bar is None and progress.total - progress.done > 100:
            bar = st.empty()
        if bar is not None:
            bar.progress(progress.done / progress.total, f"Reading {progress.done:,} of {progress.total:,} recordings")
    if bar is not None:
        bar.empty()


def choose(runs: tuple[Run, ...]) -> Wanted:
    """What the person asks for; it stands in the URL."""
    there = choices(runs)
    chosen = {}
    with st.container(horizontal=True):
        text = st.text_input(
            "Search", key="q", type="search", placeholder="Search names, prompts, models, tools, messages", live=True,
            label_visibility="collapsed", bind="query-params", on_change=from_the_start,
        )  # fmt: skip
        for name in ("status", "prompt", "model", "agent"):
            chosen[name] = st.selectbox(
                name.capitalize(), there[name], index=None, key=name, placeholder=f"any {name}", width=190,
                label_visibility="collapsed", bind="query-params", disabled=not there[name], on_change=from_the_start,
            )  # fmt: skip
    sort, descending = st.session_state.get("runs-sort", ("recorded", True))
    given = {name: value for name, value in chosen.items() if value}
    return Wanted(text=text or "", sort=sort, descending=descending, **given)


def counted(runs: tuple[Run, ...], found: tuple[Run, ...]) -> str:
    """What the list holds, in a few words."""
    of = f"{len(runs):,} recorded run{'s' * (len(runs) != 1)}"
    if len(found) != len(runs):
        of = f"{len(found):,} of {of}"
    states = [(state, sum(run.status == state for run in found)) for state in ("failed", "interrupted", "unreadable")]
    return ", ".join([of, *(f"{count:,} {state}" for state, count in states if count)])


def picked() -> None:
    """Somebody clicked on the list."""
    what, _, value = (st.session_state["runs"].picked or "").partition(":")
    if what == "run":
        picking = "pick" in st.query_params
        st.query_params["other" if picking else "trace"] = value
        forget("pick")
        st.session_state["runs-opened"] = True
    elif what == "sort":
        sort, descending = st.session_state.get("runs-sort", ("recorded", True))
        st.session_state["runs-sort"] = (value, not descending if sort == value else value not in ("title", "status"))
        from_the_start()
    elif what == "from":
        st.session_state["runs-first"] = int(value)


def from_the_start() -> None:
    """What is wanted has changed: its beginning is shown."""
    st.session_state["runs-first"] = 0


def forget(*names: str) -> None:
    """Take something out of the URL."""
    for name in names:
        st.query_params.pop(name, None)


def one(root: Path, name: str) -> None:
    """One run, or the two that were picked."""
    other = st.query_params.get("other", "")
    with st.container(horizontal=True):
        st.button("All runs", icon=":material/arrow_back:", on_click=forget, args=("trace", "other", "pick"))
        if other:
            st.button("One alone", icon=":material/close:", on_click=forget, args=("other",))
            st.button("Swap", icon=":material/swap_horiz:", on_click=swap, args=(name, other))
        else:
            st.button("Compare", icon=":material/compare_arrows:", on_click=pick_another)
    if not other:
        if (trace := read(root, name)) is not None:
            draw_trace(trace, f"trace-{name}")
        return
    left, right = st.columns(2)
    with left:
        first = read(root, name)
    with right:
        second = read(root, other)
    if first is not None and second is not None:
        names = (short_name(name), short_name(other))
        draw_pair(first, second, names if names[0] != names[1] else (name, other), f"pair-{name}-{other}")


def read(root: Path, name: str) -> Trace | None:
    """The trace of a run, below a line that says what it is; where it cannot be read, what is wrong is told."""
    try:
        tape, trace = kept(root, name)
    except AgentopsError as error:
        ui.problem(error)
        return None
    st.markdown(f"**{ui.plain(short_name(name))}**", help=ui.plain(name))
    st.caption(ui.plain(about_run(tape, trace)))
    return trace


def kept(root: Path, name: str) -> tuple[Tape, Trace]:
    """What was read of a run, which is not read again while its file stays as it is; the last few are kept."""
    known = st.session_state.setdefault("traces-read", {})
    stamp = stamp_of(root, name)
    if name not in known or known[name][0] != stamp:
        known.pop(name, None)
        tape = opened(root, name)
        known[name] = (stamp, tape, tape.trace())
        for old in list(known)[:-KEPT]:
            del known[old]
    return known[name][1:]


def pick_another() -> None:
    """The list is asked for the other run."""
    st.query_params["pick"] = "1"


def swap(name: str, other: str) -> None:
    """The two change places."""
    st.query_params.update({"trace": other, "other": name})


with ui.page("Traces", ABOUT):
    root = ui.settings().root
    name = st.query_params.get("trace", "")
    if name and "pick" not in st.query_params:
        one(root, name)
    else:
        the_list(root, name)
