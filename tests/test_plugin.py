"""The plugin as a guest in real pytest runs on tiny projects."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_agentops.errors import SettingsError
from pytest_agentops.settings import read_settings
from pytest_agentops.tape import load
from pytest_agentops.testing import (
    Asks,
    Fails,
    PytestRun,
    Reply,
    Says,
    ScriptedModel,
    ScriptedRequest,
    TinyProject,
    ToolRequest,
)
from pytest_agentops.trace import Trace

Start = Callable[..., ScriptedModel]

AGENT = """
    import os

    import httpx2

    URL = os.environ.get("MODEL_URL", "http://127.0.0.1:9/v1") + "/chat/completions"
    CLIENT = httpx2.Client(verify=False)  # Reading the certificates takes longer than a test.

    def body(text):
        return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}]}

    def said(reply):
        return reply.json()["choices"][0]["message"]["content"]

    def ask(text):
        return said(CLIENT.post(URL, json=body(text)))

    async def ask_async(text):
        async with httpx2.AsyncClient(verify=False) as client:
            return said(await client.post(URL, json=body(text)))
"""


def echo(request: ScriptedRequest) -> Reply:
    return Says(f"re: {request.prompt}")


@pytest.fixture
def project(tiny_project: TinyProject) -> TinyProject:
    """A project with an agent that asks a model one question."""
    tiny_project.write("agent.py", AGENT)
    return tiny_project


def run(project: TinyProject, model: ScriptedModel | None = None, *args: str, **env: str | None) -> PytestRun:
    where = {"MODEL_URL": model.base_url} if model else {}
    return project.run("-q", *args, env={**where, **env})


def report(result: PytestRun, title: str = "FAILURES") -> str:
    """A section of what pytest printed, with stand-ins for what differs from run to run, without the summary."""
    lines = [line for line in result.section(title).splitlines() if not line.startswith("agentops: ")]
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", "\n".join(lines))
    return re.sub(r"\d\.\d s\b", "0.0 s", text)


def summary(result: PytestRun) -> list[str]:
    """Our lines of the summary."""
    return [line for line in result.lines if line.startswith("agentops: ")]


def cassettes(project: TinyProject) -> list[str]:
    found = [path.relative_to(project.path) for path in project.path.rglob("*.yaml")]
    return sorted(path.as_posix() for path in found if path.parts[0] != ".agentops")


def drafts(project: TinyProject) -> list[str]:
    folder = project.path / ".agentops" / "drafts"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml"))


# --- record and replay -----------------------------------------------------------------------------------------------


def test_a_test_records_first_and_replays_with_the_model_gone(project: TinyProject) -> None:
    project.write(
        "test_shop.py",
        """
        from agent import ask

        def test_order(agent_trace):
            assert ask("Where is it?") == "re: Where is it?"
            assert agent_trace.response == "re: Where is it?"
        """,
    )
    with ScriptedModel(echo) as model:
        first = run(project, model)
    second = run(project, model)
    assert first.outcomes == second.outcomes == {"passed": 1}
    assert cassettes(project) == ["cassettes/test_shop/test_order.yaml"]
    assert summary(first) == [
        "agentops: 1 model call, 7 tokens, no known price for gpt-5-mini (live, 1 cassette written)"
    ]
    assert summary(second) == ["agentops: 1 model call, 7 tokens, no known price for gpt-5-mini (replayed)"]


def test_the_summary_adds_up_what_was_live_and_what_was_replayed(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import pytest
        from agent import ask

        @pytest.mark.parametrize("number", range(3))
        def test_order(agent_trace, number):
            ask("Where is it?")
            ask("And now?")
        """,
    )
    model = scripted_model(echo)
    run(project, model, "-k", "0 or 1")
    result = run(project, model)
    assert summary(result) == [
        "agentops: 6 model calls, 36 tokens, no known price for gpt-5-mini (2 live, 4 replayed, 1 cassette written)"
    ]
    assert len(model.requests) == 6


def test_a_model_without_a_price_is_named_in_the_summary(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        from agent import CLIENT, URL, ask, body

        def test_order(agent_trace):
            ask("one")
            CLIENT.post(URL, json=body("two") | {"model": "our-own-model"})
        """,
    )
    result = run(project, scripted_model(echo))
    assert summary(result) == [
        "agentops: 2 model calls, 6 tokens, no known price for gpt-5-mini, our-own-model (live, 1 cassette written)"
    ]


def test_tests_that_do_not_use_us_are_left_alone(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import httpx2
        from agent import ask

        before = httpx2.HTTPTransport.handle_request

        def test_ours(agent_trace):
            ask("one")
            assert httpx2.HTTPTransport.handle_request is not before

        def test_theirs():
            assert httpx2.HTTPTransport.handle_request is before
            assert ask("two") == "re: two"
        """,
    )
    model = scripted_model(echo)
    for _ in range(2):
        assert run(project, model).outcomes == {"passed": 2}
    assert [request.prompt for request in model.requests] == ["one", "two", "two"]


