"""What is read off the wire: real clients against a scripted server, and exchanges made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI
from pydantic import BaseModel

from pytest_agentops.assembly import trace_of
from pytest_agentops.capture import Recording, watching
from pytest_agentops.exchange import Exchange, Failure, Request, Response, Timing
from pytest_agentops.testing import Asks, Disconnects, Fails, Reply, Says, ScriptedModel, ToolRequest
from pytest_agentops.trace import CallError, Finding, Message, ModelCall, ToolCall, Trace, Usage
from pytest_agentops.wire import openai_chat, openai_responses

CHAT = "https://api.openai.com/v1/chat/completions"
RESPONSES = "https://api.openai.com/v1/responses"
JSON = (("content-type", "application/json"),)
EVENTS = (("content-type", "text/event-stream; charset=utf-8"),)

WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


# --- the real client -------------------------------------------------------------------------------------------------


def watched(use: Any, *script: Reply, **options: Any) -> Trace:
    """The trace of what `use` does with a client of a model that follows this script."""
    recording = Recording("test")
    with ScriptedModel(*script) as model, watching(recording):
        with OpenAI(base_url=model.base_url, api_key="scripted", **options) as client, suppress(openai.APIError):
            use(client)
        trace = recording.freeze()
    assert not model.errors
    return trace


def ask_chat(client: OpenAI, *messages: Any, **options: Any) -> Any:
    """One chat completion, streamed where `stream` says so."""
    if not options.get("stream"):
        return client.chat.completions.create(model="gpt-5-mini", messages=list(messages), **options)
    for _ in client.chat.completions.create(
        model="gpt-5-mini", messages=list(messages), stream_options={"include_usage": True}, **options
    ):
        pass
    return None


def ask_responses(client: OpenAI, *messages: Any, **options: Any) -> Any:
    """One response, streamed where `stream` says so."""
    created = client.responses.create(model="gpt-5-mini", input=list(messages), **options)
    if options.get("stream"):
        for _ in created:
            pass
    return created


BOTH_APIS = pytest.mark.parametrize("ask", [ask_chat, ask_responses], ids=["chat", "responses"])
STREAMED_OR_NOT = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])

QUESTION = {"role": "user", "content": "Is it raining?"}


@BOTH_APIS
@STREAMED_OR_NOT
def test_an_answer_is_read_with_its_question_its_usage_and_its_reason(ask, stream):
    said = Says("It rains in Oslo.", input_tokens=100, output_tokens=20, cached_tokens=80, reasoning_tokens=15)

    trace = watched(lambda client: ask(client, QUESTION, stream=stream), said)

    (model_call,) = trace.model_calls
    assert (model_call.model, model_call.provider) == ("gpt-5-mini", "127.0.0.1")
    assert model_call.id in ("chatcmpl-1", "resp_1")
    assert model_call.messages == (Message("user", "Is it raining?"),)
    assert model_call.response == trace.response == "It rains in Oslo."
    assert model_call.usage == Usage(100, 20, cached_input_tokens=80, reasoning_tokens=15)
    assert model_call.finish_reason == "stop"
    assert (model_call.tool_calls, model_call.error, model_call.refusal) == ((), None, None)
    assert trace.findings == ()


@BOTH_APIS
@STREAMED_OR_NOT
def test_parallel_tool_calls_are_read_with_their_arguments(ask, stream):
    wants = Asks(ToolRequest("get_weather", {"city": "Oslo"}), ToolRequest("get_time", {"zone": {"name": "CET"}}))

    trace = watched(lambda client: ask(client, QUESTION, stream=stream), wants)

    assert trace.tool_calls == (
        ToolCall("get_weather", {"city": "Oslo"}, id="call_1"),
        ToolCall("get_time", {"zone": {"name": "CET"}}, id="call_2"),
    )
    assert trace.model_calls[0].finish_reason == "tool_calls"
    assert trace.response == ""
    assert [finding.kind for finding in trace.findings] == ["unanswered", "unanswered", "no_response"]


@BOTH_APIS
@STREAMED_OR_NOT
def test_a_refusal_is_the_answer_and_a_finding(ask, stream):
    trace = watched(lambda client: ask(client, QUESTION, stream=stream), Says("", refusal="I will not say."))

    assert trace.model_calls[0].refusal == "I will not say."
    assert trace.response == "I will not say."
    assert trace.findings == (Finding("refused", "gpt-5-mini refused: I will not say.", 1),)


@BOTH_APIS
@STREAMED_OR_NOT
def test_an_answer_cut_off_at_its_token_limit_is_a_finding(ask, stream):
    trace = watched(lambda client: ask(client, QUESTION, stream=stream), Says("It rai", finish_reason="length"))

    assert trace.model_calls[0].finish_reason == "length"
    assert trace.response == "It rai"
    assert trace.findings == (Finding("cut_off", "the answer of gpt-5-mini was cut off at its token limit", 1),)


@BOTH_APIS
@STREAMED_OR_NOT
def test_arguments_that_are_no_json_are_kept_as_they_came(ask, stream):
    trace = watched(
        lambda client: ask(client, QUESTION, stream=stream), Asks(ToolRequest("get_weather", '{"city": "Os'))
    )

    assert trace.tool_calls == (ToolCall("get_weather", {}, id="call_1", malformed='{"city": "Os'),)
    assert trace.findings[0] == Finding("malformed", "get_weather got arguments that are not JSON", 1)


@BOTH_APIS
@STREAMED_OR_NOT
@pytest.mark.parametrize("arguments", ["", "null", "{}", "  "])
def test_no_arguments_are_written_in_several_ways_and_mean_the_same(ask, stream, arguments):
    trace = watched(lambda client: ask(client, QUESTION, stream=stream), Asks(ToolRequest("get_weather", arguments)))

    assert trace.tool_calls == (ToolCall("get_weather", {}, id="call_1"),)
    assert [finding.kind for finding in trace.findings] == ["unanswered", "no_response"]


@BOTH_APIS
@pytest.mark.parametrize(("arguments", "decoded"), [("[1, 2]", [1, 2]), ('"Oslo"', "Oslo"), ("0", 0), ("false", False)])
def test_arguments_that_are_json_and_no_object_are_kept_as_their_value(ask, arguments, decoded):
    trace = watched(lambda client: ask(client, QUESTION), Asks(ToolRequest("get_weather", arguments)))

    assert trace.tool_calls == (ToolCall("get_weather", decoded, id="call_1"),)


def test_a_stream_without_usage_has_none_and_a_finding_says_so():
    def use(client: OpenAI) -> None:
        for _ in client.chat.completions.create(model="gpt-5-mini", messages=[QUESTION], stream=True):
            pass

    trace = watched(use, Says("It rains."))

    assert trace.model_calls[0].usage is None
    assert trace.findings == (Finding("no_usage", "gpt-5-mini reported no token counts", 1),)


@STREAMED_OR_NOT
def test_a_chat_tool_loop_joins_each_result_to_its_call(stream):
    def use(client: OpenAI) -> None:
        calls = [
            {"id": f"call_{n}", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
            for n in (1, 2)
        ]
        ask_chat(client, QUESTION, stream=stream)
        results = [{"role": "tool", "tool_call_id": f"call_{n}", "content": f"rain {n}"} for n in (2, 1)]
        ask_chat(client, QUESTION, {"role": "assistant", "tool_calls": calls}, *results, stream=stream)

    trace = watched(use, Asks(ToolRequest("get_weather"), ToolRequest("get_weather")), Says("Rain."))

    assert [(call.id, call.result, call.status, call.step) for call in trace.tool_calls] == [
        ("call_1", "rain 1", "ok", 0),
        ("call_2", "rain 2", "ok", 0),
    ]
    assert trace.model_calls[1].messages[1] == Message(
        "assistant", "", (ToolCall("get_weather", id="call_1"), ToolCall("get_weather", id="call_2"))
    )
    assert trace.model_calls[1].messages[2] == Message("tool", "rain 2", tool_call_id="call_2")
    assert (trace.response, trace.findings, len(trace.turns)) == ("Rain.", (), 1)


@STREAMED_OR_NOT
def test_a_responses_tool_loop_joins_the_result_with_and_without_repeating_the_conversation(stream):
    def use(client: OpenAI) -> None:
        ask_responses(client, QUESTION, stream=stream, instructions="Be brief.")
        result = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
        ask_responses(client, result, stream=stream, previous_response_id="resp_1")

    trace = watched(use, Asks(ToolRequest("get_weather", {"city": "Oslo"})), Says("Rain."))

    assert trace.tool_calls == (ToolCall("get_weather", {"city": "Oslo"}, "rain", "ok", "call_1"),)
    assert trace.model_calls[0].messages == (Message("system", "Be brief."), Message("user", "Is it raining?"))
    assert trace.model_calls[1].messages == (
        Message("system", "Be brief."),
        Message("user", "Is it raining?"),
        Message("assistant", "", (ToolCall("get_weather", {"city": "Oslo"}, id="call_1"),)),
        Message("tool", "rain", tool_call_id="call_1"),
    )
    assert (trace.response, trace.findings, len(trace.turns)) == ("Rain.", (), 1)


class Weather(BaseModel):
    city: str
    rain: bool


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_structured_output_is_the_json_of_the_response(api):
    def use(client: OpenAI) -> None:
        if api == "chat":
            client.chat.completions.parse(model="gpt-5-mini", messages=[QUESTION], response_format=Weather)
        else:
            client.responses.parse(model="gpt-5-mini", input="Is it raining?", text_format=Weather)

    trace = watched(use, Says('{"city": "Oslo", "rain": true}'))

    assert trace.response.json() == {"city": "Oslo", "rain": True}
    assert trace.model_calls[0].messages == (Message("user", "Is it raining?"),)


def test_the_tools_that_were_offered_stand_as_the_provider_wrote_them():
    trace = watched(lambda client: ask_chat(client, QUESTION, tools=[WEATHER]), Says("Yes."))

    assert trace.model_calls[0].tools == (WEATHER,)


@BOTH_APIS
def test_the_clients_retries_are_attempts_of_one_call(ask):
    again = {"retry-after-ms": "1"}
    trace = watched(
        lambda client: ask(client, QUESTION),
        Fails(429, "slow down", "rate_limit_exceeded", headers=again),
        Fails(503, headers=again),
        Says("It rains."),
    )

    (model_call,) = trace.model_calls
    assert [(attempt.exchange, attempt.error) for attempt in model_call.attempts] == [
        (1, CallError("slow down", 429, "rate_limit_exceeded")),
        (2, CallError("Service Unavailable", 503, "server_error")),
        (3, None),
    ]
    assert (model_call.response, model_call.error) == ("It rains.", None)
    assert trace.findings == ()


@BOTH_APIS
def test_a_call_whose_attempts_all_failed_failed(ask):
    again = {"retry-after-ms": "1"}
    trace = watched(
        lambda client: ask(client, QUESTION), Fails(500, headers=again), Fails(500, headers=again), max_retries=1
    )

    (model_call,) = trace.model_calls
    assert len(model_call.attempts) == 2
    assert model_call.error == CallError("Internal Server Error", 500, "server_error")
    assert [str(finding.message) for finding in trace.findings] == [
        "gpt-5-mini failed: 500 server_error Internal Server Error",
        "no model call ended in an answer",
    ]


@BOTH_APIS
def test_an_application_that_repeats_a_failed_question_has_asked_twice(ask):
    def use(client: OpenAI) -> None:
        with suppress(openai.APIError):
            ask(client, QUESTION)
        ask(client, QUESTION)

    trace = watched(use, Fails(500), Says("It rains."), max_retries=0)

    assert [len(call.attempts) for call in trace.model_calls] == [1, 1]
    assert [str(call.error) for call in trace.model_calls] == ["500 server_error Internal Server Error", "None"]


def test_a_stream_that_breaks_off_keeps_what_had_come_and_says_so():
    trace = watched(
        lambda client: ask_chat(client, QUESTION, stream=True),
        Disconnects(after=2, reply=Says("It rains in Oslo.")),
        max_retries=0,
    )

    (model_call,) = trace.model_calls
    assert model_call.response == "It rains"
    assert [finding.kind for finding in trace.findings] == ["cut_off", "no_usage"]


# --- exchanges made by hand ------------------------------------------------------------------------------------------


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def stream(*events: object) -> Response:
    return Response(
        200, "OK", EVENTS, b"".join(b"data: %b\n\n" % body(event) for event in events) + b"data: [DONE]\n\n"
    )


def chat(
    answer: object = None,
    *messages: object,
    number: int = 1,
    url: str = CHAT,
    response: Response | None = None,
    headers: Sequence[tuple[str, str]] = (),
    **asked: object,
) -> Exchange:
    """A chat completion whose whole answer, or whose message, is this."""
    if isinstance(answer, dict) and "choices" not in answer and "error" not in answer:
        answer = {"id": f"c{number}", "model": "gpt-5-mini", "choices": [{"message": answer, "finish_reason": "stop"}]}
    sent = Request("POST", url, (*JSON, *headers), body({"model": "gpt-5-mini", "messages": list(messages), **asked}))
    return Exchange(number, sent, response or Response(200, "OK", JSON, body(answer)))


def responded(*output: object, number: int = 1, response: Response | None = None, **answer: object) -> Exchange:
    """A response with this output."""
    answer = {"id": "r1", "model": "gpt-5-mini", "status": "completed", "output": list(output), **answer}
    sent = Request("POST", RESPONSES, JSON, body({"model": "gpt-5-mini", "input": "Is it raining?"}))
    return Exchange(number, sent, response or Response(200, "OK", JSON, body(answer)))


def wants(*calls: tuple[str, str]) -> dict[str, object]:
    """A message that asks for these tools, each an id and a name."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": "{}"}} for id_, name in calls
        ],
    }


