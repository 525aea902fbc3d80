"""What a run may use, checked at its end and held while it is live."""

from __future__ import annotations

import pytest

from pytest_agentops.testing import Fails, Says, ScriptedModel, TinyProject
from tests.test_plugin import AGENT, echo, run

TEST = """
    import pytest
    from agent import ask

    @pytest.mark.agentops(budget={budget})
    def test_it():
        for number in range(4):
            try:
                ask(f"question {{number}}")
            except Exception as error:
                print("stopped", number, type(error).__name__)
"""


@pytest.fixture
def project(tiny_project: TinyProject) -> TinyProject:
    tiny_project.write("agent.py", AGENT)
    return tiny_project


def test_a_live_run_is_stopped_before_the_call_that_would_go_over(project):
    project.write("test_it.py", TEST.format(budget={"steps": 2}))
    with ScriptedModel(echo) as model:
        result = run(project, model)
        asked = len(model.requests)

    assert result.outcomes == {"failed": 1}
    assert asked == 2
    assert "stopped 2 BudgetExceeded" in result.stdout
    assert (
        "the next model call was stopped: it would go over the budget\n"
        "  steps    2 used of 2\n"
        "  to allow more: budget={...} in the test's @pytest.mark.agentops\n"
    ) in result.stdout


def test_a_replay_is_checked_at_its_end(project):
    project.write("test_it.py", TEST.format(budget={"steps": 4}))
    with ScriptedModel(echo) as model:
        assert run(project, model).outcomes == {"passed": 1}
    project.write("test_it.py", TEST.format(budget={"steps": 3, "tokens": 100_000}))
    result = run(project, None, "--agentops-record=none")

    assert result.outcomes == {"failed": 1}
    assert "this run is over its budget\n  steps    4 used of 3\n" in result.stdout


def test_a_price_that_is_not_known_is_told(project):
    project.write("agent.py", AGENT.replace("gpt-5-mini", "nobody-knows-me"))
    project.write("test_it.py", TEST.format(budget={"usd": 1}))
    with ScriptedModel(echo) as model:
        result = run(project, model)

    assert result.outcomes == {"failed": 1}
    assert "the budget of this test cannot be held: " in result.stdout


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({"dollars": 1}, "test_it.py::test_it: a budget has no 'dollars'; there are: usd, tokens, steps, seconds"),
        ({"token": 1}, "test_it.py::test_it: a budget has no 'token'; did you mean 'tokens'?; there are: usd,"),
        ({"steps": 0}, "test_it.py::test_it: a budget's steps is a positive number, not 0"),
        (3, "test_it.py::test_it: a budget is a mapping of usd, tokens, steps, seconds to bounds, not 3"),
    ],
)
def test_a_budget_that_means_nothing_is_a_usage_error(project, budget, told):
    project.write("test_it.py", TEST.format(budget=budget))
    result = run(project)

    assert told in result.stdout + result.stderr
    assert "passed" not in result.stdout


def test_calls_under_way_count_as_steps(project):
    project.write(
        "test_it.py",
        """
        import asyncio

        import pytest
        from agent import ask_async

        @pytest.mark.agentops(budget={"steps": 2})
        def test_it():
            async def together():
                asked = [ask_async(f"question {number}") for number in range(6)]
                print([type(each).__name__ for each in await asyncio.gather(*asked, return_exceptions=True)])
            asyncio.run(together())
        """,
    )
    with ScriptedModel(echo) as model:
        result = run(project, model)
        asked = len(model.requests)

    assert result.outcomes == {"failed": 1}
    assert asked == 2
    assert result.stdout.count("'BudgetExceeded'") == 4


def test_a_call_that_is_tried_again_is_one_step(project):
    project.write(
        "test_it.py",
        """
        import os

        import pytest
        from openai import OpenAI

        @pytest.mark.agentops(budget={"steps": 1})
        def test_it():
            with OpenAI(base_url=os.environ["MODEL_URL"], api_key="any", max_retries=2) as client:
                messages = [{"role": "user", "content": "hello"}]
                client.chat.completions.create(model="gpt-5-mini", messages=messages)
        """,
    )
    with ScriptedModel(Fails(500), Says("hi")) as model:
        result = run(project, model)
        asked = len(model.requests)

    assert result.outcomes == {"passed": 1}
    assert asked == 2


def test_a_stop_that_the_agent_lets_through_is_told_without_the_frames_of_the_client(project):
    project.write(
        "test_it.py",
        """
        import pytest
        from agent import ask

        @pytest.mark.agentops(budget={"steps": 1})
        def test_it():
            ask("one")
            ask("two")
        """,
    )
    with ScriptedModel(echo) as model:
        result = run(project, model)

    assert result.outcomes == {"failed": 1}
    assert "the next model call was stopped: it would go over the budget" in result.section("FAILURES")
    assert "httpcore2" not in result.stdout
