"""Nothing that was paid for is lost: killed saves, killed runs, and what the next run makes of them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from pytest_agentops.cassette import Equipment, Session
from pytest_agentops.exchange import Exchange, Request, Response
from pytest_agentops.journal import Journal
from pytest_agentops.tape import Tape, load, save
from pytest_agentops.testing import PytestRun, Reply, Says, ScriptedModel, ScriptedRequest, TinyProject

Start = Callable[..., ScriptedModel]

JSON = (("content-type", "application/json"),)
CHAT = "https://api.openai.com/v1/chat/completions"


def echo(request: ScriptedRequest) -> Reply:
    return Says(f"re: {request.prompt}")


def ask(model: ScriptedModel, text: str) -> None:
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}]}
    httpx2.post(f"{model.base_url}/chat/completions", json=body)


def session(folder: Path, journal: Journal | None = None) -> Session:
    """The session of one test, below `folder`; without a journal it begins one, as a new process would."""
    if journal is None:
        journal = Journal(folder / ".agentops")
        journal.recover()
    equipment = Equipment(root=folder, journal=journal)
    draft = folder / ".agentops" / "drafts" / "test.yaml"
    return Session(folder / "test.yaml", mode="once", name="test", draft=draft, equipment=equipment)


def tape(mark: str, count: int = 40) -> Tape:
    """A tape on which every exchange says the same."""
    body = b'{"said": "%s %s"}' % (mark.encode(), b"word " * 400)
    blob = mark.encode() * 40_000 + b"\xff"
    exchanges = [
        Exchange(n, Request("POST", CHAT, JSON, body), Response(200, "OK", JSON, body)) for n in range(1, count)
    ]
    return Tape((*exchanges, Exchange(count, Request("GET", CHAT), Response(200, "OK", (), blob))), "passed")


# --- a save that is killed -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of forks beside threads.
def test_a_hundred_kills_in_the_middle_of_a_save_damage_no_file(tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"
    left, right = tape("left"), tape("right")
    save(left, path)
    left = load(path)  # JSON comes back indented.
    seconds = time.perf_counter()
    save(right, path)
    seconds = time.perf_counter() - seconds
    right = load(path)
    chance = random.Random(42)
    seen = set()
    for number in range(100):
        first, then = (left, right) if number % 2 else (right, left)
        before = path.stat().st_ino
        child = os.fork()
        if child == 0:
            while True:
                save(first, path)
                save(then, path)
        while path.stat().st_ino == before:  # However slow the machine is, one save gets through.
            time.sleep(seconds / 10)
        time.sleep(chance.uniform(0.0, 1.5) * seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = load(path)
        assert found in (left, right)
        seen.add(found == left)
    assert seen == {True, False}, "the kills fell between the saves"


def test_what_a_killed_save_left_behind_is_no_cassette_and_is_named(tiny_project: TinyProject) -> None:
    tiny_project.write("tests/cassettes/test_a/.test_one.yaml.abc123.tmp", "half")

    found = tiny_project.command(sys.executable, "-m", "pytest_agentops", "cassettes", "check")

    assert "leftover: nothing belongs to it any more" in found.stdout
    assert found.exit_code == 0


# --- a run that is killed --------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_after_a_kill_in_the_middle_of_a_run_every_finished_call_is_there(
    tmp_path: Path, scripted_model: Start
) -> None:
    model = scripted_model(echo)
    child = os.fork()
    if child == 0:
        with session(tmp_path).open():
            for text in ("one", "two", "three"):
                ask(model, text)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(model.requests) == 3

    again = session(tmp_path)
    with again.open():
        for text in ("one", "two", "three", "four"):
            ask(model, text)
    again.close("passed")

    assert [request.prompt for request in model.requests] == ["one", "two", "three", "four"]
    assert [each.request.json["messages"][0]["content"] for each in load(tmp_path / "test.yaml").exchanges] == [
        "one", "two", "three", "four"
    ]  # fmt: skip
    assert list((tmp_path / ".agentops" / "journal").glob("*/*.jsonl")) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_that_is_killed_twice_loses_nothing_either(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(echo)
    for texts in (("one", "two"), ("one", "two", "three")):
        child = os.fork()
        if child == 0:
            with session(tmp_path).open():
                for text in texts:
                    ask(model, text)
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)

    again = session(tmp_path)
    with again.open():
        for text in ("one", "two", "three"):
            ask(model, text)
    again.close("passed")

    assert [request.prompt for request in model.requests] == ["one", "two", "three"]


def test_the_journal_of_a_living_process_is_left_alone(tmp_path: Path, scripted_model: Start) -> None:
    model, journal = scripted_model(echo), Journal(tmp_path / ".agentops")
    living = session(tmp_path, journal)
    with living.open():
        ask(model, "one")
        other = Journal(tmp_path / ".agentops")
        other.recover()
        assert other.recovered == ()
    living.close("passed")
    journal.close()

    assert not list((tmp_path / ".agentops" / "journal").glob("*-*"))


def test_a_line_that_was_cut_by_the_kill_costs_that_line_alone(tmp_path: Path, scripted_model: Start) -> None:
    model, journal = scripted_model(echo), Journal(tmp_path / ".agentops")
    one = session(tmp_path, journal)
    with one.open():
        ask(model, "one")
        ask(model, "two")
    [page] = (tmp_path / ".agentops" / "journal").glob("*/*.jsonl")
    page.write_bytes(page.read_bytes()[:-200])
    journal.close()

    next_one = Journal(tmp_path / ".agentops")
    next_one.recover()

    assert next_one.recovered == (tmp_path / ".agentops" / "drafts" / "test.yaml",)
    [kept] = load(next_one.recovered[0]).exchanges
    assert kept.request.json["messages"][0]["content"] == "one"


def test_nothing_is_journalled_where_nothing_goes_live(tmp_path: Path, scripted_model: Start) -> None:
    with (one := session(tmp_path)).open():
        ask(scripted_model(echo), "one")
    one.close("passed")
    journal = Journal(tmp_path / "elsewhere")
    with (again := session(tmp_path, journal)).open():
        ask(scripted_model(), "one")
    again.close("passed")

    assert not (tmp_path / "elsewhere").exists()


def test_a_secret_that_is_learned_late_is_taken_out_of_the_journal(tmp_path: Path, scripted_model: Start) -> None:
    """A reply names it first; only a later request shows what it is."""
    secret = "correct-horse-battery-staple"
    model = scripted_model(Says(f"Use {secret} from now on."), Says("Thank you."))
    journal = Journal(tmp_path / ".agentops")
    with session(tmp_path, journal).open():
        ask(model, "May I?")
        [page] = (tmp_path / ".agentops" / "journal").glob("*/*.jsonl")
        assert secret in page.read_text()
        headers = {"authorization": f"Bearer {secret}"}
        httpx2.post(f"{model.base_url}/chat/completions", json={"model": "m", "messages": []}, headers=headers)

        assert secret not in page.read_text()
        assert page.read_text().count('"exchange"') == 2


# --- in pytest -------------------------------------------------------------------------------------------------------

AGENT = """
    import os, signal

    import httpx2

    URL = os.environ.get("MODEL_URL", "http://127.0.0.1:9/v1") + "/chat/completions"
    CLIENT = httpx2.Client(verify=False)

    def ask(text):
        body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}]}
        return CLIENT.post(URL, json=body).json()["choices"][0]["message"]["content"]

    def test_one(agent_trace):
        ask("one")
        ask("two")
        if os.environ.get("SIGNAL"):
            os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"]))
        ask("three")
