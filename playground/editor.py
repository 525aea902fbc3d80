"""The editor of a prompt's source: numbered lines, and what is wrong marked on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from pytest_agentops.manuscript import Manuscript

_HERE = Path(__file__).parent


def source(of: Manuscript, *, key: str, document: str, changed: Callable[[str], None]) -> None:
    """Draw the editor; `changed` gets the text when whoever types in it pauses.

    The text in the editor is replaced only where `document` is another one than before.
    """
    marks = [
        {"line": line.number, "serious": each.serious, "text": f"{each.rule}: {each.message}"}
        for line in of.lines
        for each in line.complaints
    ]
    _editor(
        data={"text": of.text, "marks": marks, "document": document, "label": f"Source of {of.name}"},
        key=key,
        on_text_change=lambda: changed(st.session_state[key].text),
    )


_editor = st.components.v2.component(
    "agentops_editor",
    html=(
        "<div class='editor'><div class='scrolling'><div class='sized'><div class='mirror'></div>"
        "<textarea spellcheck='false' autocapitalize='off' autocomplete='off'></textarea></div></div>"
        "<div class='note' role='status'></div></div>"
    ),
    css=(_HERE / "editor.css").read_text(encoding="utf-8"),
    js=(_HERE / "editor.js").read_text(encoding="utf-8"),
)
