"""MCP and A2A: tools of servers over HTTP, over a child's standard streams and in memory, and agents that delegate."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_agentops import call as asked_for
from pytest_agentops import rpc, tool
from pytest_agentops.assembly import trace_of
from pytest_agentops.capture import Recording, watching
from pytest_agentops.cassette import Session
from pytest_agentops.errors import CassetteMiss
from pytest_agentops.exchange import Exchange, Request, Response, Timing
from pytest_agentops.matching import request_key
from pytest_agentops.trace import Trace

pytest.importorskip("mcp", reason="mcp is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from mcp import Client, StdioServerParameters  # noqa: E402 - only where it can be imported.

SERVER = """
    import asyncio, os, pathlib, sys
    from mcp.server import MCPServer
    from mcp.server.mcpserver import Context
    from mcp.types import SamplingMessage, TextContent

    pathlib.Path(sys.argv[1]).write_text("started")
    server = MCPServer("shop")

    @server.tool()
    def price(item: str) -> str:
        "What it costs"
        if item == "dragon":
            raise LookupError("no dragons")
        return f"{item}: {len(item)} euros"

    @server.tool()
    async def count(upto: int, ctx: Context) -> int:
        "Counts, and says how far it is"
        for number in range(upto):
            await ctx.report_progress(number + 1, upto)
        return upto

    @server.tool()
    async def late(pieces: int) -> int:
        await asyncio.sleep(pieces / 10)
        return pieces

    @server.tool()
    def crash() -> None:
        os._exit(3)

    @server.tool()
    async def guess(item: str, ctx: Context) -> str:
        said = SamplingMessage(role="user", content=TextContent(type="text", text=item))
        answer = await ctx.session.create_message(messages=[said], max_tokens=9)
        return f"about {answer.content.text}"

    if __name__ == "__main__":
        server.run("stdio")
