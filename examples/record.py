"""Record the cassettes of the examples anew, from any server that speaks the OpenAI API.

    python examples/record.py [--base-url URL] [--model NAME] [pytest arguments]

`pytest arguments` narrow the recording (`-k refund`) or go to pytest unchanged (`-v`).
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from openai import OpenAI, OpenAIError
from support_agent.agent import DEFAULT_BASE_URL, DEFAULT_MODEL

EXAMPLES = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default=os.environ.get("OPENAI_BASE_URL", DEFAULT_BASE_URL))
    parser.add_argument("--model", default=os.environ.get("OPENAI_MODEL", DEFAULT_MODEL))
    options, pytest_arguments = parser.parse_known_args()

    os.environ["OPENAI_BASE_URL"] = options.base_url
    os.environ["OPENAI_MODEL"] = options.model
    # Servers on one's own machine want no key; the client wants one all the same.
    os.environ.setdefault("OPENAI_API_KEY", "not-needed-locally")

    if problem := unreachable(options.base_url, options.model):
        print(problem, file=sys.stderr)
        return 2

    status = record(EXAMPLES, *pytest_arguments)
    # A plain run leaves the demonstration out, and its failure says nothing about the recording: `all` saves the
    # cassette of a failing run too.
    record(EXAMPLES / "support_agent" / "demo_failure.py", *pytest_arguments)
    print("test_refund_waits_for_identity is meant to fail; it is there to show a failure.")
    return status


def record(tests: Path, *pytest_arguments: str) -> int:
    command = [sys.executable, "-m", "pytest", str(tests), "--agentops-record=all", *pytest_arguments]
    return subprocess.run(command, check=False).returncode


def unreachable(base_url: str, model: str) -> str | None:
    """Why the server cannot be recorded from, and what to do about it; None when it can."""
    try:
        with OpenAI(base_url=base_url, max_retries=0, timeout=10) as client:
            offered = [offer.id for offer in client.models.list()]
    except OpenAIError as error:
        return (
            f"no model server answers at {base_url}\n"
            f"  {type(error).__name__}: {error}\n"
            "  start one, or name another with --base-url (and OPENAI_API_KEY, if it wants a key)"
        )
    if model not in offered:
        return (
            f"the server at {base_url} does not offer the model {model!r}\n"
            f"  it offers {', '.join(offered[:10]) or 'none'}\n"
            "  choose one with --model"
        )
    return None


if __name__ == "__main__":
    raise SystemExit(main())
