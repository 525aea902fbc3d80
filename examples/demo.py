"""`make demo`: two real agents' recorded runs, replayed offline through pytest, and one that did the wrong thing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent


def main() -> int:
    """Run the demo; 0 when the good runs pass and the bad one fails, as they should."""
    print("1. Two real agents, recorded once from a real model, replayed: no network, no key, no cost.\n", flush=True)
    passed = _pytest("support_agent", "research_bot", "-v")
    print("\n2. The same support agent with a weaker instruction. It refunded without looking or asking:\n", flush=True)
    failed = _pytest("support_agent/demo_failure.py")
    print("\n3. What that agent did, as a trace (pytest-agentops traces show CASSETTE):\n", flush=True)
    cassette = next((EXAMPLES / "support_agent" / "cassettes" / "demo_failure").glob("*.yaml"))
    subprocess.run(
        [sys.executable, "-m", "pytest_agentops.cli", "traces", "show", cassette.relative_to(EXAMPLES)], cwd=EXAMPLES
    )
    print("\nThe failure above is on purpose: it is what a regression looks like. Next: README.md, then make test.")
    return 0 if (passed, failed) == (0, 1) else 1


def _pytest(*arguments: str) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AGENTOPS_"))}
    command = [sys.executable, "-m", "pytest", "--agentops-record=none", "-p", "no:cacheprovider", "--no-header"]
    return subprocess.run([*command, *arguments], cwd=EXAMPLES, env=environment).returncode


if __name__ == "__main__":
    raise SystemExit(main())
