"""Prompts and models side by side: choose variants and inputs, let them answer, see what differs, take it away."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import answers
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
    Variant,
    estimate,
    first_choice,
    has_user,
    judge_of,
)
from pytest_agentops.formats.grid import dollars, grid, summary
from pytest_agentops.formats.grid import page as whole_page
from pytest_agentops.laboratory import Laboratory, Run
from pytest_agentops.prompt import Prompt

_CELLS = 80  # On one screen of the table; more of them take the browser too long while they fill.
_LONGEST_LINK = 30_000  # Characters; browsers and servers refuse addresses that are much longer.
_NUMBERS: Mapping[str, tuple[Any, Any, Any]] = {
    "temperature": (0.0, 2.0, 0.1),
    "top_p": (0.0, 1.0, 0.05),
    "max_completion_tokens": (1, 2**53 - 1, 1),
    "seed": (0, 2**53 - 1, 1),
}  # The least, the most and the step; browsers know no greater whole number.
_EFFORTS = ("minimal", "low", "medium", "high")
_state = st.session_state


def main() -> None:
    settings = ui.settings()
    laboratory = ui.laboratory(settings)
    ui.edited(settings)
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
    bar(laboratory, experiment, run)
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
    known = bool(laboratory.recall.cases(name))
    models = laboratory.settings.models
    fill(Experiment(first_choice(laboratory.prompts, name, None if known else models, os.environ), ()))
    _state["source"] = "Recorded tests" if known else "Form"


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
        _state["contained"] = "\n".join(each.text for each in experiment.checks if each.kind == "contains")
        _state["expectations"] = "\n---\n".join(each.text for each in experiment.checks if each.kind == "expectation")
        _state["judge"] = experiment.judge


def put(index: int, variant: Variant) -> None:
    """Let a column be this variant."""
    _state[f"{index}.prompt"] = variant.name
    _state[f"{index}.at"] = variant.reference
    _state[f"{index}.model"] = variant.model
    if variant.source is not None:
        _state["edited"][variant.name] = variant.source
        _state[f"{index}.at"] = f"{variant.name}@edited"
    rest = dict(variant.options)
    for name in OPTIONS:
        _state[f"{index}.{name}"] = rest.pop(name) if fits(name, rest.get(name)) else None
    _state[f"{index}.more"] = json.dumps(rest) if rest else ""


def fits(name: str, value: object) -> bool:
    """Whether the form has a place for this value of a setting; another one is written as JSON."""
    if name not in _NUMBERS:
        return value in _EFFORTS
    least, most, step = _NUMBERS[name]
    return type(value) is type(step) and least <= value <= most


def setup(laboratory: Laboratory, names: Sequence[str]) -> Experiment:
    """The choices, and the plan that they make."""
    variants = []
    for index in tuple(_state["columns"]):
        with st.container(border=True, horizontal=True, vertical_alignment="bottom", key=f"variant{index}"):
            variants.append(column(laboratory, names, index))
    st.button("Add a variant", icon=":material/add:", on_click=add, type="tertiary")
    cases = inputs(laboratory, variants[0])
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
    known = laboratory.prompts.references(name)
    choices = {name if at == "worktree" else f"{name}@{at}": about for at, about in known.items()}
    if name in _state["edited"]:
        choices = {f"{name}@edited": "edited here", **choices}
    key = f"{index}.at"
    given = _state.get(key) or ""
    if given.startswith(f"{name}@") and given != f"{name}@edited":
        choices.setdefault(given, given.partition("@")[2])  # An address may name whatever git understands.
    if given not in choices:
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
    served, recorded = laboratory.settings.models.served, laboratory.recall.models([name])
    known = list(dict.fromkeys(["", *served, *recorded]))
    key = f"{index}.model"
    if _state.get(key) and _state[key] not in known:
        known.append(_state[key])
    said = f"as the prompt says: {own}" if own else "whichever was recorded"
    chosen = st.selectbox(
        "Model",
        known,
        key=key,
        format_func=lambda each: f"{each} (recorded)" if each in recorded and each not in served else each or said,
        accept_new_options=True,
        persist_state="session",
    )
    return chosen or ""


def options_form(index: int) -> dict[str, Any]:
    """The settings of a column; what is left empty is as the prompt says."""
    options: dict[str, Any] = {
        name: st.number_input(
            name, least, most, None, step, key=f"{index}.{name}", help=OPTIONS[name], persist_state="session"
        )
        for name, (least, most, step) in _NUMBERS.items()
    }
    options["reasoning_effort"] = st.selectbox(
        "reasoning_effort", [None, *_EFFORTS], key=f"{index}.reasoning_effort", format_func=lambda each: each or "",
        help=OPTIONS["reasoning_effort"], persist_state="session",
    )  # fmt: skip
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
            st.error(ui.plain('Write an object of JSON here, such as {"logprobs": true}.'))
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


def inputs(laboratory: Laboratory, variant: Variant) -> Sequence[Case]:
    """The inputs, wherever they come from; the first variant says what there is to fill in."""
    sources = ["Recorded tests", "Form", "Paste", "File", "Dataset"]
    if "cases" in _state:
        sources.insert(0, "As given")
    if _state.get("source") not in sources:
        _state["source"] = sources[0]
    source = st.segmented_control("Inputs", sources, key="source", required=True, persist_state="session")
    try:
        prompt = variant.prompt(laboratory.prompts)
        if source == "As given":
            return listed(_state["cases"], "cases")
        if source == "Recorded tests":
            return recorded(laboratory, variant, prompt)
        if source == "Form":
            return filled_in(prompt)
        return tabled(laboratory, source, prompt)
    except AgentopsError as error:
        ui.problem(error)
        return ()


def recorded(laboratory: Laboratory, variant: Variant, prompt: Prompt) -> Sequence[Case]:
    """The inputs of recorded tests; to begin with those whose answers are known, where there are any."""
    cases = laboratory.recall.cases(variant.name)
    if not cases:
        st.caption("No recorded test has rendered this prompt yet.")
    known = [index for index, case in enumerate(cases) if laboratory.recall.answer(prompt, case, variant.model)]
    return listed(cases, f"recorded.{variant.name}", known)


def listed(cases: Sequence[Case], key: str, first: Sequence[int] = ()) -> Sequence[Case]:
    """Which of these are asked: to begin with the first ones named, or all, as long as they are few."""
    labels = {index: answers.in_short(case, index) for index, case in enumerate(cases)}
    if not labels:
        return ()
    chosen = st.multiselect(
        "Which", list(labels), default=list(first or labels)[:25], key=f"{key}.which", label_visibility="collapsed",
        format_func=lambda index: labels.get(index, ""), persist_state="session",
    )  # fmt: skip
    return [cases[index] for index in chosen if index in labels]


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def filled_in(prompt: Prompt) -> Sequence[Case]:
    """One input, by its form; none while something that is needed is missing."""
    given = forms.inputs_form(tuple(prompt.inputs.values()), f"form.{prompt.name}", {})
    message = ""
    if not has_user(prompt):
        message = st.text_area("What the user says after it", key="form.message", height=80, persist_state="session",
                               help="this prompt is instructions alone") or ""  # fmt: skip
    missing = [name for name, each in prompt.inputs.items() if each.required and given.get(name) in (None, "")]
    if missing:
        st.caption(ui.plain(f"To fill in: {', '.join(missing)}"))
        return ()
    return [Case(inputs=given, message=message)]


def tabled(laboratory: Laboratory, source: str, prompt: Prompt) -> Sequence[Case]:
    """The inputs in a table or a file."""
    fields = prompt.inputs
    if source == "Paste":
        columns = "\t".join([*fields, *(["message"] if not has_user(prompt) else [])])
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
        st.caption(counted(len(cases), "input"))
    return cases


def scoring(laboratory: Laboratory) -> Sequence[Check]:
    """What answers are scored by."""
    own = f"as its prompt says: {judge_of(Experiment((), ()), laboratory.settings.models).model}"
    with st.popover("Scores", icon=":material/fact_check:", help="expectations and judges that look at each answer"):
        expectations = st.text_area(
            "Expectations, in YAML; several stand apart by a line of ---", key="expectations", height=120,
            placeholder="in_order: [lookup_order, issue_refund]", persist_state="session",
        )  # fmt: skip
        contained = st.text_area("What the answer contains, one in a line; /.../ is a regular expression",
                                 key="contained", height=80, placeholder="refund", persist_state="session")  # fmt: skip
        criteria = st.text_area("Criteria for a judge, one in a line", key="criteria", height=80,
                                placeholder="says when the refund arrives", persist_state="session")  # fmt: skip
        st.selectbox(
            "Judge",
            ["", *laboratory.settings.models.served],
            key="judge",
            persist_state="session",
            accept_new_options=True,
            format_func=lambda each: each or own,
        )
    parts = (each.strip() for each in f"\n{expectations or ''}\n".split("\n---\n"))
    checks = [Check("expectation", each) for each in parts if each]
    checks += [Check("contains", each.strip()) for each in (contained or "").splitlines() if each.strip()]
    checks += [Check("judge", each.strip()) for each in (criteria or "").splitlines() if each.strip()]
    for check in checks:
        try:
            check.checked()
        except AgentopsError as error:
            ui.problem(error)
    return checks


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
        _state["against"] = place_in(st.query_params.get("against", ""), found.experiment) or first_of(found.experiment)
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


def first_of(experiment: Experiment) -> tuple[int, int | None] | None:
    """The first variant as the reference, where there are others."""
    return (0, None) if len(experiment.variants) > 1 else None


def refer_to(place: tuple[int, int | None] | None) -> None:
    """Let this be the reference, in the address too."""
    _state["against"] = place
    st.query_params.pop("against", None)
    if place is not None:
        st.query_params["against"] = ".".join(str(each) for each in place if each is not None)


def bar(laboratory: Laboratory, experiment: Experiment, run: Run | None) -> None:
    """What it will cost, and the buttons."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        repeats = st.number_input("Repeats", 1, 100, key="repeats", width=120, persist_state="session")
        at_once = st.number_input("At once", 1, 256, key="at once", width=120,
                                  help="how many questions are under way together",
                                  persist_state="session")  # fmt: skip
        limit = st.number_input("Spend at most, in $", 0.0, step=0.5, key="limit", width=170, format="%.3f",
                                help="nothing is asked that might go beyond", persist_state="session")  # fmt: skip
        recorded_only = st.toggle("Only recordings", key="only recordings", persist_state="session",
                                  help="ask no model: answer with what tests have recorded")  # fmt: skip
        experiment = replace(
            experiment, repeats=int(repeats or 1), concurrency=int(at_once or 8), limit=limit,
            recorded_only=bool(recorded_only),
        )  # fmt: skip
        running = run is not None and run.running
        if run is not None and running:
            _state["was running"] = run.id
        pressed = st.button("Run", type="primary", icon=":material/play_arrow:", shortcut="Mod+Enter",
                            disabled=running or not experiment.cases)  # fmt: skip
        kept_runs(laboratory)
        share(laboratory, experiment, run)
    foresee(laboratory, experiment)
    if not pressed:
        return
    try:
        begun = laboratory.begin(experiment.checked(laboratory.prompts))
        begun.start()
    except (AgentopsError, OSError) as error:
        ui.problem(error)
        return
    st.query_params["run"] = _state["run"] = begun.id
    st.query_params.pop("plan", None)
    before = _state.get("against")
    kept = before is not None and before[0] < len(experiment.variants) > 1
    refer_to((before[0], None) if before is not None and kept else first_of(experiment))
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
    found = estimate(experiment, laboratory.prompts, laboratory.settings.models, os.environ)
    said = [counted(found.calls, "question")] if found.calls else []
    if found.judged:
        said.append(f"{found.judged} for the judge")
    if said:
        said.append(f"about {found.input_tokens + found.output_tokens:,} tokens")
    if found.cost:
        said.append(f"about {dollars(found.cost)}")
    if found.unpriced:
        said.append(f"no price is known for {', '.join(found.unpriced)}, and the limit does not see it")
    if found.recorded:
        said.append(f"{counted(found.recorded, 'answer')} from recordings{'' if said else '; no model is asked'}")
    if said:
        st.caption(ui.plain(", ".join(said)))
    if found.lacking:
        missing = ", ".join(found.lacking)
        st.caption(ui.plain(f"{missing} is not set: recordings answer where they can. Pick another model to ask one."))
    for problem in found.problems:
        st.caption(ui.plain(problem))


