"""A reception that asks an analyst by A2A, which asks a database by MCP: three programs, one trace."""

import socket
import threading
from collections.abc import Iterator

import pytest

from pytest_agentops import call

pytest.importorskip("a2a", reason="a2a-sdk is not installed")
pytest.importorskip("mcp", reason="mcp is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from .analyst import app  # noqa: E402 - only where it can be imported.
from .reception import receive  # noqa: E402


@pytest.fixture
def analyst_url() -> Iterator[str]:
    """The address of the analyst, which is served while the test runs; a replay never asks it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # A client may come before the server runs.
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app(url), log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield url
        server.should_exit = True
        thread.join()


@pytest.mark.asyncio
async def test_the_reception_delegates_to_the_analyst(agent_trace, analyst_url):
    answer = await receive("How much did we sell in October?", analyst_url)

    assert agent_trace.agents == ("reception", "analyst")
    assert agent_trace.of(agent="reception").trajectory == ["ask_analyst"]
    assert agent_trace.of(agent="analyst").trajectory == [call("sales_of_month", month="October")]
    (delegation,) = [span for span in agent_trace.spans if span.kind == "delegation"]
    assert (delegation.name, delegation.attributes["a2a.task.states"][-1]) == ("analyst", "completed")
    assert "54.40" in answer
    assert agent_trace.response == answer
