"""The kinds of a prompt's inputs, its outputs and its tools' parameters: what each takes, and its JSON schema.

The names are those of Prompty v2 (`kind`, `required`, `nullable`, `default`, `enumValues`, `items`, `properties`).
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pytest_agentops.errors import PromptInputError, did_you_mean

ENDING = ".prompty"
"""Of the files of prompts."""

ROLES = ("system", "developer", "user", "assistant", "tool")

KINDS = ("string", "integer", "float", "boolean", "array", "object", "thread", "image", "file")
RICH = ("thread", "image", "file")
"""Kinds that are no text: messages, and parts of a message."""

_ELSEWHERE = {
    "str": "string", "text": "string", "int": "integer", "number": "float", "double": "float", "bool": "boolean",
    "list": "array", "dict": "object", "mapping": "object", "messages": "thread", "history": "thread",
}  # fmt: skip
"""What other formats call these kinds."""

KEYS = (
    "kind",
    "description",
    "required",
    "nullable",
    "default",
    "example",
    "enumValues",
    "items",
    "properties",
    "trust",
)


class Misdeclared(Exception):
    """A declaration that means nothing: where it stands in the front matter, and why."""

    def __init__(self, keys: Sequence[str | int], message: str) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


@dataclass(frozen=True)
class Field:
    """One input, output or parameter that a prompt declares."""

    name: str
    kind: str = "string"
    default: Any = None
    required: bool = True
    """Whether it must be given: by default where it has no default."""
    nullable: bool = False
    """Whether null is a value too."""
    trust: str = "trusted"
    """`untrusted` where others write it, such as a customer."""
    description: str = ""
    allowed: tuple[Any, ...] = ()
    """The only values it may have; any where there are none."""
    items: Field | None = None
    """What each item of an array is."""
    properties: tuple[Field, ...] = ()
    """What an object has; anything where there are none."""
    example: Any = field(default=None, compare=False)


# --- reading declarations --------------------------------------------------------------------------------------------


def declared(given: Any, keys: Sequence[str | int]) -> dict[str, Field]:
    """The fields of a declaration: a mapping from names, or a list of mappings with names.

    Raises:
        Misdeclared: it is something else, or one of its fields means nothing.
    """
    if given is None:
        return {}
    if isinstance(given, list):
        found = {}
        for index, each in enumerate(given):
            if not isinstance(each, Mapping) or not isinstance(each.get("name"), str):
                raise Misdeclared((*keys, index), f"{keys[-1]}: each item of the list is a mapping with a name")
            rest = {key: value for key, value in each.items() if key != "name"}
            found[each["name"]] = _field(each["name"], rest, (*keys, index))
        return found
    if not isinstance(given, Mapping):
        raise Misdeclared(keys, f"{keys[-1]} must be a mapping from names, not {told(given)}")
    return {str(name): _field(str(name), each, (*keys, name)) for name, each in given.items()}


def _field(name: str, given: Any, keys: Sequence[str | int]) -> Field:
    if isinstance(given, str):
        given = {"kind": given}
    if not isinstance(given, Mapping):
        raise Misdeclared(keys, f"{name!r} must be a mapping or a kind, not {told(given)}")
    for key in given:
        if key not in (*KEYS, "type"):
            raise Misdeclared(
                (*keys, key), f"{name!r} has no {key!r}{did_you_mean(key, KEYS)}; it may have {_listed(KEYS)}"
            )
    kind = given.get("kind", given.get("type", kind_of(given.get("default"))))
    if kind not in KINDS:
        other = _ELSEWHERE.get(str(kind).lower())
        hint = f"; did you mean {other!r}?" if other else did_you_mean(kind, KINDS)
        raise Misdeclared((*keys, "kind"), f"{name!r} has the unknown kind {kind!r}{hint}; there are: {_listed(KINDS)}")
    trust = given.get("trust", "trusted")
    if trust not in ("trusted", "untrusted"):
        raise Misdeclared((*keys, "trust"), f"{name!r} has trust {trust!r}; write trusted or untrusted")
    for flag in ("required", "nullable"):
        if not isinstance(given.get(flag, False), bool):
            raise Misdeclared((*keys, flag), f"{name!r}: {flag} is true or false, not {told(given[flag])}")
    allowed = given.get("enumValues") or ()
    if not isinstance(allowed, list | tuple):
        raise Misdeclared((*keys, "enumValues"), f"{name!r}: enumValues is a list of values, not {told(allowed)}")
    found = Field(
        name,
        kind=str(kind),
        default=given.get("default"),
        required=given.get("required", "default" not in given),
        nullable=given.get("nullable", False),
        trust=trust,
        description=str(given.get("description") or ""),
        allowed=tuple(allowed),
        items=_field("items", given["items"], (*keys, "items")) if given.get("items") is not None else None,
        properties=tuple(declared(given.get("properties"), (*keys, "properties")).values()),
        example=given.get("example"),
    )
    if given.get("default") is not None:
        try:
            return _with_default(found)
        except PromptInputError as error:
            raise Misdeclared(
                (*keys, "default"), f"{name!r} has a default that is none of its values: {error}"
            ) from None
    return found


def kind_of(value: Any) -> str:
    """The kind that a default tells of, where none is named."""
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "float"
        case list():
            return "array"
        case Mapping():
            return "object"
    return "string"


def _with_default(found: Field) -> Field:
    from dataclasses import replace

    return replace(found, default=taken(found, found.default, repr(found.name)))


# --- taking values ---------------------------------------------------------------------------------------------------


def taken(wanted: Field, value: Any, place: str) -> Any:
    """The value as a field of its kind takes it.

    Raises:
        PromptInputError: it is of another kind, or not among the allowed ones; the message begins with `place`.
    """
    if value is None:
        if wanted.nullable or not wanted.required:
            return None
        raise PromptInputError(f"{place} is None, and takes {_A[wanted.kind]}; declare it nullable or not required")
    found = _TAKE[wanted.kind](wanted, value, place)
    if wanted.allowed and found not in wanted.allowed:
        hint = did_you_mean(found, map(str, wanted.allowed))
        raise PromptInputError(f"{place} is {told(value)}{hint}; it may be {_listed(map(repr, wanted.allowed))}")
    return found


def typed(wanted: Field, text: str) -> Any:
    """The value that a person has typed: JSON for lists, mappings and messages, else the text itself.

    Raises:
        PromptInputError: it is no JSON.
    """
    if wanted.kind not in ("array", "object", "thread"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PromptInputError(f"{wanted.name} is of the kind {wanted.kind} and takes JSON: {error}") from None


def _refused(wanted: Field, value: Any, place: str) -> PromptInputError:
    return PromptInputError(f"{place} takes {_A[wanted.kind]}, not {told(value)}")


def _string(wanted: Field, value: Any, place: str) -> Any:
    if isinstance(value, Enum) and isinstance(value.value, str):
        return value.value
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | Decimal | UUID | date | time) and not isinstance(value, bool):
        return str(value)
    raise _refused(wanted, value, place)


def _integer(wanted: Field, value: Any, place: str) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,1000}\s*", value):
        return int(value)
    raise _refused(wanted, value, place)


def _float(wanted: Field, value: Any, place: str) -> Any:
    if isinstance(value, int | float | Decimal | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise _refused(wanted, value, place) from None
        if math.isfinite(number):
            return number
    raise _refused(wanted, value, place)


def _boolean(wanted: Field, value: Any, place: str) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise _refused(wanted, value, place)


def _array(wanted: Field, value: Any, place: str) -> Any:
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        inner = wanted.items
        return [item if inner is None else taken(inner, item, f"{place}[{index}]") for index, item in enumerate(items)]
    raise _refused(wanted, value, place)


def _object(wanted: Field, value: Any, place: str) -> Any:
    plain = _plain(value)
    if not isinstance(plain, Mapping):
        if wanted.properties or isinstance(plain, str | int | float | list | tuple | set | bytes):
            raise _refused(wanted, value, place)
        return value  # An object of the program's own; a body may read its attributes.
    if not wanted.properties:
        return plain
    known = {each.name: each for each in wanted.properties}
    for name in plain:
        if name not in known:
            raise PromptInputError(f"{place} has no {name!r}{did_you_mean(name, known)}; it has {_listed(known)}")
    for each in wanted.properties:
        if each.required and each.name not in plain:
            raise PromptInputError(f"{place} needs {each.name!r}")
    return {
        each.name: taken(each, plain.get(each.name, each.default), f"{place}.{each.name}") for each in wanted.properties
    }


def _plain(value: Any) -> Any:
    """A dataclass or a pydantic model as a mapping."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    dump = getattr(value, "model_dump", None)
    return dump() if callable(dump) and not isinstance(value, type) else value


