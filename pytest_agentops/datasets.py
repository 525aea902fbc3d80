"""Stub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


class _Missing:
    def __copy__(self):
        return self

    def __deepcopy__(self, _memo):
        return self


MISSING = _Missing()


@dataclass(frozen=True)
class Case:
    inputs: Mapping[str, object]
    message: str = ""
    expected: object = MISSING
    name: str = ""
    tags: tuple[str, ...] = ()
