"""Which of two answers is better, without knowing whose they are; and who is ahead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st
import ui

from pytest_agentops import votes
from pytest_agentops.errors import AgentopsError
from pytest_agentops.formats import votes as drawn
from pytest_agentops.laboratory import Laboratory

ENOUGH = 10  # With fewer votes a ranking says little.


def _candidates(laboratory: Laboratory) -> Sequence[votes.Candidate]:
    """The answers to vote on: those of a run of the page Compare, the newest to begin with."""
    runs = {each.id: each for each in laboratory.kept() if each.answers and each.variants > 1}
    if not runs:
        return ()
    if st.session_state.get("vote_run") not in runs:
        st.session_state["vote_run"] = next(iter(runs))
    with st.popover("Which answers", icon=":material/history:"):
        # What is compared would tell who is who, so that a run is known by its time alone.
        chosen = st.selectbox(
            "Run", list(runs), key="vote_run", persist_state="session",
            format_func=lambda each: f"{runs[each].began:%d %b %H:%M} UTC, {runs[each].answers} answers",
        )  # fmt: skip
    return laboratory.open(chosen).candidates()


def _cast(question: votes.Question, winner: votes.Winner, root: Path, by: str) -> None:
    try:
        votes.cast(votes.home(root, question.vote(winner).prompt), question.vote(winner, by=by))
    except AgentopsError as error:
        st.session_state["vote_failed"] = str(error)
        return
    st.session_state["vote_last"] = question
    st.session_state["vote_again"] = None


def _skip(question: votes.Question) -> None:
    st.session_state["vote_skipped"] = {*st.session_state.get("vote_skipped", ()), question.key}
    st.session_state["vote_again"] = None


def _back() -> None:
    st.session_state["vote_again"] = st.session_state.pop("vote_last", None)


def _again(candidates: Sequence[votes.Candidate]) -> votes.Question | None:
    """The pair that somebody went back to, where its answers are still here."""
    again: votes.Question | None = st.session_state.get("vote_again")
    return again if again is not None and again.left in candidates and again.right in candidates else None


def _ask(ballot: votes.Ballot, question: votes.Question, root: Path, by: str) -> None:
    """One pair, and the keys that answer it."""
    choices: tuple[tuple[str, votes.Winner, str], ...] = (
        ("Left is better", "left", "Left"),
        ("No difference", "tie", "Down"),
        ("Right is better", "right", "Right"),
    )
    with st.container(horizontal=True, key="vote_keys"):
        for label, winner, key in choices:
            st.button(
                label, key=f"vote_{winner}", shortcut=key, width="stretch",
                on_click=_cast, args=(question, winner, root, by),
            )  # fmt: skip
        st.button("Skip", key="vote_skip", shortcut="S", type="tertiary", on_click=_skip, args=(question,))
        st.button(
            "Back", key="vote_back", shortcut="B", type="tertiary", on_click=_back,
            disabled=st.session_state.get("vote_last") is None,
        )  # fmt: skip
    ui.sheet(drawn.question(question, ballot), key="vote_ballot")


def _rank(tally: votes.Tally, *, done: bool) -> None:
    """Who is ahead, where enough is known or it is asked for: who knows may not be blind any more."""
    many = len(tally.counted.votes)
    if not many:
        return
    label = f"Ranking after {many} {'vote' if many == 1 else 'votes'}"
    if not st.toggle(label, value=done, key=f"vote_ranking_{done}", help="It may sway you while you vote."):
        return
    if many < ENOUGH:
        st.caption("So few votes say little: look at how wide the intervals are.")
    ui.sheet(drawn.ranking(votes.ranking(tally.counted.votes)), key="vote_ranking")


with ui.page("Vote", "Two answers to the same case, without whose they are. Votes are lines in the folder votes."):
    settings = ui.settings()
    candidates = _candidates(ui.laboratory(settings))
    prompts = ui.prompts(settings)
    by = votes.voter(prompts)
    names = {each.prompt for each in candidates} or None
    tally = votes.tally(settings.root, prompts, names, candidates)
    ballot = votes.pairs(
        candidates, tally.counted.votes, by=by, skipped=st.session_state.get("vote_skipped", set[object]())
    )
    if failed := st.session_state.pop("vote_failed", ""):
        st.error(ui.plain(failed), icon=":material/error:")
    question = _again(candidates) or next(iter(ballot.questions), None)
    if question is not None:
        _ask(ballot, question, settings.root, by)
    elif not candidates:
        ui.empty(
            "There is nothing to vote on yet: run two variants or more on the page Compare, "
            "then vote on their answers here."
        )
    elif ballot.asked:
        st.success("Every pair is answered.", icon=":material/done_all:")
        st.button("Back", key="vote_back", shortcut="B", on_click=_back, disabled="vote_last" not in st.session_state)
    else:
        ui.empty("In this run there are no two answers to the same case that differ.")
    _rank(tally, done=question is None)
    if tally.counted.stale:
        st.caption(
            f"{tally.counted.stale} older {'vote is' if tally.counted.stale == 1 else 'votes are'} about a prompt that "
            "has changed since, and count no more."
        )
    if candidates and not by:
        st.caption(
            "git does not know who you are, so that your votes are those of nobody in particular: "
            "`git config user.name NAME`"
        )
    if ballot.alike == 1:
        st.caption("One pair is not asked: both answers are the same.")
    elif ballot.alike:
        st.caption(f"{ballot.alike} pairs are not asked: both answers are the same.")
    if tally.damaged:
        st.warning("Some lines of the files of votes cannot be read.", icon=":material/warning:")
        st.code("\n".join(tally.damaged), language=None)
