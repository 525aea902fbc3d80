"""`pytest-agentops playground`: prompts and models side by side, in a browser."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_agentops.errors import UsageError

ABOUT = "compare prompts and models side by side, in a browser"
FIRST_PORT = 8501


def add(parser: Any) -> None:
    """Add what this command takes."""
    parser.add_argument(
        "--port", type=int, metavar="N", help=f"the port on 127.0.0.1 (default: the first free one from {FIRST_PORT})"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address and open no browser")
    parser.set_defaults(run=_open)


def _open(options: argparse.Namespace) -> int:
    from pytest_agentops.settings import project_root, read_settings

    if find_spec("streamlit") is None or find_spec("openai") is None:
        raise UsageError('the playground needs the extra `playground`: pip install "pytest-agentops[playground]"')
    root = project_root(Path.cwd())
    read_settings(root)  # What cannot be used is said here, before a browser opens.
    os.chdir(root)
    port = options.port if options.port is not None else _free_port()
    print(f"playground of {root}\n  http://127.0.0.1:{port}   (stop it with Ctrl+C)", flush=True)
    return _run(app(), flags(port, headless=options.no_browser))


def app() -> Path:
    """The script that Streamlit runs: beside this package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent.parent
    return next(path for folder in (package, package.parent) if (path := folder / "playground" / "app.py").is_file())


def flags(port: int, *, headless: bool) -> list[str]:
    """What Streamlit is told: nobody else may connect, and nothing is sent to its makers."""
    from pytest_agentops.datasets import MOST_BYTES

    said = {
        "server.address": "127.0.0.1",
        "server.port": port,
        "server.headless": headless,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": MOST_BYTES // 1_000_000,
        "server.showEmailPrompt": False,
        "runner.magicEnabled": False,
        "runner.postScriptGC": False,  # It would go over every answer that is there, after each click and each tick.
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "type",
        "client.showErrorLinks": False,
        "logger.hideWelcomeMessage": True,
        **_THEME,
    }
    # A page of somebody else's, whose name was made to lead here, is not let in.
    hosts = [f"--server.allowedHosts={host}" for host in ("127.0.0.1", "localhost")]
    return hosts + [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in said.items()
    ]


_THEME = {
    "theme.baseRadius": "6px",
    "theme.baseFontSize": 15,
    "theme.headingFontSizes": '["1.35rem", "1.15rem", "1.05rem", "1rem", "1rem", "1rem"]',
    "theme.paddingTop": "0.6rem",
    "theme.light.primaryColor": "#3b5bdb",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f5f6f8",
    "theme.light.textColor": "#1d2129",
    "theme.light.borderColor": "#e1e4ea",
    "theme.dark.primaryColor": "#4c6ef5",
    "theme.dark.backgroundColor": "#12141a",
    "theme.dark.secondaryBackgroundColor": "#1b1e26",
    "theme.dark.textColor": "#e4e7ee",
    "theme.dark.borderColor": "#2c313c",
}


def _free_port() -> int:
    for port in range(FIRST_PORT, FIRST_PORT + 100):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise UsageError(f"no port from {FIRST_PORT} to {FIRST_PORT + 99} is free; name one: --port N")


def _run(script: Path, said: list[str]) -> int:
    from streamlit.web.cli import main

    try:
        main(["run", str(script), *said], prog_name="pytest-agentops playground")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    finally:
        sys.stdout.flush()
    return 0
