"""Where a prompt's body runs: Jinja2's immutable sandbox, in which nothing grows beyond bounds.

The author of a prompt may write any expression, so each one that makes something large out of something small is
measured before it is computed. What a user passes in may be as large as it likes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jinja2 import StrictUndefined, Template, Undefined, nodes
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

_ADDED = 1_000_000
"""Characters or items that one expression may add to what it is made from."""
_WHOLE = 100_000_000
"""Characters that one render, or one value in it, may have."""
_TURNS = 100_000
"""Turns of loops and calls that one render may take, all together."""
_MOST_BITS = 10_000
"""Of a whole number; Python writes out some 14,000 bits at most."""


@dataclass
class _Spent:
    """What a render has used so far."""

    turns: int = 0
    characters: int = 0


_spent: ContextVar[_Spent | None] = ContextVar("agentops_spent", default=None)
"""None while a template is compiled, where constants are computed already."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2's immutable sandbox, without what allocates beyond bounds or differs from one run to the next."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """The value of `left operator right`, if it has a reasonable size."""
        _check_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - Jinja2's names
        """The value of a call, if it has a reasonable size."""
        _turn()
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        if isinstance(owner, str | bytes | int | float):
            name = getattr(__obj, "__name__", "")
            if name == "join":
                args = tuple(map(list, args))
            _check_method(name, owner, args, kwargs)
        return super().call(__context, __obj, *args, **kwargs)

    marking: NodeTransformer | None = None
    """What else is done to the parsed templates."""

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        parsed: nodes.Template = _Measured().visit(super()._parse(source, name, filename))
        return self.marking.visit(parsed) if self.marking is not None else parsed


class Missing(StrictUndefined):
    """Refused wherever it is used, inside a list that is written out too."""

    __slots__ = ()
    __repr__ = StrictUndefined.__str__


class Absent(Undefined):
    """An optional input that was not given: it may be asked for, and is refused where it would be written out."""

    __slots__ = ()
    __str__ = __repr__ = __add__ = __radd__ = __getattr__ = __getitem__ = __call__ = (
        Undefined._fail_with_undefined_error
    )

    def __bool__(self) -> bool:
        return False


def sandbox(*, marking: NodeTransformer | None = None, **options: Any) -> Sandbox:
    """A sandbox with `range` alone among its functions; `options` are those of a Jinja2 environment."""
    made = Sandbox(undefined=Missing, finalize=_finalized, autoescape=False, **options)
    made.marking = marking
    made.globals.clear()
    made.globals["range"] = _range
    made.filters = dict(_FILTERS)
    return made


def rendered(template: Template, inputs: Mapping[str, Any]) -> str:
    """The text of a template of this sandbox.

    Raises:
        ValueError: it would grow beyond bounds.
    """
    token = _spent.set(_Spent())
    try:
        return template.render(inputs)
    finally:
        _spent.reset(token)


class _Measured(NodeTransformer):
    """Sends loops and `~` through filters, where they can be measured."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja2 looks for this name
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "counted", [], [], None, None).set_lineno(node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        parts = nodes.List(node.nodes).set_lineno(node.lineno)
        return nodes.Filter(parts, "concatenated", [], [], None, None).set_lineno(node.lineno)


def _turn() -> None:
    if spent := _spent.get():
        spent.turns += 1
        if spent.turns > _TURNS:
            raise ValueError(f"this takes more than {_TURNS:,} turns of loops and calls")


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _turn()
        yield item


def _range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > _TURNS:
        raise ValueError(f"range() of more than {_TURNS:,} items")
    return made


def _finalized(value: Any) -> Any:
    characters = _measure(value)
    if spent := _spent.get():
        spent.characters += characters
        if spent.characters > _WHOLE:
            raise ValueError(f"this renders to more than {_WHOLE:,} characters")
    return written(value)


def written(value: Any) -> Any:
    """A value as it is written out: what JSON has no other way to write, as JSON writes it, and null as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def _concatenated(parts: Sequence[Any]) -> str:
    values = [written(part) for part in parts]
    _measure(values)
    return "".join(map(str, values))


