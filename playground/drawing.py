"""How a trace is drawn, for every page that shows one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import streamlit as st
import ui

from pytest_agentops.formats import traces
from pytest_agentops.formats.traces import Shown
from pytest_agentops.trace import Trace

VIEWS: Mapping[str, Callable[[Trace, Shown], str]] = {
    "Waterfall": traces.waterfall_html,
    "Tree": traces.tree_html,
    "Graph": lambda trace, _: traces.graph_html(trace),
    "Messages": traces.messages_html,
    "Figures": lambda trace, _: traces.facts_html(trace),
}


@st.fragment
def draw_trace(trace: Trace, key: str) -> None:
    """A trace, to be looked at in several ways; `key` is one for each trace that a page shows."""
    view = st.segmented_control(
        "View", list(VIEWS), default="Waterfall", key=f"{key}-view", required=True, label_visibility="collapsed"
    )
    draw(partial(VIEWS[view], trace), key=f"{key}-{view}", of=known_by(trace))


@st.fragment
def draw_pair(one: Trace, other: Trace, names: tuple[str, str], key: str) -> None:
    """Two traces beside each other."""
    draw(partial(traces.pair_html, one, other, names), key=key, of=(known_by(one), known_by(other)))


def draw(made: Callable[[Shown], str], *, key: str, of: object) -> None:
    """A drawing whose parts can be folded and opened, and are as they were at first where it is of something else."""
    drawn, shown = st.session_state.get(f"{key}-shown", (of, traces.ALL))
    if drawn != of:
        shown = traces.ALL
    st.session_state[f"{key}-shown"] = (of, shown)
    ui.sheet(made(shown), key=key, picked=partial(_picked, key))


def known_by(trace: Trace) -> object:
    """What tells a trace from another one that is drawn in the same place."""
    return trace.exchanges, trace.seconds, len(trace.spans), tuple(call.id for call in trace.model_calls[:9])


def _picked(key: str) -> None:
    picked = st.session_state[key].picked
    if picked:
        of, shown = st.session_state[f"{key}-shown"]
        st.session_state[f"{key}-shown"] = (of, shown.toggled(picked))
