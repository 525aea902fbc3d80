"""What the pages share: the project they are about, how errors look, and the one way in which they draw HTML."""

from __future__ import annotations

import html
import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import streamlit as st

from pytest_agentops.errors import AgentopsError
from pytest_agentops.formats.grid import style
from pytest_agentops.laboratory import Laboratory
from pytest_agentops.repository import PromptRepository
from pytest_agentops.settings import Settings, project_root, read_settings

_HERE = Path(__file__).parent


def settings() -> Settings:
    """The settings of the project that this is about; read anew for each click, as files change meanwhile."""
    return read_settings(project_root(Path.cwd()))


def prompts(of: Settings) -> PromptRepository:
    """The prompts of the working tree; the same each time, so that what git has told is asked once."""
    return _prompts(str(of.prompts))


@st.cache_resource(show_spinner=False)
def _prompts(folder: str) -> PromptRepository:
    return PromptRepository(folder)


def laboratory(of: Settings) -> Laboratory:
    """Where experiments run; the same for every visitor and click."""
    made = _laboratory(str(of.root))
    made.settings = of  # A model may have been added meanwhile.
    return made


@st.cache_resource
def _laboratory(root: str) -> Laboratory:
    threading.Thread(target=_import_early, daemon=True).start()
    return Laboratory(read_settings(Path(root)))


def _import_early() -> None:
    """Import what the first run, the first list and the first trace would wait for, while somebody looks around."""
    for name in ("openai", "genai_prices", "pytest_agentops.sessions", "pytest_agentops.formats.traces",
                 "pytest_agentops.behaviour", "pytest_agentops.formats.comparison"):  # fmt: skip
        importlib.import_module(name)


@contextmanager
def page(title: str, about: str) -> Iterator[None]:
    """One page: its head, and what goes wrong on it as an error that says what to do, never as a traceback."""
    st.title(title, help=about)
    with told():
        yield


@contextmanager
def told() -> Iterator[None]:
    """What goes wrong inside is told in its place; a folder that cannot be written to, or a disk that is full, too."""
    try:
        yield
    except (AgentopsError, OSError) as error:
        problem(error)


def problem(error: AgentopsError | OSError) -> None:
    """An error: its first line stands out, what it says besides stands below."""
    first, _, more = str(error).partition("\n")
    st.error(plain(first), icon=":material/error:")
    if more:
        st.code(more, language=None)


def empty(says: str, then: str = "") -> None:
    """A page that has nothing to show yet: what is missing, and what to type."""
    st.info(plain(says), icon=":material/lightbulb:")
    if then:
        st.code(then, language=None)


def plain(text: str) -> str:
    """Text for Streamlit's Markdown that means nothing in it: no emphasis, link, image, colour, icon or formula."""
    # Addresses become links whatever is escaped in them; a word joiner, which nobody sees, keeps them from being any.
    for mark in ("://", "www.", "@", ":material/"):  # And so do names of icons.
        text = text.replace(mark, f"{mark[0]}\u2060{mark[1:]}" if len(mark) > 1 else f"\u2060{mark}")
    return "".join(f"\\{each}" if each in _MEANING else each for each in text)


_MEANING = frozenset("\\`*_{}[]<>()#+-.!|~$:&")


def sheet(text: str, *, key: str, picked: Callable[[], None] | None = None, **options: Any) -> str | None:
    """Draw HTML that the package has made; whatever people and models wrote has been escaped there.

    What has an attribute `data-pick` can be clicked: its value comes back once, or `picked` is called and finds it in
    `st.session_state[key].picked`. What has `data-part`, a name, is replaced only where it has changed.
    """
    result = _sheet(data=text, key=key, on_picked_change=picked or _nothing, **options)
    picked_value: str | None = result.picked
    return picked_value


def escaped(text: str) -> str:
    """Text as HTML."""
    return html.escape(text)


def _nothing() -> None:
    return None


_sheet = st.components.v2.component(
    "agentops_sheet",
    html="<div class='sheet'></div>",
    css=style(),
    js=(_HERE / "sheet.js").read_text(encoding="utf-8"),
)
