"""Base and head side by side: what changed in recorded behaviour."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pytest_agentops.behaviour import compare
from pytest_agentops.exchange import Exchange, Request, Response
from pytest_agentops.formats import html, markdown
from pytest_agentops.formats.terminal import edit_lines
from pytest_agentops.gates import Gates
from pytest_agentops.history import Commit
from pytest_agentops.regression import Case, Take, edits
from pytest_agentops.report import Report
from pytest_agentops.tape import Tape
from pytest_agentops.testing import CommandRun, Says, ScriptedModel, TinyProject
from pytest_agentops.trace import ToolCall
from tests.test_plugin import AGENT
from tests.test_repository import House


def calls(*names: str | ToolCall) -> list[ToolCall]:
    made = [ToolCall(name) if isinstance(name, str) else name for name in names]
    return [replace(call, step=step) for step, call in enumerate(made)]


LOOK, OTHER = ToolCall("look", {"order": 42, "by": {"x": 1}}), ToolCall("look", {"order": 21, "by": {"x": 1}})


@pytest.mark.parametrize(
    ("base", "head", "told"),
    [
        (["a", "b"], ["a", "b"], []),
        (["a"], ["a", "b"], ["added     b() in step 1"]),
        (["a", "b"], ["b"], ["removed   a() in step 0"]),
        (["a", "b"], ["b", "a"], ["moved     b() from step 1 to 0"]),
        ([LOOK], [OTHER], ["changed   look(order=42, by={'x': 1}) in step 0", "  order: 42 -> 21"]),
        (["a", LOOK], [OTHER, "a"],
         ["moved     look(order=42, by={'x': 1}) from step 1 to 0", "  order: 42 -> 21"]),
        (["a", "b", "c"], ["a", "x", "c"], ["removed   b() in step 1", "added     x() in step 1"]),
        ([], ["a"], ["added     a() in step 0"]),
        ([ToolCall("a", {}, malformed="{")], ["a"], ["changed   a(malformed: '{') in step 0", "  arguments: '{' -> None"]),
    ],
)  # fmt: skip
def test_what_changed_in_a_trajectory(base, head, told):
    found = [line for edit in edits(calls(*base), calls(*head)) for line in edit_lines(edit)]

    assert found == told


def test_a_case_is_judged_by_its_outcome_first():
    passed, failed = (Take("passed"),), (Take("failed"),)

    assert Case("x", passed, failed).verdict == "regressed"
    assert Case("x", failed, passed).verdict == "improved"
    assert Case("x", passed, passed).verdict == "same"
    assert Case("x", (), passed).verdict == "new"
    assert Case("x", passed, ()).verdict == "gone"
    assert Case("x", trouble="it is damaged").verdict == "not comparable"


TEST = """
    from agent import ask

    def test_asks(agent_trace, prompts):
        assert ask(prompts["a"].render()) != "re: worse"

    def test_asks_another(agent_trace):
        ask("hello")

    def test_old(agent_trace):
        ask("old")
"""


def record(project: TinyProject) -> None:
    with ScriptedModel(lambda request: Says(f"re: {request.prompt}")) as model:
        project.run("--agentops-record=changed", env={"MODEL_URL": model.base_url})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits: in the second one a prompt is worse, one test came and one went."""
    project = TinyProject(tmp_path_factory.mktemp("recorded"), plugins=("agentops",))
    house = House(project.path)
    project.write("agent.py", AGENT)
    project.write("test_it.py", TEST)
    house.prompt("1.0.0", "user:\nfine")
    record(project)
    house.commit("fine")
    house.prompt("1.1.0", "user:\nworse")
    project.write("test_it.py", TEST.replace("test_old", "test_new").replace('"old"', '"new"'))
    record(project)
    (project.path / "cassettes/test_it/test_old.yaml").unlink()
    house.commit("worse")
    return project.path


@pytest.fixture
def house(tiny_project: TinyProject, recorded: Path) -> House:
    shutil.copytree(recorded, tiny_project.path, dirs_exist_ok=True)
    return House(tiny_project.path)


