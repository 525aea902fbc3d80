"""What is taken away from trying prompts: a version that real git has, a test that real pytest passes offline."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from random import Random

import pytest
from openai import OpenAI

import pytest_agentops
from pytest_agentops import PromptRepository
from pytest_agentops.capture import Recording, watching
from pytest_agentops.errors import HistoryError, PromptError, PromptSyntaxError, SecretFound, UsageError
from pytest_agentops.kinds import Field
from pytest_agentops.releases import check, lock
from pytest_agentops.saving import (
    NewTest,
    containing,
    literal,
    offered,
    save_test,
    save_version,
    suggested_branch,
    suggested_test,
)
from pytest_agentops.tape import Tape, load
from pytest_agentops.testing import Asks, Says, ScriptedModel, TinyProject, ToolRequest
from pytest_agentops.trace import ModelCall, ResponseText, ToolCall, Trace
from pytest_agentops.trees import CommitTree, EditedTree
from tests.test_repository import House

DAY = date(2026, 11, 28)
HI = "---\nname: a\nversion: 1.0.0\n---\nuser:\nHi\n"
HELLO = HI.replace("Hi", "Hello there")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "ada@example.com")
    house = House(tmp_path / "house")
    house.prompt("1.0.0")
    house.locked()
    house.commit("The first state")
    return house


# --- a version -------------------------------------------------------------------------------------------------------


def test_a_version_is_a_real_commit_on_a_new_branch_with_what_a_bump_would_write(house):
    plan = save_version(house.prompts, "a", HELLO, message="Greets properly\n\nPeople had asked.", today=DAY)
    commit = plan.apply()

    assert plan.branch == "prompt/a-1.1.0"
    assert plan.plan.steps == (
        f"a commit on the new branch prompt/a-1.1.0, which starts from main ({plan.parent[:9]})",
        "a: 1.0.0 -> 1.1.0 (minor)\n  the body changed",
    )
    assert house.git("rev-parse", "prompt/a-1.1.0", "prompt/a-1.1.0^").split() == [commit, plan.parent]
    assert house.git("log", "-1", "--format=%an <%ae>|%cn|%B", commit).strip() == (
        "Ada <ada@example.com>|Ada|a 1.1.0: Greets properly\n\nPeople had asked."
    )
    assert house.git("diff", "--name-only", "main", "prompt/a-1.1.0").split() == [
        "prompts/CHANGELOG.md", "prompts/a.prompty", "prompts/prompts.lock",
    ]  # fmt: skip
    assert house.git("show", f"{commit}:prompts/a.prompty") == HELLO.replace("1.0.0", "1.1.0")
    assert "## a 1.1.0 (2026-11-28)\n\n- Greets properly People had asked. (minor)" in house.git(
        "show", f"{commit}:prompts/CHANGELOG.md"
    )


def test_the_branch_that_was_made_has_the_version_and_owes_nothing(house):
    prompts = house.prompts
    plan = save_version(prompts, "a", HELLO, message="Greets properly")
    plan.apply()

    assert prompts.at(plan.branch)["a"].version == "1.1.0"
    assert prompts.at(plan.branch)["a"].render() == "Hello there"
    house.git("switch", "-q", plan.branch)
    assert list(check(house.prompts, "main")) == []


def test_what_is_changed_staged_or_new_in_the_working_tree_stays_as_it_is(house):
    house.write("a.prompty", "not even a prompt {{")
    house.write("staged.txt", "staged")
    house.git("add", "prompts/staged.txt")
    house.write("staged.txt", "and changed since")
    house.write("new.prompty", "user:\nNew")
    before = house.git("status", "--porcelain"), house.git("diff"), house.git("diff", "--cached")

    plan = save_version(house.prompts, "a", HELLO, message="why")
    plan.apply()

    assert (house.git("status", "--porcelain"), house.git("diff"), house.git("diff", "--cached")) == before
    assert house.git("branch", "--show-current").strip() == "main"
    assert house.git("ls-tree", "--name-only", f"{plan.branch}:prompts").split() == [
        "CHANGELOG.md", "a.prompty", "prompts.lock",
    ]  # fmt: skip
    assert plan.in_the_way == ("prompts/a.prompty",)
    assert plan.commands == ("git stash", "git switch prompt/a-1.1.0")


def test_a_prompt_that_is_not_committed_yet_can_be_saved_as_its_first_version(house):
    house.write("b/new.prompty", "user:\nNot committed")

    plan = save_version(house.prompts, "b/new", "user:\nNew\n", message="begins")
    plan.apply()

    assert plan.branch == "prompt/b-new-1.0.0"
    assert plan.plan.edits[0].old is None
    assert house.prompts.at(plan.branch)["b/new"].version == "1.0.0"


def test_line_ends_and_byte_order_marks_stay_those_of_the_file(house):
    (house.folder / "a.prompty").write_bytes(b"\xef\xbb\xbf" + HI.replace("\n", "\r\n").encode())
    house.git("-c", "core.autocrlf=false", "commit", "-qam", "as Windows writes it")

    plan = save_version(house.prompts, "a", HELLO, message="why")

    assert plan.plan.edits[0].new == "\ufeff" + HELLO.replace("1.0.0", "1.1.0").replace("\n", "\r\n")


def test_a_level_can_be_asked_for_and_a_branch_be_named(house):
    plan = save_version(house.prompts, "a", HELLO, message="why", level="major", branch=" try/this ")

    assert (plan.branch, plan.bump.new) == ("try/this", "2.0.0")


def test_what_no_model_sees_is_a_version_where_a_level_is_asked_for(house):
    described = HI.replace("name: a", "name: a\ndescription: Greets")

    assert save_version(house.prompts, "a", described, message="why", level="patch").bump.new == "1.0.1"


def test_other_files_go_with_a_version(house):
    from pytest_agentops.releases import Edit

    beside = Edit(house.root / "tests/test_a.py", None, "def test_a(): pass\n")
    plan = save_version(house.prompts, "a", HELLO, message="why", beside=[beside])
    plan.apply()

    assert house.git("show", f"{plan.branch}:tests/test_a.py") == "def test_a(): pass\n"
    assert not (house.root / "tests").exists()


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"message": "  "}, PromptError, "a version says why it was made"),
        ({"message": "a\0b"}, PromptError, "a version says why it was made"),
        ({"text": HI}, PromptError, "a says what is committed already"),
        ({"text": "---\nname: a\nversion: [\n---\nx"}, PromptSyntaxError, "a (edited):4: the front matter is not YAML"),
        ({"text": HI.replace("Hi", "{{ x")}, PromptSyntaxError, "a (edited):"),
        ({"text": HI.replace("name: a", "name: b")}, PromptSyntaxError, "it calls itself 'b'"),
        ({"text": HI.replace("name: a", "name: a\ndescription: x")}, PromptError, "there is nothing to bump"),
        ({"level": "patch"}, PromptError, "a owes a minor bump, and patch is less"),
        ({"branch": "main"}, HistoryError, "there is a branch main already"),
        ({"branch": "main/a"}, HistoryError, "there is a branch main, beside which git has no room for main/a"),
        ({"branch": "-f"}, HistoryError, "'-f' is no name of a branch"),
        ({"branch": "a..b"}, HistoryError, "'a..b' is no name of a branch"),
        ({"branch": "@"}, HistoryError, "'@' is no name of a branch"),
        ({"branch": "refs/heads/a"}, HistoryError, "'refs/heads/a' is no name of a branch"),
        ({"branch": "a\0b"}, HistoryError, "is no name of a branch"),
        ({"text": HELLO + "sk-proj-" + "Zx9Q" * 8}, SecretFound, "sk-p"),
        ({"name": "../x"}, PromptError, "is no name of a prompt"),
    ],
)
def test_what_cannot_be_saved_says_why(house, given, error, told):
    wanted = {"name": "a", "text": HELLO, "message": "why", **given}

    with pytest.raises(error, match=r"(?s).*") as raised:
        save_version(house.prompts, wanted.pop("name"), wanted.pop("text"), **wanted)

    assert told in str(raised.value)
    assert house.git("branch", "--format=%(refname:short)").split() == ["main"]


def test_a_detached_head_has_no_branch_to_start_from(house):
    house.git("checkout", "-q", "--detach")

    with pytest.raises(HistoryError, match="no branch is checked out but a single commit"):
        save_version(house.prompts, "a", HELLO, message="why")


def test_without_a_commit_or_without_git_it_says_what_to_type(tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "none/a.prompty").write_text(HI)
    empty = House(tmp_path / "empty")
    empty.prompt("1.0.0")

    with pytest.raises(HistoryError, match=r"(?s)is in no git repository.*git init"):
        save_version(PromptRepository(tmp_path / "none"), "a", HELLO, message="why")
    with pytest.raises(HistoryError, match=r"(?s)nothing is committed yet.*git add"):
        save_version(empty.prompts, "a", HELLO, message="why")


def test_who_is_unknown_to_git_is_told_what_to_type(house, monkeypatch):
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{who}_NAME")
        monkeypatch.delenv(f"GIT_{who}_EMAIL")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")

    with pytest.raises(HistoryError, match=r"git config user.email you@example.com"):
        save_version(house.prompts, "a", HELLO, message="why")


def test_a_branch_that_somebody_made_meanwhile_is_left_alone(house):
    plan = save_version(house.prompts, "a", HELLO, message="why")
    house.git("branch", plan.branch)

    with pytest.raises(HistoryError, match=r"there is a branch prompt/a-1.1.0 already"):
        plan.apply()

    assert house.git("rev-parse", plan.branch) == house.git("rev-parse", "main")


def test_hooks_are_not_run_and_nothing_is_signed(house):
    for name in ("pre-commit", "reference-transaction"):
        hook = house.root / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
    house.git("config", "commit.gpgsign", "true")

    assert save_version(house.prompts, "a", HELLO, message="why").apply() in house.git("log", "--all", "--format=%H")


def test_edited_files_stand_over_those_of_a_commit(house):
    prompts = house.prompts
    tree = EditedTree(CommitTree(prompts.history, "HEAD"), {"a": HELLO, "b": "user:\nb"})

    assert (tree.names(), tree.text("a"), tree.place("a"), tree.frozen) == (["a", "b"], HELLO, "a (edited)", True)
    assert tree.raw("b.prompty") == b"user:\nb"
    assert tree.file("prompts.lock") == tree.raw("prompts.lock").decode() == prompts.tree.file("prompts.lock")


def test_a_branch_is_named_after_the_prompt_and_its_version_and_what_is_free(house):
    made = save_version(house.prompts, "a", HELLO, message="why").bump

    assert suggested_branch(made) == "prompt/a-1.1.0"
    assert suggested_branch(made, ["prompt/a-1.1.0", "prompt/a-1.1.0-2"]) == "prompt/a-1.1.0-3"


def test_on_a_branch_that_has_bumped_already_the_version_is_raised_no_second_time(house):
    save_version(house.prompts, "a", HELLO, message="once").apply()
    house.git("switch", "-q", "prompt/a-1.1.0")

    again = save_version(house.prompts, "a", HELLO.replace("1.0.0", "1.1.0") + "And again.\n", message="twice")
    again.apply()

    assert (again.branch, again.bump.new) == ("prompt/a-1.1.0-2", "1.1.0")
    house.git("switch", "-q", again.branch)
    assert list(check(house.prompts, "main")) == []


# --- a test ----------------------------------------------------------------------------------------------------------

AGENT = """---
name: support/agent
version: 1.0.0
model: {id: gpt-5-mini, options: {temperature: 0}}
inputs:
  company: {kind: string}
  notes: {kind: array, default: []}
