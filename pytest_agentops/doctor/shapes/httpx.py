"""httpx."""

from __future__ import annotations

import httpx

from pytest_agentops.doctor.shapes import of_httpx

SHAPES = of_httpx(httpx)
