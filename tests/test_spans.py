"""What a program tells of itself: decorators and spans, and what they add to the trace that is read off the wire."""

from __future__ import annotations

import asyncio
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_agentops import agent, in_order, never, span, spans, task, tool
from pytest_agentops import call as asked_for
from pytest_agentops.capture import Recording, watching
from pytest_agentops.errors import ExpectationError
from pytest_agentops.spans import plain
from pytest_agentops.structure import RESPONSE_ID, STATUS, TOOL_CALL_ID, woven
from pytest_agentops.testing import Asks, Says, ScriptedModel, ToolRequest
from pytest_agentops.trace import Attempt, ModelCall, Span, ToolCall, Trace, Usage


def traced(run) -> Trace:
    with watching(Recording("test")) as recording:
        run()
        return recording.freeze()


def shown(trace: Trace) -> list[tuple[str, str, int | None]]:
    return [(each.kind, each.name, each.parent) for each in trace.spans]


@tool
def search(query: str, *, limit: int = 3) -> list[str]:
    return [query] * limit


@tool(name="remember")
async def keep(note: str) -> str:
    return f"kept {note}"


# --- decorators ------------------------------------------------------------------------------------------------------


def test_a_tool_that_the_program_runs_is_in_the_trajectory():
    trace = traced(lambda: (search("owls", limit=1), asyncio.run(keep("owls"))))

    assert trace.trajectory == [asked_for("search", query="owls", limit=1), "remember"]
    first, second = trace.program_calls
    assert (first.arguments, first.result, first.status, first.by_program) == (
        {"query": "owls", "limit": 1}, ["owls"], "ok", True,
    )  # fmt: skip
    assert (second.name, second.result) == ("remember", "kept owls")
    assert [step.model_call for step in trace.steps] == [None, None]
    assert trace.trajectory == in_order("search", "remember") & never("delete")


def test_agents_nest_and_what_they_run_is_theirs():
    @agent
    def researcher(question: str) -> str:
        search(question)
        return writer(question)

    @agent(name="scribe")
    def writer(question: str) -> str:
        search("style")
        with span("polish", mood="calm") as polish:
            polish.output = "done"
        return f"about {question}"

    trace = traced(lambda: researcher("owls"))

    assert shown(trace) == [
        ("agent", "researcher", None), ("tool", "search", 1), ("agent", "scribe", 1), ("tool", "search", 3),
        ("task", "polish", 3),
    ]  # fmt: skip
    assert trace.agents == ("researcher", "scribe")
    assert [call.arguments["query"] for call in trace.of(agent="scribe").tool_calls] == ["style"]
    assert trace.spans[4].attributes == {"mood": "calm"}
    assert trace.spans[4].output == "done"
    assert trace.spans[0].input == {"question": "owls"}
    assert trace.spans[2].output == "about owls"


def test_who_asks_for_an_agent_that_is_not_there_is_told_who_is():
    with pytest.raises(ExpectationError, match="there is no agent 'writer' in this run; there are: 'researcher'"):
        traced(agent(name="researcher")(lambda: search("x"))).of(agent="writer")
    with pytest.raises(ExpectationError, match="no agents are known"):
        traced(lambda: search("x")).of(agent="writer")


def test_an_error_is_told_and_goes_through():
    @tool
    def refund(order: int) -> None:
        raise LookupError(f"no order {order}")

    def run():
        with pytest.raises(LookupError):
            refund(order=7)

    (call,) = traced(run).tool_calls

    assert (call.status, call.result) == ("error", "LookupError: no order 7")
    assert traced(run).trajectory.successful == []


def test_generators_are_open_from_one_piece_to_the_next():
    @task
    def words():
        search("in between")
        yield "one "
        yield "two"

    @agent
    async def speaker():
        for word in words():
            search("outside of the task")
            yield word

    async def listen():
        return [word async for word in speaker()]

    trace = traced(lambda: asyncio.run(listen()))

    assert shown(trace) == [
        ("agent", "speaker", None), ("task", "words", 1), ("tool", "search", 2), ("tool", "search", 1),
        ("tool", "search", 1),
    ]  # fmt: skip
    assert trace.spans[0].output == trace.spans[1].output == "one two"


