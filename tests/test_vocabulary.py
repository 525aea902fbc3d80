"""The whole vocabulary of expectations, each judged beside a definition spelled out by brute force."""

from __future__ import annotations

import json
import re
from itertools import permutations, product

import dirty_equals as dirty
import pytest
from hypothesis import assume, given, settings
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
    never,
    no_cycle,
    no_repeats,
    one_of,
    only,
    only_tools,
    optional,
    repeated,
    together,
)
from pytest_agentops.assembly import trace_of
from pytest_agentops.errors import ExpectationError, NeverHeld, NothingCaptured
from pytest_agentops.exchange import Exchange, Request, Response
from pytest_agentops.expect import Not
from pytest_agentops.expect.calls import ExpectedCall
from pytest_agentops.expect.patterns import Group, OneOf, Optional, Repeated, groups
from pytest_agentops.trace import Message, ModelCall, ResponseText, ToolCall, Trace, Trajectory
from tests.test_expect import expected_calls, meets, runs, runs_with_expectations
from tests.test_explain import run

thorough = settings(max_examples=300, deadline=None)


# --- beside brute force ----------------------------------------------------------------------------------------------


def can_place(wanted: list[ExpectedCall], made: list[ToolCall]) -> bool:
    """Whether each wanted call finds a call of its own."""
    return len(wanted) <= len(made) and any(
        all(map(meets, wanted, chosen)) for chosen in permutations(made, len(wanted))
    )


def can_cover(wanted: list[ExpectedCall], made: list[ToolCall]) -> bool:
    """Whether each call made finds a wanted one of its own."""
    return len(made) <= len(wanted) and any(all(map(meets, chosen, made)) for chosen in permutations(wanted, len(made)))


few = st.lists(expected_calls, min_size=1, max_size=4)
short_runs = runs().filter(lambda made: len(made) <= 5)


@thorough
@given(short_runs, few)
def test_unordered_forms_hold_when_each_call_finds_one_of_its_own(made, wanted):
    assert (made == includes(*wanted)) == can_place(wanted, list(made))
    assert (made == only(*wanted)) == can_cover(wanted, list(made))
    assert (made == any_order(*wanted)) == (can_place(wanted, list(made)) and can_cover(wanted, list(made)))


@thorough
@given(short_runs, few, st.randoms())
def test_no_unordered_verdict_depends_on_the_order_it_is_written_in(made, wanted, rng):
    shuffled = rng.sample(wanted, len(wanted))

    for form in (any_order, includes, only, never):
        assert (made == form(*wanted)) == (made == form(*shuffled))
    if len(wanted) > 1:
        assert (made == together(*wanted)) == (made == together(*shuffled))


@thorough
@given(short_runs, st.lists(expected_calls, min_size=2, max_size=3))
def test_together_holds_when_one_step_has_a_call_for_each(made, wanted):
    assert (made == together(*wanted)) == any(can_place(wanted, list(step)) for step in made.steps)


@thorough
@given(runs(), expected_calls, expected_calls)
def test_before_holds_when_every_second_call_has_a_first_one_in_an_earlier_step(made, first, second):
    holds = all(
        any(meets(first, each) for step in made.steps[:index] for each in step)
        for index, step in enumerate(made.steps)
        for each in step
        if meets(second, each)
    )

    assert (made == before(first, second)) == holds


@thorough
@given(runs(), expected_calls, st.integers(1, 4))
def test_counts(made, wanted, number):
    count = sum(meets(wanted, each) for each in made)

    assert (made == at_least(number, wanted)) == (count >= number)
    assert (made == at_most(number, wanted)) == (count <= number)


@thorough
@given(runs_with_expectations())
def test_in_order_implies_includes(case):
    made, wanted = case

    if wanted and made == in_order(*wanted):
        assert made == includes(*wanted)


