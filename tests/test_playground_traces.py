"""The page Traces, driven without a browser: the list, one run, two beside each other, and what can be wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pytest_agentops.tape import save
from tests.test_sessions import tape

APP = Path(__file__).resolve().parent.parent / "playground" / "app.py"
HOSTILE = "<script>alert(1)</script> ![x](http://x/y.png) **bold** :red[x]"
ONE, OTHER = "tests/cassettes/test_a/test_one.yaml", "tests/cassettes/test_a/test_other.yaml"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def page(**query: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=30).switch_page("traces.py")
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def components(block: Any) -> Iterator[Any]:
    for child in getattr(block, "children", {}).values():
        if child.type == "bidi_component":
            yield child
        yield from components(child)


def drawn(app: AppTest) -> str:
    return "".join(json.loads(each.proto.json) for each in components(app.main))


def said(app: AppTest) -> str:
    """What stands on the page besides drawings, as a reader sees it."""
    told = [*app.info, *app.error, *app.caption, *app.markdown, *app.code]
    return "\n".join(str(each.value) for each in told).replace("\\", "").replace("\u2060", "")


def test_where_nothing_is_recorded_the_page_says_what_would_be(project):
    app = page()

    assert "Nothing is recorded here yet" in said(app)
    assert "pytest-agentops init" in said(app)


def test_every_recorded_run_is_in_the_list_also_one_that_cannot_be_read(project):
    save(tape("Where is it?"), project / ONE)
    (project / OTHER).write_text("interactions: [", encoding="utf-8")

    app = page()

    assert "2 recorded runs, 1 unreadable" in said(app)
    assert f'data-pick="run:{ONE}"' in drawn(app)
    assert "it is not YAML" in drawn(app)


def test_what_is_searched_and_chosen_stands_in_the_url(project):
    save(tape("Where is it?"), project / ONE)
    save(tape("Pay me", outcome="failed"), project / OTHER)

    app = page(q="pay", status="failed")
    assert "1 of 2 recorded runs, 1 failed" in said(app)
    assert OTHER in drawn(app)

    app.text_input(key="q").set_value("nowhere").run()
    assert "No recorded run fits all of this" in said(app)


def test_one_run_is_drawn_in_each_of_its_views(project):
    save(tape("Where is it?", "On its way"), project / ONE)

    app = page(trace=ONE)
    found = {}
    for view in ("Waterfall", "Tree", "Graph", "Messages", "Figures"):
        app.segmented_control[0].set_value(view).run()
        assert not app.exception
        found[view] = drawn(app)

    assert "passed · recorded 2026-01-02 03:04 · 1 model call" in said(app)
    assert 'class="traced waterfall' in found["Waterfall"]
    assert "On its way" in found["Tree"]
    assert "<svg" in found["Graph"]
    assert "Where is it?" in found["Messages"]
    assert "<b>1,200</b>tokens" in found["Figures"]


def test_a_row_that_was_opened_is_closed_in_the_drawing_of_another_run(project):
    save(tape("Where is it?"), project / ONE)
    save(tape("Pay me", answer="no"), project / OTHER)
    app = page(trace=ONE)
    key = f"trace-{ONE}-Waterfall-shown"
    of, shown = app.session_state[key]
    app.session_state[key] = (of, shown.toggled("row:model-0"))
    assert "Where is it?" in drawn(app.run())

    app.session_state[key] = ("another run", shown.toggled("row:model-0"))
    assert "Where is it?" not in drawn(app.run())


def test_two_runs_stand_beside_each_other(project):
    save(tape("Where is it?", "I paid 5 euros"), project / ONE)
    save(tape("Where is it?", "I paid 50 euros"), project / OTHER)

    app = page(trace=ONE, other=OTHER)

    assert "<del>5</del><ins>50</ins>" in drawn(app)
    app.button[2].click().run()
    assert "<del>50</del><ins>5</ins>" in drawn(app)


def test_the_other_run_is_picked_in_the_list(project):
    save(tape("Where is it?"), project / ONE)

    app = page(trace=ONE)
    next(button for button in app.button if button.label == "Compare").click().run()

    assert not app.exception
    assert "Pick the run to set beside test_one." in said(app)
    assert f'data-pick="run:{ONE}"' in drawn(app)


def test_a_run_that_is_not_there_is_answered_with_the_nearest(project):
    save(tape(), project / ONE)

    assert f"did you mean '{ONE}'?" in said(page(trace=ONE.replace("one", "on")))
    assert "there is no recorded run" in said(page(trace="../../etc/passwd"))


def test_a_cassette_that_does_not_parse_says_what_is_wrong(project):
    (project / ONE).parent.mkdir(parents=True)
    (project / ONE).write_text("interactions: [", encoding="utf-8")

    assert "it is not YAML" in said(page(trace=ONE))


def test_what_people_and_models_wrote_is_text_on_the_page(project):
    save(tape(HOSTILE, HOSTILE, model=HOSTILE), project / ONE)

    for app in (page(), page(trace=ONE)):
        assert "<script" not in drawn(app)
        assert all("![x](" not in str(each.value) for each in (*app.markdown, *app.caption))