"""


@pytest.fixture
def shop(tmp_path: Path) -> StdioServerParameters:
    (tmp_path / "shop.py").write_text(textwrap.dedent(SERVER))
    return StdioServerParameters(command=sys.executable, args=[str(tmp_path / "shop.py"), str(tmp_path / "mark")])


def both(tmp_path: Path, run: Callable[[], Any]) -> tuple[Any, Any, Trace]:
    """What a run gave live and replayed, with the trace of the replay, which is that of the cassette."""
    path = tmp_path / "c.yaml"
    live = Session(path, mode="all", name="test")
    with live.open():
        first = run()
    live.close("passed")
    again = Session(path, mode="none", name="test")
    with again.open():
        second = run()
    again.check(teardown=True)
    trace = again.recording.freeze()
    assert replace(trace, source="imported") == Trace.from_cassette(path)
    assert replace(live.recording.freeze(), source="replayed") == trace
    return first, second, trace


def innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def said(result: Any) -> str:
    return "".join(part.text for part in result.content)


# --- MCP over standard streams ---------------------------------------------------------------------------------------


def test_a_server_in_a_child_is_not_started_for_a_replay(tmp_path, shop):
    async def buy() -> list[str]:
        async with Client(shop) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            prices = await asyncio.gather(*(client.call_tool("price", {"item": item}) for item in ("owl", "kettle")))
            return [*names, *map(said, prices)]

    def run() -> tuple[list[str], bool]:
        (tmp_path / "mark").unlink(missing_ok=True)
        return asyncio.run(buy()), (tmp_path / "mark").exists()

    live, replayed, trace = both(tmp_path, run)

    assert live == (["price", "count", "late", "crash", "guess", "owl: 3 euros", "kettle: 6 euros"], True)
    assert replayed == (live[0], False)
    assert [(call.name, call.arguments, call.result, call.status) for call in trace.tool_calls] == [
        ("price", {"item": "owl"}, "owl: 3 euros", "ok"),
        ("price", {"item": "kettle"}, "kettle: 6 euros", "ok"),
    ]
    assert {span.origin for span in trace.spans} == {"mcp"}
    assert trace.findings == ()
    assert str(tmp_path) not in (tmp_path / "c.yaml").read_text()


def test_an_error_of_a_tool_and_its_progress_come_again(tmp_path, shop):
    async def run() -> tuple[str, bool, list[float], str]:
        heard: list[float] = []

        async def progress(done: float, _total: float | None, _message: str | None) -> None:
            heard.append(done)

        async with Client(shop) as client:
            failed = await client.call_tool("price", {"item": "dragon"})
            counted = await client.call_tool("count", {"upto": 3}, progress_callback=progress)
            return said(failed), bool(failed.is_error), heard, said(counted)

    live, replayed, trace = both(tmp_path, lambda: asyncio.run(run()))

    assert live == replayed
    assert live[1:] == (True, [1.0, 2.0, 3.0], "3")
    assert [(call.name, call.status) for call in trace.tool_calls] == [("price", "error"), ("count", "ok")]
    assert "Error executing tool price" in str(trace.tool_calls[0].result)


def test_who_asks_the_server_something_else_is_told_and_does_not_wait(tmp_path, shop):
    async def buy(item: str) -> str:
        async with Client(shop) as client:
            return said(await client.call_tool("price", {"item": item}))

    both(tmp_path, lambda: asyncio.run(buy("owl")))
    session = Session(tmp_path / "c.yaml", mode="none", name="test")
    with session.open(), pytest.raises(BaseException) as refused:
        asyncio.run(buy("kettle"))
    assert "no recorded reply for this request" in str(innermost(refused.value))

    with pytest.raises(CassetteMiss) as miss:
        session.check()
    assert "params" in str(miss.value)
    assert "kettle" in str(miss.value)


def test_what_there_is_may_be_asked_more_often_on_replay_and_less_often(tmp_path, shop):
    """The SDK asks for the tools with the first result; where results come at once, with each of them."""

    async def run(*lists: int) -> list[str]:
        async with Client(shop) as client:
            results = await asyncio.gather(*(client.call_tool("late", {"pieces": pieces}) for pieces in (0, 1, 2)))
            for _ in lists:
                await client.session.list_tools()
            return [said(result) for result in results]

    live, replayed, _ = both(tmp_path, lambda: asyncio.run(run()))
    assert live == replayed == ["0", "1", "2"]

    both(tmp_path, lambda: asyncio.run(run(1, 2)))
    session = Session(tmp_path / "c.yaml", mode="none", name="test")
    with session.open():
        asyncio.run(run())
    session.check(teardown=True)


def test_a_server_that_ends_in_the_middle_of_a_call_ends_there_on_replay_too(tmp_path, shop):
    async def run() -> tuple[str, str]:
        async with Client(shop) as client:
            before = said(await client.call_tool("price", {"item": "owl"}))
            try:
                return before, said(await asyncio.wait_for(client.call_tool("crash", {}), 20))
            except Exception as error:
                return before, f"{type(error).__name__}: {error}"

    live, replayed, trace = both(tmp_path, lambda: asyncio.run(run()))

    assert live == replayed == ("owl: 3 euros", "MCPError: Connection closed")
    assert [(call.name, call.status, call.result) for call in trace.tool_calls] == [
        ("price", "ok", "owl: 3 euros"), ("crash", "error", "no answer came"),
    ]  # fmt: skip


def test_a_server_that_asks_back_has_its_answer_before_it_goes_on(tmp_path, shop):
    from mcp import ClientSession
    from mcp.client.stdio import stdio_client
    from mcp.types import CreateMessageResult, TextContent

    async def sampled(_context: Any, asked: Any) -> CreateMessageResult:
        await asyncio.sleep(0.05)  # Time enough for a result that does not wait to end the session.
        text = f"9 euros for the {asked.messages[0].content.text}"
        return CreateMessageResult(role="assistant", model="m", content=TextContent(type="text", text=text))

    async def run() -> str:
        async with stdio_client(shop) as streams, ClientSession(*streams, sampling_callback=sampled) as session:
            await session.initialize()
            return said(await session.call_tool("guess", {"item": "owl"}))

    live, replayed, trace = both(tmp_path, lambda: asyncio.run(run()))

    assert live == replayed == "about 9 euros for the owl"
    assert trace.trajectory == ["guess"]


def test_a_server_that_cannot_be_started_fails_alike(tmp_path):
    async def run() -> str:
        try:
            async with Client(StdioServerParameters(command="no-such-program-anywhere")):
                return "started"
        except BaseException as error:
            return type(innermost(error)).__name__

    live, replayed, _ = both(tmp_path, lambda: asyncio.run(run()))

    assert live == replayed == "FileNotFoundError"


def test_a_tool_that_asks_a_server_is_one_call_though_its_client_began_outside_of_it(tmp_path, shop):
    async def buy() -> list[str]:
        async with Client(shop) as client:

            @tool
            async def price(item: str) -> str:
                return said(await client.call_tool("price", {"item": item}))

            return [await price("owl"), await price("owl"), said(await client.call_tool("price", {"item": "owl"}))]

    live, replayed, trace = both(tmp_path, lambda: asyncio.run(buy()))

    assert live == replayed == ["owl: 3 euros"] * 3
    assert [(span.origin, span.parent) for span in trace.spans] == [
        ("agentops", None), ("agentops", None), ("mcp", 1), ("mcp", 2), ("mcp", None),
    ]  # fmt: skip
    assert trace.trajectory == [asked_for("price", item="owl")] * 3


# --- MCP over HTTP, and in memory ------------------------------------------------------------------------------------


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The address of an application on loopback."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # A client may come before the server runs.
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def shop_server() -> Any:
    from mcp.server import MCPServer

    server = MCPServer("shop")

    @server.tool()
    def price(item: str) -> str:
        """What it costs"""
        return f"{item}: {len(item)} euros"

    return server


def test_tools_over_http_come_off_the_wire(tmp_path):
    async def buy(url: str) -> list[str]:
        async with Client(f"{url}/mcp") as client:
            prices = await asyncio.gather(*(client.call_tool("price", {"item": item}) for item in ("owl", "kettle")))
            return list(map(said, prices))

    with served(shop_server().streamable_http_app()) as url:
        live = Session(tmp_path / "c.yaml", mode="all", name="test")
        with live.open():
            first = asyncio.run(buy(url))
        live.close("passed")
    session = Session(tmp_path / "c.yaml", mode="none", name="test")
    with session.open():
        second = asyncio.run(buy(url))
    session.check(teardown=True)
    trace = session.recording.freeze()

    assert first == second == ["owl: 3 euros", "kettle: 6 euros"]
    assert [(call.name, call.result) for call in trace.tool_calls] == [
        ("price", "owl: 3 euros"), ("price", "kettle: 6 euros"),
    ]  # fmt: skip
    assert trace.findings == ()
    assert replace(trace, source="imported") == Trace.from_cassette(tmp_path / "c.yaml")


def test_a_server_in_memory_needs_no_cassette(tmp_path):
    async def buy() -> str:
        async with Client(shop_server()) as client:
            return said(await client.call_tool("price", {"item": "owl"}))

    with watching(Recording("test")) as recording:
        assert asyncio.run(buy()) == "owl: 3 euros"

    assert recording.exchanges == ()
    assert recording.freeze().trajectory == ["price"]


# --- JSON-RPC, on values ---------------------------------------------------------------------------------------------


def call(method: str, params: dict[str, Any], id_: Any = 1, url: str = "http://shop.test/rpc") -> Request:
    body = {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}
    return Request("POST", url, (("content-type", "application/json"),), json.dumps(body).encode())


def answer(request: Request, *messages: dict[str, Any], number: int = 1, stream: bool = False) -> Exchange:
    whole = [json.dumps({"jsonrpc": "2.0", "id": 1, **message}).encode() for message in messages]
    kind = "text/event-stream" if stream else "application/json"
    body = b"".join(b"data: " + each + b"\n\n" for each in whole) if stream else whole[0]
    return Exchange(number, request, Response(200, "OK", (("content-type", kind),), body), timing=Timing(0.0, 1.0))


def test_numbers_and_trace_contexts_make_no_other_request():
    one = call("tools/call", {"name": "a", "_meta": {"traceparent": "00-1", "kept": 1}}, 1)
    same = call("tools/call", {"name": "a", "_meta": {"traceparent": "00-2", "kept": 1}}, "x")
    other = call("tools/call", {"name": "a", "_meta": {"kept": 2}}, 1)

    assert request_key(one) == request_key(same) != request_key(other)
    # An answer to a question of the server's is told apart by the question's number.
    answers = [
        Request("POST", one.url, body=json.dumps({"jsonrpc": "2.0", "id": n, "result": {}}).encode()) for n in (1, 2)
    ]
    assert request_key(answers[0]) != request_key(answers[1])


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_has_the_number_of_the_question(stream):
    recorded = answer(call("tools/call", {}), {"result": {"content": []}}, stream=stream)
    told = rpc.answered_as(recorded, call("tools/call", {}, "another"))

    assert [message["id"] for message in rpc.messages(told)] == ["another"]
    assert rpc.answered_as(recorded, call("tools/call", {})) is recorded


TASK = {"id": "t", "kind": "task", "status": {"state": "submitted"}}
STREAMS = {
    "0.3": (
        "message/stream",
        {"message": {"messageId": "m", "parts": [{"kind": "text", "text": "How much?"}]}},
        [
            {"result": TASK},
            {"result": {"taskId": "t", "kind": "status-update", "status": {"state": "working"}}},
            {
                "result": {
                    "taskId": "t",
                    "kind": "artifact-update",
                    "artifact": {"parts": [{"kind": "text", "text": "9"}]},
                }
            },
            {"result": {"taskId": "t", "kind": "status-update", "status": {"state": "completed"}, "final": True}},
        ],
    ),
    "1.0": (
        "SendStreamingMessage",
        {"message": {"messageId": "m", "parts": [{"text": "How much?"}]}},
        [
            {"result": {"task": {"id": "t", "status": {"state": "TASK_STATE_SUBMITTED"}}}},
            {"result": {"statusUpdate": {"taskId": "t", "status": {"state": "TASK_STATE_WORKING"}}}},
            {"result": {"artifactUpdate": {"taskId": "t", "artifact": {"parts": [{"text": "9"}]}}}},
            {"result": {"statusUpdate": {"taskId": "t", "status": {"state": "TASK_STATE_COMPLETED"}}}},
        ],
    ),
}


@pytest.mark.parametrize("version", STREAMS)
def test_a_delegation_tells_its_task(version):
    method, params, messages = STREAMS[version]
    card = Exchange(
        1,
        Request("GET", "http://shop.test/.well-known/agent-card.json"),
        Response(200, "OK", (), json.dumps({"name": "analyst", "url": "http://shop.test/rpc"}).encode()),
    )
    trace = trace_of([card, answer(call(method, params), *messages, number=2, stream=True)], source="live")

    (span,) = trace.spans
    assert (span.kind, span.name, span.input, span.output, span.error) == (
        "delegation", "analyst", {"message": "How much?"}, "9", None,
    )  # fmt: skip
    assert span.attributes == {"a2a.task.states": ["submitted", "working", "completed"], "a2a.task.id": "t"}
    assert [(each.name, each.result, each.status) for each in trace.tool_calls] == [("analyst", "9", "ok")]
    assert trace.findings == ()


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"error": {"code": -32603, "message": "out of owls"}}, "out of owls"),
        ({"result": {"id": "t", "status": {"state": "rejected"}}}, "the task ended as rejected"),
    ],
)
def test_a_delegation_that_failed_says_why(message, error):
    trace = trace_of([answer(call("message/send", {"message": {}}), message)], source="live")

    assert [(span.name, span.error) for span in trace.spans] == [("shop.test/rpc", error)]
    assert trace.tool_calls[0].status == "error"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"jsonrpc": "2.0"', b'{"jsonrpc": "2.0", "method": 3, "params": []}', b"null"]
)
def test_what_only_looks_like_it_is_no_tool(body):
    request = Request("POST", "http://shop.test/rpc", (), body)
    trace = trace_of([Exchange(1, request, Response(200, "OK", (), body))], source="live")

    assert trace.spans == ()


@pytest.mark.parametrize(
    "result", [None, 3, [], {}, {"content": 3}, {"content": [3, {"type": "image"}]}, {"isError": True}]
)
def test_whatever_a_server_answers_is_a_span_and_no_exception(result):
    for method, params in (("tools/call", {"name": 3, "arguments": []}), ("message/send", {"message": 3})):
        trace = trace_of([answer(call(method, params), {"result": result})], source="live")
        assert len(trace.spans) == 1