def test_nothing_stays_patched_however_a_test_ends(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import concurrent.futures, threading
        import httpx, httpx2, pytest
        from agent import ask

        def patched():
            return (httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request,
                    httpx2.HTTPTransport.handle_request, httpx2.AsyncHTTPTransport.handle_async_request,
                    threading.Thread.start, concurrent.futures.ThreadPoolExecutor.submit)

        before = patched()

        @pytest.fixture
        def broken(agent_trace):
            ask("broken")
            raise RuntimeError

        def test_passing(agent_trace):
            assert all(here is not there for here, there in zip(patched(), before))

        def test_after_passing():
            assert patched() == before

        def test_failing(agent_trace):
            ask("failing")
            1 / 0

        def test_after_failing():
            assert patched() == before

        def test_skipped(agent_trace):
            ask("skipped")
            pytest.skip()

        def test_after_skipped():
            assert patched() == before

        def test_broken(broken):
            pass

        def test_after_broken():
            assert patched() == before

        @pytest.mark.agentops(record="none")
        def test_missing(agent_trace):
            ask("missing")

        def test_after_missing():
            assert patched() == before
        """,
    )
    result = run(project, scripted_model(echo))
    assert result.outcomes == {"failed": 2, "passed": 6, "skipped": 1, "errors": 1}


def test_nothing_stays_patched_after_a_save_that_failed(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import httpx2
        from agent import ask

        before = httpx2.HTTPTransport.handle_request

        def test_ours(agent_trace):
            ask("one")

        def test_after():
            assert httpx2.HTTPTransport.handle_request is before
        """,
    )
    project.write("cassettes", "a file where a folder should be")
    result = run(project, scripted_model(echo))
    assert result.outcomes == {"passed": 2, "errors": 1}
    assert "ERROR at teardown of test_ours" in result.stdout


# --- what turns a test red -------------------------------------------------------------------------------------------


def test_a_swallowed_miss_turns_the_test_red(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import os
        from agent import ask

        def test_order(agent_trace):
            ask("Where is order 42?")
            try:
                ask(os.environ["SECOND"])
            except Exception:
                pass
        """,
    )
    model = scripted_model(echo)
    assert run(project, model, SECOND="And order 43?").outcomes == {"passed": 1}
    result = run(project, model, SECOND="And order 44?")
    assert result.outcomes == {"failed": 1}
    assert report(result) == (
        "______________________________________________________ test_order ______________________________________________________\n"
        "no recorded reply for this request, and nothing may go live (record mode: once)\n"
        '  request   POST http://127.0.0.1:PORT/v1/chat/completions  "And order 44?"\n'
        "  cassette  cassettes/test_shop/test_order.yaml (2 replies, 1 used)\n"
        "  cause     the prompt changed (user)\n"
        "  closest   #2 differs in /messages/0/content\n"
        '            recorded  "And order 43?"\n'
        '            asked     "And order 44?"\n'
        "  to record again: pytest test_shop.py::test_order --agentops-record=changed\n"
        "------------------------------------------------------- agentops -------------------------------------------------------\n"
        "1 model call, 0 tool calls, 9 tokens, no known price, 0.0 s, replayed\n"
        "  step 0  gpt-5-mini · 4 in, 5 out · 0.0 s\n"
        "    're: Where is order 42?'"
    )
    assert len(model.requests) == 2


def test_a_miss_that_surfaces_shows_the_tests_own_lines(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        from agent import ask

        def test_order(agent_trace):
            ask("Where is order 42?")
        """,
    )
    result = run(project, scripted_model(echo), CI="true")
    # Newer Pythons mark the place in a line in their own way.
    shown = report(result).partition("\n--")[0]
    assert [line for line in shown.splitlines()[1:] if line.strip(" ^")] == [
        "test_shop.py:4: in test_order",
        '    ask("Where is order 42?")',
        "agent.py:15: in ask",
        "    return said(CLIENT.post(URL, json=body(text)))",
        "E   pytest_agentops.errors.NothingRecorded: no recorded reply for this request, and nothing may go live (record mode: none)",
        'E     request   POST http://127.0.0.1:PORT/v1/chat/completions  "Where is order 42?"',
        "E     cassette  cassettes/test_shop/test_order.yaml does not exist",
        "E     to record it: pytest test_shop.py::test_order --agentops-record=once",
    ]


def test_a_run_without_an_answer_is_not_shown_as_a_live_one_where_an_agent_told_of_itself(
    project: TinyProject, scripted_model: Start
) -> None:
    project.write(
        "test_shop.py",
        """
        from agent import ask
        from pytest_agentops import agent

        @agent
        def support():
            ask("Where is order 42?")

        def test_order(agent_trace):
            support()
        """,
    )
    result = run(project, scripted_model(echo), CI="true")
    assert report(result).splitlines()[-1] == "no request was answered"


