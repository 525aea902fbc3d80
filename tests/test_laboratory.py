"""Experiments that are run against a scripted server: answers, limits, stops, kills, and what recordings answer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_agentops.datasets import Case
from pytest_agentops.errors import ExpectationError, ExperimentError
from pytest_agentops.experiment import Check, Experiment, Place, Variant
from pytest_agentops.laboratory import LONGEST, Laboratory, Run, probe
from pytest_agentops.models import Endpoint
from pytest_agentops.recall import Recall
from pytest_agentops.repository import PromptRepository
from pytest_agentops.settings import read_settings
from pytest_agentops.testing import Asks, Disconnects, Fails, Says, ScriptedModel, ScriptedRequest, ToolRequest
from pytest_agentops.trace import Trace

PROMPT = "---\nversion: 1.0.0\ninputs:\n  question: {kind: string}\n---\nuser:\n{{ question }}\n"


class House:
    """A project with a prompt and a model behind a scripted server."""

    def __init__(self, root: Path, model: ScriptedModel | str, more: str = "") -> None:
        self.root = root
        (root / "prompts").mkdir(exist_ok=True)
        (root / "prompts" / "ask.prompty").write_text(PROMPT)
        base = model if isinstance(model, str) else model.base_url
        (root / "pyproject.toml").write_text(
            f"[tool.agentops.models.m]\nbase_url = '{base}'\nprice = {{input = 1000, output = 1000}}\n{more}"
        )

    def laboratory(self) -> Laboratory:
        return Laboratory(read_settings(self.root, environment={}))

    def begin(self, *questions: str, **changes: object) -> Run:
        given = {
            "variants": (Variant("ask", "m"),),
            "cases": tuple(Case({"question": each}) for each in questions),
            **changes,
        }
        return self.laboratory().begin(Experiment(**given))  # type: ignore[arg-type]

    def ended(self, *questions: str, **changes: object) -> Run:
        run = self.begin(*questions, **changes)
        run.start()
        assert run.wait(60)
        return run


class Wire:
    """A server that sends what `send` makes of each connection, whatever that is."""

    def __init__(self, send: Callable[[socket.socket], None]) -> None:
        self.asked: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        self._send = send
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            said = b""
            while not said.endswith(b"}"):
                said += connection.recv(65536)
            self.asked.append(said)
            self._send(connection)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()


HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n"


def event(text: str, **more: object) -> bytes:
    """One event of chat completions, which says this and that it is all."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": "stop"}
    said = {"id": "1", "object": "chat.completion.chunk", "model": "m", "created": 1, "choices": [choice], **more}
    return b"data: " + json.dumps(said, ensure_ascii=False).encode() + b"\n\n"


def usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}


def test_answers_are_there_with_their_figures_and_again_after_a_restart(tmp_path):
    with ScriptedModel(lambda request: Says(f"To {request.prompt}", input_tokens=3, output_tokens=2)) as model:
        house = House(tmp_path, model)
        run = house.ended("one", "two", repeats=2)

    outcome = run.outcome()
    assert [trial.text for trial in outcome.trials] == ["To one", "To two", "To one", "To two"]
    assert {trial.state for trial in outcome.trials} == {"done"}
    assert outcome.spent == pytest.approx(4 * 5 * 1000 / 1_000_000)
    assert all(trial.tokens == 5 and trial.seconds is not None and trial.first for trial in outcome.trials)
    again = house.laboratory().open(run.id).outcome()
    assert [trial.text for trial in again.trials] == [trial.text for trial in outcome.trials]
    assert [trial.first for trial in again.trials] == [trial.first for trial in outcome.trials]
    assert again.spent == outcome.spent


def test_an_answer_is_a_cassette_that_knows_its_prompt(tmp_path):
    with ScriptedModel(Says("Yes")) as model:
        run = House(tmp_path, model).ended("Is it?")

    trace = Trace.from_cassette(run.cassette(Place(0, 0)))

    assert trace.response == "Yes"
    assert [(render.name, render.version, render.inputs) for render in trace.prompts] == [
        ("ask", "1.0.0", {"question": "Is it?"})
    ]
    assert trace.model_calls[0].prompts == (0,)


def test_tools_that_are_asked_for_stand_beside_the_words(tmp_path):
    with ScriptedModel(Asks(ToolRequest("refund", {"order": 42}))) as model:
        run = House(tmp_path, model).ended("Refund it")

    trial = run.outcome().trials[0]

    assert trial.state == "done"
    assert trial.calls == ("refund(order=42)",)


