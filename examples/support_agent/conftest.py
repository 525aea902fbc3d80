"""The prompts of this example lie beside it, not in the project's own folder."""

from pathlib import Path

import pytest

from pytest_agentops import PromptRepository


@pytest.fixture(scope="session")
def prompts() -> PromptRepository:
    return PromptRepository(Path(__file__).parent / "prompts")