def test_unplayed_exchanges_turn_the_test_red(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import os
        from agent import ask

        def test_order(agent_trace):
            for text in os.environ["QUESTIONS"].split():
                ask(text)
        """,
    )
    model = scripted_model(echo)
    run(project, model, QUESTIONS="one two three")
    result = run(project, model, QUESTIONS="two")
    assert result.outcomes == {"failed": 1}
    assert report(result).splitlines()[1:6] == [
        "2 of 3 recorded replies were never asked for",
        "  cassette  cassettes/test_shop/test_order.yaml",
        '  #1  POST http://127.0.0.1/v1/chat/completions -> 200  "one"',
        '  #3  POST http://127.0.0.1/v1/chat/completions -> 200  "three"',
        "  to record again: pytest test_shop.py::test_order --agentops-record=changed",
    ]


def test_a_test_that_failed_on_its_own_is_not_blamed_for_what_was_not_played(
    project: TinyProject, scripted_model: Start
) -> None:
    project.write(
        "test_shop.py",
        """
        import os
        from agent import ask

        def test_order(agent_trace):
            ask("one")
            assert not os.environ.get("FAIL"), "its own failure"
            ask("two")

        def test_skipped(agent_trace):
            import pytest
            ask("one")
            if os.environ.get("FAIL"):
                pytest.skip("its own reason")
            ask("two")
        """,
    )
    model = scripted_model(echo)
    assert run(project, model).outcomes == {"passed": 2}
    result = run(project, model, FAIL="1")
    assert result.outcomes == {"failed": 1, "skipped": 1}
    assert "AssertionError: its own failure" in result.stdout
    assert "never asked for" not in result.stdout


# --- modes -----------------------------------------------------------------------------------------------------------

ONE_QUESTION = """
    from agent import ask

    def test_order(agent_trace):
        print(ask("Where is it?"))
"""


@pytest.mark.slow
def test_the_mode_says_what_happens_to_a_recorded_test(project: TinyProject, scripted_model: Start) -> None:
    project.write("test_shop.py", ONE_QUESTION)
    model = scripted_model(*(Says(f"answer {number}") for number in range(1, 6)))

    def outcome(*args: str, **env: str) -> tuple[str, str]:
        """What the test saw, and what its cassette says afterwards."""
        result = run(project, model, "-s", *args, **env)
        assert result.outcomes == {"passed": 1}
        saved = Trace.from_cassette(project.path / "cassettes/test_shop/test_order.yaml").response
        return result.lines[0].removesuffix("."), str(saved)

    assert outcome() == ("answer 1", "answer 1")
    assert outcome() == ("answer 1", "answer 1")
    assert outcome("--agentops-record=none") == ("answer 1", "answer 1")
    assert outcome("--agentops-record=live") == ("answer 2", "answer 1")
    assert outcome("--agentops-record=all") == ("answer 3", "answer 3")
    assert outcome(AGENTOPS_RECORD="all") == ("answer 4", "answer 4")
    assert outcome("--agentops-record=once", AGENTOPS_RECORD="all") == ("answer 4", "answer 4")
    assert len(model.requests) == 4


@pytest.mark.parametrize(
    ("args", "env", "passes", "is_saved"),
    [
        (["--agentops-record=all"], {}, True, True),
        (["--agentops-record=live"], {}, True, False),
        (["--agentops-record=none"], {}, False, False),
        ([], {"CI": "true"}, False, False),
        (["--agentops-record=once"], {"CI": "true"}, True, True),
    ],
)
def test_the_mode_says_what_happens_to_a_test_without_a_cassette(
    args: list[str], env: dict[str, str], passes: bool, is_saved: bool, project: TinyProject, scripted_model: Start
) -> None:
    project.write("test_shop.py", ONE_QUESTION)
    model = scripted_model(echo)
    assert run(project, model, *args, **env).outcomes == ({"passed": 1} if passes else {"failed": 1})
    assert len(model.requests) == passes
    assert bool(cassettes(project)) == is_saved


def test_the_project_file_may_set_the_mode(project: TinyProject, scripted_model: Start) -> None:
    project.write("pyproject.toml", "[tool.pytest.ini_options]\n[tool.agentops]\nrecord = 'none'\n")
    project.write("test_shop.py", ONE_QUESTION)
    model = scripted_model(echo)
    assert run(project, model).outcomes == {"failed": 1}
    assert model.requests == []


def test_the_marker_sets_mode_cassette_and_ignored_paths_of_one_test(
    project: TinyProject, scripted_model: Start
) -> None:
    project.write(
        "sub/test_shop.py",
        """
        import sys
        sys.path.insert(0, ".")
        import os, pytest
        from agent import CLIENT, URL, ask, body

        @pytest.mark.agentops(record="live")
        def test_live():
            ask("live")

        @pytest.mark.agentops(cassette="recordings/shared.yaml", ignore=["$.metadata.run"])
        def test_ignore(agent_trace):
            CLIENT.post(URL, json=body("ignore") | {"metadata": {"run": os.getpid()}})
            assert len(agent_trace.model_calls) == 1

        @pytest.mark.agentops
        class TestClass:
            @pytest.mark.agentops(cassette="recordings/method.yaml")
            def test_method(self):
                ask("method")

            def test_other(self):
                ask("other")
        """,
    )
    model = scripted_model(echo)
    for _ in range(2):
        assert run(project, model).outcomes == {"passed": 4}
    assert sorted(request.prompt for request in model.requests) == ["ignore", "live", "live", "method", "other"]
    assert cassettes(project) == [
        "sub/cassettes/test_shop/TestClass.test_other.yaml",
        "sub/recordings/method.yaml",
        "sub/recordings/shared.yaml",
    ]


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        (
            "'once'",
            "test_shop.py::test_order: @pytest.mark.agentops takes named arguments: record, cassette, ignore, budget, versions",
        ),
        (
            "mode='once'",
            "test_shop.py::test_order: @pytest.mark.agentops has no argument 'mode'; there are: record, cassette, ignore, budget, versions",
        ),
        (
            "record='onse'",
            "test_shop.py::test_order: record='onse' is no record mode; there are: none, once, changed, all, verify, live",
        ),
        ("ignore='$.a'", "test_shop.py::test_order: ignore is a list of JSON paths: ignore=['$.a']"),
        (
            "ignore=['$.[']",
            "test_shop.py::test_order: ignore=['$.[']: '$.[' is no JSON path: expected a shorthand selector",
        ),
        (
            "ignore=[1]",
            'test_shop.py::test_order: ignore=[1] must be a list of JSON paths, such as ["$.metadata.id"]',
        ),
        ("cassette=7", "test_shop.py::test_order: cassette=7 is no path"),
    ],
)
def test_a_mistake_in_a_marker_is_told_before_any_test_runs(marker: str, message: str, project: TinyProject) -> None:
    project.write(
        "test_shop.py",
        f"""
        import pytest

        def test_first():
            pass

        @pytest.mark.agentops({marker})
        def test_order(agent_trace):
            pass
        """,
    )
    result = run(project)
    assert result.exit_code == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {message}" in result.stderr.splitlines()
    assert "passed" not in result.stdout


MODES = "there are: none, once, changed, all, verify, live"


@pytest.mark.parametrize(
    ("toml", "env", "message"),
    [
        ("record = 'onec'", {}, f"record = 'onec' in pyproject.toml is no record mode; did you mean 'once'?; {MODES}"),
        ("record = 3", {}, f"record = 3 in pyproject.toml is no record mode; {MODES}"),
        ("ignore = '$.a'", {}, "ignore = '$.a' in pyproject.toml must be a list of JSON paths, such as [\"$.metadata.id\"]"),
        ("prompts = 3", {}, "prompts = 3 in pyproject.toml must be the path of a folder, as text"),
        ("", {"AGENTOPS_RECORD": "always"}, f"record = 'always' in the environment is no record mode; {MODES}"),
        (
            "",
            {"AGENTOPS_IGNORE": "$.a,$.["},
            "ignore = ['$.a', '$.['] in the environment: '$.[' is no JSON path: expected a shorthand selector",
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_a_setting_says_where_it_stands(
    toml: str, env: dict[str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.agentops]\n{toml}\n")
    with pytest.raises(SettingsError) as raised:
        read_settings(tmp_path, {}, env)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("toml", "env", "message"),
    [
        ("recrod = 'once'", {}, "[tool.agentops] in pyproject.toml has no setting 'recrod'; did you mean 'record'?; "),
        ("", {"AGENTOPS_RECORD": "always"}, "record = 'always' in the environment is no record mode; "),
    ],
)
def test_a_mistake_in_a_setting_is_told_before_any_test_runs(
    toml: str, env: dict[str, str], message: str, project: TinyProject
) -> None:
    project.write("pyproject.toml", f"[tool.pytest.ini_options]\n[tool.agentops]\n{toml}\n")
    project.write("test_shop.py", "def test_order(agent_trace):\n    pass\n")
    result = run(project, None, **env)
    assert result.exit_code == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {message}" in result.stderr
    assert "passed" not in result.stdout


def test_a_mistake_on_the_command_line_is_told_by_pytest(project: TinyProject) -> None:
    result = run(project, None, "--agentops-record=onec")
    assert result.exit_code == pytest.ExitCode.USAGE_ERROR
    assert "argument --agentops-record: invalid choice: 'onec'" in result.stderr


def test_a_mistake_in_the_settings_is_nobodys_business_in_a_suite_that_does_not_use_us(project: TinyProject) -> None:
    project.write("pyproject.toml", "[tool.pytest.ini_options]\n[tool.agentops]\nrecord = 'onec'\n")
    project.write("test_shop.py", "def test_plain():\n    pass\n")
    assert run(project).outcomes == {"passed": 1}


def test_asking_for_the_fixture_too_late_says_what_to_write(project: TinyProject) -> None:
    project.write("test_shop.py", "def test_late(request):\n    request.getfixturevalue('agent_trace')\n")
    result = run(project)
    assert result.outcomes == {"failed": 1}
    assert report(result).splitlines()[1:] == [
        "agent_trace was asked for while the test ran, after its recording should have begun",
        "  name it among the test's arguments, or mark the test with @pytest.mark.agentops",
    ]


def test_a_damaged_cassette_is_an_error_and_never_an_empty_one(project: TinyProject, scripted_model: Start) -> None:
    project.write("test_shop.py", ONE_QUESTION)
    project.write("cassettes/test_shop/test_order.yaml", "interactions: [")
    model = scripted_model(echo)
    result = run(project, model)
    assert result.outcomes == {"errors": 1}
    assert "/cassettes/test_shop/test_order.yaml: it is not YAML: " in result.stdout
    assert model.requests == []


# --- drafts ----------------------------------------------------------------------------------------------------------


def test_a_failing_run_is_a_draft_and_the_next_one_pays_only_for_what_is_new(
    project: TinyProject, scripted_model: Start
) -> None:
    source = """
        from agent import ask

        def test_order(agent_trace):
            ask("one")
            ask("two")
            {rest}
    """
    model = scripted_model(echo)
    project.write("test_shop.py", source.format(rest="assert False"))
    result = run(project, model)
    assert result.outcomes == {"failed": 1}
    assert report(result, "agentops").splitlines()[-2:] == [
        "this run is kept as a draft: the next run reuses its replies and pays only for what is new",
        "to ask the model again: pytest test_shop.py::test_order --agentops-record=all",
    ]
    assert cassettes(project) == []
    assert drafts(project) == ["cassettes/test_shop/test_order.yaml"]
    assert (project.path / ".agentops" / ".gitignore").read_text() == "*\n"

    project.write("test_shop.py", source.format(rest='ask("three")'))
    assert run(project, model).outcomes == {"passed": 1}
    assert [request.prompt for request in model.requests] == ["one", "two", "three"]
    assert cassettes(project) == ["cassettes/test_shop/test_order.yaml"]
    assert drafts(project) == []

    assert run(project, model).outcomes == {"passed": 1}
    assert len(model.requests) == 3


def test_an_error_of_the_model_is_not_remembered_by_a_draft(project: TinyProject, scripted_model: Start) -> None:
    project.write("test_shop.py", ONE_QUESTION)
    model = scripted_model(Fails(401), Says("fine"))
    assert run(project, model).outcomes == {"failed": 1}
    assert run(project, model).outcomes == {"passed": 1}
    assert len(model.requests) == 2


def test_a_failing_run_in_mode_all_does_not_replace_the_cassette_of_a_passed_one(
    project: TinyProject, scripted_model: Start
) -> None:
    project.write(
        "test_shop.py",
        """
        from agent import ask

        def test_order(agent_trace):
            assert ask("Where is it?") == "good"
        """,
    )
    model = scripted_model(Says("good"), Says("bad"))
    run(project, model)
    before = (project.path / "cassettes/test_shop/test_order.yaml").read_text()
    assert run(project, model, "--agentops-record=all").outcomes == {"failed": 1}
    assert (project.path / "cassettes/test_shop/test_order.yaml").read_text() == before
    assert run(project, model).outcomes == {"passed": 1}


def test_only_a_test_that_passed_and_used_a_model_has_a_cassette(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import pytest
        from agent import ask

        def test_passed(agent_trace):
            ask("passed")

        def test_used_no_model(agent_trace):
            assert len(agent_trace.model_calls) == 0

        def test_skipped(agent_trace):
            ask("skipped")
            pytest.skip()

        @pytest.mark.skip
        def test_skipped_at_once(agent_trace):
            ask("skipped")

        def test_failed(agent_trace):
            ask("failed")
            assert False

        @pytest.fixture
        def broken(agent_trace):
            ask("broken")
            raise RuntimeError

        def test_broken_setup(broken):
            pass

        @pytest.fixture
        def broken_later():
            yield
            ask("broken later")
            raise RuntimeError

        def test_broken_teardown(agent_trace, broken_later):
            ask("before")
        """,
    )
    result = run(project, scripted_model(echo))
    assert result.outcomes == {"failed": 1, "passed": 3, "skipped": 2, "errors": 2}
    assert cassettes(project) == ["cassettes/test_shop/test_passed.yaml"]
    assert [Path(draft).stem for draft in drafts(project)] == [
        "test_broken_setup",
        "test_broken_teardown",
        "test_failed",
        "test_skipped",
    ]


