"""A suite of 100 tests with 10 calls each, replayed: seconds of a whole pytest process, beside two other recorders.

Every round runs the same tests, through one httpx2 client, with each plugin in turn: pytest-recording (vcrpy) and
cassetter, both told to match on the body too, and ours. What starting pytest with no plugin at all costs is in each of
them. Figures are medians over rounds, ratios medians of the rounds' own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

from pytest_agentops.testing import Says, ScriptedModel, ScriptedRequest

_ROUNDS = 7
_TESTS = """
    import os

    import httpx2
    import pytest

    CLIENT = httpx2.Client(verify=False)
    {mark}

    @pytest.mark.parametrize("number", range(100))
    def test_it(number{fixture}):
        messages = [{{"role": "system", "content": "You are a support agent. " + "word " * 300}}]
        for turn in range(10):
            messages.append({{"role": "user", "content": f"Question {{turn}} of {{number}}"}})
            reply = CLIENT.post(os.environ["MODEL_URL"], json={{"model": "gpt-5-mini", "messages": messages}})
            messages.append(reply.json()["choices"][0]["message"])
        assert messages[-1]["content"].startswith("Answer to Question 9")
"""
_MATCH = """
    import pytest

    @pytest.fixture(scope="module")
    def vcr_config():
        return {"match_on": ["method", "uri", "body"]}
"""
_RECORDERS = {
    "ours": ("agentops", "", ", agent_trace", "--agentops-record={}"),
    "pytest-recording": ("pytest_recording.plugin", "pytestmark = pytest.mark.vcr", "", "--record-mode={}"),
    "cassetter": ("cassetter.pytest_plugin", "pytestmark = pytest.mark.vcr", "", "--record-mode={}"),
    "bare": ("no:agentops", "", "", ""),
}
"""Each with its plugin, what marks a module for it, what a test asks for, and how it is told the mode."""


def lines() -> Iterator[str]:
    """The figures, line by line."""
    with tempfile.TemporaryDirectory() as folder, ScriptedModel(_answer) as model:
        url = f"{model.base_url}/chat/completions"
        projects = {name: _project(Path(folder) / name, *about[1:3]) for name, about in _RECORDERS.items()}
        (projects["bare"] / "test_suite.py").write_text("def test_it(): pass\n")
        for name in ("ours", "pytest-recording", "cassetter"):
            _run(name, projects[name], url, "once")
        seconds: dict[str, list[float]] = {name: [] for name in _RECORDERS}
        for _ in range(_ROUNDS):
            for name, project in projects.items():
                seconds[name].append(_run(name, project, url, "none"))
    for name in ("ours", "pytest-recording", "cassetter", "bare"):
        yield f"{name:<17} {statistics.median(seconds[name]):.2f} s"
    for name in ("pytest-recording", "cassetter"):
        ratio = statistics.median(one / other for one, other in zip(seconds["ours"], seconds[name], strict=True))
        yield f"ours is {ratio:.2f}x {name}"


def _answer(request: ScriptedRequest) -> Says:
    return Says(f"Answer to {request.prompt}. " + "It is on its way. " * 20)


def _project(folder: Path, mark: str, fixture: str) -> Path:
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "conftest.py").write_text(textwrap.dedent(_MATCH))
    (folder / "test_suite.py").write_text(textwrap.dedent(_TESTS.format(mark=mark, fixture=fixture)))
    return folder


def _run(name: str, project: Path, url: str, mode: str) -> float:
    plugin, _, _, option = _RECORDERS[name]
    options = [option.format(mode)] if option else []
    env = {**os.environ, "MODEL_URL": url, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": ""}
    if name == "cassetter":  # `make bench` puts it where only this run finds it.
        env["PYTHONPATH"] = str(Path(__file__).resolve().parents[1] / ".bench")
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", plugin, *options],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stdout}{done.stderr}")
    return seconds
