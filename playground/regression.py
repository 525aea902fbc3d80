"""What became of the recorded behaviour between two commits, or one and the working tree; nothing is run."""

from __future__ import annotations

from functools import partial

import streamlit as st
import ui

from pytest_agentops.accounts import ref_labels
from pytest_agentops.behaviour import compare
from pytest_agentops.errors import AgentopsError, HistoryError
from pytest_agentops.formats import comparison, sides
from pytest_agentops.formats.files import WAYS
from pytest_agentops.history import Ref
from pytest_agentops.releases import base_of
from pytest_agentops.report import Report
from pytest_agentops.repository import PromptRepository
from pytest_agentops.settings import Settings

ABOUT = "What became of the recorded behaviour between two states; nothing is run"
WORKTREE = "worktree"
MIME = {".html": "text/html", ".md": "text/markdown", ".json": "application/json"}


def pick(settings: Settings, prompts: PromptRepository) -> tuple[str, str]:
    """The base and the head that the person wants; they stand in the URL."""
    refs = list(prompts.refs())
    names = ref_labels(refs)
    chosen = st.query_params.get("base") or usual_base(settings, prompts, refs)
    left, right, button = st.columns([4, 4, 1], vertical_alignment="bottom")
    with left:
        base = select("base", "Base", names, chosen)
    with right:
        head = select("head", "Head", {WORKTREE: "the working tree", **names}, st.query_params.get("head") or WORKTREE)
    with button:
        if st.button("Again", icon=":material/refresh:", help="Compare again: files have changed", width="stretch"):
            st.session_state.pop("regression-report", None)
    return base, head


def select(name: str, title: str, names: dict[str, str], chosen: str) -> str:
    """One side: a choice of what there is, or whatever else git understands."""
    options = list(names) if chosen in names else [chosen, *names]
    key = f"regression-{name}"
    picked = st.selectbox(
        title, options, index=options.index(chosen), format_func=lambda each: names.get(each, each), key=key,
        accept_new_options=True, help="A branch, a tag, a version, a commit, or whatever else git understands: HEAD~3",
        on_change=remember, args=(name, key),
    )  # fmt: skip
    return picked or chosen


def remember(name: str, key: str) -> None:
    """What was chosen goes into the URL."""
    if chosen := st.session_state[key]:
        st.query_params[name] = chosen.strip()


def usual_base(settings: Settings, prompts: PromptRepository, refs: list[Ref]) -> str:
    """Where this branch left the main one, by the name of a branch where one is there."""
    try:
        found = base_of(prompts, settings.base)
    except HistoryError:
        found = None
    if found is None:
        return "HEAD"
    return next((ref.name for ref in refs if ref.kind == "branch" and ref.commit.sha == found.head), found.head[:9])


def reported(prompts: PromptRepository, base: str, head: str) -> Report | None:
    """The report, which is kept until other sides are asked for; what is wrong is told instead."""
    try:
        now = None if head == WORKTREE else head
        sought = (prompts.history.commit(base), WORKTREE if now is None else prompts.history.commit(now))
        known = st.session_state.get("regression-report")
        if known is None or known[0] != sought:
            with st.spinner("Reading the recordings that differ"):
                known = (sought, compare(prompts, base, now))
            st.session_state["regression-report"] = known
            for name in ("verdict", "cases", "prompts", "first"):
                st.session_state.pop(f"regression-shown-{name}", None)
        report: Report = known[1]
        return report
    except AgentopsError as error:
        ui.problem(error)
        return None


@st.fragment
def draw(report: Report) -> None:
    """The report, to be clicked through."""
    state = st.session_state
    verdict: str = state.get("regression-shown-verdict", "")
    before, after = sides(report)
    st.markdown(f"**{ui.plain(report.verdict)}**  ·  {ui.plain(before)} → {ui.plain(after)}")
    ui.sheet(comparison.counts_html(report, verdict), key="regression-counts", picked=choose_verdict)
    for line in comparison.notes(report):
        st.caption(ui.plain(line))
    if report.prompts:
        st.subheader("Prompts")
        opened = state.get("regression-shown-prompts", frozenset())
        ui.sheet(
            comparison.prompts_html(report, opened),
            key="regression-prompts",
            picked=partial(toggle, "prompts", "prompt"),
        )
    st.subheader("Tests")
    if len(report.cases) > 10:
        st.text_input(
            "Find",
            placeholder="Find tests by name",
            key="regression-text",
            type="search",
            live=True,
            label_visibility="collapsed",
        )
    text = state.get("regression-text") or ""
    if comparison.chosen(report, verdict, text):
        html = comparison.cases_html(
            report, verdict=verdict, text=text, opened=state.get("regression-shown-cases", frozenset()),
            first=state.get("regression-shown-first", 0),
        )  # fmt: skip
        ui.sheet(html, key="regression-cases", picked=partial(toggle, "cases", "case"))
    elif verdict or text:
        st.caption("No test whose recordings were read fits that.")
    else:
        st.caption("Every recording is as it was." if report.unchanged else "No test is recorded on either side.")
        if report.prompts and report.unchanged and report.base is not None:
            st.caption("Prompts changed and no recording did: record the tests anew that they touch, which are told by")
            st.code(f"pytest-agentops prompts impact --base {report.base.short}", language=None)
    if report.unchanged:
        st.caption(f"{report.unchanged:,} recordings are the same byte by byte and are not listed.")
    downloads(report)


def downloads(report: Report) -> None:
    """The whole report as a file."""
    with st.container(horizontal=True):
        for ending, write in WAYS.items():
            st.download_button(
                {".html": "HTML", ".md": "Markdown", ".json": "JSON"}[ending], partial(write, report),
                file_name=f"behaviour{ending}", mime=MIME[ending], icon=":material/download:", on_click="ignore",
            )  # fmt: skip


def choose_verdict() -> None:
    """Somebody clicked on a count."""
    picked = (st.session_state["regression-counts"].picked or "").removeprefix("verdict:")
    before = st.session_state.get("regression-shown-verdict", "")
    st.session_state["regression-shown-verdict"] = "" if picked == before else picked
    st.session_state["regression-shown-first"] = 0


def toggle(name: str, kind: str) -> None:
    """Somebody opened or closed something, or wants to see others."""
    what, _, value = (st.session_state[f"regression-{name}"].picked or "").partition(":")
    if what == kind:
        shown = f"regression-shown-{name}"
        st.session_state[shown] = st.session_state.get(shown, frozenset()) ^ {value}
    elif what == "from":
        st.session_state["regression-shown-first"] = int(value)


with ui.page("Regression", ABOUT):
    settings = ui.settings()
    prompts = ui.prompts(settings)
    try:
        prompts.history.commit("HEAD")
        ready = True
    except HistoryError as error:
        ready = False
        ui.empty(
            "There is nothing to compare yet: recordings and prompts are compared as git knows them. "
            f"{str(error).partition(chr(10))[0]}.",
            "git init && git add . && git commit -m 'first'",
        )
    if ready:
        base, head = pick(settings, prompts)
        report = reported(prompts, base, head)
        if report is not None:
            draw(report)
