"""Prompts and models side by side: choose variants and inputs, let them answer, see what differs, take it away."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import drawing
import forms
import streamlit as st
import ui

from pytest_agentops import datasets
from pytest_agentops.datasets import Case
from pytest_agentops.errors import AgentopsError, ExperimentError
from pytest_agentops.experiment import (
    OPTIONS,
    Check,
    Experiment,
    Trial,
    Variant,
    estimate,
    first_choice,
    references,
)
from pytest_agentops.formats.grid import answer, dollars, grid, summary
from pytest_agentops.formats.grid import page as whole_page
from pytest_agentops.laboratory import Laboratory, Run
from pytest_agentops.saving import NewTest, containing, offered, save_test, save_version
from pytest_agentops.usage import Usage

_CELLS = 80  # On one screen of the table; more of them take the browser too long while they fill.
_LONGEST_LINK = 30_000  # Characters; browsers and servers refuse addresses that are much longer.
_EFFORTS = ("minimal", "low", "medium", "high")
_BOUNDS = {"temperature": (0, 2), "top_p": (0, 1), "max_completion_tokens": (1, 2**53 - 1), "seed": (0, 2**53 - 1)}
_state = st.session_state


def main() -> None:
    settings = ui.settings()
    laboratory = ui.laboratory(settings)
    names = list(laboratory.prompts)
    if not names:
        ui.empty(
            f"There are no prompts in {settings.prompts} yet. A prompt is a file such as support/agent.prompty.",
            "---\nversion: 1.0.0\nmodel: gpt-5-mini\ninputs:\n  question: {kind: string}\n---\nuser:\n{{ question }}",
        )
        return
    if "columns" not in _state:
        _state.setdefault("limit", 1.0)
        _state.setdefault("at once", 8)
        begin(laboratory, names)
    run = opened(laboratory)
    # A key of its own for each run, so that the choices fold away when one begins.
    key = f"setup.{run.id}" if run is not None else "setup"
    with st.expander("Variants and inputs", expanded=run is None, icon=":material/tune:", key=key):
        experiment = setup(laboratory, names)
    started = bar(laboratory, experiment, run)
    run = started or run
    if run is not None:
        show(laboratory, run)


# --- what is compared ------------------------------------------------------------------------------------------------


def begin(laboratory: Laboratory, names: Sequence[str]) -> None:
    """What a first visit shows: what the address says, else a prompt that recordings know."""
    try:
        if "plan" in st.query_params:
            fill(Experiment.from_link(st.query_params["plan"]))
            return
        if "run" in st.query_params:
            fill(laboratory.open(st.query_params["run"]).experiment)
            return
    except ExperimentError as error:
        ui.problem(error)
        st.query_params.clear()
    name = next((each for each in names if laboratory.recall.cases(each)), names[0])
    fill(Experiment(first_choice(laboratory.prompts, name), ()))
    _state["source"] = "Recorded tests" if laboratory.recall.cases(name) else "Form"


def fill(experiment: Experiment) -> None:
    """Put a plan into the choices of this page."""
    _state["columns"] = list(range(len(experiment.variants)))
    _state["next"] = len(experiment.variants)
    for index, variant in enumerate(experiment.variants):
        put(index, variant)
    if experiment.cases:
        _state["cases"] = experiment.cases
        _state["source"] = "As given"
        _state["repeats"], _state["at once"] = experiment.repeats, experiment.concurrency
        _state["limit"] = experiment.limit
        _state["only recordings"] = experiment.recorded_only
        _state["criteria"] = "\n".join(each.text for each in experiment.checks if each.kind == "judge")
        _state["expectations"] = "\n---\n".join(each.text for each in experiment.checks if each.kind == "expectation")
        _state["judge"] = experiment.judge


def put(index: int, variant: Variant) -> None:
    """Let a column be this variant."""
    _state[f"{index}.prompt"] = variant.name
    _state[f"{index}.at"] = variant.reference
    _state[f"{index}.model"] = variant.model
    if variant.source is not None:
        _state.setdefault("edited", {})[variant.name] = variant.source
        _state[f"{index}.at"] = f"{variant.name}@edited"
    rest = dict(variant.options)
    for name in OPTIONS:
        _state[f"{index}.{name}"] = rest.pop(name) if _fits(name, rest.get(name)) else None
    _state[f"{index}.more"] = json.dumps(rest) if rest else ""


def _fits(name: str, value: object) -> bool:
    """Whether the field of this setting can hold the value; what cannot be is a setting among the others."""
    if name == "reasoning_effort":
        return value in _EFFORTS
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    least, most = _BOUNDS[name]
    return least <= value <= most and (name in ("temperature", "top_p") or isinstance(value, int))


def setup(laboratory: Laboratory, names: Sequence[str]) -> Experiment | None:
    """The choices, and the plan that they make; None where they make none yet."""
    variants = []
    for index in tuple(_state["columns"]):
        with st.container(border=True, horizontal=True, vertical_alignment="bottom", key=f"variant{index}"):
            variants.append(column(laboratory, names, index))
    st.button("Add a variant", icon=":material/add:", on_click=add, type="tertiary")
    name = variants[0].name if variants else names[0]
    cases = inputs(laboratory, name)
    checks = scoring(laboratory)
    return Experiment(
        variants=tuple(variants), cases=tuple(cases), checks=tuple(checks), judge=_state.get("judge") or ""
    )


def column(laboratory: Laboratory, names: Sequence[str], index: int) -> Variant:
    """One variant: which prompt, in which state, for which model, with which settings."""
    key = f"{index}.prompt"
    if _state.get(key) not in names:
        _state[key] = names[0]
    name = st.selectbox("Prompt", names, key=key, persist_state="session")
    choices = dict(references(laboratory.prompts, name))
    if name in _state.get("edited", {}):
        choices = {f"{name}@edited": "edited here", **choices}
    key = f"{index}.at"
    if _state.get(key) not in choices:
        _state[key] = name
    at = st.selectbox("State", list(choices), key=key, format_func=lambda each: choices[each], persist_state="session")
    model = model_choice(laboratory, index, name, at)
    with st.popover("Settings", icon=":material/tune:", help="temperature and the like, for this column alone"):
        options = options_form(index)
    st.button(
        "", icon=":material/content_copy:", help="the same once more", key=f"{index}.copy", on_click=copy, args=[index]
    )
    st.button("", icon=":material/close:", help="leave this variant out", key=f"{index}.drop", on_click=drop,
              args=[index], disabled=len(_state["columns"]) == 1)  # fmt: skip
    if at.endswith("@edited"):
        return Variant(name, model, options, _state["edited"][name])
    return Variant(at, model, options)


def model_choice(laboratory: Laboratory, index: int, name: str, at: str) -> str:
    """Which model is asked; any name may be typed."""
    try:
        own = str(laboratory.prompts.get(at.removesuffix("@edited")).model.get("id") or "")
    except AgentopsError:
        own = ""
    known = list(dict.fromkeys(["", *laboratory.settings.models.served, *recorded_models(laboratory, name)]))
    key = f"{index}.model"
    if _state.get(key) and _state[key] not in known:
        known.append(_state[key])
    said = f"as the prompt says: {own}" if own else "whichever was recorded"
    chosen = st.selectbox(
        "Model",
        known,
        key=key,
        format_func=lambda each: each or said,
        accept_new_options=True,
        persist_state="session",
    )
    return chosen or ""


def recorded_models(laboratory: Laboratory, name: str) -> list[str]:
    return sorted({model for each in laboratory.recall.of(name) for model in each.models})


def options_form(index: int) -> dict[str, Any]:
    """The settings of a column; what is left empty is as the prompt says."""
    options: dict[str, Any] = {
        "temperature": st.number_input("temperature", 0.0, 2.0, None, 0.1, key=f"{index}.temperature",
                                       help=OPTIONS["temperature"], persist_state="session"),
        "top_p": st.number_input("top_p", 0.0, 1.0, None, 0.05, key=f"{index}.top_p", help=OPTIONS["top_p"],
                                 persist_state="session"),
        "max_completion_tokens": st.number_input("max_completion_tokens", 1, None, None, 1,
                                                 key=f"{index}.max_completion_tokens",
                                                 help=OPTIONS["max_completion_tokens"], persist_state="session"),
        "seed": st.number_input("seed", 0, None, None, 1, key=f"{index}.seed", help=OPTIONS["seed"],
                                persist_state="session"),
        "reasoning_effort": st.selectbox("reasoning_effort", [None, *_EFFORTS],
                                         key=f"{index}.reasoning_effort", format_func=lambda each: each or "",
                                         help=OPTIONS["reasoning_effort"], persist_state="session"),
    }  # fmt: skip
    more = st.text_input(
        "more, as JSON", key=f"{index}.more", placeholder='{"logprobs": true}', persist_state="session"
    )
    if more and more.strip():
        try:
            said = json.loads(more)
        except ValueError:
            said = None
        if isinstance(said, dict):
            options |= said
        else:
            st.error("This is no JSON object.")
    return {name: value for name, value in options.items() if value is not None}


def add() -> None:
    copy(_state["columns"][-1])


def copy(index: int) -> None:
    new = _state["next"]
    _state["next"] += 1
    for name in ("prompt", "at", "model", "more", *OPTIONS):
        _state[f"{new}.{name}"] = _state.get(f"{index}.{name}")
    _state["columns"].insert(_state["columns"].index(index) + 1, new)


def drop(index: int) -> None:
    _state["columns"].remove(index)


# --- what they are asked ---------------------------------------------------------------------------------------------


def inputs(laboratory: Laboratory, name: str) -> Sequence[Case]:
    """The inputs, wherever they come from."""
    sources = ["Recorded tests", "Form", "Paste", "File", "Dataset"]
    if "cases" in _state:
        sources.insert(0, "As given")
    if _state.get("source") not in sources:
        _state["source"] = sources[0]
    source = st.segmented_control("Inputs", sources, key="source", required=True, persist_state="session")
    try:
        fields = laboratory.prompts[name].inputs
        if source == "As given":
            return listed(_state["cases"], "cases")
        if source == "Recorded tests":
            return recorded(laboratory, name)
        if source == "Form":
            return filled_in(fields, name)
        return tabled(laboratory, source, fields)
    except AgentopsError as error:
        ui.problem(error)
        return ()


def recorded(laboratory: Laboratory, name: str) -> Sequence[Case]:
    cases = laboratory.recall.cases(name)
    if not cases:
        st.caption("No recorded test has rendered this prompt yet.")
    return listed(cases, f"recorded.{name}")


def listed(cases: Sequence[Case], key: str) -> Sequence[Case]:
    """Which of these are asked; all of them to begin with, as long as they are few."""
    labels = {index: said(case, index) for index, case in enumerate(cases)}
    if not labels:
        return ()
    chosen = st.multiselect(
        "Which", list(labels), default=list(labels)[:25], key=f"{key}.which", label_visibility="collapsed",
        format_func=lambda index: labels.get(index, ""), persist_state="session",
    )  # fmt: skip
    return [cases[index] for index in chosen if index in labels]


def said(case: Case, index: int) -> str:
    words = case.name or case.message or ", ".join(map(str, case.inputs.values())) or f"input {index + 1}"
    words = " ".join(words[:1000].split()).encode("utf-8", "replace").decode()  # No page can show half a character.
    return words if len(words) <= 60 else f"{words[:59]}…"


def filled_in(fields: Any, name: str) -> Sequence[Case]:
    given = forms.inputs_form(tuple(fields.values()), f"form.{name}", {})
    message = st.text_area("What the user says after it", key="form.message", height=80, persist_state="session",
                           help="for prompts that are instructions alone")  # fmt: skip
    return [Case(inputs=given, message=message or "")]


def tabled(laboratory: Laboratory, source: str, fields: Any) -> Sequence[Case]:
    if source == "Paste":
        columns = "\t".join([*fields, "message"])
        text = st.text_area("A table with a head, as a spreadsheet copies it, or JSONL", key="pasted", height=160,
                            placeholder=columns, persist_state="session")  # fmt: skip
        cases: Sequence[Case] = datasets.parse(text, fields=fields) if text and text.strip() else ()
    elif source == "File":
        upload = st.file_uploader("CSV, TSV, JSON or JSONL", type=["csv", "tsv", "json", "jsonl"], key="upload")
        cases = datasets.read_bytes(upload.getvalue(), upload.name, fields) if upload is not None else ()
    else:
        found = datasets.find(laboratory.settings.root)
        if not found:
            st.caption("There are no datasets yet: datasets/*.jsonl or *.csv. “Save as case” on an answer begins one.")
            return ()
        names = {path.relative_to(laboratory.settings.root).as_posix(): path for path in found}
        chosen = st.selectbox("Dataset", list(names), key="dataset", persist_state="session")
        cases = datasets.load(names[chosen], fields)
    if cases:
        st.caption(f"{len(cases)} inputs")
    return cases


def scoring(laboratory: Laboratory) -> Sequence[Check]:
    """What answers are scored by."""
    with st.popover("Scores", icon=":material/fact_check:", help="expectations and judges that look at each answer"):
        expectations = st.text_area(
            "Expectations, in YAML; several stand apart by a line of ---", key="expectations", height=120,
            placeholder="in_order: [lookup_order, issue_refund]", persist_state="session",
        )  # fmt: skip
        criteria = st.text_area("Criteria for a judge, one in a line", key="criteria", height=80,
                                placeholder="says when the refund arrives", persist_state="session")  # fmt: skip
        st.selectbox("Judge", ["", *laboratory.settings.models.served], key="judge", persist_state="session",
                     accept_new_options=True, format_func=lambda each: each or "as its prompt says")  # fmt: skip
    parts = (each.strip() for each in f"\n{expectations or ''}\n".split("\n---\n"))
    lines = (each.strip() for each in (criteria or "").splitlines())
    return [
        *(Check("expectation", each) for each in parts if each),
        *(Check("judge", each) for each in lines if each),
    ]


# --- running ---------------------------------------------------------------------------------------------------------


def opened(laboratory: Laboratory) -> Run | None:
    """The run that the address names, or that was looked at before another page was."""
    name = st.query_params.get("run") or _state.get("run")
    if not name:
        return None
    try:
        found = laboratory.open(name)
    except AgentopsError as error:
        ui.problem(error)
        return None
    if st.query_params.get("run") != name:
        st.query_params["run"] = name
    if _state.get("run") != name:
        _state["run"] = name
        _state["against"] = place_in(st.query_params.get("against", ""), found.experiment)
    elif _state.get("against") is not None and "against" not in st.query_params:
        refer_to(_state["against"])
    return found


def place_in(text: str, experiment: Experiment) -> tuple[int, int | None] | None:
    """The variant, and perhaps the case, that the address names as the reference, such as `0` or `0.2`."""
    found = re.fullmatch(r"(\d{1,5})(?:\.(\d{1,5}))?", text)
    if found is None:
        return None
    variant, case = int(found[1]), int(found[2]) if found[2] else None
    known = variant < len(experiment.variants) and (case or 0) < len(experiment.cases)
    return (variant, case) if known else None


def refer_to(place: tuple[int, int | None] | None) -> None:
    """Let this be the reference, in the address too."""
    _state["against"] = place
    st.query_params.pop("against", None)
    if place is not None:
        st.query_params["against"] = ".".join(str(each) for each in place if each is not None)


def bar(laboratory: Laboratory, experiment: Experiment | None, run: Run | None) -> Run | None:
    """What it will cost, and the buttons; gives the run that was begun."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        repeats = st.number_input("Repeats", 1, 100, key="repeats", width=120, persist_state="session")
        at_once = st.number_input("At once", 1, 256, key="at once", width=120,
                                  help="how many questions are under way together",
                                  persist_state="session")  # fmt: skip
        limit = st.number_input("Spend at most, in $", 0.0, step=0.5, key="limit", width=170,
                                help="nothing is asked that might go beyond", persist_state="session")  # fmt: skip
        recorded_only = st.toggle("Only recordings", key="only recordings", persist_state="session",
                                  help="ask no model: answer with what tests have recorded")  # fmt: skip
        if experiment is not None:
            experiment = replace(
                experiment, repeats=int(repeats or 1), concurrency=int(at_once or 8), limit=limit,
                recorded_only=bool(recorded_only),
            )  # fmt: skip
        if run is not None and run.running:
            _state["was running"] = run.id
        pressed = st.button("Run", type="primary", icon=":material/play_arrow:", shortcut="Mod+Enter",
                            disabled=_state.get("was running") is not None)  # fmt: skip
        kept_runs(laboratory)
        share(laboratory, experiment, run)
    if experiment is not None:
        foresee(laboratory, experiment)
    if not pressed or experiment is None:
        return None
    try:
        begun = laboratory.begin(experiment.checked(laboratory.prompts))
        begun.start()
    except (AgentopsError, OSError) as error:
        ui.problem(error)
        return None
    st.query_params["run"] = _state["run"] = begun.id
    st.query_params.pop("plan", None)
    refer_to((0, None) if len(experiment.variants) > 1 else None)
    st.rerun()


