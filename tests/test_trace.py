"""The values of a trace: what is read from them, what they refuse to say, and their JSON."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agentops import call, exactly, in_order, never
from pytest_agentops.errors import (
    AgentopsError,
    ExpectationError,
    NothingCaptured,
    UnknownDuration,
    UnknownPrice,
    UnknownUsage,
)
from pytest_agentops.trace import (
    Attempt,
    CallError,
    Finding,
    Message,
    ModelCall,
    Render,
    ResponseText,
    Step,
    ToolCall,
    Trace,
    Trajectory,
    Turn,
    Usage,
)

# --- generated traces ------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.sampled_from(["lookup_order", "issue_refund", "送金", ""])
counts = st.integers(0, 10_000)
seconds = st.none() | st.floats(0, 100)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)
errors = st.builds(CallError, texts, st.none() | st.integers(400, 599), st.none() | texts)
tool_calls = st.builds(
    ToolCall,
    name=names,
    arguments=objects | values.filter(lambda value: value is not None),
    result=values,
    status=st.sampled_from(["ok", "error", "unanswered", "denied", "pending"]),
    id=texts,
    step=counts,
    by_provider=st.booleans(),
    malformed=st.none() | texts,
    agent=st.none() | texts,
)
some_tool_calls = st.lists(tool_calls, max_size=2).map(tuple)
messages = st.builds(
    Message, role=texts, content=texts | values, tool_calls=some_tool_calls, tool_call_id=st.none() | texts
)
model_calls = st.builds(
    ModelCall,
    id=texts,
    provider=texts,
    model=texts,
    messages=st.lists(messages, max_size=2).map(tuple),
    tools=st.lists(objects, max_size=2).map(tuple),
    response=texts.map(ResponseText),
    tool_calls=some_tool_calls,
    usage=st.none() | st.builds(Usage, *[counts] * 8),
    finish_reason=st.none() | texts,
    attempts=st.lists(
        st.builds(Attempt, counts, seconds, st.none() | errors, st.lists(counts, max_size=2).map(tuple)), max_size=2
    ).map(tuple),
    error=st.none() | errors,
    refusal=st.none() | texts,
    continues=st.none() | texts,
    conversation=st.none() | texts,
    alternatives=st.lists(texts, max_size=2).map(tuple),
    reported_usage=st.none() | objects,
    operation=st.sampled_from(["chat", "embeddings", "rerank"]),
    cost=seconds,
    priced_by=st.none() | texts,
    started=seconds,
    prompts=st.lists(counts, max_size=2).map(tuple),
    agent=st.none() | texts,
)
findings = st.builds(Finding, st.sampled_from(["unanswered", "failed"]), texts, st.none() | counts)
traces = st.builds(
    Trace,
    model_calls=st.lists(model_calls, max_size=3).map(tuple),
    prompts=st.lists(st.builds(Render, texts, st.none() | texts, texts, objects), max_size=2).map(tuple),
    findings=st.lists(findings, max_size=2).map(tuple),
    source=st.sampled_from(["live", "replayed", "imported"]),
    exchanges=counts,
    seconds=seconds,
)


def asks(*tool_calls: ToolCall, **fields: object) -> ModelCall:
    return ModelCall("a", "openai", "gpt-5-mini", tool_calls=tool_calls, **fields)


def says(text: str, **fields: object) -> ModelCall:
    return ModelCall("b", "openai", "gpt-5-mini", response=ResponseText(text), **fields)


# --- JSON ------------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(traces)
def test_a_trace_comes_back_from_its_json_as_it_was(trace):
    assert Trace.from_json(trace.to_json()) == trace
    assert Trace.from_json(trace.to_json(indent=2)) == trace


def test_a_response_from_json_still_reads_its_own_json():
    trace = Trace.from_json(Trace(model_calls=(says('{"queue": "billing"}'),)).to_json())

    assert trace.response.json() == {"queue": "billing"}


def test_the_json_of_a_small_trace():
    lookup = ToolCall("lookup_order", {"order_id": 42}, result="paid", status="ok", id="call_1")
    trace = Trace(
        model_calls=(asks(lookup, usage=Usage(10, 2), cost=0.5, messages=(Message("user", "Where is 42?"),)),),
        exchanges=1,
        seconds=1.5,
    )

    assert json.loads(trace.to_json()) == {
        "format": 1,
        "model_calls": [
            {
                "id": "a",
                "provider": "openai",
                "model": "gpt-5-mini",
                "messages": [
                    {"role": "user", "content": "Where is 42?", "tool_calls": [], "tool_call_id": None, "failed": False}
                ],
                "tools": [],
                "response": "",
                "tool_calls": [
                    {
                        "name": "lookup_order",
                        "arguments": {"order_id": 42},
                        "result": "paid",
                        "status": "ok",
                        "id": "call_1",
                        "step": 0,
                        "by_provider": False,
                        "malformed": None,
                        "agent": None,
                        "by_program": False,
                        "seconds": None,
                        "span": None,
                    }
                ],
                "usage": {
                    "input_tokens": 10,
                    "output_tokens": 2,
                    "cached_input_tokens": 0,
                    "reasoning_tokens": 0,
                    "cache_write_tokens": 0,
                    "input_audio_tokens": 0,
                    "output_audio_tokens": 0,
                    "cached_audio_tokens": 0,
                },
                "reported_usage": None,
                "finish_reason": None,
                "attempts": [],
                "error": None,
                "refusal": None,
                "cost": 0.5,
                "priced_by": None,
                "started": None,
                "prompts": [],
                "agent": None,
                "step": 0,
                "span": None,
                "nested": False,
                "operation": "chat",
                "continues": None,
                "conversation": None,
                "alternatives": [],
            }
        ],
        "prompts": [],
        "findings": [],
        "source": "live",
        "exchanges": 1,
        "seconds": 1.5,
        "program_calls": [],
        "spans": [],
        "cost": 0.5,
    }


def test_a_cost_that_is_not_known_is_null_in_json_and_the_models_stand_beside_it():
    trace = Trace(
        model_calls=(says("a", cost=0.5), says("b"), ModelCall("c", "local", "qwen"), ModelCall("d", "local", "qwen"))
    )

    data = json.loads(trace.to_json())

    assert data["cost"] is None
    assert data["unpriced"] == ["gpt-5-mini", "qwen"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this is not the JSON of a trace: JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        ("[]", "this is not the JSON of a trace: TypeError: list indices must be integers or slices, not str"),
        ("{}", "this is not the JSON of a trace: KeyError: 'format'"),
        ("null", "this is not the JSON of a trace: TypeError: 'NoneType' object is not subscriptable"),
        ('{"format": 1}', "this is not the JSON of a trace: KeyError: 'model_calls'"),
        ('{"format": 2}', "this trace has format 2; this version reads 1"),
        ('{"format": 1, "model_calls": [{}]}', "this is not the JSON of a trace: KeyError: 'messages'"),
    ],
)
def test_json_that_is_no_trace_is_an_error_that_says_why(text, message):
    with pytest.raises(AgentopsError) as error:
        Trace.from_json(text)

    assert str(error.value) == message


# --- figures ---------------------------------------------------------------------------------------------------------


def test_input_includes_cached_and_output_includes_reasoning():
    assert Usage(100, 20, cached_input_tokens=80, reasoning_tokens=15).total_tokens == 120


def test_usages_add_up_in_every_count():
    assert Usage(1, 2, 3, 4) + Usage(10, 20, 30, 40) == Usage(11, 22, 33, 44)


def test_the_usage_of_a_trace_is_that_of_all_its_calls():
    assert Trace(model_calls=(says("", usage=Usage(1, 2, 3, 4)), says("", usage=Usage(10, 20)))).usage == Usage(
        11, 22, 3, 4
    )


def test_usage_that_was_not_reported_is_an_error_that_names_the_calls():
    trace = Trace(model_calls=(says("a", usage=Usage(1, 1)), ModelCall("chatcmpl-7", "openai", "gpt-5-mini")))

    with pytest.raises(UnknownUsage) as error:
        _ = trace.usage

    assert error.value.calls == ("chatcmpl-7",)
    assert str(error.value) == (
        "1 of the model calls reported no token counts: chatcmpl-7\n"
        "  a streamed chat completion reports them only with stream_options={'include_usage': True}"
    )


def test_a_cost_that_is_not_known_is_an_error_that_names_each_model_once():
    trace = Trace(
        model_calls=(says("a", cost=0.5), ModelCall("c", "local", "qwen"), ModelCall("d", "local", "qwen")),
    )

    with pytest.raises(UnknownPrice) as error:
        _ = trace.cost

    assert error.value.models == ("qwen",)
    assert str(error.value) == (
        "no price is known for 'qwen'\n  the tokens are: assert agent_trace.usage.total_tokens < ..."
    )


def test_costs_add_up():
    assert Trace(model_calls=(says("a", cost=0.25), says("b", cost=0.5))).cost == 0.75


def test_a_call_that_failed_costs_nothing_and_owes_no_token_counts():
    failed = ModelCall("c", "openai", "gpt-5-mini", error=CallError("too many requests", 429))
    trace = Trace(model_calls=(failed, says("a", cost=0.25, usage=Usage(1, 1))))

    assert (trace.cost, trace.usage) == (0.25, Usage(1, 1))


def test_figures_of_nothing_are_zero():
    assert (Trace().cost, Trace().usage) == (0, Usage())


def test_a_duration_that_was_not_recorded_is_an_error():
    with pytest.raises(UnknownDuration) as error:
        _ = Trace().duration

    assert str(error.value) == "this recording has no times; cassettes written by other tools do not keep them"


def test_a_duration_of_zero_is_one():
    assert Trace(seconds=0.0).duration == 0.0


def test_the_latency_of_a_call_is_that_of_its_last_attempt():
    assert says("a", attempts=(Attempt(3, 0.5, CallError("busy", 503)), Attempt(4, 1.5))).latency == 1.5
    assert says("a", attempts=(Attempt(3, 0.5), Attempt(4))).latency is None
    assert says("a").latency is None


# --- what is read ----------------------------------------------------------------------------------------------------


def test_the_response_is_the_text_of_the_last_call_that_asked_for_no_tool():
    trace = Trace(
        model_calls=(
            says("The first answer."),
            says("The last answer."),
            asks(ToolCall("log"), response=ResponseText("Let me note that.")),
        )
    )

    assert trace.response == "The last answer."


def test_the_response_is_empty_when_every_call_asked_for_a_tool():
    assert Trace(model_calls=(asks(ToolCall("log"), response=ResponseText("Let me note that.")),)).response == ""


def test_an_answer_that_broke_off_with_an_error_is_no_response():
    trace = Trace(model_calls=(says("whole"), says("half", error=CallError("connection lost"))))

    assert trace.response == "whole"


def test_a_tool_that_the_provider_ran_itself_leaves_the_answer_an_answer():
    search = ToolCall("web_search", {"query": "weather"}, by_provider=True, status="ok")

    assert Trace(model_calls=(asks(search, response=ResponseText("It rains.")),)).response == "It rains."


def test_a_response_reads_its_json():
    assert ResponseText('{"queue": "billing"}').json() == {"queue": "billing"}


def test_a_response_that_is_no_json_shows_its_beginning():
    with pytest.raises(ValueError) as error:
        ResponseText("I would say billing. " * 20).json()

    assert str(error.value) == (
        "the response is not JSON (Expecting value: line 1 column 1 (char 0)): "
        + repr(("I would say billing. " * 20)[:200])
    )


def test_the_messages_are_the_last_conversation_with_its_answer():
    lookup = ToolCall("lookup_order", {"order_id": 42}, id="call_1")
    question, wants = Message("user", "Where is 42?"), Message("assistant", "", (lookup,))
    result = Message("tool", "shipped", tool_call_id="call_1")
    trace = Trace(
        model_calls=(asks(lookup, messages=(question,)), says("On its way.", messages=(question, wants, result)))
    )

    assert trace.messages == (question, wants, result, Message("assistant", "On its way."))
    assert Trace().messages == ()


def test_the_text_of_a_message_leaves_out_parts_that_are_no_text():
    assert Message("user", "plain").text == "plain"
    assert Message(
        "user", [{"type": "text", "text": "What is "}, {"type": "image_url"}, 3, {"text": "this?"}]
    ).text == ("What is this?")
    assert Message("user", None).text == ""


def test_steps_are_the_model_calls_with_their_tool_calls():
    wants, answers = asks(ToolCall("log")), says("Done.")
    trace = Trace(model_calls=(wants, answers))

    assert trace.steps == (Step(0, wants), Step(1, answers))
    assert [step.tool_calls for step in trace.steps] == [(ToolCall("log"),), ()]
    assert [step.response for step in trace.steps] == ["", "Done."]
    assert trace.tool_calls == (ToolCall("log"),)


def test_an_expectation_works_on_the_trajectory_of_one_step():
    trace = Trace(model_calls=(asks(ToolCall("log"), ToolCall("lookup_order", {"order_id": 42})), says("Done.")))

    assert trace.steps[0].trajectory == [call("lookup_order", order_id=42), "log"]
    assert trace.steps[0].trajectory == never("issue_refund")
    assert trace.steps[1].trajectory == []
    assert "log" not in trace.steps[1].trajectory
    assert exactly("log", "lookup_order").mismatch(trace.steps[0]) is None


# --- turns -----------------------------------------------------------------------------------------------------------


def test_a_turn_goes_from_a_users_message_to_the_answer():
    first = asks(ToolCall("log", id="call_1"), messages=(Message("user", "one"),))
    second = says("Done.", messages=(Message("user", "one"), Message("tool", "ok", tool_call_id="call_1")))
    third = says("Welcome.", messages=(*second.messages, Message("assistant", "Done."), Message("user", "thanks")))
    trace = Trace(model_calls=(first, second, third))

    assert trace.turns == (Turn(0, (first, second)), Turn(1, (third,)))
    assert [turn.response for turn in trace.turns] == ["Done.", "Welcome."]
    assert trace.turns[0].trajectory == ["log"]
    assert trace.turns[1].trajectory == []


def test_two_conversations_side_by_side_are_two_turns_however_their_calls_mix():
    def question(name: str) -> ModelCall:
        return asks(ToolCall("log", id=name), messages=(Message("user", name),))

    def answer(name: str) -> ModelCall:
        return says(name, messages=(Message("user", name), Message("tool", "ok", tool_call_id=name)))

    trace = Trace(model_calls=(question("a"), question("b"), answer("b"), answer("a")))

    assert [turn.model_calls for turn in trace.turns] == [
        (question("a"), answer("a")),
        (question("b"), answer("b")),
    ]


# --- the trajectory --------------------------------------------------------------------------------------------------


def test_a_trajectory_is_a_sequence_of_tool_calls():
    a, b, c = ToolCall("a"), ToolCall("b"), ToolCall("c")
    trajectory = Trajectory([[a, b], [], [c]])

    assert list(trajectory) == [a, b, c]
    assert (len(trajectory), trajectory[0], trajectory[-1], trajectory[1:]) == (3, a, c, (b, c))
    assert trajectory.steps == ((a, b), (c,))
    assert trajectory.trajectory is trajectory
    assert b in trajectory
    assert ToolCall("d") not in trajectory


def test_a_trajectory_shows_its_calls():
    calls = [ToolCall("a", {"x": 1, "y": "z"}), ToolCall("b", malformed='{"x":'), ToolCall("c", [1, 2])]

    assert repr(Trajectory([calls])) == """[a(x=1, y='z'), b(malformed: '{"x":'), c([1, 2])]"""


@pytest.mark.parametrize("name", ["steps", "captured", "trajectory", "anything"])
def test_no_attribute_of_a_trajectory_can_be_set(name):
    with pytest.raises(AttributeError):
        setattr(Trajectory([[ToolCall("a")]]), name, ())


def test_a_trajectory_takes_no_item_and_has_no_hash():
    trajectory = Trajectory([[ToolCall("a")]])

    with pytest.raises(TypeError, match="does not support item assignment"):
        trajectory[0] = ToolCall("b")
    with pytest.raises(TypeError, match="unhashable type: 'Trajectory'"):
        hash(trajectory)


def test_the_values_of_a_trace_are_frozen():
    for value, name in [
        (Trace(), "seconds"),
        (says("a"), "response"),
        (ToolCall("a"), "name"),
        (Usage(), "input_tokens"),
    ]:
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, None)


def test_two_trajectories_are_equal_when_their_calls_are():
    def trajectory(amount: int) -> Trajectory:
        return Trajectory([[ToolCall("lookup_order")], [ToolCall("issue_refund", {"amount": amount})]])

    assert trajectory(40) == trajectory(40)
    assert trajectory(40) != trajectory(41)


def test_the_steps_of_two_trajectories_count_when_they_are_compared():
    a, b = ToolCall("a"), ToolCall("b")

    assert Trajectory([[a, b]]) != Trajectory([[a], [b]])
    assert Trajectory([[a], [], [b]]) == Trajectory([[a], [b]])


def test_a_trajectory_compares_with_a_list_a_tuple_and_an_expectation_from_either_side():
    trajectory = Trajectory([[ToolCall("a")], [ToolCall("b")]])

    for expected in (["a", "b"], ("a", "b"), exactly("a", "b"), in_order("a", "b"), never("c")):
        assert trajectory == expected
        assert expected == trajectory
    for expected in (["b", "a"], ("a",), exactly("a"), in_order("b", "a"), never("a"), []):
        assert trajectory != expected
        assert expected != trajectory


def test_a_trajectory_equals_nothing_that_is_no_expectation():
    trajectory = Trajectory([[ToolCall("a")]])

    for other in ({"a"}, {"a": 1}, None, 1, iter(["a"]), ToolCall("a"), call("a")):
        assert trajectory != other


def test_comparing_with_a_bare_string_says_to_write_a_list():
    with pytest.raises(TypeError) as error:
        _ = Trajectory([[ToolCall("a")]]) == "issue_refund"

    assert str(error.value) == "a trajectory is compared with a list of calls, not a string; write ['issue_refund']"


def test_comparing_with_a_list_of_something_else_is_an_error():
    with pytest.raises(ExpectationError) as error:
        _ = Trajectory([[ToolCall("a")]]) == ["a", 3]

    assert str(error.value) == "expected the name of a tool or call(name, ...), got 3"


def test_calls_are_counted_by_name_or_by_expectation():
    trajectory = Trajectory([[ToolCall("a", {"x": 1}), ToolCall("b")], [ToolCall("a", {"x": 2})]])

    assert (trajectory.count("a"), trajectory.count(call("a", x=2)), trajectory.count("c")) == (2, 1, 0)
    assert trajectory.count(ToolCall("b")) == 1


def test_asking_a_trajectory_for_something_that_is_no_call_is_an_error():
    with pytest.raises(ExpectationError) as error:
        _ = 3 in Trajectory([[ToolCall("a")]])

    assert str(error.value) == "expected the name of a tool or call(name, ...), got 3"


# --- nothing was captured --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(lambda trajectory: trajectory == ["a"], id="list"),
        pytest.param(lambda trajectory: trajectory == [], id="empty list"),
        pytest.param(lambda trajectory: trajectory != ["a"], id="other than a list"),
        pytest.param(lambda trajectory: trajectory == [], id="reflected"),
        pytest.param(lambda trajectory: trajectory == never("a"), id="expectation"),
        pytest.param(lambda trajectory: trajectory == never("a") & never("b"), id="combined"),
        pytest.param(lambda trajectory: "a" in trajectory, id="in"),
        pytest.param(lambda trajectory: call("a") not in trajectory, id="not in"),
        pytest.param(lambda trajectory: never("a").mismatch(trajectory), id="mismatch"),
    ],
)
def test_an_expectation_of_an_empty_recording_is_an_error_and_no_verdict(asked):
    with pytest.raises(NothingCaptured) as error:
        asked(Trace().trajectory)

    assert str(error.value) == (
        "nothing was captured, so no expectation can be judged\n"
        "  no HTTP request was seen while this recording was open\n"
        "  if that is what you mean, count: assert len(agent_trace.model_calls) == 0"
    )


def test_counting_in_an_empty_recording_is_fine():
    trace = Trace()

    assert (len(trace.model_calls), len(trace.trajectory), list(trace.trajectory), trace.tool_calls) == (0, 0, [], ())
    assert trace.trajectory.count("a") == 0
    assert (trace.response, trace.turns, trace.steps) == ("", (), ())
    assert trace.trajectory == Trace().trajectory


def test_a_recording_of_exchanges_with_no_model_can_be_judged():
    assert Trace(exchanges=1).trajectory == []
    assert "a" not in Trace(exchanges=1).trajectory
