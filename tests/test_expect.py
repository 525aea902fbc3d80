"""Expectations: what holds and what does not, checked against definitions spelled out by brute force."""

from __future__ import annotations

import copy
import math
import random
import re
from enum import StrEnum
from functools import partial
from itertools import combinations, permutations, product
from typing import Any, Literal, Optional, Union

import dirty_equals as dirty
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agentops import call, exactly, in_order, never
from pytest_agentops.errors import ExpectationError
from pytest_agentops.expect.calls import MISSING, Difference, ExpectedCall
from pytest_agentops.expect.pairing import pairing
from pytest_agentops.expect.trajectories import Happened, NotExactly, NotInOrder
from pytest_agentops.trace import ToolCall, Trajectory

# --- generated runs --------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b"])
arguments = st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 1), max_size=2)
actual_calls = st.builds(ToolCall, name=names, arguments=arguments)
expected_calls = st.builds(call, names, arguments)
"""Two tools and two arguments of two values: many calls meet many expectations, which is where pairing is hard."""

thorough = settings(max_examples=120, deadline=None)


@st.composite
def runs(draw: st.DrawFn, largest_step: int = 3) -> Trajectory:
    steps = draw(st.lists(st.lists(actual_calls, min_size=1, max_size=largest_step), max_size=4))
    return Trajectory([[replaced(each, index) for each in step] for index, step in enumerate(steps)])


@st.composite
def runs_with_expectations(draw: st.DrawFn, largest_step: int = 3) -> tuple[Trajectory, list[ExpectedCall]]:
    """A run and what to expect of it: half of the time made from the run itself, so that it often holds."""
    run = draw(runs(largest_step))
    if draw(st.booleans()):
        return run, draw(st.lists(expected_calls, max_size=6))
    shuffled = [each for step in run.steps for each in draw(st.permutations(step))]
    kept = [each for each in shuffled if draw(st.integers(0, 9))]
    loose = [call(each.name, {k: v for k, v in each.arguments.items() if draw(st.booleans())}) for each in kept]
    return run, loose


def replaced(made: ToolCall, step: int) -> ToolCall:
    return ToolCall(made.name, made.arguments, step=step)


def meets(wanted: ExpectedCall, made: ToolCall) -> bool:
    """Whether a call is as expected, without any of the code under test."""
    return wanted.name == made.name and all(
        name in made.arguments and made.arguments[name] == value for name, value in wanted.arguments.items()
    )


def can_be_paired(wanted: list[ExpectedCall], made: list[ToolCall]) -> bool:
    return len(wanted) == len(made) and any(all(map(meets, wanted, order)) for order in permutations(made))


def holds_exactly(run: Trajectory, wanted: list[ExpectedCall]) -> bool:
    """The calls of the first step, in any order; then those of the second; and so on, and then nothing."""
    if not run.steps:
        return not wanted
    first, rest = run.steps[0], Trajectory(run.steps[1:])
    return can_be_paired(wanted[: len(first)], list(first)) and holds_exactly(rest, wanted[len(first) :])


def holds_in_order(run: Trajectory, wanted: list[ExpectedCall]) -> bool:
    """Some choice of steps, each later than the one before, has the calls."""
    return any(
        all(any(meets(each, made) for made in run.steps[index]) for each, index in zip(wanted, chosen, strict=True))
        for chosen in combinations(range(len(run.steps)), len(wanted))
    )


@thorough
@given(runs_with_expectations())
def test_exactly_holds_when_the_calls_of_each_step_come_in_any_order_and_the_steps_in_theirs(case):
    run, wanted = case

    assert (run == exactly(*wanted)) == holds_exactly(run, wanted)


@thorough
@given(runs_with_expectations())
def test_a_list_says_the_same_as_exactly(case):
    run, wanted = case

    assert (run == wanted) == (run == tuple(wanted)) == (run == exactly(*wanted))


@thorough
@given(runs_with_expectations())
def test_in_order_holds_when_later_and_later_steps_have_the_calls(case):
    run, wanted = case

    if wanted:
        assert (run == in_order(*wanted)) == holds_in_order(run, wanted)


