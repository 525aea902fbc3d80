"""Frameworks at their newest releases: what they tell is in the trace, live, on replay and from the cassette alone."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_agentops.capture import Recording, watching
from pytest_agentops.cassette import Session
from pytest_agentops.testing import Asks, Says, ScriptedModel, ToolRequest
from pytest_agentops.trace import Trace

ROOT = Path(__file__).resolve().parent.parent
SHOPS = ROOT / "examples" / "frameworks"
CHAIN = ROOT / "examples" / "delegation" / "cassettes" / "test_delegation"
QUESTION = "Where is my order 42?"


def shop(name: str, needs: str, cassette: str, ask: Callable[[object], object] | None = None):
    return pytest.param(needs, name, SHOPS / "cassettes" / f"{cassette}.yaml", ask, id=cassette.rpartition("/")[2])


def answer(module) -> object:
    return module.answer(QUESTION)


EXAMPLES = [
    *(
        shop(f"{name}_shop", needs, f"test_frameworks/test_where_is_my_order[{name}_shop]", answer)
        for name, needs in (
            ("anthropic", "anthropic"),
            ("google_adk", "google.adk"),
            ("langchain", "langchain"),
            ("langgraph", "langgraph"),
            ("pydantic_ai", "pydantic_ai"),
            ("smolagents", "smolagents"),
        )
    ),
    shop("openai_agents_shop", "agents", "test_openai_agents_shop/test_the_desk_hands_over_to_orders", answer),
    shop(
        "openai_agents_shop", "agents", "test_openai_agents_shop/test_an_allowed_refund_is_paid",
        lambda module: module.refund("Please refund order 42.", allowed=True),
    ),
    shop(
        "openai_agents_shop", "agents", "test_openai_agents_shop/test_a_refund_that_nobody_allowed_is_not_paid",
        lambda module: module.refund("Please refund order 42.", allowed=False),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("needs", "name", "cassette", "ask"), EXAMPLES)
def test_a_replay_tells_what_the_cassette_tells(needs, name, cassette, ask):
    pytest.importorskip(needs, reason=f"{needs} is not installed")
    module = importlib.import_module(f"examples.frameworks.{name}")
    session = Session(cassette, mode="none", name="test")

    with session.open():
        said = ask(module)
        asyncio.run(said) if inspect.iscoroutine(said) else None
    session.check(teardown=True)

    replayed = session.recording.freeze()
    assert replace(replayed, source="imported") == Trace.from_cassette(cassette)
    assert Trace.from_json(replayed.to_json()) == replayed


def test_a_chain_of_agents_is_replayed_with_nobody_there():
    """Neither the analyst nor its database is started: what they did comes out of the cassette with the answer."""
    for needed in ("a2a", "mcp", "uvicorn"):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    from examples.delegation.reception import receive

    cassette = CHAIN / "test_the_reception_delegates_to_the_analyst.yaml"
    recorded = Trace.from_cassette(cassette)
    session = Session(cassette, mode="none", name="test")
    with session.open():
        asyncio.run(receive("How much did we sell in October?", recorded.spans[0].input["analyst_url"]))
    session.check(teardown=True)

    assert replace(session.recording.freeze(), source="imported") == recorded


def test_googles_client_on_the_bundled_server_replays_with_it_gone(tmp_path):
    pytest.importorskip("google.genai", reason="google-genai is not installed")
    from examples.frameworks.google_genai_shop import answer as ask

    script = (Asks(ToolRequest("look_up_order", {"order_id": 42})), Says("It was shipped on Monday."))
    traces = []
    with ScriptedModel(*script) as model:
        url = model.url
        for mode in ("all", "none"):
            session = Session(tmp_path / "c.yaml", mode=mode, name="test")
            with session.open():
                assert ask(QUESTION, url) == "It was shipped on Monday."
            session.close("passed")
            traces.append(session.recording.freeze())
            model.__exit__(None, None, None)

    assert traces[1] == replace(traces[0], source="replayed")
    assert replace(traces[1], source="imported") == Trace.from_cassette(tmp_path / "c.yaml")
    assert [(call.name, call.result) for call in traces[1].tool_calls] == [
        ("look_up_order", {"result": "electric kettle, shipped on Monday"})
    ]


def test_a_crew_is_told_by_its_roles():
    pytest.importorskip("crewai", reason="CrewAI wants openai below 3, and is tried in an environment of its own")
    from crewai import LLM, Agent, Crew, Task
    from crewai.tools import tool

    from examples.frameworks import shop

    script = (Asks(ToolRequest("look_up_order", {"order_id": 42})), Says("It was shipped on Monday."))
    with ScriptedModel(*script) as model, watching(Recording("test")) as recording:
        agent = Agent(
            role="orders", goal="answer", backstory="You know orders.", tools=[tool("look_up_order")(shop.look_up_order)],
            llm=LLM(model="openai/gpt-5-mini", base_url=model.base_url, api_key="any"),
        )  # fmt: skip
        task = Task(description=QUESTION, expected_output="a sentence", agent=agent)
        Crew(agents=[agent], tasks=[task]).kickoff()
    trace = recording.freeze()

    assert trace.agents == ("orders",)
    assert [(call.name, call.status, call.seconds is not None) for call in trace.tool_calls] == [
        ("look_up_order", "ok", True)
    ]


# --- the table of docs/frameworks.md ---------------------------------------------------------------------------------

BUILT_ON = {
    "anthropic": ("anthropic, client and a loop", ["test_frameworks/*[[]anthropic_shop*"]),
    "google_adk": ("google-adk", ["test_frameworks/*[[]google_adk_shop*"]),
    "langchain": ("LangChain, `create_agent`, streamed", ["test_frameworks/*[[]langchain_shop*"]),
    "langgraph": ("LangGraph", ["test_frameworks/*[[]langgraph_shop*"]),
    "openai": ("openai, client and a loop", ["../../support_agent/cassettes/test_support_agent/*"]),
    "agents": (
        "OpenAI Agents SDK", ["test_openai_agents_shop/*", "../../research_bot/cassettes/test_research_bot/*"],
    ),
    "pydantic_ai": ("pydantic-ai", ["test_frameworks/*[[]pydantic_ai_shop*"]),
    "smolagents": ("smolagents, `CodeAgent`", ["test_frameworks/*[[]smolagents_shop*"]),
    "a2a": ("A2A and MCP, decorators", ["../../delegation/cassettes/test_delegation/*"]),
}  # fmt: skip

COLUMNS: dict[str, Callable[[list[Trace]], bool]] = {
    "model calls": lambda traces: any(trace.model_calls for trace in traces),
    "tool calls": lambda traces: any(trace.tool_calls for trace in traces),
    "results": lambda traces: any(call.result is not None for trace in traces for call in trace.tool_calls),
    "tool times": lambda traces: any(call.seconds is not None for trace in traces for call in trace.tool_calls),
    "agents": lambda traces: any(trace.agents for trace in traces),
    "tools run by code": lambda traces: any(trace.program_calls for trace in traces),
    "handoffs": lambda traces: any(span.kind == "handoff" for trace in traces for span in trace.spans),
    "delegations": lambda traces: any(span.kind == "delegation" for trace in traces for span in trace.spans),
    "approvals": lambda traces: any(call.status == "denied" for trace in traces for call in trace.tool_calls),
}
"""What is looked for in the traces of each framework's examples."""


def rows() -> Iterator[str]:
    yield f"| built on | {' | '.join(COLUMNS)} | told by |"
    yield f"| --- |{' --- |' * len(COLUMNS)} --- |"
    for label, patterns in BUILT_ON.values():
        files = sorted(file for pattern in patterns for file in (SHOPS / "cassettes").glob(pattern))
        assert files, label
        traces = [Trace.from_cassette(file) for file in files]
        origins = sorted({span.origin for trace in traces for span in trace.spans})
        told = [holds(traces) for holds in COLUMNS.values()]
        cells = ["yes" if each else "-" for each in told]
        yield f"| {label} | {' | '.join(cells)} | {', '.join(['the wire', *origins])} |"


def test_the_table_of_the_docs_is_what_the_examples_cassettes_hold():
    text = (ROOT / "docs" / "frameworks.md").read_text(encoding="utf-8")

    begin, end = "<!-- table: from tests/test_frameworks.py -->\n", "\n<!-- end of table -->"
    shown = text[text.index(begin) + len(begin) : text.index(end)]
    assert shown.splitlines() == list(rows()), "\n".join(rows())
