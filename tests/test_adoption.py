"""Cassettes of other recorders, made ours."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_agentops.adoption import adopt, adoptions
from pytest_agentops.errors import CassetteCut, CassetteUnreadable
from pytest_agentops.redaction import Rules
from pytest_agentops.tape import load
from pytest_agentops.testing import CommandRun, TinyProject
from pytest_agentops.trace import Trace
from tests.test_corpus import CASSETTES, CORPUS

KEY = "sk-proj-" + "Ab3dEf6hIj" * 5


def foreign(**about: Any) -> dict[str, Any]:
    """What vcrpy writes of one chat completion."""
    asked = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": f"My key is {KEY}"}]}
    answer = {
        "id": "c1",
        "model": "gpt-5-mini",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Keep it safe."}}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    return {
        "version": 1,
        "interactions": [
            {
                "request": {
                    "method": "POST",
                    "uri": "https://api.openai.com/v1/chat/completions",
                    "body": json.dumps(asked),
                    "headers": {"authorization": [f"Bearer {KEY}"], "content-type": ["application/json"]},
                },
                "response": {
                    "status": {"code": 200, "message": "OK"},
                    "headers": {"content-type": ["application/json"]},
                    "body": {"string": json.dumps(answer)},
                },
                **about,
            }
        ],
    }


def write(path: Path, data: object) -> Path:
    """The data as a file, written the way its name says."""
    text = json.dumps(data) if ".json" in path.name else yaml.safe_dump(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def typed(project: TinyProject, *arguments: str) -> CommandRun:
    return project.command(sys.executable, "-m", "pytest_agentops", "cassettes", *arguments)


@pytest.mark.parametrize("name", ["a.yaml", "a.yml", "a.json", "a.yaml.gz", "a.json.gz"])
def test_every_way_of_writing_is_read_and_made_ours_without_secrets(tmp_path, name):
    source = write(tmp_path / "theirs" / name, foreign())
    before = Trace.from_cassette(source)

    [found] = adoptions([tmp_path / "theirs"], into=tmp_path / "ours", rules=Rules())
    assert list(adopt([found], Rules())) == []

    target = tmp_path / "ours" / "a.yaml"
    assert found.target == target
    assert (found.models, found.unknown, found.problem) == (("gpt-5-mini",), (), "")
    assert found.secrets >= 1
    assert KEY not in target.read_text()
    assert (load(target).outcome, Trace.from_cassette(target).response) == (None, before.response)


def test_the_plan_is_shown_and_then_done(tiny_project):
    write(tiny_project.path / "tests/cassettes/test_a.yaml", foreign())
    write(tiny_project.path / "tests/cassettes/data.json", {"a": 1})
    (tiny_project.path / "tests/cassettes/cut.yaml").write_text("interactions: [")

    shown = typed(tiny_project, "import", "tests")
    assert shown.exit_code == 1
    assert shown.stdout.splitlines()[-2:] == ["1 of 2 cassettes would be ours", "  to do it: the same with --yes"]
    assert KEY in (tiny_project.path / "tests/cassettes/test_a.yaml").read_text()

    done = typed(tiny_project, "import", "tests", "--yes", "--json")
    rows = json.loads(done.stdout)
    assert [(Path(row["source"]).name, row["done"], row["problem"][:14]) for row in rows] == [
        ("cut.yaml", False, "it is not YAML"),
        ("test_a.yaml", True, ""),
    ]
    assert KEY not in (tiny_project.path / "tests/cassettes/test_a.yaml").read_text()
    assert typed(tiny_project, "check", "tests/cassettes/test_a.yaml").exit_code == 0
    assert typed(tiny_project, "import", "nowhere").exit_code == 2


def test_what_is_there_is_not_written_over(tmp_path):
    write(tmp_path / "a.json", foreign())
    (tmp_path / "a.yaml").write_text("mine: 1\n")

    [found] = adoptions([tmp_path], into=None, rules=Rules())

    assert "is there already" in found.problem
    assert list(adopt([found], Rules())) == []
    assert (tmp_path / "a.yaml").read_text() == "mine: 1\n"


def test_an_adopted_cassette_replays(tiny_project):
    write(tiny_project.path / "cassettes/test_it/test_it.yaml", foreign())
    assert typed(tiny_project, "import", "cassettes", "--yes").exit_code == 0
    tiny_project.write(
        "test_it.py",
        f"""
        import httpx2

        def test_it(agent_trace):
            httpx2.post(
                "https://api.openai.com/v1/chat/completions",
                json={{"model": "gpt-5-mini", "messages": [{{"role": "user", "content": "My key is {KEY}"}}]}},
            )
            assert agent_trace.response == "Keep it safe."
        """,
    )

    assert tiny_project.run("--agentops-record=none").outcomes == {"passed": 1}


def test_a_gzip_file_that_is_cut_or_damaged_is_told(tmp_path):
    path = write(tmp_path / "a.yaml.gz", foreign())
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(CassetteCut, match="the end of the gzip file is missing"):
        load(path)
    path.write_bytes(whole[:10] + b"\xff" * 20)
    with pytest.raises(CassetteUnreadable, match="it is not gzip"):
        load(path)


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus at {CORPUS}")
def test_the_corpus_becomes_ours_and_tells_the_same(tmp_path):
    found = list(adoptions([CORPUS], into=tmp_path, rules=Rules()))

    assert list(adopt(found, Rules())) == []
    assert len(found) == len(CASSETTES)
    for each in found:
        assert each.problem == "", each.source
        assert Trace.from_cassette(each.target) == Trace.from_cassette(each.source), each.source