@thorough
@given(runs_with_expectations())
def test_never_holds_when_no_call_meets_any(case):
    run, wanted = case

    if wanted:
        assert (run == never(*wanted)) == (not any(meets(each, made) for each in wanted for made in run))


@thorough
@given(runs(), expected_calls)
def test_a_call_is_in_a_trajectory_when_one_meets_it(run, wanted):
    made = [meets(wanted, each) for each in run]

    assert (wanted in run) == any(made)
    assert run.count(wanted) == sum(made)


@thorough
@given(runs_with_expectations(), st.randoms())
def test_the_order_of_calls_inside_a_step_changes_no_verdict(case, rng):
    run, wanted = case
    shuffled = Trajectory([rng.sample(step, len(step)) for step in run.steps])

    for expectation in [exactly(*wanted), *([in_order(*wanted), never(*wanted)] if wanted else [])]:
        assert (run == expectation) == (shuffled == expectation)


@thorough
@given(runs_with_expectations(largest_step=1))
def test_exactly_implies_in_order_where_no_step_has_two_calls(case):
    run, wanted = case

    if wanted and run == exactly(*wanted):
        assert run == in_order(*wanted)


@thorough
@given(runs_with_expectations())
def test_a_conjunction_holds_when_each_side_does(case):
    run, wanted = case
    first, second = exactly(*wanted), never(call("a", x=0))

    assert (run == first & second) == (run == first and run == second)
    assert (run == second & first) == (run == first & second)


@thorough
@given(st.lists(expected_calls, max_size=5), st.lists(actual_calls, max_size=5))
def test_as_many_calls_are_paired_as_can_be(wanted, made):
    found = pairing(wanted, made)

    partners = [index for index in found if index is not None]
    assert len(partners) == len(set(partners))
    assert all(meets(wanted[row], made[index]) for row, index in enumerate(found) if index is not None)
    assert len(partners) == most_pairs(wanted, made)


def most_pairs(wanted: list[ExpectedCall], made: list[ToolCall]) -> int:
    for size in range(min(len(wanted), len(made)), 0, -1):
        for some, others in product(combinations(wanted, size), permutations(made, size)):
            if all(map(meets, some, others)):
                return size
    return 0


def test_a_loose_expectation_leaves_the_call_that_a_strict_one_needs():
    step = [ToolCall("refund", {"order": 1}), ToolCall("refund", {"order": 2})]

    for actual in permutations(step):
        assert Trajectory([actual]) == ["refund", call("refund", order=1)]
        assert Trajectory([actual]) == [call("refund", order=1), "refund"]
        assert Trajectory([actual]) == [call("refund", order=2), "refund"]
        assert Trajectory([actual]) != [call("refund", order=2), call("refund", order=2)]


def test_hundreds_of_parallel_calls_are_paired():
    made = [ToolCall("a", {"x": number}) for number in range(300)]
    wanted = [call("a"), *(call("a", x=number) for number in range(299))]

    assert Trajectory([made]) == wanted
    assert Trajectory([random.Random(1).sample(made, len(made))]) == wanted


# --- what the mismatches hold ----------------------------------------------------------------------------------------

RUN = Trajectory(
    [
        [ToolCall("lookup_order", {"order_id": 42}, step=0), ToolCall("log", step=0)],
        [ToolCall("issue_refund", {"order_id": 42, "amount": 40}, step=1)],
    ]
)


def test_a_mismatch_of_exactly_holds_expected_and_actual_side_by_side():
    refund = call("issue_refund", amount=41)

    mismatch = exactly("log", "ban_customer", refund).mismatch(RUN)

    assert isinstance(mismatch, NotExactly)
    assert [
        (row.expected and row.expected.name, row.actual and row.actual.name, row.agrees) for row in mismatch.rows
    ] == [
        ("log", "log", True),
        ("ban_customer", None, False),
        (None, "lookup_order", False),
        ("issue_refund", "issue_refund", False),
    ]
    assert mismatch.expectation == exactly("log", "ban_customer", refund)
    assert mismatch.trajectory is RUN


