"""Three agents, two of them at the same time, one of them streamed: one trace."""

import pytest

from pytest_agentops import call

from .bot import ResearchBot


@pytest.fixture
def bot(prompts):
    roles = ("planner", "searcher", "writer")
    return ResearchBot(**{role: prompts[f"research/{role}"].render() for role in roles})


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.asyncio
async def test_report_follows_from_the_documents(agent_trace, bot):
    report = await bot.run("What keeps an agent from paying out too much money?")

    planned = agent_trace.model_calls[0].response.json()["searches"]
    assert agent_trace.trajectory == [call("search_documents", query=query) for query in planned]
    assert "Guardrails" in agent_trace.tool_calls[1].result

    # One call plans, two for each search (the tool, then the summary), one writes.
    assert len(agent_trace.model_calls) == 1 + 2 * len(planned) + 1
    assert agent_trace.response.json()["markdown_report"] == report.markdown_report
    assert "cost control" in report.markdown_report
    assert "guardrails" in report.markdown_report
    assert agent_trace.usage.total_tokens < 4_000


@pytest.mark.anyio
async def test_every_planned_search_reads_a_document(agent_trace, bot):
    await bot.run("How do I find out where an agent went wrong?")

    planned = agent_trace.model_calls[0].response.json()["searches"]
    assert agent_trace.trajectory == [call("search_documents", query=query) for query in planned]
    assert all(tool_call.result.startswith("# ") for tool_call in agent_trace.tool_calls)
    assert agent_trace.response.json()["follow_up_questions"]