elements = st.recursive(
    expected_calls,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2).map(lambda some: optional(*some)),
        st.lists(inner, min_size=1, max_size=2).map(lambda some: one_of(*some)),
        st.lists(expected_calls, min_size=1, max_size=3).map(lambda some: any_order(*some).as_element()),
        st.builds(
            lambda each, least, more: repeated(each, least, None if more is None else least + more),
            inner,
            st.integers(0, 2),
            st.none() | st.integers(0, 1),
        ),
    ),
    max_leaves=4,
)


def spelled_out(each: object, most: int) -> set[tuple[ExpectedCall, ...]]:
    """Every sequence of at most `most` plain calls that an element stands for."""
    if isinstance(each, ExpectedCall):
        return Sequences([(each,)])
    if isinstance(each, Optional):
        return Sequences([(), *all_spelled_out(each.elements, most)])
    if isinstance(each, OneOf):
        return Sequences([one for part in each.elements for one in spelled_out(part, most)])
    if isinstance(each, Group):
        return Sequences(one for one in permutations(each.calls) if len(one) <= most)
    assert isinstance(each, Repeated)
    inner, found = spelled_out(each.element, most), Sequences()
    upper = most + each.least if each.most is None else each.most
    for times in range(each.least, min(upper, each.least + most) + 1):
        found += [
            sum(chosen, ()) for chosen in product(inner, repeat=times) if sum(map(len, chosen)) <= most
        ]  # fmt: skip
        if times > most and () not in inner:
            break
    return Sequences(found)


class Sequences(list):
    """Sequences of expected calls, each once; calls have no hash of their own."""

    def __init__(self, found: object = ()) -> None:
        super().__init__({repr(one): one for one in found}.values())


def all_spelled_out(some: object, most: int) -> Sequences:
    found = Sequences([()])
    for each in some:
        found = Sequences(
            [(*one, *more) for one in found for more in spelled_out(each, most) if len(one) + len(more) <= most]
        )
    return found


@settings(max_examples=300, deadline=None)
@given(runs(2).filter(lambda made: len(made) <= 4), st.lists(elements, min_size=1, max_size=3))
def test_a_pattern_holds_when_one_of_the_sequences_it_stands_for_does(made, pattern):
    assert (made == exactly(*pattern)) == any(made == exactly(*one) for one in all_spelled_out(pattern, len(made)))


@settings(max_examples=300, deadline=None)
@given(runs(2).filter(lambda made: len(made) <= 4), st.lists(elements, min_size=1, max_size=3))
def test_a_pattern_is_in_order_when_one_of_the_sequences_it_stands_for_is(made, pattern):
    assume(not list(groups(pattern)))
    assert (made == in_order(*pattern)) == any(
        not one or made == in_order(*one) for one in all_spelled_out(pattern, len(made))
    )


@settings(max_examples=300, deadline=None)
@given(
    runs(2).filter(lambda made: len(made) <= 5),
    st.lists(expected_calls, max_size=2),
    st.lists(expected_calls, min_size=2, max_size=3),
    st.lists(expected_calls, max_size=2),
)
def test_calls_together_inside_a_pattern_are_in_one_step(made, before, inner, after):
    in_steps = [[(call, index) for call in step] for index, step in enumerate(made.steps)]
    orders = ([pair for step in chosen for pair in step] for chosen in product(*map(permutations, in_steps)))
    wanted = [*before, *inner, *after]

    def fits(order: list[tuple[ToolCall, int]], wanted: list[ExpectedCall]) -> bool:
        steps = {index for _, index in order[len(before) : len(before) + len(inner)]}
        return len(order) == len(wanted) and len(steps) == 1 and all(map(meets, wanted, [call for call, _ in order]))

    holds = any(fits(order, wanted) for order in orders)

    assert (made == exactly(*before, together(*inner), *after)) == holds


def test_groups_inside_a_pattern():
    pattern = exactly("look", any_order("ask", "check"), together("pay", "mail"))

    assert run("look", "check", "ask", ["mail", "pay"]) == pattern
    assert run("look", ["check", "ask"], ["pay", "mail"]) == pattern
    assert run("look", "check", "ask", "pay", "mail") != pattern
    assert run("look", "check", "check", ["pay", "mail"]) != pattern
    assert run("look", ["check", "ask", "pay"], "mail") != pattern
    assert repr(pattern) == "['look', any_order('ask', 'check'), together('pay', 'mail')]"