def test_a_mismatch_of_in_order_holds_what_was_found_and_what_was_missing():
    mismatch = in_order("log", "lookup_order").mismatch(RUN)

    assert isinstance(mismatch, NotInOrder)
    assert (mismatch.found, mismatch.missing) == ((RUN[1],), (call("lookup_order"),))


def test_a_mismatch_of_never_holds_the_calls_that_were():
    mismatch = never("issue_refund", call("lookup_order", order_id=42)).mismatch(RUN)

    assert isinstance(mismatch, Happened)
    assert mismatch.calls == (RUN[0], RUN[2])


def test_a_mismatch_of_a_conjunction_holds_the_parts_that_do_not_hold():
    mismatch = (never("ban_customer") & in_order("issue_refund", "log") & never("log")).mismatch(RUN)

    assert [type(found) for found in mismatch.found] == [NotInOrder, Happened]


def test_a_call_of_one_step_is_before_no_other_call_of_that_step():
    assert in_order("lookup_order", "log") != RUN
    assert in_order("log", "lookup_order") != RUN
    assert in_order("log", "issue_refund") & in_order("lookup_order", "issue_refund") == RUN


def test_one_call_does_not_serve_twice():
    assert in_order("issue_refund", "issue_refund") != RUN
    assert RUN != ["log", "log", "issue_refund"]


# --- values ----------------------------------------------------------------------------------------------------------


class Queue(StrEnum):
    BILLING = "billing"


class Anything:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None


def even(value: int) -> bool:
    return value % 2 == 0


NAN = float("nan")

MATCH = [
    pytest.param(True, True, id="True"),
    pytest.param(1, 1.0, id="1 is 1.0"),
    pytest.param(1.0, 1, id="1.0 is 1"),
    pytest.param(None, None, id="null"),
    pytest.param("", "", id="empty text"),
    pytest.param({}, {}, id="empty object"),
    pytest.param([], [], id="empty list"),
    pytest.param({"a": 1, "b": 2}, {"b": 2, "a": 1}, id="order of keys"),
    pytest.param([1, {"a": [None]}], [1, {"a": [None]}], id="nested"),
    pytest.param((1, 2), [1, 2], id="a tuple is a list"),
    pytest.param(NAN, NAN, id="NaN"),
    pytest.param(math.inf, math.inf, id="infinity"),
    pytest.param(Queue.BILLING, "billing", id="a text of an enum"),
    pytest.param(dirty.IsPositiveInt, 3, id="dirty-equals"),
    pytest.param(dirty.IsPartialDict(a=1), {"a": 1, "b": 2}, id="dirty-equals of an object"),
    pytest.param([dirty.IsStr(regex="a+"), 2], ["aa", 2], id="dirty-equals in a list"),
    pytest.param({"a": dirty.Contains("x")}, {"a": ["x", "y"]}, id="dirty-equals in an object"),
    pytest.param(pytest.approx(0.3), 0.1 + 0.2, id="approx"),
    pytest.param({"a": pytest.approx(0.3)}, {"a": 0.1 + 0.2}, id="approx in an object"),
    pytest.param(pytest.approx([0.3]), [0.1 + 0.2], id="approx of a list"),
    pytest.param(re.compile("ref"), "a refund", id="a regex searches"),
    pytest.param(re.compile("^REF", re.IGNORECASE), "refund", id="a regex with a flag"),
    pytest.param({"a": [re.compile("x")]}, {"a": ["xy"]}, id="a regex in a list in an object"),
    pytest.param(int, 3, id="int"),
    pytest.param(bool, True, id="bool"),
    pytest.param(str, "", id="str"),
    pytest.param(list, [], id="list"),
    pytest.param(dict, {"a": 1}, id="dict"),
    pytest.param(type(None), None, id="NoneType"),
    pytest.param(object, None, id="object"),
    pytest.param({"a": int}, {"a": 1}, id="a type in an object"),
    pytest.param(int | None, None, id="a union"),
    pytest.param(int | bool, True, id="a union with bool"),
    pytest.param(Optional[int], 3, id="an older union"),  # noqa: UP045
    pytest.param(even, 4, id="a function"),
    pytest.param(lambda value: True, None, id="a lambda"),
    pytest.param([even, even], [2, 4], id="functions in a list"),
    pytest.param(partial(lambda low, value: value > low, 3), 4, id="a partial"),
    pytest.param(Anything(), object(), id="whatever equals"),
]

