"""The corners of OpenAI's two APIs, and of those who speak them in their own way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_agentops.assembly import trace_of
from pytest_agentops.exchange import Exchange, Failure, Request, Response, Timing
from pytest_agentops.explain import trace_lines
from pytest_agentops.trace import Attempt, CallError, Message, ToolCall, Trace, Usage

HOST = "https://api.openai.com/v1"
JSON = (("content-type", "application/json"),)
EVENTS = (("content-type", "text/event-stream"),)


def read(*exchanges: Exchange) -> Trace:
    return trace_of(exchanges, source="imported")


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def responded(
    *output: Any,
    number: int = 1,
    id: str = "resp_1",  # noqa: A002 - the field's own name
    asked: Any = None,
    **answer: Any,
) -> Exchange:
    """A response with this output, to a question that may say more."""
    usage = {"input_tokens": 10, "output_tokens": 4}
    whole = {"id": id, "model": "gpt-5-mini", "status": "completed", "output": output, "usage": usage, **answer}
    sent = {"model": "gpt-5-mini", "input": "Is it raining?", **(asked or {})}
    return Exchange(
        number,
        Request("POST", f"{HOST}/responses", JSON, json.dumps(sent).encode()),
        Response(200, "", JSON, json.dumps(whole).encode()),
    )


def stream(*events: Any) -> Response:
    return Response(200, "", EVENTS, b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events))


# --- tools of the provider's -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "call"),
    [
        pytest.param(
            {
                "type": "web_search_call", "id": "ws_1", "status": "completed",
                "action": {"type": "search", "query": "rain", "sources": [{"type": "url", "url": "u"}]},
            },
            ToolCall("web_search", {"action": {"type": "search", "query": "rain"}}, [{"type": "url", "url": "u"}], "ok", "ws_1"),
            id="web search",
        ),
        pytest.param(
            {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["q"], "results": [{"text": "t"}]},
            ToolCall("file_search", {"queries": ["q"]}, [{"text": "t"}], "ok", "fs_1"),
            id="file search",
        ),
        pytest.param(
            {
                "type": "code_interpreter_call", "id": "ci_1", "status": "failed", "code": "1/0", "container_id": "c",
                "outputs": [{"type": "logs", "logs": "ZeroDivisionError"}],
            },
            ToolCall(
                "code_interpreter", {"code": "1/0", "container_id": "c"},
                [{"type": "logs", "logs": "ZeroDivisionError"}], "error", "ci_1",
            ),
            id="code",
        ),
        pytest.param(
            {"type": "image_generation_call", "id": "ig_1", "status": "completed", "revised_prompt": "a cat", "result": "iVBO"},
            ToolCall("image_generation", {"revised_prompt": "a cat"}, "iVBO", "ok", "ig_1"),
            id="image",
        ),
        pytest.param(
            {"type": "mcp_call", "id": "mcp_1", "name": "roll", "arguments": "{", "output": None, "error": {"code": 1}},
            ToolCall("roll", {}, {"code": 1}, "error", "mcp_1", malformed="{"),
            id="mcp",
        ),
        pytest.param(
            {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "dice", "tools": [], "error": "no such host"},
            ToolCall("mcp_list_tools", {"server_label": "dice"}, "no such host", "error", "mcpl_1"),
            id="a list that failed",
        ),
    ],
)  # fmt: skip
def test_what_the_provider_ran_has_its_arguments_apart_from_what_came_of_it(item, call):
    trace = read(responded(item, said("Done.")))

    (made,) = trace.tool_calls
    assert made.by_provider
    assert (made.name, made.arguments, made.result, made.status, made.id, made.malformed) == (
        call.name, call.arguments, call.result, call.status, call.id, call.malformed,
    )  # fmt: skip
    assert (trace.response, trace.findings) == ("Done.", () if made.malformed is None else trace.findings)


@pytest.mark.parametrize(
    ("item", "status"),
    [
        ({"type": "web_search_call", "id": "a", "status": "searching", "action": {"type": "search"}}, "unanswered"),
        (
            {"type": "code_interpreter_call", "id": "a", "status": "incomplete", "code": "1", "outputs": None},
            "unanswered",
        ),
        ({"type": "image_generation_call", "id": "a", "status": "generating", "result": "iVBO"}, "ok"),
        ({"type": "web_search_call", "id": "a", "status": "completed", "action": {"type": "search"}}, "ok"),
    ],
    ids=["searching", "incomplete", "there", "nothing to show"],
)
def test_what_the_provider_had_not_finished_is_unanswered(item, status):
    assert [call.status for call in read(responded(item)).tool_calls] == [status]


def test_a_list_of_tools_that_the_provider_looked_up_is_no_call_of_the_models():
    listed = {
        "type": "mcp_list_tools",
        "id": "mcpl_1",
        "server_label": "dice",
        "tools": [{"name": "roll"}],
        "error": None,
    }

    assert read(responded(listed, said("Done."))).tool_calls == ()


@pytest.mark.parametrize(
    ("item", "result", "name", "arguments"),
    [
        pytest.param(
            {"type": "computer_call", "id": "cu_1", "call_id": "c1", "action": {"type": "click", "x": 1}},
            {"type": "computer_call_output", "call_id": "c1", "output": {"type": "computer_screenshot"}},
            "computer", {"action": {"type": "click", "x": 1}}, id="computer",
        ),
        pytest.param(
            {"type": "local_shell_call", "id": "ls_1", "call_id": "c1", "action": {"type": "exec", "command": ["ls"]}},
            {"type": "local_shell_call_output", "call_id": "c1", "output": "a.txt"},
            "local_shell", {"action": {"type": "exec", "command": ["ls"]}}, id="local shell",
        ),
        pytest.param(
            {"type": "apply_patch_call", "id": "ap_1", "call_id": "c1", "operation": {"type": "delete_file", "path": "a"}},
            {"type": "apply_patch_call_output", "call_id": "c1", "status": "failed", "output": "no such file"},
            "apply_patch", {"operation": {"type": "delete_file", "path": "a"}}, id="patch",
        ),
        pytest.param(
            {"type": "mcp_approval_request", "id": "c1", "name": "roll", "arguments": "{}", "server_label": "dice"},
            {"type": "mcp_approval_response", "approval_request_id": "c1", "approve": False},
            "mcp_approval_request", {"name": "roll", "arguments": "{}", "server_label": "dice"}, id="approval",
        ),
    ],
)  # fmt: skip
def test_what_the_caller_runs_is_asked_for_and_answered_by_the_next_request(item, result, name, arguments):
    tools = [{"type": kind} for kind in ("computer_use_preview", "local_shell", "apply_patch", "mcp")]
    tools.append({"type": "function", "name": "other"})
    trace = read(
        responded(item, asked={"tools": tools}),
        responded(said("Done."), number=2, id="resp_2", asked={"input": [result], "previous_response_id": "resp_1"}),
    )

    (call,) = trace.tool_calls
    assert (call.name, call.arguments, call.by_provider) == (name, arguments, False)
    assert call.result == result.get("output", {"approve": False})
    assert call.status == ("error" if result.get("status") == "failed" else "ok")
    assert (trace.findings, len(trace.turns)) == ((), 1)


def test_a_shell_of_the_providers_has_its_output_beside_it():
    call = {"type": "shell_call", "id": "sh_1", "call_id": "c1", "status": "completed", "action": {"commands": ["ls"]}}
    output = {"type": "shell_call_output", "id": "sho_1", "call_id": "c1", "output": [{"stdout": "a.txt"}]}

    assert read(responded(call, output, said("Done."))).tool_calls == (
        ToolCall("shell", {"action": {"commands": ["ls"]}}, [{"stdout": "a.txt"}], "ok", "sh_1", by_provider=True),
    )


# --- conversations that the provider keeps ---------------------------------------------------------------------------


def test_an_answer_to_an_earlier_response_goes_on_with_its_conversation():
    trace = read(
        responded(said("It rains."), asked={"instructions": "Be brief."}),
        responded(
            said("Take one."), number=2, id="resp_2",
            asked={"input": "An umbrella?", "previous_response_id": "resp_1", "instructions": "Be kind."},
        ),
        responded(said("Bye."), number=3, id="resp_3", asked={"input": "Bye", "previous_response_id": "resp_0"}),
    )  # fmt: skip

    assert [(message.role, message.content) for message in trace.model_calls[1].messages] == [
        ("system", "Be kind."),
        ("user", "Is it raining?"),
        ("assistant", "It rains."),
        ("user", "An umbrella?"),
    ]
    assert trace.model_calls[2].messages == (Message("user", "Bye"),)  # What it answers is not in this trace.
    assert len(trace.turns) == 3


def test_calls_of_one_conversation_go_on_with_each_other():
    asked = [{"conversation": "conv_1"}, {"conversation": {"id": "conv_1"}, "input": "And now?"}]
    trace = read(
        responded(said("It rains."), asked=asked[0], conversation={"id": "conv_1"}),
        responded(said("Still."), number=2, id="resp_2", asked=asked[1]),
    )

    assert [call.conversation for call in trace.model_calls] == ["conv_1", "conv_1"]
    assert [message.content for message in trace.messages] == ["Is it raining?", "It rains.", "And now?", "Still."]


# --- answers made in the background ----------------------------------------------------------------------------------


def later(number: int, answer: Any, *, id: str = "resp_1", method: str = "GET", what: str = "") -> Exchange:  # noqa: A002
    response = answer if isinstance(answer, Response | None) else Response(200, "", JSON, json.dumps(answer).encode())
    failure = Failure("ConnectError", "lost") if response is None else None
    return Exchange(
        number, Request(method, f"{HOST}/responses/{id}{what}"), response, failure, Timing(float(number), 0.5)
    )


QUEUED = {"id": "resp_1", "model": "gpt-5-mini", "status": "queued", "output": []}
WORKING = {**QUEUED, "status": "in_progress"}
DONE = {
    **QUEUED,
    "status": "completed",
    "output": [said("It rains.")],
    "usage": {"input_tokens": 10, "output_tokens": 4},
}


def begun(**answer: Any) -> Exchange:
    sent = {"model": "gpt-5-mini", "input": "Is it raining?", "background": True}
    return Exchange(
        1,
        Request("POST", f"{HOST}/responses", JSON, json.dumps(sent).encode()),
        Response(200, "", JSON, json.dumps({**QUEUED, **answer}).encode()),
        timing=Timing(1.0, 0.2),
    )


def test_an_answer_made_in_the_background_is_one_call_however_often_it_is_asked_for():
    trace = read(begun(), later(2, WORKING), later(3, None), later(4, DONE))

    (call,) = trace.model_calls
    assert (call.response, call.finish_reason, call.usage, call.error) == ("It rains.", "stop", Usage(10, 4), None)
    assert call.messages == (Message("user", "Is it raining?"),)
    assert call.attempts == (Attempt(1, 3.5, polls=(2, 3, 4)),)
    assert (call.latency, trace.findings, trace.exchanges) == (3.5, (), 4)
    assert Trace.from_json(trace.to_json()) == trace


def test_looking_an_answer_up_again_changes_nothing():
    trace = read(begun(), later(2, DONE), later(9, {**DONE, "output": []}))

    (call,) = trace.model_calls
    assert (call.response, call.latency, call.attempts[0].polls) == ("It rains.", 1.5, (2, 9))
    assert "asked for again 2 times" in list(trace_lines(trace))[1]


def test_an_answer_made_in_the_background_may_be_streamed_on_where_a_stream_broke_off():
    first = stream(
        {"type": "response.created", "response": QUEUED},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "It "},
    )
    rest = stream(
        {"type": "response.output_text.delta", "output_index": 0, "delta": "rains."},
        {"type": "response.completed", "response": DONE},
    )
    cut = Exchange(1, begun().request, Response(200, "", EVENTS, first.body, complete=False))

    trace = read(cut, later(2, rest, what="?stream=true&starting_after=1"))

    (call,) = trace.model_calls
    assert (call.response, call.attempts[0].polls, trace.findings) == ("It rains.", (2,), ())


@pytest.mark.parametrize(
    ("polls", "error"),
    [
        ([], CallError("the answer was not there yet", code="queued")),
        ([later(2, WORKING)], CallError("the answer was not there yet", code="in_progress")),
        (
            [later(2, {**QUEUED, "status": "cancelled"}, method="POST", what="/cancel")],
            CallError("the answer was cancelled", code="cancelled"),
        ),
        (
            [later(2, {**QUEUED, "status": "failed", "error": {"code": "server_error", "message": "lost"}})],
            CallError("lost", code="server_error"),
        ),
    ],
    ids=["never asked for", "asked too early", "cancelled", "failed"],
)
def test_an_answer_that_was_never_there_is_an_error_that_says_so(polls, error):
    (call,) = read(begun(), *polls).model_calls

    assert call.error == error


def test_an_answer_that_some_other_run_asked_for_is_no_call_of_this_one():
    trace = read(begun(**DONE), later(2, DONE, id="resp_9"))

    assert len(trace.model_calls) == 1
    assert [(finding.kind, finding.exchange) for finding in trace.findings] == [("unknown_endpoint", 2)]


# --- streams that were cut -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "text", "calls"),
    [
        ([{"type": "response.refusal.delta", "output_index": 0, "delta": "I will"}], "I will", ()),
        (
            [
                {"type": "response.output_item.added", "output_index": 0, "item": {
                    "type": "function_call", "name": "look", "call_id": "c1", "arguments": "",
                }},
                {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"or'},
            ],
            "", (ToolCall("look", id="c1", malformed='{"or'),),
        ),
    ],
    ids=["refusal", "arguments"],
)  # fmt: skip
def test_a_stream_of_a_response_that_was_cut_keeps_what_had_come(events, text, calls):
    exchange = Exchange(1, begun().request, stream({"type": "response.created", "response": WORKING}, *events))

    (call,) = read(exchange).model_calls
    assert (call.id, call.response, call.tool_calls, call.finish_reason, call.error) == (
        "resp_1",
        text,
        calls,
        None,
        None,
    )


# --- chat completions ------------------------------------------------------------------------------------------------


def chat(*messages: Any, url: str = f"{HOST}/chat/completions", sent: Any = (), **answer: Any) -> Exchange:
    choices = [{"index": index, "message": each, "finish_reason": "stop"} for index, each in enumerate(messages)]
    whole = {
        "id": "c1",
        "model": "m",
        "choices": choices,
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        **answer,
    }
    asked = {"model": "m", "messages": list(sent)}
    return Exchange(
        1, Request("POST", url, JSON, json.dumps(asked).encode()), Response(200, "", JSON, json.dumps(whole).encode())
    )


def chunked(*deltas: Any, index: int = 0) -> list[Any]:
    return [{"id": "c1", "model": "m", "choices": [{"index": index, "delta": delta}]} for delta in deltas]


def streamed(*chunks: Any) -> Exchange:
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    last = [{"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]} for index in (0, 1)]
    used = {choice["index"] for chunk in chunks for choice in chunk["choices"]}
    ends = [each for each in last if each["choices"][0]["index"] in used]
    return Exchange(1, chat().request, stream(*chunks, *ends, usage))


def test_what_an_answer_says_aloud_is_its_text():
    audio = {"id": "audio_1", "transcript": "It rains.", "data": "UklG", "expires_at": 1}
    pieces = chunked(
        {"audio": {"id": "audio_1", "transcript": "It "}},
        {"audio": {"transcript": "rains."}},
        {"audio": {"data": "UklG"}},
    )

    (whole,) = read(chat({"content": None, "audio": audio})).model_calls

    assert whole.response == "It rains."
    assert read(streamed(*pieces)).model_calls == (whole,)


def test_other_answers_to_the_same_question_stand_beside_the_first():
    both = chunked({"content": "It "}) + chunked({"content": "No "}, index=1)
    both += chunked({"content": "rains."}) + chunked({"content": "rain."}, index=1)

    (whole,) = read(chat({"content": "It rains."}, {"content": "No rain."})).model_calls

    assert (whole.response, whole.alternatives) == ("It rains.", ("No rain.",))
    assert read(streamed(*both)).model_calls == (whole,)


def test_mistral_thinks_in_a_list_of_its_content_whole_and_streamed():
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    pieces = chunked({"content": [thought]}, {"content": [{"type": "text", "text": "It "}]}, {"content": "rains."})
    sent = [{"role": "assistant", "content": [thought, {"type": "text", "text": "It"}], "prefix": True}]

    (whole,) = read(chat({"content": [thought, {"type": "text", "text": "It rains."}]}, sent=sent)).model_calls
    (parts,) = read(streamed(*pieces)).model_calls

    assert whole.response == parts.response == "It rains."
    assert whole.messages == (Message("assistant", "It"),)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "reasoning_details"])
def test_what_was_thought_is_no_answer(key):
    thought = "Hm." if key != "reasoning_details" else [{"type": "reasoning.text", "text": "Hm."}]
    pieces = chunked({key: thought, "content": ""}, {"content": "It rains."})

    (whole,) = read(chat({key: thought, "content": "It rains."})).model_calls

    assert whole.response == "It rains."
    assert read(streamed(*pieces)).model_calls == (whole,)


def test_filters_and_probabilities_beside_an_answer_change_nothing():
    filtered = {"content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}
    first = {"choices": [], "prompt_filter_results": [{"prompt_index": 0, **filtered}]}
    chunks = chunked({"content": "It rains."})
    chunks[0]["choices"][0] |= {"logprobs": {"content": [{"token": "It", "logprob": -0.1}]}, **filtered}

    assert read(streamed(first, *chunks)).model_calls == read(chat({"content": "It rains."})).model_calls


def test_an_answer_that_a_filter_withheld_says_so():
    answer = {"choices": [{"index": 0, "message": {"content": None}, "finish_reason": "content_filter"}]}

    (call,) = read(chat(**answer)).model_calls

    assert (call.response, call.finish_reason) == ("", "content_filter")