@pytest.mark.parametrize(
    "wrong", [lambda: exactly(includes("a")), lambda: exactly(only("a")), lambda: exactly(any_order())]
)
def test_what_has_no_meaning_inside_a_pattern_is_an_error(wrong):
    with pytest.raises(ExpectationError, match=r"stands for itself|expects nothing"):
        wrong()


def test_in_order_takes_no_groups():
    with pytest.raises(ExpectationError, match="in_order takes no together"):
        in_order("a", optional(together("b", "c")))


@thorough
@given(runs_with_expectations())
def test_alternatives_and_negation(case):
    made, wanted = case
    first, second = exactly(*wanted), never(call("a", x=0))

    assert (made == first | second) == any(made == each for each in (first, second))
    assert (made == ~first) != (made == first)
    assert ~~first is first
    assert (made == ~(first | second)) == (made == ~first & ~second)


@thorough
@given(runs(2), st.integers(2, 3))
def test_loops(made, times):
    same = [(each.name, each.arguments) for each in made]
    steps = [sorted((each.name, sorted(each.arguments.items())) for each in step) for step in made.steps]
    cycles = any(
        all(steps[start + offset] == steps[start + length + offset] for offset in range(length * (times - 1)))
        for length in range(1, len(steps) // times + 1)
        for start in range(len(steps) - length * times + 1)
    )

    assert (made == no_repeats(times=times)) == all(same.count(each) < times for each in same)
    assert (made == no_cycle(times=times)) != cycles


# --- choices that greed gets wrong -----------------------------------------------------------------------------------


def test_an_optional_call_leaves_the_one_that_is_needed():
    assert run("a", "b") == exactly(optional("a"), "a", "b")
    assert run("a", "a", "b") == exactly(repeated("a"), "a", "b")
    assert run(["b", "a"], "c") == exactly(optional("a"), one_of("b", "x"), "c")
    assert run("a", "a", "a") != exactly(repeated("a", 1, 2))
    assert run() == exactly(optional("a"), repeated("b", 0))
    assert run() == exactly()


def test_three_hundred_parallel_calls_of_one_kind_are_counted_not_tried():
    searches = [ToolCall("search", {"q": str(number)}) for number in range(300)]

    assert run("plan", searches, "write") == exactly("plan", repeated("search", 2), optional("x"), "write")


def test_a_pattern_with_too_many_ways_to_read_a_run_is_refused():
    wanted = [optional(call("t", n=number)) for number in range(40)]
    made = run([ToolCall("t", {"n": number}) for number in range(39, -1, -1)] + ["u"])

    with pytest.raises(ExpectationError, match=r"^there are over 200,000 ways to read this run; step 0 has 41 calls"):
        _ = made == exactly(*wanted, *[one_of(*wanted) for _ in range(40)])


# --- one call --------------------------------------------------------------------------------------------------------

LOOKUP = ToolCall("lookup", {"order": 42}, result='{"status": "paid", "lines": [1, 2]}', status="ok")


@pytest.mark.parametrize(
    "wanted",
    [
        call("lookup").returning({"status": "paid", "lines": [1, 2]}),
        call("lookup").returning(re.compile('"paid"')),
        call("lookup").returning(str),
        call("lookup").returning(lambda result: result["status"] == "paid"),
        call("lookup", order=42).exactly(),
        call("lookup", order=int).exactly().returning(dict),
    ],
)
def test_calls_that_meet(wanted):
    assert wanted in run(LOOKUP)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (call("lookup").returning({"status": "open", "lines": [1, 2]}), "result.status: expected 'open', got 'paid'"),
        (call("lookup").exactly(), "order: expected nothing, got 42"),
        (call("lookup").failing(), "status: expected 'error', got 'ok'"),
        (call("lookup").by_provider(), "expected a tool that the provider runs, got one that the agent runs"),
    ],
)
def test_calls_that_do_not_meet(wanted, told):
    assert wanted not in run(LOOKUP)
    assert [str(difference) for difference in wanted.mismatches(LOOKUP)] == [told]