def test_as_many_questions_are_under_way_as_was_asked_for_and_no_more(tmp_path):
    most = 0
    with ScriptedModel(lambda request: Says("Yes", latency=0.1)) as model:
        run = House(tmp_path, model).begin(*map(str, range(9)), concurrency=3)
        run.start()
        while run.running:
            most = max(most, run.outcome().count["running"])
            time.sleep(0.005)

    assert most == 3
    assert run.outcome().count["done"] == 9


def test_the_words_are_there_while_they_arrive(tmp_path):
    with ScriptedModel(Says("one two three four five six seven eight", pause=0.05)) as model:
        run = House(tmp_path, model).begin("count")
        seen: set[str] = set()
        run.start()
        while run.running:
            seen.add(run.outcome().trials[0].text)
            time.sleep(0.01)

    assert any(text and text != "one two three four five six seven eight" for text in seen)
    assert run.outcome().trials[0].text == "one two three four five six seven eight"


def test_a_run_that_is_stopped_says_so_at_once_keeps_what_it_has_and_goes_on_when_told(tmp_path):
    slow = threading.Event()

    def answer(request: ScriptedRequest) -> Says:
        words = "a " * 200
        return Says(words, pause=0.0 if slow.is_set() or request.prompt == "quick" else 0.05)

    with ScriptedModel(answer) as model:
        house = House(tmp_path, model)
        run = house.begin("quick", "slow", "never begun", concurrency=1)
        run.start()
        while not run.outcome().trials[1].text:
            time.sleep(0.01)
        run.stop()
        stopped = run.outcome()
        assert not run.running
        assert [trial.state for trial in stopped.trials] == ["done", "stopped", "waiting"]
        assert stopped.trials[1].text.startswith("a")
        slow.set()
        run.start()
        assert run.wait(30)

    assert [trial.state for trial in run.outcome().trials] == ["done", "done", "done"]
    assert [request.prompt for request in model.requests].count("quick") == 1


def test_nothing_is_asked_that_might_go_beyond_the_limit(tmp_path):
    """Each question may cost 0.52 dollars by its estimate and comes to 0.004."""
    with ScriptedModel(lambda request: Says("Yes", input_tokens=2, output_tokens=2)) as model:
        run = House(tmp_path, model).ended(*map(str, range(20)), limit=0.55, concurrency=4)
        assert len(model.requests) == run.outcome().count["done"]

    outcome = run.outcome()
    assert 0 < outcome.count["done"] < 20
    assert outcome.count["waiting"] == 20 - outcome.count["done"]
    assert outcome.spent <= 0.55
    assert "the limit of $0.55 allows no further question" in run.problem


def test_what_judges_take_counts_too(tmp_path):
    def answer(request: ScriptedRequest) -> Says:
        if "criterion" in str(request.body):
            return Says('{"reason": "it is", "verdict": "pass"}', input_tokens=30, output_tokens=10)
        return Says("Yes", input_tokens=3, output_tokens=2)

    with ScriptedModel(answer) as model:
        house = House(tmp_path, model)
        run = house.ended("a", checks=(Check("judge", "is short"),), judge="m", limit=100.0)
        few = house.ended("a", checks=(Check("judge", "is short"),), judge="m", limit=0.6)

    trial = run.outcome().trials[0]
    assert (trial.cost, trial.besides) == (pytest.approx(0.005), pytest.approx(0.04))
    assert run.outcome().spent == pytest.approx(0.045)
    assert house.laboratory().open(run.id).outcome().spent == pytest.approx(0.045)
    assert few.outcome().count["waiting"] == 1


def test_a_run_waits_for_what_is_under_way_before_it_gives_up_on_its_limit_and_goes_on_when_that_is_raised(tmp_path):
    """Each question may cost 0.5 dollars by its estimate and comes to 0.004: they are asked one after another."""
    with ScriptedModel(lambda request: Says("Yes", input_tokens=2, output_tokens=2, latency=0.05)) as model:
        house = House(tmp_path, model)
        run = house.ended(*map(str, range(8)), limit=0.57, concurrency=4)
        assert (run.outcome().count["done"], run.problem) == (8, "")

        low = house.ended("a", limit=0.1)
        assert low.outcome().count["waiting"] == 1
        low.allow(5.0)
        low.start()
        assert low.wait(30)

    assert low.outcome().count["done"] == 1
    assert house.laboratory().open(low.id).experiment.limit == 5.0


