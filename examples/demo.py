"""`make demo`: real agents' recorded runs, replayed offline, one that did the wrong thing, and what a change of its
prompt did to that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLES = Path(__file__).parent
REPORTS = EXAMPLES.parent / "demo-report"
TAKES = 10
"""How often each test of the prompt change was recorded."""

PYPROJECT = """\
[tool.pytest.ini_options]
addopts = "-p no:randomly -p no:cacheprovider -p no:asyncio"

[tool.agentops.gate]
regressed = "== 0"
pass_rate_drop = "<= 10%"
"""


def main() -> int:
    """Run the demo; 0 when the good runs pass and the bad one fails, as they should."""
    print("1. Two real agents, recorded once from a real model, replayed: no network, no key, no cost.\n", flush=True)
    passed = _pytest("support_agent", "research_bot", "-v")
    print("\n2. The same support agent with a weaker instruction. It refunded without looking or asking:\n", flush=True)
    failed = _pytest("support_agent/demo_failure.py")
    print("\n3. What that agent did, as a trace (pytest-agentops traces show CASSETTE):\n", flush=True)
    cassette = next((EXAMPLES / "support_agent" / "cassettes" / "demo_failure").glob("*.yaml"))
    _run([*_CLI, "traces", "show", str(cassette.relative_to(EXAMPLES))], EXAMPLES)
    print(
        "\n4. A pull request gives it a better prompt. Each test was recorded ten times with both versions:\n",
        flush=True,
    )
    changed = _pull_request()
    shown = REPORTS.relative_to(EXAMPLES.parent)
    print(f"\nThe same for a browser and as a comment on the pull request: {shown}/report.html, {shown}/report.md")
    print("Failing takes are what this model really did. Next: README.md, then make test.")
    return 0 if (passed, failed, changed) == (0, 1, 0) else 1


_CLI = [sys.executable, "-m", "pytest_agentops"]


def _environment() -> dict[str, str]:
    """The environment without what would make the runs go elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AGENTOPS_", "GIT_"))}
    who = {f"GIT_{role}_{what}": "demo" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**kept, **who}


def _run(command: list[str], folder: Path, *, quiet: bool = False) -> int:
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, cwd=folder, env=_environment(), stdout=output).returncode


def _pytest(*arguments: str) -> int:
    command = [sys.executable, "-m", "pytest", "--agentops-record=none", "-p", "no:cacheprovider", "--no-header"]
    return _run([*command, *arguments], EXAMPLES)


def _pull_request() -> int:
    """What a workflow runs on a branch that changes a prompt, in a repository made for it."""
    shutil.rmtree(REPORTS, ignore_errors=True)
    change = EXAMPLES / "prompt_change"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "support"
        root.mkdir()
        (root / "pyproject.toml").write_text(PYPROJECT)
        shutil.copy(EXAMPLES / "support_agent" / "agent.py", root / "agent.py")
        shutil.copy(change / "refunds.py", root / "test_refunds.py")
        _run(["git", "init", "-q", "-b", "main"], root)
        for state, message in (("before", "Refunds"), ("after", "Refunds only to those who prove who they are")):
            shutil.copytree(change / state, root, dirs_exist_ok=True)
            _run([*_CLI, "prompts", "lock"], root, quiet=True)
            _run(["git", "add", "-A"], root)
            _run(["git", "commit", "-q", "-m", message], root)
            _run(["git", "checkout", "-q", "-B", "topic"], root)
        reports = [f"--agentops-report={REPORTS / name}" for name in ("report.html", "report.md", "report.json")]
        trials = [f"--agentops-trials={TAKES}", "--agentops-record=none", "--tb=no", "--no-header", "-q"]
        return _run([sys.executable, "-m", "pytest", *trials, *reports], root)


if __name__ == "__main__":
    raise SystemExit(main())
