"""Which recorded tests a change of a prompt touches."""

from __future__ import annotations

import json
import shutil
import sys
from itertools import takewhile
from pathlib import Path

import pytest

from pytest_agentops import PromptRepository
from pytest_agentops.impact import Impact
from pytest_agentops.testing import PytestRun, Says, ScriptedModel, TinyProject
from pytest_agentops.trace import Render
from pytest_agentops.trees import MappingTree
from tests.test_plugin import AGENT
from tests.test_repository import House

BODY = "user:\n{% if late %}Sorry!{% endif %}{{ q }}"
MORE = "inputs: {q: string, late: {kind: boolean, default: false}}\n"


def state(body: str = BODY, more: str = MORE, **others: str) -> PromptRepository:
    texts = {
        "a": f"---\nname: a\nversion: 1.0.0\n{more}---\n{body}",
        **{name.replace("__", "/"): text for name, text in others.items()},
    }
    return PromptRepository("prompts", tree=MappingTree(texts, "memory"))


def reasons(base: PromptRepository, head: PromptRepository, *inputs: dict[str, object], name: str = "a") -> list[str]:
    renders = [Render(name, "1.0.0", "sha256:x", each) for each in inputs]
    return [touch.reason for touch in Impact(base, head).of(Path("c.yaml"), renders).touched]


QUESTION = {"q": "Where?", "late": False}


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (state(), []),
        (state(more=MORE + "description: other\n"), []),
        (state(body=BODY.replace("Sorry!", "So sorry!")), []),
        (state(body=BODY + "{# a comment #}"), []),
        (state(body=BODY + " Hurry."), ["message 0 (user) differs"]),
        (state(body="system:\nBe brief.\n" + BODY), ["2 messages instead of 1"]),
        (state(more=MORE + "model: gpt-5\n"), ["another model"]),
        (state(more=MORE + "tools: [{name: t}]\n"), ["another tools"]),
        (state(more=MORE + "outputs: {o: string}\n"), ["another output schema"]),
        (state(more=MORE.replace("false", "true")), ["message 0 (user) differs"]),
        (state(more="inputs: {q: string}\n", body="user:\n{{ q }}"), []),
        (state(more="inputs: {question: string}\n", body="user:\n{{ question }}"),
         ["it fails with what was recorded: a has no input 'q'"]),
        (state(body="user:\n{{ q"), ["it cannot be read at the head: memory: a:7: unexpected end of template"]),
    ],
)  # fmt: skip
def test_a_test_is_touched_where_its_requests_differ(head, told):
    found = reasons(state(), head, QUESTION)

    assert [each[: len(want)] for each, want in zip(found, told, strict=True)] == told


def test_each_different_input_counts():
    changed = state(body=BODY.replace("Sorry!", "So sorry!"))

    assert reasons(state(), changed, QUESTION, {"q": "x", "late": True}) == ["message 0 (user) differs"]


def test_a_partial_touches_those_who_include_it():
    body = 'user:\n{% include "_shared/safety" %}'
    base, head = (state(body=body, more="", _shared__safety=text) for text in ("Be careful.", "Be bold."))

    assert reasons(base, head, {}) == ["message 0 (user) differs"]


def test_what_is_not_known_counts_as_touched():
    gone = PromptRepository("prompts", tree=MappingTree({}, "memory"))

    assert reasons(state(), gone, QUESTION) == ["it is not there at the head"]
    assert reasons(gone, state(), QUESTION) == ["it is not there at the base"]
    assert reasons(gone, gone, QUESTION) == ["it is not there at the base; it is not there at the head"]


def test_a_label_that_moved_touches_those_who_render_the_prompt():
    def labelled(version: str) -> PromptRepository:
        files = {"labels.toml": f'[a]\nproduction = "{version}"\n'}
        return PromptRepository("prompts", tree=MappingTree(state().tree.texts, "memory", files))  # type: ignore[attr-defined]

    assert reasons(labelled("1.0.0"), labelled("0.9.0"), QUESTION) == ["a label of it points elsewhere"]
    assert reasons(labelled("1.0.0"), labelled("1.0.0"), QUESTION) == []


def test_a_prompt_whose_version_the_test_names_is_not_touched():
    renders = [Render("a", "1.0.0", "sha256:x", QUESTION)]

    assert (
        not Impact(state(), state(body="user:\nother {{ q }}{{ late }}")).of(Path("c"), renders, pinned=["a"]).affected
    )


# --- in a run --------------------------------------------------------------------------------------------------------

