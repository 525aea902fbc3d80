"""`pytest-agentops`, as a person types it."""

from __future__ import annotations

import json
import sys

import pytest

from pytest_agentops.exchange import Exchange, Failure, Request, Response, Timing
from pytest_agentops.tape import Tape, dumps
from pytest_agentops.testing import TinyProject

JSON = (("content-type", "application/json"),)
LISTED = "\n  all of them: pytest-agentops cassettes list\n"


def cassette() -> str:
    """Two model calls: one that asked for a tool, one that answered; and a request that found nobody."""
    asked = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Where is order 42?"}]}
    function = {"name": "lookup_order", "arguments": '{"order_id": 42}'}
    wants = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "shipped"}
    again = {**asked, "messages": [*asked["messages"], wants, result]}
    url = "https://api.openai.com/v1/chat/completions"
    return dumps(
        Tape(
            exchanges=(
                Exchange(
                    1, Request("POST", url, JSON, body(asked)), answer(wants, "tool_calls"), None, Timing(0.0, 1.5)
                ),
                Exchange(
                    2, Request("POST", url, JSON, body(again)), answer({"content": "On its way."}), None, Timing(2, 1)
                ),
                Exchange(
                    3,
                    Request("GET", "https://weather.example/today"),
                    None,
                    Failure("ConnectError", "refused"),
                    Timing(3, 0),
                ),
            ),
            outcome="passed",
        )
    )


def answer(message: dict, reason: str = "stop") -> Response:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 0}}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return Response(200, "OK", JSON, body({"id": "c1", "model": "gpt-5-mini", "choices": [choice], "usage": usage}))


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def run(project: TinyProject, *arguments: str):
    return project.command(sys.executable, "-m", "pytest_agentops", *arguments)


def test_cassettes_list_tells_what_is_there(tiny_project):
    (tiny_project.path / "tests" / "cassettes" / "test_a").mkdir(parents=True)
    (tiny_project.path / "tests" / "cassettes" / "test_a" / "test_x.yaml").write_text(cassette())
    (tiny_project.path / "other.yaml").write_text("a: 1\n")

    told = run(tiny_project, "cassettes", "list")

    assert told.stdout == "tests/cassettes/test_a/test_x.yaml     3  passed  no date     gpt-5-mini\n"
    assert told.exit_code == 0


def test_cassettes_list_names_a_damaged_file_and_exits_with_1(tiny_project):
    (tiny_project.path / "cassettes").mkdir()
    (tiny_project.path / "cassettes" / "good.yaml").write_text(cassette())
    (tiny_project.path / "cassettes" / "cut.yaml").write_text(cassette().rpartition("- agentops:")[0])

    told = run(tiny_project, "cassettes", "list", "cassettes")

    assert told.exit_code == 1
    assert told.lines[0] == "cassettes/cut.yaml   unreadable: it is cut: it announces 3 exchanges and holds 2"
    assert told.lines[1].startswith("cassettes/good.yaml     3  passed")


def test_cassettes_list_says_so_where_there_is_none(tiny_project):
    assert (
        run(tiny_project, "cassettes", "list").stdout == "no cassettes here; tests that use agent_trace record them\n"
    )


def test_cassettes_show_prints_a_line_for_each_exchange(tiny_project):
    (tiny_project.path / "x.yaml").write_text(cassette())

    told = run(tiny_project, "cassettes", "show", "x.yaml")

    assert told.stdout == (
        "x.yaml: passed, gpt-5-mini\n"
        '  #1  POST https://api.openai.com/v1/chat/completions -> 200  "Where is order 42?"\n'
        '  #2  POST https://api.openai.com/v1/chat/completions -> 200  "shipped"\n'
        "  #3  GET https://weather.example/today -> ConnectError\n"
    )


def test_traces_show_prints_a_tree(tiny_project):
    (tiny_project.path / "x.yaml").write_text(cassette())

    told = run(tiny_project, "traces", "show", "x.yaml")

    assert told.stdout == (
        "2 model calls, 1 tool call, 2,200 tokens, $0.0009, 3.0 s, imported\n"
        "  step 0  gpt-5-mini · 1,000 in, 100 out · 1.5 s\n"
        '    lookup_order(order_id=42) -> "shipped"\n'
        "  step 1  gpt-5-mini · 1,000 in, 100 out · 1.0 s\n"
        "    'On its way.'\n"
        "  finding: GET https://weather.example/today is no model's endpoint that we know (unknown_endpoint)\n"
    )


def test_a_trace_saved_as_json_shows_the_same_tree(tiny_project):
    (tiny_project.path / "x.yaml").write_text(cassette())
    as_json = run(tiny_project, "traces", "show", "x.yaml", "--json").stdout
    (tiny_project.path / "x.json").write_text(as_json)

    told = run(tiny_project, "traces", "show", "x.json")

    assert told.stdout == run(tiny_project, "traces", "show", "x.yaml").stdout


@pytest.mark.parametrize(
    "command", [("cassettes", "list"), ("cassettes", "show", "x.yaml"), ("traces", "show", "x.yaml")]
)
def test_every_command_speaks_json(tiny_project, command):
    (tiny_project.path / "x.yaml").write_text(cassette())

    json.loads(run(tiny_project, *command, "--json").stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("traces", "show", "nowhere.yaml"), f"pytest-agentops: there is no cassette nowhere.yaml{LISTED}"),
        (
            ("traces", "show", "test_refund"),
            (
                "pytest-agentops: there is no cassette test_refund; "
                f"did you mean 'cassettes/test_shop/test_refund.yaml'?{LISTED}"
            ),
        ),
        (
            ("cassettes", "show", "cassettes/test_shop/test_refunds.yaml"),
            (
                "pytest-agentops: there is no cassette cassettes/test_shop/test_refunds.yaml; "
                f"did you mean 'cassettes/test_shop/test_refund.yaml'?{LISTED}"
            ),
        ),
        (("cassettes", "list", "nowhere"), "pytest-agentops: there is no nowhere\n"),
    ],
)
def test_a_missing_file_is_wrong_use(tiny_project, arguments, message):
    (tiny_project.path / "cassettes" / "test_shop").mkdir(parents=True)
    (tiny_project.path / "cassettes" / "test_shop" / "test_refund.yaml").write_text(cassette())

    told = run(tiny_project, *arguments)

    assert (told.exit_code, told.stderr) == (2, message)


@pytest.mark.parametrize("text", ["", "a: [", "interactions: 3", "\x00", "interactions: [{}]", "- 1", "<<<<<<< ours\n"])
def test_a_file_that_is_no_cassette_is_told_in_one_line(tiny_project, text):
    (tiny_project.path / "x.yaml").write_text(text)

    told = run(tiny_project, "traces", "show", "x.yaml")

    assert told.exit_code == 1
    assert (
        told.stderr.startswith("pytest-agentops: x.yaml: it is ")
        or "it holds" in told.stderr
        or "an interaction" in told.stderr
    )
    assert len(told.stderr.splitlines()) == 1
