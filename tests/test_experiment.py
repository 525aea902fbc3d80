"""An experiment as a value: what makes sense, what it will cost, how it travels, and what stands in its cells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_agentops import PromptRepository
from pytest_agentops.datasets import MISSING, Case
from pytest_agentops.errors import ExperimentError, PromptNotFound, SettingsError
from pytest_agentops.experiment import (
    Check,
    Experiment,
    Outcome,
    Place,
    Score,
    Spread,
    Trial,
    Variant,
    asked,
    estimate,
    first_choice,
    has_user,
)
from pytest_agentops.models import Endpoint, Models, Price
from pytest_agentops.settings import read_settings

TRIAGE = "---\nversion: 1.0.0\nmodel: {id: own, options: {temperature: 0}}\ninputs:\n  ticket: {kind: string}\n---\n"


@pytest.fixture
def prompts(tmp_path: Path) -> PromptRepository:
    (tmp_path / "triage.prompty").write_text(f"{TRIAGE}system:\nSort.\nuser:\n{{{{ ticket }}}}\n")
    (tmp_path / "plain.prompty").write_text("---\nversion: 1.0.0\n---\nsystem:\nBe brief.\n")
    return PromptRepository(tmp_path)


def plan(**changes: object) -> Experiment:
    given = {"variants": (Variant("triage"),), "cases": (Case({"ticket": "My bill"}),), **changes}
    return Experiment(**given)  # type: ignore[arg-type]


def test_a_trial_asks_the_rendered_prompt_with_the_model_and_settings_of_its_variant(prompts):
    request = asked(prompts["triage"], Case({"ticket": "Hi"}), Endpoint("a", "model-a"), {"temperature": 0.7})

    assert request == {
        "model": "model-a",
        "messages": [{"role": "system", "content": "Sort."}, {"role": "user", "content": "Hi"}],
        "temperature": 0.7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_what_the_user_says_follows_a_prompt_of_instructions_alone(prompts):
    request = asked(prompts["plain"], Case({}, message="Hello"), Endpoint("a", "a"), {})

    assert request["messages"][1:] == [{"role": "user", "content": "Hello"}]


def test_an_edited_prompt_is_the_text_that_was_typed_with_the_partials_of_the_folder(prompts, tmp_path):
    (tmp_path / "_shared").mkdir()
    (tmp_path / "_shared" / "tone.prompty").write_text("Be kind.")

    edited = Variant("plain", source='---\nversion: 1.0.0\n---\nsystem:\n{% include "_shared/tone" %}\n').prompt(
        prompts
    )

    assert edited.render() == "Be kind."
    assert edited.digest != prompts["plain"].digest


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"variants": ()}, "there is no variant to ask"),
        ({"cases": ()}, "there is no input to ask about"),
        ({"repeats": 0}, "the most is 20,000"),
        ({"repeats": 101}, "the most is 20,000"),
        ({"concurrency": 0}, "from 1 to 256 questions"),
        ({"limit": -1.0}, "a limit is a number of US dollars"),
        ({"limit": float("nan")}, "a limit is a number of US dollars"),
        ({"seconds": 0.0}, "an answer may take up to 3600 seconds"),
        ({"variants": (Variant("triage", options={"messages": []}),)}, "messages is not a setting"),
    ],
)
def test_an_experiment_that_cannot_be_run_says_why(changes, says):
    with pytest.raises(ExperimentError, match=says):
        plan(**changes).checked()


def test_a_variant_of_a_prompt_that_is_not_there_names_the_nearest(prompts):
    with pytest.raises(PromptNotFound, match="did you mean 'triage'"):
        plan(variants=(Variant("triaje"),)).checked(prompts)


def test_whole_rows_are_asked_first_and_repeats_last():
    places = list(plan(variants=(Variant("a"), Variant("b")), cases=(Case({}), Case({})), repeats=2).places)

    assert places[:4] == [Place(0, 0), Place(1, 0), Place(0, 1), Place(1, 1)]
    assert places[4] == Place(0, 0, 2)


names = st.text(min_size=1, max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@given(
    st.builds(
        Experiment,
        variants=st.lists(
            st.builds(
                Variant, reference=names, model=st.text(max_size=8), source=st.none() | st.text(max_size=20),
                options=st.dictionaries(st.sampled_from(["temperature", "seed"]), st.integers(0, 2), max_size=2),
            ), min_size=1, max_size=3,
        ).map(tuple),
        cases=st.lists(
            st.builds(
                Case, inputs=st.dictionaries(names, values, max_size=3), message=st.text(max_size=20),
                expected=st.just(MISSING) | values, name=st.text(max_size=5),
            ), min_size=1, max_size=3,
        ).map(tuple),
        checks=st.just((Check("expectation", "never: [a]"), Check("judge", "is kind"))),
        repeats=st.integers(1, 3),
        limit=st.none() | st.floats(0, 100),
    )
)  # fmt: skip
def test_a_plan_comes_back_from_its_address_as_it_was(experiment):
    assert Experiment.from_link(experiment.to_link()) == experiment


@pytest.mark.parametrize("word", ["", "x", "%%%", "eJw", plan().to_link()[:-8], "A" * 5000])
def test_an_address_that_was_cut_or_made_up_is_told(word):
    with pytest.raises(ExperimentError, match="the address holds no"):
        Experiment.from_link(word)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", '{"variants": 3}', '{"variants": [{"reference": 1}], "cases": [{}]}',
     json.dumps({"variants": [{"reference": "a"}], "cases": [{"inputs": []}]}),
     json.dumps({"variants": [{"reference": "a"}], "cases": [{"inputs": {}}], "repeats": "many"}),
     json.dumps({"variants": [{"reference": "a"}], "cases": [{"inputs": {}}], "repeats": True}),
     json.dumps({"variants": [{"reference": "a"}], "cases": [{"inputs": {}}], "checks": [{"kind": "exec", "text": ""}]}),
     json.dumps({"variants": [{"reference": "a"}], "cases": [{"inputs": {}, "message": 5}]}),
     json.dumps({"variants": [{"reference": "a"}], "cases": [{"inputs": {}, "name": ["a"]}]}),
     json.dumps({"variants": [{"reference": "a"}], "cases": [{"inputs": {}, "tags": [1]}]}),
     json.dumps({"variants": [{"reference": "a"}], "cases": [{"inputs": {}}], "limit": 10**400}),
     "[" * 100_000],
)  # fmt: skip
def test_a_plan_that_somebody_damaged_is_told(text):
    with pytest.raises(ExperimentError, match="this is no experiment"):
        Experiment.from_json(text)


# --- what it will cost -----------------------------------------------------------------------------------------------


def test_the_estimate_counts_every_question_and_names_the_models_without_a_price(prompts):
    models = Models(served={"cheap": Endpoint("cheap", "c", "http://127.0.0.1:1/v1", None, Price(1.0, 10.0))})
    experiment = plan(
        variants=(Variant("triage", "cheap", {"max_completion_tokens": 100}), Variant("triage", "nobody-knows-it")),
        repeats=3,
    )

    found = estimate(experiment, prompts, models, {"OPENAI_API_KEY": "x"})

    assert (found.calls, found.unpriced, found.problems) == (6, ("nobody-knows-it",), ())
    assert found.output_tokens == 3 * 100 + 3 * 500
    assert found.cost == pytest.approx(3 * (found.input_tokens / 6 + 10 * 100) / 1_000_000)


def test_the_estimate_says_once_what_cannot_be_asked(prompts):
    found = estimate(plan(cases=(Case({}), Case({"tikket": "x"}), Case({}))), prompts, Models(), {})

    assert found.calls == 0
    assert found.problems == ("triage needs 'ticket'", "triage has no input 'tikket'; did you mean 'ticket'?")


def test_a_variant_without_any_model_costs_nothing_since_only_recordings_answer(prompts):
    found = estimate(plan(variants=(Variant("plain"),), cases=(Case({}),)), prompts, Models(), {})

    assert (found.calls, found.recorded, found.lacking) == (0, 1, ())


def test_a_model_whose_key_is_not_set_is_not_asked_and_the_variable_is_named(prompts):
    experiment = plan(variants=(Variant("triage", "gpt-5-mini"),))

    found = estimate(experiment, prompts, Models(), {})
    told = estimate(replace(experiment, recorded_only=True), prompts, Models(), {})

    assert (found.calls, found.cost, found.recorded, found.lacking) == (0, 0.0, 1, ("OPENAI_API_KEY",))
    assert (told.recorded, told.lacking) == (1, ())


def test_judges_are_foreseen_beside_what_is_asked_and_recorded_and_not_where_no_model_is_asked(prompts):
    cheap = Endpoint("cheap", "c", "http://127.0.0.1:1/v1", None, Price(1.0, 10.0))
    models = Models(served={"cheap": cheap})
    experiment = plan(variants=(Variant("triage", "cheap"), Variant("triage", "gpt-5-mini")), judge="cheap",
                      checks=(Check("judge", "is short"),))  # fmt: skip

    found = estimate(experiment, prompts, models, {})
    told = estimate(replace(experiment, recorded_only=True), prompts, models, {})

    assert (found.calls, found.recorded, found.judged, found.unpriced) == (1, 1, 2, ())
    assert (told.calls, told.recorded, told.judged, told.cost) == (0, 2, 0, 0.0)


# --- what there is in its cells --------------------------------------------------------------------------------------


def trial(variant: int, case: int, text: str, *, repeat: int = 1, **more: object) -> Trial:
    return Trial(Place(variant, case, repeat), "done", so_far=text, **more)  # type: ignore[arg-type]


def test_rows_in_which_all_say_the_same_can_be_left_out():
    both = plan(variants=(Variant("a"), Variant("b")), cases=(Case({}), Case({}), Case({})))
    outcome = Outcome(
        both,
        (trial(0, 0, '{"a": 1, "b": 2}'), trial(1, 0, '{"b":2,"a":1}'), trial(0, 1, "yes"), trial(1, 1, "no"),
         trial(0, 2, "one"), Trial(Place(1, 2), "failed", problem="no")),
    )  # fmt: skip

    assert outcome.rows() == [0, 1, 2]
    assert outcome.rows(only_differing=True) == [1, 2]
    assert outcome.rows(only_differing=True, variants=[0]) == []


def test_rows_are_sorted_by_what_their_cells_cost():
    outcome = Outcome(
        plan(cases=(Case({}), Case({}), Case({}))),
        (trial(0, 0, "a", cost=0.2), trial(0, 1, "b"), trial(0, 2, "c", cost=0.5)),
    )

    assert outcome.rows(order="cost", descending=True) == [2, 0, 1]


def test_a_cell_tells_the_spread_of_its_repeats_and_how_many_answers_differ():
    cell = Outcome(
        plan(repeats=3),
        (trial(0, 0, "a", cost=0.1, scores=(Score("kind", True),)),
         trial(0, 0, "a", repeat=2, cost=0.3, scores=(Score("kind", False),)),
         trial(0, 0, "b", repeat=3, scores=(Score("kind", None),))),
    ).cell(0, 0)  # fmt: skip

    assert cell.different == 2
    assert cell.cost == Spread(pytest.approx(0.2), 0.1, 0.3)
    assert cell.seconds is None
    assert cell.scores == {"kind": (1, 2)}


def test_what_was_replayed_was_not_spent():
    replayed = Trial(Place(0, 0), "replayed", cost=1.0)

    assert Outcome(plan(), (replayed, trial(0, 0, "a", cost=0.25))).spent == 0.25


# --- what there is to choose -----------------------------------------------------------------------------------------


def test_without_git_the_working_tree_is_all_there_is_to_compare(prompts):
    assert prompts.references("triage") == {"worktree": "the working tree"}
    assert first_choice(prompts, "triage") == (Variant("triage"),)


# --- the models of a project -----------------------------------------------------------------------------------------


def settings_of(tmp_path: Path, table: str):
    (tmp_path / "pyproject.toml").write_text(f"[tool.agentops.models]\n{table}\n")
    return read_settings(tmp_path, environment={})


def test_a_table_of_models_says_which_are_gone_and_where_the_others_are_asked(tmp_path):
    models = settings_of(
        tmp_path,
        """old = 2026-01-31
        local = {base_url = "http://127.0.0.1:8080/v1", model = "qwen"}
        mini = {model = "gpt-5-mini", price = {input = 0.25, output = 2, cached_input = 0.025}}""",
    ).models

    assert models.gone == {"old": "2026-01-31"}
    assert models.served["local"] == Endpoint("local", "qwen", "http://127.0.0.1:8080/v1", None)
    assert models.served["mini"].key == "OPENAI_API_KEY"
    assert models.served["mini"].price.of(1_000_000, 500_000, 400_000) == pytest.approx(0.15 + 0.01 + 1.0)
    assert models.endpoint("gpt-5").key == "OPENAI_API_KEY"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('a = {base = "http://x"}', "has no 'base'; did you mean 'base_url'"),
        ('a = {base_url = "ftp://x"}', "must be an address such as http://127.0.0.1:11434/v1"),
        ('a = {base_url = "http://user:secret@x/v1"}', "with no user, key or query"),
        ('a = {base_url = "http://x:99999/v1"}', "must be an address"),
        ('a = {key = "sk-abc"}', "must be the name of an environment variable"),
        ("a = {model = 3}", "must be the name by which the server knows the model"),
        ("a = {price = 3}", "US dollars for a million tokens"),
        ("a = {price = {input = -1, output = 2}}", "price.input must be a number"),
        ("a = {price = {input = true, output = 2}}", "price.input must be a number"),
        ('a = "soon"', "is the day on which the model was shut down"),
    ],
)
def test_a_model_that_is_written_wrongly_is_told(tmp_path, table, says):
    with pytest.raises(SettingsError, match=says):
        settings_of(tmp_path, table)


def test_a_key_that_was_written_into_the_settings_is_not_repeated(tmp_path):
    key = "sk-proj-" + "a1B2" * 10

    with pytest.raises(SettingsError) as caught:
        settings_of(tmp_path, f'a = {{key = "{key}"}}')

    assert key not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"message": 5}, {"name": ["x"]}, {"name": "\ud800"}])
def test_a_case_of_a_plan_whose_words_are_no_text_is_refused(wrong):
    plan = json.dumps({"variants": [{"reference": "ask"}], "cases": [{"inputs": {}, **wrong}]})

    with pytest.raises(ExperimentError, match="this is no experiment"):
        Experiment.from_json(plan)


@pytest.mark.parametrize("name", ["extra_headers", "extra_body", "extra_query", "timeout"])
def test_a_plan_changes_nothing_of_how_a_server_is_asked(name):
    with pytest.raises(ExperimentError, match=f"{name} is not a setting"):
        Experiment((Variant("ask", options={name: {}}),), (Case({}),)).checked()


@pytest.mark.parametrize(
    ("body", "said"),
    [("system:\nBe brief.\n", False), ("USER:\nHi\n", True), ('system:\nBe brief.\n{% include "_ask" %}\n', True),
     ("system:\n{% raw %}\nuser:\n{% endraw %}\n", False)],
)  # fmt: skip
def test_a_prompt_has_a_message_of_the_user_where_its_author_marked_one(tmp_path, body, said):
    (tmp_path / "_ask.prompty").write_text("user:\nWhy?\n")
    (tmp_path / "a.prompty").write_text(body)

    assert has_user(PromptRepository(tmp_path)["a"]) is said
