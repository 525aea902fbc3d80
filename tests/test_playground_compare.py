"""The pages for comparing and for models, driven headlessly; the browser drives the same in test_browser.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pytest_agentops.cli.playground import app, flags
from pytest_agentops.datasets import Case
from pytest_agentops.experiment import Experiment, Variant
from pytest_agentops.laboratory import Laboratory
from pytest_agentops.settings import read_settings
from pytest_agentops.testing import Says, ScriptedModel, TinyProject
from tests.test_repository import House

PROMPT = "---\nversion: 1.0.0\ninputs:\n  question: {kind: string}\n---\nuser:\n{{ question }}\n"


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel(lambda request: Says(f"To {request.prompt}")) as model:
        yield model


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: ScriptedModel) -> Path:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "ask.prompty").write_text(PROMPT)
    (tmp_path / "pyproject.toml").write_text(f"[tool.agentops.models.m]\nbase_url = '{model.base_url}'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return tmp_path


def opened(**query: str) -> AppTest:
    test = AppTest.from_file(str(app()), default_timeout=30)
    for name, value in query.items():
        test.query_params[name] = value
    return test.run()


def plan(*questions: str) -> Experiment:
    return Experiment((Variant("ask", "m"), Variant("ask", "m", {"temperature": 1.0})),
                      tuple(Case({"question": each}) for each in questions))  # fmt: skip


def test_a_first_visit_offers_the_prompt_and_a_form_of_its_inputs(project):
    page = opened()

    assert not page.exception
    assert page.title[0].value == "Compare"
    assert page.selectbox(key="0.prompt").value == "ask"
    assert page.selectbox(key="0.at").options == ["the working tree"]
    assert page.session_state["source"] == "Form"


def test_a_plan_in_the_address_fills_the_page_and_runs(project, model):
    page = opened(plan=plan("one", "two").to_link())
    assert page.number_input(key="1.temperature").value == 1.0

    run = next(each for each in page.button if each.label == "Run")
    page = run.click().run()

    assert not page.exception
    (kept,) = Laboratory(read_settings(project)).kept()
    assert kept.title == "ask · working tree, m | ask · working tree, m, temperature 1.0"


def test_a_run_in_the_address_is_there_again_after_a_reload(project, model):
    laboratory = Laboratory(read_settings(project))
    run = laboratory.begin(plan("one"))
    run.start()
    assert run.wait(30)

    page = opened(run=run.id)

    assert not page.exception
    assert "2 of 2 answered" in page.markdown[0].value.replace("\\", "")
    assert page.selectbox(key="1.prompt").value == "ask"


def test_an_answer_opens_with_what_can_be_made_of_it(project, model):
    laboratory = Laboratory(read_settings(project))
    run = laboratory.begin(plan("one"))
    run.start()
    assert run.wait(30)
    page = opened(run=run.id)

    page.session_state["opened"] = (1, 0)
    page = page.run()

    assert not page.exception
    assert [tab.label for tab in page.tabs] == ["Answer", "Trace", "Save as test", "Save as case"]


def test_an_answer_of_an_edited_prompt_becomes_a_test_that_is_committed_with_its_version(project, monkeypatch):
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "ada@example.com")
    house = House(project)
    house.locked()
    house.commit("The first state")
    edited = Variant("ask", "m", source=PROMPT.replace("{{ question }}", "Kindly: {{ question }}"))
    run = Laboratory(read_settings(project)).begin(Experiment((edited,), (Case({"question": "one"}),)))
    run.start()
    assert run.wait(30)
    page = opened(run=run.id)
    page.session_state["opened"] = (0, 0)
    page.run()

    page.text_input(key="test.why").input("Is kind")
    page.session_state["opened"] = (0, 0)
    page.run()
    page.session_state["opened"] = (0, 0)
    page.button(key="test.commit").click().run()

    assert not page.exception
    assert house.git("show", "--name-only", "--format=%s", "prompt/ask-1.1.0").split() == [
        "ask", "1.1.0:", "Is", "kind", "prompts/CHANGELOG.md", "prompts/ask.prompty", "prompts/prompts.lock",
        "tests/cassettes/test_ask/test_one.yaml", "tests/test_ask.py",
    ]  # fmt: skip
    assert "git switch prompt/ask-1.1.0\npytest tests/test_ask.py::test_one" in [each.value for each in page.code]
    house.git("switch", "-q", "prompt/ask-1.1.0")
    ran = TinyProject(project, plugins=("agentops",)).run("--agentops-record=none", "tests/test_ask.py")
    assert ran.outcomes == {"passed": 1}, ran.stdout


@pytest.mark.parametrize(
    ("query", "says"),
    [({"plan": "nonsense"}, "the address holds no"), ({"run": "../../etc"}, "there is no run"),
     ({"run": "20260101-000000-abcdef"}, "there is no run")],
)  # fmt: skip
def test_an_address_that_means_nothing_is_told_and_the_page_works(project, query, says):
    page = opened(**query)

    assert not page.exception
    assert any(says in error.value.replace("\\", "") for error in page.error)


def test_settings_that_are_no_object_of_json_are_told(project):
    page = opened()

    page = page.text_input(key="0.more").input("[1]").run()

    assert page.error[0].value.startswith("Write an object of JSON here")


def test_settings_from_an_address_that_the_form_has_no_place_for_stand_as_json(project):
    options = {"temperature": 3.5, "top_p": 0.5, "seed": -1, "reasoning_effort": "xhigh", "logprobs": True}
    page = opened(plan=Experiment((Variant("ask", "m", options),), (Case({"question": "one"}),)).to_link())

    assert not page.exception
    assert page.number_input(key="0.top_p").value == 0.5
    assert page.number_input(key="0.temperature").value is None
    assert json.loads(page.text_input(key="0.more").value) == {
        each: options[each] for each in options if each != "top_p"
    }


def test_a_plan_that_cannot_be_run_is_told_and_the_page_goes_on(project):
    page = opened(plan=plan("one").to_link())

    page = page.text_input(key="0.more").input('{"stream": false}').run()

    assert not page.exception
    assert page.caption[-1].value.replace("\\", "").startswith("stream is not a setting")


def test_a_state_that_only_the_address_names_stays_what_is_compared(project):
    page = opened(plan=Experiment((Variant("ask@git:HEAD~3", "m"),), (Case({"question": "one"}),)).to_link())

    assert not page.exception
    assert page.selectbox(key="0.at").value == "ask@git:HEAD~3"


def test_an_earlier_run_comes_back_with_its_answers_and_choices(project, model):
    run = Laboratory(read_settings(project)).begin(plan("one"))
    run.start()
    assert run.wait(30)
    page = opened()

    page = page.button(key=f"kept.{run.id}").click().run()

    assert not page.exception
    assert page.query_params["run"] in (run.id, [run.id])
    assert page.number_input(key="1.temperature").value == 1.0
    assert "2 of 2 answered" in page.markdown[0].value.replace("\\", "")


def test_variants_are_added_copied_and_left_out(project):
    page = opened(plan=plan("one").to_link())

    page = page.button(key="1.copy").click().run()
    assert page.session_state["columns"] == [0, 1, 2]
    assert page.session_state["2.temperature"] == 1.0
    page = page.button(key="0.drop").click().run()

    assert page.session_state["columns"] == [1, 2]
    assert not page.exception


# --- states that have nothing to show --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["compare", "edit", "vote", "regression", "traces", "models"])
def test_an_empty_folder_gets_a_helpful_state_on_every_page(tmp_path, monkeypatch, name):
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    page = opened()
    if name != "compare":
        page = page.switch_page(f"{name}.py").run()

    assert not page.exception
    assert [*page.info, *page.warning, *page.error]


@pytest.mark.parametrize("name", ["compare", "edit", "vote", "regression", "traces", "models"])
def test_broken_files_are_told_on_every_page_without_a_traceback(project, name):
    (project / "prompts" / "broken.prompty").write_bytes(b"---\ninputs: [\n---\n\xff")
    (project / "tests" / "cassettes" / "test_a").mkdir(parents=True)
    (project / "tests" / "cassettes" / "test_a" / "test_b.yaml").write_text("digest: sha256:\n{[")
    page = opened(plan=Experiment((Variant("broken"),), (Case({}),)).to_link())
    if name != "compare":
        page = page.switch_page(f"{name}.py").run()

    assert not page.exception


def test_settings_that_are_broken_are_told_on_the_page(project):
    (project / "pyproject.toml").write_text("[tool.agentops]\nrecrd = 1\n")

    page = opened()

    assert not page.exception
    assert "did you mean 'record'" in page.error[0].value.replace("\\", "")


# --- models ----------------------------------------------------------------------------------------------------------


def test_the_page_of_models_says_what_is_set_and_shows_no_key(project, monkeypatch):
    monkeypatch.setenv("A_KEY", "sk-proj-very-secret")
    with (project / "pyproject.toml").open("a") as file:
        file.write('[tool.agentops.models.keyed]\nkey = "A_KEY"\n[tool.agentops.models.lost]\nkey = "B_KEY"\n')

    page = opened().switch_page("models.py").run()
    page = page.button(key="probe.lost").click().run()

    assert not page.exception
    said = json.dumps([each.value for each in (*page.markdown, *page.caption, *page.error)])
    assert "very-secret" not in said
    assert page.error[0].value.replace("\\", "") == "B_KEY is not set in the environment"


# --- how it is opened ------------------------------------------------------------------------------------------------


def test_streamlit_is_told_to_listen_here_alone_and_to_send_nothing():
    said = flags(8501, headless=True)

    assert {"--server.allowedHosts=127.0.0.1", "--server.allowedHosts=localhost"} <= set(said)
    assert {"--server.address=127.0.0.1", "--browser.gatherUsageStats=false", "--server.headless=true",
            "--server.maxUploadSize=50"} <= set(said)  # fmt: skip


def test_the_pages_import_only_streamlit_this_package_and_the_standard_library():
    import ast
    import sys

    folder = app().parent
    beside = {path.stem for path in folder.glob("*.py")}
    found = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])

    assert found - set(sys.stdlib_module_names) - beside == {"streamlit", "pytest_agentops"}


def test_no_page_lets_html_through(project):
    for path in app().parent.glob("*.py"):
        assert "unsafe_allow" not in path.read_text()
        assert "st.html" not in path.read_text()


def test_a_table_of_the_wrong_shape_is_told_with_its_line_and_the_nearest_name(project):
    page = opened()
    page.session_state["source"] = "Paste"
    page = page.run()

    page = page.text_area(key="pasted").input("qestion\tmessage\nWhy?\tNow\n").run()

    assert not page.exception
    assert "did you mean 'question'" in " ".join(each.value.replace("\\", "") for each in (*page.error, *page.code))


def test_a_pasted_table_is_the_inputs(project):
    page = opened()
    page.session_state["source"] = "Paste"
    page = page.run()

    page = page.text_area(key="pasted").input("question\nWhy?\nHow?\n").run()

    assert not page.error
    assert any(caption.value == "2 inputs" for caption in page.caption)


def test_the_command_says_what_is_missing_and_what_is_wrong_before_a_browser_opens(project, monkeypatch, capsys):
    from pytest_agentops import cli

    (project / "pyproject.toml").write_text("[tool.agentops]\nrecrd = 1\n")
    assert cli.main(["playground", "--no-browser"]) == 2
    assert "did you mean 'record'" in capsys.readouterr().err

    monkeypatch.setattr("pytest_agentops.cli.playground.find_spec", lambda name: None)
    assert cli.main(["playground", "--no-browser"]) == 2
    assert 'pip install "pytest-agentops[playground]"' in capsys.readouterr().err


@pytest.mark.parametrize("options", [{"temperature": "hot"}, {"top_p": 7}, {"seed": 1.5}, {"reasoning_effort": {}}])
def test_settings_of_an_address_that_no_field_holds_stand_among_the_others(project, options):
    link = Experiment((Variant("ask", "m", options),), (Case({"question": "a"}),)).to_link()

    page = opened(plan=link)

    assert not page.exception
    assert json.loads(page.session_state["0.more"]) == options


def test_half_a_character_in_an_input_breaks_no_page(project):
    assert not opened(plan=plan("\ud800").to_link()).exception


def test_a_folder_in_which_no_run_can_begin_is_told(project):
    (project / ".agentops").write_text("a file stands in its place")
    page = opened(plan=plan("a").to_link())

    next(button for button in page.button if button.label == "Run").click().run()

    assert not page.exception
    assert len(page.error) == 1


def test_what_is_shared_has_no_key_that_was_typed_into_a_prompt_or_pasted_as_an_input(project):
    key = "sk-proj-" + "Zx9Q" * 8
    variant = Variant("ask", "m", source=PROMPT + key)

    page = opened(plan=Experiment((variant,), (Case({"question": key}),)).to_link())

    link = next(code.value for code in page.code if "?plan=" in code.value)
    assert key not in Experiment.from_link(link.partition("?plan=")[2]).to_json()


def test_text_for_markdown_means_nothing_by_the_names_of_characters_and_of_icons(project, monkeypatch):
    (project / "pyproject.toml").write_text(
        "[tool.agentops.models.'https&colon;//evil.example :material/bolt:']\nbase_url = 'http://127.0.0.1:9/v1'\n"
    )
    page = opened().switch_page("models.py").run()

    said = next(each.value for each in page.markdown if "evil" in each.value)
    assert "\\&colon" in said
    assert ":material/" not in said