def _thread(wanted: Field, value: Any, place: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _refused(wanted, value, place)
    return [_message(wanted, _plain(each), f"{place}[{index}]") for index, each in enumerate(value)]


def _message(wanted: Field, value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or "role" not in value:
        raise PromptInputError(f"{place} is a message with a role and content, not {told(value)}")
    if value["role"] not in ROLES:
        raise PromptInputError(
            f"{place} has the role {value['role']!r}{did_you_mean(value['role'], ROLES)}; there are: {_listed(ROLES)}"
        )
    if wanted.trust == "untrusted" and value["role"] in ("system", "developer"):
        raise PromptInputError(f"{place} is a {value['role']} message, and {wanted.name!r} is untrusted")
    if not isinstance(value.get("content", ""), str | list | None):
        raise PromptInputError(f"{place}.content is a text or a list of parts, not {told(value['content'])}")
    parts = value.get("content")
    if isinstance(parts, list) and not all(isinstance(part, Mapping) for part in parts):
        raise PromptInputError(
            f"{place}.content has a part that is no mapping, such as {{'type': 'text', 'text': ...}}"
        )
    for call in value.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not {"name", "arguments"} <= set(function) or "id" not in call:
            raise PromptInputError(f"{place}.tool_calls has a call without id, function.name and function.arguments")
    return {key: inner for key, inner in value.items() if inner is not None or key == "content"}


def _image(wanted: Field, value: Any, place: str) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"url": _data_url(bytes(value), place, "image/", "PNG, JPEG, GIF or WebP")}
    if isinstance(value, str):
        value = {"url": value}
    url = value.get("url") if isinstance(value, Mapping) else None
    if not isinstance(url, str) or not re.match(r"(?:https?://|data:image/)", url, re.IGNORECASE):
        raise _refused(wanted, value["url"] if isinstance(url, str) else value, place)
    return {key: inner for key, inner in value.items() if key in ("url", "detail")}


def _file(wanted: Field, value: Any, place: str) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        url = _data_url(bytes(value), place, "application/pdf", "PDF")
        return {"filename": f"{wanted.name}.pdf", "file_data": url}
    if isinstance(value, str):
        key = "file_data" if value.startswith("data:") else "file_url" if re.match("https?://", value) else "file_id"
        value = {"filename": wanted.name, key: value} if key == "file_data" else {key: value}
    if not isinstance(value, Mapping) or not {"file_id", "file_data", "file_url"} & set(value):
        raise _refused(wanted, value, place)
    return {key: inner for key, inner in value.items() if key in ("file_id", "filename", "file_data", "file_url")}


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)  # fmt: skip


