"""A research bot on the OpenAI Agents SDK: one agent plans searches, one searches, one writes the report."""

import asyncio
import os
import re
from pathlib import Path
from typing import Annotated

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, RunConfig, Runner, function_tool
from openai import AsyncOpenAI
from pydantic import BaseModel, Field

DEFAULT_MODEL = "qwen2.5-coder-1.5b-instruct"
DEFAULT_BASE_URL = "http://127.0.0.1:8195/v1"
"""The server the cassettes were recorded from."""

DOCUMENTS = Path(__file__).parent / "documents"

# Small models fill a list without bounds until they run out of tokens, so every list and text here has one.
Query = Annotated[str, Field(max_length=60)]
Question = Annotated[str, Field(max_length=150)]


class SearchPlan(BaseModel):
    searches: Annotated[list[Query], Field(min_length=2, max_length=3)]


class Report(BaseModel):
    short_summary: Annotated[str, Field(max_length=300)]
    markdown_report: Annotated[str, Field(max_length=1500)]
    follow_up_questions: Annotated[list[Question], Field(min_length=1, max_length=2)]


@function_tool
def search_documents(query: str) -> str:
    """Search the document collection and return the text of the best document.

    Args:
        query: A few words to look for.
    """
    return best_document(query)


def best_document(query: str) -> str:
    """The document that shares most words with the query; the file name decides between equals."""
    wanted = words(query)
    documents = [path.read_text(encoding="utf-8") for path in sorted(DOCUMENTS.glob("*.md"))]
    best = max(documents, key=lambda document: len(wanted & words(document)))
    return best if wanted & words(best) else "No document matches."


def words(text: str) -> set[str]:
    """The words that carry meaning, roughly: those of more than three letters."""
    return set(re.findall(r"[a-z]{4,}", text.casefold()))


class ResearchBot:
    """Researches a question in the documents: `await ResearchBot(planner=..., searcher=..., writer=...).run(question)`.

    The three arguments are the instructions of the three agents.
    """

    def __init__(self, *, planner: str, searcher: str, writer: str) -> None:
        self.planner = planner
        self.searcher = searcher
        self.writer = writer

    async def run(self, question: str) -> Report:
        # A client belongs to the event loop it was first used in, so each run makes its own.
        async with AsyncOpenAI(
            base_url=os.environ.get("OPENAI_BASE_URL", DEFAULT_BASE_URL),
            api_key=os.environ.get("OPENAI_API_KEY", "not-needed-locally"),
            max_retries=0,
            timeout=600,
        ) as client:
            model = OpenAIChatCompletionsModel(os.environ.get("OPENAI_MODEL", DEFAULT_MODEL), client)
            plan = await self._plan(question, model)
            findings = await asyncio.gather(*(self._search(query, model) for query in plan.searches))
            return await self._write(question, findings, model)

    async def _plan(self, question: str, model: OpenAIChatCompletionsModel) -> SearchPlan:
        planner = Agent(
            name="planner",
            instructions=self.planner,
            model=model,
            model_settings=ModelSettings(temperature=0, max_tokens=300),
            output_type=SearchPlan,
        )
        result = await Runner.run(planner, question, run_config=UNTRACED)
        return result.final_output_as(SearchPlan)

    async def _search(self, query: str, model: OpenAIChatCompletionsModel) -> str:
        searcher = Agent(
            name="searcher",
            instructions=self.searcher,
            model=model,
            # The SDK insists only until the tool was called, so this cannot go round in circles. Not every server
            # listens, so the instructions have to insist as well.
            model_settings=ModelSettings(temperature=0, max_tokens=200, tool_choice="required"),
            tools=[search_documents],
        )
        result = await Runner.run(searcher, f"Search the documents for: {query}", max_turns=3, run_config=UNTRACED)
        return f"## {query}\n{result.final_output}"

    async def _write(self, question: str, findings: list[str], model: OpenAIChatCompletionsModel) -> Report:
        writer = Agent(
            name="writer",
            instructions=self.writer,
            model=model,
            # A streamed answer tells the tokens it took only when asked to.
            model_settings=ModelSettings(temperature=0, max_tokens=500, include_usage=True),
            output_type=Report,
        )
        result = Runner.run_streamed(writer, "\n\n".join([f"# {question}", *findings]), run_config=UNTRACED)
        async for _ in result.stream_events():
            pass  # A user interface would show the text as it comes.
        return result.final_output_as(Report)


UNTRACED = RunConfig(tracing_disabled=True)
"""The SDK would otherwise upload a trace of each run to its vendor, whatever the base URL."""
