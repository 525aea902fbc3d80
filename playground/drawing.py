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
    draw(partial(VIEWS[view], trace), key=f"{key}-{view}")


@st.fragment
def draw_pair(one: Trace, other: Trace, names: tuple[str, str], key: str) -> None:
    """Two traces beside each other."""
    draw(partial(traces.pair_html, one, other, names), key=key)


def draw(made: Callable[[Shown], str], *, key: str) -> None:
    """A drawing whose parts can be folded and opened."""
    shown: Shown = st.session_state.setdefault(f"{key}-shown", traces.ALL)
    ui.sheet(made(shown), key=key, picked=partial(_picked, key))


def _picked(key: str) -> None:
    picked = st.session_state[key].picked
    if picked:
        st.session_state[f"{key}-shown"] = st.session_state[f"{key}-shown"].toggled(picked)
