"""LangChain: an agent with a name, streamed."""

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from . import shop


def answer(question: str) -> str:
    model = ChatOpenAI(
        model=shop.MODEL, base_url=shop.BASE_URL, api_key=shop.API_KEY, timeout=shop.TIMEOUT, max_retries=0,
        temperature=0, max_tokens=200, stream_usage=True,
    )  # fmt: skip
    agent = create_agent(model, tools=[shop.look_up_order], system_prompt=shop.INSTRUCTIONS, name="orders")
    pieces = agent.stream({"messages": [("user", question)]}, stream_mode="messages")
    return "".join(str(piece.content) for piece, told in pieces if told["langgraph_node"] == "model")