"""


def run(project: TinyProject, model: ScriptedModel | None, *args: str, **env: str) -> PytestRun:
    where = {"MODEL_URL": model.base_url} if model else {}
    return project.run("-q", *args, env={**where, **env})


@pytest.mark.parametrize("by", ["SIGKILL", "SIGTERM", "SIGINT"])
@pytest.mark.parametrize("mode", ["once", "changed", "all"])
def test_the_next_run_goes_on_where_the_killed_one_was(
    by: str, mode: str, tiny_project: TinyProject, scripted_model: Start
) -> None:
    model = scripted_model(echo)
    tiny_project.write("test_shop.py", AGENT)

    killed = run(tiny_project, model, f"--agentops-record={mode}", SIGNAL=by)
    again = run(tiny_project, model, f"--agentops-record={mode}")

    assert killed.exit_code != 0
    assert again.outcomes == {"passed": 1}
    assert [request.prompt for request in model.requests] == ["one", "two", "three"]
    told = "agentops: what a killed run had recorded was kept: 1 recording in .agentops/drafts"
    assert (told in again.lines) == (by != "SIGINT"), "after Ctrl-C the run itself had kept it"
    assert run(tiny_project, None, "--agentops-record=none").outcomes == {"passed": 1}


def test_git_does_not_see_the_journal(tiny_project: TinyProject, scripted_model: Start) -> None:
    tiny_project.write("test_shop.py", AGENT)
    subprocess.run(["git", "init", "-q"], cwd=tiny_project.path, check=True)

    run(tiny_project, scripted_model(echo), SIGNAL="SIGKILL")

    status = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"],
        cwd=tiny_project.path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert ".agentops" not in status.stdout


@pytest.mark.slow
def test_workers_that_begin_together_agree_on_what_was_left(tiny_project: TinyProject, scripted_model: Start) -> None:
    """Each waits until the drafts are made, so that none asks what another is about to recover."""
    tests = "".join(f"""
    def test_{n}(agent_trace):
        ask("first {n}")
        ask("second {n}")
        if os.environ.get("SIGNAL") and {n} == 7:
            os.kill(os.getpid(), signal.SIGKILL)
    """ for n in range(8))  # fmt: skip
    tiny_project.write("test_shop.py", AGENT.partition("    def test_one")[0] + tests)
    model = scripted_model(echo)
    run(tiny_project, model, SIGNAL="1")
    for path in sorted((tiny_project.path / "cassettes").rglob("*.yaml")):
        path.unlink()  # As if all eight had been cut short.
    paid = len(model.requests)

    again = run(tiny_project, model, "-p", "xdist", "-n", "4")

    assert again.outcomes == {"passed": 8}
    assert len(model.requests) == paid + 14, "only the seven that had been saved and deleted are asked again"
