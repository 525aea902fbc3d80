"""The names that people import from `pytest_agentops`."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import pytest_agentops
from pytest_agentops import errors, testing


@pytest.mark.parametrize("name", pytest_agentops.__all__)
def test_every_public_name_is_there_and_says_what_it_gives(name):
    value = getattr(pytest_agentops, name)

    assert inspect.getdoc(value)
    assert value.__name__ == name
    assert value.__module__.startswith("pytest_agentops.")


def test_the_public_names():
    assert pytest_agentops.__all__ == [
        "AgentTrace",
        "Message",
        "ModelCall",
        "Prompt",
        "PromptRepository",
        "Span",
        "Step",
        "ToolCall",
        "Trace",
        "Usage",
        "agent",
        "any_order",
        "at_least",
        "at_most",
        "before",
        "call",
        "exactly",
        "in_order",
        "includes",
        "judged",
        "matches_schema",
        "never",
        "no_cycle",
        "no_repeats",
        "one_of",
        "only",
        "only_tools",
        "optional",
        "repeated",
        "similar_to",
        "span",
        "task",
        "together",
        "tool",
    ]


def test_a_type_checker_sees_the_same_names():
    tree = ast.parse(Path(pytest_agentops.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]

    for_types = {alias.asname: f"{node.module}" for node in block.body for alias in node.names}

    assert sorted(for_types) == pytest_agentops.__all__
    assert all(getattr(pytest_agentops, name).__module__ == home for name, home in for_types.items())


def test_a_star_import_and_dir_give_the_public_names():
    namespace: dict[str, object] = {}
    exec("from pytest_agentops import *", namespace)

    assert sorted(namespace.keys() - {"__builtins__"}) == pytest_agentops.__all__
    assert dir(pytest_agentops) == pytest_agentops.__all__


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError) as error:
        _ = pytest_agentops.Tarce

    assert str(error.value) == "module 'pytest_agentops' has no attribute 'Tarce'"
    assert not hasattr(pytest_agentops, "anything_else")
    with pytest.raises(ImportError, match="cannot import name 'Tarce' from 'pytest_agentops'"):
        exec("from pytest_agentops import Tarce")


def test_a_name_is_the_same_object_each_time():
    assert pytest_agentops.call is pytest_agentops.call
    assert pytest_agentops.Trace is __import__("pytest_agentops.trace", fromlist=["Trace"]).Trace


def test_no_public_class_has_a_name_that_pytest_would_collect():
    names = [*pytest_agentops.__all__, *testing.__all__, *vars(errors)]

    assert [name for name in names if name.startswith("Test")] == []


def test_every_error_has_our_root_and_says_when_it_is_raised():
    raised = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == errors.__name__
    ]

    assert all(issubclass(value, errors.AgentopsError) and value.__doc__ for value in raised)
    drawn = errors.__doc__ or ""
    assert [value.__name__ for value in raised if value.__name__ not in drawn] == []


@pytest.mark.parametrize("name", testing.__all__)
def test_every_name_of_the_public_kit_says_what_it_gives(name):
    value = getattr(testing, name)

    assert name in ("Reply",) or inspect.getdoc(value)
