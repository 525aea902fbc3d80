"""Models: which are gone, so that what was recorded from them can be replayed alone, and where to ask the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from pytest_agentops.errors import SettingsError, did_you_mean

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


@dataclass(frozen=True)
class Price:
    """What a model costs, in US dollars for a million tokens."""

    input: float
    output: float
    cached_input: float | None = None
    """For input that the provider had in its cache; like other input, if not given."""

    def of(self, input_tokens: int, output_tokens: int, cached_input_tokens: int = 0) -> float:
        """What so many tokens cost, in US dollars."""
        cached = self.input if self.cached_input is None else self.cached_input
        fresh = input_tokens - cached_input_tokens
        return (fresh * self.input + cached_input_tokens * cached + output_tokens * self.output) / 1_000_000


@dataclass(frozen=True)
class Endpoint:
    """A model that can be asked, at a server that speaks OpenAI's chat completions."""

    name: str
    """What people call it; the name of its table in `[tool.agentops.models]`."""
    model: str
    """What the server calls it."""
    base_url: str | None = None
    """Where to ask, such as `http://127.0.0.1:11434/v1`; None for what `OPENAI_BASE_URL` says, or OpenAI itself."""
    key: str | None = None
    """The environment variable that holds the key; None where none is needed."""
    price: Price | None = None
    """What it costs, where the public tables do not know it or are wrong."""

    def lacks(self, environment: Mapping[str, str]) -> str | None:
        """The environment variable that has to be set before this can be asked; None where nothing is missing."""
        return self.key if self.key is not None and not environment.get(self.key) else None


@dataclass(frozen=True)
class Models:
    """What a project says of models, in `[tool.agentops.models]`."""

    gone: Mapping[str, str] = field(default_factory=dict)
    """Models that were shut down, with the day, besides those that everybody knows of."""
    served: Mapping[str, Endpoint] = field(default_factory=dict)
    """Models that can be asked, by the names that people call them."""

    @classmethod
    def from_table(cls, table: object, what: str) -> Models:
        """What a table says: a day for a model that is gone, a table for one that can be asked.

        Raises:
            SettingsError: it says something else; `what` tells where it stands.
        """
        if not isinstance(table, Mapping):
            raise SettingsError(
                f"{what} must be a table, such as {{local = {{base_url = 'http://127.0.0.1:8080/v1'}}}}"
            )
        gone, served = {}, {}
        for name, said in table.items():
            if isinstance(said, Mapping):
                served[str(name)] = _endpoint(str(name), said, f"{what}: {name}")
            else:
                gone[str(name)] = _day(said, f"{what}: {name}")
        return cls(gone, served)

    def endpoint(self, model: str) -> Endpoint:
        """Where to ask this model: as the project says, else OpenAI, or whoever `OPENAI_BASE_URL` names."""
        return self.served.get(model) or Endpoint(model, model, key="OPENAI_API_KEY")


_ABOUT = ("model", "base_url", "key", "price")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}")


def _day(said: object, what: str) -> str:
    try:
        return date.fromisoformat(str(said)).isoformat()
    except ValueError:
        raise SettingsError(
            f"{what} is the day on which the model was shut down, such as 2026-10-23, "
            f"or a table of: {', '.join(_ABOUT)}"
        ) from None


def _endpoint(name: str, said: Mapping[str, Any], what: str) -> Endpoint:
    for word in said:
        if word not in _ABOUT:
            raise SettingsError(f"{what} has no {word!r}{did_you_mean(word, _ABOUT)}; there are: {', '.join(_ABOUT)}")
    model, base, key = said.get("model", name), said.get("base_url"), said.get("key")
    if not isinstance(model, str) or not model:
        raise SettingsError(f"{what}.model must be the name by which the server knows the model")
    if base is not None and not _is_server(base):
        raise SettingsError(
            f"{what}.base_url must be an address such as http://127.0.0.1:11434/v1, with no user, key or query in it"
        )
    if key is not None and (not isinstance(key, str) or not _VARIABLE.fullmatch(key) or key.startswith("sk")):
        # What was written there may be the key itself, and is not repeated.
        raise SettingsError(f"{what}.key must be the name of an environment variable that holds the key, never a key")
    if key is None and base is None:
        key = "OPENAI_API_KEY"
    return Endpoint(name, model, base, key, _price(said.get("price"), f"{what}.price"))


def _is_server(base: object) -> bool:
    if not isinstance(base, str):
        return False
    try:
        parts = urlsplit(base)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port or 1) > 0
            and not (parts.username or parts.password or parts.query or parts.fragment)
        )
    except ValueError:
        return False


def _price(said: object, what: str) -> Price | None:
    if said is None:
        return None
    known = ("input", "output", "cached_input")
    if not isinstance(said, Mapping) or not {"input", "output"} <= set(said) <= set(known):
        raise SettingsError(f"{what} must be {{input = 0.25, output = 2.0}}, in US dollars for a million tokens")
    for word, value in said.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e6:
            raise SettingsError(f"{what}.{word} must be a number of US dollars for a million tokens, not {value!r}")
    return Price(**{word: float(value) for word, value in said.items()})
