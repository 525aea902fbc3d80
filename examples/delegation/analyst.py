"""The analyst: an agent that others ask by A2A, and that asks the database by MCP."""

import json
import sys
from pathlib import Path

from a2a.helpers.proto_helpers import new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes.agent_card_routes import create_agent_card_routes
from a2a.server.routes.jsonrpc_routes import create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from mcp import Client, StdioServerParameters
from openai import AsyncOpenAI
from starlette.applications import Starlette

from examples.frameworks import shop
from pytest_agentops import agent

DATABASE = StdioServerParameters(command=sys.executable, args=[str(Path(__file__).with_name("database.py"))])
INSTRUCTIONS = "You are an analyst. Call sales_of_month once, then answer in one sentence with the numbers it gave."


@agent(name="analyst")
async def analyse(question: str) -> str:
    async with (
        Client(DATABASE) as database,
        AsyncOpenAI(base_url=shop.BASE_URL, api_key=shop.API_KEY, timeout=shop.TIMEOUT, max_retries=0) as client,
    ):
        offered = (await database.list_tools()).tools
        tools = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
            }
            for tool in offered
        ]
        messages: list = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": question}]
        while True:
            completion = await client.chat.completions.create(
                model=shop.MODEL, messages=messages, tools=tools, temperature=0, max_tokens=200
            )
            answer = completion.choices[0].message
            if not answer.tool_calls:
                return answer.content or ""
            messages.append(answer.model_dump(exclude_none=True))
            for call in answer.tool_calls:
                result = await database.call_tool(call.function.name, json.loads(call.function.arguments))
                text = "".join(part.text for part in result.content if part.type == "text")
                messages.append({"role": "tool", "tool_call_id": call.id, "content": text})


class Analyst(AgentExecutor):
    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        task = context.current_task
        if task is None:
            task = new_task_from_user_message(context.message)
            await event_queue.enqueue_event(task)
        updates = TaskUpdater(event_queue, task.id, task.context_id)
        await updates.start_work()
        await updates.add_artifact([new_text_part(await analyse(context.get_user_input()))], name="answer")
        await updates.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def app(url: str) -> Starlette:
    """The analyst as a web application that is served at this address."""
    card = AgentCard(
        name="analyst",
        description="Answers questions about the sales of the shop.",
        version="1.0.0",
        supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="sales", name="sales", description="What was sold, by month.", tags=["sales"])],
    )
    handler = DefaultRequestHandler(Analyst(), InMemoryTaskStore(), card)
    return Starlette(routes=[*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")])
