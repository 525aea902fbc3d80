"""Prompts at versions inside a pytest run: the marker's `versions`, and `--agentops-ref`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_agentops.testing import Says, ScriptedModel, TinyProject
from pytest_agentops.trace import Trace
from tests.test_plugin import AGENT
from tests.test_repository import House

TEST = """
    import pytest
    from agent import ask

    @pytest.mark.agentops(versions={"a": ["1.0.0", "1.1.0", "worktree"]})
    def test_it(agent_trace, prompts):
        said = ask(prompts["a"].render())
        assert agent_trace.prompts[0].version == prompts["a"].version
        assert said == f"re: {prompts['a'].render()}"
"""


@pytest.fixture
def house(tiny_project: TinyProject) -> House:
    house = House(tiny_project.path)
    tiny_project.write("agent.py", AGENT)
    for version, body in [("1.0.0", "user:\none"), ("1.1.0", "user:\ntwo")]:
        house.prompt(version, body)
        house.commit(version)
    house.prompt("1.2.0", "user:\nthree")
    return house


def echo(request):
    return Says(f"re: {request.prompt}")


def test_a_test_runs_once_with_each_version_and_has_a_cassette_for_each(house, tiny_project):
    tiny_project.write("test_it.py", TEST)
    with ScriptedModel(echo) as model:
        first = tiny_project.run("-v", env={"MODEL_URL": model.base_url})
        asked = sorted(request.prompt for request in model.requests)
    second = tiny_project.run("-v", "-p", "xdist", "-n", "2")

    assert first.outcomes == second.outcomes == {"passed": 3}
    assert asked == ["one", "three", "two"]
    assert sorted(path.name for path in (tiny_project.path / "cassettes/test_it").iterdir()) == [
        "test_it[a@1.0.0].yaml", "test_it[a@1.1.0].yaml", "test_it[a@worktree].yaml",
    ]  # fmt: skip
    trace = Trace.from_cassette(tiny_project.path / "cassettes/test_it/test_it[a@1.1.0].yaml")
    assert {(each.name, each.version) for each in trace.prompts} == {("a", "1.1.0")}


def test_versions_of_several_prompts_make_every_combination(house, tiny_project):
    house.prompt("1.0.0", "user:\nb", name="b")
    tiny_project.write(
        "test_it.py",
        """
        import pytest

        @pytest.mark.agentops(versions={"a": ["1.0.0", "1.1.0"], "b": ["1.0.0", "worktree"]})
        @pytest.mark.parametrize("number", [1, 2])
        def test_it(prompts, number):
            assert prompts["a"].version in ("1.0.0", "1.1.0") and prompts["b"].version == "1.0.0"

        def test_other(prompts):
            assert prompts["a"].version == "1.2.0"
        """,
    )

    assert tiny_project.run().outcomes == {"passed": 9}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("['1.0.0']", "versions names prompts with lists of versions, such as"),
        ("{}", "versions names prompts with lists of versions, such as"),
        ("{'a': '1.0.0'}", "versions names prompts with lists of versions, such as"),
        ("{'a': ['9.9.9']}", "a has no version 9.9.9"),
        ("{'a': ['nope']}", "a has no label 'nope'"),
    ],
)
def test_versions_that_mean_nothing_are_told(house, tiny_project, given, told):
    tiny_project.write(
        "test_it.py",
        f"""
        import pytest

        @pytest.mark.agentops(versions={given})
        def test_it(prompts):
            prompts["a"]
        """,
    )

    run = tiny_project.run()

    assert run.exit_code != 0
    assert told in run.stdout + run.stderr


def test_a_ref_gives_the_prompts_and_cassettes_of_then_and_leaves_the_working_tree_as_it_is(house, tiny_project):
    tiny_project.write(
        "test_it.py",
        """
        from agent import ask

        def test_it(agent_trace, prompts):
            assert ask(prompts["a"].render()).startswith("re: ")
        """,
    )
    with ScriptedModel(echo) as model:
        tiny_project.run(env={"MODEL_URL": model.base_url})
        house.commit("with three")
        house.prompt("1.3.0", "user:\nfour")
        tiny_project.run("--agentops-record=all", env={"MODEL_URL": model.base_url})
        house.commit("with four")
    before = house.git("status", "--porcelain")

    now = tiny_project.run("--agentops-record=none")
    then = tiny_project.run("--agentops-record=none", "--agentops-ref=HEAD~1")
    long_ago = tiny_project.run("--agentops-record=none", "--agentops-ref=HEAD~2")

    assert [each.outcomes for each in (now, then, long_ago)] == [{"passed": 1}, {"passed": 1}, {"failed": 1}]
    assert "does not exist" in long_ago.stdout
    assert house.git("status", "--porcelain") == before


def test_a_ref_that_is_not_there_stops_the_run(house, tiny_project):
    tiny_project.write("test_it.py", "def test_it(agent_trace): pass")

    run = tiny_project.run("--agentops-ref=nope")

    assert run.exit_code == 4
    assert "--agentops-ref: there is no commit 'nope' in" in run.stdout + run.stderr


def test_bisect_finds_the_version_that_broke_a_test(house, tiny_project):
    tiny_project.write(
        "test_it.py",
        """
        from agent import ask

        def test_it(agent_trace, prompts):
            assert ask(prompts["a"].render()) != "re: bad"
        """,
    )
    with ScriptedModel(echo) as model:
        for version, body in [("2.0.0", "good"), ("2.1.0", "fine"), ("2.2.0", "bad"), ("2.3.0", "bad")]:
            house.prompt(version, f"user:\n{body}")
            tiny_project.run("--agentops-record=all", env={"MODEL_URL": model.base_url})
            house.commit(f"{version}\n")
            house.prompt(version, f"user:\n{body}", more=f"description: {version}\n")
    house.git("checkout", "-q", "-f", "main")

    def bisect(*arguments: str):
        command = ("-m", "pytest_agentops", "prompts", "bisect", "test_it.py::test_it", *arguments)
        return tiny_project.command(*_python(), *command)

    found = bisect("--prompt", "a", "--good", "HEAD~3", "--record", "changed")

    assert found.exit_code == 0, found.stdout + found.stderr
    assert found.stdout.splitlines()[-1].startswith("a (2.2.0) broke it: ")
    assert bisect("--prompt", "a", "--good", "HEAD").stderr.startswith(
        "pytest-agentops: no commit between HEAD and HEAD"
    )


def _python() -> list[str]:
    import sys

    return [sys.executable]


def test_a_cassette_of_then_is_kept_where_git_does_not_look(house, tiny_project):
    tiny_project.write("test_it.py", "def test_it(agent_trace): pass")
    house.commit("a test")

    tiny_project.run("--agentops-ref=HEAD")

    assert "?? .agentops" not in house.git("status", "--porcelain")
    assert not list(Path(tiny_project.path).rglob("cassettes"))


def test_a_stale_recording_says_which_prompt_it_was_made_with(house, tiny_project):
    tiny_project.write(
        "test_it.py",
        """
        from agent import ask

        def test_it(agent_trace, prompts):
            ask(prompts["a"].render())
        """,
    )
    house.prompt("1.2.0", "user:\nWhere is the order of this customer, please, and when will it arrive at the door?")
    with ScriptedModel(echo) as model:
        tiny_project.run(env={"MODEL_URL": model.base_url})
    house.prompt("1.3.0", "user:\nWhere is the order of this client, please, and when will it be at the door?")

    run = tiny_project.run("--agentops-record=none")
    house.prompt("1.2.0", "user:\nWhere is the order of this client, please, and when will it be at the door?")
    unbumped = tiny_project.run("--agentops-record=none")

    assert "prompt    made with a 1.2.0; now 1.3.0; 2 words differ in message 0" in run.stdout
    assert "prompt    made with a 1.2.0; now 1.2.0 (not bumped); 2 words differ in message 0" in unbumped.stdout
    assert "to record again: pytest test_it.py::test_it --agentops-record=changed" in run.stdout


def test_the_agents_own_repository_gives_the_versions_too(house, tiny_project):
    tiny_project.write(
        "shop.py",
        """
        from pytest_agentops import PromptRepository

        PROMPTS = PromptRepository("prompts")
        """,
    )
    tiny_project.write(
        "test_it.py",
        """
        import pytest
        from shop import PROMPTS

        @pytest.mark.agentops(versions={"a": ["1.0.0", "1.1.0"]})
        def test_it(request):
            assert PROMPTS["a"].version in request.node.name

        def test_other():
            assert PROMPTS["a"].version == "1.2.0"
        """,
    )

    assert tiny_project.run().outcomes == {"passed": 3}
    house.commit("a test")
    then = tiny_project.run("--agentops-ref=HEAD~1", "-k", "other")
    assert "assert '1.1.0' == '1.2.0'" in then.stdout


def test_versions_are_taken_from_the_nearest_marker_that_names_some(house, tiny_project):
    tiny_project.write(
        "test_it.py",
        """
        import unittest
        import pytest

        @pytest.mark.agentops(versions={"a": ["1.0.0", "1.1.0"]})
        class TestIt:
            @pytest.mark.agentops(record="none")
            def test_it(self, prompts, request):
                assert prompts["a"].version in request.node.name
        """,
    )
    assert tiny_project.run().outcomes == {"passed": 2}
    tiny_project.write(
        "test_it.py",
        """
        import unittest
        import pytest

        @pytest.mark.agentops(versions={"a": ["1.0.0", "1.1.0"]})
        class Case(unittest.TestCase):
            def test_it(self):
                pass
        """,
    )
    run = tiny_project.run()
    assert run.exit_code == 4
    assert "versions= needs a function of pytest's; a unittest.TestCase has none" in run.stdout + run.stderr