TEST = """
    import pytest
    from agent import ask

    @pytest.mark.parametrize("late", [False, True])
    def test_asks(agent_trace, prompts, late):
        ask(prompts["a"].render(q="Where?", late=late))

    def test_asks_another(agent_trace, prompts):
        ask(prompts["b"].render())

    def test_of_no_agent():
        pass
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = TinyProject(tmp_path_factory.mktemp("recorded"), plugins=("agentops",))
    house = House(project.path)
    project.write("agent.py", AGENT)
    project.write("test_it.py", TEST)
    house.prompt("1.0.0", BODY, more=MORE)
    house.prompt("1.0.0", "user:\nHello", name="b")
    with ScriptedModel(lambda request: Says(request.prompt)) as model:
        assert project.run(env={"MODEL_URL": model.base_url}).outcomes == {"passed": 4}
    house.commit("recorded")
    return project.path


@pytest.fixture
def house(tiny_project: TinyProject, recorded: Path) -> House:
    shutil.copytree(recorded, tiny_project.path, dirs_exist_ok=True)
    return House(tiny_project.path)


def left_out(stdout: str) -> list[str]:
    lines = stdout.partition("agentops: left out")[2].splitlines()[1:]
    return [line.strip() for line in takewhile(lambda line: line.startswith("  "), lines)]


def impacted(project: TinyProject, *arguments: str) -> PytestRun:
    return project.run("--agentops-impacted", "--agentops-record=none", *arguments)


def test_only_tests_whose_requests_differ_run(house, tiny_project):
    house.prompt("1.0.1", BODY.replace("Sorry!", "So sorry!"), more=MORE)

    run = impacted(tiny_project)

    assert run.outcomes == {"failed": 1, "passed": 1, "deselected": 2}
    assert left_out(run.stdout) == [
        "test_it.py::test_asks[False]: its requests are what they were: a",
        "test_it.py::test_asks_another: its requests are what they were: b",
    ]
    assert "made with a 1.0.0; now 1.0.1" in run.stdout


def test_a_refactoring_that_renders_the_same_runs_nothing(house, tiny_project):
    house.prompt("1.0.1", BODY + "{# the same #}", more=MORE + "description: clearer\n")

    assert impacted(tiny_project).outcomes == {"passed": 1, "deselected": 3}
    assert impacted(tiny_project, "-p", "xdist", "-n", "2").outcomes == {"passed": 1}
    assert "left out 3 tests" in impacted(tiny_project, "-p", "xdist", "-n", "2").stdout


@pytest.mark.parametrize(
    ("file", "outcomes"),
    [
        ("agent.py", {"passed": 4}),
        ("conftest.py", {"passed": 4}),
        ("test_it.py", {"passed": 4}),
        ("test_other.py", {"passed": 1, "deselected": 3}),
        ("README.md", {"passed": 1, "deselected": 3}),
    ],
)
def test_code_that_changed_may_touch_any_test_and_a_test_file_its_own(house, tiny_project, file, outcomes):
    path = tiny_project.path / file
    path.write_text((path.read_text() if path.exists() else "") + "\n# changed\n")

    assert impacted(tiny_project).outcomes == outcomes


def test_a_test_without_a_recording_and_one_whose_recording_changed_run(house, tiny_project):
    cassettes = tiny_project.path / "cassettes/test_it"
    (cassettes / "test_asks[True].yaml").unlink()
    (cassettes / "test_asks_another.yaml").write_text((cassettes / "test_asks_another.yaml").read_text() + "# edited\n")

    run = impacted(tiny_project)

    assert run.outcomes["deselected"] == 1
    assert left_out(run.stdout) == ["test_it.py::test_asks[False]: its requests are what they were: a"]


def test_a_branch_is_compared_with_where_it_left_the_main_one(house, tiny_project):
    house.git("checkout", "-q", "-b", "work")
    house.prompt("1.1.0", BODY + " Hurry.", more=MORE)
    house.commit("hurry")

    assert impacted(tiny_project).outcomes["deselected"] == 1
    assert impacted(tiny_project, "--agentops-base=HEAD").outcomes["deselected"] == 3
    missing = impacted(tiny_project, "--agentops-base=nope")
    assert missing.exit_code == 4
    assert "--agentops-base: there is no commit 'nope' in" in missing.stdout + missing.stderr


def test_the_command_explains_each_verdict(house, tiny_project):
    house.prompt("1.0.1", BODY.replace("Sorry!", "So sorry!"), more=MORE)

    def typed(*arguments: str):
        return tiny_project.command(sys.executable, "-m", "pytest_agentops", "prompts", "impact", *arguments)

    lines = typed().stdout.splitlines()
    assert lines[0].startswith("1 of 3 recorded tests are touched since ")
    assert lines[1:] == [
        "cassettes/test_it/test_asks[True].yaml: touched",
        '  a: message 0 (user) differs, with {"q": "Where?", "late": true}',
        "cassettes/test_it/test_asks[False].yaml: as it was (a)",
        "cassettes/test_it/test_asks_another.yaml: as it was (b)",
    ]
    assert [each["affected"] for each in json.loads(typed("--json").stdout)] == [False, True, False]
    assert typed("--base", "nope").exit_code == 2


# --- what must not be left out ---------------------------------------------------------------------------------------


def test_a_shared_fixture_elsewhere_is_looked_at(house, tiny_project):
    tiny_project.write(
        "conftest.py",
        """
        import pytest
        from agent import ask

        @pytest.fixture(scope="session")
        def greeted(prompts):
            return ask(prompts["b"].render())
        """,
    )
    tiny_project.write(
        "test_it.py",
        """
        from agent import ask

        def test_it(agent_trace, greeted, prompts):
            ask(prompts["a"].render(q="x"))
        """,
    )
    with ScriptedModel(lambda request: Says(request.prompt)) as model:
        tiny_project.run(env={"MODEL_URL": model.base_url})
    house.commit("with a fixture")
    assert impacted(tiny_project).outcomes == {"deselected": 1}

    house.prompt("1.1.0", "user:\nHello there", name="b")

    assert "deselected" not in impacted(tiny_project).outcomes


def test_a_request_that_carries_no_render_may_be_made_of_any_prompt(house, tiny_project):
    tiny_project.write(
        "test_it.py",
        """
        from agent import ask

        def test_it(agent_trace, prompts):
            ask(prompts["a"].body)
        """,
    )
    with ScriptedModel(lambda request: Says(request.prompt)) as model:
        tiny_project.run(env={"MODEL_URL": model.base_url})
    house.commit("by hand")
    assert impacted(tiny_project).outcomes == {"deselected": 1}

    house.prompt("1.1.0", "user:\nHello there", name="b")

    assert "deselected" not in impacted(tiny_project).outcomes


def test_a_pin_that_means_something_else_now_touches_its_test(house, tiny_project):
    house.write("labels.toml", '[a]\nproduction = "1.0.0"\n')
    tiny_project.write(
        "test_it.py",
        """
        import pytest
        from agent import ask

        @pytest.mark.agentops(versions={"a": ["production", "1.0.0"]})
        def test_it(agent_trace, prompts):
            ask(prompts["a"].render(q="x"))
        """,
    )
    with ScriptedModel(lambda request: Says(request.prompt)) as model:
        tiny_project.run(env={"MODEL_URL": model.base_url})
    house.commit("pinned")
    house.prompt("1.1.0", BODY + " Hurry.", more=MORE)
    assert impacted(tiny_project).outcomes == {"deselected": 2}
    house.write("labels.toml", '[a]\nproduction = "1.1.0"\n')

    run = impacted(tiny_project)

    assert left_out(run.stdout) == ["test_it.py::test_it[a@1.0.0]: its requests are what they were: a"]


@pytest.mark.parametrize("file", ["prompts/helper.py", "cassettes/loader.py", "k.md", "test_helpers.py"])
def test_what_is_no_prompt_and_no_recording_counts_as_code(house, tiny_project, file):
    path = tiny_project.path / "test_it.py"
    path.write_text(path.read_text() + "\n# from test_helpers import q\n")
    house.commit("it names its helper")
    tiny_project.write(file, "X = 1\n")

    assert "deselected" not in impacted(tiny_project).outcomes


def test_a_recording_that_git_does_not_know_may_have_been_anything(house, tiny_project):
    (tiny_project.path / ".gitignore").write_text("cassettes\n")
    house.git("rm", "-rq", "--cached", "cassettes")
    house.commit("recordings out of git")

    assert "deselected" not in impacted(tiny_project).outcomes


def test_an_input_that_was_redacted_is_not_known():
    head = state(body=BODY.replace("Sorry!", "So sorry!"))

    assert reasons(state(), head, {"q": "REDACTED-1", "late": False}) == ["an input of it was not recorded as it was"]


def test_impact_looks_at_the_working_tree(house, tiny_project):
    run = impacted(tiny_project, "--agentops-ref=HEAD")

    assert run.exit_code == 4
    assert "--agentops-impacted looks at the working tree" in run.stdout + run.stderr
