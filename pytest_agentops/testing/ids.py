"""Ids that count and a clock that stands: what a test says is the same each time."""

from __future__ import annotations

import threading
from collections import Counter


class CountingIds:
    """Ids that count from 1 for each prefix: `ids("call_")` is `call_1`, then `call_2`. Safe to share by threads."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, prefix: str) -> str:
        with self._lock:
            self._counts[prefix] += 1
            return f"{prefix}{self._counts[prefix]}"


class FixedClock:
    """A clock that stands at `start`, in seconds since 1970, until `advance` moves it."""

    def __init__(self, start: float = 1_700_000_000) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
