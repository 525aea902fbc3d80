"""Which models are gone: a cassette recorded from one can be replayed and never be recorded again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

RETIRED: Mapping[str, str] = {
    # developers.openai.com/api/docs/deprecations
    "text-davinci-003": "2024-01-04",
    "gpt-3.5-turbo-0301": "2024-09-13",
    "gpt-3.5-turbo-0613": "2024-09-13",
    "gpt-4-vision-preview": "2024-12-06",
    "gpt-4-32k": "2025-06-06",
    "gpt-4.5-preview": "2025-07-14",
    "o1-preview": "2025-07-28",
    "o1-mini": "2025-10-27",
    "codex-mini-latest": "2026-01-16",
    "chatgpt-4o-latest": "2026-02-17",
    "computer-use-preview": "2026-07-23",
    "gpt-4o-audio-preview-2024-12-17": "2026-07-23",
    "gpt-4o-search-preview-2025-03-11": "2026-07-23",
    "gpt-4o-mini-search-preview-2025-03-11": "2026-07-23",
    "gpt-5-chat-latest": "2026-07-23",
    "gpt-5-codex": "2026-07-23",
    "gpt-5.1-chat-latest": "2026-07-23",
    "gpt-5.1-codex": "2026-07-23",
    "o3-deep-research": "2026-07-23",
    "o4-mini-deep-research": "2026-07-23",
    "gpt-3.5-turbo-0125": "2026-10-23",
    "gpt-3.5-turbo": "2026-10-23",
    "gpt-4-0613": "2026-10-23",
    "gpt-4": "2026-10-23",
    # platform.claude.com/docs/en/about-claude/model-deprecations
    "claude-2.0": "2025-07-21",
    "claude-2.1": "2025-07-21",
    "claude-3-sonnet-20240229": "2025-07-21",
    "claude-3-5-sonnet-20240620": "2025-10-28",
    "claude-3-5-sonnet-20241022": "2025-10-28",
    "claude-3-opus-20240229": "2026-01-05",
    "claude-3-7-sonnet-20250219": "2026-02-19",
    "claude-3-5-haiku-20241022": "2026-02-19",
}
"""The day on which each model was shut down, as its maker announced it; a project adds its own under `models`."""


def retired(model: str, on: date, more: Mapping[str, str] | None = None) -> date | None:
    """The day on which this model was shut down, where that is not after `on`; None where it is not known to be."""
    day = {**RETIRED, **(more or {})}.get(model)
    gone = date.fromisoformat(day) if day else None
    return gone if gone is not None and gone <= on else None
