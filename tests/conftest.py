"""The fixtures of the public test kit, for our own tests."""

from pytest_agentops.testing import scripted_model, tiny_project

__all__ = ["scripted_model", "tiny_project"]
