"""`python -m pytest_agentops.cli`."""

from __future__ import annotations

from pytest_agentops.cli import main

raise SystemExit(main())