def _measure(value: Any) -> int:
    """The characters in a value; refused where its text would be huge, as that of a list of lists of one same list."""
    items, characters, waiting = 0, 0, [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            characters += len(each)
        elif isinstance(each, Mapping):
            waiting += [*each, *each.values()]
        elif isinstance(each, list | tuple | set | frozenset):
            waiting += each
        items += 1
        if characters > _WHOLE or items + len(waiting) > _ADDED:
            raise ValueError("this value is larger than a prompt needs")
    return characters


def _check_operation(operator: str, left: Any, right: Any) -> None:
    if operator == "+":
        if isinstance(left, str | list | tuple):
            _measure([left, right])
    elif operator == "%" and isinstance(left, str):
        _check_width(left, _PRINTF)
    elif isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        if operator != "%" and bits > _MOST_BITS:
            raise ValueError("this number is larger than a prompt needs")
    elif operator == "*":
        text, times = (right, left) if isinstance(left, int) else (left, right)
        if isinstance(times, int) and isinstance(text, str | bytes | list | tuple):
            _check_added(len(text) * times)


def _added(name: str, rule: Callable[..., object], /, *arguments: Any, **named: Any) -> object:
    try:
        return rule(*arguments, **named)
    except TypeError:
        raise TypeError(f"{name} does not take these arguments") from None


def _check_added(added: object) -> None:
    if isinstance(added, int) and added > _ADDED:
        raise ValueError(f"this makes a text or list of more than {_ADDED:,} items")


_PRINTF = re.compile(r"%(?:\([^)]*\))?[^a-zA-Z%]*(?:\d{4}|\*)")
_FORMAT = re.compile(r"\{[^{}]*:[^{}]*(?:\d{4}|\{)")


def _check_width(text: str, too_wide: re.Pattern[str]) -> None:
    if too_wide.search(text):
        raise ValueError("this format is wider than a prompt needs")


def _check_method(name: str, owner: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> None:
    if name in ("format", "format_map") and isinstance(owner, str):
        _check_width(owner, _FORMAT)
    elif name in _METHODS:
        _check_added(_added(name, _METHODS[name], owner, *arguments, **named))
    elif isinstance(owner, bytes) or name in ("encode", "translate", "to_bytes", "from_bytes"):
        raise ValueError(f"a prompt has no use for {type(owner).__name__}.{name}()")


_METHODS: Mapping[str, Callable[..., object]] = {
    "center": lambda _text, width, *_: width,
    "expandtabs": lambda text, tabsize=8: text.count("\t") * tabsize,
    "join": lambda separator, items: len(items) * len(separator),
    "ljust": lambda _text, width, *_: width,
    "replace": lambda text, old, new, *_: text.count(old) * len(new),
    "rjust": lambda _text, width, *_: width,
    "zfill": lambda _text, width: width,
}
"""What these methods may add, from their arguments."""

_ADDING: Mapping[str, Callable[..., object]] = {
    "batch": lambda _value, linecount, *_, **__: linecount,
    "center": lambda _value, width=80: width,
    "indent": lambda s, width=4, *_, **__: (str(s).count("\n") + 1) * _length(width),
    "join": lambda value, d="", *_, **__: len(value) * len(str(d)),
    "replace": lambda s, old, new, *_, **__: str(s).count(str(old)) * len(str(new)),
    "round": lambda _value, precision=0, *_, **__: abs(precision) * 100,
    "slice": lambda _value, slices, *_, **__: slices,
    "tojson": lambda value, indent=None: len(str(value)) * _length(indent or 0),
}
"""What these filters may add; the names of the parameters are Jinja2's."""

_USELESS = ("pprint", "random", "urlize", "wordwrap", "xmlattr")
"""Filters that answer differently each time, are for HTML, or multiply two texts."""


def _length(width: object) -> int:
    return width if isinstance(width, int) else len(str(width))


def _measuring(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, which looks at the size of things before it works."""
    skipped = 1 if hasattr(function, "jinja_pass_arg") else 0  # Jinja2 passes its own context first.

    @functools.wraps(function)
    def measuring(*arguments: Any, **named: Any) -> Any:
        passed, operands = arguments[:skipped], list(arguments[skipped:])
        if name == "join" and not isinstance(operands[0], str):
            operands[0] = list(operands[0])
        _measure(operands)
        if name == "format":
            _check_width(str(operands[0]), _PRINTF)
        elif name in _ADDING:
            _check_added(_added(name, _ADDING[name], *operands, **named))
        made = function(*passed, *operands, **named)
        return _spending(made) if name == "map" else made

    return measuring


def _spending(items: Iterable[Any]) -> Iterator[Any]:
    """The items, each of which may be made from little and be large."""
    characters = 0
    for item in items:
        characters += _measure(item)
        if characters > _WHOLE:
            raise ValueError(f"this makes more than {_WHOLE:,} characters")
        yield item


_FILTERS: Mapping[str, Callable[..., Any]] = {
    **{name: _measuring(name, function) for name, function in FILTERS.items() if name not in _USELESS},
    "concatenated": _concatenated,
    "counted": _counted,
}
