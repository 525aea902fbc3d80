"""A prompt while it is written: lines and findings, who wrote what, tokens, and what changed."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pytest_agentops import PromptRepository
from pytest_agentops.errors import PromptError, PromptInputError
from pytest_agentops.formats import edit as drawn
from pytest_agentops.manuscript import (
    Manuscript,
    Row,
    Said,
    Stretch,
    Weight,
    compared,
    consequences,
    manuscript,
    source_of,
)
from pytest_agentops.releases import Edit
from pytest_agentops.revision import Revision
from pytest_agentops.trees import MappingTree
from tests.test_repository import House, three_versions

DAY = date(2026, 11, 28)
TEXT = """---
name: a
inputs:
  company: {kind: string}
  ticket: {kind: string, trust: untrusted}
---
system:
You work for {{ company }}.
user:
{{ company }} asks: {{ ticket }}
"""


def written(text: str, **partials: str) -> Manuscript:
    return manuscript(PromptRepository("prompts", tree=MappingTree(partials, "memory")), "a", text, today=DAY)


def test_each_line_has_its_number_and_what_is_wrong_on_it():
    lines = written(TEXT.replace("{{ company }}.", "{{ ticket }}.")).lines

    assert [(line.number, line.text) for line in lines][7:] == [
        (8, "You work for {{ ticket }}."),
        (9, "user:"),
        (10, "{{ company }} asks: {{ ticket }}"),
    ]
    assert [(line.number, each.rule) for line in lines for each in line.complaints] == [
        (8, "untrusted-in-system"), (10, "missing-delimiters"),
    ]  # fmt: skip


def test_what_a_finding_is_allowed_by_stands_in_yaml_or_in_the_body():
    text = TEXT.replace("  ticket:", "  unused: {kind: string}\n  ticket:")

    assert [each.allowance(text) for each in written(text).complaints] == [
        "# lint: allow unused-input: why",
        "{# lint: allow missing-delimiters: why #}",
    ]
    assert written("---\nname: [\n---\n").complaints[0].allowance("---\nname: [\n---\n") == ""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("---\nname: a\ninputs: 3\n---\nx", 3),
        ("---\nname: [\n---\nx", 3),
        ("---\nname: a", 1),
        ("user:\n{{ x", 2),
        ("user:\n\n{% include '_nowhere' %}", 3),
        ("", 1),
        ("<<<<<<< a\nx\n=======\ny\n>>>>>>> b\n", 1),
    ],
)
def test_a_text_that_cannot_be_understood_says_on_which_line(text, line):
    broken = written(text)

    assert broken.prompt is None
    assert broken.problem is not None
    assert (broken.problem.rule, broken.problem.line) == ("syntax", line)
    assert [each.number for each in broken.lines if broken.problem in each.complaints] == [line]
    with pytest.raises(PromptError, match=f"line {line}: "):
        broken.rendered({})


def test_every_stretch_of_a_message_knows_who_wrote_it():
    assert written(TEXT).rendered({"company": "ACME", "ticket": "Help"}) == (
        Said("system", (Stretch("You work for "), Stretch("ACME", "trusted", ("company",)), Stretch("."))),
        Said(
            "user",
            (Stretch("ACME", "trusted", ("company",)), Stretch(" asks: "), Stretch("Help", "untrusted", ("ticket",))),
        ),
    )


def test_what_mixes_inputs_is_as_untrusted_as_the_worst_of_them():
    [said] = written(TEXT.partition("system:")[0] + "user:\n{{ company ~ ticket }}").rendered(
        {"company": "a", "ticket": "b"}
    )

    assert said.stretches == (Stretch("ab", "untrusted", ("company", "ticket")),)


def test_an_input_that_is_missing_is_an_error():
    with pytest.raises(PromptInputError, match="a needs 'company', 'ticket'"):
        written(TEXT).rendered({})


def test_tokens_are_told_by_role_by_input_and_for_what_else_is_sent():
    text = TEXT.replace("inputs:", "tools:\n  - {name: look, parameters: {q: string}}\noutputs: {x: string}\ninputs:")

    found = written(text).weights({"company": "ACME", "ticket": "word " * 40})

    assert [(each.what, each.provenance) for each in found] == [
        ("system", "author"), ("company", "trusted"), ("user", "author"), ("ticket", "untrusted"),
        ("tools", "author"), ("outputs", "author"),
    ]  # fmt: skip
    assert Weight("ticket", "untrusted", 50) in found
    assert all(each.tokens > 10 for each in found[-2:])


def test_two_texts_are_compared_line_by_line_and_word_by_word():
    old = "".join(f"line {number}\n" for number in range(1, 11)) + "the old end\n"
    new = old.replace("old end", "new end\nand more")

    assert list(compared(old, new, context=1)) == [
        Row("gap", None, None, (("same", "9 lines as they were"),)),
        Row("same", 10, 10, (("same", "line 10"),)),
        Row("old", 11, None, (("same", "the "), ("changed", "old"), ("same", " end"))),
        Row("new", None, 11, (("same", "the "), ("changed", "new"), ("same", " end"))),
        Row("new", None, 12, (("changed", "and more"),)),
    ]
    assert list(compared(old, old)) == []
    assert [row.kind for row in compared(old, "x\n" + old, context=1)] == ["new", "same", "gap"]


def test_what_a_change_means_is_said_the_level_first():
    old, new = written(TEXT).prompt, written(TEXT.replace("company: {kind: string}", "company: {kind: integer}")).prompt
    assert old is not None
    assert new is not None

    assert list(consequences(Revision(old, new))) == [
        ("major", "it owes a major bump: programs that use it have to change"),
        ("breaking", "inputs.company: is integer now, and was string"),
    ]
    assert list(consequences(Revision(old, old))) == [("none", "nothing that a model sees has changed")]


def test_a_text_is_found_at_every_state_and_where_it_is_broken(tmp_path: Path):
    house = House(tmp_path)
    three_versions(house)
    house.write("labels.toml", '["a"]\nproduction = "1.1.0"\n')
    (house.folder / "a.prompty").write_bytes(b"---\r\nnot even\r\n\xff")
    prompts = house.prompts

    assert source_of(prompts, "a") == "---\nnot even\n\ufffd"
    assert source_of(prompts, "a", "production").endswith("two\n")
    with pytest.raises(PromptError, match="no prompt 'b'"):
        source_of(prompts, "b")


# --- as HTML ---------------------------------------------------------------------------------------------------------

HOSTILE = '"><script>alert(1)</script>'


def test_whatever_is_drawn_hostile_text_is_text():
    hostile = written(f"---\nname: {HOSTILE}\n---\nuser:\n{HOSTILE} {{{{ {HOSTILE}")
    pages = [
        drawn.rendered(
            [Said(HOSTILE, (Stretch(HOSTILE, "untrusted", (HOSTILE,)),))], left_out=[HOSTILE], stale=HOSTILE
        ),
        drawn.findings(hostile),
        drawn.tokens([Weight(HOSTILE, "author", 3)]),
        drawn.comparison(compared("a", HOSTILE), [("minor", HOSTILE)], old=HOSTILE, new=HOSTILE),
        drawn.plan([HOSTILE], [Edit(Path(HOSTILE), None, HOSTILE)], [HOSTILE]),
    ]

    for page in pages:
        assert "&lt;script&gt;" in page
        assert "<script" not in page


def test_findings_are_drawn_with_the_lines_around_them():
    page = drawn.findings(written(TEXT.replace("  ticket:", "  unused: {kind: string}\n  ticket:")))

    assert '<p class="quiet">2 findings</p>' in page
    assert page.count("&#8942;") == 1
    assert "<code># lint: allow unused-input: why</code>" in page
    assert "Nothing to complain about" in drawn.findings(written("user:\nHi"))


def test_a_long_new_file_is_drawn_by_its_beginning():
    page = drawn.plan([], [Edit(Path("/x/y.yaml"), None, "line\n" * 100)], [], shown={Path("/x/y.yaml"): "y.yaml"})

    assert "<code>y.yaml</code>" in page
    assert "40 more lines" in page
