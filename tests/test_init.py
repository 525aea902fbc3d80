"""`pytest-agentops init`, and that what it writes can be run as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from pytest_agentops.cli.init import GITHUB, GITLAB
from pytest_agentops.testing import CommandRun, Says, ScriptedModel, TinyProject
from tests.test_plugin import AGENT
from tests.test_repository import House


def typed(project: TinyProject, *arguments: str) -> CommandRun:
    return project.command(sys.executable, "-m", "pytest_agentops", *arguments)


def test_a_plan_is_shown_and_then_done_and_nothing_is_overwritten(tiny_project):
    House(tiny_project.path)
    shown = typed(tiny_project, "init", "--github")
    assert "would write:" in shown.stdout
    assert not (tiny_project.path / "prompts").exists()

    done = typed(tiny_project, "init", "--github", "--gitlab", "--yes")

    assert done.stdout.count("written:") == 3
    assert (tiny_project.path / ".github/workflows/pr_checks.yaml").read_text() == GITHUB
    assert typed(tiny_project, "prompts", "lock").exit_code == 0
    assert typed(tiny_project, "prompts", "lint", "--strict").exit_code == 0
    (tiny_project.path / "agents.gitlab-ci.yml").write_text("mine")
    again = typed(tiny_project, "init", "--github", "--gitlab", "--yes")
    assert "agents.gitlab-ci.yml is there already and stays as it is" in again.stdout
    assert "nothing to do" in again.stdout
    assert (tiny_project.path / "agents.gitlab-ci.yml").read_text() == "mine"


def steps() -> list[str]:
    """The commands of the workflow that need nothing but our own tools, as a shell runs them."""
    job = yaml.safe_load(GITHUB)["jobs"]["agents"]
    return [step["run"] for step in job["steps"] if re.match(r"pytest|if \[ -f report", step.get("run", ""))]


def comment() -> str:
    """The command that writes the comment."""
    job = yaml.safe_load(GITHUB)["jobs"]["agents"]
    return next(step["run"] for step in job["steps"] if "gh api" in step.get("run", ""))


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
    told = (house.root / "summary.md").read_text()
    assert "### Behaviour of the agents: the same" in told
    assert "not run: 1 that the change does not touch" in told


def test_a_change_that_was_neither_bumped_nor_recorded_is_red(house):
    house.prompt("1.0.0", "user:\nPlease: {{ q }}", more="inputs: {q: {kind: string}}\n")
    house.commit("please")

    assert run_steps(house) == [0, 1, 1, 0]
    assert "its recording does not fit" in (house.root / "summary.md").read_text()


GH = """\
#!{python}
import json, pathlib, sys
arguments = sys.argv[1:]
store = pathlib.Path({store!r})
known = json.loads(store.read_text()) if store.exists() else [{{"id": 7, "body": "LGTM"}}]
if "--jq" in arguments:
    print("\\n".join(str(each["id"]) for each in known if each["body"].startswith("<!-- pytest-agentops -->")))
else:
    body = pathlib.Path(arguments[arguments.index("-F") + 1].removeprefix("body=@")).read_text()
    if "PATCH" in arguments:
        number = int(arguments[arguments.index("PATCH") + 1].rpartition("/")[2])
        known = [{{**each, "body": body}} if each["id"] == number else each for each in known]
    else:
        known.append({{"id": 8, "body": body}})
    store.write_text(json.dumps(known))
"""


def test_the_comment_is_written_once_and_renewed_afterwards(tmp_path):
    """`gh` here is a stand-in that keeps the comments in a file and answers what the script asks."""
    tools, store = tmp_path / "bin", tmp_path / "comments.json"
    tools.mkdir()
    (tools / "gh").write_text(GH.format(python=sys.executable, store=str(store)))
    (tools / "gh").chmod(0o755)
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "GITHUB_REPOSITORY": "o/r", "PULL_REQUEST": "5"}

    for said in (None, "first", "second"):
        if said is not None:
            (tmp_path / "report.md").write_text(f"<!-- pytest-agentops -->\n{said}\n")
        subprocess.run(["bash", "-eo", "pipefail", "-c", comment()], cwd=tmp_path, env=env, check=True)

    assert [each["body"] for each in json.loads(store.read_text())] == ["LGTM", "<!-- pytest-agentops -->\nsecond\n"]


def test_the_note_is_written_once_and_renewed_afterwards(tmp_path):
    notes: list[dict[str, object]] = [{"id": 7, "body": "LGTM"}]

    class Notes(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(notes)

        def do_POST(self) -> None:
            notes.append({"id": 8, **self.read()})
            self.answer(notes[-1])

        def do_PUT(self) -> None:
            assert self.path.endswith("/notes/8")
            notes[-1].update(self.read())
            self.answer(notes[-1])

        def read(self) -> dict[str, object]:
            assert self.headers["PRIVATE-TOKEN"] == "secret"
            return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

        def answer(self, data: object) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(data).encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Notes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    [script] = yaml.safe_load(GITLAB)["agents"]["after_script"]
    env = {
        **os.environ,
        "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}",
        "CI_PROJECT_ID": "1",
        "CI_MERGE_REQUEST_IID": "2",
        "AGENTOPS_NOTES_TOKEN": "secret",
    }
    try:
        for said in ("first", "second"):
            (tmp_path / "report.md").write_text(f"<!-- pytest-agentops -->\n{said}\n")
            subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, check=True)
    finally:
        server.shutdown()
        server.server_close()

    assert [each["body"] for each in notes] == ["LGTM", "<!-- pytest-agentops -->\nsecond\n"]
