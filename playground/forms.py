"""The form of a prompt's inputs, each by its kind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st
import ui

from pytest_agentops.errors import PromptInputError
from pytest_agentops.kinds import Field, typed

_EXACT = 2**53 - 1
"""Browsers know no greater whole number."""
_NOTHING = "(not given)"


def inputs_form(fields: Sequence[Field], key: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values that were filled in, by their names; what was left empty and need not be given is not among them."""
    filled: dict[str, Any] = {}
    beside: list[Any] = []
    for field in fields:
        first = _first(field, defaults)
        if not _is_short(field):
            place, beside = st.container(), []
        else:
            beside = beside or list(st.columns(2))
            place = beside.pop(0)
        with place:
            try:
                value = _widget(field, f"{key}/{field.name}/{field.kind}", first)
            except PromptInputError as error:
                ui.problem(error)
                continue
        if value is not None:
            filled[field.name] = value
    return filled


def _is_short(field: Field) -> bool:
    """Whether half of the width is enough; what is typed does not count, or a field would move while one types."""
    if field.kind in ("integer", "float", "boolean") or field.allowed:
        return True
    return field.kind == "string" and field.trust == "trusted" and len(_as_text(field, _first(field, {}))) <= 40


def _first(field: Field, defaults: Mapping[str, Any]) -> Any:
    for value in (defaults.get(field.name), field.default, field.example):
        if value is not None:
            return value
    return None


def _widget(field: Field, key: str, first: Any) -> Any:
    """The value of one field; None where it is not given."""
    about = ", ".join(["optional"] * (not field.required) + ["others write it"] * (field.trust == "untrusted"))
    label = ui.plain(f"{field.name} ({about})" if about else field.name)
    said: dict[str, Any] = {"label": label, "key": key, "help": ui.plain(field.description) or None}
    if field.allowed:
        return _choice(field, said, first)
    if field.kind == "boolean":
        _begin(key, bool(first))
        with st.container(height="stretch", vertical_alignment="center"):
            return st.toggle(**said)
    if field.kind in ("integer", "float"):
        return _number(field, said, first)
    if field.kind in ("image", "file"):
        _begin(key, first if isinstance(first, str) else "")
        return st.text_input(**said, placeholder="its URL, or a data: URL").strip() or None
    _begin(key, _as_text(field, first))
    height: Any = 68 if _is_short(field) else "content"
    text = st.text_area(**said, height=height, placeholder="" if field.kind == "string" else "JSON")
    if not text.strip() and (field.kind != "string" or not field.required):
        return None
    return typed(field, text)


def _choice(field: Field, said: dict[str, Any], first: Any) -> Any:
    allowed = [*field.allowed] if field.required else [_NOTHING, *field.allowed]
    _begin(said["key"], first if first in allowed else allowed[0], among=allowed)
    found = st.selectbox(**said, options=allowed, format_func=lambda value: str(value))
    return None if found is _NOTHING or found == _NOTHING else found


def _number(field: Field, said: dict[str, Any], first: Any) -> Any:
    if not isinstance(first, int | float) or abs(first) > _EXACT:
        first = None
    kind = int if field.kind == "integer" else float
    _begin(said["key"], None if first is None else kind(first))
    return st.number_input(**said, step=1 if kind is int else 0.1, value=None)


def _begin(key: str, first: Any, among: Sequence[Any] | None = None) -> None:
    """What stands in a field before anybody has typed in it."""
    if key not in st.session_state or (among is not None and st.session_state[key] not in among):
        st.session_state[key] = first


def _as_text(field: Field, value: Any) -> str:
    if value is None:
        return ""
    if field.kind == "string":
        return str(value)
    return json.dumps(value, ensure_ascii=False, indent=1 if len(str(value)) > 60 else None, default=str)