def test_a_run_keeps_the_prompts_that_it_was_begun_with(tmp_path):
    with ScriptedModel(lambda request: Says(f"To {request.prompt}")) as model:
        house = House(tmp_path, model)
        run = house.begin("a", "b")
        was = run.prompt(0).digest
        (tmp_path / "prompts" / "ask.prompty").write_text(PROMPT.replace("{{ question }}", "Now: {{ question }}"))
        again = house.laboratory().open(run.id)
        again.start()
        assert again.wait(30)

    assert [trial.text for trial in again.outcome().trials] == ["To a", "To b"]
    assert again.outcome().versions == ("1.0.0",)
    assert {candidate.digest for candidate in again.candidates()} == {was}


def test_a_limit_of_nothing_asks_nothing(tmp_path):
    with ScriptedModel() as model:
        run = House(tmp_path, model).ended("one", limit=0.0)

    assert model.requests == []
    assert run.outcome().count["waiting"] == 1


def test_a_model_that_never_ends_is_cut_off_by_its_length_and_what_it_said_is_kept(tmp_path):
    with ScriptedModel(Says("x" * (LONGEST + 50_000), chunks=["x" * 10_000] * ((LONGEST + 50_000) // 10_000))) as model:
        run = House(tmp_path, model).ended("go on")

    trial = run.outcome().trials[0]

    assert trial.state == "failed"
    assert trial.problem == "cut off after 200,000 characters: the answer did not end"
    assert LONGEST < len(trial.text) <= LONGEST + 10_000


def test_a_model_that_never_ends_is_cut_off_by_its_time(tmp_path):
    with ScriptedModel(Says("word " * 500, pause=0.02)) as model:
        run = House(tmp_path, model).ended("go on", seconds=0.2)

    trial = run.outcome().trials[0]

    assert (trial.state, trial.problem) == ("failed", "cut off after 0.2 s: the answer did not end")
    assert trial.text.startswith("word ")


def test_an_answer_that_breaks_off_fails_and_is_asked_again_on_resuming(tmp_path):
    with ScriptedModel(Disconnects(after=3, reply=Says("one two three four")), Says("whole")) as model:
        run = House(tmp_path, model).ended("tell")
        assert run.outcome().trials[0].state == "failed"
        run.start()
        assert run.wait(30)

    assert run.outcome().trials[0].text == "whole"


def test_a_server_that_is_not_there_is_tried_once_and_told_with_its_address(tmp_path):
    run = House(tmp_path, "http://127.0.0.1:9/v1").ended(*map(str, range(6)), concurrency=1)

    problems = {trial.problem for trial in run.outcome().trials}

    assert len(problems) == 1
    assert "http://127.0.0.1:9/v1 cannot be reached" in problems.pop()


def test_a_wrong_key_is_told_once_and_stands_in_no_file(tmp_path, monkeypatch):
    key = "sk-proj-" + "Zx9Q" * 8
    monkeypatch.setenv("A_KEY", key)
    refusal = Fails(401, f"Incorrect API key provided: {key}.", type="invalid_request_error")
    with ScriptedModel(lambda request: refusal) as model:
        run = House(tmp_path, model, "key = 'A_KEY'\n").ended("a", "b", "c", concurrency=1)

    assert len(model.requests) == 1
    assert {trial.state for trial in run.outcome().trials} == {"failed"}
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert key.encode() not in written


def test_a_key_goes_only_to_the_server_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-" + "Zx9Q" * 8)
    with ScriptedModel(Says("Yes")) as model:
        House(tmp_path, model).ended("a")

    assert "Zx9Q" not in str(model.requests[0].headers)


def test_a_key_that_was_pasted_into_an_input_stands_in_no_file_and_is_taken_out_of_what_is_passed_on(tmp_path):
    key = "sk-proj-" + "Zx9Q" * 8
    with ScriptedModel(Says("Yes")) as model:
        house = House(tmp_path, model)
        run = house.ended(f"Is {key} a key?")

    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert key.encode() not in written
    assert key not in house.laboratory().without_secrets(run.experiment).to_json()


def test_a_key_that_is_repeated_in_an_error_is_neither_told_nor_written_whatever_it_looks_like(tmp_path, monkeypatch):
    monkeypatch.setenv("A_KEY", "open sesame please")
    refusal = Fails(401, "open sesame please is no key")
    with ScriptedModel(lambda request: refusal) as model:
        run = House(tmp_path, model, "key = 'A_KEY'\n").ended("a")

    assert run.outcome().trials[0].problem == "401: (the key) is no key"
    assert b"sesame" not in (run.folder / "trials.jsonl").read_bytes()


@pytest.mark.parametrize("key", ["one\ntwo", "schlüssel"])
def test_a_key_that_fits_into_no_header_is_told_by_its_variable(tmp_path, monkeypatch, key):
    monkeypatch.setenv("A_KEY", key)
    run = House(tmp_path, "http://127.0.0.1:9/v1", "key = 'A_KEY'\n").ended("a")

    problem = run.outcome().trials[0].problem

    assert problem == "the key in A_KEY has a character in it that no key has"
    endpoint = read_settings(tmp_path, environment={}).models.endpoint("m")
    assert probe(endpoint) == (False, problem)


def test_the_end_of_a_line_behind_a_key_is_no_part_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("A_KEY", "good-key\n")
    with ScriptedModel(Says("Yes")) as model:
        House(tmp_path, model, "key = 'A_KEY'\n").ended("a")

    assert model.requests[0].headers["authorization"] == "Bearer good-key"


def test_an_input_that_does_not_fit_fails_alone(tmp_path):
    with ScriptedModel(lambda request: Says("Yes")) as model:
        run = House(tmp_path, model).ended(cases=(Case({}), Case({"question": "q"})))

    assert [trial.state for trial in run.outcome().trials] == ["failed", "done"]
    assert run.outcome().trials[0].problem.startswith("ask needs 'question'")


def test_prompts_that_others_render_meanwhile_are_none_of_a_trials(tmp_path):
    """The pages render prompts in threads of their own while a run goes on."""
    with ScriptedModel(Says("one two three four", pause=0.05)) as model:
        house = House(tmp_path, model)
        run = house.begin("mine")
        run.start()
        while run.running:
            PromptRepository(tmp_path / "prompts")["ask"].messages(question="somebody else's")
            time.sleep(0.01)

    trace = run.outcome().trials[0].trace
    assert trace is not None
    assert [render.inputs["question"] for render in trace.prompts] == ["mine"]


# --- servers that behave in other ways ----------------------------------------------------------------------------------


def test_an_answer_that_is_not_streamed_is_an_answer(tmp_path):
    message = {"role": "assistant", "content": "All at once"}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": message, "finish_reason": "stop"}]}  # fmt: skip
    head = HEAD.replace(b"text/event-stream", b"application/json")
    with Wire(lambda to: to.sendall(head + json.dumps(body).encode())) as wire:
        run = House(tmp_path, wire.base_url).ended("a")

    assert [(trial.state, trial.text) for trial in run.outcome().trials] == [("done", "All at once")]


@pytest.mark.parametrize("text", ["one\u2028two", "one\x85two", "one\x1ctwo"])
def test_marks_that_end_lines_elsewhere_end_none_in_a_stream(tmp_path, text):
    with Wire(lambda to: to.sendall(HEAD + event(text))) as wire:
        run = House(tmp_path, wire.base_url).ended("a")

    assert [(trial.state, trial.text) for trial in run.outcome().trials] == [("done", text)]


def test_a_line_that_never_ends_is_cut_off_by_its_time(tmp_path):
    def drip(to: socket.socket) -> None:
        to.sendall(HEAD + b"data: ")
        while True:
            to.sendall(b"x")
            time.sleep(0.02)

    with Wire(drip) as wire:
        run = House(tmp_path, wire.base_url).ended("a", seconds=0.2)

    assert run.outcome().trials[0].problem == "cut off after 0.2 s: the answer did not end"


def test_a_server_that_is_silent_for_too_long_is_asked_once(tmp_path):
    with Wire(lambda to: time.sleep(2)) as wire:
        run = House(tmp_path, wire.base_url).ended("a", seconds=0.2)

    assert run.outcome().trials[0].problem == "no answer within 0.2 s"
    assert len(wire.asked) == 1


def test_a_pause_that_a_server_asks_for_ends_when_the_run_is_stopped(tmp_path):
    with ScriptedModel(lambda request: Fails(429, headers={"retry-after": "30"})) as model:
        run = House(tmp_path, model).begin("a")
        run.start()
        while not model.requests:
            time.sleep(0.01)
        run.stop()
        assert run.wait(5)

    assert len(model.requests) == 1


def test_a_failure_that_is_told_in_the_stream_alone_is_told(tmp_path):
    with Wire(lambda to: to.sendall(HEAD + b'data: {"error": {"message": "no room"}}\n\n')) as wire:
        run = House(tmp_path, wire.base_url).ended("a")

    assert run.outcome().trials[0].problem == "no room"


def test_settings_that_the_client_has_no_name_for_go_into_the_body(tmp_path):
    with ScriptedModel(Says("Yes")) as model:
        run = House(tmp_path, model).ended("a", variants=(Variant("ask", "m", {"top_k": 5}),))

    assert run.outcome().trials[0].state == "done"
    assert model.requests[0].body["top_k"] == 5


# --- what counts against the limit ---------------------------------------------------------------------------------------


def test_a_limit_counts_what_failed_and_was_asked_anew(tmp_path):
    late = b'data: {"error": {"message": "too late"}}\n\n'
    with Wire(lambda to: to.sendall(HEAD + event("a", usage=usage(400)) + late)) as wire:
        house = House(tmp_path, wire.base_url)
        run = house.ended("a", limit=1.1)
        for _ in range(3):
            run.start()
            assert run.wait(10)

    assert len(wire.asked) == 2
    assert run.outcome().spent == pytest.approx(0.8)
    assert house.laboratory().open(run.id).outcome().spent == pytest.approx(0.8)


def test_a_limit_counts_by_their_length_the_answers_whose_tokens_nobody_tells(tmp_path):
    with Wire(lambda to: to.sendall(HEAD + event("word" * 400))) as wire:
        run = House(tmp_path, wire.base_url).ended(*map(str, range(9)), limit=1.1, concurrency=1)

    assert len(wire.asked) == 2
    assert run.outcome().spent > 0.8


def test_a_limit_counts_what_judges_take(tmp_path):
    verdict = Says('{"reason": "it is short", "verdict": "pass"}', input_tokens=1000, output_tokens=1000)
    with ScriptedModel(
        lambda request: verdict if "criterion" in str(request.body) else Says("a", input_tokens=1, output_tokens=1)
    ) as model:
        checks = (Check("judge", "is short"),)
        run = House(tmp_path, model).ended(*"abc", limit=3.0, concurrency=1, checks=checks, judge="m")

    assert len(model.requests) == 2
    assert run.outcome().spent == pytest.approx(2.002)
    assert run.outcome().trials[0].cost == pytest.approx(0.002)


def test_what_is_answered_whole_after_a_stop_is_kept_and_counts(tmp_path):
    """The limit leaves no room for the same question once more."""
    with Wire(lambda to: (time.sleep(0.5), to.sendall(HEAD + event("a", usage=usage(400))))[0]) as wire:
        run = House(tmp_path, wire.base_url).begin("a", limit=0.8)
        run.start()
        while not wire.asked:
            time.sleep(0.01)
        run.stop()
        run.start()
        until = time.monotonic() + 10
        while not run.outcome().trials[0].finished and time.monotonic() < until:
            time.sleep(0.01)

    assert run.outcome().trials[0].text == "a"
    assert len(wire.asked) == 1
    assert run.outcome().spent == pytest.approx(0.4)


def test_tokens_below_zero_give_no_money_back(tmp_path):
    with Wire(lambda to: to.sendall(HEAD + event("a", usage=usage(-9_000_000)))) as wire:
        run = House(tmp_path, wire.base_url).ended("a")

    assert run.outcome().spent == 0


# --- scores ----------------------------------------------------------------------------------------------------------


def test_answers_are_scored_by_what_is_expected_of_a_case_by_expectations_and_by_judges(tmp_path):
    def answer(request: ScriptedRequest) -> Says | Asks:
        if "criterion" in str(request.body):
            return Says('{"reason": "it is short", "verdict": "pass"}')
        return Says('{"queue": "billing"}') if request.prompt == "bill" else Asks(ToolRequest("delete", {}))

    with ScriptedModel(answer) as model:
        run = House(tmp_path, model).ended(
            cases=(Case({"question": "bill"}, expected={"queue": "billing"}), Case({"question": "x"}, expected="no")),
            checks=(
                Check("expectation", "never: [delete]"),
                Check("judge", "is short"),
                Check("contains", "bill"),
                Check("contains", "/^.{2}queue/"),
            ),
            judge="m",
        )

    first, second = (
        {score.check: (score.passed, score.reason.partition("\n")[0]) for score in trial.scores}
        for trial in run.outcome().trials
    )
    assert first == {
        "expected": (True, ""),
        "never: [delete]": (True, ""),
        "is short": (True, "it is short"),
        "contains bill": (True, ""),
        "contains /^.{2}queue/": (True, ""),
    }
    assert second["expected"] == (False, "expected 'no'")
    assert second["never: [delete]"][0] is False
    assert second["is short"][0] is None


def test_a_check_that_means_nothing_is_told_before_anything_is_asked(tmp_path):
    with ScriptedModel() as model, pytest.raises(ExpectationError, match="did you mean 'never'"):
        House(tmp_path, model).begin("a", checks=(Check("expectation", "nevre: [delete]"),))


# --- kills and damage ------------------------------------------------------------------------------------------------

KILLED = """
import sys, time
from pathlib import Path
from pytest_agentops.datasets import Case
from pytest_agentops.experiment import Experiment, Variant
from pytest_agentops.laboratory import Laboratory
from pytest_agentops.settings import read_settings
laboratory = Laboratory(read_settings(Path(sys.argv[1]), environment={}))
cases = tuple(Case({"question": str(each)}) for each in range(40))
run = laboratory.begin(Experiment((Variant("ask", "m"),), cases, concurrency=2))
run.start()
while run.outcome().count["done"] < 5:
    time.sleep(0.01)
print(run.id, flush=True)
time.sleep(60)
"""


def test_a_killed_run_has_every_answer_that_was_there_and_asks_only_for_the_others(tmp_path):
    with ScriptedModel(lambda request: Says(f"To {request.prompt}", latency=0.05)) as model:
        house = House(tmp_path, model)
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert child.stdout is not None
        name = child.stdout.readline().strip()
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        run = house.laboratory().open(name)
        had = {trial.place for trial in run.outcome().trials if trial.finished}
        asked = len(model.requests)
        run.start()
        assert run.wait(60)

    assert len(had) >= 5
    assert all(trial.text == f"To {trial.place.case}" for trial in run.outcome().trials)
    assert len(model.requests) - asked == 40 - len(had)


def test_an_answer_that_was_damaged_on_disk_is_asked_anew(tmp_path):
    with ScriptedModel(lambda request: Says("Yes")) as model:
        house = House(tmp_path, model)
        run = house.ended("a", "b")
        run.cassette(Place(0, 1)).write_text("{[")
        again = house.laboratory().open(run.id)
        assert [trial.state for trial in again.outcome().trials] == ["done", "waiting"]
        again.start()
        assert again.wait(30)

    assert {trial.text for trial in again.outcome().trials} == {"Yes"}


def test_a_line_of_the_log_that_was_cut_or_made_up_is_passed_over(tmp_path):
    with ScriptedModel(Says("Yes")) as model:
        house = House(tmp_path, model)
        run = house.ended("a")
        with (run.folder / "trials.jsonl").open("a") as file:
            file.write('{"place": [7, 7, 7], "state": "done"}\n[]\nnull\n')
            file.write('{"place": [0, 0, 1], "state": "failed", "cost": "much"}\n')
            file.write('{"place": [0, 0, 1], "state": "failed", "first": NaN}\n{"place": [0, 0, Infinity]}\n')
            file.write('{"place": [0, 0, 1], "state": "er')
        (run.folder.parent / "20269999-999999-abcdef").mkdir()
        (run.folder.parent / "20269999-999999-abcdef" / "experiment.json").write_text(run.experiment.to_json())

    assert house.laboratory().open(run.id).outcome().count["done"] == 1
    assert [each.id for each in house.laboratory().kept()] == [run.id]


@pytest.mark.parametrize("name", ["", "..", "../../etc", "20260101-000000-abcdef", "a/b", "20260101-000000-ABCDEF"])
def test_a_run_that_is_not_there_is_told_whatever_it_is_called(tmp_path, name):
    with pytest.raises(ExperimentError, match="there is no run"):
        House(tmp_path, "http://127.0.0.1:9/v1").laboratory().open(name)


def test_two_processes_do_not_pay_for_the_same_run(tmp_path):
    with ScriptedModel(lambda request: Says("a b c d e f g h", pause=0.1)) as model:
        house = House(tmp_path, model)
        run = house.begin("a")
        run.start()
        other = house.laboratory().open(run.id)
        with pytest.raises(ExperimentError, match="another process runs"):
            other.start()
        run.stop()


def test_what_another_process_was_answered_meanwhile_is_not_asked_again(tmp_path):
    with ScriptedModel(lambda request: Says("Yes", latency=0.05)) as model:
        house = House(tmp_path, model)
        run = house.begin("a", "b")
        other = house.laboratory().open(run.id)
        run.start()
        assert run.wait(10)
        other.start()
        assert other.wait(10)

    assert len(model.requests) == 2
    assert [trial.text for trial in other.outcome().trials] == ["Yes", "Yes"]


def test_nothing_more_is_asked_where_answers_cannot_be_kept_and_those_that_came_are_shown(tmp_path):
    with ScriptedModel(lambda request: Says("Yes", latency=0.05)) as model:
        run = House(tmp_path, model).begin(*map(str, range(9)), concurrency=1)
        shutil.rmtree(run.folder)
        run.folder.write_text("a file stands in its place")
        run._hold = lambda: None  # type: ignore[method-assign]  # It cannot be locked either.
        run.start()
        assert run.wait(10)

    assert len(model.requests) == 1
    assert [trial.text for trial in run.outcome().trials if trial.state == "done"] == ["Yes"]
    assert run.problem.startswith("nothing more is asked, since answers cannot be kept in")


def test_a_folder_that_is_called_like_no_day_is_no_run(tmp_path):
    laboratory = House(tmp_path, "http://127.0.0.1:9/v1").laboratory()
    folder = laboratory.folder / "20261399-999999-abcdef"
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text(Experiment((Variant("ask"),), (Case({}),)).to_json())

    assert laboratory.kept() == []


def test_runs_are_listed_with_how_many_answers_they_have(tmp_path):
    with ScriptedModel(lambda request: Says("Yes")) as model:
        house = House(tmp_path, model)
        run = house.ended("a", "b")
        house.ended("c", variants=(Variant("nowhere", "m"),))

    failed, kept = sorted(house.laboratory().kept(), key=lambda each: each.answers)

    assert (kept.id, kept.title, kept.answers) == (run.id, "ask · working tree, m", 2)
    assert (failed.title, failed.answers) == ("nowhere · working tree, m", 0)
    assert (tmp_path / ".agentops" / ".gitignore").read_text() == "*\n"


# --- recordings ------------------------------------------------------------------------------------------------------


def recorded(house: House, model: ScriptedModel) -> None:
    """A cassette of a test that asked the prompt: an answer of an experiment is one."""
    run = house.ended("Is it?")
    cassette = house.root / "tests" / "cassettes" / "test_ask" / "test_it.yaml"
    cassette.parent.mkdir(parents=True)
    run.cassette(Place(0, 0)).rename(cassette)


def test_recordings_answer_where_no_model_was_picked_and_say_which(tmp_path):
    with ScriptedModel(Says("It is")) as model:
        house = House(tmp_path, model)
        recorded(house, model)
        run = house.ended("Is it?", "Something else", variants=(Variant("ask"),))

    known, unknown = run.outcome().trials

    assert (known.state, known.text, known.origin) == ("replayed", "It is", "tests/cassettes/test_ask/test_it.yaml")
    assert (unknown.state, unknown.problem.splitlines()) == (
        "failed", ["no recording answers this, and no model was picked", "  pick a model that can be asked"],
    )  # fmt: skip
    assert len(model.requests) == 1


def test_nobody_judges_where_recordings_alone_are_to_answer(tmp_path):
    with ScriptedModel(Says("It is")) as model:
        house = House(tmp_path, model)
        recorded(house, model)
        run = house.ended("Is it?", recorded_only=True, checks=(Check("judge", "is short"),), judge="m")

    (trial,) = run.outcome().trials

    (score,) = trial.scores
    assert (trial.state, score.passed) == ("replayed", None)
    assert score.reason == "no model is asked, so that nobody judges"
    assert len(model.requests) == 1


def test_recordings_answer_where_a_key_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with ScriptedModel(Says("It is")) as model:
        house = House(tmp_path, model)
        recorded(house, model)
        with (tmp_path / "pyproject.toml").open("a") as file:
            file.write('[tool.agentops.models.keyed]\nmodel = "m"\nkey = "NO_SUCH_KEY"\n')
        run = house.ended("Is it?", "Else", variants=(Variant("ask"), Variant("ask", "keyed")), recorded_only=False)

    assert [trial.state for trial in run.outcome().trials] == ["replayed", "failed", "failed", "failed"]
    assert run.outcome().trials[3].problem == (
        "no recording answers this, and NO_SUCH_KEY is not set\n  set it, or pick a model that can be asked"
    )


def test_a_prompt_that_was_changed_has_no_recorded_answer(tmp_path):
    with ScriptedModel(Says("It is")) as model:
        house = House(tmp_path, model)
        recorded(house, model)
        edited = Variant("ask", source=PROMPT.replace("{{ question }}", "Now: {{ question }}"))
        run = house.ended("Is it?", variants=(edited,), recorded_only=True)

    assert run.outcome().trials[0].problem.startswith("no recording answers this\n  to ask a model")


def test_an_older_version_is_answered_by_the_recordings_of_its_time(tmp_path):
    with ScriptedModel(Says("Then"), Says("Now")) as model:
        house = House(tmp_path, model)

        def commit(message: str) -> None:
            for words in (["init", "-q", "-b", "main"], ["add", "."],
                          ["-c", "user.name=A", "-c", "user.email=a@x", "commit", "-qm", message]):  # fmt: skip
                subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)

        recorded(house, model)
        commit("first")
        cassette = tmp_path / "tests" / "cassettes" / "test_ask" / "test_it.yaml"
        (tmp_path / "prompts" / "ask.prompty").write_text(
            PROMPT.replace("1.0.0", "1.1.0").replace("{{ question }}", "Now: {{ question }}")
        )
        run = house.laboratory().begin(Experiment((Variant("ask", "m"),), (Case({"question": "Is it?"}),)))
        run.start()
        run.wait(30)
        run.cassette(Place(0, 0)).replace(cassette)
        commit("second")
        both = house.ended("Is it?", variants=(Variant("ask@1.0.0"), Variant("ask")), recorded_only=True)

    assert [trial.text for trial in both.outcome().trials] == ["Then", "Now"]
    assert " at " in both.outcome().trials[0].origin


def test_the_inputs_of_recorded_tests_are_cases_and_broken_cassettes_are_passed_over(tmp_path):
    with ScriptedModel(Says("It is")) as model:
        house = House(tmp_path, model)
        recorded(house, model)
        (tmp_path / "tests" / "cassettes" / "test_ask" / "broken.yaml").write_text("digest: sha256:\n{[")

    recall = Recall(tmp_path, PromptRepository(tmp_path / "prompts"))

    assert recall.cases("ask") == (Case({"question": "Is it?"}, name="test_it"),)
    assert recall.cases("nobody") == ()
    assert recall.models(["ask", "nobody"]) == {"m": ("test_it",)}


def test_what_the_user_said_after_instructions_is_part_of_a_recorded_case(tmp_path):
    with ScriptedModel(Says("Hello")) as model:
        house = House(tmp_path, model)
        (tmp_path / "prompts" / "ask.prompty").write_text("---\nversion: 1.0.0\n---\nsystem:\nBe brief.\n")
        run = house.ended(cases=(Case({}, message="Good day"),))
        cassette = tmp_path / "tests" / "cassettes" / "test_ask" / "test_it.take2.yaml"
        cassette.parent.mkdir(parents=True)
        run.cassette(Place(0, 0)).rename(cassette)

    assert Recall(tmp_path, PromptRepository(tmp_path / "prompts")).cases("ask") == (
        Case({}, message="Good day", name="test_it"),
    )


# --- whether a model answers -----------------------------------------------------------------------------------------


def test_a_probe_says_what_is_the_matter_with_a_model(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with ScriptedModel() as model:
        assert probe(Endpoint("a", "a", model.base_url)) == (True, "it answers, and does not say which models it has")
    assert probe(Endpoint("a", "a", None, "NO_SUCH_KEY")) == (False, "NO_SUCH_KEY is not set in the environment")
    answers, says = probe(Endpoint("a", "a", "http://127.0.0.1:9/v1"))
    assert (answers, says.startswith("it cannot be reached")) == (False, True)


def test_a_cassette_that_is_a_link_to_nowhere_is_passed_over(tmp_path):
    with ScriptedModel(Says("It is")) as model:
        house = House(tmp_path, model)
        recorded(house, model)
    (tmp_path / "tests" / "cassettes" / "gone.yaml").symlink_to(tmp_path / "nowhere.yaml")

    assert len(Recall(tmp_path, PromptRepository(tmp_path / "prompts")).of("ask")) == 1
