"""The page Regression, driven without a browser: two states of a repository, what moved, and what can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pytest_agentops.tape import save
from tests.test_playground_traces import APP, drawn, said
from tests.test_repository import House
from tests.test_sessions import tape

CASSETTE = "tests/cassettes/test_a/test_one.yaml"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A repository whose only recorded test has begun to fail, for words of its prompt that are not committed."""
    house = House(tmp_path / "house")
    house.write("agent.prompty", "---\nname: agent\nversion: 1.0.0\n---\nYou are brief.")
    save(tape("Where is it?", "I paid 5 euros"), house.root / CASSETTE)
    house.commit("The first state")
    house.write("agent.prompty", "---\nname: agent\nversion: 1.0.0\n---\nYou are lengthy.")
    save(tape("Where is it?", "I paid 50 euros", outcome="failed"), house.root / CASSETTE)
    monkeypatch.chdir(house.root)
    return house


def page(**query: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=30).switch_page("regression.py")
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def test_where_nothing_is_committed_the_page_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    app = page()

    assert "There is nothing to compare yet" in said(app)
    assert "git init" in said(app)


def test_the_working_tree_is_compared_with_where_the_branch_began(house):
    app = page()

    assert app.selectbox(key="regression-head").value == "worktree"
    assert "<b>1</b>regressed" in drawn(app)
    assert CASSETTE in drawn(app)
    assert "agent: 1.0.0, not bumped (this owes a minor bump)" in drawn(app)


def test_a_test_and_a_prompt_are_opened_by_a_click(house):
    app = page()
    app.session_state["regression-shown-cases"] = frozenset({CASSETTE})
    app.session_state["regression-shown-prompts"] = frozenset({"agent"})
    app.run()

    assert "passed → failed" in drawn(app)
    assert "I paid <del>5</del><ins>50</ins> euros" in drawn(app)
    assert "<del>brief.</del><ins>lengthy.</ins>" in drawn(app)


def test_a_verdict_leaves_the_tests_that_have_it(house):
    app = page()
    app.session_state["regression-shown-verdict"] = "improved"
    app.run()

    assert "No test whose recordings were read fits that." in said(app)
    assert f'data-pick="case:{CASSETTE}"' not in drawn(app)


def test_two_commits_are_compared_by_whatever_git_calls_them(house):
    house.commit("The second state")

    app = page(base="HEAD~1", head="HEAD")

    assert app.selectbox(key="regression-base").value == "HEAD~1"
    assert "<b>1</b>regressed" in drawn(app)
    assert len(app.get("download_button")) == 3


def test_a_ref_that_is_not_there_is_told_and_can_be_changed(house):
    app = page(base="mian")

    assert "there is no commit 'mian'" in said(app)
    assert "did you mean 'main'?" in said(app)
    app.selectbox(key="regression-base").set_value("main").run()
    assert "<b>1</b>regressed" in drawn(app)
