"""`pytest-agentops init`, and that what it writes can be run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pytest_agentops.cli.init import GITHUB, GITLAB
from pytest_agentops.testing import CommandRun, Says, ScriptedModel, TinyProject
from tests.test_plugin import AGENT
from tests.test_repository import House


def typed(project: TinyProject, *arguments: str) -> CommandRun:
    return project.command(sys.executable, "-m", "pytest_agentops.cli", *arguments)


def test_a_plan_is_shown_and_then_done_and_nothing_is_overwritten(tiny_project):
    House(tiny_project.path)
    shown = typed(tiny_project, "init", "--github")
    assert "would write:" in shown.stdout
    assert not (tiny_project.path / "prompts").exists()

    done = typed(tiny_project, "init", "--github", "--gitlab", "--yes")

    assert done.stdout.count("written:") == 3
    assert (tiny_project.path / ".github/workflows/agents.yaml").read_text() == GITHUB
    assert typed(tiny_project, "prompts", "lock").exit_code == 0
    assert typed(tiny_project, "prompts", "lint", "--strict").exit_code == 0
    (tiny_project.path / "agents.gitlab-ci.yml").write_text("mine")
    again = typed(tiny_project, "init", "--github", "--gitlab", "--yes")
    assert "agents.gitlab-ci.yml is there already and stays as it is" in again.stdout
    assert "nothing to do" in again.stdout
    assert (tiny_project.path / "agents.gitlab-ci.yml").read_text() == "mine"


def steps() -> list[str]:
    """The commands of the workflow that are ours, as a shell runs them."""
    job = yaml.safe_load(GITHUB)["jobs"]["agents"]
    return [step["run"] for step in job["steps"] if re.match(r"pytest", step.get("run", ""))]


def test_both_files_are_yaml_and_say_the_same():
    ours = [line.split("  #")[0] for line in yaml.safe_load(GITLAB)["agents"]["script"] if line.startswith("pytest")]

    assert [line.split("  #")[0] for line in steps()[:3]] == ours


@pytest.fixture
def house(tiny_project: TinyProject) -> House:
    house = House(tiny_project.path)
    tiny_project.write("agent.py", AGENT)
    tiny_project.write(
        "test_it.py",
        """
        from agent import ask

        def test_it(agent_trace, prompts):
            assert ask(prompts["a"].render(q="x")).startswith("re: ")
        """,
    )
    house.prompt("1.0.0", "user:\n{{ q }}{# one #}", more="inputs: {q: {kind: string}}\n")
    house.locked()
    with ScriptedModel(lambda request: Says(f"re: {request.prompt}")) as model:
        tiny_project.run(env={"MODEL_URL": model.base_url})
    house.commit("main")
    house.git("checkout", "-q", "-b", "work")
    return house


def run_steps(house: House) -> list[int]:
    """What each command of the workflow exits with, in a shell."""
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "BASE": "main", "GITHUB_STEP_SUMMARY": "summary.md", "PATH": tools, "CI": "true"}
    return [
        subprocess.run(["bash", "-eo", "pipefail", "-c", step], cwd=house.root, env=env, check=False).returncode
        for step in steps()
    ]


def test_a_harmless_change_is_green_and_runs_nothing(house):
    house.prompt("1.0.1", "user:\n{{ q }}{# two #}", more="inputs: {q: {kind: string}}\n")
    house.locked()
    house.commit("a comment")

    codes = run_steps(house)

    assert codes == [0, 0, 0, 0]
    assert "### Behaviour of the agents: the same" in (house.root / "summary.md").read_text()


def test_a_change_that_was_neither_bumped_nor_recorded_is_red(house):
    house.prompt("1.0.0", "user:\nPlease: {{ q }}", more="inputs: {q: {kind: string}}\n")
    house.commit("please")

    assert run_steps(house) == [0, 1, 1, 0]