def _data_url(data: bytes, place: str, wanted: str, what: str) -> str:
    kind = next((name for start, name in _SIGNATURES if data.startswith(start)), None)
    if kind is None and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "image/webp"
    if kind is None or not kind.startswith(wanted):
        raise PromptInputError(f"{place}: these bytes are no {what}; give a data: URL that says what they are")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


_TAKE: Mapping[str, Callable[[Field, Any, str], Any]] = {
    "string": _string, "integer": _integer, "float": _float, "boolean": _boolean, "array": _array, "object": _object,
    "thread": _thread, "image": _image, "file": _file,
}  # fmt: skip

_A = {
    "string": "a text",
    "integer": "a whole number",
    "float": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping or an object",
    "thread": "a list of messages",
    "image": "an image: its URL, a data: URL or its bytes",
    "file": "a file: its id, its URL, a data: URL or the bytes of a PDF",
}


def told(value: object) -> str:
    """A value in an error: what it is, and what it says where that is short."""
    names: dict[type, str] = {list: "a list", tuple: "a list", dict: "a mapping", type(None): "nothing"}
    if type(value) in names:
        return names[type(value)]
    if isinstance(value, str):
        return f"the text {value if len(value) <= 40 else f'{value[:37]}...'!r}"
    if isinstance(value, bool | int | float) and len(shown := str(value)[:60]) < 60:
        return f"{type(value).__name__} ({shown})"
    return type(value).__name__


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))


# --- JSON schema -----------------------------------------------------------------------------------------------------

_TYPES = {
    "string": "string",
    "integer": "integer",
    "float": "number",
    "boolean": "boolean",
    "array": "array",
    "object": "object",
}


def object_schema(properties: Sequence[Field], *, strict: bool) -> dict[str, Any]:
    """The JSON schema of an object with these fields.

    A strict one is what OpenAI's structured outputs take: each field is required, and one that may be missing may be
    null instead.
    """
    needed = [each.name for each in properties if strict or each.required]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {each.name: field_schema(each, strict=strict) for each in properties},
        "required": needed,
    }
    return {**schema, "additionalProperties": False} if strict else schema


