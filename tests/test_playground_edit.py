"""The page Edit, driven without a browser: what is drawn, what stays, what is committed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.test_repository import House

APP = Path(__file__).resolve().parent.parent / "playground" / "app.py"

AGENT = """---
name: support/agent
version: 1.0.0
model: {id: gpt-5-mini}
inputs:
  company: {kind: string, default: ACME}
  ticket: {kind: string, trust: untrusted, example: "Where is my order?"}
---
system:
You work for {{ company }}.
user:
{{ ticket }}
"""
HOSTILE = "<script>alert(1)</script> ![x](http://x/y.png) **bold** :red[x] </textarea>"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "ada@example.com")
    house = House(tmp_path / "house")
    house.write("support/agent.prompty", AGENT)
    house.locked()
    house.commit("The first state")
    monkeypatch.chdir(house.root)
    return house


def opened(**state: Any) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=30).switch_page("edit.py")
    for name, value in state.items():
        app.session_state[name] = value
    app.run()
    assert not app.exception
    return app


def components(block: Any) -> Iterator[Any]:
    for child in getattr(block, "children", {}).values():
        if child.type == "bidi_component":
            yield child
        yield from components(child)


def drawn(app: AppTest, key: str) -> Any:
    """What the component with this key was given: HTML, or what the editor shows."""
    assert not app.exception
    [found] = [each for each in components(app.main) if each.proto.id.endswith(f"-{key}")]
    return json.loads(found.proto.json)


def at_tab(app: AppTest, name: str) -> AppTest:
    app.session_state["edit/tab"] = name
    return app.run()


def edited(app: AppTest, text: str, name: str = "support/agent") -> AppTest:
    app.session_state["edited"] = {name: text}
    return app.run()


def said(app: AppTest) -> list[str]:
    return [each.value for each in [*app.error, *app.info, *app.success, *app.caption]]


def test_a_prompt_is_shown_beside_what_it_says_by_who_wrote_it(house):
    app = opened()

    shown = drawn(app, "editor/support/agent")
    assert (shown["text"], shown["label"]) == (AGENT, "Source of support/agent")
    html = drawn(app, "edit/rendered")
    assert 'You work for <span class="trusted" title="company">ACME</span>.' in html
    assert '<span class="untrusted" title="ticket, which others write">Where is my order?</span>' in html
    assert [each.label for each in app.text_area] == ["company (optional)", "ticket (others write it)"]


def test_what_others_wrote_stays_text(house):
    app = opened()
    app.text_area[1].input(HOSTILE)
    app.run()
    edited(app, AGENT.replace("You work", f"You work {HOSTILE}"))

    html = drawn(app, "edit/rendered")
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert "<script" not in html
    for tab, key in [("Findings", "edit/findings"), ("Tokens", "edit/tokens"), ("Diff", "edit/diff")]:
        assert "<script" not in drawn(at_tab(app, tab), key)


def test_findings_are_marked_at_their_lines_and_say_how_they_are_allowed(house):
    app = edited(opened(), AGENT.replace("{{ company }}", "{{ company }} {{ ticket }}"))

    marks = drawn(app, "editor/support/agent")["marks"]
    assert [(each["line"], each["serious"]) for each in marks] == [(10, True), (12, False)]
    html = drawn(at_tab(app, "Findings"), "edit/findings")
    assert "<b>untrusted-in-system</b>" in html
    assert "{# lint: allow untrusted-in-system: why #}" in html


def test_a_broken_file_opens_with_its_error_at_its_line(house):
    house.write("a.prompty", "---\nname: a\ninputs:\n  x: {kind: strin}\n---\n{{ x }}")

    app = opened()

    shown = drawn(app, "editor/a")
    assert shown["text"].startswith("---\nname: a")
    assert [(each["line"], each["text"].partition(":")[0]) for each in shown["marks"]] == [(4, "syntax")]
    assert "line 4: input &#39;x&#39; has the unknown kind &#39;strin&#39;" in drawn(app, "edit/rendered")
    for tab in ("Findings", "Tokens", "Diff", "Save as version"):
        assert not at_tab(app, tab).exception


def test_a_file_that_is_no_text_opens_too(house):
    (house.folder / "a.prompty").write_bytes(b"\xff\xfe")

    assert drawn(opened(), "editor/a")["text"] == "\ufffd\ufffd"


def test_while_the_text_cannot_be_understood_the_last_rendering_stays(house):
    app = edited(opened(), AGENT.replace("{{ company }}", "{{ company"))

    html = drawn(app, "edit/rendered")
    assert "line 11: expected token" in html
    assert "Below is what could be rendered last." in html
    assert ">ACME</span>" in html
    assert len(app.text_area) == 2


def test_edited_text_is_there_after_a_visit_to_another_page(house):
    app = edited(opened(), AGENT.replace("You work", "You toil"))
    app.text_area[0].input("Globex").run()

    app.switch_page("models.py").run()
    app.switch_page("edit.py").run()

    assert "You toil" in drawn(app, "editor/support/agent")["text"]
    assert ">Globex</span>" in drawn(app, "edit/rendered")
    assert app.session_state["edited"] == {"support/agent": AGENT.replace("You work", "You toil")}


def test_changes_are_undone_and_brought_back(house):
    app = edited(opened(), AGENT.replace("You work", "You toil"))
    before = drawn(app, "editor/support/agent")["document"]

    [undo] = [each for each in app.button if each.label == "Undo all changes"]
    undo.click().run()
    assert drawn(app, "editor/support/agent")["text"] == AGENT
    assert drawn(app, "editor/support/agent")["document"] != before
    [redo] = [each for each in app.button if each.label == "Bring my changes back"]
    redo.click().run()

    assert "You toil" in drawn(app, "editor/support/agent")["text"]


def test_an_older_version_is_started_from_and_compared_with(house):
    house.write("support/agent.prompty", AGENT.replace("1.0.0", "1.1.0").replace("You work", "You toil"))
    house.locked()
    house.commit("Toils")

    app = opened()
    app.selectbox[1].select("1.0.0").run()
    assert "You work" in drawn(app, "editor/support/agent")["text"]
    html = drawn(at_tab(app, "Diff"), "edit/diff")

    assert "<del>toil</del>" in html
    assert "<ins>work</ins>" in html
    assert '<span class="level minor">minor</span>' in html
    assert app.selectbox[2].options == [
        "the working tree", "the last commit", "1.1.0", "1.0.0", "branch main",
    ]  # fmt: skip


def test_tokens_are_told_by_where_they_come_from(house):
    html = drawn(at_tab(opened(), "Tokens"), "edit/tokens")

    assert "<td>system</td>" in html
    assert 'class="bar untrusted"' in html


def test_a_version_is_planned_shown_and_committed(house):
    app = at_tab(edited(opened(), AGENT.replace("You work", "You toil")), "Save as version")
    app.text_input[0].input("Toils")
    app.button[1].click().run()

    html = drawn(app, "edit/plan")
    assert "a commit on the new branch prompt/support-agent-1.1.0, which starts from main" in html
    assert "<code>prompts/support/agent.prompty</code>" in html
    assert house.git("branch", "--format=%(refname:short)").split() == ["main"]
    [commit] = [each for each in app.button if each.label.startswith("Commit to")]
    commit.click().run()

    assert not app.exception
    assert "You toil" in house.git("show", "prompt/support-agent-1.1.0:prompts/support/agent.prompty")
    assert house.git("status", "--porcelain") == ""
    assert [each.value for each in app.code] == ["git switch prompt/support-agent-1.1.0"]
    assert "support/agent 1\\.1\\.0 is commit" in app.success[0].value


def test_a_plan_is_no_longer_offered_once_the_text_is_another_one(house):
    app = at_tab(edited(opened(), AGENT.replace("You work", "You toil")), "Save as version")
    app.text_input[0].input("Toils")
    app.button[1].click().run()
    edited(app, AGENT.replace("You work", "You labour"))

    assert not [each for each in app.button if each.label.startswith("Commit to")]


@pytest.mark.parametrize(
    ("text", "message", "told"),
    [
        (AGENT.replace("You work", "You toil"), "", "a version says why it was made"),
        (AGENT, "why", "says what is committed already"),
        ("---\nname: [", "why", "the front matter opens with"),
    ],
)
def test_what_cannot_be_saved_is_said_on_the_page(house, text, message, told):
    app = at_tab(edited(opened(), text), "Save as version")
    app.text_input[0].input(message)
    [show] = [each for each in app.button if each.label == "Show what would be done"]
    show.click().run()

    assert not app.exception
    assert any(told in each.replace("\\", "") for each in said(app))


def test_without_git_all_but_versions_works(tmp_path, monkeypatch):
    (tmp_path / "prompts/support").mkdir(parents=True)
    (tmp_path / "prompts/support/agent.prompty").write_text(AGENT)
    monkeypatch.chdir(tmp_path)

    app = opened()
    assert ">ACME</span>" in drawn(app, "edit/rendered")
    assert "the same to the last letter" in drawn(at_tab(app, "Diff"), "edit/diff")
    at_tab(app, "Save as version")
    app.text_input[0].input("why")
    app.button[0].click().run()

    assert any("is in no git repository" in each for each in said(app))


def test_an_empty_project_says_what_a_first_prompt_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    app = opened()

    assert any("There is no prompt" in each for each in said(app))
    assert app.code[0].value.startswith("---\nname: hello")


def test_each_kind_of_input_has_its_field(house):
    house.write(
        "a.prompty",
        """---
