"""The examples' recordings: a replay tells the same story as the run that was recorded."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from examples.research_bot.bot import ResearchBot
from pytest_agentops import PromptRepository, Trace
from pytest_agentops.cassette import Session
from pytest_agentops.tape import load

ROOT = Path(__file__).parent.parent
CASSETTES = sorted((ROOT / "examples").glob("*/cassettes/**/*.yaml"))


def test_the_research_bot_replays_without_its_server_to_an_equal_trace():
    [path] = [path for path in CASSETTES if path.stem == "test_report_follows_from_the_documents"]
    prompts = PromptRepository(ROOT / "prompts")
    session = Session(path, mode="none", name="test")

    with session.open():
        instructions = {role: prompts[f"research/{role}"].render() for role in ("planner", "searcher", "writer")}
        asyncio.run(ResearchBot(**instructions).run("What keeps an agent from paying out too much money?"))

    session.check(teardown=True)
    trace = session.recording.freeze()
    assert trace.source == "replayed"
    assert replace(trace, source="imported") == Trace.from_cassette(path)
    assert {trace.prompts[index].name for call in trace.model_calls for index in call.prompts} == {
        "research/planner",
        "research/searcher",
        "research/writer",
    }


@pytest.mark.parametrize("path", CASSETTES, ids=[path.stem for path in CASSETTES])
def test_each_cassette_says_which_model_it_came_from(path):
    trace = load(path).trace()

    assert {call.model for call in trace.model_calls} == {"qwen2.5-coder-1.5b-instruct"}
    assert "models:\n  - qwen2.5-coder-1.5b-instruct\n" in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_pull_request_of_the_demo_tells_what_the_readme_says():
    code = "import sys; sys.path.insert(0, 'examples'); import demo; raise SystemExit(demo._pull_request())"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
    [block] = re.findall(r"^```\n(test_refunds.py.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert set(block.splitlines()) <= set(run.stdout.splitlines())
