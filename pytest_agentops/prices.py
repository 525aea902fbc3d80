"""What a model call cost, by the tables of genai-prices, offline."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version

from pytest_agentops.trace import ModelCall, Usage


def priced(call: ModelCall, url: str, when: datetime | None) -> ModelCall:
    """The call with its cost in US dollars and the table that it came from, where both price and usage are known.

    `when` picks the prices of that day, so that an old recording keeps its cost; None means today.
    """
    if call.usage is None or not call.model:
        return call
    cost = _cost(call.model, _base(url), call.usage, when)
    return call if cost is None else replace(call, cost=cost, priced_by=_table())


@functools.lru_cache(maxsize=4096)
def _cost(model: str, base: str, usage: Usage, when: datetime | None) -> float | None:
    import genai_prices

    try:
        cost = float(
            genai_prices.calc_price(
                genai_prices.Usage(
                    input_tokens=usage.input_tokens,
                    cache_read_tokens=usage.cached_input_tokens,
                    output_tokens=usage.output_tokens,
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
