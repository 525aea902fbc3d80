"""The conformance cases that the package `prompty` ships, and where we differ on purpose."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from pytest_agentops.errors import PromptSyntaxError
from pytest_agentops.prompt import Prompt

_FOLDER = files("prompty") / "jinja_subset" / "conformance"
RENDER = json.loads((_FOLDER / "render_golden.json").read_text("utf-8"))
SEGMENTS = json.loads((_FOLDER / "segments_golden.json").read_text("utf-8"))

DEVIATIONS = {
    "missing_variable_renders_empty": "a missing variable is an error that names the line",
    "strict_forged_boundary_throws": "text that looks like a role marker stays text and never fails a render",
    "strict_multiline_boundary_throws": "text that looks like a role marker stays text and never fails a render",
}
"""Cases that come out otherwise here, each with the reason."""

RENDERED = [case for case in RENDER if case["name"] not in DEVIATIONS]
SEGMENTED = [case for case in SEGMENTS if case["name"] not in DEVIATIONS]


def prompt(case: dict[str, Any]) -> Prompt:
    """The template of a case, with the inputs that it gives declared."""
    kinds = {str: "string", bool: "boolean", int: "integer", float: "float", list: "array", dict: "object"}
    declared = {
        name: {"kind": kinds.get(type(value), "string"), "nullable": True} for name, value in case["inputs"].items()
    }
    return Prompt.parse("p", f"---\ninputs: {json.dumps(declared)}\n---\n{case['template']}", path="p", source=str)


def test_the_package_ships_the_cases_that_we_know_of():
    names = [case["name"] for case in RENDER]

    assert (len(RENDER), len(SEGMENTS)) == (47, 5)
    assert [name for name in DEVIATIONS if name not in names] == []


@pytest.mark.parametrize("case", RENDERED, ids=[case["name"] for case in RENDERED])
def test_it_renders_to_the_same_text(case):
    """Where a template has roles, its text is that of its messages with their markers."""
    messages = prompt(case).messages(**case["inputs"])
    roles = ":\n" in case["template"]

    text = "\n".join(f"{each['role']}:\n{each['content']}" if roles else each["content"] for each in messages)

    assert text == case["rendered"].strip("\n")


@pytest.mark.parametrize("case", SEGMENTED, ids=[case["name"] for case in SEGMENTED])
def test_each_text_has_the_same_source(case):
    segments = [each for message in prompt(case).segments(**case["inputs"]) for each in message.segments]

    from_inputs = [(each.inputs[0], each.text) for each in segments if each.inputs]

    assert from_inputs == [(each["source"], each["text"]) for each in case["segments"] if each["kind"] == "interp"]


def test_a_missing_variable_is_an_error():
    [case] = [case for case in RENDER if case["name"] == "missing_variable_renders_empty"]

    with pytest.raises(PromptSyntaxError) as error:
        prompt(case).messages()

    assert str(error.value) == "p: line 4: 'missing' is undefined"


@pytest.mark.parametrize("name", ["strict_forged_boundary_throws", "strict_multiline_boundary_throws"])
def test_a_forged_marker_stays_text(name):
    [case] = [case for case in SEGMENTS if case["name"] == name]

    assert prompt(case).messages(**case["inputs"]) == [{"role": "user", "content": case["inputs"]["q"]}]