def test_a_generator_that_is_left_early_has_ended_and_has_not_failed():
    @task
    def endless():
        while True:
            yield "more"

    trace = traced(lambda: next(endless()))

    assert (trace.spans[0].error, trace.spans[0].output) == (None, "more")
    assert trace.spans[0].seconds is not None


def test_a_generator_takes_what_is_sent_and_returns_what_it_returned():
    @task
    def echo():
        said = yield "say"
        return said

    def run():
        running = echo()
        next(running)
        with pytest.raises(StopIteration) as stop:
            running.send("hello")
        assert stop.value.value == "hello"

    traced(run)
    run()


def test_the_methods_of_a_class_are_the_work_of_one_agent():
    @agent
    class Support:
        def run(self, order: int) -> str:
            return self.answer(order)

        def answer(self, order: int) -> str:
            search(f"order {order}")
            return "shipped"

        @property
        def mood(self) -> str:
            return "calm"

        def _secret(self) -> None: ...

    trace = traced(lambda: Support().run(42))

    assert shown(trace) == [("agent", "Support", None), ("tool", "search", 1)]
    assert trace.spans[0].input == {"order": 42}
    assert trace.agents == ("Support",)
    assert Support().mood == "calm"


def test_a_method_that_is_a_tool_is_one_whichever_of_its_objects_methods_calls_it():
    @agent
    class Support:
        def run(self, order: int) -> str:
            return self.look_up(order)

        @tool
        def look_up(self, order: int) -> str:
            return self.shown(order)

        def shown(self, order: int) -> str:
            return f"order {order}"

    class Clerk:
        @agent
        def ask(self) -> str:
            return self.look_up(7)

        @tool
        def look_up(self, order: int) -> str:
            return f"order {order}"

    trace = traced(lambda: (Support().run(42), Clerk().ask()))

    assert shown(trace) == [
        ("agent", "Support", None), ("tool", "look_up", 1), ("agent", "ask", None), ("tool", "look_up", 3),
    ]  # fmt: skip
    assert [(call.agent, call.arguments) for call in trace.tool_calls] == [
        ("Support", {"order": 42}), ("ask", {"order": 7}),
    ]  # fmt: skip


@pytest.mark.parametrize("records", [True, False])
def test_a_decorated_generator_hears_what_is_sent_and_thrown_into_it(records):
    """Recording or not: a context manager made of one may want to handle an error of its block."""
    heard: list[object] = []

    @contextmanager
    @task
    def calm():
        try:
            yield
        except ValueError as error:
            heard.append(str(error))

    @asynccontextmanager
    @task
    async def quiet():
        try:
            yield
        except ValueError as error:
            heard.append(str(error))

    @task
    async def echo():
        heard.append((yield "say"))

    async def run_async():
        async with quiet():
            raise ValueError("async")
        speaker = echo()
        await anext(speaker)
        with pytest.raises(StopAsyncIteration):
            await speaker.asend("sent")

    def run():
        with calm():
            raise ValueError("plain")
        asyncio.run(run_async())

    if records:
        assert [(each.name, each.error) for each in traced(run).spans] == [
            ("calm", None), ("quiet", None), ("echo", None),
        ]  # fmt: skip
    else:
        run()
    assert heard == ["plain", "async", "sent"]


def test_a_span_may_be_left_in_another_context_than_it_was_entered_in():
    """So does a web server with a generator that it streams: each piece is made in a copy of its context."""

    def pieces():
        with span("stream"):
            yield 1
            yield 2

    def run():
        stream = pieces()
        for _ in range(3):
            copy_context().run(next, stream, None)

    (streamed,) = traced(run).spans
    assert (streamed.error, streamed.seconds is None) == (None, False)


def test_what_was_handed_in_is_kept_as_it_was_when_the_call_began():
    @tool
    def pay(order: dict) -> dict:
        order["paid"] = True
        return order

    def run():
        pay({"id": 1})["thrown away"] = True

    (paid,) = traced(run).tool_calls
    assert (paid.arguments, paid.result) == ({"order": {"id": 1}}, {"id": 1, "paid": True})


def test_an_exception_that_cannot_say_what_it_is_goes_through():
    class Dumb(Exception):
        def __str__(self):
            raise RuntimeError

    @tool
    def fail() -> None:
        raise Dumb

    def run():
        with pytest.raises(Dumb):
            fail()

    assert traced(run).spans[0].error == "Dumb"


