"""Reports: what they hold, how they travel and merge, what gates make of them, and what they vouch for."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from pytest_agentops.errors import ReportError, SettingsError, UsageError
from pytest_agentops.formats import files, html, junit, markdown
from pytest_agentops.formats.terminal import decision_lines, lines
from pytest_agentops.gates import FIGURES, Gates, Measured, read
from pytest_agentops.history import Commit, History
from pytest_agentops.regression import Case, Take
from pytest_agentops.report import _MEASURES, Report, schema
from pytest_agentops.seal import PARTS, sealed, verify
from pytest_agentops.testing import CommandRun, Says, ScriptedModel, TinyProject
from pytest_agentops.trace import ModelCall, ToolCall, Trace, Usage
from tests.test_plugin import AGENT
from tests.test_repository import House

COMMIT = Commit("a" * 40, datetime(2026, 11, 24, tzinfo=UTC), "Ada", "main")


def take(outcome: str | None = "passed", number: int = 1, **about: object) -> Take:
    figures = {"tokens": 100.0, "cost": 0.01, "seconds": 2.0, "model calls": 1.0, "tool calls": 0.0}
    return Take(outcome, number, **{"said": "q", "figures": figures, "latencies": (2.0,), **about})  # type: ignore[arg-type]


def takes(passed: int, runs: int, **about: object) -> tuple[Take, ...]:
    return tuple(take("passed" if index < passed else "failed", index + 1, **about) for index in range(runs))


def report(
    *cases: Case, gates: dict[str, object] | None = None, base: Commit | None = COMMIT, **about: object
) -> Report:
    about = {"made": "2026-11-24T00:00:00+00:00", "by": "0", "ran": True, **about}
    return Report.of(cases, gates=Gates.from_table(gates or {}, "here"), base=base, **about)  # type: ignore[arg-type]


WHOLE = report(
    Case("t.py::a", takes(5, 5), takes(0, 5, response="no")),
    Case("t.py::b", (take(calls=(ToolCall("look", {"id": 1}, status="ok"),)),), (take(response="{}", scores={"kind": 0.5}),)),
    Case("t.py::c", trouble="it is cut"),
    Case("t.py::d", (), (take(inputs={"q": "x"}, prompts={"a": "1.0.0"}, digests={"a": "sha256:1"}),)),
    gates={"regressed": "== 0", "pass_rate": ">= 90%", "undecided": "fail"},
    command="pytest",
    notes=("a note",),
)  # fmt: skip


def test_the_json_of_a_report_satisfies_its_schema_and_gives_it_back():
    text = WHOLE.to_json()

    Draft202012Validator.check_schema(schema())
    Draft202012Validator(schema()).validate(json.loads(text))
    again = Report.from_json(text)
    assert again == WHOLE
    assert again.to_json() == text


def test_a_verdict_in_a_file_is_worked_out_anew_and_not_believed():
    data = json.loads(WHOLE.to_json())
    data |= {"verdict": "better", "gated": "passed", "decisions": [], "counts": {}}
    for case in data["cases"]:
        case |= {"verdict": "same", "chance": None}

    again = Report.from_json(json.dumps(data))

    assert (again.verdict, again.gated) == ("the gate is closed", "failed")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it is no report of pytest-agentops: $: [] is not of type 'object'"),
        ("{}", "it is no report of pytest-agentops: $: 'format' is a required property"),
        ('{"format": 2}', "it has format 2, and this version of pytest-agentops reads 1"),
    ],
)
def test_what_is_no_report_is_told(text, told):
    with pytest.raises(ReportError, match=re.escape(told)):
        Report.from_json(text, "it")


def test_a_report_with_a_wrong_part_says_where():
    data = json.loads(WHOLE.to_json())
    data["cases"][0]["head"][0]["outcome"] = "great"

    with pytest.raises(ReportError, match=re.escape("$.cases[0].head[0].outcome: 'great' is not one of")):
        Report.from_json(json.dumps(data))


# --- several into one ------------------------------------------------------------------------------------------------


def test_shards_of_a_run_make_the_report_of_the_whole():
    a, b, c = Case("a", takes(5, 5), takes(0, 5)), Case("b", takes(5, 5), takes(5, 5)), Case("c", (take(),), (take(),))
    left = replace(c, left_out="it is as it was")
    first = report(a, left, gates={"regressed": "== 0"})
    second = report(b, c, gates={"regressed": "== 0"})

    merged = Report.merged([first, second])

    assert merged == report(a, b, c, gates={"regressed": "== 0"}, made=merged.made, by=merged.by)
    assert Report.merged([merged, first]).cases == merged.cases


def test_takes_that_ran_in_different_shards_are_put_together():
    first, second = takes(3, 5)[:3], takes(3, 5)[3:]

    merged = Report.merged([report(Case("a", takes(5, 5), first)), report(Case("a", takes(5, 5), second))])

    assert merged.cases == report(Case("a", takes(5, 5), takes(3, 5))).cases


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (report(base=replace(COMMIT, sha="b" * 40)), "they are not of one change: the base is aaaa"),
        (report(gates={"regressed": "== 0"}), "they were made with different gates"),
        (report(commit="c" * 40), "they are not of one change: one was made at , another at ccccccccc"),
        (report(ran=False), "one is of a run, and another of a comparison in which nothing ran"),
        (report(Case("a", (), (take("failed"),))), "two of them hold take 1 of a, and it is not the same"),
    ],
)
def test_what_does_not_belong_together_is_not_merged(other, told):
    with pytest.raises(ReportError, match=told):
        Report.merged([report(Case("a", (), (take(),))), other])


# --- gates -----------------------------------------------------------------------------------------------------------


def decided(gate: str, *cases: Case, base: Commit | None = COMMIT) -> str:
    made = replace(report(*cases, base=base), gates=read([gate], "here"))
    [line] = decision_lines(made.decisions)
    return line.removeprefix("gate ")


SAME = Case("same", (take(),), (take(),))
WORSE = Case("worse", (take(),), (take("failed"),))
UNSURE = Case("unsure", takes(5, 5), takes(4, 5))
UNFIT = Case("unfit", (take(),), (take("failed", problem="its recording does not fit"),))
CALLS = (ToolCall("a", status="ok"), ToolCall("b", malformed="{"), ToolCall("c"), ToolCall("d", status="ok"))
DEAR = {"tokens": 150.0, "cost": 0.02, "seconds": 1.0, "model calls": 1.0}
UNPRICED = {"tokens": 150.0, "cost": None, "seconds": None, "model calls": 1.0}


@pytest.mark.parametrize(
    ("gate", "cases", "told"),
    [
        ("regressed == 0", [SAME], "passed    regressed == 0: 0"),
        ("regressed == 0", [SAME, WORSE], "failed    regressed == 0: 1"),
        ("regressed == 0", [UNSURE], "undecided regressed == 0: 0 to 1, 1 cannot be told"),
        ("regressed <= 1", [UNSURE], "passed    regressed <= 1: 0 to 1, 1 cannot be told"),
        ("regressed == 0", [Case("x", trouble="cut")], "undecided regressed == 0: 0 to 1, 1 cannot be told"),
        ("pass_rate >= 50%", [SAME, WORSE], "passed    pass_rate >= 50%: 50 %, 1 of 2 takes"),
        ("pass_rate >= 0.51", [SAME, WORSE], "failed    pass_rate >= 0.51: 50 %, 1 of 2 takes"),
        ("pass_rate >= 90%", [UNSURE], "undecided pass_rate >= 90%: 37.6 % to 96.4 %, 4 of 5 takes"),
        ("pass_rate >= 30%", [UNSURE], "passed    pass_rate >= 30%: 37.6 % to 96.4 %, 4 of 5 takes"),
        ("tool_success >= 0.5", [Case("x", (), (take(calls=CALLS),))], "passed    tool_success >= 0.5: 50 %, 2 of 4 tool calls"),
        ("cost_increase <= 10%", [SAME, Case("x", (take(),), (take(figures=DEAR),))], "failed    cost_increase <= 10%: 50 %, 2 tests"),
        ("cost <= $0.05", [SAME], "passed    cost <= $0.05: $0.0100, 1 runs"),
        ("cost <= 1", [Case("x", (), (take(figures=UNPRICED),))], "failed    cost <= 1: it is not known: 1 of 1 runs do not tell their cost"),
        ("p95_latency <= 1500ms", [SAME], "failed    p95_latency <= 1500ms: 2.00 s, 1 model calls"),
        ("p95_latency <= 8 s", [Case("x", (), (take(latencies=()),))], "failed    p95_latency <= 8 s: it is not known: no recording has times"),
        ("latency_increase <= 0", [Case("x", (take(),), (take(figures=DEAR),))], "passed    latency_increase <= 0: -50 %, 1 tests"),
        ("pass_rate_drop <= 10%", [SAME, WORSE], "failed    pass_rate_drop <= 10%: 50 %, 2 of 2 takes, then 1 of 2"),
        ("score >= 0.6", [Case("x", (), (take(scores={"a": 0.5}),))], "failed    score >= 0.6: 50 %, 1 verdicts"),
        ("score >= 0.6", [SAME], "failed    score >= 0.6: it is not known: no judge was asked"),
        ("score_drop <= 0.1", [Case("x", (take(scores={"a": 1.0}),), (take(scores={"a": 0.5}),))], "failed    score_drop <= 0.1: 50 %, 1 criteria"),
        ("new_findings == 0", [Case("x", (take(),), (take(findings=("cut_off",)),))], "failed    new_findings == 0: 1"),
        ("pass_rate >= 0", [], "failed    pass_rate >= 0: it is not known: no recorded test was there"),
        ("tokens <= 10", [UNFIT], "failed    tokens <= 10: it is not known: no run fits its recording"),
        ("tool_success >= 0", [UNFIT], "failed    tool_success >= 0: it is not known: no run fits its recording"),
        ("cost_increase <= 0", [UNFIT], "failed    cost_increase <= 0: it is not known: nothing can be compared"),
        ("pass_rate_drop <= 0", [UNFIT], "failed    pass_rate_drop <= 0: it is not known: nothing can be compared"),
        ("score_drop <= 0", [Case("x", (take(scores={"a": 1.0, "b": 1.0}),), (take(scores={"a": 1.0}),))], "failed    score_drop <= 0: it is not known: 1 of 2 criteria have no verdict on both sides"),
    ],
)  # fmt: skip
def test_what_a_gate_makes_of_a_report(gate, cases, told):
    assert decided(gate, *cases) == told


def test_a_gate_against_the_base_fails_where_there_is_none():
    assert decided("regressed == 0", SAME, base=None) == (
        "failed    regressed == 0: it is not known: there is no base to compare with"
    )
    assert decided("pass_rate == 100%", SAME, base=None).startswith("passed")


def test_every_figure_can_be_measured_and_is_documented():
    page = (Path(__file__).parent.parent / "docs" / "regression.md").read_text()

    assert set(FIGURES) == set(_MEASURES)
    for figure in FIGURES:
        assert f"`{figure}`" in page
        assert isinstance(WHOLE.measured(figure), Measured | str)


def test_tests_that_are_together_worse_close_the_gate_though_none_is_alone():
    cases = [Case(f"t{number}", takes(5, 5), takes(3, 5)) for number in range(8)]

    assert {case.verdict for case in report(*cases).cases} == {"too few runs to tell"}
    assert decided("regressed == 0", *cases).startswith(
        "failed    regressed == 0: 1 to 8, no single test, but all together"
    )
    assert report(*cases).verdict == "worse"
    assert "all tests together are worse" in "\n".join(lines(report(*cases)))


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ([], "gate must be a table of bounds"),
        ({"regresed": "== 0"}, "there is no figure 'regresed'; did you mean 'regressed'?; there are: pass_rate"),
        ({"regressed": 0}, 'regressed = 0 is no bound; write one as text, such as regressed = "<= 10%"'),
        ({"regressed": "= 0"}, "regressed = '= 0' is no bound"),
        ({"cost": "<= nan"}, "cost = '<= nan' is no bound"),
        ({"undecided": "maybe"}, "undecided is warn or fail, not 'maybe'"),
        ({"confidence": 95}, "confidence is a number from 0.5 to 0.9999, such as 0.95, not 95"),
        ({"confidence": 0.9999999999999999}, "confidence is a number from 0.5 to 0.9999"),
        ({"pass_rate_drop": "<= 10"}, "pass_rate_drop = '<= 10' is more than all of it; for percent write \"<= 10%\""),
        ({"regressed": "<= 1%"}, "this figure is bounded in a plain number"),
        ({"cost": "<= 50%"}, "this figure is bounded in $ or a plain number"),
        ({"p95_latency": "<= 8%"}, "this figure is bounded in s or ms or a plain number"),
        ({"tokens": f"<= {'9' * 400}"}, "this figure is bounded in"),
    ],
)
def test_gates_that_mean_nothing_are_told(table, told):
    with pytest.raises(SettingsError, match=re.escape(told)):
        Gates.from_table(table, "gate")


def test_a_mistake_in_a_gate_stops_the_run_before_any_test(tiny_project):
    tiny_project.write("pyproject.toml", '[tool.agentops.gate]\npass_rat = ">= 1"\n')
    tiny_project.write("test_it.py", "def test_it(agent_trace): pass")

    run = tiny_project.run("--agentops-report=r.md")

    assert run.exit_code == 4
    assert "there is no figure 'pass_rat'; did you mean 'pass_rate'?" in run.stderr


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_name_that_does_not_say_how_is_refused_before_any_test_runs(tiny_project, tmp_path):
    with pytest.raises(UsageError, match=r"let it end in .html, .json, .md"):
        files.write(WHOLE, tmp_path / "report.pdf")

    run = tiny_project.run("--agentops-report=report")
    assert run.exit_code == 4
    assert "--agentops-report: report does not say how" in run.stderr


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match="the report cannot be written to"):
        files.write(WHOLE, tmp_path / "file" / "report.md")


def test_properties_of_junit():
    made = take(prompts={"a": "1.0.0"}, findings=("cut_off",), scores={"kind": 0.5})

    assert dict(junit.properties(made)) == {
        "agentops.tokens": "100",
        "agentops.cost": "0.01",
        "agentops.seconds": "2",
        "agentops.model_calls": "1",
        "agentops.tool_calls": "0",
        "agentops.prompt": "a@1.0.0",
        "agentops.finding": "cut_off",
        "agentops.score": "0.5 kind",
    }


# --- runs ------------------------------------------------------------------------------------------------------------

TEST = """
    import pytest
    from agent import ask

    def test_asks(agent_trace, prompts):
        assert ask(prompts["a"].render()) == "re: fine"

    class TestMore:
        @pytest.mark.parametrize("what", ["x", "[y-take2]"])
        def test_more(self, agent_trace, what):
            ask(what)

    def test_of_no_agent():
        pass

    def test_that_asks_nothing(agent_trace):
        pass

    @pytest.mark.agentops(versions={"a": ["1.0.0", "worktree"]})
    def test_versions(agent_trace, prompts):
        ask(prompts["a"].render())
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded tests on main, and a branch for a change of them."""
    project = TinyProject(tmp_path_factory.mktemp("recorded"), plugins=("agentops",))
    house = House(project.path)
    project.write("agent.py", AGENT)
    house.prompt("1.0.0", "user:\nfine")
    house.commit("prompt")
    project.write("test_it.py", TEST)
    record(project)
    house.commit("main")
    house.git("checkout", "-q", "-b", "topic")
    return project.path


@pytest.fixture
def house(tiny_project: TinyProject, recorded: Path) -> House:
    shutil.copytree(recorded, tiny_project.path, dirs_exist_ok=True)
    return House(tiny_project.path)


def record(project: TinyProject, *arguments: str) -> None:
    with ScriptedModel(lambda request: Says(f"re: {request.prompt}")) as model:
        project.run("--agentops-record=changed", *arguments, env={"MODEL_URL": model.base_url})


def typed(project: TinyProject, *arguments: str) -> CommandRun:
    return project.command(sys.executable, "-m", "pytest_agentops", *arguments)


def verdicts(path: Path) -> dict[str, str]:
    return {case["name"]: case["verdict"] for case in json.loads(path.read_text())["cases"]}


@pytest.mark.parametrize("workers", [[], ["-p", "xdist", "-n", "2"]])
def test_a_run_is_put_beside_its_base(house, tiny_project, workers):
    house.prompt("1.1.0", "user:\nworse")
    record(tiny_project)
    (tiny_project.path / "cassettes/test_it/TestMore.test_more[x].yaml").unlink()
    tiny_project.write("test_it.py", TEST.replace('["x", ', "["))

    run = tiny_project.run("--agentops-report=r.json", "--agentops-report=r.html", "--junitxml=j.xml", *workers)

    assert run.exit_code == 1
    assert verdicts(tiny_project.path / "r.json") == {
        "test_it.py::test_asks": "regressed",
        "test_it.py::TestMore::test_more[[y-take2]]": "same",
        "test_it.py::test_versions[a@1.0.0]": "same",
        "test_it.py::test_versions[a@worktree]": "changed",
        "cassettes/test_it/TestMore.test_more[x].yaml": "gone",
    }
    [variant] = json.loads((tiny_project.path / "r.json").read_text())["variants"]
    assert (variant["name"], variant["verdict"]) == ("test_it.py::test_versions: a@1.0.0 → a@worktree", "changed")
    assert "agentops: worse" in run.stdout
    assert "written: r.json" in run.stdout
    assert '<property name="agentops.prompt" value="a@1.1.0"' in (tiny_project.path / "j.xml").read_text()


def test_each_take_has_a_cassette_and_the_first_keeps_the_name(house, tiny_project):
    shown = tiny_project.run("--agentops-trials=3", "--collect-only", "-q").stdout.splitlines()
    record(tiny_project, "--agentops-trials=3")

    assert [line for line in shown if "test_asks" in line or "of_no_agent" in line] == [
        "test_it.py::test_asks",
        "test_it.py::test_asks[take2]",
        "test_it.py::test_asks[take3]",
        "test_it.py::test_of_no_agent",
    ]
    names = sorted(path.name for path in (tiny_project.path / "cassettes/test_it").glob("*more*"))
    assert names == sorted(
        f"TestMore.test_more[{what}]{take}.yaml" for what in ("x", "[y-take2]") for take in ("", ".take2", ".take3")
    )
    assert tiny_project.run("--agentops-trials=3", "--agentops-record=none").outcomes == {"passed": 19}
    assert tiny_project.run("--agentops-trials=0").exit_code == 4


def test_a_take_that_is_not_recorded_says_how_to_record_it(house, tiny_project):
    run = tiny_project.run("--agentops-trials=2", "--agentops-record=none", "-k", "test_asks")

    assert "pytest test_it.py::test_asks --agentops-trials=2 --agentops-record=once" in run.stdout


def test_takes_that_fail_are_kept_and_the_gates_decide(tiny_project):
    house = House(tiny_project.path)
    tiny_project.write("agent.py", AGENT)
    tiny_project.write("pyproject.toml", '[tool.agentops.gate]\npass_rate = ">= 20%"\n')
    tiny_project.write("test_it.py", "from agent import ask\ndef test_it(agent_trace):\n    assert ask('x') == 'good'")
    answers = ["good", "bad", "good", "good"]
    with ScriptedModel(lambda request: Says(answers.pop())) as model:
        live = tiny_project.run("--agentops-trials=4", env={"MODEL_URL": model.base_url})
    house.commit("main")

    replayed = tiny_project.run("--agentops-trials=4", "--agentops-record=none")

    for run in (live, replayed):
        assert run.outcomes == {"passed": 3, "failed": 1}
        assert run.exit_code == 0
        assert "gate passed    pass_rate >= 20%: 30.1 % to 95.4 %, 3 of 4 takes" in run.stdout
    tiny_project.write("pyproject.toml", '[tool.agentops.gate]\npass_rate = ">= 50%"\nundecided = "fail"\n')
    assert tiny_project.run("--agentops-trials=4", "--agentops-record=none").exit_code == 1
    # Without a gate a failing take is a failing test, and what was not recorded fails whatever the gates say.
    tiny_project.write("pyproject.toml", '[tool.agentops.gate]\npass_rate = ">= 20%"\n')
    assert tiny_project.run("--agentops-trials=5", "--agentops-record=none").exit_code == 1
    tiny_project.write("pyproject.toml", "")
    assert tiny_project.run("--agentops-trials=4", "--agentops-record=none").exit_code == 1


def test_a_test_that_asks_something_else_is_not_compared(house, tiny_project):
    tiny_project.write("test_it.py", TEST.replace("ask(what)", "ask('another ' + what)"))
    record(tiny_project)

    tiny_project.run("--agentops-report=r.json", "-k", "TestMore")

    assert set(verdicts(tiny_project.path / "r.json").values()) == {"not comparable"}


def test_the_commands_read_what_a_run_wrote(house, tiny_project):
    tiny_project.run("--agentops-report=a.json", "-k", "test_asks")
    tiny_project.run("--agentops-report=b.json", "-k", "TestMore")

    merged = typed(tiny_project, "report", "merge", "a.json", "b.json", "-o", "whole.json", "-o", "whole.html")

    assert (merged.exit_code, merged.stdout.splitlines()[2]) == (0, "0 regressed, 0 changed, 0 improved, 3 the same")
    assert len(verdicts(tiny_project.path / "whole.json")) == 3
    assert typed(tiny_project, "report", "show", "whole.json", "--markdown").stdout.startswith(
        "<!-- pytest-agentops -->"
    )
    assert typed(tiny_project, "report", "show", "nope.json").exit_code == 2
    assert typed(tiny_project, "report", "show", "test_it.py").exit_code == 1
    asked = [
        typed(tiny_project, "gate", "whole.json", *arguments).exit_code
        for arguments in ([], ["--require", "regressed == 0"], ["--require", "tokens < 1"], ["--require", "x"])
    ]
    assert asked == [2, 0, 1, 2]
    twice = typed(tiny_project, "gate", "whole.json", "--require", "tokens < 1", "--require", "tokens < 100000")
    assert (twice.exit_code, twice.stdout.count("gate ")) == (1, 2)


# --- what a report vouches for ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reported(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a report that is kept."""
    project = TinyProject(
        Path(shutil.copytree(recorded, tmp_path_factory.mktemp("reported") / "it")), plugins=("agentops",)
    )
    project.write("data/cases.csv", "a,b\n")
    run = project.run("--agentops-report=report.md", "--agentops-report=report.html")
    assert "written: report.md" in run.stdout
    House(project.path).commit("with its report")
    return project.path


