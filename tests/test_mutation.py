"""The mutation check: which changes of a run the comparisons of its test would not have noticed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pytest_agentops import call, in_order, includes, judged, matches_schema, never, only_tools, trace
from pytest_agentops.expect import Expectation
from pytest_agentops.explain import mutant_line
from pytest_agentops.mutation import MOST_MUTANTS, mutants, survey
from pytest_agentops.testing import Asks, Says, ScriptedModel, TinyProject, ToolRequest
from pytest_agentops.trace import Attempt, Comparison, Message, ModelCall, ResponseText, ToolCall, Trace
from tests.test_plugin import summary

LOOKUP, VERIFY = ToolCall("lookup", {"order": 42}), ToolCall("verify")
REFUND = ToolCall("refund", {"order": 42, "note": "late", "parts": [1], "express": True, "to": None, "by": {"x": 1}})


def run_of(*steps: list[ToolCall], answer: str = "Done.", offered: tuple[str, ...] = ()) -> Trace:
    tools = tuple({"type": "function", "function": {"name": name}} for name in offered)
    calls = [
        ModelCall(
            f"call-{number}",
            "openai",
            "m",
            messages=(
                Message("user", "Please."),
                *(Message("tool", tool_call_id=f"id-{each}") for each in range(number)),
            ),
            tools=tools,
            tool_calls=tuple(ToolCall(each.name, each.arguments, "ok", "ok", f"id-{number}", number) for each in step),
            response=ResponseText("" if step else answer),
            attempts=(Attempt(number + 1),),
        )
        for number, step in enumerate([*steps, []])
    ]
    return Trace(tuple(calls), exchanges=len(calls))


@contextmanager
def heard() -> Iterator[list[Comparison]]:
    found: list[Comparison] = []
    trace.observers.append(found.append)
    try:
        yield found
    finally:
        trace.observers.remove(found.append)


def unnoticed(run: Trace, *tests: Callable[[Trace], bool]) -> list[str]:
    """The lines of what nobody notices; every test passes."""
    with heard() as comparisons:
        assert all(test(run) for test in tests)
    return [mutant_line(mutant) for mutant in survey(run, comparisons).unnoticed]


def test_every_kind_of_change_is_tried():
    run = run_of([LOOKUP], [VERIFY, REFUND], offered=("lookup", "wipe", "verify", "mail"))

    assert list(map(mutant_line, mutants(run))) == [
        "dropped   lookup(order=42) in step 0",
        "doubled   lookup(order=42) in step 0",
        "renamed   lookup(order=42) in step 0, to another_tool",
        "changed   lookup(order=42) in step 0, order to 43",
        "dropped   verify() in step 1",
        "doubled   verify() in step 1",
        "renamed   verify() in step 1, to another_tool",
        *(
            f"{kind}refund(order=42, note='late', parts=[1], express=True, to=None, by={{'x': 1}}) in step 1{became}"
            for kind, became in [
                ("dropped   ", ""),
                ("doubled   ", ""),
                ("renamed   ", ", to another_tool"),
                ("changed   ", ", order to 43"),
                ("changed   ", ", note to 'another text'"),
                ("changed   ", ", parts to [None]"),
                ("changed   ", ", express to False"),
                ("changed   ", ", to to 'another text'"),
                ("changed   ", ", by to {}"),
            ]
        ),
        "swapped   lookup(order=42) in step 0 with verify() in step 1",
        "added     mail() to step 1",
        "added     wipe() to step 1",
        "blanked   the answer",
    ]


def test_a_run_without_tools_may_have_called_one_and_answered_nothing():
    assert list(map(mutant_line, mutants(run_of()))) == ["added     another_tool() to step 0", "blanked   the answer"]
    assert list(mutants(Trace())) == []


def test_steps_that_are_the_same_are_not_swapped():
    assert [mutant.kind for mutant in mutants(run_of([VERIFY], [VERIFY]))].count("swapped") == 0


def test_a_whole_comparison_notices_everything():
    run = run_of([LOOKUP], [VERIFY, REFUND], offered=("wipe",))
    whole = [
        call("lookup", LOOKUP.arguments).exactly(),
        call("verify").exactly(),
        call("refund", REFUND.arguments).exactly(),
    ]

    assert unnoticed(run, lambda run: run.trajectory == whole, lambda run: run.response == "Done.") == []


def test_nothing_compared_notices_nothing():
    run = run_of([LOOKUP])

    assert survey(run, []).unnoticed == tuple(mutants(run))


def test_bare_names_notice_names_and_no_arguments():
    run = run_of([LOOKUP], [VERIFY])

    assert unnoticed(run, lambda run: run.trajectory == ["lookup", "verify"]) == [
        "changed   lookup(order=42) in step 0, order to 43",
        "blanked   the answer",
    ]


@pytest.mark.parametrize(
    ("test", "seen"),
    [
        (lambda run: run.trajectory == never("wipe"), "added wipe"),
        (lambda run: run.trajectory == only_tools("lookup", "verify"), "renamed lookup, renamed verify, added wipe"),
        (lambda run: "Done" in run.response, "blanked"),
        (lambda run: run.response != "Refused.", ""),
        (lambda run: call("verify") in run.trajectory, "dropped verify, renamed verify"),
        (lambda run: "wipe" not in run.trajectory, "added wipe"),
        (lambda run: run.trajectory.after("lookup") == ["verify"],
         "dropped lookup, renamed lookup, dropped verify, doubled verify, renamed verify, swapped lookup, added wipe"),
        (lambda run: run.trajectory.successful == includes("verify"), "dropped verify, renamed verify"),
        (lambda run: run.steps[1].trajectory == ["verify"],
         "dropped verify, doubled verify, renamed verify, swapped lookup, added wipe"),
        (lambda run: run.turns[0].trajectory == in_order("lookup", "verify"),
         "dropped lookup, renamed lookup, dropped verify, renamed verify, swapped lookup"),
        (lambda run: run.trajectory.turn(0) == ["lookup", "verify"],
         ("dropped lookup, doubled lookup, renamed lookup, dropped verify, doubled verify, renamed verify, "
          "swapped lookup, added wipe")),
    ],
)  # fmt: skip
def test_what_a_comparison_sees(test, seen):
    run = run_of([LOOKUP], [VERIFY], offered=("lookup", "verify", "wipe"))

    left = unnoticed(run, test)

    noticed = [line for line in map(mutant_line, mutants(run)) if line not in left]
    assert ", ".join(" ".join(re.split(r"\(| the ", line)[0].split()) for line in noticed) == seen


def test_a_comparison_that_raises_for_a_mutant_notices_it():
    def strict(value: object) -> bool:
        if value != 42:
            raise LookupError
        return True

    left = unnoticed(run_of([LOOKUP]), lambda run: call("lookup", order=strict) in run.trajectory)

    assert not any(line.startswith("changed") for line in left)


def test_a_comparison_of_another_run_notices_nothing():
    run, other = run_of([LOOKUP]), Trace((ModelCall("elsewhere", "openai", "m", attempts=(Attempt(1),)),), exchanges=1)

    assert len(unnoticed(run, lambda _run: other.trajectory == [])) == len(list(mutants(run)))


def test_a_comparison_made_early_is_made_again_of_what_was_there_then():
    run = run_of([LOOKUP], [VERIFY])
    early = Trace(run.model_calls[:1], exchanges=1)

    left = unnoticed(run, lambda _run: early.trajectory == ["lookup"])

    assert [line for line in left if "lookup" in line] == ["changed   lookup(order=42) in step 0, order to 43"]
    assert any("verify" in line for line in left)


def test_a_long_trace_is_changed_in_so_many_places_all_over_it():
    run = run_of(*([ToolCall("look", {"page": page})] for page in range(400)))

    found = survey(run, [])

    assert MOST_MUTANTS / 2 < found.tried <= MOST_MUTANTS
    assert {mutant.was.step // 100 for mutant in found.unnoticed if mutant.was} == {0, 1, 2, 3}


def test_no_model_is_asked_again(scripted_model):
    import openai

    model = scripted_model(Says('{"reason": "It is.", "verdict": "pass"}'))
    with openai.OpenAI(base_url=model.base_url, api_key="scripted") as client:
        polite = judged("is polite", client=client)
        run = run_of([LOOKUP])
        left = unnoticed(run, lambda run: run.trajectory == never("wipe") & polite, lambda run: run.response == polite)

    assert len(model.requests) == 1
    assert [line.partition(" ")[0] for line in left] == ["dropped", "doubled", "renamed", "changed", "added"]


def test_an_expectation_of_the_answer_notices_that_it_is_gone():
    run = run_of([LOOKUP], answer='{"total": 1}')

    assert "blanked   the answer" not in unnoticed(run, lambda run: run.response == matches_schema({"type": "object"}))


def test_expectations_are_asked_without_being_heard():
    expectation: Expectation = never("wipe")

    with heard() as comparisons:
        assert expectation.mismatch(run_of([LOOKUP])) is None

    assert comparisons == []


# --- in a run --------------------------------------------------------------------------------------------------------

TEST = """
    import os
    from openai import OpenAI
    from pytest_agentops import never

    def work():
        tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("look", "wipe")]
        with OpenAI(base_url=os.environ.get("MODEL_URL", "http://127.0.0.1:9/v1"), api_key="any") as client:
            messages = [{"role": "user", "content": "Please."}]
            answer = client.chat.completions.create(model="m", messages=messages, tools=tools).choices[0].message
            messages += [answer.model_dump(exclude_none=True)]
            messages += [{"role": "tool", "tool_call_id": each.id, "content": "ok"} for each in answer.tool_calls]
            client.chat.completions.create(model="m", messages=messages, tools=tools)

    def test_names(agent_trace):
        work()
        assert agent_trace.trajectory == ["look"]

    def test_whole(agent_trace):
        work()
        assert agent_trace.trajectory == ["look"]
        assert agent_trace.steps[0].tool_calls[0].arguments == {"page": 1}
        assert "Done" in agent_trace.response

    def test_figures(agent_trace):
        work()
        assert len(agent_trace.tool_calls) == 1

    def test_fails(agent_trace):
        work()
        assert agent_trace.trajectory == never("look")
