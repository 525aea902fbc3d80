"""What our suite says at its end."""

import json

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was read of the cassettes of others, which a test hands over, from a worker too."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    for name, lines in (each for report in reports for each in report.user_properties):
        if name == "corpus":
            terminalreporter.section("cassettes of others, by provider")
            terminalreporter.write_line("\n".join(json.loads(lines)))
