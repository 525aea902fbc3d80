"""A prompt is changed in a pull request: bump, record, commit, the run in CI, its report, the gate. All of it for real:
a bare remote, clones of it, a shallow one too, and pytest in processes of its own. Only the model is scripted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_agentops.testing import CommandRun, PytestRun, Reply, Says, ScriptedModel, ScriptedRequest, TinyProject
from tests.test_plugin import AGENT
from tests.test_repository import House

PYPROJECT = """\
[tool.agentops.gate]
regressed = "== 0"
pass_rate = ">= 0.7"
token_increase = "<= 50%"
"""

TESTS = """
    import pytest
    from agent import ask

    @pytest.mark.parametrize("ticket", ["I was charged twice", "My lamp is broken"])
    def test_triage(agent_trace, prompts, ticket):
        answer = ask(prompts["support/triage"].render(company="ACME", ticket=ticket))

        assert answer in ("billing", "tech")

    def test_greeting(agent_trace, prompts):
        assert ask(prompts["support/greeting"].render(name="Ada")) == "Hello!"
"""

TRIAGE = """\
---
name: support/triage
version: 1.3.0
inputs:
  company: {{kind: string, trust: trusted}}
  ticket: {{kind: string, trust: trusted}}
---
user:
You are the support of {{{{ company }}}}. {body}
{{% if company == "Initech" %}}Mention the printer.{{% endif %}}
{{{{ ticket }}}}
"""

GREETING = """\
---
name: support/greeting
version: 1.0.0
inputs: {name: {kind: string}}
---
user:
Greet {{ name }}.
"""


def model(request: ScriptedRequest) -> Reply:
    """Does what it is told, as long as it is told."""
    if "Greet" in request.prompt:
        return Says("Hello!")
    if "one word" not in request.prompt:
        return Says("It is hard to say. Perhaps billing?")
    return Says("billing" if "charged" in request.prompt else "tech")


class Clone(House):
    """A clone of the remote, and what people type in it."""

    @classmethod
    def of(cls, remote: Path, root: Path, *options: str) -> Clone:
        root.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "clone", "-q", *options, f"file://{remote}", str(root)], check=True, capture_output=True)
        return cls(root)

    def pytest(self, *arguments: str, url: str = "") -> PytestRun:
        env = {"MODEL_URL": url} if url else {"CI": "true"}
        return TinyProject(self.root, plugins=("agentops",)).run("--agentops-trials=5", *arguments, env=env)

    def typed(self, *arguments: str) -> CommandRun:
        return TinyProject(self.root, plugins=("agentops",)).command(
            sys.executable, "-m", "pytest_agentops", *arguments
        )

    def triage(self, body: str) -> None:
        text = TRIAGE.format(body=body)
        current = self.folder / "support/triage.prompty"
        if current.exists():
            version = next(line for line in current.read_text().splitlines() if line.startswith("version:"))
            text = text.replace("version: 1.3.0", version)
        self.write("support/triage.prompty", text)

    def check(self) -> tuple[PytestRun, dict[str, object]]:
        """What the workflow of a pull request runs."""
        run = self.pytest(
            "--agentops-impacted",
            "--agentops-base=origin/main",
            *(f"--agentops-report=report.{kind}" for kind in ("md", "html", "json")),
        )
        return run, json.loads((self.root / "report.json").read_text())


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare repository whose main branch has recorded tests."""
    folder = tmp_path_factory.mktemp("story")
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(folder / "origin.git")], check=True)
    first = Clone.of(folder / "origin.git", folder / "first")
    project = TinyProject(first.root, plugins=("agentops",))
    project.write("agent.py", AGENT)
    project.write("test_support.py", TESTS)
    (first.root / "pyproject.toml").write_text(PYPROJECT)
    (first.root / ".gitignore").write_text("report.*\n__pycache__/\n")
    first.triage("Answer in one word: billing or tech.")
    first.write("support/greeting.prompty", GREETING)
    with ScriptedModel(model) as scripted:
        assert first.pytest(url=scripted.base_url).outcomes == {"passed": 15}
    assert first.typed("prompts", "lock").exit_code == 0
    first.commit("Support")
    first.git("push", "-q", "origin", "HEAD:main")
    return folder / "origin.git"


@pytest.fixture
def remote(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin, tmp_path / "origin.git"))