tools:
  - name: lookup_order
    parameters: {order_id: {kind: integer}}
---
system:
You work for {{ company }}.{% for note in notes %} {{ note }}{% endfor %}
"""
QUESTION = {"role": "user", "content": 'Refund order 42, please.\n"""\n{{ 7*7 }} \\'}


def project_in(tiny_project: TinyProject) -> PromptRepository:
    tiny_project.write("prompts/support/agent.prompty", AGENT)
    return PromptRepository(tiny_project.path / "prompts")


def trial(reply, **request) -> Tape:
    """What is recorded of one request."""
    with ScriptedModel(reply) as model, watching(Recording("trial")) as recording:
        client = OpenAI(base_url=model.base_url, api_key="scripted")
        for _ in answered if (answered := client.chat.completions.create(**request)) and request.get("stream") else ():
            pass
    return Tape(recording.exchanges)


def saved(tiny_project: TinyProject, tape: Tape, inputs, *, name="test_a_refund", file="tests/test_support.py", **more):
    prompts = PromptRepository(tiny_project.path / "prompts")
    return save_test(
        tiny_project.path / file,
        name,
        root=tiny_project.path,
        prompts=prompts,
        reference="support/agent",
        inputs=inputs,
        tape=tape,
        **{"expected": [each for each in offered(tape.trace()) if each.picked], **more},
    )


