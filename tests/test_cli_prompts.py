"""The commands of `pytest-agentops prompts`, typed in a real repository."""

from __future__ import annotations

import json
import re
import sys

import pytest

from pytest_agentops.testing import CommandRun, Says, ScriptedModel, TinyProject
from tests.test_plugin import AGENT
from tests.test_repository import House

TRIAGE = """---
name: support/triage
version: 1.0.0
description: Decides what a customer wants
model: {id: gpt-5-mini, options: {temperature: 0}}
inputs:
  company: {kind: string}
  ticket: {kind: string, trust: untrusted}
outputs:
  queue: {kind: string, enumValues: [billing, tech]}
---
system:
You sort tickets for {{ company }}. {% include "_shared/safety" %}
user:
{{ ticket | untrusted }}
"""


@pytest.fixture
def house(tiny_project: TinyProject) -> House:
    house = House(tiny_project.path)
    house.write("support/triage.prompty", TRIAGE)
    house.write("_shared/safety.prompty", "Be careful.")
    tiny_project.write("pyproject.toml", "[tool.agentops]\n")
    typed(tiny_project, "lock")
    house.commit("the first prompt")
    return house


def typed(project: TinyProject, *arguments: str) -> CommandRun:
    return project.command(sys.executable, "-m", "pytest_agentops", "prompts", *arguments)


def plain(text: str) -> str:
    """With stand-ins for what differs from run to run."""
    text = re.sub(r"\b[0-9a-f]{9}\b", "COMMIT   ", re.sub(r"sha256:[0-9a-f]{64}", "sha256:DIGEST", text))
    return re.sub(r"(Ada  )[0-9a-f]{8}\b", r"\1DIGEST", re.sub(r"\d{4}-\d\d-\d\d", "DATE", text))


def edit(house: House, old: str, new: str) -> None:
    path = house.folder / "support/triage.prompty"
    path.write_text(path.read_text().replace(old, new))


def test_the_list_has_versions_labels_and_tests(house, tiny_project):
    tiny_project.write("agent.py", AGENT)
    tiny_project.write(
        "test_it.py",
        """
        from agent import ask

        def test_it(agent_trace, prompts):
            ask(prompts["support/triage"].messages(company="ACME", ticket="Help")[1]["content"])
        """,
    )
    with ScriptedModel(lambda request: Says("billing")) as model:
        tiny_project.run(env={"MODEL_URL": model.base_url})
    typed(tiny_project, "label", "support/triage", "production", "1.0.0")

    assert typed(tiny_project, "list").stdout == (
        "support/triage  1.0.0    (production)  1 recording    Decides what a customer wants\n"
    )
    [row] = json.loads(typed(tiny_project, "list", "--json").stdout)
    assert row["tests"] == ["cassettes/test_it/test_it.yaml"]
    assert typed(tiny_project, "uses", "support/triage").stdout == (
        "recorded by cassettes/test_it/test_it.yaml\nnamed in test_it.py:4: support/triage\n"
    )


def test_a_prompt_is_shown_and_rendered(house, tiny_project):
    assert plain(typed(tiny_project, "show", "support/triage").stdout) == (
        "support/triage: 1.0.0\n"
        "  Decides what a customer wants\n"
        "  digest   sha256:DIGEST\n"
        '  model    {"id": "gpt-5-mini", "options": {"temperature": 0}}\n'
        "  takes    company: string\n"
        "  takes    ticket: string, untrusted\n"
        '  gives    queue: string, one of "billing", "tech"\n'
        "  includes _shared/safety\n"
        "\n"
        "system:\n"
        'You sort tickets for {{ company }}. {% include "_shared/safety" %}\n'
        "user:\n"
        "{{ ticket | untrusted }}\n"
    )
    tiny_project.write("ticket.txt", "Where is it?")
    rendered = typed(tiny_project, "render", "support/triage@1.0.0", "company=ACME", "ticket=@ticket.txt")
    assert rendered.stdout.splitlines()[:2] == ["system:", "You sort tickets for ACME. Be careful."]
    assert "Where is it?" in rendered.stdout
    request = json.loads(typed(tiny_project, "render", "support/triage", "company=A", "ticket=b", "--json").stdout)
    assert (request["model"], request["temperature"], len(request["messages"])) == ("gpt-5-mini", 0, 2)


