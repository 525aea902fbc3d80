"""Expectations written as YAML, for datasets and policies: each loads to the value that Python writes, and back.

    all:
      - in_order: [lookup_order, {call: issue_refund, arguments: {order_id: 42, amount: {$type: float}}}]
      - before: [verify_identity, issue_refund]
      - at_most: {times: 2, call: search}
      - not: {includes: [delete_account]}

A list stands for `exactly`, a tool's name for a bare call. Values are plain; `$regex`, `$type` and `$value` (for a
mapping that has such a key itself) say what YAML has no words for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pytest_agentops import document
from pytest_agentops.errors import ExpectationError, did_you_mean
from pytest_agentops.expect import Either, Every, Expectation, Not
from pytest_agentops.expect.calls import ANYTHING, ExpectedCall, call
from pytest_agentops.expect.patterns import Element, Group, OneOf, Optional, Repeated, one_of, optional, repeated
from pytest_agentops.expect.responses import Judged, MatchesSchema, SimilarTo, judged, matches_schema, similar_to
from pytest_agentops.expect.trajectories import (
    Before,
    Counted,
    Exactly,
    InOrder,
    Never,
    NoCycle,
    NoRepeats,
    OnlyTools,
    Together,
    Unordered,
    any_order,
    at_least,
    at_most,
    before,
    exactly,
    in_order,
    includes,
    never,
    no_cycle,
    no_repeats,
    only,
    only_tools,
    together,
)

_TYPES = {kind.__name__: kind for kind in (bool, int, float, str, list, dict, type(None))}
_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE, "a": re.ASCII}


def from_yaml(text: str) -> Expectation:
    """The expectation that is written in this YAML.

    Raises:
        ExpectationError: it is no YAML, or says something that is no expectation; the message names the place.
    """
    import yaml

    try:
        data = document.parse(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ExpectationError(f"this is not YAML: {' '.join(str(error).split())}") from error
    return from_data(data)


def to_yaml(expectation: Expectation) -> str:
    """The expectation as YAML, from which `from_yaml` gives an equal one.

    Raises:
        ExpectationError: it holds what cannot be written, such as a function.
    """
    import yaml

    data = to_data(expectation)
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
    if _FOLDED.search(text):
        text = yaml.safe_dump(data, sort_keys=False, width=100)
    return text


_FOLDED = re.compile("[\x85\u2028\u2029\ufeff]")
"""Characters that PyYAML writes as they are and reads as something else."""


# --- reading ---------------------------------------------------------------------------------------------------------


def from_data(data: object, where: str = "the expectation") -> Expectation:
    """The expectation that this plain data stands for.

    Raises:
        ExpectationError: it stands for none; the message names the place.
    """
    if isinstance(data, list):
        return exactly(*_elements(data, where))
    word, said = _one(data, where, _FORMS, "a list of calls, or a mapping of one word")
    place = f"{where}.{word}"
    try:
        return _FORMS[word](said, place)
    except ExpectationError as error:
        # What the vocabulary itself refuses knows no place.
        known = str(error).startswith(where)
        raise error if known else ExpectationError(f"{place}: {error}") from None


def _one(data: object, where: str, known: Collection[str], wanted: str) -> tuple[str, Any]:
    if not isinstance(data, Mapping) or len(data) != 1:
        raise ExpectationError(f"{where} is {wanted}, not {_shown(data)}")
    [(word, said)] = data.items()
    if word not in known:
        hint = did_you_mean(word, known)
        raise ExpectationError(f"{where} has no word {word!r}{hint}; there are: {', '.join(known)}")
    return str(word), said


def _parts(said: object, where: str) -> tuple[Expectation, ...]:
    if not isinstance(said, list) or not said:
        raise ExpectationError(f"{where} is a list of expectations, not {_shown(said)}")
    return tuple(from_data(part, f"{where}[{index}]") for index, part in enumerate(said))


def _elements(said: object, where: str) -> list[Element]:
    if not isinstance(said, list):
        raise ExpectationError(f"{where} is a list of calls, not {_shown(said)}")
    return [_element(each, f"{where}[{index}]") for index, each in enumerate(said)]


def _element(data: object, where: str) -> Element:
    if isinstance(data, Mapping) and set(data) <= set(_PARTS):
        word, said = _one(data, where, _PARTS, "one part of a pattern")
        if word in ("any_order", "together"):
            calls = _calls(said, f"{where}.{word}")
            return (any_order(*calls) if word == "any_order" else together(*calls)).as_element()
        if word == "repeated":
            given = _fields(said, f"{where}.repeated", "of", ("min", "max"))
            return repeated(_element(given["of"], f"{where}.repeated.of"), given.get("min", 1), given.get("max"))
        inner = _elements(said, f"{where}.{word}")
        return optional(*inner) if word == "optional" else one_of(*inner)
    return _call(data, where)


_PARTS = ("optional", "one_of", "repeated", "any_order", "together")
"""What stands inside a pattern besides calls."""


def _calls(said: object, where: str) -> list[ExpectedCall]:
    if not isinstance(said, list):
        raise ExpectationError(f"{where} is a list of calls, not {_shown(said)}")
    return [_call(each, f"{where}[{index}]") for index, each in enumerate(said)]


def _call(data: object, where: str) -> ExpectedCall:
    if isinstance(data, str):
        return call(data)
    marks = ("arguments", "exactly", "returning", "failing", "by_provider")
    given = _fields(data, where, "call", marks)
    arguments = given.get("arguments", {})
    if not isinstance(arguments, Mapping):
        raise ExpectationError(f"{where}.arguments is a mapping, not {_shown(arguments)}")
    found = call(given["call"], {name: _value(value, f"{where}.arguments.{name}") for name, value in arguments.items()})
    for name in ("exactly", "failing", "by_provider"):
        if not isinstance(given.get(name, False), bool):
            raise ExpectationError(f"{where}.{name} is true or false, not {_shown(given[name])}")
    found = found.exactly() if given.get("exactly") else found
    found = found.returning(_value(given["returning"], f"{where}.returning")) if "returning" in given else found
    found = found.failing() if given.get("failing") else found
    return found.by_provider() if given.get("by_provider") else found


def _fields(data: object, where: str, needed: str, others: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(data, Mapping) or needed not in data:
        alone = {"call": "the name of a tool or ", "text": "a text or ", "criterion": "a text or "}.get(needed, "")
        raise ExpectationError(f"{where} is {alone}a mapping with {needed!r}, not {_shown(data)}")
    for name in data:
        if name != needed and name not in others:
            hint = did_you_mean(name, [needed, *others])
            raise ExpectationError(f"{where} has no {name!r}{hint}; there are: {', '.join([needed, *others])}")
    return data


def _value(data: Any, where: str) -> Any:
    if isinstance(data, list):
        return [_value(each, f"{where}[{index}]") for index, each in enumerate(data)]
    if not isinstance(data, Mapping):
        return data
    if not any(isinstance(name, str) and name.startswith("$") for name in data):
        return {name: _value(value, f"{where}.{name}") for name, value in data.items()}
    word, said = _one(data, where, ("$regex", "$type", "$value"), "one of $regex, $type and $value alone")
    if word == "$value":
        return said
    if word == "$type":
        if said not in _TYPES:
            raise ExpectationError(f"{where}.$type: there is no type {said!r}; there are: {', '.join(_TYPES)}")
        return _TYPES[said]
    try:
        flags, _, pattern = said.partition(":") if re.match(r"\(\?[imsxa]+\):", str(said)) else ("", "", said)
        return re.compile(pattern, sum(_FLAGS[each] for each in flags.strip("(?)")))
    except (re.error, TypeError) as error:
        raise ExpectationError(f"{where}.$regex: {said!r} is no regular expression: {error}") from None


def _counted(make: Callable[[int, object], Counted]) -> Callable[[Any, str], Expectation]:
    def read(said: Any, where: str) -> Expectation:
        given = _fields(said, where, "call", ("times", "arguments", "exactly", "returning", "failing", "by_provider"))
        if "times" not in given:
            raise ExpectationError(f"{where} needs a number of 'times'")
        rest = {name: value for name, value in given.items() if name != "times"}
        return make(given["times"], _call(rest, where))

    return read


def _pair(said: Any, where: str) -> Expectation:
    calls = _calls(said, where)
    if len(calls) != 2:
        raise ExpectationError(f"{where} is a list of two calls, not of {len(calls)}")
    return before(*calls)


def _names(said: Any, where: str) -> Expectation:
    if not isinstance(said, list):
        raise ExpectationError(f"{where} is a list of tools' names, not {_shown(said)}")
    return only_tools(*said)


def _text(needed: str, others: Sequence[str], make: Callable[..., Expectation]) -> Callable[[Any, str], Expectation]:
    """What is a text alone, or a mapping with it and more."""

    def read(said: Any, where: str) -> Expectation:
        return make(said) if isinstance(said, str) else make(**_fields(said, where, needed, others))

    return read


_FORMS: Mapping[str, Callable[[Any, str], Expectation]] = {
    "all": lambda said, where: Every(_parts(said, where)),
    "any": lambda said, where: Either(_parts(said, where)),
    "not": lambda said, where: Not(from_data(said, where)),
    "exactly": lambda said, where: exactly(*_elements(said, where)),
    "in_order": lambda said, where: in_order(*_elements(said, where)),
    "any_order": lambda said, where: any_order(*_calls(said, where)),
    "includes": lambda said, where: includes(*_calls(said, where)),
    "only": lambda said, where: only(*_calls(said, where)),
    "only_tools": _names,
    "together": lambda said, where: together(*_calls(said, where)),
    "never": lambda said, where: never(*_calls(said, where)),
    "at_least": _counted(at_least),
    "at_most": _counted(at_most),
    "before": _pair,
    "no_repeats": lambda said, _where: no_repeats(times=said),
    "no_cycle": lambda said, _where: no_cycle(times=said),
    "matches_schema": lambda said, _where: matches_schema(said),
    "similar_to": _text("text", ("at_least", "by"), similar_to),
    "judged": _text("criterion", ("model", "votes"), judged),
}
"""How what is said under each word is read."""


def _shown(data: object) -> str:
    shown = repr(data)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


# --- writing ---------------------------------------------------------------------------------------------------------


def to_data(expectation: Expectation) -> Any:
    """The expectation as plain data, from which `from_data` gives an equal one.

    Raises:
        ExpectationError: it holds what cannot be written, such as a function.
    """
    match expectation:
        case Every():
            return {"all": [to_data(part) for part in expectation.parts]}
        case Either():
            return {"any": [to_data(part) for part in expectation.parts]}
        case Not():
            return {"not": to_data(expectation.part)}
        case Exactly():
            return {"exactly": [_written(each) for each in expectation.elements]}
        case InOrder():
            return {"in_order": [_written(each) for each in expectation.elements]}
        case Unordered():  # Or one of its kinds.
            return {expectation.word: [_written(each) for each in expectation.calls]}
        case OnlyTools():
            return {"only_tools": list(expectation.names)}
        case Together():
            return {"together": [_written(each) for each in expectation.calls]}
        case Never():
            return {"never": [_written(each) for each in expectation.calls]}
        case Before():
            return {"before": [_written(expectation.first), _written(expectation.second)]}
        case Counted():
            times = expectation.least if expectation.most is None else expectation.most
            word = "at_least" if expectation.most is None else "at_most"
            return {word: {"times": times, **_call_written(expectation.call)}}
        case NoRepeats():
            return {"no_repeats": expectation.times}
        case NoCycle():
            return {"no_cycle": expectation.times}
        case MatchesSchema(schema=Mapping() as schema):
            return {"matches_schema": dict(schema)}
        case SimilarTo():
            return {"similar_to": {"text": expectation.text, "at_least": expectation.at_least, "by": expectation.by}}
        case Judged(client=None):
            asked = {"criterion": expectation.criterion, "model": expectation.model, "votes": expectation.votes}
            return {"judged": {name: value for name, value in asked.items() if value is not None}}
    raise ExpectationError(f"{expectation!r} cannot be written as YAML")


def _written(each: Element) -> Any:
    match each:
        case Optional():
            return {"optional": [_written(inner) for inner in each.elements]}
        case OneOf():
            return {"one_of": [_written(inner) for inner in each.elements]}
        case Repeated():
            return {"repeated": {"of": _written(each.element), "min": each.least, "max": each.most}}
        case Group():
            return {each.word: [_written(inner) for inner in each.calls]}
    assert isinstance(each, ExpectedCall)
    data = _call_written(each)
    return data["call"] if len(data) == 1 else data


def _call_written(each: ExpectedCall) -> dict[str, Any]:
    data: dict[str, Any] = {"call": each.name}
    if each.arguments:
        data["arguments"] = {name: _value_written(value) for name, value in each.arguments.items()}
    if each.result is not ANYTHING:
        data["returning"] = _value_written(each.result)
    for name, said in (("exactly", each.closed), ("failing", each.failed), ("by_provider", each.provider)):
        if said:
            data[name] = True
    return data


def _value_written(value: Any) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (list, tuple):
        return [_value_written(each) for each in value]
    if kind is dict and all(type(name) is str for name in value):
        plain = {name: _value_written(each) for name, each in value.items()}
        if not any(name.startswith("$") for name in value):
            return plain
        if plain == value:
            return {"$value": plain}
    if kind is re.Pattern and isinstance(value.pattern, str):
        flags = "".join(letter for letter, flag in _FLAGS.items() if value.flags & flag)
        return {"$regex": f"(?{flags}):{value.pattern}" if flags else value.pattern}
    if value in _TYPES.values():
        return {"$type": value.__name__}
    raise ExpectationError(f"{value!r} cannot be written as YAML; write a plain value, a regex or a plain type")