def test_a_saved_test_reads_as_a_person_would_write_it_and_passes_without_a_key(tiny_project):
    prompts = project_in(tiny_project)
    request = prompts["support/agent"].request(company="ACME")
    request["messages"].append({"role": "user", "content": "Refund order 42, please."})
    tape = trial(Asks(ToolRequest("lookup_order", {"order_id": 42})), **{**request, "model": "qwen"})

    made = saved(tiny_project, tape, {"company": "ACME"})
    made.apply()

    url = tape.exchanges[0].request.url.removesuffix("/chat/completions")
    assert (
        (tiny_project.path / "tests/test_support.py").read_text()
        == f'''"""What prompts make models say, as it was seen in the playground."""

from openai import OpenAI
from pytest_agentops import call


def test_a_refund(agent_trace, prompts):
    client = OpenAI(base_url="{url}")
    request = prompts["support/agent"].request(company="ACME")
    request["model"] = "qwen"
    request["messages"].append({{"role": "user", "content": "Refund order 42, please."}})
    client.chat.completions.create(**request)

    assert agent_trace.trajectory == ["lookup_order"]
    assert call("lookup_order", order_id=42) in agent_trace.trajectory
    assert agent_trace.usage.total_tokens < 15
'''
    )
    assert made.plan.steps == (
        "tests/test_support.py: a new file with the test test_a_refund",
        "tests/cassettes/test_support/test_a_refund.yaml: what was recorded, which it replays without a key",
    )
    run = tiny_project.run("--agentops-record=none")
    assert run.outcomes == {"passed": 1}, run.stdout
    kept = load(tiny_project.path / "tests/cassettes/test_support/test_a_refund.yaml")
    assert [(each.name, each.version, each.inputs) for each in kept.prompts] == [
        ("support/agent", "1.0.0", {"company": "ACME"})
    ]