def test_a_callable_object_that_has_no_hash_may_be_a_tool():
    @dataclass
    class Adds:
        by: int

        def __call__(self, number: int) -> int:
            return number + self.by

    add = tool(name="add")(Adds(1))

    assert traced(lambda: add(2)).tool_calls[0].result == 3


def test_a_callable_object_may_be_a_tool_and_another_one_may_not():
    @tool
    class Add:
        def __call__(self, a: int, b: int) -> int:
            return a + b

    assert traced(lambda: Add()(1, b=2)).tool_calls[0].result == 3
    with pytest.raises(TypeError, match="@tool on a class needs __call__; Nothing has none"):
        tool(type("Nothing", (), {}))
    with pytest.raises(TypeError, match="a name is given as name="):
        tool("search")


def test_static_and_class_methods_are_decorated_too():
    class Shop:
        @tool
        @staticmethod
        def price(item: str) -> int:
            return len(item)

        @tool
        @classmethod
        def owner(cls) -> str:
            return cls.__name__

    trace = traced(lambda: (Shop.price("owl"), Shop.owner()))

    assert [(call.name, call.arguments, call.result) for call in trace.tool_calls] == [
        ("price", {"item": "owl"}, 3), ("owner", {}, "Shop"),
    ]  # fmt: skip


def test_decorated_functions_keep_their_names_and_what_they_take():
    assert search.__name__ == "search"
    assert search.__wrapped__.__annotations__["query"] == "str"
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'query'"):
        search()
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        traced(lambda: search())


def test_nothing_is_kept_where_nothing_records():
    assert spans.keeper is None
    assert search("owls") == ["owls"] * 3
    with span("quiet") as quiet:
        quiet.output = 1
    assert spans.current.get() is None


def test_a_tool_inside_a_tool_is_part_of_its_work():
    @tool
    def outer() -> list[str]:
        return search("inner")

    trace = traced(outer)

    assert trace.trajectory == ["outer"]
    assert shown(trace) == [("tool", "outer", None), ("tool", "search", 1)]


def test_threads_and_pools_work_inside_the_span_that_started_them():
    @agent
    def boss():
        thread = threading.Thread(target=search, args=("thread",))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(search, "pool").result()

    trace = traced(boss)

    assert [(each.name, each.parent) for each in trace.spans] == [("boss", None), ("search", 1), ("search", 1)]


def test_a_part_has_the_spans_that_began_in_it(tmp_path):
    from pytest_agentops.capture import AgentTrace

    with watching(Recording("test")) as recording:
        agent_trace = AgentTrace(recording)
        search("before")
        with agent_trace.part("second") as part:
            search("inside")

        assert [call.arguments["query"] for call in part.tool_calls] == ["inside"]
        assert [each.number for each in part.spans] == [1]
        assert len(agent_trace.spans) == 2
        search("after")
        assert len(agent_trace.program_calls) == 3


@dataclass
class Order:
    number: int
    note: object


class Refusing:
    def __str__(self):
        raise RuntimeError


class Bottomless(dict):
    def items(self):
        raise RuntimeError


class Nameless:
    @property
    def __class__(self):
        raise RuntimeError


@dataclass
class Unreadable:
    number: int

    def __getattribute__(self, name):
        if name == "number":
            raise RuntimeError
        return super().__getattribute__(name)


class Ratio(float):
    pass


class Level(IntEnum):
    HIGH = 3


class Mood(StrEnum):
    CALM = "calm"


class Bare:
    pass


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (Order(1, {2}), {"number": 1, "note": [2]}),
        ({1: (2, 3)}, {"1": [2, 3]}),
        (float("nan"), "nan"),
        ("\ud800", "\\ud800"),
        ("x" * 20_001, "x" * 20_000 + "… (20,001 characters)"),
        ([[[[[[[1]]]]]]], [[[[[["[1]"]]]]]]),
        ({"owls", "kettles", "hats"}, ["hats", "kettles", "owls"]),
        (Bare(), f"<{__name__}.Bare object>"),
        (16**1000, f"0x1{'0' * 1000}"),
        ({Refusing(): Refusing()}, {f"<{__name__}.Refusing object>": f"<{__name__}.Refusing object>"}),
        ([Bottomless(a=1)], ["{'a': 1}"]),
        ([Nameless()], [f"<{__name__}.Nameless object>"]),
        ([Unreadable(1)], [f"<{__name__}.Unreadable object>"]),
    ],
)
def test_what_json_does_not_know_is_kept_as_text(value, kept):
    assert plain(value) == kept


