"""The page Vote, driven without a browser: two answers and no names, a key each, the next pair at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("streamlit")

from streamlit.testing.v1 import AppTest

from pytest_agentops.datasets import Case, digest
from pytest_agentops.experiment import Experiment, Variant
from pytest_agentops.laboratory import Laboratory
from pytest_agentops.repository import PromptRepository
from pytest_agentops.settings import read_settings
from pytest_agentops.testing import Says, ScriptedModel
from pytest_agentops.votes import Candidate, Question, cast, home, read

APP = Path(__file__).resolve().parent.parent / "playground" / "app.py"
PROMPT = "---\nname: greeting\nversion: 1.0.0\n---\nsystem:\nHi.\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def candidate(version: str, ticket: str = "a", **more) -> Candidate:
    given = {"model": "m", "answer": f"Answer {version} to {ticket}", **more}
    return Candidate("greeting", f"greeting@{version}", f"sha256:{version}", case=Case({"ticket": ticket}), **given)


def answered(candidates: Sequence[Candidate]) -> None:
    """Let these be the answers of a run, given by a scripted server."""
    sides = list(dict.fromkeys((each.reference, each.model) for each in candidates))
    cases = {digest(each.case): each.case for each in candidates}
    said = {f"{each.reference}: {each.case.inputs['ticket']}": each.answer for each in candidates}
    variants = tuple(
        Variant("greeting", model, source=f"---\nversion: 1.0.0\ninputs:\n  ticket: {{kind: string}}\n---\n"
                                          f"user:\n{reference}: {{{{ ticket }}}}\n")
        for reference, model in sides
    )  # fmt: skip
    with ScriptedModel(lambda request: Says(said[request.prompt])) as model:
        Path("pyproject.toml").write_text(
            "".join(f"[tool.agentops.models.{name}]\nbase_url = '{model.base_url}'\n" for name in {m for _, m in sides})
        )
        run = Laboratory(read_settings(Path.cwd())).begin(Experiment(variants, tuple(cases.values())))
        run.start()
        assert run.wait(30)


def page(*candidates: Candidate) -> AppTest:
    if candidates:
        answered(candidates)
    app = AppTest.from_file(str(APP), default_timeout=30)
    app.switch_page("vote.py").run()
    assert not app.exception
    return app


def drawn(app: AppTest) -> str:
    """The HTML of the sheets on the page."""
    return "".join(json.loads(each.proto.json) for each in app.main if each.type == "bidi_component")


def voted(project: Path) -> list[str]:
    return [vote.winner for vote in read(home(project, "greeting")).votes]


def test_nothing_to_vote_on_says_where_answers_come_from(project):
    app = page()

    assert "There is nothing to vote on yet" in app.info[0].value
    assert not app.toggle


def test_answers_that_are_all_the_same_are_not_asked(project):
    app = page(candidate("1", answer="Yes."), candidate("2", answer="Yes."))

    assert "no two answers to the same case that differ" in app.info[0].value
    assert app.caption[-1].value == "One pair is not asked: both answers are the same."


def test_each_key_casts_a_vote_and_the_next_pair_is_there(project):
    app = page(*(candidate(version, ticket) for version in "12" for ticket in "abc"))
    first = app.button("vote_left").proto

    assert (first.shortcut, app.button("vote_back").disabled) == ("left", True)
    assert "git does not know who you are" in app.caption[1].value
    app.button("vote_left").click().run()
    app.button("vote_tie").click().run()
    app.button("vote_right").click().run()

    assert voted(project) == ["left", "tie", "right"]
    assert app.success[0].value == "Every pair is answered."
    assert app.toggle[0].value is True
    assert not app.exception


def test_who_goes_back_votes_again_on_the_same_pair(project):
    app = page(*(candidate(version, ticket) for version in "12" for ticket in "ab"))

    app.button("vote_left").click().run()
    app.button("vote_back").click().run()
    app.button("vote_right").click().run()

    first, again = read(home(project, "greeting")).votes
    assert (first.case, first.left, first.winner, again.winner) == (again.case, again.left, "left", "right")
    assert "Ranking after 1 vote" in app.toggle[0].label


def test_what_is_skipped_is_asked_last(project):
    app = page(*(candidate(version, ticket) for version in "12" for ticket in "ab"))

    app.button("vote_skip").click().run()
    app.button("vote_left").click().run()
    app.button("vote_left").click().run()

    assert len({vote.case for vote in read(home(project, "greeting")).votes}) == 2


def test_the_ranking_is_shown_to_who_asks_and_stale_votes_are_told(project):
    both = [candidate(version, ticket) for version in "12" for ticket in "ab"]
    app = page(*both)
    app.button("vote_left").click().run()
    [vote] = read(home(project, "greeting")).votes
    cast(home(project, "greeting"), type(vote)(**{**vars(vote), "left": candidate("old").side}))

    app.run()

    assert (app.toggle[0].label, app.toggle[0].value) == ("Ranking after 1 vote", False)
    assert "1 older vote is about a prompt that has changed since" in app.caption[1].value
    app.toggle[0].set_value(True).run()
    assert "So few votes say little" in app.caption[1].value
    assert not app.exception


def test_votes_of_before_are_ranked_where_there_is_nothing_to_ask(project):
    (project / "prompts").mkdir()
    (project / "prompts" / "greeting.prompty").write_text(PROMPT, encoding="utf-8")
    now = PromptRepository(project / "prompts")["greeting"].digest
    large, small = (Candidate("greeting", "greeting", now, model, Case({}), model) for model in ("large", "small"))
    cast(home(project, "greeting"), Question(large, small, 0).vote("left"))

    app = page()

    assert "There is nothing to vote on yet" in app.info[0].value
    assert (app.toggle[0].label, app.toggle[0].value) == ("Ranking after 1 vote", True)
    assert "greeting · large" in drawn(app)


def test_who_votes_sees_answers_as_text_and_not_whose_they_are(project):
    probe = "<script>alert(1)</script>"
    app = page(
        candidate("7.1.0", ticket=probe, model="acme-large"), candidate("7.2.0", ticket=probe, model="acme-small")
    )

    seen = drawn(app)
    assert "Answer 7.1.0 to &lt;script&gt;" in seen
    assert "<script>" not in seen
    assert "greeting@" not in seen
    assert "acme" not in seen


@pytest.mark.parametrize("damage", [b"{}\n", b"\xff\n", b"<<<<<<< ours\n"])
def test_damaged_lines_are_told_and_do_not_stop_anybody(project, damage):
    home(project, "greeting").parent.mkdir()
    home(project, "greeting").write_bytes(damage)

    app = page(candidate("1"), candidate("2"))
    app.button("vote_left").click().run()

    assert voted(project) == ["left"]
    assert ":1: it is" in app.code[0].value or ":1: a marker" in app.code[0].value


def test_a_vote_that_cannot_be_kept_is_told(project):
    app = page(candidate("1"), candidate("2"))
    home(project, "greeting").parent.write_text("a file where the folder should be", encoding="utf-8")

    app.button("vote_left").click().run()

    assert "the vote was not kept" in app.error[0].value
    assert not app.exception