HOSTILE = '"""\n\'\'\'\\\'); import os; os.system("touch pwned") # {x!r} \u202e \ud800 </script>'


def test_hostile_text_stays_text_and_streams_are_read_to_their_end(tiny_project):
    prompts = project_in(tiny_project)
    inputs = {"company": HOSTILE.replace("\ud800", ""), "notes": ["one", {"a": [None, True, 1.5]}] * 9}
    request = prompts["support/agent"].request(**inputs) | {
        "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.7, "extra_body": {"top_k": 3},
    }  # fmt: skip
    request["messages"].append(QUESTION)
    asks = Asks(
        ToolRequest("lookup_order", {"order-id": HOSTILE.replace("\ud800", ""), "class": 1, "ﬁ": 2}),
        ToolRequest("'];x", "{bad"),
    )
    tape = trial(asks, **request)

    saved(tiny_project, tape, inputs).apply()

    source = (tiny_project.path / "tests/test_support.py").read_text()
    assert "    for _ in client.chat.completions.create(**request, stream=True" in source
    assert 'request["extra_body"] = {"top_k": 3}' in source
    run = tiny_project.run("--agentops-record=none")
    assert run.outcomes == {"passed": 1}, run.stdout
    assert not (tiny_project.path / "pwned").exists()


def test_a_second_test_joins_a_file_that_is_there(tiny_project):
    prompts = project_in(tiny_project)
    tape = trial(Says("We refunded 19.90 to you."), **prompts["support/agent"].request(company="ACME"))
    tiny_project.write(
        "tests/test_support.py",
        '''
        """Mine."""
        import os
        from pytest_agentops import never

        def test_mine():
            assert os.name and never
        ''',
    )

    expected = [*offered(tape.trace()), containing(tape.trace(), "19.90")]
    saved(tiny_project, tape, {"company": "ACME"}, expected=expected).apply()
    asking = trial(Asks(ToolRequest("lookup_order", {"order_id": 7})), **prompts["support/agent"].request(company="B"))
    saved(tiny_project, asking, {"company": "B"}, name="test_b", key_from="MY_KEY").apply()

    source = (tiny_project.path / "tests/test_support.py").read_text()
    assert source.startswith(
        '"""Mine."""\nimport os\nfrom pytest_agentops import call, never\nfrom openai import OpenAI\n\ndef test_mine()'
    )
    assert 'api_key=os.environ.get("MY_KEY", "replayed without a key")' in source
    assert tiny_project.run("--agentops-record=none").outcomes == {"passed": 3}