def compared(project: TinyProject, *arguments: str) -> CommandRun:
    return project.command(sys.executable, "-m", "pytest_agentops", "compare", *arguments)


def test_two_commits_are_compared_without_running_anything(house, tiny_project):
    found = compare(house.prompts, "HEAD~1", "HEAD")

    assert [(case.name, case.verdict) for case in found.cases] == [
        ("cassettes/test_it/test_asks.yaml", "regressed"),
        ("cassettes/test_it/test_new.yaml", "new"),
        ("cassettes/test_it/test_old.yaml", "gone"),
    ]
    assert found.unchanged == 1
    assert [prompt.new for prompt in found.prompts] == ["1.1.0"]
    told = compared(tiny_project, "HEAD~1", "HEAD").stdout.splitlines()
    assert told[2:-1] == [
        "1 regressed, 0 changed, 0 improved, 1 new, 1 gone, 1 the same",
        "a: 1.0.0 → 1.1.0 (minor)",
        "  with the inputs of cassettes/test_it/test_asks.yaml, user",
        "    ~ 1: [-fine-]{+worse+}",
        "cassettes/test_it/test_asks.yaml: regressed",
        "  outcome   passed → failed",
        "  answer",
        "    ~ 1: re: [-fine-]{+worse+}",
        *[line for line in told[2:-1] if line.startswith("  seconds")],
        "cassettes/test_it/test_new.yaml: new",
    ]
    assert told[-1] == "cassettes/test_it/test_old.yaml: gone"


def test_the_working_tree_is_compared_where_no_head_is_named(house, tiny_project):
    assert compared(tiny_project, "HEAD").stdout.splitlines()[2] == ("0 regressed, 0 changed, 0 improved, 3 the same")
    path = tiny_project.path / "cassettes/test_it/test_asks_another.yaml"
    path.write_text(path.read_text().replace("re: hello", "re: goodbye"))

    assert compared(tiny_project, "HEAD").stdout.splitlines()[2:6] == [
        "0 regressed, 1 changed, 0 improved, 2 the same",
        "cassettes/test_it/test_asks_another.yaml: changed",
        "  answer",
        "    ~ 1: re: [-hello-]{+goodbye+}",
    ]


def test_a_regression_fails_where_it_is_asked_to(house, tiny_project):
    assert compared(tiny_project, "HEAD~1", "HEAD").exit_code == 0
    assert compared(tiny_project, "HEAD~1", "HEAD", "--strict").exit_code == 1
    assert compared(tiny_project, "HEAD", "HEAD", "--strict").exit_code == 0
    data = json.loads(compared(tiny_project, "HEAD~1", "HEAD", "--json").stdout)
    assert [case["verdict"] for case in data["cases"]] == ["regressed", "new", "gone"]
    assert data["counts"]["same"] == 1


def test_a_test_that_was_renamed_is_the_same(house, tiny_project):
    house.git("mv", "cassettes/test_it/test_new.yaml", "cassettes/test_it/test_newer.yaml")
    house.commit("rename")

    assert compare(house.prompts, "HEAD~1", "HEAD").cases == ()
    assert compare(house.prompts, "HEAD~1", "HEAD").unchanged == 3


def test_a_cassette_that_cannot_be_read_is_not_compared(house, tiny_project):
    path = tiny_project.path / "cassettes/test_it/test_asks_another.yaml"
    path.write_text("interactions: [")

    told = compared(tiny_project, "HEAD", "--strict")

    assert told.exit_code == 1
    assert told.stdout.splitlines()[2:4] == [
        "0 regressed, 1 not comparable, 0 changed, 0 improved, 2 the same",
        "cassettes/test_it/test_asks_another.yaml: not comparable",
    ]


@pytest.mark.parametrize("arguments", [["nope"], ["HEAD", "nope"], ["--output=x"]])
def test_a_commit_that_is_not_there_is_told(house, tiny_project, arguments):
    run = compared(tiny_project, *arguments)

    assert run.exit_code == 2
    assert run.stdout == ""


