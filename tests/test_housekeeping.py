"""Keeping cassettes in order, through the command line as people type it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pytest_agentops.exchange import Exchange, Request, Response
from pytest_agentops.models import RETIRED, retired
from pytest_agentops.tape import Tape, bodies_folder, dumps, save
from pytest_agentops.testing import CommandRun, Reply, Says, ScriptedModel, ScriptedRequest, TinyProject
from pytest_agentops.trace import Render

Start = Callable[..., ScriptedModel]

JSON = (("content-type", "application/json"),)


def tape(model: str = "gpt-5-mini", said: str = "hello") -> Tape:
    asked = {"model": model, "messages": [{"role": "user", "content": said}]}
    answer = {"model": model, "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}
    request = Request("POST", "https://api.openai.com/v1/chat/completions", JSON, json.dumps(asked).encode())
    response = Response(200, "OK", JSON, json.dumps(answer).encode())
    return Tape((Exchange(1, request, response),), "passed", recorded=datetime(2026, 11, 24, tzinfo=UTC))


def cli(project: TinyProject, *arguments: str, env: dict[str, str] | None = None) -> CommandRun:
    return project.command(sys.executable, "-m", "pytest_agentops", "cassettes", *arguments, env=env)


def check(project: TinyProject, *arguments: str) -> list[tuple[str, str]]:
    """What is complained of: the file's name and the kind."""
    found = json.loads(cli(project, "check", "--json", *arguments).stdout)
    return [(Path(each["cassette"]).name, each["kind"]) for each in found]


@pytest.fixture
def project(tiny_project: TinyProject) -> TinyProject:
    tiny_project.write(
        "tests/test_shop.py",
        """
        import pytest

        class Base:
            def test_inherited(self): ...

        class TestShop:
            def test_order(self): ...

        def test_one(agent_trace): ...

        @pytest.fixture(scope="session")
        def summary(): ...

        @pytest.mark.agentops(cassette="cassettes/by_hand/known.yaml")
        def test_named(): ...
        """,
    )
    return tiny_project


def keep(project: TinyProject, name: str, one: Tape | None = None) -> Path:
    path = project.path / "tests" / "cassettes" / name
    save(one or tape(), path)
    return path


def test_cassettes_that_tests_own_give_nothing_to_complain_about(project: TinyProject) -> None:
    for name in (
        "test_shop/test_one.yaml",
        "test_shop/test_one[a-b%2Fc].yaml",
        "test_shop/test_one[1].take2.yaml",
        "test_shop/TestShop.test_order.yaml",
        "test_shop/fixtures/summary.yaml",
        "test_shop/fixtures/summary[0].yaml",
        "by_hand/known.yaml",
    ):
        keep(project, name)

    result = cli(project, "check")

    assert (result.stdout, result.exit_code) == ("nothing to complain about\n", 0)


def test_what_no_test_owns_is_an_orphan(project: TinyProject) -> None:
    keep(project, "test_shop/test_gone.yaml")
    keep(project, "test_shop/TestGone.test_order.yaml")
    keep(project, "test_shop/fixtures/gone.yaml")
    keep(project, "test_no_more/test_one.yaml")

    assert check(project) == [
        ("test_one.yaml", "orphaned"),
        ("TestGone.test_order.yaml", "orphaned"),
        ("gone.yaml", "orphaned"),
        ("test_gone.yaml", "orphaned"),
    ]
    result = cli(project, "check")
    assert "orphaned: test_shop.py has no test_gone" in result.stdout
    assert "orphaned: there is no test_no_more.py beside its folder" in result.stdout
    assert result.stdout.endswith(
        "0 serious, 4 untidy\n  to remove what no test owns: pytest-agentops cassettes prune\n"
    )
    assert (result.exit_code, cli(project, "check", "--strict").exit_code) == (0, 1)


def test_damage_is_serious(project: TinyProject) -> None:
    keep(project, "test_shop/test_one.yaml").write_text("interactions: [")
    keep(project, "test_shop/test_one[b].yaml").write_text(dumps(tape())[:300])
    keep(project, "test_shop/test_one[c].yaml").write_text("<<<<<<< HEAD\n")
    keep(project, "test_shop/test_one[d].yaml").write_text("agentops: {format: 9}\ninteractions: []\n")

    assert [kind for _, kind in check(project)] == ["unreadable", "cut", "conflict", "version"]
    assert cli(project, "check").exit_code == 1


def test_a_secret_is_serious_and_its_place_is_named(project: TinyProject) -> None:
    secret = "sk-proj-" + "aB3" * 16
    path = keep(project, "test_shop/test_one.yaml", tape(said=f"my key is {secret}"))
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if secret in text)

    result = cli(project, "check", "tests/cassettes/test_shop/test_one.yaml")

    assert result.exit_code == 1
    assert f"test_one.yaml: secret: line {line}, column " in result.stdout
    assert secret not in result.stdout