@pytest.fixture
def kept(reported: Path, tiny_project: TinyProject) -> Path:
    shutil.copytree(reported, tiny_project.path, dirs_exist_ok=True)
    return tiny_project.path / "report.md"


def test_a_report_that_tells_of_what_is_here_is_accepted(kept, tiny_project, tmp_path):
    house = House(kept.parent)
    assert typed(tiny_project, "report", "verify", "report.md").stdout == (
        "report.md tells of what is here: prompts, tools, datasets, cassettes, code are as they were\n"
    )
    house.git("clone", "-q", str(house.root), str(tmp_path / "clone"))
    assert verify(tmp_path / "clone" / "report.md", History(tmp_path / "clone" / "prompts")).commit


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("prompts/a.prompty", "prompts"),
        ("cassettes/test_it/test_asks.yaml", "cassettes"),
        ("data/cases.csv", "datasets"),
        ("agent.py", "code"),
        ("new.py", "code"),
    ],
)
def test_a_report_is_stale_once_what_it_tells_of_is_another(kept, tiny_project, file, part):
    path = tiny_project.path / file
    path.write_text((path.read_text() if path.exists() else "") + "# more\n")

    told = typed(tiny_project, "report", "verify", "report.md")

    assert told.exit_code == 1
    assert f"is stale; what it tells of is another by now: {part}" in told.stderr
    assert f"at which it was made: {file}" in told.stderr or file in told.stderr