def test_what_fixtures_ask_before_and_after_a_test_belongs_to_it(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import os
        import pytest
        from agent import ask

        @pytest.fixture
        def around():
            ask("set up")
            yield
            ask(os.environ["LAST"])

        def test_order(around, agent_trace):
            ask("test")
            assert [call.messages[0].content for call in agent_trace.model_calls] == ["set up", "test"]
        """,
    )
    model = scripted_model(echo)
    assert run(project, model, LAST="tear down").outcomes == {"passed": 1}
    tape = load(project.path / "cassettes/test_shop/test_order.yaml")
    assert (len(tape.exchanges), tape.teardown) == (3, 3)
    assert run(project, model, LAST="tear down").outcomes == {"passed": 1}
    result = run(project, model, LAST="something else")
    assert result.outcomes == {"passed": 1, "errors": 1}
    assert "no recorded reply for this request" in report(result, "ERRORS")
    assert len(model.requests) == 3


def test_a_failing_test_shows_its_trajectory(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        from agent import CLIENT, URL, body

        def test_order(agent_trace):
            reply = CLIENT.post(URL, json=body("Where is order 42?")).json()["choices"][0]["message"]
            result = {"role": "tool", "tool_call_id": reply["tool_calls"][0]["id"], "content": "shipped"}
            messages = [*body("Where is order 42?")["messages"], reply, result]
            CLIENT.post(URL, json={"model": "gpt-5-mini", "messages": messages})
            assert agent_trace.trajectory == ["get_order", "refund"]
        """,
    )
    model = scripted_model(Asks(ToolRequest("get_order", {"id": 42})), Says("It has shipped."))
    result = run(project, model)
    assert report(result, "agentops").splitlines() == [
        "2 model calls, 1 tool call, 14 tokens, no known price, 0.0 s, live",
        "  step 0  gpt-5-mini · 4 in, 2 out · 0.0 s",
        '    get_order(id=42) -> "shipped"',
        "  step 1  gpt-5-mini · 5 in, 3 out · 0.0 s",
        "    'It has shipped.'",
        "this run is kept as a draft: the next run reuses its replies and pays only for what is new",
        "to ask the model again: pytest test_shop.py::test_order --agentops-record=all",
    ]


