"""`pytest-agentops traces list` and `traces compare`: the list of runs and two of them side by side, in a shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_agentops.cli import main
from pytest_agentops.tape import save
from tests.test_sessions import tape

ONE, OTHER = "tests/cassettes/test_a/test_one.yaml", "tests/cassettes/test_a/test_other.yaml"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").touch()
    save(tape("Where is it?", "I paid 5 euros"), tmp_path / ONE)
    save(tape("Where is it?", "I paid 50 euros", model="local", outcome="failed"), tmp_path / OTHER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_list_tells_of_each_run_in_two_lines(project, capsys):
    assert main(["traces", "list", "--sort", "title", "--ascending"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"passed      {ONE}",
        "            2026-01-02 03:04, 1,200 tokens, $0.0006, 1.5 s",
        f"failed      {OTHER}",
        "            2026-01-02 03:04, 1,200 tokens, no known price, 1.5 s",
    ]


def test_the_list_is_searched_and_filtered_and_given_as_json(project, capsys):
    main(["traces", "list", "--search", "WHERE 50", "--model", "local", "--json"])
    [run] = json.loads(capsys.readouterr().out)
    main(["traces", "list", "--tool", "none"])

    assert (run["name"], run["status"], run["cost"]) == (OTHER, "failed", None)
    assert capsys.readouterr().out == "no recorded run is like that\n"


def test_a_field_that_is_none_is_answered_with_the_nearest(project, capsys):
    assert main(["traces", "list", "--sort", "token"]) == 2

    assert "--sort 'token' is no field; did you mean 'tokens'?" in capsys.readouterr().err


def test_two_traces_are_set_side_by_side(project, capsys):
    assert main(["traces", "compare", ONE, OTHER]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "one:   1 model call, 0 tool calls, 1,200 tokens, $0.0006, 1.5 s, imported",
        "other: 1 model call, 0 tool calls, 1,200 tokens, no known price, 1.5 s, imported",
        "tool calls:",
        "answer:",
        "  ~ 1: I paid [-5-]{+50+} euros",
    ]
    main(["traces", "compare", ONE, ONE, "--json"])
    assert json.loads(capsys.readouterr().out)["same"] is True
