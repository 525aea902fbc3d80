# Needs python3 (3.11 or newer), git and make; everything else is put into .venv from requirements.lock.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test check bench lock clean

demo: $(READY)
	@$(BIN)/python examples/demo.py

# Compiled first: many tests start Python anew, and where the environment forbids bytecode each would compile it all.
test: $(READY)
	@$(BIN)/python -m compileall -q pytest_agentops
	$(BIN)/python -m pytest -n auto --maxprocesses 4

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

bench: $(READY) .bench/.ready
	@$(BIN)/python -m benchmarks

# Recorders that the benchmarks run beside us; they and ours' neighbours declare the same options of pytest.
.bench/.ready: benchmarks/peers.txt $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .bench -r benchmarks/peers.txt
	@touch $@

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with: make PYTHON=python3.11")'
	@echo "Setting up .venv (once; about a minute)"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Resolves the newest versions that pyproject.toml allows, for every Python it names.
lock: $(READY)
	$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
	  --no-header --no-annotate --upgrade -o requirements.lock pyproject.toml

clean:
	rm -rf .venv .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis .agentops dist build