def test_what_was_not_answered_returns_nothing():
    assert call("lookup").returning(dirty.AnyThing) not in run("lookup")
    assert call("lookup").returning(None) not in run("lookup")
    assert call("lookup").returning(None) in run(ToolCall("lookup", status="ok"))


def test_malformed_arguments_meet_a_bare_name_alone():
    made = run(ToolCall("refund", malformed='{"order": 4'))

    assert made == ["refund"]
    assert call("refund", order=4) not in made
    assert call("refund").exactly() not in made


def test_arguments_that_are_no_object():
    made = run(ToolCall("sum", [1, 2]))

    assert made == ["sum"]
    assert call("sum", x=1) not in made
    assert call("sum").exactly() not in made


def test_a_call_shows_what_a_test_would_write():
    assert repr(call("a", x=1).exactly().returning(3)) == "call('a', x=1).exactly().returning(3)"
    assert repr(call("a").failing().by_provider()) == "call('a').failing().by_provider()"


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda: repeated("a", 3, 2), "repeated(..., 3, 2) has a minimum over its maximum"),
        (lambda: repeated("a", -1), "repeated: min is a number of calls, not -1"),
        (lambda: repeated("a", 1, True), "repeated: max is a number of calls, not True"),
        (lambda: optional(), "optional() expects nothing; name at least one call"),
        (lambda: includes(), "includes() expects nothing; name at least one call"),
        (lambda: together("a"), "together() takes the calls of one step; name at least two"),
        (
            lambda: only_tools(call("a", x=1)),
            "only_tools() takes the names of tools, not call('a', x=1); calls are for only()",
        ),
        (lambda: at_least(0, "a"), "at_least(0, ...) holds of everything; ask for at least 1"),
        (lambda: at_most("a", 2), "at_most: times is a number of calls, not 'a'"),
        (lambda: no_repeats(times=1), "no_repeats(times=1) refuses every call; times is 2 or more"),
        (lambda: includes(optional("a")), "expected the name of a tool or call(name, ...), got optional('a')"),
        (
            lambda: call("a").failing().returning(1),
            "call('a').failing() is expected to fail, so that it returns nothing",
        ),
    ],
)
def test_a_mistake_is_told_where_it_is_written(write, told):
    with pytest.raises(ExpectationError) as error:
        write()

    assert str(error.value) == told


def test_an_empty_recording_is_an_error_for_every_expectation():
    empty = Trace().trajectory

    for each in (any_order(), only("a"), ~includes("a"), before("a", "b") | never("a"), at_most(1, "a"), no_cycle()):
        with pytest.raises(NothingCaptured):
            _ = empty == each


# --- which calls count -----------------------------------------------------------------------------------------------


def test_scopes():
    made = Trajectory(
        [
            [ToolCall("plan", agent="planner", status="ok", step=0)],
            [
                ToolCall("pay", {"n": 1}, agent="payer", status="error", step=1),
                ToolCall("wipe", agent="payer", status="denied", step=1),
            ],
            [ToolCall("pay", {"n": 2}, agent="payer", status="ok", step=2)],
        ]
    )

    assert made.executed == ["plan", "pay", "pay"]
    assert made.successful == ["plan", call("pay", n=2)]
    assert made.last_attempts == ["plan", "wipe", call("pay", n=2)]
    assert made.of(agent="planner") == ["plan"]
    assert made.after("plan") == any_order("pay", "wipe", "pay")
    assert made.after(in_order("plan", "pay")) == [call("pay", n=2)]
    assert made.after("plan").successful == ["pay"]


def test_what_comes_after_what_never_was_is_an_error():
    with pytest.raises(NeverHeld, match=r"^nothing comes after 'verify': it never held\n  the calls were: \[a\(\)\]$"):
        run("a").after("verify")