def test_an_edited_report_is_refused(kept, tiny_project):
    whole = kept.read_text()
    for edited, told in [
        (whole.replace("the same", "much better", 1), "was edited: its text is not the one that was sealed"),
        (whole.rsplit("<!--", 1)[0], "has no seal"),
        (whole.replace('"version": 1', '"version": 9'), "has a seal of version 9"),
        (whole.replace('"commit"', '"comit"'), "has a seal that cannot be read"),
    ]:
        kept.write_text(edited)
        run = typed(tiny_project, "report", "verify", "report.md")
        assert run.exit_code == 1
        assert told in run.stderr
    kept.write_text(whole.replace("\n", "\r\n"), newline="")
    assert typed(tiny_project, "report", "verify", "report.md").exit_code == 0


def test_a_report_of_another_project_is_refused(kept, tmp_path):
    other = House(tmp_path / "other")
    other.prompt("1.0.0", "user:\nElse")
    other.commit()
    (other.root / "report.md").write_text(kept.read_text())

    with pytest.raises(ReportError, match="is stale; what it tells of is another by now"):
        verify(other.root / "report.md", other.prompts.history)


def test_tools_are_vouched_for_as_they_were_offered(tmp_path):
    house = House(tmp_path / "h")
    house.prompt("1.0.0")
    house.commit()
    path = house.root / "r.md"

    path.write_text(sealed(markdown.text(WHOLE), path, house.prompts.history))

    assert set(verify(path, house.prompts.history).parts) == set(PARTS)


