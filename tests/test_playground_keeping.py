"""What the pages make of an answer: a test that passes offline, with the new version of its prompt where it has one."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pytest_agentops import PromptRepository
from pytest_agentops.tape import save
from pytest_agentops.testing import Asks, TinyProject, ToolRequest
from pytest_agentops.trees import EditedTree
from tests.test_playground_edit import said
from tests.test_repository import House
from tests.test_saving import AGENT, trial

PLAYGROUND = Path(__file__).resolve().parent.parent / "playground"

PAGE = """
from pathlib import Path

import keeping
import ui

settings = ui.settings()
seen = keeping.Seen("support/agent", {"company": "ACME"}, Path("answer.yaml"), None, SOURCE)
keeping.test_form(settings, ui.prompts(settings), seen, "cell")
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "ada@example.com")
    house = House(tmp_path)
    TinyProject(tmp_path)  # For its pyproject.toml.
    house.write("support/agent.prompty", AGENT)
    house.locked()
    house.commit("The first state")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(PLAYGROUND))
    return house


def opened(house: House, source: str | None = None) -> AppTest:
    tree = house.prompts.tree
    prompts = PromptRepository(house.folder, tree=EditedTree(tree, {"support/agent": source} if source else {}))
    asks = Asks(ToolRequest("lookup_order", {"order_id": 42}), text="I am looking it up.")
    save(trial(asks, **prompts["support/agent"].request(company="ACME")), house.root / "answer.yaml")
    return AppTest.from_string(PAGE.replace("SOURCE", repr(source)), default_timeout=30).run()


def press(app: AppTest, label: str) -> None:
    [button] = [each for each in app.button if each.label.startswith(label)]
    button.click().run()
    assert not app.exception


def test_an_answer_becomes_a_test_that_passes_offline(house, tiny_project):
    app = opened(house)
    assert [(each.label.replace("\\", ""), each.value) for each in app.checkbox][:2] == [
        ("exactly these calls, in this order: lookup_order", True),
        ("it calls lookup_order(order_id=42)", True),
    ]
    app.checkbox[0].uncheck()
    app.text_input(key="cell/test").input("test_it_looks_the_order_up")
    press(app, "Show what would be written")
    assert not (house.root / "test_support_agent.py").exists()
    press(app, "Write the test")

    assert [each.value for each in app.code] == ["pytest test_support_agent.py::test_it_looks_the_order_up"]
    source = (house.root / "test_support_agent.py").read_text()
    assert "== [" not in source
    assert 'call("lookup_order", order_id=42) in agent_trace.trajectory' in source
    assert tiny_project.run("--agentops-record=none").outcomes == {"passed": 1}


def test_a_test_of_an_edited_prompt_goes_with_its_version_as_one_commit(house):
    app = opened(house, AGENT.replace("You work", "You toil"))
    app.text_input(key="cell/message").input("Toils")
    press(app, "Show what would be written")
    press(app, "Commit to prompt/support")

    assert house.git("show", "--name-only", "--format=%s", "prompt/support-agent-1.1.0").split("\n")[:6] == [
        "support/agent 1.1.0: Toils", "", "cassettes/test_support_agent/test_support_agent.yaml",
        "prompts/CHANGELOG.md", "prompts/prompts.lock", "prompts/support/agent.prompty",
    ]  # fmt: skip
    assert app.code[0].value == (
        "git switch prompt/support-agent-1.1.0\npytest test_support_agent.py::test_support_agent"
    )


def test_what_cannot_be_written_is_said(house):
    app = opened(house)
    app.text_input(key="cell/phrase").input("something else")
    press(app, "Show what would be written")
    assert any("the response does not contain" in each for each in said(app))
    app.text_input(key="cell/phrase").input("")
    app.text_input(key="cell/file").input("../test_x.py")
    press(app, "Show what would be written")
    assert any("is outside of the project" in each.replace("\\", "") for each in said(app))
    (house.root / "answer.yaml").write_text("no cassette")

    app.run()

    assert not app.exception
    assert any("it is not a cassette" in each for each in said(app))