# --- kinds of tests --------------------------------------------------------------------------------------------------


def test_a_cassette_is_named_after_its_test(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "sub/test_shop.py",
        """
        import sys
        sys.path.insert(0, ".")
        import pytest
        from agent import ask

        LONG = pytest.param("long", id="x" * 200)

        @pytest.mark.parametrize("text", ["a/b", "a.b", "a::b", "50%", "..", "a b", "größe", LONG, "con:|?*<>"])
        def test_odd(agent_trace, text):
            ask(text)

        class TestOrder:
            class TestInner:
                def test_it(self, agent_trace):
                    ask("inner")

        def test_größe(agent_trace):
            ask("größe")
        """,
    )
    model = scripted_model(echo)
    assert run(project, model).outcomes == {"passed": 11}
    assert len(model.requests) == 11
    assert run(project, model, "--agentops-record=none").outcomes == {"passed": 11}
    names = [name.removeprefix("sub/cassettes/test_shop/") for name in cassettes(project)]
    long = next(name for name in names if "xxx" in name)
    assert re.fullmatch(r"test_odd\[x{98}-[0-9a-f]{12}\.yaml", long)
    assert sorted(names) == sorted(
        [
            "TestOrder.TestInner.test_it.yaml",
            "test_größe.yaml",
            "test_odd[..].yaml",
            "test_odd[50%25].yaml",
            "test_odd[a b].yaml",
            "test_odd[a%2Fb].yaml",
            "test_odd[a%3A%3Ab].yaml",
            "test_odd[a.b].yaml",
            "test_odd[con%3A%7C%3F%2A%3C%3E].yaml",
            "test_odd[gr%5Cxf6%5Cxdfe].yaml",
            long,
        ]
    )


