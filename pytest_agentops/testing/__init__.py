"""The public kit for testing agents: a scripted model server, deterministic ids and clock, and tiny pytest projects.

    from openai import OpenAI
    from pytest_agentops.testing import Asks, Says, ScriptedModel, ToolRequest

    with ScriptedModel(Asks(ToolRequest("get_order", {"id": 42})), Says("It has shipped.")) as model:
        client = OpenAI(base_url=model.base_url, api_key="scripted")

The same script answers clients of Anthropic, Google, Amazon Bedrock and others, which take `model.url`. In a
`conftest.py`, `from pytest_agentops.testing import scripted_model, tiny_project` makes both fixtures available.
"""

from __future__ import annotations

from pytest_agentops.testing.ids import CountingIds, FixedClock
from pytest_agentops.testing.projects import CommandRun, PytestRun, TinyProject, tiny_project
from pytest_agentops.testing.replies import Asks, Disconnects, Embeds, Fails, Reply, Says, ToolRequest
from pytest_agentops.testing.requests import ScriptedRequest
from pytest_agentops.testing.server import ScriptedModel, ScriptExhaustedError, scripted_model

__all__ = [
    "Asks",
    "CommandRun",
    "CountingIds",
    "Disconnects",
    "Embeds",
    "Fails",
    "FixedClock",
    "PytestRun",
    "Reply",
    "Says",
    "ScriptExhaustedError",
    "ScriptedModel",
    "ScriptedRequest",
    "TinyProject",
    "ToolRequest",
    "scripted_model",
    "tiny_project",
]