def foresee(laboratory: Laboratory, experiment: Experiment) -> None:
    """What it will come to, and what stands in its way."""
    if not experiment.cases:
        return
    try:
        experiment.checked()
    except ExperimentError as error:
        st.caption(ui.plain(str(error)))
        return
    found = estimate(experiment, laboratory.prompts, laboratory.settings.models)
    models = laboratory.settings.models
    lacking = {
        endpoint.lacks(os.environ)
        for variant in experiment.variants
        if variant.model and (endpoint := models.endpoint(variant.model))
    } - {None}
    count = len(experiment.variants) * len(experiment.cases) * experiment.repeats
    if experiment.recorded_only:
        st.caption(f"{count} answers from recordings; no model is asked.")
        return
    said = [f"{found.calls or count} questions", f"about {found.input_tokens + found.output_tokens:,} tokens"]
    if found.cost:
        said.append(f"about {dollars(found.cost)}")
    if found.unpriced:
        said.append(f"no price is known for {', '.join(found.unpriced)}, and the limit does not see it")
    st.caption(ui.plain(", ".join(said)))
    if lacking:
        st.caption(ui.plain(f"{', '.join(sorted(map(str, lacking)))} is not set: recordings answer instead."))
    for problem in found.problems:
        st.caption(ui.plain(problem))


