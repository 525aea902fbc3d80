"""Every example in the README and the docs runs, and everything that can be typed has its paragraph."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pytest_agentops import cli, plugin, settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

SUPPORT = """
import json

from openai import OpenAI

from pytest_agentops.testing import Asks, Says, ScriptedModel, ToolRequest

RESULTS = {"lookup_order": {"status": "paid"}, "verify_identity": {"ok": True}, "issue_refund": {"ok": True}}


class SupportAgent:
    def run(self, question):
        script = [
            Asks(ToolRequest("lookup_order", {"order_id": 42})),
            Asks(ToolRequest("verify_identity", {"order_id": 42})),
            Asks(ToolRequest("issue_refund", {"order_id": 42, "amount": 19.9, "reason": "arrived damaged"})),
            Says("I have refunded 19.90 to you."),
        ]
        messages = [{"role": "user", "content": question}]
        with ScriptedModel(*script) as model, OpenAI(base_url=model.base_url, api_key="any") as client:
            while True:
                answer = client.chat.completions.create(model="scripted", messages=messages).choices[0].message
                if not answer.tool_calls:
                    return answer.content
                messages.append(answer.model_dump(exclude_none=True))
                for call in answer.tool_calls:
                    result = json.dumps(RESULTS[call.function.name])
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


verdicts = ScriptedModel(lambda request: Says('{"reason": "It names the amount.", "verdict": "pass"}')).__enter__()
judge = OpenAI(base_url=verdicts.base_url, api_key="any")
"""

SHOP = """
from mcp.server import MCPServer

server = MCPServer("shop")


@server.tool()
def price(item: str) -> str:
    "What it costs"
    return f"{item}: 3 euros"


if __name__ == "__main__":
    server.run("stdio")
"""


def blocks(language: str) -> list[tuple[str, str]]:
    """The fenced blocks of this language, each with the page and line it stands at."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text[: block.start()].count("\n") + 1
            found.append((f"{page.relative_to(ROOT)}:{line}", block[1]))
    return found


@pytest.mark.parametrize(("place", "code"), blocks("python"), ids=[place for place, _ in blocks("python")])
def test_an_example_passes_live_and_replayed(place, code, tiny_project):
    [prompt] = re.findall(r"^```\n(---\n.*?)^```$", PAGES_TEXT, re.MULTILINE | re.DOTALL)
    tiny_project.write("support.py", SUPPORT)
    tiny_project.write("shop_server.py", SHOP)
    (tiny_project.path / "prompts" / "support").mkdir(parents=True)
    (tiny_project.path / "prompts" / "support" / "agent.prompty").write_text(prompt, encoding="utf-8")
    tiny_project.write("prompts/_shared/safety.prompty", "Be careful.")
    (tiny_project.path / "test_example.py").write_text(code, encoding="utf-8")

    for mode in ("once", "none"):
        run = tiny_project.run("-q", f"--agentops-record={mode}")
        assert run.outcomes == {"passed": code.count("def test_")}, run.stdout


PAGES_TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def test_every_option_of_pytest_has_its_paragraph(tiny_project):
    offered = set(re.findall(r"--agentops-[a-z-]+", tiny_project.run("--help").stdout))

    assert offered == set(re.findall(r"^### `(--agentops-[a-z-]+)`$", reference(), re.MULTILINE))


def test_every_setting_has_its_paragraph():
    assert set(settings._CHECKS) == set(re.findall(r"^### `([a-z_]+)`$", section("Settings"), re.MULTILINE))


def test_every_argument_of_the_marker_has_its_paragraph():
    assert set(plugin._MARKED) == set(re.findall(r"^### `([a-z]+)=`$", section("The marker"), re.MULTILINE))


def test_every_command_has_its_paragraph(tiny_project):
    commands = set()
    for area in cli.AREAS:
        shown = tiny_project.command(sys.executable, "-m", "pytest_agentops", area, "--help").stdout
        commands |= {f"pytest-agentops {area} {name}" for name in re.findall(r"^    ([a-z]+) ", shown, re.MULTILINE)}
    commands |= {f"pytest-agentops {name}" for name in cli.COMMANDS}

    assert commands == set(re.findall(r"^### `(pytest-agentops [a-z ]+)`$", reference(), re.MULTILINE))


def test_every_link_leads_somewhere():
    for page in [*PAGES, ROOT / "examples" / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def reference() -> str:
    return (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The part of the reference below this heading."""
    return reference().split(f"\n## {title}\n")[1].split("\n## ")[0]