def result(id_: str, content: object) -> dict[str, object]:
    return {"role": "tool", "tool_call_id": id_, "content": content}


def read(*exchanges: Exchange, **options: Any) -> Trace:
    return trace_of(exchanges, source="imported", **options)


def text_item(text: str) -> dict[str, object]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def test_exchanges_are_read_in_the_order_of_their_numbers_and_not_as_they_are_given():
    trace = read(chat({"content": "second"}, number=2), chat({"content": "first"}, number=1))

    assert [call.response for call in trace.model_calls] == ["first", "second"]


def test_ids_that_a_server_uses_anew_in_each_step_join_each_result_to_its_own_step():
    first, second = wants(("call_0", "a")), wants(("call_0", "b"))
    trace = read(
        chat(first, number=1),
        chat(second, first, result("call_0", "of a"), number=2),
        chat({"content": "Done."}, first, result("call_0", "of a"), second, result("call_0", "of b"), number=3),
    )

    assert [(call.name, call.result) for call in trace.tool_calls] == [("a", "of a"), ("b", "of b")]


def test_a_result_that_came_much_later_still_finds_its_call():
    asked = wants(("call_1", "slow"))
    trace = read(
        chat(asked, number=1),
        chat({"content": "Elsewhere."}, number=2),
        chat({"content": "Done."}, asked, result("call_1", "at last"), number=3),
    )

    assert trace.tool_calls[0].result == "at last"


