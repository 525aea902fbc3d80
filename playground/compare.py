"""A page of the playground."""

from __future__ import annotations

import ui

with ui.page("Compare", ""):
    ui.empty("This page is not there yet.")
