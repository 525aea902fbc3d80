"""httpx2."""

from __future__ import annotations

import httpx2

from pytest_agentops.doctor.shapes import of_httpx

SHAPES = of_httpx(httpx2)
