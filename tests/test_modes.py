"""The modes `changed` and `verify`: what is replayed, what goes live, what is written and what is said."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pytest_agentops.cassette import Session
from pytest_agentops.tape import Outcome, load
from pytest_agentops.testing import PytestRun, Reply, Says, ScriptedModel, ScriptedRequest, TinyProject

Start = Callable[..., ScriptedModel]

AGENT = """
    import os

    import httpx2

    URL = os.environ.get("MODEL_URL", "http://127.0.0.1:9/v1") + "/chat/completions"
    CLIENT = httpx2.Client(verify=False)  # Reading the certificates takes longer than a test.

    def ask(text):
        body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}]}
        return CLIENT.post(URL, json=body).json()["choices"][0]["message"]["content"]
"""
QUESTIONS = """
    import os
    from agent import ask

    def test_shop(agent_trace):
        for question in os.environ["QUESTIONS"].split(","):
            ask(question)
        assert not os.environ.get("FAILS")
"""


def echo(request: ScriptedRequest) -> Reply:
    return Says(f"re: {request.prompt}")


def ask(model: ScriptedModel, text: str) -> str:
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}]}
    reply = httpx2.post(f"{model.base_url}/chat/completions", json=body)
    content: str = reply.json()["choices"][0]["message"]["content"]
    return content


@contextmanager
def session(path: Path, mode: str, outcome: Outcome = "passed") -> Iterator[Session]:
    one = Session(path, mode=mode, name="test", draft=path.parent / ".agentops" / "drafts" / path.name)
    with one.open():
        yield one
    one.close(outcome)


def questions(path: Path) -> list[str]:
    return [exchange.request.json["messages"][0]["content"] for exchange in load(path).exchanges]


@pytest.fixture
def cassette(tmp_path: Path, scripted_model: Start) -> Path:
    """A passed run of three questions: a, b and c."""
    path = tmp_path / "cassette.yaml"
    with session(path, "once"):
        for text in "abc":
            ask(scripted_model(Says(f"recorded {text}")), text)
    return path


# --- changed ---------------------------------------------------------------------------------------------------------


def test_changed_replays_up_to_the_first_request_that_is_not_recorded(cassette: Path, scripted_model: Start) -> None:
    """What comes after it goes live too, even what is recorded: it follows from an answer that is another one now."""
    model = scripted_model(echo)

    with session(cassette, "changed") as one:
        answers = [ask(model, text) for text in ("a", "B", "c")]

    assert answers == ["recorded a", "re: B", "re: c"]
    assert [request.prompt for request in model.requests] == ["B", "c"]
    assert questions(cassette) == ["a", "B", "c"]
    assert one.recording.source == "live"


def test_changed_writes_nothing_where_nothing_changed(cassette: Path, scripted_model: Start) -> None:
    before = cassette.read_bytes()
    model = scripted_model()

    with session(cassette, "changed") as one:
        answers = [ask(model, text) for text in "abc"]

    assert answers == ["recorded a", "recorded b", "recorded c"]
    assert cassette.read_bytes() == before
    assert (one.saved, one.recording.source) == (None, "replayed")


def test_changed_forgets_what_is_no_longer_asked(cassette: Path, scripted_model: Start) -> None:
    with session(cassette, "changed"):
        ask(scripted_model(), "a")

    assert questions(cassette) == ["a"]


def test_changed_records_a_test_that_has_no_cassette(tmp_path: Path, scripted_model: Start) -> None:
    with session(tmp_path / "new.yaml", "changed"):
        ask(scripted_model(echo), "a")

    assert questions(tmp_path / "new.yaml") == ["a"]


def test_changed_saves_a_failed_run_that_asks_something_else(cassette: Path, scripted_model: Start) -> None:
    with session(cassette, "changed", "failed"):
        ask(scripted_model(echo), "B")

    assert questions(cassette) == ["B"]
    assert load(cassette).outcome == "failed"


def test_a_failed_run_of_changed_does_not_spoil_a_passed_one_that_asked_the_same(
    cassette: Path, scripted_model: Start
) -> None:
    before = cassette.read_bytes()

    with session(cassette, "changed", "failed"):
        for text in "abc":
            ask(scripted_model(), text)

    assert cassette.read_bytes() == before


def test_changed_notes_that_a_failed_test_passes_now(cassette: Path, scripted_model: Start) -> None:
    with session(cassette, "all", "failed"):
        ask(scripted_model(echo), "d")
    assert load(cassette).outcome == "failed"

    with session(cassette, "changed"):
        ask(scripted_model(), "d")

    assert load(cassette).outcome == "passed"


def test_the_times_of_a_run_that_goes_on_live_follow_those_it_replayed(cassette: Path, scripted_model: Start) -> None:
    with session(cassette, "changed"):
        for text in ("a", "B"):
            ask(scripted_model(echo), text)

    first, second = (exchange.timing for exchange in load(cassette).exchanges)
    assert first
    assert second
    assert second.started >= first.started + first.seconds - 0.0002  # Both are rounded.


def test_a_run_of_changed_that_was_interrupted_is_a_draft_and_is_not_paid_twice(
    cassette: Path, scripted_model: Start
) -> None:
    before = cassette.read_bytes()
    model = scripted_model(echo)
    with session(cassette, "changed", "interrupted"):
        ask(model, "a")
        ask(model, "B")
    assert cassette.read_bytes() == before

    with session(cassette, "changed"):
        for text in ("a", "B", "C"):
            ask(model, text)

    assert [request.prompt for request in model.requests] == ["B", "C"]
    assert questions(cassette) == ["a", "B", "C"]


def test_who_records_everything_anew_pays_once_for_a_run_that_was_interrupted(
    cassette: Path, scripted_model: Start
) -> None:
    model = scripted_model(echo)
    with session(cassette, "all", "interrupted"):
        ask(model, "a")

    with session(cassette, "all"):
        assert [ask(model, text) for text in "ab"] == ["re: a", "re: b"]
    with session(cassette, "all"):
        ask(model, "a")

    assert [request.prompt for request in model.requests] == ["a", "b", "a"]


def test_a_draft_keeps_what_a_shorter_run_did_not_ask_for(tmp_path: Path, scripted_model: Start) -> None:
    path, model = tmp_path / "cassette.yaml", scripted_model(echo)
    with session(path, "once", "failed"):
        for text in "abc":
            ask(model, text)
    with session(path, "once", "failed"):
        ask(model, "a")

    with session(path, "once"):
        for text in "abc":
            ask(model, text)

    assert [request.prompt for request in model.requests] == ["a", "b", "c"]


# --- verify ----------------------------------------------------------------------------------------------------------


def test_verify_goes_live_writes_nothing_and_knows_both_sides(cassette: Path, scripted_model: Start) -> None:
    before = cassette.read_bytes()

    with session(cassette, "verify") as one:
        answers = [ask(scripted_model(Says(f"recorded {text}")), text) for text in "abc"]

    assert answers == ["recorded a", "recorded b", "recorded c"]
    assert cassette.read_bytes() == before
    drift = one.drift()
    assert drift is not None
    recorded, live = drift
    assert recorded.response == live.response == "recorded c"


def run(project: TinyProject, model: ScriptedModel | None, *args: str, **env: str) -> PytestRun:
    where = {"MODEL_URL": model.base_url} if model else {}
    return project.run("-q", *args, env={**where, **env})


def ours(result: PytestRun) -> list[str]:
    """Our part of the summary, with what follows its first line."""
    lines = result.stdout.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("agentops: "))
    return [line for line in lines[first:] if line.startswith(("agentops: ", "  "))]


@pytest.fixture
def project(tiny_project: TinyProject) -> TinyProject:
    tiny_project.write("agent.py", AGENT)
    tiny_project.write("test_shop.py", QUESTIONS)
    return tiny_project


def test_verify_reports_what_drifted(project: TinyProject, scripted_model: Start) -> None:
    run(
        project,
        scripted_model(Says("It is on its way to you and will arrive on Monday, said the shop.")),
        QUESTIONS="a",
    )

    same = run(
        project,
        scripted_model(Says("It is on its way to you and will arrive on Monday, said the shop.")),
        "--agentops-record=verify",
        QUESTIONS="a",
    )
    other = run(
        project,
        scripted_model(
            Says("It is on its way to you and will arrive on Tuesday, said the shop.", finish_reason="length")
        ),
        "--agentops-record=verify",
        QUESTIONS="a",
    )

    assert same.outcomes == other.outcomes == {"passed": 1}
    assert ours(same)[1:] == ["agentops: 1 recording verified, 0 drifted"]
    assert ours(other)[1:] == [
        "agentops: 1 recording verified, 1 drifted",
        "  test_shop.py::test_shop",
        "    chatcmpl-1: finished with length, recorded stop",
        "    the answer:",
        "      and will arrive on [-Monday,-]{+Tuesday,+} said the shop.",
    ]


def test_verify_without_a_recording_has_nothing_to_say(project: TinyProject, scripted_model: Start) -> None:
    result = run(project, scripted_model(echo), "--agentops-record=verify", QUESTIONS="a")

    assert result.outcomes == {"passed": 1}
    assert "verified" not in result.stdout
    assert not (project.path / "cassettes").exists()


# --- what a message says to type works -----------------------------------------------------------------------------


def commands(result: PytestRun) -> list[str]:
    found = re.findall(r"to record (?:it|again|it again): (pytest .+)", result.stdout)
    return list(dict.fromkeys(found))


def typed(project: TinyProject, command: str, model: ScriptedModel, cwd: str = ".", **env: Any) -> int:
    program, *arguments = command.split()
    assert program == "pytest"
    below = replace(project, path=project.path / cwd)
    where = {"MODEL_URL": model.base_url, **env}
    return below.run(*arguments, env=where).exit_code


@pytest.mark.parametrize(
    ("then", "first_line"),
    [
        ("a,B", "no recorded reply for this request, and nothing may go live (record mode: once)"),
        ("a,b,b", "no recorded reply for this request, and nothing may go live (record mode: once)"),
        ("a", "1 of 2 recorded replies were never asked for"),
    ],
    ids=["not recorded", "used up", "never asked for"],
)
def test_the_command_that_a_failure_names_mends_it(
    then: str, first_line: str, project: TinyProject, scripted_model: Start
) -> None:
    model = scripted_model(echo)
    run(project, model, QUESTIONS="a,b")
    failed = run(project, model, QUESTIONS=then)
    assert failed.outcomes == {"failed": 1}
    assert first_line in failed.stdout
    [command] = commands(failed)

    assert typed(project, command, model, QUESTIONS=then) == 0
    assert run(project, None, QUESTIONS=then).outcomes == {"passed": 1}


def test_the_command_for_a_test_without_a_cassette_records_it(project: TinyProject, scripted_model: Start) -> None:
    missing = run(project, None, "--agentops-record=none", QUESTIONS="a")
    [command] = commands(missing)

    assert command == "pytest test_shop.py::test_shop --agentops-record=once"
    assert typed(project, command, scripted_model(echo), QUESTIONS="a") == 0
    assert run(project, None, "--agentops-record=none", QUESTIONS="a").outcomes == {"passed": 1}


def test_the_command_can_be_typed_where_pytest_was_started(tiny_project: TinyProject, scripted_model: Start) -> None:
    tiny_project.write("tests/agent.py", AGENT)
    tiny_project.write("tests/test_shop.py", QUESTIONS)
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "QUESTIONS": "a"}

    result = tiny_project.command(
        "sh", "-c", f"cd tests && {sys.executable} -m pytest -q -p agentops --agentops-record=none", env=alone
    )

    assert "to record it: pytest test_shop.py::test_shop --agentops-record=once" in result.stdout


def test_a_damaged_cassette_names_the_command_that_replaces_it(project: TinyProject, scripted_model: Start) -> None:
    model = scripted_model(echo)
    run(project, model, QUESTIONS="a")
    path = project.path / "cassettes/test_shop/test_shop.yaml"
    path.write_text(path.read_text()[:400])
    for mode in ("none", "once", "changed", "verify"):
        broken = run(project, model, f"--agentops-record={mode}", QUESTIONS="a")
        assert broken.outcomes == {"errors": 1}
        assert "it is cut: its last line, `agentops_end`, is missing" in broken.stdout
    [command] = commands(broken)

    assert typed(project, command, model, QUESTIONS="a") == 0
    assert run(project, None, QUESTIONS="a").outcomes == {"passed": 1}