def test_unittest_classes_may_carry_the_marker(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import os, unittest
        import pytest
        from agent import ask

        @pytest.mark.agentops
        class OrderTest(unittest.TestCase):
            def setUp(self):
                ask("set up")

            def test_order(self):
                self.assertEqual(ask("one"), "re: one")

            def test_failing(self):
                ask("two")
                self.fail("on purpose")

            def test_swallowed(self):
                try:
                    ask(os.environ["LAST"])
                except Exception:
                    pass
        """,
    )
    model = scripted_model(echo)
    assert run(project, model, LAST="three").outcomes == {"failed": 1, "passed": 2}
    assert cassettes(project) == [
        "cassettes/test_shop/OrderTest.test_order.yaml",
        "cassettes/test_shop/OrderTest.test_swallowed.yaml",
    ]
    result = run(project, model, LAST="four")
    assert result.outcomes == {"failed": 2, "passed": 1}
    assert "no recorded reply for this request" in result.stdout
    assert len(model.requests) == 6


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["function", "session"])
def test_tests_of_pytest_asyncio_record_and_replay(scope: str, project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        f"""
        import asyncio
        import httpx2, pytest, pytest_asyncio
        from agent import URL, ask, ask_async, body, said

        pytestmark = pytest.mark.asyncio(loop_scope="{scope}")

        @pytest_asyncio.fixture(scope="{scope}", loop_scope="{scope}")
        async def client():
            async with httpx2.AsyncClient() as client:
                yield client

        @pytest_asyncio.fixture(loop_scope="{scope}")
        async def greeting():
            return await ask_async("greeting")

        @pytest.mark.parametrize("name", ["a", "b"])
        async def test_order(agent_trace, client, greeting, name):
            assert greeting == "re: greeting"
            answers = await asyncio.gather(*(ask_async(f"{{name}} {{number}}") for number in range(5)))
            assert answers == [f"re: {{name}} {{number}}" for number in range(5)]
            assert said(await client.post(URL, json=body(name))) == f"re: {{name}}"
            assert await asyncio.create_task(ask_async("task")) == "re: task"
            assert await asyncio.to_thread(ask, "thread") == "re: thread"
            assert len(agent_trace.model_calls) == 9

        async def test_swallowed(agent_trace):
            import os
            try:
                await ask_async(os.environ["LAST"])
            except Exception:
                pass
        """,
    )
    with ScriptedModel(echo) as model:
        first = run(project, model, "-p", "asyncio", LAST="one")
        assert first.outcomes == {"passed": 3}, first.stdout
    assert run(project, model, "-p", "asyncio", LAST="two").outcomes == {"failed": 1, "passed": 2}
    assert cassettes(project) == [
        "cassettes/test_shop/test_order[a].yaml",
        "cassettes/test_shop/test_order[b].yaml",
        "cassettes/test_shop/test_swallowed.yaml",
    ]


def test_tests_of_anyio_record_and_replay(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import anyio, anyio.to_thread, httpx2, pytest
        from agent import URL, ask, ask_async, body, said

        pytestmark = pytest.mark.anyio

        @pytest.fixture(scope="module")
        def anyio_backend():
            return "asyncio"

        @pytest.fixture(scope="module")
        async def client():
            async with httpx2.AsyncClient() as client:
                yield client

        @pytest.mark.parametrize("name", ["a", "b"])
        async def test_order(agent_trace, client, name):
            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(ask_async, f"{name} {number}")
            assert said(await client.post(URL, json=body(name))) == f"re: {name}"
            assert await anyio.to_thread.run_sync(ask, "thread") == "re: thread"
            assert len(agent_trace.model_calls) == 7
        """,
    )
    with ScriptedModel(echo) as model:
        first = run(project, model, "-p", "anyio")
        assert first.outcomes == {"passed": 2}, first.stdout
    assert run(project, model, "-p", "anyio").outcomes == {"passed": 2}


@pytest.mark.slow
def test_the_real_client_replays_without_a_key(project: TinyProject) -> None:
    project.write(
        "test_shop.py",
        """
        import os
        from openai import OpenAI

        def test_order(agent_trace):
            with OpenAI(base_url=os.environ["MODEL_URL"]) as client:
                messages = [{"role": "user", "content": "Where is it?"}]
                reply = client.chat.completions.create(model="gpt-5-mini", messages=messages)
            assert reply.choices[0].message.content == agent_trace.response == "re: Where is it?"
        """,
    )
    with ScriptedModel(echo) as model:
        assert run(project, model, OPENAI_API_KEY="sk-0123456789abcdef0123456789").outcomes == {"passed": 1}
    assert run(project, model, CI="true").outcomes == {"passed": 1}
    assert "0123456789abcdef" not in (project.path / "cassettes/test_shop/test_order.yaml").read_text()