def test_an_agent_or_a_turn_that_there_is_not():
    with pytest.raises(ExpectationError, match=r"^no agent 'planer' asked for a tool; there are: 'planner'$"):
        Trajectory([[ToolCall("a", agent="planner")]]).of(agent="planer")
    with pytest.raises(ExpectationError, match=r"^there is no turn 2: the run has 1, counted from 0$"):
        Trace((ModelCall("1", "openai", "m", tool_calls=(ToolCall("a"),)),)).trajectory.turn(2)


def test_the_calls_of_a_turn_and_of_a_step():
    asked = Message("user", "again")
    trace = Trace(
        (
            ModelCall("1", "openai", "m", (asked,), tool_calls=(ToolCall("a", id="x", step=0),)),
            ModelCall("2", "openai", "m", (asked, Message("tool", "ok", tool_call_id="x"))),
            ModelCall("3", "openai", "m", (asked,), tool_calls=(ToolCall("b", id="y", step=2),)),
        )
    )

    assert trace.trajectory.turn(0) == ["a"]
    assert trace.trajectory.turn(1) == ["b"]
    assert trace.steps[2].trajectory == ["b"]


# --- what could not have failed --------------------------------------------------------------------------------------


def offering(*names: str, calls: tuple[ToolCall, ...] = ()) -> Trace:
    tools = tuple({"type": "function", "function": {"name": name}} for name in names)
    return Trace((ModelCall("1", "openai", "m", tools=tools, tool_calls=calls, response=ResponseText("hi")),))


@pytest.mark.parametrize(
    ("expectation", "told"),
    [
        (never("wipe"), None),
        (never("pays"), "never('pays') could not have failed: no model was offered a tool 'pays'; did you mean 'pay'?"),
        (never("pay"), None),
        (at_most(2, "callled"),
         "at_most(2, 'callled') could not have failed: no model was offered a tool 'callled'; did you mean 'called'?"),
        (before("pay", "ship"), "before('pay', 'ship') holds since 'ship' was never called: no model was offered a tool 'ship'"),
        (before("ship", "pay"), "before('ship', 'pay') holds since 'pay' was never called"),
        (never("pay") & before("ship", "pay"), "before('ship', 'pay') holds since 'pay' was never called"),
        (never("pay") | before("ship", "pay"), None),
        (only("called"), None),
    ],
)  # fmt: skip
def test_what_holds_without_having_been_put_to_the_test_says_so(expectation, told):
    trace = offering("pay", "called", calls=(ToolCall("called", id="x"),))

    assert expectation.mismatch(trace) is None
    assert expectation.caveat(trace) == told


def test_no_tool_at_all_puts_never_to_no_test():
    told = never("wipe").caveat(offering())

    assert told == "never('wipe') could not have failed: no model was offered any tool"


def test_negation_is_a_value():
    assert Not(never("a")) == ~never("a")
    assert repr(~(never("a") & never("b"))) == "~(never('a') & never('b'))"
    assert repr((never("a") | never("b")) & ~never("c")) == "(never('a') | never('b')) & ~never('c')"
    assert repr(exactly("a", optional("b", "c"), repeated(one_of("d", "e"), 1, 3))) == (
        "['a', optional('b', 'c'), repeated(one_of('d', 'e'), 1, 3)]"
    )


def test_a_tool_that_was_called_and_not_offered_is_a_finding():
    body = {"model": "m", "messages": [], "tools": [{"type": "function", "function": {"name": "pay"}}]}
    asked = {"id": "1", "type": "function", "function": {"name": "wipe", "arguments": "{}"}}
    answer = {
        "id": "c",
        "model": "m",
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        "choices": [{"message": {"role": "assistant", "tool_calls": [asked]}, "finish_reason": "tool_calls"}],
    }
    exchange = Exchange(
        1,
        Request("POST", "https://api.openai.com/v1/chat/completions", (), json.dumps(body).encode()),
        Response(200, "OK", (("content-type", "application/json"),), json.dumps(answer).encode()),
    )

    findings = trace_of([exchange], source="live").findings

    assert [each.message for each in findings if each.kind == "unoffered"] == [
        "wipe was called and not among the tools offered"
    ]