def branched(remote: Path, tmp_path: Path, body: str, *, bump: bool = True, record: bool = True) -> str:
    """Somebody changes the prompt on a branch, bumps, records and pushes; gives the branch."""
    dev = Clone.of(remote, tmp_path / "dev")
    dev.git("checkout", "-q", "-b", "topic")
    dev.triage(body)
    if bump:
        assert dev.typed("prompts", "bump", "support/triage", "--message", "Other words", "--yes").exit_code == 0
        assert dev.typed("prompts", "check", "--base", "origin/main").exit_code == 0
    if record:
        with ScriptedModel(model) as scripted:
            dev.pytest("--agentops-record=changed", url=scripted.base_url)
    dev.commit("Triage otherwise")
    dev.git("push", "-q", "origin", "topic")
    return "topic"


def ci(remote: Path, tmp_path: Path, branch: str = "topic", *options: str) -> Clone:
    return Clone.of(remote, tmp_path / "ci" / "work", "--branch", branch, *options)


@pytest.mark.slow
def test_a_harmless_change_stays_green(remote, tmp_path):
    branched(remote, tmp_path, "Reply with exactly one word: billing or tech.")
    work = ci(remote, tmp_path)

    run, report = work.check()

    assert run.exit_code == 0
    assert run.outcomes == {"passed": 10, "deselected": 5}
    assert report["gated"] == "passed"
    assert {case["name"]: case["verdict"] for case in report["cases"]} == {
        "test_support.py::test_greeting": "same",
        "test_support.py::test_triage[I was charged twice]": "same",
        "test_support.py::test_triage[My lamp is broken]": "same",
    }
    assert [(each["old"], each["new"], each["level"]) for each in report["prompts"]] == [("1.3.0", "1.4.0", "minor")]
    assert work.typed("gate", "report.json").exit_code == 0
    assert work.typed("report", "verify", "report.md").exit_code == 0


@pytest.mark.slow
def test_a_degraded_prompt_turns_the_gate_red(remote, tmp_path):
    branched(remote, tmp_path, "Say where the ticket belongs: billing or tech.")
    work = ci(remote, tmp_path)

    run, report = work.check()

    assert run.exit_code == 1
    assert report["verdict"] == "the gate is closed"
    assert report["counts"]["regressed"] == 2
    gated = work.typed("gate", "report.json")
    assert gated.exit_code == 1
    assert "gate failed    regressed == 0: 2" in gated.stdout
    told = (work.root / "report.md").read_text()
    assert told.startswith("<!-- pytest-agentops -->\n### Behaviour of the agents: the gate is closed\n")
    assert "5 of 5 passed" in told
    assert "[-Answer-]{+Say+}" in told
    assert "not run: 1 that the change does not touch" in told
    # The same from cassettes alone, without a run.
    assert work.typed("compare", "origin/main", "HEAD", "--strict").exit_code == 1


@pytest.mark.slow
def test_a_refactoring_with_equal_renders_runs_nothing(remote, tmp_path):
    branched(remote, tmp_path, "Answer in one word: billing or tech.{# nobody else reads this #}", record=False)
    work = ci(remote, tmp_path)

    run, report = work.check()

    assert (run.exit_code, run.outcomes) == (0, {"deselected": 15})
    assert report["counts"]["same"] == 3
    assert report["gated"] == "passed"


@pytest.mark.slow
def test_a_change_without_new_recordings_is_red_and_says_what_to_type(remote, tmp_path):
    branched(remote, tmp_path, "Reply with exactly one word: billing or tech.", record=False)
    work = ci(remote, tmp_path)

    run, report = work.check()

    assert run.exit_code == 1
    assert report["counts"]["not comparable"] == 2
    assert "made with support/triage 1.3.0; now 1.4.0" in run.stdout
    command = "pytest 'test_support.py::test_triage[I was charged twice]' --agentops-trials=5 --agentops-record=changed"
    assert command in run.stdout


@pytest.mark.slow
def test_a_shallow_clone_says_what_to_fetch_and_works_once_it_is(remote, tmp_path):
    branched(remote, tmp_path, "Reply with exactly one word: billing or tech.")
    work = ci(remote, tmp_path, "topic", "--depth=1")

    shallow = work.pytest("--agentops-impacted", "--agentops-base=origin/main")
    assert shallow.exit_code == 4
    assert "there is no commit 'origin/main'" in shallow.stderr
    assert "this clone is shallow" in shallow.stderr
    assert "git fetch --unshallow" in shallow.stderr
    unnamed = work.pytest("--agentops-report=report.json")
    assert "there is nothing to compare with: " in unnamed.stdout
    assert work.typed("gate", "report.json").exit_code == 1

    work.git("fetch", "-q", "--unshallow", "origin", "+refs/heads/*:refs/remotes/origin/*")
    run, report = work.check()

    assert (run.exit_code, report["gated"]) == (0, "passed")