def test_a_thread_that_outlives_its_test_does_not_disturb_the_next(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import threading
        from agent import ask

        go, seen = threading.Event(), []

        def late():
            go.wait(20)
            try:
                ask("too late")
            except Exception as error:
                seen.append(type(error).__name__)

        thread = threading.Thread(target=late)

        def test_first(agent_trace):
            thread.start()
            ask("first")

        def test_second(agent_trace):
            go.set()
            thread.join()
            ask("second")
            assert seen == ["StrayRequest"]
            assert len(agent_trace.model_calls) == 1
        """,
    )
    model = scripted_model(echo)
    for _ in range(2):
        assert run(project, model).outcomes == {"passed": 2}
    assert [request.prompt for request in model.requests] == ["first", "second"]


# --- with other plugins ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_workers_of_xdist_hand_their_figures_to_one_summary(project: TinyProject) -> None:
    project.write(
        "test_shop.py",
        """
        import pytest
        from agent import ask

        @pytest.mark.parametrize("number", range(6))
        def test_order(agent_trace, number):
            ask(f"question {number}")
        """,
    )
    with ScriptedModel(echo) as model:
        first = run(project, model, "-p", "xdist", "-n", "2")
        assert len(model.requests) == 6
    assert first.outcomes == {"passed": 6}
    assert summary(first) == [
        "agentops: 6 model calls, 30 tokens, no known price for gpt-5-mini (live, 6 cassettes written)"
    ]


def test_we_add_nothing_but_options_of_our_own_name(project: TinyProject) -> None:
    with_us, without = project.run("--help").lines, replace(project, plugins=()).run("--help").lines
    ours = [line for line in with_us if line not in without]
    assert [line for line in without if line not in with_us] == []
    options = [word for line in ours for word in re.findall(r"(?<!\S)-[-\w]+", line)]
    assert options
    assert {option for option in options if not option.startswith("--agentops-")} == set()


def test_a_project_that_does_not_use_us_sees_no_line_of_ours(project: TinyProject) -> None:
    project.write("test_plain.py", "def test_passes():\n    pass\n\ndef test_fails():\n    assert [1] == [2]\n")
    with_us = run(project)
    without = replace(project, plugins=()).run("-q")
    timeless = [re.sub(r"in \d+\.\d+s", "in 0.00s", result.stdout) for result in (with_us, without)]
    assert timeless[0] == timeless[1]
    assert sorted(path.name for path in project.path.iterdir() if not path.name.startswith((".pytest", "__"))) == [
        "agent.py",
        "pyproject.toml",
        "test_plain.py",
    ]


@pytest.mark.slow
def test_one_run_may_use_every_neighbour_at_once(project: TinyProject) -> None:
    """pytest-recording, xdist, pytest-asyncio, anyio, randomly and syrupy, all loaded, and all used."""
    project.write("pyproject.toml", '[tool.pytest.ini_options]\nasyncio_mode = "strict"\n')
    project.write(
        "test_shop.py",
        """
        import random
        import pytest
        from agent import ask, ask_async

        def test_ours(agent_trace):
            assert ask("ours") == "re: ours"

        def test_ours_with_a_snapshot(agent_trace, snapshot):
            ask("snapshot")
            assert agent_trace.response == snapshot

        @pytest.mark.asyncio
        async def test_ours_with_asyncio(agent_trace):
            assert await ask_async("asyncio") == "re: asyncio"

        @pytest.mark.anyio
        async def test_ours_with_anyio(agent_trace, anyio_backend):
            assert await ask_async("anyio") == "re: anyio"

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        def test_ours_with_randomness(agent_trace):
            assert ask(f"random {random.random()}").startswith("re: random 0.")

        @pytest.mark.vcr
        def test_theirs():
            assert ask("theirs") == "re: theirs"
        """,
    )
    project = replace(project, plugins=None)
    with ScriptedModel(echo) as model:
        where = {"MODEL_URL": model.base_url}
        first = project.run("-q", "-n", "1", "--record-mode=once", "--randomly-seed=7", "--snapshot-update", env=where)
        assert first.outcomes == {"passed": 6}, first.stdout
    second = project.run("-q", "-n", "1", "--record-mode=none", "--block-network", "--allowed-hosts=nobody.test",
                         "--randomly-seed=7", env=where)  # fmt: skip
    assert second.outcomes == {"passed": 6}, second.stdout
    assert summary(second) == ["agentops: 5 model calls, 17 tokens, no known price for gpt-5-mini (replayed)"]


SHARED = """
    import pytest
    import pytest_asyncio
    from agent import ask, ask_async

    @pytest.fixture(scope="session")
    def summary():
        yield ask("summarise")
        ask("good bye")

    @pytest_asyncio.fixture(scope="module", loop_scope="module")
    async def greeting():
        return await ask_async("greet")

    @pytest.fixture(scope="session", params=["en", "de"])
    def language(request):
        return ask(f"speak {request.param}")
"""


@pytest.mark.slow
def test_what_a_shared_fixture_asks_has_a_cassette_of_its_own(project: TinyProject, scripted_model: Start) -> None:
    """Whichever test comes first: each is replayed alone afterwards."""
    project.write("conftest.py", SHARED)
    project.write(
        "test_shop.py",
        """
        import pytest
        from agent import ask

        def asked(trace):
            return [call.messages[-1].content for call in trace.model_calls]

        def test_one(agent_trace, summary):
            ask("one")
            assert asked(agent_trace) == ["one"]

        def test_two(agent_trace, summary, language):
            ask("two")
            assert asked(agent_trace) == ["two"]

        @pytest.mark.asyncio
        async def test_three(agent_trace, greeting, summary):
            ask("three")
            assert asked(agent_trace) == ["three"]
        """,
    )
    model = scripted_model(echo)

    first = run(project, model, "-p", "asyncio")
    assert first.outcomes == {"passed": 4}, first.stdout
    assert len(model.requests) == 4 + 5
    model.close()
    for test in ("test_one", "test_two", "test_three"):
        alone = run(project, None, "-p", "asyncio", "--agentops-record=none", f"test_shop.py::{test}")
        assert alone.exit_code == 0, alone.stdout
    assert [name for name in cassettes(project) if "fixtures" in name] == [
        "cassettes/conftest/fixtures/greeting.yaml",
        "cassettes/conftest/fixtures/language[0].yaml",
        "cassettes/conftest/fixtures/language[1].yaml",
        "cassettes/conftest/fixtures/summary.yaml",
    ]
    [asked, bye] = load(project.path / "cassettes/conftest/fixtures/summary.yaml").exchanges
    assert (asked.request.json["messages"][0]["content"], bye.request.json["messages"][0]["content"]) == (
        "summarise",
        "good bye",
    )


def test_a_miss_in_a_shared_fixture_is_an_error_even_when_swallowed(project: TinyProject) -> None:
    project.write(
        "test_shop.py",
        """
        import pytest
        from agent import ask

        @pytest.fixture(scope="module")
        def summary():
            try:
                return ask("summarise")
            except Exception:
                return "nothing"

        def test_one(agent_trace, summary):
            pass
        """,
    )

    result = run(project, None, "--agentops-record=none")

    assert result.outcomes == {"errors": 1}
    assert "cassettes/test_shop/fixtures/summary.yaml does not exist" in result.stdout


def test_a_miss_is_not_the_failure_that_an_xfail_expects(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import pytest
        from agent import ask

        @pytest.mark.xfail(strict=True)
        def test_known_fault(agent_trace):
            assert ask("hello") == "the right answer"
        """,
    )

    missed = run(project, None, "--agentops-record=none")
    recorded = run(project, scripted_model(echo))
    replayed = run(project, None, "--agentops-record=none")

    assert missed.outcomes == {"failed": 1}
    assert "no recorded reply for this request" in missed.stdout
    assert (recorded.outcomes, replayed.outcomes) == ({"xfailed": 1}, {"xfailed": 1})