# --- what a breaker found --------------------------------------------------------------------------------------------


FLAKY = """
    from agent import ask

    def test_it(agent_trace):
        assert ask("x") == "good"
"""


@pytest.fixture(scope="module")
def recorded_takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed test that passes in three of four takes."""
    project = TinyProject(tmp_path_factory.mktemp("takes"), plugins=("agentops",))
    house = House(project.path)
    project.write("agent.py", AGENT)
    project.write("test_it.py", FLAKY)
    answers = ["good", "bad", "good", "good"]
    with ScriptedModel(lambda request: Says(answers.pop())) as model:
        project.run("--agentops-trials=4", env={"MODEL_URL": model.base_url})
    house.commit("main")
    return project.path


@pytest.fixture
def flaky(tiny_project: TinyProject, recorded_takes: Path) -> TinyProject:
    shutil.copytree(recorded_takes, tiny_project.path, dirs_exist_ok=True)
    return tiny_project


@pytest.mark.parametrize(
    ("gate", "code"),
    [('pass_rate = ">= 20%"', 0), ('regressed = "== 0"', 0), ('tokens = "<= 1000"', 1), ("", 1)],
)
def test_a_failing_take_is_excused_by_a_gate_that_looks_at_how_takes_end_alone(flaky, gate, code):
    flaky.write("pyproject.toml", f"[tool.agentops.gate]\n{gate}\n")

    assert flaky.run("--agentops-trials=4", "--agentops-record=none").exit_code == code


LATER = """
    import pytest

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(session):
        result = yield
        session.testsfailed += 1
        return result