def test_a_result_made_of_text_parts_is_their_text():
    asked = wants(("call_1", "slow"))
    parts = [{"type": "text", "text": "at "}, {"type": "text", "text": "last"}]
    trace = read(chat(asked), chat({"content": "Done."}, asked, result("call_1", parts), number=2))

    assert trace.tool_calls[0].result == "at last"


def test_a_tool_call_without_an_id_has_no_result_from_elsewhere():
    trace = read(chat(wants(("", "a"))), chat({"content": "Done."}, result("", "of whom?"), number=2))

    assert trace.tool_calls == (ToolCall("a"),)


def test_parts_of_a_message_that_are_no_text_stay_as_the_provider_wrote_them():
    image = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    words = {"type": "text", "text": "What is this?"}
    trace = read(chat({"content": "A cat."}, {"role": "user", "content": [words, image]}))

    (message,) = trace.model_calls[0].messages
    assert (message.content, message.text) == ([words, image], "What is this?")


def test_a_custom_tool_takes_free_text_in_both_apis_streamed_or_not():
    call = {"id": "call_1", "type": "custom", "custom": {"name": "run_code", "input": "print(1)"}}
    pieces = [
        {"index": 0, "id": "call_1", "type": "custom", "custom": {"name": "run_code", "input": ""}},
        {"index": 0, "custom": {"input": "print"}},
        {"index": 0, "custom": {"input": "(1)"}},
    ]
    streamed = stream(*({"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces))
    item = {"type": "custom_tool_call", "name": "run_code", "input": "print(1)", "call_id": "call_1", "id": "ctc_1"}

    expected = (ToolCall("run_code", {"input": "print(1)"}, id="call_1"),)
    assert read(chat({"tool_calls": [call]})).tool_calls == expected
    assert read(chat(response=streamed)).tool_calls == expected
    assert read(responded(item)).tool_calls == expected


@pytest.mark.parametrize("index", [{}, {"index": 0}, {"index": None}], ids=["no index", "always 0", "null"])
def test_streamed_tool_calls_that_a_server_does_not_number_are_told_apart_by_their_ids(index):
    pieces = [
        {**index, "id": "call_1", "function": {"name": "get_weather", "arguments": '{"city":'}},
        {**index, "function": {"arguments": '"Oslo"}'}},
        {**index, "id": "call_2", "function": {"name": "get_time", "arguments": "{}"}},
    ]
    streamed = stream(*({"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces))

    assert read(chat(response=streamed)).tool_calls == (
        ToolCall("get_weather", {"city": "Oslo"}, id="call_1"),
        ToolCall("get_time", {}, id="call_2"),
    )


def test_streamed_tool_calls_whose_pieces_alternate_are_put_together_by_index():
    pieces = [
        {"index": 0, "id": "call_1", "function": {"name": "a", "arguments": ""}},
        {"index": 1, "id": "call_2", "function": {"name": "b", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"x": 1}'}},
        {"index": 1, "function": {"arguments": '{"x": 2}'}},
    ]
    streamed = stream({"choices": [{"index": 0, "delta": {"tool_calls": pieces}}]})

    assert read(chat(response=streamed)).tool_calls == (
        ToolCall("a", {"x": 1}, id="call_1"),
        ToolCall("b", {"x": 2}, id="call_2"),
    )


def test_what_the_provider_ran_itself_has_its_result_and_is_no_unanswered_call():
    trace = read(
        responded(
            {
                "type": "web_search_call",
                "id": "ws_1",
                "status": "completed",
                "action": {"type": "search", "query": "weather in Oslo"},
            },
            {
                "type": "mcp_call",
                "id": "mcp_1",
                "name": "roll",
                "arguments": '{"dice": "2d6"}',
                "output": "7",
                "server_label": "dmcp",
            },
            {"type": "mcp_call", "id": "mcp_2", "name": "roll", "arguments": "{}", "error": "no dice"},
            {"type": "file_search_call", "id": "fs_1", "status": "failed", "queries": ["rain"], "results": None},
            text_item("It rains."),
        )
    )

    search = {"action": {"type": "search", "query": "weather in Oslo"}}
    assert trace.tool_calls == (
        ToolCall("web_search", search, None, "ok", "ws_1", by_provider=True),
        ToolCall("roll", {"dice": "2d6"}, "7", "ok", "mcp_1", by_provider=True),
        ToolCall("roll", {}, "no dice", "error", "mcp_2", by_provider=True),
        ToolCall("file_search", {"queries": ["rain"]}, None, "error", "fs_1", by_provider=True),
    )
    assert (trace.model_calls[0].finish_reason, trace.response) == ("stop", "It rains.")
    assert [finding.kind for finding in trace.findings] == ["no_usage"]


def test_reasoning_is_no_answer():
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}

    assert read(responded(thought, text_item("It rains."))).response == "It rains."


# --- failures --------------------------------------------------------------------------------------------------------


def failing(response: Response) -> ModelCall:
    (model_call,) = read(chat(response=response)).model_calls
    return model_call


@pytest.mark.parametrize(
    ("status", "content", "error"),
    [
        pytest.param(
            404,
            {"error": {"message": "no such model", "type": "invalid_request_error", "code": "model_not_found"}},
            CallError("no such model", 404, "model_not_found"),
            id="OpenAI's shape",
        ),
        pytest.param(
            400,
            {"error": {"message": "bad", "type": "invalid_request_error", "code": None}},
            CallError("bad", 400, "invalid_request_error"),
            id="no code",
        ),
        pytest.param(
            429, {"error": {"message": "slow", "code": 429}}, CallError("slow", 429, "429"), id="OpenRouter's"
        ),
        pytest.param(400, {"error": "bad"}, CallError("bad", 400), id="a text"),
        pytest.param(422, {"detail": "bad"}, CallError('{"detail": "bad"}', 422), id="another shape"),
        pytest.param(500, ["bad"], CallError('["bad"]', 500), id="a list"),
        pytest.param(500, None, CallError("null", 500), id="null"),
        pytest.param(500, {"error": None}, CallError('{"error": null}', 500), id="no error"),
        pytest.param(500, b"overloaded", CallError("overloaded", 500), id="plain text"),
        pytest.param(502, b"<html>Bad gateway</html>", CallError("<html>Bad gateway</html>", 502), id="html"),
        pytest.param(503, b"", CallError("", 503), id="empty"),
        pytest.param(503, b"\xff\xfe\x00", CallError("\ufffd\ufffd\x00", 503), id="bytes"),
        pytest.param(500, b"x" * 2000, CallError("x" * 500, 500), id="long"),
    ],
)
@pytest.mark.parametrize("url", [CHAT, RESPONSES], ids=["chat", "responses"])
def test_an_error_is_read_whatever_its_shape(url, status, content, error):
    raw = content if isinstance(content, bytes) else body(content)
    if content is None:
        raw = b"null"
    trace = read(chat(url=url, response=Response(status, "", JSON, raw)))

    assert trace.model_calls[0].error == error
    assert (trace.response, trace.model_calls[0].model) == ("", "gpt-5-mini")


def test_an_error_reads_as_its_status_its_code_and_its_message():
    assert str(CallError("slow down", 429, "rate_limit_exceeded")) == "429 rate_limit_exceeded slow down"
    assert str(CallError("", 503)) == "503"
    assert str(CallError("no route", code="ConnectError")) == "ConnectError no route"


def test_a_transport_that_failed_is_the_error_of_the_call():
    exchange = replace(chat(), response=None, failure=Failure("ConnectTimeout", "timed out"))

    assert read(exchange).model_calls[0].error == CallError("timed out", None, "ConnectTimeout")


def test_a_request_without_anything_back_failed():
    exchange = replace(chat(), response=None)

    assert read(exchange).model_calls[0].error == CallError("no response was captured")


def test_an_error_inside_a_stream_is_the_error_of_the_call_and_keeps_what_was_said():
    streamed = stream({"choices": [{"delta": {"content": "It rai"}}]}, {"error": {"message": "lost", "code": "oops"}})

    model_call = failing(streamed)
    assert model_call.error == CallError("lost", None, "oops")
    assert model_call.response == "It rai"


def test_an_error_in_an_answer_that_says_200_is_the_error_of_the_call():
    assert failing(Response(200, "OK", JSON, body({"error": {"message": "lost"}}))).error == CallError("lost")


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (Response(200, "OK", (), b"pong"), CallError("the answer is no JSON object: 'pong'", 200)),
        (Response(204, "No Content", (), b""), CallError("the answer is no JSON object: ''", 204)),
        (Response(200, "OK", JSON, b"[1]"), CallError("the answer is no JSON object: '[1]'", 200)),
        (
            Response(200, "OK", JSON, b'{"choices": [{"mess', complete=False),
            CallError("""the answer broke off: '{"choices": [{"mess'""", 200),
        ),
    ],
    ids=["text", "empty", "a list", "cut"],
)
@pytest.mark.parametrize("url", [CHAT, RESPONSES], ids=["chat", "responses"])
def test_an_answer_that_is_none_is_the_error_of_the_call(url, response, error):
    trace = read(chat(url=url, response=response))

    assert trace.model_calls[0].error == error
    assert [finding.kind for finding in trace.findings] == ["failed", "no_response"]


@pytest.mark.parametrize("reason", [{}, {"finish_reason": None}, {"finish_reason": ""}], ids=["none", "null", "empty"])
def test_an_answer_that_ends_without_a_reason_did_not_break_off(reason):
    whole = chat({"choices": [{"message": {"content": "a"}, **reason}], "usage": {}})
    streamed = chat(response=stream({"choices": [{"delta": {"content": "a"}, **reason}], "usage": {"a": 1}}))

    assert [read(each).model_calls[0].finish_reason for each in (whole, streamed)] == ["", ""]
    assert [read(each).findings for each in (whole, streamed)] == [(), ()]


def test_a_stream_without_its_last_event_broke_off():
    whole = stream({"choices": [{"delta": {"content": "It rai"}}], "usage": {"a": 1}})
    cut = replace(whole, body=whole.body.removesuffix(b"data: [DONE]\n\n"))

    assert read(chat(response=cut)).findings == (
        Finding("cut_off", "the answer of gpt-5-mini broke off before its end", 1),
    )


def test_an_answer_that_says_that_there_is_no_error_has_none():
    answer = {"error": None, "choices": [{"message": {"content": "It rains."}, "finish_reason": "stop"}]}

    assert read(chat(answer)).model_calls[0].error is None


def test_a_response_that_failed_says_why():
    model_call = read(responded(status="failed", error={"code": "server_error", "message": "lost"})).model_calls[0]

    assert (model_call.error, model_call.finish_reason) == (CallError("lost", None, "server_error"), "error")


@pytest.mark.parametrize(
    "last",
    [
        {"type": "error", "code": "server_error", "message": "lost"},
        {"type": "error", "error": {"code": "server_error", "message": "lost"}},
        {
            "type": "response.failed",
            "response": {"status": "failed", "error": {"code": "server_error", "message": "lost"}},
        },
    ],
)
def test_an_error_inside_a_stream_of_a_response_is_the_error_of_the_call(last):
    streamed = stream({"type": "response.created", "response": {"id": "r1", "model": "gpt-5-mini"}}, last)

    assert read(responded(response=streamed)).model_calls[0].error == CallError("lost", None, "server_error")


def test_a_stream_of_a_response_that_was_cut_keeps_what_it_had_said():
    streamed = stream(
        {"type": "response.created", "response": {"id": "r1", "model": "gpt-5-mini-2025"}},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {"type": "function_call", "name": "get_weather", "arguments": "{}", "call_id": "call_1"},
        },
        {"type": "response.output_text.delta", "output_index": 1, "delta": "It "},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "rai"},
    )

    trace = read(responded(response=streamed))
    (model_call,) = trace.model_calls
    assert (model_call.id, model_call.model, model_call.response) == ("r1", "gpt-5-mini-2025", "It rai")
    assert model_call.tool_calls == (ToolCall("get_weather", id="call_1"),)
    assert trace.findings[0] == Finding("cut_off", "the answer of gpt-5-mini-2025 broke off before its end", 1)


@pytest.mark.parametrize(("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter")])
def test_why_a_response_is_incomplete_is_told_in_the_words_of_chat_completions(reason, finish):
    answer = read(responded(text_item("It"), status="incomplete", incomplete_details={"reason": reason}))

    assert answer.model_calls[0].finish_reason == finish


# --- attempts --------------------------------------------------------------------------------------------------------

BUSY = Response(503, "", JSON, b"{}")


def test_the_very_same_request_after_a_failure_is_an_attempt_where_the_client_does_not_count():
    trace = read(chat(response=BUSY, number=1), chat({"content": "Yes."}, number=2))

    assert [[attempt.exchange for attempt in call.attempts] for call in trace.model_calls] == [[1, 2]]


def test_the_very_same_request_after_an_answer_is_another_call():
    trace = read(chat({"content": "Yes."}, number=1), chat({"content": "Yes!"}, number=2))

    assert [len(call.attempts) for call in trace.model_calls] == [1, 1]


def test_another_request_after_a_failure_is_another_call():
    trace = read(chat(None, {"role": "user", "content": "a"}, response=BUSY), chat({"content": "Yes."}, number=2))

    assert [len(call.attempts) for call in trace.model_calls] == [1, 1]


def test_the_clients_own_count_decides_what_is_a_retry():
    def retry(count: int) -> list[tuple[str, str]]:
        return [("x-stainless-retry-count", str(count))]

    asked_twice = read(
        chat(response=BUSY, number=1, headers=retry(0)), chat({"content": "Yes."}, number=2, headers=retry(0))
    )
    retried = read(
        chat(response=BUSY, number=1, headers=retry(0)), chat({"content": "Yes."}, number=2, headers=retry(1))
    )

    assert [len(call.attempts) for call in asked_twice.model_calls] == [1, 1]
    assert [len(call.attempts) for call in retried.model_calls] == [2]


def test_two_equal_calls_that_retry_side_by_side_keep_their_attempts_apart():
    def attempt(number: int, count: int, response: Response | None = None) -> Exchange:
        headers = [("x-stainless-retry-count", str(count))]
        return chat({"content": "Yes."}, number=number, headers=headers, response=response)

    trace = read(attempt(1, 0, BUSY), attempt(2, 0, BUSY), attempt(3, 1), attempt(4, 1))

    assert sorted(len(call.attempts) for call in trace.model_calls) == [2, 2]
    assert all(call.error is None for call in trace.model_calls)


def test_a_stream_that_broke_off_may_be_tried_again():
    cut = replace(stream({"choices": [{"delta": {"content": "It rai"}}]}), complete=False)

    trace = read(chat(response=cut), chat({"content": "It rains."}, number=2))

    assert [(len(call.attempts), call.response) for call in trace.model_calls] == [(2, "It rains.")]


# --- times, providers, prices ----------------------------------------------------------------------------------------


def test_the_duration_goes_from_the_first_request_to_the_last_byte():
    first = replace(chat({"content": "a"}, number=1), timing=Timing(0.5, 4.0))
    second = replace(chat({"content": "b"}, number=2), timing=Timing(1.0, 1.25))

    trace = read(first, second)
    assert trace.duration == 4.0
    assert [(call.started, call.latency) for call in trace.model_calls] == [(0.5, 4.0), (1.0, 1.25)]


def test_one_exchange_without_times_leaves_the_duration_unknown():
    assert read(replace(chat({"content": "a"}), timing=Timing(0, 1)), chat({"content": "b"}, number=2)).seconds is None


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        (CHAT, "openai"),
        ("https://api.groq.com/openai/v1/chat/completions", "groq"),
        ("https://api.deepseek.com/chat/completions/", "deepseek"),
        ("https://mine.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=1", "azure.ai.openai"),
        ("https://openrouter.ai/api/v1/chat/completions", "openrouter.ai"),
        ("https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1/chat/completions", "aws.bedrock"),
        ("https://bedrock-mantle.us-east-1.api.aws/v1/chat/completions", "aws.bedrock"),
        ("http://127.0.0.1:8080/v1/chat/completions", "127.0.0.1"),
    ],
)
def test_the_provider_is_told_from_the_host(url, provider):
    assert read(chat({"content": "a"}, url=url)).model_calls[0].provider == provider


