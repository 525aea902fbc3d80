"""A trace as what can be drawn: rows in time, a graph, a conversation, two runs side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_agentops.trace import Attempt, CallError, Message, ModelCall, ResponseText, Span, ToolCall, Trace, Usage
from pytest_agentops.views import (
    Beside,
    Edge,
    Node,
    aligned,
    arguments_apart,
    beside,
    conversation,
    extent,
    graph,
    waterfall,
    written,
)

EXAMPLES = Path(__file__).parent.parent / "examples"


def asked(number: int, *tools: ToolCall, said: str = "", started: float | None = None, **about) -> ModelCall:
    return ModelCall(
        f"r{number}",
        "openai",
        about.pop("model", "m"),
        response=ResponseText(said),
        tool_calls=tools,
        attempts=(Attempt(number, None if started is None else 1.0),),
        started=started,
        **about,
    )


def drawn(trace: Trace) -> list[tuple]:
    return [(row.depth, row.id, row.name, row.start, row.seconds) for row in waterfall(trace).rows]


# --- waterfall -------------------------------------------------------------------------------------------------------


def test_a_tool_that_only_the_wire_tells_of_took_at_most_until_the_request_with_its_result():
    trace = Trace(
        (
            asked(1, ToolCall("look_up", id="c1"), ToolCall("pay", id="c2"), started=0.0),
            asked(2, said="done", started=3.0, messages=(Message("tool", "shipped", tool_call_id="c1"),)),
        )
    )

    assert drawn(trace) == [
        (0, "model-0", "m", 0.0, 1.0),
        (1, "tool-0-0", "look_up", 1.0, 2.0),
        (1, "tool-0-1", "pay", 1.0, None),
        (0, "model-1", "m", 3.0, 1.0),
    ]
    assert [row.at_most for row in waterfall(trace).rows] == [False, True, False, False]


def test_what_frameworks_tell_of_is_around_the_calls_and_a_model_call_is_there_once():
    trace = Trace.from_cassette(
        EXAMPLES / "frameworks/cassettes/test_openai_agents_shop/test_the_desk_hands_over_to_orders.yaml"
    )

    assert [(row.depth, row.kind, row.name, row.inside) for row in waterfall(trace).rows] == [
        (0, "agent", "desk", 3),
        (1, "guardrail", "no_secrets", 0),
        (1, "model", "qwen2.5-coder-1.5b-instruct", 1),
        (2, "handoff", "transfer_to_orders", 0),
        (0, "agent", "orders", 3),
        (1, "model", "qwen2.5-coder-1.5b-instruct", 1),
        (2, "tool", "look_up_order", 0),
        (1, "model", "qwen2.5-coder-1.5b-instruct", 0),
    ]


def test_a_row_knows_its_tokens_its_cost_and_how_it_came_out():
    call = asked(1, ToolCall("pay", status="error"), started=0.0, usage=Usage(100, 20), cost=0.25)
    failed = asked(2, started=1.0, error=CallError("no", 401))

    rows = waterfall(Trace((call, failed))).rows

    assert [(row.id, row.tokens, row.cost, row.status) for row in rows] == [
        ("model-0", 120, 0.25, "ok"),
        ("tool-0-0", None, None, "error"),
        ("model-1", None, None, "error"),
    ]


def test_a_recording_without_times_is_drawn_in_its_order():
    trace = Trace((asked(1, ToolCall("look_up")), asked(2)))

    found = waterfall(trace)

    assert not found.timed
    assert drawn(trace) == [
        (0, "model-0", "m", 0.0, 1.0),
        (1, "tool-0-0", "look_up", 0.0, 1.0),
        (0, "model-1", "m", 1.0, 1.0),
    ]


def test_spans_that_are_deeper_than_python_recurses_are_rows_too():
    spans = tuple(Span(number, "task", f"t{number}", number - 1 or None, started=0.0) for number in range(1, 3001))

    assert waterfall(Trace(spans=spans)).rows[-1].depth == 2999


def test_what_is_folded_hides_what_is_inside_of_it():
    trace = Trace(
        (asked(1, ToolCall("look_up"), started=0.0, span=1), asked(2, started=2.0)),
        spans=(Span(1, "agent", "desk", started=0.0, seconds=1.0),),
    )

    assert [row.id for row in waterfall(trace).shown(folded=frozenset({"span-1"}))] == ["span-1", "model-1"]


def test_an_agent_that_lasts_longer_than_what_is_seen_of_it_does_not_stretch_the_picture():
    trace = Trace((asked(1, started=2.0, span=1),), spans=(Span(1, "agent", "desk", started=0.0, seconds=100.0),))

    assert extent(waterfall(trace).rows) == (2.0, 3.0)


# --- graph -----------------------------------------------------------------------------------------------------------


def test_a_graph_tells_who_used_what_and_who_handed_over_to_whom():
    trace = Trace.from_cassette(
        EXAMPLES / "frameworks/cassettes/test_openai_agents_shop/test_the_desk_hands_over_to_orders.yaml"
    )
    model = "qwen2.5-coder-1.5b-instruct"

    found = graph(trace)

    assert set(found.nodes) == {
        Node("desk", "agent", 1),
        Node("orders", "agent", 2, layer=1),
        Node(model, "model", 3),
        Node("look_up_order", "tool", 1),
    }
    assert set(found.edges) == {
        Edge("asks", ("agent", "desk"), ("model", model), 1),
        Edge("asks", ("agent", "orders"), ("model", model), 2),
        Edge("calls", ("agent", "orders"), ("tool", "look_up_order"), 1),
        Edge("hands over", ("agent", "desk"), ("agent", "orders"), 1),
    }


def test_an_agent_inside_of_another_one_was_delegated_to():
    trace = Trace(
        (asked(1, agent="boss", span=1), asked(2, agent="clerk", span=2)),
        spans=(Span(1, "agent", "boss"), Span(2, "agent", "clerk", parent=1)),
    )

    assert Edge("delegates", ("agent", "boss"), ("agent", "clerk"), 1) in graph(trace).edges


def test_agents_in_a_ring_have_their_layers():
    spans = tuple(Span(number, "handoff", name) for number, name in enumerate(("a -> b", "b -> c", "c -> a"), 1))

    assert {node.name: node.layer for node in graph(Trace(spans=spans)).nodes} == {"a": 0, "b": 1, "c": 2}


def test_a_run_without_agents_is_the_programs_and_what_is_too_much_is_counted():
    trace = Trace((asked(1, *(ToolCall(f"tool_{number}") for number in range(50))),))

    found = graph(trace)

    assert (found.nodes[0].name, len(found.nodes), found.left_out) == ("the program", 40, 12)


# --- conversation ----------------------------------------------------------------------------------------------------


def test_each_message_is_told_once_where_it_was_first_sent():
    call = ToolCall("look_up", id="c1")
    begun = (Message("system", "Be brief."), Message("user", "Where is it?"))
    result = Message("tool", "shipped", tool_call_id="c1")
    trace = Trace(
        (
            asked(1, call, messages=begun),
            asked(2, said="On its way", messages=(*begun, Message("assistant", "", (call,)), result)),
        )
    )

    first, second = conversation(trace)

    assert (first.new, first.fresh) == (begun, True)
    assert (second.new, second.again, second.dropped, second.fresh) == ((result,), 3, 0, False)


def test_the_same_words_said_twice_are_told_twice():
    yes, answer = Message("user", "yes"), Message("assistant", "sure?")
    trace = Trace((asked(1, said="sure?", messages=(yes,)), asked(2, said="done", messages=(yes, answer, yes))))

    assert [each.new for each in conversation(trace)] == [(yes,), (yes,)]


def test_messages_that_are_no_longer_sent_are_counted():
    old, answer, new = Message("user", "a long story"), Message("assistant", "I see"), Message("user", "so?")
    trace = Trace((asked(1, said="I see", messages=(old,)), asked(2, messages=(answer, new))))

    _, second = conversation(trace)

    assert (second.new, second.again, second.dropped) == ((new,), 1, 1)


def test_conversations_that_run_beside_each_other_are_kept_apart():
    def turn(number: int, *said: str) -> ModelCall:
        roles = ("user", "assistant")
        return asked(
            number, said=f"to {said[0]}", messages=tuple(Message(roles[at % 2], each) for at, each in enumerate(said))
        )

    trace = Trace((turn(1, "a"), turn(2, "b"), turn(3, "a", "to a", "more"), turn(4, "b", "to b", "more")))

    assert [[message.text for message in each.new] for each in conversation(trace)] == [
        ["a"],
        ["b"],
        ["more"],
        ["more"],
    ]


# --- side by side ----------------------------------------------------------------------------------------------------


def test_calls_stand_beside_their_like():
    look, pay, check = ToolCall("look_up", {"order": 1}), ToolCall("pay", {"amount": 5}), ToolCall("check")
    more = ToolCall("pay", {"amount": 50})

    assert list(beside([look, pay], [look, check, more])) == [
        Beside("same", look, look),
        Beside("added", None, check),
        Beside("changed", pay, more),
    ]


def test_two_runs_beside_each_other_tell_where_they_part():
    one = Trace((asked(1, ToolCall("pay", {"amount": 5}, "paid", "ok")), asked(2, said="I paid 5 euros")))
    other = Trace((asked(1, ToolCall("pay", {"amount": 50}, "paid", "ok")), asked(2, said="I paid 50 euros")))

    found = aligned(one, other)

    assert not found.same
    assert found.answer == (("same", "I paid "), ("old", "5"), ("new", "50"), ("same", " euros"))
    arguments, results = arguments_apart(found.calls[0])
    assert (arguments, results) == (
        (("same", '{"amount": '), ("old", "5}"), ("new", "50}")),
        (),
    )
    assert [figure.name for figure in found.case.figures if figure.change] == []
    assert aligned(one, one).same


@pytest.mark.parametrize(
    ("value", "text"),
    [("plain", "plain"), ({}, ""), (None, ""), ({"a": 1}, '{"a": 1}'), ('{"a":1}', '{"a": 1}'), ("[oops", "[oops")],
)
def test_a_value_is_written_as_a_person_reads_it(value, text):
    assert written(value) == text