def kept_runs(laboratory: Laboratory) -> None:
    kept = laboratory.kept()
    with st.popover("Runs", icon=":material/history:", disabled=not kept, help="earlier runs, with their answers"):
        for each in kept[:30]:
            label = f"{each.began:%d %b %H:%M} · {counted(each.answers, 'answer')} · {each.title}"
            st.button(
                ui.plain(label[:110]), key=f"kept.{each.id}", type="tertiary", on_click=reopen,
                args=(laboratory, each.id),
            )  # fmt: skip


def reopen(laboratory: Laboratory, name: str) -> None:
    """Go to an earlier run: its answers, and what was chosen for it."""
    refer_to(None)
    st.query_params["run"] = name
    with suppress(ExperimentError):  # `opened` tells what is wrong with it.
        fill(laboratory.open(name).experiment)


def share(laboratory: Laboratory, experiment: Experiment, run: Run | None) -> None:
    with st.popover("Share", icon=":material/share:"):
        st.caption("For somebody with the same repository: what is compared, as an address. No key is in it.")
        plan = experiment if run is None else run.experiment
        if plan.cases and plan.variants:
            plan = laboratory.without_secrets(plan)
            link = f"{(st.context.url or '').partition('?')[0]}?plan={plan.to_link()}"
            if len(link) <= _LONGEST_LINK:
                st.code(link, language=None, wrap_lines=True)
            else:
                st.caption("The inputs are too long for an address: put them into a dataset of the repository.")
        if run is not None:
            outcome = replace(run.outcome(), experiment=laboratory.without_secrets(run.experiment))
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
        answers.look(laboratory, run, *opened, against=_state.get("against"))


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
            run.allow(_state.get("limit"))  # It may have been raised.
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


with ui.page("Compare", "Variants of a prompt side by side, on the same inputs"):
    main()