NO_MATCH = [
    pytest.param(True, 1, id="True is not 1"),
    pytest.param(1, True, id="1 is not True"),
    pytest.param(0, False, id="0 is not False"),
    pytest.param(1.0, True, id="1.0 is not True"),
    pytest.param([True], [1], id="True is not 1 in a list"),
    pytest.param({"a": 1}, {"a": True}, id="1 is not True in an object"),
    pytest.param(1, "1", id="1 is not a text"),
    pytest.param(None, "", id="null is not empty"),
    pytest.param("", None, id="empty is not null"),
    pytest.param(None, 0, id="null is not 0"),
    pytest.param(None, False, id="null is not False"),
    pytest.param({}, [], id="an object is not a list"),
    pytest.param([], {}, id="a list is not an object"),
    pytest.param({}, None, id="empty object is not null"),
    pytest.param([1, 2], [2, 1], id="order of a list"),
    pytest.param([1], [1, 1], id="length of a list"),
    pytest.param({"a": 1}, {"a": 1, "b": 2}, id="one key more in a nested object"),
    pytest.param({"a": 1, "b": None}, {"a": 1}, id="a null that is missing in a nested object"),
    pytest.param({"a": lambda value: True}, {}, id="a function asked about what is missing"),
    pytest.param({"a": object}, {}, id="a type of what is missing"),
    pytest.param({"a": Anything()}, {}, id="whatever equals asked about what is missing"),
    pytest.param("ab", ["a", "b"], id="a text is not a list"),
    pytest.param(["a", "b"], "ab", id="a list is not a text"),
    pytest.param(NAN, 1.0, id="NaN is no number"),
    pytest.param(1.0, NAN, id="no number is NaN"),
    pytest.param(NAN, None, id="NaN is not null"),
    pytest.param(dirty.IsPositiveInt, -3, id="dirty-equals"),
    pytest.param(pytest.approx(0.3), 0.4, id="approx"),
    pytest.param(re.compile("^ref"), "a refund", id="a regex with an anchor"),
    pytest.param(re.compile("4"), 42, id="a regex asked about a number"),
    pytest.param(re.compile("."), None, id="a regex asked about null"),
    pytest.param(int, True, id="int never takes a bool"),
    pytest.param(int, 3.0, id="int takes no float"),
    pytest.param(float, True, id="float never takes a bool"),
    pytest.param(int | None, True, id="a union with int never takes a bool"),
    pytest.param(str, None, id="str takes no null"),
    pytest.param(even, 3, id="a function"),
    pytest.param(b"a", "a", id="bytes"),
    pytest.param({1, 2}, [1, 2], id="a set"),
]


def matches(expected: object, actual: object) -> bool:
    return call("tool", value=expected).mismatches(ToolCall("tool", {"value": actual})) is None


@pytest.mark.parametrize(("expected", "actual"), MATCH)
def test_values_that_match(expected, actual):
    assert matches(expected, actual)
    assert matches([{"deep": expected}], [{"deep": actual}])


@pytest.mark.parametrize(("expected", "actual"), NO_MATCH)
def test_values_that_do_not_match(expected, actual):
    assert not matches(expected, actual)
    assert not matches([{"deep": expected}], [{"deep": actual}])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, -0.5]) | st.sampled_from(["", "a"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=4,
)


def same_json(left: Any, right: Any) -> bool:
    """Equality of JSON values by definition: of one kind, and equal in their parts."""
    kinds = (type(None), bool, int | float, str, list, dict)
    kind = [next(index for index, each in enumerate(kinds) if isinstance(value, each)) for value in (left, right)]
    if kind[0] != kind[1]:
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same_json(left[key], right[key]) for key in left)
    return left == right


@thorough
@given(json_values, json_values)
def test_json_values_match_as_json_does(left, right):
    assert matches(left, right) == same_json(left, right) == matches(right, left)