def test_a_prompt_without_a_model_and_one_at_a_version_are_asked_as_they_were(tiny_project):
    tiny_project.write("prompts/bare.prompty", "user:\nHello")
    prompts = PromptRepository(tiny_project.path / "prompts")
    tape = trial(Says('{"ok": true, "name": "x"}'), model="m", messages=prompts["bare"].messages(), seed=1)

    made = save_test(
        tiny_project.path / "test_bare.py", "test_bare", root=tiny_project.path, prompts=prompts,
        reference="bare@worktree", inputs={}, tape=tape, expected=offered(tape.trace()), key_from=None,
    )  # fmt: skip
    made.apply()

    assert '    request = {"model": "m", "messages": prompts.get("bare@worktree").messages()}\n' in made.source
    assert '    request["seed"] = 1\n' in made.source
    assert 'assert agent_trace.response.json()["ok"] is True' in made.source
    assert made.commands == ("pytest test_bare.py::test_bare",)
    assert tiny_project.run("--agentops-record=none").outcomes == {"passed": 1}


def test_the_responses_api_is_asked_as_it_was(tiny_project):
    prompts = project_in(tiny_project)
    request = prompts["support/agent"].request(api="responses", company="ACME")
    with ScriptedModel(Says("Hello.")) as model, watching(Recording("trial")) as recording:
        OpenAI(base_url=model.base_url, api_key="scripted").responses.create(**request)

    made = saved(tiny_project, Tape(recording.exchanges), {"company": "ACME"})
    made.apply()

    assert 'request = prompts["support/agent"].request(api="responses", company="ACME")' in made.source
    assert tiny_project.run("--agentops-record=none").outcomes == {"passed": 1}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"file": "tests/support.py"}, "support.py is no file that pytest looks into; call it test_support.py"),
        ({"file": "../test_x.py"}, "is outside of the project"),
        ({"name": "a refund"}, "'a refund' is no name of a test"),
        ({"name": "test_(x)"}, "'test_(x)' is no name of a test"),
        ({"expected": []}, "a test without an expectation says nothing"),
        ({"file": "test_taken.py"}, "has a test_a_refund already, on line 1"),
        ({"file": "test_broken.py"}, "cannot be read as Python"),
        ({"file": "test_other.py"}, "'OpenAI' means something else there"),
        ({"inputs": {"company": "Other"}}, "they differ at /messages/0/content"),
        ({"inputs": {"company": "ACME", "notes": [object()]}}, "cannot be written into a test"),
    ],
)
def test_a_test_that_cannot_be_written_says_why(tiny_project, given, told):
    prompts = project_in(tiny_project)
    tape = trial(Says("Hello."), **prompts["support/agent"].request(company="ACME"))
    tiny_project.write("test_taken.py", "def test_a_refund(): pass\n")
    tiny_project.write("test_broken.py", "def (\n")
    tiny_project.write("test_other.py", "OpenAI = 1\n")
    wanted = {"inputs": {"company": "ACME"}, **given}

    with pytest.raises(UsageError) as raised:
        saved(tiny_project, tape, wanted.pop("inputs"), **wanted)

    assert told in str(raised.value)