"""


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("test_broken.py", "import nothing_there", ["--continue-on-collection-errors"]),
        ("conftest.py", LATER, []),
        ("empty.txt", "", ["-x"]),
        ("test_new.py", "from agent import ask\n\ndef test_new(agent_trace):\n    raise ValueError(ask('new'))", []),
    ],
)
def test_nothing_but_judged_takes_is_excused(flaky, name, text, options):
    flaky.write("pyproject.toml", '[tool.agentops.gate]\nregressed = "== 0"\n')
    flaky.write(name, text)

    with ScriptedModel(lambda request: Says("good")) as model:
        env = {"MODEL_URL": model.base_url}
        assert flaky.run("--agentops-trials=4", *options, env=env).exit_code == 1


def test_a_test_whose_cassette_cannot_be_read_is_told_of(house, tiny_project):
    path = tiny_project.path / "cassettes/test_it/test_asks.yaml"
    path.write_text("<<<<<<< ours\n" + path.read_text())

    tiny_project.run("--agentops-report=r.json", "-k", "test_asks")

    assert verdicts(tiny_project.path / "r.json") == {"test_it.py::test_asks": "not comparable"}
    assert "markers of an unresolved merge" in (tiny_project.path / "r.json").read_text()


@pytest.mark.parametrize(("mark", "verdict"), [("skip", "not comparable"), ("xfail", "changed")])
def test_a_test_that_is_skipped_or_expected_to_fail_is_not_hidden(house, tiny_project, mark, verdict):
    house.prompt("1.1.0", "user:\nworse")
    tiny_project.write("test_it.py", TEST.replace("    def test_asks(", f"    @pytest.mark.{mark}\n    def test_asks("))
    record(tiny_project)

    tiny_project.run("--agentops-report=r.json", "-k", "test_asks")

    assert verdicts(tiny_project.path / "r.json") == {"test_it.py::test_asks": verdict}


def test_recorded_tests_that_had_no_part_in_a_run_are_named(house, tiny_project):
    run = tiny_project.run("--agentops-report=r.json", "-k", "test_asks or test_versions")

    assert "recorded tests that had no part in this run: cassettes/test_it/TestMore.test_more[" in run.stdout


def test_a_run_in_which_no_test_of_ours_ran_has_a_report_that_says_so(house, tiny_project):
    tiny_project.write("pyproject.toml", '[tool.agentops.gate]\npass_rate = ">= 0"\n')

    run = tiny_project.run("--agentops-report=r.json", "-k", "test_of_no_agent")

    assert run.exit_code == 1
    assert "pass_rate >= 0: it is not known: no recorded test was there" in run.stdout


def test_a_shared_cassette_anywhere_is_compared(tiny_project):
    house = House(tiny_project.path)
    tiny_project.write("agent.py", AGENT)
    test = """
        import pytest
        from agent import ask

        @pytest.mark.agentops(cassette="shared.yaml")
        def test_it(agent_trace):
            assert ask("x") == "good"
    """
    tiny_project.write("test_it.py", test)
    for answer in ("good", "bad"):
        with ScriptedModel(Says(answer)) as model:
            tiny_project.run("--agentops-record=all", "--agentops-trials=2", env={"MODEL_URL": model.base_url})
        if answer == "good":
            house.commit("main")

    tiny_project.run("--agentops-report=r.json", "--agentops-base=HEAD", "--agentops-trials=2")

    assert verdicts(tiny_project.path / "r.json") == {"test_it.py::test_it": "too few runs to tell"}


def test_an_old_report_does_not_outlive_a_run_that_was_stopped(house, tiny_project):
    tiny_project.run("--agentops-report=r.json", "-k", "test_asks")
    tiny_project.write("test_broken.py", "import nothing_there")

    run = tiny_project.run("--agentops-report=r.json")

    assert run.exit_code == 2
    assert not (tiny_project.path / "r.json").exists()
    assert "there is no new r.json" in run.stdout


def test_a_file_that_is_no_report_is_not_written_over(house, tiny_project):
    tiny_project.write("README.md", "# Mine")

    run = tiny_project.run("--agentops-report=README.md")

    assert run.exit_code == 4
    assert "README.md is there, and it is no report; it stays as it is" in run.stderr
    assert (tiny_project.path / "README.md").read_text() == "# Mine"


def test_versions_are_compared_whatever_takes_there_are(house, tiny_project):
    house.prompt("1.1.0", "user:\nworse")
    record(tiny_project, "--agentops-trials=3")

    tiny_project.run("--agentops-trials=3", "--agentops-report=r.json", "-k", "test_versions")

    data = json.loads((tiny_project.path / "r.json").read_text())
    assert [(each["name"], len(each["base"]), len(each["head"])) for each in data["variants"]] == [
        ("test_it.py::test_versions: a@1.0.0 → a@worktree", 3, 3)
    ]


def test_takes_that_need_not_run_are_one_test(flaky):
    flaky.write("pyproject.toml", '[tool.agentops.gate]\nregressed = "== 0"\n')
    House(flaky.path).commit("gate")

    for trials in (["--agentops-trials=4"], []):
        flaky.run("--agentops-impacted", "--agentops-base=HEAD", "--agentops-report=r.json", *trials)
        [case] = json.loads((flaky.path / "r.json").read_text())["cases"]
        assert (case["verdict"], len(case["base"]), len(case["head"])) == ("same", 4, 4)


def test_reports_of_ours_are_no_code(house, tiny_project):
    options = ["--agentops-impacted", "--agentops-base=HEAD"]
    tiny_project.run(*options, *(f"--agentops-report=r.{kind}" for kind in ("md", "html", "json")))

    assert tiny_project.run(*options).outcomes == {"passed": 2, "deselected": 5}


def test_odd_numbers_and_depths_are_no_traceback(tmp_path):
    odd = (ToolCall("a", {"x": float("nan"), "deep": json.loads("[" * 900 + "]" * 900)}),)
    trace = Trace((ModelCall("1", "p", "m", tool_calls=odd, usage=Usage(10**400, 1)),))

    made = report(Case("x", (), (Take.seen(trace, outcome="passed"),)))

    assert Report.from_json(made.to_json()) == made
    for old, new in [('"seconds": null', '"seconds": NaN'), ('"tokens": null', f'"tokens": {"9" * 400}')]:
        with pytest.raises(ReportError):
            Report.from_json(made.to_json().replace(old, new))


def test_a_secret_of_the_command_line_is_not_in_the_report(house, tiny_project):
    tiny_project.write("conftest.py", "def pytest_addoption(parser):\n    parser.addoption('--api-key')")
    key = "sk-proj-" + "Ab3dEf6hIj" * 5

    tiny_project.run("--agentops-report=r.json", "-k", "test_asks", f"--api-key={key}")

    assert key not in (tiny_project.path / "r.json").read_text()
    assert "--api-key=" in (tiny_project.path / "r.json").read_text()


def test_long_names_do_not_make_a_comment_too_long():
    cases = [Case(f"test_{number}{'x' * 3000}", takes(5, 5), takes(0, 5)) for number in range(60)]

    assert len(markdown.text(report(*cases, command="y" * 3000))) <= 65_536


def test_what_tells_a_terminal_what_to_do_is_shown_and_not_done():
    case = Case("a\x1b[2J", (take(),), (take(response="\x1b]0;title\x07"),))

    for text in ("\n".join(lines(report(case))), markdown.text(report(case)), html.text(report(case))):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)


def test_a_seal_of_odd_values_is_an_edited_one(kept, tiny_project):
    whole = kept.read_text()
    commit = re.search('"commit": "([0-9a-f]{40})"', whole)
    assert commit is not None
    for odd in ("5", "null", '"\\u001b[2J"', "[" * 5000 + "]" * 5000):
        kept.write_text(whole.replace(f'"{commit[1]}"', odd))
        run = typed(tiny_project, "report", "verify", "report.md")
        assert (run.exit_code, "a seal that cannot be read" in run.stderr) == (1, True)


def test_a_checkout_with_other_ends_of_lines_is_the_same(kept, tmp_path):
    house = House(kept.parent)
    house.git("-c", "core.autocrlf=true", "clone", "-q", str(house.root), str(tmp_path / "clone"))

    assert verify(tmp_path / "clone" / "report.md", History(tmp_path / "clone" / "prompts")).commit


# --- what a reader stumbled over -------------------------------------------------------------------------------------


def test_the_number_of_takes_is_a_setting_too(flaky):
    flaky.write("pyproject.toml", '[tool.agentops]\ntrials = 4\n\n[tool.agentops.gate]\npass_rate = ">= 20%"\n')

    run = flaky.run("--agentops-record=none")

    assert (run.exit_code, run.outcomes) == (0, {"passed": 3, "failed": 1})
    assert "1 failing take fails no run: the gates judge how takes end" in run.stdout
    flaky.write("pyproject.toml", '[tool.agentops]\ntrials = "many"\n')
    told = flaky.run()
    assert told.exit_code == 4
    assert "trials = 'many' in pyproject.toml must be a number from 1 to 1000" in told.stderr


def test_takes_that_did_not_run_are_told_of(flaky):
    run = flaky.run("--agentops-report=r.json", "--agentops-record=none")

    assert "up to 4 takes are recorded at the base of tests that ran fewer times (1): --agentops-trials=4" in run.stdout


def test_takes_that_were_never_recorded_do_not_hide_those_that_were(flaky):
    run = flaky.run("--agentops-report=r.json", "--agentops-record=none", "--agentops-trials=6")

    assert run.exit_code == 1
    assert verdicts(flaky.path / "r.json") == {"test_it.py::test_it": "same"}


def test_a_cost_that_nobody_knows_fails_its_gate():
    case = Case("x", (take(figures=UNPRICED),), (take(figures=UNPRICED),))

    assert decided("cost_increase <= 10%", case) == (
        "failed    cost_increase <= 10%: it is not known: 1 of 1 tests do not tell their cost on both sides"
    )


def test_what_had_no_part_in_one_shard_may_have_had_in_another():
    first, second = (
        report(Case(name, (), (take(),)), absent=absent) for name, absent in (("a", ("b", "c")), ("b", ("a", "c")))
    )

    assert Report.merged([first, second]).absent == ("c",)


def test_an_undecided_gate_is_in_the_verdict():
    assert report(Case("x", takes(3, 4), takes(3, 4)), gates={"pass_rate": ">= 50%"}).verdict == "undecided"
