"""One answer whole, and what can be made of it: a test with its cassette, a case of a dataset."""

from __future__ import annotations

from dataclasses import replace

import drawing
import streamlit as st
import ui

from pytest_agentops import datasets
from pytest_agentops.datasets import Case
from pytest_agentops.experiment import Trial
from pytest_agentops.formats.grid import answer, question
from pytest_agentops.laboratory import Laboratory, Run
from pytest_agentops.saving import NewTest, containing, offered, save_test, save_version, suggested_test
from pytest_agentops.usage import Usage

_state = st.session_state


def in_short(case: Case, index: int) -> str:
    """An input in a few words."""
    words = case.name or case.message or ", ".join(map(str, case.inputs.values())) or f"input {index + 1}"
    words = " ".join(words[:1000].split()).encode("utf-8", "replace").decode()  # No page can show half a character.
    return words if len(words) <= 60 else f"{words[:59]}…"


@st.dialog("Answer", width="large")
def look(laboratory: Laboratory, run: Run, variant: int, case: int, *, against: tuple[int, int | None] | None) -> None:
    """One answer whole: its words, its trace, and what can be made of it."""
    outcome = run.outcome()
    cell = outcome.cell(variant, case)
    st.caption(ui.plain(run.experiment.variants[variant].title))
    trial = cell.shown
    if len(cell.trials) > 1:
        number = st.segmented_control(
            "Repeat", range(1, len(cell.trials) + 1), default=trial.place.repeat, required=True
        )
        trial = cell.trials[(number or 1) - 1]
    if trial.origin:
        st.caption(ui.plain(f"recorded in {trial.origin}"))
    said, traced, test, kept = st.tabs(["Answer", "Trace", "Save as test", "Save as case"])
    with said:
        ui.sheet(question(run.experiment.cases[case], cell), key="question")
        others = against is not None and against[0] != variant and against[1] in (None, case)
        differs = others and st.toggle("What differs from the reference", key="answer.differs")
        compared = outcome.cell(against[0], case).shown if differs and against is not None else None
        ui.sheet(answer(trial, compared), key="answer")
        for score in trial.scores:
            st.caption(ui.plain(f"{'✓' if score.passed else '?' if score.passed is None else '✗'} {score.check}"))
            if score.reason:
                st.code(score.reason, language=None)
    with traced:
        if trial.trace is None:
            st.caption("There is no trace of it.")
        else:
            drawing.draw_trace(trial.trace, f"cell.{run.id}.{'.'.join(map(str, trial.place))}")
    with test, ui.told():
        save_as_test(laboratory, run, trial)
    with kept, ui.told():
        save_as_case(laboratory, run, trial)


def save_as_test(laboratory: Laboratory, run: Run, trial: Trial) -> None:
    """A test that asks this again, and its cassette."""
    if trial.trace is None or not trial.finished:
        st.caption("There is no answer yet that a test could expect.")
        return
    place = run.id, trial.place
    if written := _state.get("written", {}).get(place):
        st.success("Written. It replays what you see here, offline and without a key:", icon=":material/check:")
        st.code("\n".join(written), language=None)
        if not st.button("Another test of it", key="test.another"):
            return
        del _state["written"][place]
    variant, case = run.experiment.variants[trial.place.variant], run.experiment.cases[trial.place.case]
    settings, prompt = laboratory.settings, run.prompt(trial.place.variant)
    suggested = suggested_test(variant.name, in_short(case, trial.place.case))
    with st.container(horizontal=True):
        file = st.text_input("File", suggested[0], key="test.file")
        name = st.text_input("Test", suggested[1], key="test.name")
    offers = offered(trial.trace, tuple(prompt.outputs.values()))
    st.caption("What it expects")
    picked = [
        each
        for index, each in enumerate(offers)
        if st.checkbox(ui.plain(each.words), each.picked, key=f"test.{run.id}.{trial.place}.{index}")
    ]
    phrase = st.text_input("The answer contains", key="test.phrase", placeholder="a word or a phrase of it")
    if phrase:
        picked.append(containing(trial.trace, phrase))
    model = settings.models.endpoint(variant.model or str(prompt.model.get("id") or ""))
    prompts = laboratory.prompts
    if variant.source is not None:
        prompts = prompts.edited({variant.name: variant.source})
    made = save_test(
        settings.root / (file or ""), name or "", root=settings.root, prompts=prompts,
        reference=variant.reference, inputs=case.inputs, tape=run.tape(trial.place), expected=picked,
        key_from=model.key, ignore=settings.ignore, rules=settings.redact,
    )  # fmt: skip
    st.code(made.source, language="python")
    if variant.source is not None:
        save_with_version(laboratory, variant.name, variant.source, made)
        return
    if st.button("Write the test and its cassette", type="primary", key="test.write"):
        made.apply()
        _state.setdefault("written", {})[place] = made.commands
        st.rerun(scope="fragment")


def save_with_version(laboratory: Laboratory, name: str, source: str, test: NewTest) -> None:
    """The test of a prompt that was edited: both are one commit on a new branch, or the test would not pass."""
    st.caption("The prompt was edited here: its new version and the test become one commit on a new branch.")
    why = st.text_input("Why the prompt changes", key="test.why", placeholder="it goes into the commit")
    if not why:
        return
    usage = Usage(laboratory.settings.root)
    made = save_version(
        laboratory.prompts, name, source, message=why, base=laboratory.settings.base, recorded=usage.inputs,
        beside=test.plan.edits, rules=laboratory.settings.redact,
    )  # fmt: skip
    st.code("\n".join((*made.plan.steps, *test.plan.steps)), language=None, wrap_lines=True)
    if st.button(ui.plain(f"Commit to {made.branch}"), type="primary", key="test.commit"):
        made.apply()
        st.success("Committed. To go there and replay it, offline and without a key:", icon=":material/check:")
        st.code("\n".join((*made.commands, *test.commands)), language=None)


def save_as_case(laboratory: Laboratory, run: Run, trial: Trial) -> None:
    """The input, and if wanted this answer as the expected one, as a line of a dataset."""
    case = run.experiment.cases[trial.place.case]
    name = st.text_input("Dataset", run.experiment.variants[trial.place.variant].name, key="case.dataset",
                         help="a file in the folder datasets")  # fmt: skip
    called = st.text_input("Name", case.name, key=f"case.name.{trial.place.case}", placeholder="optional")
    expects = st.checkbox("This answer is what is expected", key="case.expects", disabled=not trial.finished)
    new = replace(case, name=called or "", expected=(trial.value or trial.text) if expects else case.expected)
    st.code(datasets.line(new), language="json", wrap_lines=True)
    path = datasets.home(laboratory.settings.root, name or "")
    if st.button("Add it", type="primary", key="case.write"):
        added = datasets.append(path, new, rules=laboratory.settings.redact)
        where = path.relative_to(laboratory.settings.root).as_posix()
        st.success(ui.plain(f"Added to {where}." if added else f"{where} has it already."), icon=":material/check:")