def test_a_change_is_shown_checked_bumped_and_logged(house, tiny_project):
    edit(house, "You sort tickets for", "You sort the tickets of")

    diff = typed(tiny_project, "diff", "support/triage")
    assert diff.stdout == (
        "support/triage: 1.0.0 -> 1.0.0\n"
        "  this owes a minor bump\n"
        "  text\n"
        '    ~ 2: You sort {+the +}tickets [-for-]{+of+} {{ company }}. {% include "_shared/safety" %}\n'
        "  about 29 tokens of the author's -> about 30\n"
    )
    checked = typed(tiny_project, "check")
    assert checked.exit_code == 1
    assert checked.stdout == (
        "support/triage: owed bump: it owes a minor bump to 1.1.0, and the version is still 1.0.0: the body changed\n"
        '  to mend it: pytest-agentops prompts bump support/triage -m "why"\n'
    )
    shown = typed(tiny_project, "bump", "-m", "reads better")
    assert shown.stdout.splitlines()[:4] == [
        "support/triage: 1.0.0 -> 1.1.0 (minor)",
        "  the body changed",
        "would write: prompts/support/triage.prompty",
        "  ~ 3: version: [-1.0.0-]{+1.1.0+}",
    ]
    assert shown.stdout.splitlines()[-1] == '  to do it: pytest-agentops prompts bump -m "reads better" --yes'
    assert typed(tiny_project, "check").exit_code == 1

    assert typed(tiny_project, "bump", "-m", "reads better", "--yes").exit_code == 0
    assert typed(tiny_project, "check").stdout == "nothing is owed\n"
    house.commit("reads better")
    log = plain(typed(tiny_project, "log", "support/triage").stdout)
    assert log == (
        "COMMIT     DATE  Ada  DIGEST  1.1.0 (minor)  reads better\nCOMMIT     DATE  Ada  DIGEST  1.0.0  the first prompt\n"
    )
    blame = plain(typed(tiny_project, "blame", "support/triage").stdout).splitlines()
    assert blame[2] == "COMMIT    1.1.0 DATE Ada                 3  version: 1.1.0"
    assert blame[3] == "COMMIT    1.0.0 DATE Ada                 4  description: Decides what a customer wants"


def test_a_breaking_change_is_told_with_what_breaks(house, tiny_project):
    edit(house, "[billing, tech]", "[billing, tech, other]")
    edit(house, "temperature: 0", "temperature: 1")

    lines = typed(tiny_project, "diff", "support/triage", "1.0.0").stdout.splitlines()

    assert lines[1:4] == [
        "  this owes a major bump",
        "  breaking  outputs.queue: may be 'other' now",
        "  model.options.temperature: 0 -> 1",
    ]
    told = json.loads(typed(tiny_project, "diff", "support/triage", "1.0.0", "--json").stdout)
    assert (told["level"], told["contract"][0]["breaking"]) == ("major", True)


def test_recorded_inputs_are_rendered_on_both_sides(house, tiny_project):
    tiny_project.write("agent.py", AGENT)
    tiny_project.write(
        "test_it.py",
        """
        from agent import ask

        def test_it(agent_trace, prompts):
            ask(prompts["support/triage"].messages(company="ACME", ticket="Help")[1]["content"])
        """,
    )
    with ScriptedModel(lambda request: Says("billing")) as model:
        tiny_project.run(env={"MODEL_URL": model.base_url})
    edit(
        house,
        "You sort tickets for {{ company }}.",
        "{% if company == 'x' %}New.{% endif %}You sort tickets for {{ company }}.",
    )
    assert "  this owes a patch bump" in typed(tiny_project, "diff", "support/triage").stdout
    edit(house, "You sort", "Please sort")

    lines = typed(tiny_project, "diff", "support/triage").stdout.splitlines()

    assert lines[-4:] == [
        "  1 of 1 recorded inputs render otherwise",
        '    with {"company": "ACME", "ticket": "Help"}',
        "      message 0 (system)",
        "        ~ 1: [-You-]{+Please+} sort tickets for ACME. Be careful.",
    ]