# --- as a comment on a pull request ----------------------------------------------------------------------------------


def test_a_comment_says_the_verdict_first_and_folds_the_rest(house, tiny_project):
    told = compared(tiny_project, "HEAD~1", "HEAD", "--markdown").stdout
    lines = told.splitlines()

    assert lines[1] == "### Behaviour of the agents: worse"
    assert lines[3] == "1 regressed, 0 changed, 0 improved, 1 new, 1 gone, 1 the same"
    assert lines[5] == "| test | verdict | passed | tokens | cost | recorded time |"
    assert lines[7].startswith("| `cassettes/test_it/test_asks.yaml` | regressed | passed → failed |")
    assert "<details><summary><code>a: 1.0.0 → 1.1.0 (minor)</code></summary>" in told
    assert "<details open><summary><code>cassettes/test_it/test_asks.yaml</code>: regressed</summary>" in told
    assert "outcome   passed → failed" in told
    assert "new: `cassettes/test_it/test_new.yaml`" in told
    assert lines[-1].endswith("</sub>")


def calling(*names: str, answer: str = "Done.") -> Tape:
    """A recording in which a model asked for these tools, one after another, and answered."""
    exchanges = []
    for number, name in enumerate([*names, ""], 1):
        call = {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        message = {"role": "assistant", "content": None if name else answer, **({"tool_calls": [call]} if name else {})}
        body = {
            "id": f"r{number}",
            "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }
        asked = {"model": "m", "messages": [{"role": "user", "content": f"q{number}"}]}
        exchanges.append(
            Exchange(
                number,
                Request("POST", "https://api.openai.com/v1/chat/completions", (), json.dumps(asked).encode()),
                Response(200, "OK", (("content-type", "application/json"),), json.dumps(body).encode()),
            )
        )
    return Tape(exchanges=tuple(exchanges), outcome="passed")


def comparison(*cases: Case) -> Report:
    commit = Commit("a" * 40, datetime(2026, 11, 24, tzinfo=UTC), "Ada", "a <b>message</b>")
    return Report.of(cases, gates=Gates(), base=commit, unchanged=3, command="pytest-agentops compare aaaaaaaaa")


def case(name: str, base: Tape | None, head: Tape | None) -> Case:
    return Case(name, *((Take.of(side),) if side is not None else () for side in (base, head)))


def test_a_comment_is_never_longer_than_github_takes():
    cases = [case(f"test_{number}.yaml", calling("a"), calling("b", answer="x" * 2000)) for number in range(300)]

    told = markdown.text(comparison(*cases))

    assert len(told) <= 65_536
    assert "more are left out for want of room" in told
    assert "| and 250 more | | | | | |" in told
    assert len(markdown.text(comparison(*cases), most=8_000)) <= 8_000


HOSTILE = "</details><script>alert(1)</script> ![x](http://evil) ``` ```` | @everyone <img src=x onerror=alert(1)>"


def test_hostile_text_stays_text():
    name = HOSTILE.replace("/", "_")
    hostile = case(f"{name}.yaml", calling("a", answer="fine"), calling("a", answer=f"{HOSTILE}\n```\n</details>"))

    told = markdown.text(comparison(hostile))

    outside = re.sub(r"(?ms)^(`{3,})diff\n.*?^\1$", "", told)
    outside = re.sub(r"(`+).*?\1", "", outside)
    assert "<script" not in outside
    assert "<img" not in outside
    assert "![" not in outside
    assert outside.count("</details>") == outside.count("<details") == 1


def test_what_a_value_tells_of_the_calls():
    assert case("x", calling("a", "b"), calling("a", "c")).verdict == "changed"
    assert [edit.kind for edit in case("x", calling("a", "b"), calling("a", "c")).calls] == ["removed", "added"]
    assert case("x", calling("a"), calling("a")).verdict == "same"
    assert case("x", calling(answer='{"a": 1, "b": 2}'), calling(answer='{"b": 2,  "a": 1}')).verdict == "same"
    assert case("x", calling(answer="one"), calling(answer="two")).answered_otherwise


# --- as a file for a browser -----------------------------------------------------------------------------------------


def test_a_file_for_a_browser_is_whole_and_runs_nothing():
    cases = [
        case(
            "tests/cassettes/test_a.yaml",
            calling("a", "b"),
            replace(calling("a", "c", answer="Other."), outcome="failed"),
        ),
        Case("tests/cassettes/test_b.yaml", trouble="it is damaged"),
        case("tests/cassettes/test_c.yaml", None, calling("a")),
    ]

    page = html.text(comparison(*cases))

    assert '<h1>Behaviour of the agents: <span class="worse">worse</span></h1>' in page
    assert "<del>Done.</del><ins>Other.</ins>" in page
    assert re.findall(r'<tr class="(\w*)"><td class="mark">\w*</td><td><code>(\w*)', page) == [
        ("", "a"),
        ("changed", "b"),
        ("added", ""),
    ]
    assert "it is damaged" in page
    assert "default-src 'none'" in page
    assert re.findall(r"(?:src|href)=|<script|<link|url\(", page) == []


def test_hostile_text_stays_text_in_a_browser_too():
    name = HOSTILE.replace("/", "_")
    hostile = case(f"{name}.yaml", calling("a", answer="fine"), calling(HOSTILE, answer=HOSTILE))

    page = html.text(comparison(hostile))

    tags = set(re.findall(r"<(/?[a-z0-9!]+)", page))
    assert tags <= {
        "!doctype", "html", "/html", "meta", "title", "/title", "style", "/style", "h1", "/h1", "h2", "/h2", "h3", "/h3", "p", "/p",
        "div", "/div", "b", "/b", "details", "/details", "summary", "/summary", "span", "/span", "table", "/table", "tr",
        "/tr", "th", "/th", "td", "/td", "code", "/code", "pre", "/pre", "del", "/del", "ins", "/ins",
    }  # fmt: skip
    assert page.count("alert(1)") > 0


def test_the_command_writes_the_file_beside_what_it_prints(house, tiny_project):
    run = compared(tiny_project, "HEAD~1", "HEAD", "--report", "out/report.html")

    assert run.stdout.splitlines()[2].startswith("1 regressed")
    assert (tiny_project.path / "out/report.html").read_text().startswith("<!doctype html>")


# --- what a breaker found --------------------------------------------------------------------------------------------


def test_a_bool_is_no_number_in_an_answer():
    assert case("x", calling(answer='{"ok": 1}'), calling(answer='{"ok": true}')).verdict == "changed"
    assert case("x", calling(answer='{"ok": 1}'), calling(answer='{"ok": 1.0}')).verdict == "same"


def test_half_a_surrogate_pair_is_written_as_what_it_is(house, tiny_project):
    path = tiny_project.path / "cassettes/test_it/test_asks_another.yaml"
    path.write_text(path.read_text().replace("re: hello", "re: \\ud83d"))

    for arguments in ([], ["--markdown"], ["--report", "r.html"], ["--json"]):
        run = compared(tiny_project, "HEAD", *arguments)
        assert (run.exit_code, run.stderr) == (0, "")


def test_many_calls_of_few_tools_are_compared():
    names = [f"t{number % 5}" for number in range(2000)]

    found = list(edits(calls(*names), calls(*names[::-1])))

    assert all(edit.kind == "moved" for edit in found)


def test_what_regressed_stands_in_the_comment_whatever_else_there_is():
    huge = [case(f"a{number}.yaml", calling("a"), calling("b", answer="x " * 40_000)) for number in range(3)]
    worse = case("z.yaml", calling("a"), replace(calling("b"), outcome="failed"))

    told = markdown.text(comparison(*huge, worse), most=20_000)

    assert "<details open><summary><code>z" in told
    assert len(told) <= 20_000