def kept_runs(laboratory: Laboratory) -> None:
    kept = laboratory.kept()
    with st.popover("Runs", icon=":material/history:", disabled=not kept, help="earlier runs, with their answers"):
        for each in kept[:30]:
            label = f"{each.began:%d %b %H:%M} · {each.answers} answers · {each.title}"
            if st.button(ui.plain(label[:110]), key=f"kept.{each.id}", type="tertiary"):
                st.query_params["run"] = each.id
                fill(laboratory.open(each.id).experiment)
                st.rerun()


def share(laboratory: Laboratory, experiment: Experiment | None, run: Run | None) -> None:
    with st.popover("Share", icon=":material/share:"):
        st.caption("For somebody with the same repository: what is compared, as an address. No key is in it.")
        plan = experiment if run is None else run.experiment
        if plan is not None and plan.cases and plan.variants:
            plan = laboratory.without_secrets(plan)
            link = f"{(st.context.url or '').partition('?')[0]}?plan={plan.to_link()}"
            if len(link) <= _LONGEST_LINK:
                st.code(link, language=None, wrap_lines=True)
            else:
                st.caption("The inputs are too long for an address: put them into a dataset of the repository.")
        if run is not None:
            outcome = replace(run.outcome(), experiment=plan or run.experiment)
            made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
            wanted: dict[str, Any] = {
                "rows": range(len(run.experiment.cases)),
                "columns": range(len(run.experiment.variants)),
                "reference": _state.get("against"),
            }
            st.download_button(
                "One HTML file with the answers", icon=":material/download:", mime="text/html", on_click="ignore",
                file_name=f"comparison-{run.id}.html",
                data=lambda: whole_page(outcome, made=made, **wanted),
            )  # fmt: skip