def used(model: str, url: str = CHAT, **usage: object) -> Exchange:
    answer = {"model": model, "choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": usage}
    return chat(answer, url=url)


def test_a_call_costs_what_it_cost_on_the_day_it_was_recorded():
    exchange = used("o3", prompt_tokens=1_000_000, completion_tokens=1_000_000)

    assert read(exchange, recorded=datetime(2025, 1, 1, tzinfo=UTC)).cost == 50.0
    assert read(exchange, recorded=datetime(2026, 1, 1, tzinfo=UTC)).cost == 10.0


def test_cached_input_costs_less():
    whole = used("gpt-4o-mini", prompt_tokens=1_000_000, completion_tokens=0)
    cached = used(
        "gpt-4o-mini", prompt_tokens=1_000_000, completion_tokens=0, prompt_tokens_details={"cached_tokens": 1_000_000}
    )

    assert (read(whole).cost, read(cached).cost) == (0.15, 0.075)


def test_sound_costs_what_sound_costs_where_its_price_is_known():
    def cost(model: str, **sound: int) -> float:
        usage = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}
        details = {"prompt_tokens_details": {"audio_tokens": sound.get("read", 0)}}
        details |= {"completion_tokens_details": {"audio_tokens": sound.get("said", 0)}}
        return read(used(model, **usage, **details)).cost

    assert cost("gpt-audio") == 12.5
    assert cost("gpt-audio", read=1_000_000) == 42.0
    assert cost("gpt-audio", read=1_000_000, said=1_000_000) == 96.0
    assert cost("gpt-5-mini", read=1_000_000) == cost("gpt-5-mini")  # One price for all that it reads.