def test_ctrl_c_keeps_what_was_paid_for_as_a_draft(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import os
        from agent import ask

        def test_long(agent_trace):
            ask("first")
            if os.environ.get("INTERRUPTED"):
                raise KeyboardInterrupt
            ask("second")
        """,
    )
    model = scripted_model(echo)

    interrupted = run(project, model, INTERRUPTED="1")
    finished = run(project, model)

    assert interrupted.exit_code == 2
    assert finished.outcomes == {"passed": 1}
    assert [request.prompt for request in model.requests] == ["first", "second"]


# --- what could not have failed --------------------------------------------------------------------------------------


def test_what_held_without_having_been_put_to_the_test_is_listed(project):
    project.write(
        "test_it.py",
        """
        from agent import ask
        from pytest_agentops import before, never

        def test_it(agent_trace):
            ask("hello")
            assert agent_trace.trajectory == never("wipe")
            assert agent_trace.trajectory == before("a", "b")
        """,
    )
    with ScriptedModel(echo) as model:
        run = project.run(env={"MODEL_URL": model.base_url})

    assert run.outcomes == {"passed": 1}
    assert [line for line in run.stdout.splitlines() if "no model was offered" in line] == [
        "agentops: test_it.py::test_it: never('wipe') could not have failed: no model was offered any tool",
        "agentops: test_it.py::test_it: before('a', 'b') holds since 'b' was never called: no model was offered a tool 'b'",
    ]


# --- the whole story -------------------------------------------------------------------------------------------------


def test_a_comparison_that_failed_stands_side_by_side_in_our_section(project):
    project.write(
        "test_it.py",
        """
        from pytest_agentops import call, never
        from pytest_agentops.trace import ModelCall, ToolCall, Trace
        import pytest

        LOOKS = [ToolCall("look", {"page": page}, step=page) for page in range(20)]
        LAST = ToolCall("pay", {"amount": 3}, step=20)
        CALLS = [ModelCall(str(call.step), "openai", "m", tool_calls=(call,)) for call in [*LOOKS, LAST]]
        TRACE = Trace(tuple(CALLS), exchanges=21)

        @pytest.mark.agentops
        def test_aligned():
            assert TRACE.trajectory == [*["look"] * 10, "ask", *["look"] * 10, call("pay", amount=4)]

        @pytest.mark.agentops
        def test_short():
            assert TRACE.trajectory == never("pay")
        """,
    )

    run = project.run()

    assert run.outcomes == {"failed": 2}
    assert run.stdout.count("agentops: the comparison") == 1
    told = run.stdout.partition("agentops: the comparison")[2].splitlines()[1:]
    assert told[1:12] == [
        "  calls: 20 as expected, 1 missing, 1 with other arguments",
        "    expected               actual",
        "    'look'                 look(page=0)  (step 0)",
        "    'look'                 look(page=1)  (step 1)",
        "    ... 6 more as expected",
        "    'look'                 look(page=8)  (step 8)",
        "    'look'                 look(page=9)  (step 9)",
        "  - 'ask'",
        "    'look'                 look(page=10)  (step 10)",
        "    'look'                 look(page=11)  (step 11)",
        "    ... 6 more as expected",
    ]