@pytest.mark.parametrize("value", [Ratio(0.5), Level.HIGH, Mood.CALM])
def test_a_number_or_text_of_a_kind_of_its_own_is_kept_as_one_that_yaml_can_write(value):
    assert plain(value) == value
    assert type(plain(value)) in (float, int, str)


def test_of_a_value_that_branches_without_end_a_part_is_kept():
    branching: list[object] = []
    branching += [branching] * 100

    assert len(plain(branching)) == 100


def test_an_object_that_cannot_be_shown_is_kept_as_what_it_is():
    assert plain(Refusing()).startswith("<")


def test_a_text_is_not_cut_through_a_secret():
    key = "sk-proj-" + "a1B2" * 12
    trace = traced(lambda: search(f"{'x' * 19_900} token={'y' * 50} key={key} and more"))

    assert "sk-proj" not in trace.to_json()
    assert trace.spans[0].input["query"].endswith(f"token={'y' * 50} key=… (20,027 characters)")


def test_a_secret_in_an_argument_is_not_kept():
    key = "sk-proj-" + "a1B2" * 12
    trace = traced(lambda: search(f"use {key}"))

    assert key not in trace.to_json()
    assert "[redacted" in trace.to_json().lower() or "REDACTED" in trace.to_json()


# --- with the wire ---------------------------------------------------------------------------------------------------


def ask(model: ScriptedModel, *messages: dict) -> dict:
    body = {"model": "gpt-5-mini", "messages": list(messages)}
    return httpx2.post(f"{model.base_url}/chat/completions", json=body).json()["choices"][0]["message"]


def shop(model: ScriptedModel) -> str:
    """A small agent with a loop of its own, whose tool the model asks for."""
    said = [{"role": "user", "content": "Where are the owls?"}]
    while True:
        answer = ask(model, *said)
        if not answer.get("tool_calls"):
            return answer["content"]
        said.append(answer)
        for call in answer["tool_calls"]:
            said.append({"role": "tool", "tool_call_id": call["id"], "content": str(search("owls", limit=1))})


def test_a_tool_that_a_model_asked_for_is_one_call_with_its_real_time():
    with ScriptedModel(Asks(ToolRequest("search", {"query": "owls", "limit": 1})), Says("here")) as model:
        trace = traced(agent(name="shop")(lambda: shop(model)))

    (call,) = trace.tool_calls
    assert (call.name, call.by_program, call.status, call.agent, call.id) == ("search", False, "ok", "shop", "call_1")
    assert call.seconds is not None
    assert trace.spans[call.span - 1].name == "search"
    assert trace.program_calls == ()
    assert [call.agent for call in trace.model_calls] == ["shop", "shop"]
    assert trace.response == "here"


def test_a_tool_that_a_worker_takes_from_a_queue_is_the_call_that_was_asked_for():
    """The worker had begun before, and of what its neighbours ask its own spans know nothing."""
    asked: queue.Queue[str | None] = queue.Queue()
    found: queue.Queue[list[str]] = queue.Queue()

    @agent
    def work():
        while (query := asked.get()) is not None:
            found.put(search(query, limit=1))

    def run():
        worker = threading.Thread(target=work)
        worker.start()
        said = [{"role": "user", "content": "Where are the owls?"}]
        said.append(answer := ask(model, *said))
        asked.put("owls")
        said.append({"role": "tool", "tool_call_id": answer["tool_calls"][0]["id"], "content": str(found.get())})
        ask(model, *said)
        asked.put(None)
        worker.join()

    with ScriptedModel(Asks(ToolRequest("search", {"query": "owls", "limit": 1})), Says("here")) as model:
        trace = traced(run)

    assert trace.program_calls == ()
    (call,) = trace.tool_calls
    assert (call.name, call.status, call.span, call.seconds is None) == ("search", "ok", 2, False)