def test_the_price_names_its_table():
    assert (
        read(used("gpt-4o-mini", prompt_tokens=1, completion_tokens=1))
        .model_calls[0]
        .priced_by.startswith("genai-prices 0.")
    )


@pytest.mark.parametrize(
    "exchange",
    [
        pytest.param(used("nobody-knows-me", prompt_tokens=1, completion_tokens=1), id="unknown model"),
        pytest.param(
            used("gpt-5-mini", "http://127.0.0.1/v1/chat/completions", prompt_tokens=1), id="unknown provider"
        ),
        pytest.param(chat({"content": "a"}), id="no usage"),
        pytest.param(used("gpt-4o-mini", prompt_tokens=-1, completion_tokens=1), id="impossible usage"),
        pytest.param(
            used("gpt-4o-mini", prompt_tokens=1, prompt_tokens_details={"cached_tokens": 9}), id="more cached than sent"
        ),
    ],
)
def test_a_cost_that_is_not_known_is_none_and_never_zero(exchange):
    (model_call,) = read(exchange).model_calls

    assert (model_call.cost, model_call.priced_by) == (None, None)


# --- endpoints that nobody knows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "url", "message"),
    [
        (
            "POST",
            "https://api.anthropic.com/v1/complete",
            "POST https://api.anthropic.com/v1/complete is no model's endpoint that we know",
        ),
        (
            "GET",
            "https://weather.example:8080/today?key=1",
            "GET https://weather.example/today is no model's endpoint that we know",
        ),
        ("GET", RESPONSES, f"GET {RESPONSES} is no model's endpoint that we know"),
        ("POST", f"{RESPONSES}/resp_1/cancel", f"POST {RESPONSES}/resp_1/cancel is no model's endpoint that we know"),
    ],
)
def test_an_endpoint_that_nobody_knows_is_a_finding(method, url, message):
    trace = read(Exchange(7, Request(method, url), Response(200)))

    assert trace.model_calls == ()
    assert trace.findings == (Finding("unknown_endpoint", message, 7),)
    assert trace.captured


