"""The page of troubleshooting shows the messages that people really meet."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_agentops.testing import Reply, Says, ScriptedModel, ScriptedRequest, TinyProject

Start = Callable[..., ScriptedModel]

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
TEST = """
    import os
    import socket
    import uuid

    def swallowed(work):
        try:
            work()
        except Exception:
            pass

    import httpx2

    URL = os.environ.get("MODEL_URL", "http://127.0.0.1:9/v1") + "/chat/completions"
    CLIENT = httpx2.Client(verify=False)

    def test_order(agent_trace):
        if os.environ.get("LEAK"):
            swallowed(lambda: socket.create_connection(("127.0.0.2", 9)))
        for question in filter(None, os.environ["QUESTIONS"].split(",")):
            body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": question}]}
            if os.environ.get("RANDOM"):
                body["metadata"] = {"run": str(uuid.uuid4())}
            CLIENT.post(URL, json=body)
"""


def echo(request: ScriptedRequest) -> Reply:
    return Says(f"re: {request.prompt}")


@pytest.fixture
def said(tiny_project: TinyProject, scripted_model: Start) -> Callable[..., str]:
    """What pytest says in a replay, after `recorded` was recorded."""
    tiny_project.write("test_shop.py", TEST)
    tiny_project.write("pyproject.toml", '[tool.pytest.ini_options]\n[tool.agentops]\nallow_hosts = ["!127.0.0.2"]\n')

    def run(recorded: str | None, asked: str, damage: str | bytes | None = None, **env: str) -> str:
        cassette = tiny_project.path / "cassettes/test_shop/test_order.yaml"
        if recorded is not None:
            where = {"MODEL_URL": scripted_model(echo).base_url, "QUESTIONS": recorded, **env}
            tiny_project.run("-q", env={**where, "LEAK": None})
        if damage is not None:
            cassette.parent.mkdir(parents=True, exist_ok=True)
            cassette.write_text(cassette.read_text()[:300] if damage == "cut" else str(damage))
        result = tiny_project.run("-q", "--agentops-record=none", env={"QUESTIONS": asked, **env})
        return re.sub(r"^E   ", "", result.stdout.replace(f"{tiny_project.path}/", ""), flags=re.MULTILINE)

    return run


def blocks() -> list[str]:
    return re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_every_message_on_the_page_is_one_that_is_printed(said: Callable[..., str]) -> None:
    printed = "\n".join(
        [
            said(None, "Where is order 42?"),
            said("Where is order 42?", "Where is order 43?"),
            said(None, "Where is order 42?,Where is order 42?"),
            said(None, "", LEAK="1", ),
            said(None, "", damage="cut"),
            said(None, "", damage="<<<<<<< HEAD\n"),
            said(None, "", damage="agentops: {format: 9}\ninteractions: []"),
            said(None, "", damage="interactions: ["),
        ]
    )  # fmt: skip
    printed = re.sub(r"_\w*errors\.\w+: ", "", re.sub(r"pytest_agentops\.errors\.\w+: |Failed: ", "", printed))
    elsewhere = (  # Provoked by the tests of journals, places and modes, which compare the same words.
        "agentops: what a killed run", "shared.yaml was not written", "  what a child process asks", "1 of 2 recorded",
        "  cause     the same request but for a value", "the client says something else on this WebSocket",
        "the client waits on this WebSocket",
    )  # fmt: skip
    missing = [block for block in blocks() if block.rstrip("\n") not in printed and not block.startswith(elsewhere)]
    assert missing == []


def test_the_messages_provoked_elsewhere_are_these_words() -> None:
    tests = Path(__file__).resolve().parent
    words = "\n".join(
        (tests / name).read_text()
        for name in ("test_journal.py", "test_places.py", "test_modes.py", "test_tape.py", "test_websockets.py")
    )
    for part in ("agentops: what a killed run had recorded was kept: 1 recording in .agentops/drafts",
                 "shared.yaml was not written: ", "what a child process asks can be neither recorded nor replayed",
                 "1 of 2 recorded replies were never asked for",
                 "cause     the same request but for a value that changes from run to run (uuid)",
                          "the client says something else on this WebSocket than was recorded (record mode: none)"):  # fmt: skip
        assert part in PAGE
        assert part in words
