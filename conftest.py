"""Fixtures for the whole suite: those that we offer to everyone who tests agents."""

from pathlib import Path

import pytest

from pytest_agentops.testing import TinyProject, scripted_model

__all__ = ["scripted_model"]


@pytest.fixture
def tiny_project(tmp_path: Path) -> TinyProject:
    """Our plugin alone: loading all that are installed here takes five times as long as the project's own tests."""
    return TinyProject(tmp_path, plugins=("agentops",))
