"""Fixtures for the whole suite: those that we offer to everyone who tests agents."""

from pytest_agentops.testing import scripted_model, tiny_project

__all__ = ["scripted_model", "tiny_project"]