# --- garbage ---------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "id model error message code type status choices index delta content refusal tool_calls tool_call_id "
                "function custom name arguments input output role finish_reason usage prompt_tokens completion_tokens "
                "prompt_tokens_details cached_tokens input_tokens output_tokens instructions messages tools call_id "
                "incomplete_details reason response item output_index summary text system parts contents candidates "
                "functionCall functionResponse args usageMetadata promptTokenCount finishReason toolUse toolResult "
                "toolUseId message stopReason stop_reason is_error tool_use_id thinking partial_json delta".split()
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)
"""Arbitrary JSON with a bias to the names that the decoders look for."""

shaped = st.fixed_dictionaries(
    {},
    optional={
        "model": json_values,
        "messages": st.lists(st.fixed_dictionaries({}, optional={"tool_call_id": json_values, "content": json_values})),
        "input": st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["message", "function_call", "function_call_output", "mcp_call", "x_call"])},
                optional={"call_id": json_values, "output": json_values, "arguments": json_values},
            )
        ),
        "choices": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "message": json_values,
                    "finish_reason": json_values,
                    "delta": st.fixed_dictionaries({}, optional={"tool_calls": st.lists(json_values, max_size=3)}),
                },
            ),
            max_size=2,
        ),
        "output": st.lists(json_values, max_size=3),
        "usage": json_values,
        "error": json_values,
        "status": json_values,
    },
)
bodies = (json_values | shaped).map(body) | st.binary(max_size=40)
event_streams = st.lists(json_values | shaped, max_size=4).map(lambda events: stream(*events).body) | st.binary(
    max_size=60
)