def test_a_test_is_suggested_by_its_prompt_and_what_was_asked():
    assert suggested_test("support/sub-agent", "Test: refund order 42, please do it now, really") == (
        "tests/test_support_sub_agent.py", "test_refund_order_42_please_do_it",
    )  # fmt: skip
    assert suggested_test("a", "注文") == ("tests/test_a.py", "test_answer")


def test_nothing_answered_and_several_answers_are_no_test(tiny_project):
    project_in(tiny_project)

    with pytest.raises(UsageError, match="nothing was answered here"):
        saved(tiny_project, Tape(), {"company": "ACME"}, expected=[])
    request = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    twice = Tape((*trial(Says("a"), **request).exchanges, *trial(Says("b"), **request).exchanges))
    with pytest.raises(UsageError, match="2 requests were answered here"):
        saved(tiny_project, twice, {"company": "ACME"}, expected=[])


def test_a_secret_is_written_into_no_test(tiny_project):
    prompts = project_in(tiny_project)
    secret = "sk-proj-" + "a1B2c3D4" * 6
    tape = trial(Says("Hello."), **prompts["support/agent"].request(company="ACME"))
    leaking = containing(tape.trace(), "Hello.")
    leaking = type(leaking)(leaking.words, f'agent_trace.response != "{secret}"')

    with pytest.raises(SecretFound, match="test_support"):
        saved(tiny_project, tape, {"company": "ACME"}, expected=[leaking])

    assert not (tiny_project.path / "tests").exists()


# --- what is offered -------------------------------------------------------------------------------------------------

ASK = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "x"}]}


def test_calls_are_offered_with_their_arguments_and_without():
    asks = Asks(ToolRequest("a", {"x": 1}), ToolRequest("b", {"in": [1]}), input_tokens=90, output_tokens=10)

    found = offered(trial(asks, **ASK).trace())

    assert [(each.source, each.needs, each.picked) for each in found][:5] == [
        ('agent_trace.trajectory == ["a", "b"]', (), True),
        ('call("a", x=1) in agent_trace.trajectory', ("call",), True),
        ('call("b", {"in": [1]}) in agent_trace.trajectory', ("call",), True),
        ('agent_trace.trajectory == only_tools("a", "b")', ("only_tools",), False),
        ("agent_trace.usage.total_tokens < 150", (), True),
    ]
    assert found[0].words == "exactly these calls, in this order: a, b"


def test_a_bound_of_the_cost_is_offered_where_a_price_is_known():
    [exchange] = trial(Says("Hello.", input_tokens=9_000), **ASK).exchanges
    request = replace(exchange.request, url="https://api.openai.com/v1/chat/completions")

    found = offered(Tape((replace(exchange, request=request),)).trace())

    assert found[-2].source == "agent_trace.usage.total_tokens < 14_000"
    assert found[-1].source.startswith("agent_trace.cost < 0.00")


def test_an_answer_in_words_is_offered_by_its_first_sentence():
    found = offered(trial(Says("It has shipped. It arrives soon."), **ASK).trace())

    assert [each.source for each in found][:2] == [
        "agent_trace.trajectory == []",
        '"It has shipped." in agent_trace.response',
    ]


def test_an_answer_in_json_is_offered_by_its_fields_and_the_schema_of_the_outputs():
    said = json.dumps({"verdict": "pass", "sure": True, "more": {"x": [1]}})

    found = offered(trial(Says(said), **ASK).trace(), [Field("verdict"), Field("sure", "boolean")])

    assert [(each.words, each.picked) for each in found][:5] == [
        ("no tool is called", True),
        ("the response is JSON with the declared outputs", True),
        ('in the response, verdict is "pass"', False),
        ("in the response, sure is true", False),
        ("the response is this very JSON", False),
    ]
    assert found[3].source == 'agent_trace.response.json()["sure"] is True'