def test_a_project_says_what_is_a_secret_and_what_is_none(project: TinyProject) -> None:
    keep(project, "test_shop/test_one.yaml", tape(said="order ACME-123456 of sk-proj-" + "aB3" * 16))
    project.write(
        "pyproject.toml",
        f"""
        [tool.agentops.redact]
        patterns = ["ACME-[0-9]{{6}}"]
        allow = ["sk-proj-{"aB3" * 16}"]
        """,
    )

    assert [kind for _, kind in check(project)] == ["secret"]


def test_a_model_that_is_gone_a_prompt_that_is_gone_and_a_heavy_file_are_untidy(project: TinyProject) -> None:
    keep(project, "test_shop/test_one.yaml", tape("gpt-4-32k"))
    keep(project, "test_shop/test_one[a].yaml", tape("our-model"))
    keep(project, "test_shop/test_one[b].yaml", replace(tape(), prompts=(Render("support/triage", "1.0.0", "d"),)))
    keep(project, "test_shop/test_one[c].yaml", tape(said="long " * 1_100_000))
    project.write("pyproject.toml", "[tool.agentops.models]\nour-model = 2026-01-31\n")

    result = cli(project, "check")

    assert "gpt-4-32k was shut down on 2025-06-06; what it said cannot be recorded again" in result.stdout
    assert "our-model was shut down on 2026-01-31" in result.stdout
    assert "it was recorded with support/triage, which is no prompt any more" in result.stdout
    assert "oversized: 5.5 MB, and more than 5 is heavy" in result.stdout
    assert result.exit_code == 0


def test_what_the_last_whole_run_did_not_use_is_unplayed(project: TinyProject, scripted_model: Start) -> None:
    """A parameter that is gone leaves a cassette whose test is still there."""
    project.write(
        "tests/test_shop.py",
        """
        import os

        import httpx2
        import pytest

        @pytest.mark.parametrize("word", os.environ["WORDS"].split(","))
        def test_one(agent_trace, word):
            body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": word}]}
            httpx2.post(os.environ["MODEL_URL"] + "/chat/completions", json=body)
        """,
    )

    def echo(request: ScriptedRequest) -> Reply:
        return Says(request.prompt)

    env = {"MODEL_URL": scripted_model(echo).base_url}
    project.run(env={**env, "WORDS": "a,b"})
    assert check(project) == []
    project.run("tests/test_shop.py::test_one[a]", env={**env, "WORDS": "a,b"})
    assert check(project) == [], "a run of one test says nothing of the others"

    project.run(env={**env, "WORDS": "a"})

    assert check(project) == [("test_one[b].yaml", "unplayed")]


def test_prune_shows_its_plan_and_does_it_when_told(project: TinyProject) -> None:
    kept = keep(project, "test_shop/test_one.yaml")
    blob = Exchange(1, Request("GET", "https://a.test/"), Response(200, "OK", (), b"\xff" * 100_000))
    gone = keep(project, "test_no_more/test_one.yaml", Tape((blob,), "passed"))
    torn = kept.with_name(".test_one.yaml.a1b2c3d4.tmp")
    torn.write_text("half")

    shown = cli(project, "prune")
    assert gone.exists()
    assert torn.exists()
    done = cli(project, "prune", "--yes")

    assert shown.stdout == (
        "would remove:\n"
        "  tests/cassettes/test_no_more/test_one.yaml  (there is no test_no_more.py beside its folder)\n"
        "  tests/cassettes/test_no_more/test_one.bodies  (its bodies)\n"
        "  tests/cassettes/test_shop/.test_one.yaml.a1b2c3d4.tmp  (nothing belongs to it any more)\n"
        "  to do it: pytest-agentops cassettes prune --yes\n"
    )
    assert done.stdout.startswith("removed:\n")
    assert not gone.parent.exists()
    assert not torn.exists()
    assert kept.exists()
    assert bodies_folder(gone).exists() is False
    assert cli(project, "prune").stdout == "nothing to remove\n"


def test_files_that_are_no_cassettes_are_nobodys_business(project: TinyProject) -> None:
    project.write("config.yaml", "interactions: [")
    project.write("node_modules/cassettes/x.yaml", "interactions: [")

    assert check(project) == []


def test_a_file_that_is_named_and_is_not_there_is_a_mistake(project: TinyProject) -> None:
    result = cli(project, "check", "nowhere")

    assert (result.exit_code, result.stderr) == (2, "pytest-agentops: there is no nowhere\n")


@pytest.mark.parametrize(
    ("model", "day", "expected"),
    [
        ("gpt-4-32k", date(2025, 6, 6), date(2025, 6, 6)),
        ("gpt-4-32k", date(2025, 6, 5), None),
        ("gpt-unheard-of", date(2030, 1, 1), None),
    ],
)
def test_a_model_is_gone_from_the_day_it_was_shut_down(model: str, day: date, expected: date | None) -> None:
    assert retired(model, day) == expected


def test_the_days_of_the_table_are_days() -> None:
    assert all(date.fromisoformat(day) for day in RETIRED.values())