def field_schema(wanted: Field, *, strict: bool) -> dict[str, Any]:
    """The JSON schema of the values of one field."""
    null = wanted.nullable or (strict and not wanted.required)
    kind = _TYPES.get(wanted.kind, "string")
    schema: dict[str, Any] = {"type": [kind, "null"] if null else kind}
    if wanted.description:
        schema["description"] = wanted.description
    if wanted.allowed:
        schema["enum"] = [*wanted.allowed, None] if null and None not in wanted.allowed else list(wanted.allowed)
    if wanted.kind == "array" and wanted.items is not None:
        schema["items"] = field_schema(wanted.items, strict=strict)
    if wanted.kind == "object" and wanted.properties:
        schema |= {
            key: value for key, value in object_schema(wanted.properties, strict=strict).items() if key != "type"
        }
    return schema


def closed(wanted: Field) -> bool:
    """Whether its schema says everything of its values, which a strict one has to."""
    if wanted.kind == "object":
        return bool(wanted.properties) and all(map(closed, wanted.properties))
    return wanted.kind != "array" or (wanted.items is not None and closed(wanted.items))


# --- what a change breaks --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Break:
    """One change of a contract."""

    path: str
    message: str
    breaking: bool
    """Whether a program that was right before may be wrong now."""


def input_changes(old: Sequence[Field], new: Sequence[Field], path: str = "inputs") -> Iterator[Break]:
    """What changed for programs that give these inputs."""
    for was, now, place in _paired(old, new, path):
        if was is None and now is not None:
            yield Break(place, f"added{', and required' if now.required else ', and optional'}", now.required)
        elif now is None:
            yield Break(place, "removed", breaking=True)
        elif was is not None:
            yield from _kind_changes(was, now, place)
            if was.required != now.required:
                yield Break(place, "is required now" if now.required else "is optional now", now.required)
            if was.nullable and not now.nullable:
                yield Break(place, "may not be null any more", breaking=True)
            if gone := [value for value in was.allowed if now.allowed and value not in now.allowed]:
                yield Break(place, f"may not be {_listed(map(repr, gone))} any more", breaking=True)
            if now.allowed and not was.allowed:
                yield Break(place, f"may only be {_listed(map(repr, now.allowed))} now", breaking=True)
            if was.trust != now.trust:
                yield Break(place, f"is {now.trust} now", breaking=False)
            if was.default != now.default:
                yield Break(place, f"has another default: {now.default!r}", breaking=False)
            if now.properties and not was.properties and was.kind == now.kind:
                yield Break(place, "may have nothing but its properties now", breaking=True)
            elif was.properties and now.properties:
                yield from input_changes(was.properties, now.properties, place)
            if was.items is None and now.items is not None:
                yield Break(f"{place}.items", f"is {now.items.kind} now, and was anything", breaking=True)
            elif was.items is not None and now.items is not None:
                yield from input_changes(_inner(was), _inner(now), place)


def output_changes(old: Sequence[Field], new: Sequence[Field], path: str = "outputs") -> Iterator[Break]:
    """What changed for programs that read these outputs."""
    for was, now, place in _paired(old, new, path):
        if was is None:
            yield Break(place, "added", breaking=False)
        elif now is None:
            yield Break(place, "removed", breaking=True)
        else:
            yield from _kind_changes(was, now, place)
            if was.required and not now.required:
                yield Break(place, "may be missing now", breaking=True)
            if now.nullable and not was.nullable:
                yield Break(place, "may be null now", breaking=True)
            if was.allowed and (new_ones := [value for value in now.allowed if value not in was.allowed]):
                yield Break(place, f"may be {_listed(map(repr, new_ones))} now", breaking=True)
            if was.allowed and not now.allowed:
                yield Break(place, "may be anything now", breaking=True)
            yield from output_changes(was.properties, now.properties, place)
            yield from output_changes(_inner(was), _inner(now), place)


def _kind_changes(was: Field, now: Field, place: str) -> Iterator[Break]:
    if was.kind != now.kind:
        yield Break(place, f"is {now.kind} now, and was {was.kind}", breaking=True)


def _inner(wanted: Field) -> tuple[Field, ...]:
    return (wanted.items,) if wanted.items is not None else ()


def _paired(old: Sequence[Field], new: Sequence[Field], path: str) -> Iterator[tuple[Field | None, Field | None, str]]:
    before, after = {each.name: each for each in old}, {each.name: each for each in new}
    for name in dict.fromkeys([*before, *after]):
        yield before.get(name), after.get(name), f"{path}.{name}"