@thorough
@given(json_values)
def test_a_json_value_matches_itself_in_every_key_order(value):
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(inner) for key, inner in reversed(value.items())}
        return [turned(inner) for inner in value] if isinstance(value, list) else value

    assert matches(value, turned(copy.deepcopy(value)))


# --- arguments -------------------------------------------------------------------------------------------------------


def test_the_given_arguments_must_match_and_others_are_free():
    made = ToolCall("refund", {"order": 42, "reason": None})

    assert call("refund").mismatches(made) is None
    assert call("refund", {}).mismatches(made) is None
    assert call("refund", order=42).mismatches(made) is None
    assert call("refund", {"order": 42}, reason=None).mismatches(made) is None


def test_missing_null_and_empty_are_three_things():
    def differences(value: object, **arguments: object) -> object:
        return call("refund", reason=value).mismatches(ToolCall("refund", arguments))

    for value, same in [(None, {"reason": None}), ("", {"reason": ""}), ({}, {"reason": {}})]:
        assert differences(value, **same) is None
    assert differences(None) == (Difference("reason", None, MISSING),)
    assert differences("") == (Difference("reason", "", MISSING),)
    assert differences(None, reason="") == (Difference("reason", None, ""),)
    assert differences("", reason=None) == (Difference("reason", "", None),)
    assert differences({}, reason=None) == (Difference("reason", {}, None),)


def test_a_difference_names_its_place_however_deep():
    wanted = call("search", filter={"queue": ["billing", {"open": True}], "limit": 3}, page=1)
    made = ToolCall("search", {"filter": {"queue": ["billing", {"open": 1}], "sort": "age"}, "page": 1})

    assert [str(difference) for difference in wanted.mismatches(made)] == [
        "filter.queue[1].open: expected True, got 1",
        "filter.limit: expected 3, got nothing",
        "filter.sort: expected nothing, got 'age'",
    ]


def test_another_name_is_the_only_difference_that_is_told():
    assert call("refund", order=1).mismatches(ToolCall("lookup", {"order": 2})) == (
        Difference("name", "refund", "lookup"),
    )


def test_malformed_arguments_match_a_bare_name_and_nothing_that_names_an_argument():
    made = ToolCall("refund", malformed='{"order": 4')

    assert call("refund").mismatches(made) is None
    assert call("refund", {}).mismatches(made) is None
    assert [str(difference) for difference in call("refund", order=4).mismatches(made)] == [
        """expected arguments that are JSON, got '{"order": 4'"""
    ]
    assert call("refund", order=None).mismatches(made) is not None


def test_arguments_that_are_no_object_match_a_bare_name_and_nothing_that_names_an_argument():
    made = ToolCall("refund", [4])

    assert call("refund").mismatches(made) is None
    assert [str(difference) for difference in call("refund", order=4).mismatches(made)] == [
        "expected named arguments, got [4]"
    ]


def test_an_argument_may_have_any_name():
    made = ToolCall("refund", {"order-id": 1, "self": 2, "name": 3, "arguments": 4, "": 5})

    assert call("refund", {"order-id": 1, "": 5}, self=2, name=3, arguments=4).mismatches(made) is None


def test_a_function_that_raises_is_heard():
    def broken(value: object) -> bool:
        raise ZeroDivisionError("in the test's own function")

    with pytest.raises(ZeroDivisionError, match="in the test's own function"):
        _ = call("refund", order=broken) in Trajectory([[ToolCall("refund", {"order": 1})]])


def test_a_function_is_not_asked_about_other_tools():
    def broken(value: object) -> bool:
        raise ZeroDivisionError

    assert call("refund", order=broken) not in Trajectory([[ToolCall("lookup", {"order": 1})]])


def test_nothing_that_the_test_passes_in_is_changed():
    given = {"filter": {"queue": ["billing"]}, "limit": [1, {"a": None}]}
    before = copy.deepcopy(given)
    run = Trajectory([[ToolCall("search", {"filter": {"queue": []}, "limit": 3})]])
    made_before = copy.deepcopy(list(run))
    listed = ["search", call("search", given)]

    _ = run == listed, call("search", given, page=1) in run, run == in_order(*listed) & never(*listed)

    assert given == before
    assert list(run) == made_before
    assert listed == ["search", call("search", before)]