@st.composite
def garbage(draw: st.DrawFn) -> list[Exchange]:
    """Exchanges with a known endpoint, and anything at all as their bodies."""
    return [
        Exchange(
            number,
            Request("POST", draw(st.sampled_from([CHAT, RESPONSES])), JSON, draw(bodies)),
            Response(
                draw(st.sampled_from([200, 200, 200, 429, 500])),
                "",
                *draw(st.tuples(st.just(JSON), bodies) | st.tuples(st.just(EVENTS), event_streams)),
            ),
        )
        for number in range(1, draw(st.integers(1, 3)) + 1)
    ]


@settings(max_examples=120, deadline=None)
@given(garbage())
def test_whatever_servers_and_clients_send_a_trace_can_be_read_and_kept(exchanges):
    trace = read(*exchanges)

    assert len(trace.turns) <= len(trace.model_calls) <= len(exchanges)
    assert isinstance(trace.response, str)
    assert len(list(trace.trajectory)) == len(trace.tool_calls)
    kept = trace.to_json()
    assert Trace.from_json(kept).to_json() == kept


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([openai_chat, openai_responses]), garbage())
def test_no_decoder_raises_on_the_bodies_of_another_api(decoder, exchanges):
    for exchange in exchanges:
        assert isinstance(decoder.decode(exchange), ModelCall)


@pytest.mark.parametrize("depth", [10, 100_000])
def test_json_nested_beyond_reason_is_no_reason_to_fail(depth):
    raw = b"[" * depth + b"]" * depth

    assert isinstance(read(chat(response=Response(200, "", JSON, raw))), Trace)
