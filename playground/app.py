"""The door for a browser: `pytest-agentops playground` runs this script, and Streamlit runs it anew for each click."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

# An icon of our own: Streamlit would fetch its icons and emoji from elsewhere.
st.set_page_config(
    page_title=f"{Path.cwd().name} · pytest-agentops",
    page_icon=str(Path(__file__).with_name("icon.svg")),
    layout="wide",
)

PAGES = [
    st.Page("compare.py", title="Compare", icon=":material/view_column:", default=True),
    st.Page("edit.py", title="Edit", icon=":material/edit_note:"),
    st.Page("vote.py", title="Vote", icon=":material/how_to_vote:"),
    st.Page("regression.py", title="Regression", icon=":material/difference:"),
    st.Page("traces.py", title="Traces", icon=":material/account_tree:"),
    st.Page("models.py", title="Models", icon=":material/dns:"),
]

st.navigation(PAGES, position="top").run()