def test_labels_are_moved_and_rolled_back(house, tiny_project):
    edit(house, "Be careful", "x")
    assert typed(tiny_project, "label", "support/triage", "production", "1.0.0").stdout.splitlines()[0] == (
        "support/triage: production nothing -> 1.0.0"
    )
    house.commit("label")
    assert typed(tiny_project, "label", "support/triage").stdout == "production: 1.0.0\n"
    rolled = typed(tiny_project, "label", "support/triage", "production", "--rollback")
    assert rolled.exit_code == 2
    assert "production of support/triage pointed nowhere else before 1.0.0" in rolled.stderr
    assert typed(tiny_project, "label", "support/triage", "production", "9.0.0").exit_code == 2
    assert typed(tiny_project, "label", "support/triage", "production", "--delete").exit_code == 0
    assert typed(tiny_project, "label", "support/triage").stdout == "support/triage has no labels\n"


def test_lint_names_the_line(house, tiny_project):
    edit(house, "You sort tickets for {{ company }}.", "You sort {{ ticket }} for {{ compny }}.")

    told = typed(tiny_project, "lint")

    assert told.exit_code == 1
    assert told.stdout == (
        "prompts/support/triage.prompty:7: unused-input: input 'company' is declared and used nowhere\n"
        "prompts/support/triage.prompty:13: undeclared-input: 'compny' is no declared input; did you mean 'company'?\n"
        "prompts/support/triage.prompty:13: untrusted-in-system: untrusted input 'ticket' reaches the system message, "
        "which models obey; move it to a user message\n"
        "2 serious, 1 untidy\n"
    )
    found = json.loads(typed(tiny_project, "lint", "--max-tokens", "5", "--json").stdout)
    assert "token-budget" in {complaint["rule"] for complaint in found}


def test_a_snapshot_is_one_file(house, tiny_project):
    assert typed(tiny_project, "snapshot", "-o", "out/prompts.json").stdout == "written: out/prompts.json\n"

    assert json.loads((tiny_project.path / "out/prompts.json").read_text())["format"] == 1
    assert typed(tiny_project, "snapshot").stdout == (tiny_project.path / "out/prompts.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "support/triag"], "no prompt 'support/triag' in prompts; did you mean 'support/triage'?"),
        (["show", "support/triage@2.0.0"], "support/triage has no version 2.0.0"),
        (["render", "support/triage", "company"], "'company' is no input; write name=value"),
        (["render", "support/triage"], "support/triage needs 'company', 'ticket'"),
        (["render", "support/triage", "company=@nowhere", "ticket=x"], "company: nowhere cannot be read:"),
        (["log", "nope"], "no commit knows of a prompt 'nope'"),
        (["bump", "support/triage", "-m", "x"], "support/triage is what it was at 1.0.0: there is nothing to bump"),
        (["bump", "--yes", "support/triage"], 'a bump says why: -m "why"'),
        (["check", "--base", "nope"], "there is no commit 'nope' in"),
        (["list", "--prompts", "nowhere"], "there is no prompts folder nowhere"),
        (
            ["label", "support/triage", "production"],
            "say where production is to point: a version, --rollback or --delete",
        ),
        (["bisect", "test_it.py", "--good", "HEAD"], "say which prompt: --prompt NAME"),
    ],
)
def test_wrong_use_is_told_and_exits_with_2(house, tiny_project, arguments, told):
    run = typed(tiny_project, *arguments)

    assert run.exit_code == 2
    assert run.stderr.startswith(f"pytest-agentops: {told}")
    assert run.stdout == ""


def test_a_terminal_gets_colours_and_a_pipe_gets_none(house, tiny_project, monkeypatch, capsys):
    from pytest_agentops import cli

    monkeypatch.setenv("FORCE_COLOR", "1")
    cli.tell(["~ 1: [-old-]{+new+}"])
    piped = capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    cli.tell(["~ 1: [-old-]{+new+}"])

    assert piped == "~ 1: [-old-]{+new+}\n"
    assert "\x1b[31m[-old-]\x1b[0m\x1b[32m{+new+}\x1b[0m" in capsys.readouterr().out


def test_a_project_without_git_has_prompts_too(tiny_project):
    tiny_project.write("prompts/a.prompty", "---\nversion: 1.0.0\n---\nHi")

    assert typed(tiny_project, "list").exit_code == 0
    assert typed(tiny_project, "lock").exit_code == 0
    assert typed(tiny_project, "check").stdout == "nothing is owed\n"
    assert "is in no git repository" in typed(tiny_project, "log", "a").stderr
