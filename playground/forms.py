"""Stub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st
import ui

from pytest_agentops.kinds import Field


def inputs_form(fields: Mapping[str, Field], key: str, defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    given = {}
    for name, field in fields.items():
        default = (defaults or {}).get(name, field.default)
        text = st.text_input(ui.plain(name), "" if default is None else str(default), key=f"{key}.{name}")
        if text:
            given[name] = text
    return given
