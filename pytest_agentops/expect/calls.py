"""What is expected of one tool call."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pytest_agentops.errors import ExpectationError
from pytest_agentops.trace import ToolCall

MISSING = type("Missing", (), {"__repr__": lambda _: "nothing"})()
"""Stands for an argument that is not there, which is something else than one that is null."""


class _Words(str):
    """What is expected, where there is no value that could be shown."""

    __slots__ = ()
    __repr__ = str.__str__


_UNIONS = (Union, UnionType)


@dataclass(frozen=True)
class Difference:
    """One place where a call is not as expected."""

    path: str
    """The argument, such as `filter.queue[0]`; empty for the arguments as a whole."""
    expected: Any
    actual: Any

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        return f"{place}expected {described(self.expected)}, got {described(self.actual)}"


@dataclass(frozen=True)
class ExpectedCall:
    """A tool call by name, and by as many of its arguments as the test cares about."""

    name: str
    arguments: Mapping[str, Any]

    def mismatches(self, call: ToolCall) -> tuple[Difference, ...] | None:
        """Where this call is not as expected; None when it is."""
        if call.name != self.name:
            return (Difference("name", self.name, call.name),)
        if not self.arguments:
            return None
        if call.malformed is not None:
            return (Difference("", _Words("arguments that are JSON"), call.malformed),)
        if not isinstance(call.arguments, Mapping):
            return (Difference("", _Words("named arguments"), call.arguments),)
        found = []
        for name, expected in self.arguments.items():
            found += differences(expected, call.arguments.get(name, MISSING), name)
        return tuple(found) or None

    def __repr__(self) -> str:
        if not self.arguments:
            return repr(self.name)
        if all(name.isidentifier() for name in self.arguments):
            named = ", ".join(f"{name}={described(value)}" for name, value in self.arguments.items())
            return f"call({self.name!r}, {named})"
        return f"call({self.name!r}, {dict(self.arguments)!r})"


def call(name: str, arguments: Mapping[str, Any] | None = None, /, **named: Any) -> ExpectedCall:
    """A call of this tool with at least these arguments; others are free.

    The mapping serves names that Python cannot spell. A value matches as JSON does (`True` is not `1`, `1` is `1.0`),
    or by `==`, or as a compiled regex by search, a type by isinstance, a function by calling it, nested wherever it
    stands.

    Raises:
        ExpectationError: the name is no text, an argument is given twice, or one is a generic type such as `list[int]`.

    Example:
        ```python
        assert call("issue_refund", order_id=42, amount=re.compile(r"^19")) in agent_trace.trajectory
        ```
    """
    if not isinstance(name, str) or not name:
        raise ExpectationError(f"a call is expected by the name of its tool, not {name!r}")
    if arguments is not None and not isinstance(arguments, Mapping):
        raise ExpectationError(
            f"the arguments of call({name!r}, ...) are given by name or as a mapping, not {arguments!r}"
        )
    if twice := sorted(set(arguments or ()) & set(named)):
        raise ExpectationError(f"call({name!r}, ...) has {', '.join(twice)} in the mapping and by name")
    _refuse_generics([arguments, named])
    return ExpectedCall(name, {**(arguments or {}), **named})


def expected_call(wanted: object) -> ExpectedCall:
    """The expectation that a tool's name or `call(...)` stands for.

    Raises:
        ExpectationError: it is neither.
    """
    if isinstance(wanted, ExpectedCall):
        return wanted
    if isinstance(wanted, str):
        return call(wanted)
    raise ExpectationError(f"expected the name of a tool or call(name, ...), got {wanted!r}")


def differences(expected: Any, actual: Any, path: str) -> list[Difference]:
    """Where the actual value is not as expected: nothing when it is."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        found = []
        for key in [*expected, *(key for key in actual if key not in expected)]:
            inner = expected.get(key, MISSING), actual.get(key, MISSING)
            found += differences(*inner, f"{path}.{key}")
        return found
    if isinstance(expected, list | tuple) and isinstance(actual, list) and len(expected) == len(actual):
        found = []
        for index, pair in enumerate(zip(expected, actual, strict=True)):
            found += differences(*pair, f"{path}[{index}]")
        return found
    return [] if _matches(expected, actual) else [Difference(path, expected, actual)]


def _matches(expected: Any, actual: Any) -> bool:
    if actual is MISSING or expected is MISSING:
        return actual is expected
    if expected is None or isinstance(expected, bool | int | float | str):
        return _same_scalar(expected, actual)
    if isinstance(expected, list | tuple | Mapping):
        return False  # Its parts were compared already; here the two are of different kinds or lengths.
    if bool(expected == actual):
        return True
    if isinstance(expected, type):
        return isinstance(actual, expected) and not (expected in (int, float) and isinstance(actual, bool))
    if get_origin(expected) in _UNIONS:
        return any(_matches(kind, actual) for kind in get_args(expected))
    if isinstance(expected, re.Pattern):
        return isinstance(actual, str) and expected.search(actual) is not None
    return bool(expected(actual)) if callable(expected) else False


def _refuse_generics(value: Any) -> None:
    if isinstance(value, Mapping):
        for inner in value.values():
            _refuse_generics(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_generics(inner)
    elif get_origin(value) in _UNIONS:
        _refuse_generics(get_args(value))
    elif get_origin(value) is not None or value is Any:
        raise ExpectationError(f"{value!r} cannot be asked by isinstance; write a plain type, a value or a function")


def _same_scalar(expected: Any, actual: Any) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, float) and isinstance(actual, float) and math.isnan(expected):
        return math.isnan(actual)
    return bool(expected == actual)


def described(value: Any) -> str:
    """A value as a reader of a failure wants to see it."""
    if isinstance(value, re.Pattern):
        return f"re.compile({value.pattern!r})"
    if isinstance(value, type):
        return value.__name__
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    shown = repr(value)
    return shown if len(shown) <= 120 else f"{shown[:100]}... ({len(shown)} characters)"
