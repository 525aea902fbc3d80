"""The recorded runs of a project: what a list tells of them, what is searched, and the index that makes it fast."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pytest_agentops.errors import CassetteMissing
from pytest_agentops.exchange import Exchange, Request, Response, Timing
from pytest_agentops.sessions import Progress, Run, RunIndex, Wanted, choices, opened, short_name, test_of
from pytest_agentops.tape import Tape, save
from pytest_agentops.trace import Finding, Render

test_of.__test__ = False


def exchange(number: int, said: str, answer: str, model: str = "gpt-5-mini", status: int = 200) -> Exchange:
    asked = {"model": model, "messages": [{"role": "user", "content": said}]}
    body = {
        "id": f"r{number}",
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
    }
    if status != 200:
        body = {"error": {"message": answer}}
    return Exchange(
        number,
        Request("POST", "https://api.openai.com/v1/chat/completions", (), json.dumps(asked).encode()),
        Response(status, "", (("content-type", "application/json"),), json.dumps(body).encode()),
        timing=Timing(0.0, 1.5),
    )


def tape(said: str = "Hello", answer: str = "Good day", **about) -> Tape:
    model = about.pop("model", "gpt-5-mini")
    status = about.pop("status", 200)
    return Tape(
        exchanges=(exchange(1, said, answer, model, status),),
        recorded=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        **{"outcome": "passed", **about},
    )


def keep(root: Path, path: str, what: Tape) -> Path:
    save(what, root / path)
    return root / path


def read(root: Path) -> tuple[Run, ...]:
    with RunIndex(root) as index:
        list(index.refresh())
        return index.runs()


def test_a_list_tells_of_a_run_what_its_cassette_tells(tmp_path):
    keep(
        tmp_path,
        "tests/cassettes/test_shop/TestRefunds.test_whole[42].take2.yaml",
        tape(
            "Where is it?",
            "On its way",
            prompts=(Render("support/agent", "1.2.0", "sha256:0", {}),),
            findings=(Finding("failed", "odd"),),
        ),
    )

    [run] = read(tmp_path)

    assert run == Run(
        "tests/cassettes/test_shop/TestRefunds.test_whole[42].take2.yaml",
        "tests/cassettes/test_shop/TestRefunds.test_whole[42].take2.yaml",
        "passed",
        "tests",
        "tests/test_shop.py::TestRefunds::test_whole[42]",
        take=2,
        recorded="2026-01-02T03:04:00+00:00",
        seconds=1.5,
        cost=pytest.approx(0.00065),
        tokens=1200,
        steps=1,
        model_calls=1,
        findings=1,
        said="Where is it?",
        answer="On its way",
        prompts=(("support/agent", "1.2.0"),),
        models=("gpt-5-mini",),
    )


def test_a_cost_that_is_not_known_is_none(tmp_path):
    keep(tmp_path, "cassettes/test_a/test_local.yaml", tape(model="my-own-model"))
    keep(tmp_path, "cassettes/test_a/test_refused.yaml", tape(status=401))
    keep(tmp_path, "cassettes/test_a/test_silent.yaml", Tape(outcome="passed"))

    runs = {run.title: run for run in read(tmp_path)}

    assert [run.cost for run in runs.values()] == [None, None, None]
    assert runs["test_a.py::test_refused"].errors == 1
    assert runs["test_a.py::test_refused"].tokens is None


def test_drafts_and_the_runs_of_the_playground_are_in_the_list(tmp_path):
    keep(tmp_path, "tests/cassettes/test_a/test_x.yaml", tape())
    keep(tmp_path, ".agentops/drafts/tests/cassettes/test_a/test_x.yaml", tape(outcome="interrupted"))
    keep(tmp_path, ".agentops/playground/runs/7.yaml", tape(outcome=None))

    told = sorted((run.place, run.status, run.title) for run in read(tmp_path))

    assert told == [
        ("drafts", "interrupted", "tests/test_a.py::test_x"),
        ("playground", "recorded", "runs/7.yaml"),
        ("tests", "passed", "tests/test_a.py::test_x"),
    ]


def test_each_test_of_a_shared_cassette_is_a_run(tmp_path):
    path = tmp_path / "tests/cassettes/shared.yaml"
    save(tape("one"), path, test="tests/test_a.py::test_one")
    save(tape("two", outcome="failed"), path, test="tests/test_a.py::test_two")

    runs = {run.name: (run.test, run.status, run.said) for run in read(tmp_path)}

    assert runs == {
        "tests/cassettes/shared.yaml::tests/test_a.py::test_one": ("tests/test_a.py::test_one", "passed", "one"),
        "tests/cassettes/shared.yaml::tests/test_a.py::test_two": ("tests/test_a.py::test_two", "failed", "two"),
    }
    assert all(len(opened(tmp_path, name).exchanges) == 1 for name in runs)


def test_a_cassette_that_cannot_be_read_is_in_the_list_with_the_reason(tmp_path):
    keep(tmp_path, "cassettes/test_a/test_x.yaml", tape())
    (tmp_path / "cassettes/test_a/test_broken.yaml").write_text("interactions: [", encoding="utf-8")

    runs = {run.title: run for run in read(tmp_path)}

    assert runs["test_a.py::test_broken"].status == "unreadable"
    assert runs["test_a.py::test_broken"].problem.startswith("it is not YAML")
    assert runs["test_a.py::test_x"].status == "passed"


@pytest.mark.parametrize(
    ("path", "test"),
    [
        ("tests/cassettes/test_a/test_x.yaml", "tests/test_a.py::test_x"),
        ("cassettes/test_a/TestX.test_y[a.b].take3.yaml", "test_a.py::TestX::test_y[a.b]"),
        ("cassettes/test_a/test_y[%3F].yaml", "test_a.py::test_y[?]"),
        ("tests/cassettes/conftest/fixtures/agent.yaml", "tests/conftest.py: fixture agent"),
        ("cassettes/by_hand.yaml", ""),
    ],
)
def test_the_place_of_a_cassette_tells_whose_it_is(path, test):
    assert test_of(path) == test


# --- the index -------------------------------------------------------------------------------------------------------


def test_only_what_has_changed_is_read_again(tmp_path):
    keep(tmp_path, "cassettes/test_a/test_x.yaml", tape())
    changed = keep(tmp_path, "cassettes/test_a/test_y.yaml", tape())
    gone = keep(tmp_path, "cassettes/test_a/test_z.yaml", tape("gone"))
    with RunIndex(tmp_path) as index:
        first = list(index.refresh())
        again = list(index.refresh())
        save(tape(outcome="failed"), changed)
        gone.unlink()
        then = list(index.refresh())

        assert [first[-1], again[-1], then[-1]] == [Progress(3, 3), Progress(0, 0), Progress(1, 1)]
        assert {run.title: run.status for run in index.runs()} == {
            "test_a.py::test_x": "passed",
            "test_a.py::test_y": "failed",
        }
        assert index.containing("gone") == frozenset()


def test_the_state_of_the_index_tells_whether_the_list_is_another_one(tmp_path):
    path = keep(tmp_path, "cassettes/test_a/test_x.yaml", tape())
    states = []
    for _ in range(2):
        with RunIndex(tmp_path) as index:
            list(index.refresh())
            states.append(index.state)
    path.unlink()
    with RunIndex(tmp_path) as index:
        list(index.refresh())
        states.append(index.state)

    assert states[0] == states[1] != states[2]


def test_what_a_stopped_reading_has_read_is_kept(tmp_path):
    for number in range(120):
        keep(tmp_path, f"cassettes/test_a/test_{number}.yaml", Tape(outcome="passed"))
    with RunIndex(tmp_path) as index:
        reading = index.refresh()
        assert next(reading) == Progress(0, 120)
        assert next(reading) == Progress(50, 120)
        reading.close()

    with RunIndex(tmp_path) as index:
        assert next(index.refresh()) == Progress(0, 70)


def test_two_that_read_at_the_same_time_give_one_list(tmp_path):
    for number in range(60):
        keep(tmp_path, f"cassettes/test_a/test_{number}.yaml", Tape(outcome="passed"))
    with RunIndex(tmp_path) as one, RunIndex(tmp_path) as other:
        for _ in zip(one.refresh(), other.refresh(), strict=True):
            pass

        assert len(one.runs()) == len({run.name for run in one.runs()}) == 60
        assert len(other.containing("test_a")) == 60


@pytest.mark.parametrize("content", [b"this is no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_an_index_that_is_damaged_is_made_anew(tmp_path, content):
    keep(tmp_path, "cassettes/test_a/test_x.yaml", tape())
    (tmp_path / ".agentops").mkdir()
    (tmp_path / ".agentops/index.sqlite").write_bytes(content)

    assert [run.title for run in read(tmp_path)] == ["test_a.py::test_x"]
    assert [run.title for run in read(tmp_path)] == ["test_a.py::test_x"]


def test_an_index_of_another_version_is_made_anew(tmp_path):
    keep(tmp_path, "cassettes/test_a/test_x.yaml", tape())
    read(tmp_path)
    base = sqlite3.connect(tmp_path / ".agentops/index.sqlite")
    base.execute("UPDATE made SET by = 'a version of tomorrow'")
    base.execute("UPDATE files SET runs = '[]'")
    base.commit()
    base.close()

    assert [run.title for run in read(tmp_path)] == ["test_a.py::test_x"]


def test_where_nothing_can_be_written_there_is_a_list_all_the_same(tmp_path):
    keep(tmp_path, "cassettes/test_a/test_x.yaml", tape("Where is it?"))
    (tmp_path / ".agentops").write_text("a file, where a folder should be", encoding="utf-8")

    with RunIndex(tmp_path) as index:
        list(index.refresh())

        assert len(index.runs()) == len(index.containing("where")) == 1


def test_folders_of_others_are_not_looked_into(tmp_path):
    keep(tmp_path, "node_modules/x/cassettes/test_a/test_x.yaml", tape())
    keep(tmp_path, ".venv/lib/cassettes/test_a/test_x.yaml", tape())

    assert read(tmp_path) == ()


# --- searching -------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path):
    keep(tmp_path, "cassettes/test_a/test_x.yaml", tape("refund order 100% now", "call issue_refund", model="big"))
    keep(tmp_path, "cassettes/test_a/test_y.yaml", tape("Refund ORDER 1000", "no", outcome="failed", model="small"))
    keep(tmp_path, "cassettes/test_a/test_z.yaml", tape("注文はどこですか", "issuerefund", model="big"))
    with RunIndex(tmp_path) as index:
        list(index.refresh())
        yield index


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("refund order", "xy"),
        ("REFUND 100%", "x"),
        ("issue_refund", "x"),
        ("efund", "xyz"),
        ("注文", "z"),
        ("z", "z"),
        ("test_a.py::test_y", "y"),
        ("big 100", "x"),
        ('"', ""),
        ("nowhere", ""),
        ("", "xyz"),
    ],
)
def test_each_word_has_to_stand_somewhere_in_a_run(three, text, found):
    names = {f"cassettes/test_a/test_{each}.yaml" for each in found}

    assert {run.name for run in Wanted(text=text).of(three.runs(), three.containing)} == names


def test_a_list_is_filtered_and_sorted_and_what_is_not_known_comes_last(three):
    runs = three.runs()
    names = [run.name[-6] for run in Wanted(sort="title", descending=False).of(runs, three.containing)]
    failed = [run.name[-6] for run in Wanted(status="failed").of(runs, three.containing)]
    big = [run.name[-6] for run in Wanted(model="big", sort="title").of(runs, three.containing)]

    assert (names, failed, big) == (["x", "y", "z"], ["y"], ["z", "x"])
    unpriced = [Run("a", "a", "passed"), Run("b", "b", "passed", cost=1.0), Run("c", "c", "passed", cost=2.0)]
    for descending, order in ((True, ["c", "b", "a"]), (False, ["b", "c", "a"])):
        found = Wanted(sort="cost", descending=descending).of(unpriced, three.containing)
        assert [run.name for run in found] == order


def test_a_prompt_is_wanted_in_any_version_or_in_one():
    runs = [Run(version, version, "passed", prompts=(("support/agent", version),)) for version in ("1.0.0", "1.1.0")]

    def names(prompt: str) -> list[str]:
        return [run.name for run in Wanted(prompt=prompt, sort="title").of(runs, lambda _: frozenset())]

    assert (names("support/agent"), names("support/agent@1.0.0"), names("other")) == (["1.1.0", "1.0.0"], ["1.0.0"], [])
    assert choices(runs)["prompt"] == ["support/agent"]


# --- one run ---------------------------------------------------------------------------------------------------------


def test_what_is_no_run_of_the_project_is_not_opened(tmp_path):
    keep(tmp_path, "project/cassettes/test_a/test_whole.yaml", tape())
    keep(tmp_path, "elsewhere/cassettes/test_a/test_secret.yaml", tape())
    root = tmp_path / "project"

    for name in (
        "../elsewhere/cassettes/test_a/test_secret.yaml",
        "pyproject.toml",
        "cassettes/test_a",
        "",
        "/etc/x.yaml",
        "a\0.yaml",
        f"{'a' * 5000}.yaml",
    ):
        with pytest.raises(CassetteMissing, match="there is no recorded run"):
            opened(root, name)
    with pytest.raises(CassetteMissing, match=r"did you mean 'cassettes/test_a/test_whole\.yaml'\?"):
        opened(root, "cassettes/test_a/test_hole.yaml")


def test_a_run_has_a_short_name():
    assert short_name("tests/cassettes/test_a/TestX.test_y.take3.yaml") == "test_y, take 3"
    assert short_name("tests/cassettes/shared.yaml::tests/test_a.py::test_one") == "test_one"
    assert short_name(".agentops/playground/a/7.yaml") == "a/7.yaml"


@pytest.mark.parametrize("name", ["tests/cassettes/loop.yaml", "a\0b.yaml"])
def test_a_link_that_leads_to_itself_and_what_is_no_path_are_no_runs(tmp_path, name):
    loop = tmp_path / "tests" / "cassettes" / "loop.yaml"
    loop.parent.mkdir(parents=True)
    loop.symlink_to(loop)

    with pytest.raises(CassetteMissing, match="there is no recorded run"):
        opened(tmp_path, name)