"""


@pytest.fixture
def project(tiny_project: TinyProject) -> TinyProject:
    tiny_project.write("test_it.py", TEST)
    script = [Asks(ToolRequest("look", {"page": 1})), Says("Done.")] * 4
    with ScriptedModel(*script) as model:
        tiny_project.run(env={"MODEL_URL": model.base_url})
    return tiny_project


def mutation_section(stdout: str) -> list[str]:
    return stdout.partition("agentops: mutation check")[2].partition("===")[0].splitlines()[1:]


TOLD = [
    "9 of 18 changes to 3 traces noticed (50 %)",
    "test_it.py::test_names: 2 of 6 not noticed",
    "  changed   look(page=1) in step 0, page to 2",
    "  blanked   the answer",
    "test_it.py::test_whole: 1 of 6 not noticed",
    "  changed   look(page=1) in step 0, page to 2",
    "test_it.py::test_figures: 6 of 6 not noticed",
    "  it compared nothing that can be compared again",
    "  dropped   look(page=1) in step 0",
    "  doubled   look(page=1) in step 0",
    "  renamed   look(page=1) in step 0, to another_tool",
    "  changed   look(page=1) in step 0, page to 2",
    "  added     wipe() to step 0",
    "  blanked   the answer",
    "What a test compares with a trajectory or a response by == or in is compared again. Other checks are not",
    "seen (len, usage, cost, findings, re.search, .json()): what only they notice is listed all the same.",
]


def test_passing_tests_tell_what_they_would_not_have_noticed(project):
    run = project.run("--agentops-mutate")

    assert run.outcomes == {"passed": 3, "failed": 1}
    assert mutation_section(run.stdout)[: len(TOLD)] == TOLD


def test_workers_tell_the_same(project):
    run = project.run("-p", "xdist", "-n", "2", "--agentops-mutate")

    assert sorted(mutation_section(run.stdout)[: len(TOLD)]) == sorted(TOLD)


def test_without_the_option_nothing_is_told(project):
    assert "mutation" not in project.run().stdout
    assert summary(project.run())[0].startswith("agentops: 8 model calls")


def test_a_run_without_traces_says_so(tiny_project):
    tiny_project.write("test_it.py", "def test_it(): pass")

    run = tiny_project.run("--agentops-mutate")

    assert "no passing test has a trace that could be changed" in run.stdout


def test_what_pytest_raises_in_a_comparison_is_noticed_and_fails_nothing():
    class Strict:
        def __eq__(self, other: object) -> bool:
            return True if other == 42 else pytest.fail("not 42")

        __hash__ = None  # type: ignore[assignment]

    left = unnoticed(run_of([LOOKUP]), lambda run: call("lookup", order=Strict()) in run.trajectory)

    assert not any(line.startswith("changed") for line in left)


@pytest.mark.parametrize("value", [1e16, float("nan"), float("inf"), -1, True, ""])
def test_a_changed_value_is_another_one(value):
    run = run_of([ToolCall("pay", {"amount": value})])
    [changed] = [mutant for mutant in mutants(run) if mutant.kind == "changed"]

    assert repr(changed.now.arguments["amount"]) != repr(value)
