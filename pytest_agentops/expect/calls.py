"""What is expected of one tool call."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
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


ANYTHING = type("Anything", (), {"__repr__": lambda _: "anything"})()
"""Stands for a result that nothing is asked of."""


@dataclass(frozen=True)
class ExpectedCall:
    """A tool call by name, and by as much of it as the test cares about."""

    name: str
    arguments: Mapping[str, Any]
    closed: bool = False
    """Whether there may be no other arguments."""
    result: Any = ANYTHING
    failed: bool = False
    provider: bool = False

    def exactly(self) -> ExpectedCall:
        """With these arguments and no others."""
        return replace(self, closed=True)

    def returning(self, result: Any) -> ExpectedCall:
        """With this result, which is matched as an argument is.

        A result is text as a rule. Where something else than a text or a regex is expected and the text is JSON, its
        value is looked at.

        Raises:
            ExpectationError: a generic type such as `list[int]`, or a call that is expected to fail.
        """
        _refuse_generics(result)
        if self.failed:
            raise ExpectationError(f"{self!r} is expected to fail, so that it returns nothing")
        return replace(self, result=result)

    def failing(self) -> ExpectedCall:
        """With an error for its result, where the provider's format or a framework tells an error from a result.

        Raises:
            ExpectationError: a result is expected of it already.
        """
        if self.result is not ANYTHING:
            raise ExpectationError(f"{self!r} is expected to return something, so that it cannot fail")
        return replace(self, failed=True)

    def by_provider(self) -> ExpectedCall:
        """Run by the provider itself, such as its web search."""
        return replace(self, provider=True)

    def mismatches(self, call: ToolCall) -> tuple[Difference, ...] | None:
        """Where this call is not as expected; None when it is."""
        if call.name != self.name:
            return (Difference("name", self.name, call.name),)
        return (*self._arguments(call), *self._outcome(call)) or None

    def _arguments(self, call: ToolCall) -> Iterator[Difference]:
        if not self.arguments and not self.closed:
            return
        if call.malformed is not None:
            yield Difference("", _Words("arguments that are JSON"), call.malformed)
        elif not isinstance(call.arguments, Mapping):
            yield Difference("", _Words("named arguments" if self.arguments else "no arguments"), call.arguments)
        else:
            for name, expected in self.arguments.items():
                yield from differences(expected, call.arguments.get(name, MISSING), name)
            for name, actual in call.arguments.items() if self.closed else ():
                if name not in self.arguments:
                    yield Difference(name, MISSING, actual)

    def _outcome(self, call: ToolCall) -> Iterator[Difference]:
        if self.provider and not call.by_provider:
            yield Difference("", _Words("a tool that the provider runs"), _Words("one that the agent runs"))
        if self.failed and call.status != "error":
            yield Difference("status", "error", call.status)
        if self.result is ANYTHING:
            return
        if call.status == "unanswered":
            yield Difference("result", self.result, _Words("nothing: it was not answered"))
        else:
            yield from differences(self.result, _result(self.result, call.result), "result")

    def __repr__(self) -> str:
        shown = repr(self.name)
        if self.arguments and all(name.isidentifier() for name in self.arguments):
            shown += "".join(f", {name}={described(value)}" for name, value in self.arguments.items())
        elif self.arguments:
            shown += f", {dict(self.arguments)!r}"
        marks = ".exactly()" * self.closed
        marks += "" if self.result is ANYTHING else f".returning({described(self.result)})"
        marks += ".failing()" * self.failed + ".by_provider()" * self.provider
        return f"call({shown}){marks}" if self.arguments or marks else shown


def _result(expected: Any, actual: Any) -> Any:
    if not isinstance(actual, str) or isinstance(expected, str | re.Pattern) or expected is str:
        return actual
    try:
        return json.loads(actual)
    except (ValueError, RecursionError):
        return actual


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


def content(value: Any) -> Hashable:
    """A key that two plain JSON values share exactly when one matches the other.

    Raises:
        TypeError: the value is no plain JSON, so that only asking it tells what it matches.
    """
    kind = type(value)
    if kind is bool:
        return (bool, value)
    if kind is float and math.isnan(value):
        return (float, "NaN")
    if value is None or kind in (str, int, float):
        return value  # type: ignore[no-any-return]
    if kind in (list, tuple):
        return (list, tuple(map(content, value)))
    if kind is dict and all(type(name) is str for name in value):
        return (dict, frozenset((name, content(inner)) for name, inner in value.items()))
    raise TypeError(f"{value!r} is no plain JSON")


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