def test_the_last_answer_of_an_agent_that_works_for_another_one_is_not_the_answer():
    with ScriptedModel(Says("the plan"), Says("checked")) as model:

        @agent
        def planner():
            ask(model, {"role": "user", "content": "plan"})
            checker()

        @agent
        def checker():
            ask(model, {"role": "user", "content": "check"})

        trace = traced(planner)

    assert trace.response == "the plan"
    assert trace.of(agent="checker").response == "checked"
    assert trace.of(agent="planner").usage == Usage(1, 2)


def test_what_the_program_runs_stands_between_the_calls_it_was_run_between():
    with ScriptedModel(Says("one"), Says("two")) as model:

        def run():
            ask(model, {"role": "user", "content": "1"})
            search("between")
            ask(model, {"role": "user", "content": "2"})
            search("after")

        trace = traced(run)

    assert [step.model_call and str(step.response) for step in trace.steps] == ["one", None, "two", None]
    assert [call.step for call in trace.program_calls] == [1, 3]
    assert [[call.name for call in turn.tool_calls] for turn in trace.turns] == [["search"], ["search"]]
    assert Trace.from_json(trace.to_json()) == trace


def test_parallel_agents_tell_the_same_in_whichever_order_they_run():
    """What an agent does is placed among its own calls, so that the pace of its neighbour does not matter."""

    def told(first: str, second: str):
        with ScriptedModel(lambda request: Says(f"re: {request.prompt}")) as model:

            @agent
            async def worker(name: str, turns: dict[str, asyncio.Event]):
                await turns[name].wait()
                ask(model, {"role": "user", "content": name})
                search(name)

            async def run():
                turns = {"a": asyncio.Event(), "b": asyncio.Event()}
                tasks = [asyncio.create_task(worker(name, turns)) for name in ("a", "b")]
                for name in (first, second):
                    turns[name].set()
                    await asyncio.sleep(0.05)
                await asyncio.gather(*tasks)

            return traced(lambda: asyncio.run(run()))

    one, other = told("a", "b"), told("b", "a")
    assert sorted((call.agent, call.arguments["query"]) for call in one.tool_calls) == sorted(
        (call.agent, call.arguments["query"]) for call in other.tool_calls
    )
    for trace in (one, other):
        asked = [(call.arguments["query"], str(trace.steps[call.step - 1].response)) for call in trace.program_calls]
        assert asked == [(query, f"re: {query}") for query, _ in asked]


@pytest.mark.parametrize("early", [True, False])
def test_nodes_that_a_graph_runs_beside_each_other_stand_alike_whichever_is_faster(early):
    diary = spans.Diary()
    graph = spans.OpenSpan("agent", "graph", "langchain")
    asking, looking = (spans.OpenSpan("task", name, "langchain", graph) for name in ("ask", "look"))

    diary.begin(graph, ())
    diary.begin(asking, ())
    if early:
        diary.sent(1, asking)
    diary.begin(looking, ())
    if not early:
        diary.sent(1, asking)

    told = diary.told(lambda value: value).spans
    assert [(each.name, each.after) for each in told] == [("graph", 0), ("look", 0), ("ask", 0)]


def test_a_framework_that_is_not_what_was_expected_costs_its_structure_and_not_the_test(monkeypatch):
    smolagents = pytest.importorskip("smolagents")
    monkeypatch.delattr(smolagents.Tool, "__call__")

    (finding,) = traced(lambda: search("owls")).findings

    assert finding.message == "this release of smolagents cannot be listened to: '__call__'"


def test_what_a_program_adds_to_the_tracing_of_the_openai_agents_sdk_outlives_the_recording(monkeypatch):
    """An agent's module may be imported, and say who gets its traces, in the middle of the first test that uses it."""
    pytest.importorskip("agents")
    from agents import tracing
    from agents.tracing import setup
    from agents.tracing.provider import DefaultTraceProvider

    class Counts(tracing.TracingProcessor):
        started = 0

        def on_span_start(self, _span):
            self.started += 1

        def on_trace_start(self, _trace): ...
        def on_trace_end(self, _trace): ...
        def on_span_end(self, _span): ...
        def shutdown(self): ...
        def force_flush(self): ...

    def run():
        with tracing.trace("run"), tracing.custom_span("work"):
            pass

    monkeypatch.setattr(setup, "GLOBAL_TRACE_PROVIDER", DefaultTraceProvider())
    counts = Counts()
    traced(lambda: (tracing.add_trace_processor(counts), run()))
    assert counts.started == 1
    run()
    assert counts.started == 2
    traced(run)
    assert counts.started == 3

    traced(lambda: tracing.set_tracing_disabled(True))
    run()
    assert counts.started == 3

    own = DefaultTraceProvider()
    traced(lambda: tracing.set_trace_provider(own))
    assert setup.GLOBAL_TRACE_PROVIDER is own


