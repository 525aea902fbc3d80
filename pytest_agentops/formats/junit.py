"""What one test came to as properties of JUnit's XML, as pytest writes it with `--junitxml`."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_agentops.regression import Take


def properties(take: Take) -> Iterator[tuple[str, str]]:
    """Names and values of the properties: the figures that are known, the prompts, the findings."""
    for name, value in take.figures.items():
        if value is not None:
            yield f"agentops.{name.replace(' ', '_')}", f"{value:g}" if name in ("cost", "seconds") else f"{value:.0f}"
    for prompt, version in take.prompts.items():
        yield "agentops.prompt", f"{prompt}@{version}" if version else prompt
    for finding in take.findings:
        yield "agentops.finding", finding
    for criterion, score in take.scores.items():
        yield "agentops.score", f"{score:g} {criterion}"
