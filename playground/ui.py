"""What the pages share: the project they are about, how errors look, and the one way in which they draw HTML."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import streamlit as st

from pytest_agentops import sessions as recorded
from pytest_agentops.errors import AgentopsError
from pytest_agentops.formats.grid import style
from pytest_agentops.laboratory import Laboratory
from pytest_agentops.manuscript import Unsaved
from pytest_agentops.repository import PromptRepository
from pytest_agentops.sessions import RunIndex
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


def edited(of: Settings) -> Unsaved:
    """What was typed of prompts and is in no version yet; there again after a reload."""
    if "edited" not in st.session_state:
        st.session_state["edited"] = Unsaved(of.root, of.redact)
    found: Unsaved = st.session_state["edited"]
    return found


def laboratory(of: Settings) -> Laboratory:
    """Where experiments run; the same for every visitor and click."""
    made = _laboratory(str(of.root))
    made.settings = of  # A model may have been added meanwhile.
    return made


@st.cache_resource
def _laboratory(root: str) -> Laboratory:
    threading.Thread(target=_begin_early, args=[Path(root)], daemon=True).start()
    return Laboratory(read_settings(Path(root)))


def runs(index: RunIndex) -> tuple[recorded.Run, ...]:
    """The recorded runs, decoded once for each state of their index, for all visitors."""
    known = _runs.get(index.root)
    if known is None or known[0] != index.state:
        known = _runs[index.root] = index.state, index.runs()
    return known[1]


_runs: dict[Path, tuple[int, tuple[recorded.Run, ...]]] = {}


def _begin_early(root: Path) -> None:
    """Do what the first run, the first list and the first trace would wait for, while somebody looks around."""
    for name in ("openai", "genai_prices", "pytest_agentops.sessions", "pytest_agentops.formats.traces",
                 "pytest_agentops.behaviour", "pytest_agentops.formats.comparison"):  # fmt: skip
        importlib.import_module(name)
    # What goes wrong here goes wrong on its page again, which tells of it.
    with suppress(Exception), RunIndex(root) as index:
        for _ in index.refresh():
            pass
        runs(index)


@contextmanager
def page(title: str, about: str) -> Iterator[None]:
    """One page: its head, and what goes wrong on it as an error that says what to do, never as a traceback."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.title(title, help=about, width="content")
        st.caption(plain(_where()), width="content")
    with told():
        yield


@contextmanager
def told() -> Iterator[None]:
    """What goes wrong inside is told in its place; a folder that cannot be written to, or a disk that is full, too."""
    try:
        yield
    except (AgentopsError, OSError) as error:
        problem(error)


def _where() -> str:
    """Which project this is, and which branch of it is checked out."""
    root = project_root(Path.cwd())
    with suppress(AgentopsError):
        return f"{root.name} · {prompts(settings()).history.branch or 'no branch'}"
    return root.name


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


_MEANING = frozenset("\\`*_{}[]<>#+-.!|~$:&=")


def sheet(text: str, *, key: str, picked: Callable[[], None] = lambda: None) -> None:
    """Draw HTML that the package has made; whatever people and models wrote has been escaped there.

    What has an attribute `data-pick` can be clicked: then `picked` is called and finds its value in
    `st.session_state[key].picked`. What has `data-part`, a name, is replaced only where it has changed.
    """
    _sheet(data=text, key=key, on_picked_change=picked)


_sheet = st.components.v2.component(
    "agentops_sheet",
    html="<div class='sheet'></div>",
    css=style(),
    js=(_HERE / "sheet.js").read_text(encoding="utf-8"),
)
