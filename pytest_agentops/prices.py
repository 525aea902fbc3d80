"""What a model call cost, by the tables of genai-prices, offline."""

from __future__ import annotations

import functools
import json
import math
import os
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from pytest_agentops.exchange import is_loopback
from pytest_agentops.trace import ModelCall, Usage


def priced(call: ModelCall, url: str, when: datetime | None) -> ModelCall:
    """The call with its cost in US dollars and the table that it came from, where both price and usage are known.

    `when` picks the prices of that day, so that an old recording keeps its cost; None means today.
    """
    if call.usage is None or not call.model or is_loopback(urlsplit(url).hostname or ""):
        return call  # Nobody has a price for a server on this machine; the tables need not be loaded to know that.
    cost = memory.cost(call.model, _base(url), call.usage, when)
    return call if cost is None else replace(call, cost=cost, priced_by=_table())


def cost(model: str, url: str, usage: Usage) -> float | None:
    """What so many tokens cost today, in US dollars; None where no price is known."""
    if is_loopback(urlsplit(url).hostname or ""):
        return None
    return memory.cost(model, _base(url), usage, None)


class _Memory:
    """Costs that were worked out before: importing the tables takes longer than replaying a small suite.

    They are those of one version of the tables and of one day each. The file may vanish, or hold anything.
    """

    def __init__(self) -> None:
        self._costs: dict[str, float | None] = {}
        self._path: Path | None = None
        self._kept = 0

    def open(self, path: Path) -> None:
        """Remember what is in this file, and later what is new."""
        self._path = path
        with suppress(OSError, ValueError, AttributeError, TypeError):
            found = json.loads(path.read_bytes())
            if found.get("table") == _table():
                self._costs |= {key: cost for key, cost in found["costs"].items() if isinstance(cost, float | None)}
        self._kept = len(self._costs)

    def close(self) -> None:
        """Write down what is new."""
        path, self._path = self._path, None
        if path is None or len(self._costs) == self._kept:
            return
        newest = dict(list(self._costs.items())[-_MOST:])
        with suppress(OSError):
            whole = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            whole.write_text(json.dumps({"table": _table(), "costs": newest}), encoding="utf-8")
            whole.replace(path)

    def cost(self, model: str, base: str, usage: Usage, when: datetime | None) -> float | None:
        """What this costs in US dollars; None where no price is known."""
        day = (when or datetime.now(UTC)).date().isoformat()
        counts = (
            usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens, usage.output_tokens,
            usage.input_audio_tokens, usage.cached_audio_tokens, usage.output_audio_tokens,
        )  # fmt: skip
        key = f"{model} {base} {'/'.join(map(str, counts))} {day}"
        if key not in self._costs:
            self._costs[key] = _cost(model, base, usage, when)
        return self._costs[key]


memory = _Memory()
_MOST = 10_000


def _cost(model: str, base: str, usage: Usage, when: datetime | None) -> float | None:
    import genai_prices

    try:
        cost = float(
            genai_prices.calc_price(
                genai_prices.Usage(
                    input_tokens=usage.input_tokens,
                    cache_read_tokens=usage.cached_input_tokens,
                    cache_write_tokens=usage.cache_write_tokens,
                    output_tokens=usage.output_tokens,
                    input_audio_tokens=usage.input_audio_tokens,
                    cache_audio_read_tokens=usage.cached_audio_tokens,
                    output_audio_tokens=usage.output_audio_tokens,
                ),
                model,
                provider_api_url=base,
                genai_request_timestamp=when,
            ).total_price
        )
    except (LookupError, ValueError, ArithmeticError):  # An unknown model has no price, nor have absurd counts.
        return None
    return cost if math.isfinite(cost) else None


def _base(url: str) -> str:
    return url.partition("?")[0]


@functools.cache
def _table() -> str:
    return f"genai-prices {version('genai-prices')}"
