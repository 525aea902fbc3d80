"""`python -m pytest_agentops` is `pytest-agentops`."""

from pytest_agentops.cli import main

raise SystemExit(main())
