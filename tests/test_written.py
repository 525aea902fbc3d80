"""Expectations written as YAML load to the value that Python writes, and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agentops import (
    any_order,
    at_least,
    at_most,
    before,
    call,
    exactly,
    in_order,
    includes,
    judged,
    matches_schema,
    never,
    no_cycle,
    no_repeats,
    one_of,
    only,
    only_tools,
    optional,
    repeated,
    similar_to,
    together,
)
from pytest_agentops.errors import ExpectationError
from pytest_agentops.expect.written import from_yaml, to_yaml

WRITTEN = [
    ("[a, b]", exactly("a", "b")),
    ("exactly: [a, {optional: [b]}, {repeated: {of: {one_of: [c, d]}, max: 3}}]",
     exactly("a", optional("b"), repeated(one_of("c", "d"), 1, 3))),
    ("in_order: [a, {call: b, arguments: {x: 1, y: {$type: float}, z: {$regex: ^a}}}]",
     in_order("a", call("b", x=1, y=float, z=re.compile("^a")))),
    ("any_order: [a, {call: a, arguments: {x: null}, exactly: true}]", any_order("a", call("a", x=None).exactly())),
    ("includes: [{call: a, returning: {ok: true}}]", includes(call("a").returning({"ok": True}))),
    ("only: [{call: a, by_provider: true}, {call: b, failing: true}]", only(call("a").by_provider(), call("b").failing())),
    ("only_tools: [a, b]", only_tools("a", "b")),
    ("together: [a, b]", together("a", "b")),
    ("exactly: [a, {any_order: [b, {call: c, arguments: {x: 1}}]}, {together: [d, e]}]",
     exactly("a", any_order("b", call("c", x=1)), together("d", "e"))),
    ("never: [a]", never("a")),
    ("at_least: {times: 2, call: a}", at_least(2, "a")),
    ("at_most: {times: 0, call: a, arguments: {x: [1]}}", at_most(0, call("a", x=[1]))),
    ("before: [a, b]", before("a", "b")),
    ("no_repeats: 3", no_repeats(times=3)),
    ("no_cycle: 2", no_cycle()),
    ("matches_schema: {type: object, required: [total]}", matches_schema({"type": "object", "required": ["total"]})),
    ("similar_to: It is on its way.", similar_to("It is on its way.")),
    ("similar_to: {text: It is on its way., at_least: 0.6}", similar_to("It is on its way.", at_least=0.6)),
    ("judged: is polite", judged("is polite")),
    ("judged: {criterion: is polite, model: gpt-5, votes: 3}", judged("is polite", "gpt-5", 3)),
    ("all: [{never: [a]}, {any: [[b], {not: {includes: [c]}}]}]", never("a") & (exactly("b") | ~includes("c"))),
    ("includes: [{call: a, arguments: {x: {$value: {$type: odd}}}}]", includes(call("a", x={"$type": "odd"}))),
    ('includes: [{call: a, arguments: {x: {$regex: "(?i):^a"}}}]', includes(call("a", x=re.compile("^a", re.IGNORECASE)))),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expectation"), WRITTEN, ids=[text for text, _ in WRITTEN])
def test_what_is_written_is_the_value_that_python_writes_and_back(text, expectation):
    assert from_yaml(text) == expectation
    assert from_yaml(to_yaml(expectation)) == expectation


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.text(min_size=1), st.dictionaries(st.text(), values, max_size=3))
def test_every_plain_call_survives(name, arguments):
    wanted = includes(call(name, arguments).exactly())

    assert from_yaml(to_yaml(wanted)) == wanted


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("never: [", "this is not YAML: while parsing a flow node"),
        ("a", "the expectation is a list of calls, or a mapping of one word, not 'a'"),
        ("{}", "the expectation is a list of calls, or a mapping of one word, not {}"),
        ("nver: [a]", "the expectation has no word 'nver'; did you mean 'never'?; there are: all, any, not,"),
        ("all: [{never: a}]", "the expectation.all[0].never is a list of calls, not 'a'"),
        ("all: []", "the expectation.all is a list of expectations, not []"),
        ("never: [{call: a, argments: {}}]", "the expectation.never[0] has no 'argments'; did you mean 'arguments'?"),
        ("never: [3]", "the expectation.never[0] is the name of a tool or a mapping with 'call', not 3"),
        ("never: []", "the expectation.never: never() expects nothing; name at least one call"),
        ("at_most: {times: 2}", "the expectation.at_most is the name of a tool or a mapping with 'call', not {'times': 2}"),
        ("at_most: {call: a}", "the expectation.at_most needs a number of 'times'"),
        ("at_least: {call: a, times: no}", "the expectation.at_least: at_least: times is a number of calls, not False"),
        ("before: [a]", "the expectation.before is a list of two calls, not of 1"),
        ("[{repeated: {of: a, min: 3, max: 2}}]", "repeated(..., 3, 2) has a minimum over its maximum"),
        ("never: [{call: a, arguments: {x: {$type: complex}}}]",
         "the expectation.never[0].arguments.x.$type: there is no type 'complex'; there are: bool, int, float, str, list,"),
        ("never: [{call: a, arguments: {x: {$regex: (}}}]",
         "the expectation.never[0].arguments.x.$regex: '(' is no regular expression: missing ), unterminated subpattern"),
        ("matches_schema: {type: objekt}", "the expectation.matches_schema: the schema is broken at $.type: 'objekt' is not"),
        ("similar_to: 3", "the expectation.similar_to is a text or a mapping with 'text', not 3"),
        ("similar_to: {text: a, by: sound}", "the expectation.similar_to: a text is similar by 'characters' or by"),
        ("judged: {criterion: a, model: m, votes: 2}", "the expectation.judged: votes is an odd number from 1 to 9"),
        ("judged: {critrion: a}", "the expectation.judged is a text or a mapping with 'criterion', not {'critrion': 'a'}"),
        ("never: [{call: a, exactly: 1}]", "the expectation.never[0].exactly is true or false, not 1"),
    ],
)  # fmt: skip
def test_what_is_no_expectation_is_told_with_its_place(text, told):
    with pytest.raises(ExpectationError) as error:
        from_yaml(text)

    assert str(error.value).startswith(told)


@pytest.mark.parametrize("value", [lambda value: True, {1, 2}, re.compile(b"a"), {"$a": re.compile("a")}])
def test_what_cannot_be_written_is_an_error(value):
    with pytest.raises(ExpectationError, match=r"cannot be written as YAML"):
        to_yaml(includes(call("a", x=value)))