def test_a_release_of_the_openai_agents_sdk_without_approvals_is_listened_to(monkeypatch):
    pytest.importorskip("agents")
    from agents.run_state import RunState

    monkeypatch.delattr(RunState, "approve")

    assert traced(lambda: search("owls")).findings == ()


# --- weaving, on values ----------------------------------------------------------------------------------------------


def asks(number: int, *calls: ToolCall, named: str = "", span: int | None = None) -> ModelCall:
    return ModelCall(named or f"call-{number}", "openai", "m", tool_calls=calls, attempts=(Attempt(number),), span=span)


def test_a_call_that_only_a_span_knows_is_a_model_call():
    told = Span(
        1, "model", "tiny", output={"text": "hi", "tool_calls": [{"id": "c", "name": "search", "arguments": {"q": 1}}]},
        attributes={"gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 2, RESPONSE_ID: "r"}, after=0,
        seconds=1.0, origin="langchain",
    )  # fmt: skip
    (call,) = woven([], [told]).model_calls

    assert (call.id, call.model, str(call.response), call.usage) == ("r", "tiny", "hi", Usage(3, 2))
    assert [each.arguments for each in call.tool_calls] == [{"q": 1}]


def test_a_streamed_model_of_langchain_has_not_the_id_of_its_run():
    """It is another each time, so that a replay would not equal the run that was recorded."""
    langchain_openai = pytest.importorskip("langchain_openai")

    def run():
        with ScriptedModel(Says("Hello.")) as server:
            model = langchain_openai.ChatOpenAI(model="tiny", base_url=server.base_url, api_key="scripted")
            assert "".join(chunk.text for chunk in model.stream("Hi")) == "Hello."

    trace = traced(run)

    assert [each.kind for each in trace.spans] == ["model"]
    assert RESPONSE_ID not in trace.spans[0].attributes
    assert [call.id for call in trace.model_calls] == ["chatcmpl-1"]


@pytest.mark.parametrize("by", ["its id", "being asked in it", "an outer span"])
def test_a_call_seen_on_the_wire_and_in_a_span_is_one(by):
    outer = Span(1, "model", "m", output={"text": "hi"}, seconds=1.0)
    inner = Span(2, "model", "m", parent=1, output={"text": "hi"}, seconds=1.0)
    told = replace(outer, attributes={RESPONSE_ID: "r"}) if by == "its id" else outer
    within = {"its id": None, "being asked in it": 1, "an outer span": 2}[by]

    woven_ = woven([asks(1, named="r", span=within)], [told, inner] if by == "an outer span" else [told])

    assert len(woven_.model_calls) == 1


def test_tools_are_joined_by_id_then_by_name_and_arguments():
    wire = [ToolCall("search", {"q": 1}, id="a"), ToolCall("search", {"q": 2}, id="b")]
    second = Span(1, "tool", "search", input={"q": 2}, output="two", seconds=2.0, after=1)
    first = Span(2, "tool", "anything", output="one", seconds=1.0, after=1, attributes={TOOL_CALL_ID: "a"})

    (call,) = woven([asks(1, *wire)], [second, first]).model_calls

    assert [(each.result, each.seconds, each.status) for each in call.tool_calls] == [
        ("one", 1.0, "ok"), ("two", 2.0, "ok"),
    ]  # fmt: skip


def test_a_tool_that_ran_before_it_was_asked_for_was_run_by_the_program():
    told = woven([asks(5, ToolCall("search", {}, id="a"))], [Span(1, "tool", "search", seconds=1.0, after=4)])

    assert [call.name for call in told.program_calls] == ["search"]
    assert told.model_calls[0].tool_calls[0].status == "unanswered"
    assert (told.program_calls[0].step, told.model_calls[0].step) == (0, 1)


def test_what_the_wire_brought_back_counts_more_than_what_the_function_gave():
    wire = ToolCall("search", {}, result="as sent", status="ok", id="a")
    told = woven([asks(1, wire)], [Span(1, "tool", "search", output={"raw": 1}, seconds=0.5, after=1)])

    assert (told.model_calls[0].tool_calls[0].result, told.model_calls[0].tool_calls[0].seconds) == ("as sent", 0.5)


def test_a_tool_that_was_stopped_and_runs_once_more_is_still_one_call():
    stopped = Span(1, "tool", "refund", seconds=0.1, after=1, attributes={TOOL_CALL_ID: "a", STATUS: "pending"})
    resumed = Span(2, "tool", "refund", seconds=0.2, output="paid", after=1, attributes={TOOL_CALL_ID: "a"})
    told = woven([asks(1, ToolCall("refund", {}, id="a"))], [stopped, resumed])

    assert [(call.status, call.result, call.span) for call in told.model_calls[0].tool_calls] == [("ok", "paid", 2)]
    assert told.program_calls == ()


def test_a_tool_of_langgraph_that_waits_for_a_person_is_pending_and_then_one_call():
    langchain_openai = pytest.importorskip("langchain_openai")
    from langchain.agents import create_agent
    from langchain_core.tools import tool as langchain_tool
    from langgraph.checkpoint.memory import MemorySaver
    from langgraph.types import Command, interrupt

    @langchain_tool
    def refund(order: int) -> str:
        """Pay it back"""
        return f"{order}: {interrupt('May I?')}"

    seen = []
    with ScriptedModel(Asks(ToolRequest("refund", {"order": 4})), Says("Paid.")) as server:
        model = langchain_openai.ChatOpenAI(model="tiny", base_url=server.base_url, api_key="scripted")
        desk = create_agent(model, [refund], checkpointer=MemorySaver(), name="desk")
        config = {"configurable": {"thread_id": "1"}}
        with watching(Recording("test")) as recording:
            for said in ({"messages": [("user", "Hi")]}, Command(resume="yes")):
                desk.invoke(said, config)
                seen.append([(call.status, call.result) for call in recording.freeze().tool_calls])

    assert seen == [[("pending", None)], [("ok", "4: yes")]]


@pytest.mark.parametrize("status", ["denied", "pending"])
def test_a_framework_tells_that_a_tool_was_not_run(status):
    held = Span(1, "tool", "refund", attributes={STATUS: status, TOOL_CALL_ID: "a"}, after=1)
    (call,) = woven([asks(1, ToolCall("refund", {}, id="a"))], [held]).model_calls

    assert call.tool_calls[0].status == status


numbers = st.one_of(st.none(), st.integers(0, 9))
kinds = st.sampled_from(["agent", "tool", "task", "model", "handoff", "guardrail"])
names = st.sampled_from(["a", "b"])
any_span = st.builds(
    Span, number=st.integers(1, 9), kind=kinds, name=names, parent=numbers, after=st.integers(0, 5),
    output=st.one_of(st.none(), st.just("said"), st.just({"text": "hi", "tool_calls": [{}]})),
    error=st.one_of(st.none(), st.just("bad")), seconds=st.one_of(st.none(), st.just(1.0)),
    attributes=st.dictionaries(st.sampled_from([TOOL_CALL_ID, RESPONSE_ID, STATUS]), names, max_size=2),
)  # fmt: skip
any_call = st.builds(
    lambda number, within, tools: asks(number, *(ToolCall(name, id=id_) for name, id_ in tools), span=within),
    st.integers(1, 5), numbers, st.lists(st.tuples(names, names), max_size=3),
)  # fmt: skip


@given(st.lists(any_call, max_size=5, unique_by=lambda call: call.number), st.lists(any_span, max_size=9))
def test_whatever_spans_say_no_call_is_lost_or_counted_twice(calls, told):
    calls = sorted(calls, key=lambda call: call.number)
    result = woven(calls, told)

    wire = [call for call in result.model_calls if call.number]
    assert [(call.id, [each.name for each in call.tool_calls]) for call in wire] == [
        (call.id, [each.name for each in call.tool_calls]) for call in calls
    ]
    steps = [call.step for call in (*result.model_calls, *result.program_calls)]
    assert sorted(steps) == list(range(len(steps)))
    joined = [each.span for call in wire for each in call.tool_calls if each.span is not None]
    own = [call.span for call in result.program_calls]
    distinct = {each.number for each in told}
    assert len(joined + own) == len(set(joined + own)) or len(distinct) < len(told)