def test_what_is_no_literal_is_not_offered():
    asks = Asks(ToolRequest("a", '{"x": NaN}'), ToolRequest("b", '{"x": ' + "[" * 300 + "]" * 300 + "}"))

    found = offered(trial(asks, **ASK).trace())

    assert not [each for each in found if each.source.startswith("call(")]


def test_whatever_a_model_says_what_is_offered_is_python_that_holds():
    chance = Random(8)
    letters = "ab1_ \n\r\t\"'\\{}[]()#%:,.\u202e\u2028\x00\x7f\xa0é\ud800😀ﬁ"

    def text() -> str:
        return "".join(chance.choice(letters) for _ in range(chance.randrange(12)))

    def value(depth: int = 0) -> object:
        kind = chance.randrange(7 if depth < 3 else 5)
        if kind > 4:
            inner = [value(depth + 1) for _ in range(chance.randrange(4))]
            return inner if kind == 5 else {text(): each for each in inner}
        return [None, chance.random() < 0.5, chance.randrange(-(10**20), 10**20), chance.uniform(-1, 1), text()][kind]

    names = {name: getattr(pytest_agentops, name) for name in pytest_agentops.__all__}
    for _ in range(150):
        calls = tuple(ToolCall(text() or "t", {text(): value(), "class": value()}) for _ in range(chance.randrange(3)))
        response = ResponseText(chance.choice([text(), json.dumps(value())]))
        trace = Trace((ModelCall("1", "openai", "gpt-5-mini", response=response, tool_calls=calls),), exchanges=1)
        for offer in offered(trace):
            assert eval(f"({offer.source})", names, {"agent_trace": trace}), offer.source


def test_a_phrase_that_was_not_said_cannot_be_asked_for():
    with pytest.raises(UsageError, match="does not contain 'shipped'"):
        containing(trial(Says("It has Shipped."), **ASK).trace(), "shipped")


@pytest.mark.parametrize(
    "value",
    [None, True, -1, 1.5, "", "a'b", 'a"b', "a'\"b", HOSTILE, b"\x00'", [], {}, [{"a": [1] * 60, "b": HOSTILE * 3}]],
)
@pytest.mark.parametrize("room", [10, 1000])
def test_a_literal_means_its_value_and_nothing_else(value, room):
    assert ast.literal_eval(literal(value, room=room)) == value


def test_the_plan_of_a_test_is_a_value_that_can_be_shown(tiny_project):
    prompts = project_in(tiny_project)
    tape = trial(Says("Hello."), **prompts["support/agent"].request(company="ACME"))

    made = saved(tiny_project, tape, {"company": "ACME"})

    assert isinstance(made, NewTest)
    assert [(each.path.name, each.old) for each in made.plan.edits] == [
        ("test_support.py", None), ("test_a_refund.yaml", None),
    ]  # fmt: skip
    assert not (tiny_project.path / "tests").exists()


def test_a_test_and_the_version_it_is_about_can_be_one_commit(house):
    edited = house.prompts.edited({"a": HELLO})
    tape = trial(Says("Hi."), model="m", messages=edited["a"].messages())

    test = save_test(
        house.root / "test_a.py", "test_a", root=house.root, prompts=edited, reference="a", inputs={}, tape=tape,
        expected=offered(tape.trace()),
    )  # fmt: skip
    version = save_version(house.prompts, "a", HELLO, message="why", beside=test.plan.edits)
    version.apply()

    assert house.git("ls-tree", "-r", "--name-only", version.branch).split() == [
        "cassettes/test_a/test_a.yaml", "prompts/CHANGELOG.md", "prompts/a.prompty", "prompts/prompts.lock", "test_a.py",
    ]  # fmt: skip


def test_the_lock_that_a_bump_writes_is_that_of_the_tree_it_is_about(house):
    house.prompt("1.0.0", name="uncommitted")
    lock(house.prompts).apply()

    plan = save_version(house.prompts, "a", HELLO, message="why")

    assert "uncommitted" not in next(each.new for each in plan.plan.edits if each.path.suffix == ".lock")