name: a
inputs:
  mood: {kind: string, enumValues: [glad, sad]}
  count: {kind: integer, default: 3}
  rate: {kind: float, required: false}
  sure: {kind: boolean, default: true}
  tags: {kind: array, default: [x]}
  picture: {kind: image, required: false}
  large: {kind: integer, default: 99999999999999999999}
---
user:
{{ mood }} {{ count }} {{ rate is defined }} {{ sure }} {{ tags | join("-") }} {{ large }}
""",
    )
    app = opened()
    app.selectbox[2].select("sad")
    app.number_input[0].set_value(7)
    app.toggle[0].set_value(False)
    app.text_area[0].input('["a", "b"]').run()

    html = drawn(app, "edit/rendered")
    for shown in (">sad<", ">7<", ">false<", ">a-b<", ">99999999999999999999<"):
        assert shown in html
    assert "Not shown here: picture" in html
    app.text_area[0].input("[").run()
    assert any("takes JSON" in each for each in said(app))


def test_inputs_that_recorded_tests_gave_stand_in_the_form(house):
    from pytest_agentops.tape import Tape, save
    from pytest_agentops.trace import Render

    render = Render("support/agent", "1.0.0", "sha256:x", {"company": "Initech", "ticket": "From a test"})
    save(Tape(outcome="passed", prompts=(render,)), house.root / "cassettes/test_x/test_y.yaml")

    assert [each.value for each in opened().text_area] == ["Initech", "From a test"]
