"""LangGraph: a graph with two nodes, one that thinks and one that runs tools."""

from langchain_core.messages import SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from . import shop

TOOLS = [tool(shop.look_up_order)]


def answer(question: str) -> str:
    model = ChatOpenAI(
        model=shop.MODEL, base_url=shop.BASE_URL, api_key=shop.API_KEY, timeout=shop.TIMEOUT, max_retries=0,
        temperature=0, max_tokens=200,
    ).bind_tools(TOOLS)  # fmt: skip

    def think(state: MessagesState) -> MessagesState:
        return {"messages": [model.invoke([SystemMessage(shop.INSTRUCTIONS), *state["messages"]])]}

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode(TOOLS))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")
    state = graph.compile().invoke({"messages": [("user", question)]})
    return str(state["messages"][-1].content)