# --- what they answer ------------------------------------------------------------------------------------------------


def show(laboratory: Laboratory, run: Run) -> None:
    """The table, drawn anew while it fills."""
    opened = _state.pop("opened", None)
    # A large table takes a browser a while to take in, and clicks wait for it.
    pause = 0.5 if len(run.outcome().trials) <= _CELLS else 1.0
    st.fragment(lambda: table(run), run_every=pause if run.running else None)()
    if opened is not None:
        look(laboratory, run, *opened)


def table(run: Run) -> None:
    """How far it is, how it is wanted, and the answers."""
    outcome = run.outcome()
    titles = {index: variant.title for index, variant in enumerate(run.experiment.variants)}
    with st.container(horizontal=True, vertical_alignment="center", key="toolbar"):
        st.markdown(ui.plain(summary(outcome)), width="content")
        halt(run)
        orders = {"": "as asked", "seconds": "slowest", "first": "first word", "tokens": "tokens", "cost": "cost"}
        order = st.selectbox(
            "Sort", list(orders), format_func=lambda each: orders[each], key="sort", width=140,
            label_visibility="collapsed", bind="query-params",
        )  # fmt: skip
        differing = st.toggle("Only what differs", key="differing", bind="query-params")
        hidden: list[int] = []
        if len(titles) > 1:
            hidden = st.multiselect(
                "Hide", list(titles), key="hidden", format_func=lambda each: titles.get(each, ""), width=240,
                placeholder="Hide columns", label_visibility="collapsed",
            )  # fmt: skip
    if run.problem:
        st.warning(ui.plain(run.problem), icon=":material/payments:")
    columns = [index for index in titles if index not in hidden]
    rows = outcome.rows(order=order or "", descending=True, only_differing=bool(differing), variants=columns)
    rows = paged(rows, max(4, _CELLS // max(1, len(columns))))
    if columns and rows:
        ui.sheet(grid(outcome, rows=rows, columns=columns, reference=_state.get("against")), key="grid", picked=take)
        if "opened" in _state:
            st.rerun()  # A dialog is opened by the page as a whole.
    elif columns:
        st.caption("All variants say the same.")
    if not run.running and _state.get("was running") == run.id:
        _state.pop("was running")
        st.rerun()  # From here on the table is drawn by itself no more.


def halt(run: Run) -> None:
    """The button that stops a run, or lets it go on."""
    if run.running:
        if st.button("Stop", icon=":material/stop:", key="stop"):
            run.stop()
            st.rerun()
        return
    about = "ask what has no answer yet, and what failed, once more"
    if run.open and st.button("Resume", icon=":material/resume:", key="resume", help=about):
        try:
            run.start()
        except (AgentopsError, OSError) as error:
            ui.problem(error)
            return
        st.rerun()


def paged(rows: Sequence[int], most: int) -> Sequence[int]:
    """The rows of the page that is looked at."""
    if len(rows) <= most:
        return rows
    pages = range(1, -(-len(rows) // most) + 1)
    at = st.segmented_control("Page", pages, default=1, key="page", label_visibility="collapsed") or 1
    return rows[(at - 1) * most : at * most]


def take() -> None:
    """What was clicked in the table."""
    what, *places = str(_state["grid"].picked or "").split(":")
    if not places:
        return
    variant, case = int(places[0]), int(places[1]) if len(places) > 1 else None
    if what == "open":
        _state["opened"] = variant, case
    else:
        refer_to(None if _state.get("against") == (variant, case) else (variant, case))


@st.dialog("Answer", width="large")
def look(laboratory: Laboratory, run: Run, variant: int, case: int) -> None:
    """One answer whole: its words, its trace, and what can be made of it."""
    cell = run.outcome().cell(variant, case)
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
        ui.sheet(answer(trial), key="answer")
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
    variant, case = run.experiment.variants[trial.place.variant], run.experiment.cases[trial.place.case]
    settings, prompt = laboratory.settings, run.prompt(trial.place.variant)
    slug = variant.name.replace("/", "_").replace("-", "_")
    words = [word for word in re.findall(r"[a-z0-9]+", said(case, trial.place.case).lower()) if word != "test"]
    with st.container(horizontal=True):
        file = st.text_input("File", f"tests/test_{slug}.py", key="test.file")
        name = st.text_input("Test", f"test_{'_'.join(words[:6]) or 'answer'}", key="test.name")
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
        st.success("Written. It replays what you see here, offline and without a key:", icon=":material/check:")
        st.code("\n".join(made.commands), language=None)


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


with ui.page("Compare", "Variants of a prompt side by side, on the same inputs"):
    main()