def test_a_call_keeps_its_arguments_when_the_mapping_gets_more():
    given = {"order": 1}
    wanted = call("refund", given)

    given["amount"] = 2

    assert wanted == call("refund", order=1)


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: call(3), "a call is expected by the name of its tool, not 3"),
        (lambda: call(""), "a call is expected by the name of its tool, not ''"),
        (lambda: call(None), "a call is expected by the name of its tool, not None"),
        (
            lambda: call("refund", ["order"]),
            "the arguments of call('refund', ...) are given by name or as a mapping, not ['order']",
        ),
        (
            lambda: call("refund", {"a": 1, "b": 2, "c": 3}, b=3, a=1),
            "call('refund', ...) has a, b in the mapping and by name",
        ),
        (
            lambda: call("refund", orders=list[int]),
            "list[int] cannot be asked by isinstance; write a plain type, a value or a function",
        ),
        (
            lambda: call("refund", {"filter": [{"kind": Literal["a"] | None}]}),
            "typing.Literal['a'] cannot be asked by isinstance; write a plain type, a value or a function",
        ),
        (
            lambda: call("refund", orders=Union[int, dict[str, int]]),  # noqa: UP007
            "dict[str, int] cannot be asked by isinstance; write a plain type, a value or a function",
        ),
        (
            lambda: call("refund", order=Any),
            "typing.Any cannot be asked by isinstance; write a plain type, a value or a function",
        ),
        (lambda: exactly("a", 3), "expected the name of a tool or call(name, ...), got 3"),
        (lambda: exactly(["a", "b"]), "expected the name of a tool or call(name, ...), got ['a', 'b']"),
        (lambda: in_order(), "in_order() expects nothing; name at least one call"),
        (lambda: in_order("a", None), "expected the name of a tool or call(name, ...), got None"),
        (lambda: never(), "never() expects nothing; name at least one call"),
        (lambda: never(never("a")), "expected the name of a tool or call(name, ...), got never('a')"),
    ],
)
def test_a_mistake_is_told_where_it_is_written(write, message):
    with pytest.raises(ExpectationError) as error:
        write()

    assert str(error.value) == message


def test_an_expectation_is_neither_true_nor_false_so_that_and_does_not_drop_one():
    with pytest.raises(ExpectationError) as error:
        bool(in_order("log", "issue_refund") == RUN and never("log"))

    assert str(error.value) == (
        "never('log') is neither true nor false by itself\n"
        "  compare a trajectory with it by ==, and combine expectations with & and | and ~, not `and`, `or`, `not`"
    )


@pytest.mark.parametrize("other", [["a"], "a", call("a"), True, None])
def test_an_expectation_combines_with_expectations_alone(other):
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = never("a") & other


# --- values of their own ---------------------------------------------------------------------------------------------


def test_expectations_show_what_a_test_would_write():
    assert repr(exactly("a", call("b", x=1))) == "['a', call('b', x=1)]"
    assert (
        repr(in_order("a", call("b", {"not-a-name": 1, "x": 2})))
        == "in_order('a', call('b', {'not-a-name': 1, 'x': 2}))"
    )
    assert repr(never("a") & in_order("b", "c") & never("d")) == "never('a') & in_order('b', 'c') & never('d')"
    assert repr(call("a", x=int, y=re.compile("^a"), z=even)) == "call('a', x=int, y=re.compile('^a'), z=even)"
    assert repr(call("a", x="y" * 300)) == f"call('a', x='{'y' * 99}... (302 characters))"


def test_expectations_are_values_that_can_be_compared_and_asked_again():
    assert in_order("a", "b") == in_order("a", "b") != in_order("b", "a")
    assert never("a") & never("b") == never("a") & never("b")

    rule = in_order("lookup_order", "issue_refund")

    assert [rule.mismatch(RUN) for _ in range(3)] == [None, None, None]
