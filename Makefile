# Everything runs in .venv, which `make install` makes from the lock file.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin

.PHONY: install demo test coverage check bench chaos chaos-quick lock clean

install: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: install
	$(BIN)/broadcaster demo --port $(PORT)

test: install
	$(BIN)/python -m pytest $(ARGS)

# All of core, with branches, by the tests that need nothing but Python.
coverage: install
	$(BIN)/coverage run --parallel-mode -m pytest --quiet tests/core tests/test_interleavings.py
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include 'broadcaster/core/*' --fail-under 100

bench: install
	$(BIN)/python -m bench.fanout $(ARGS)

# Real faults at real servers; SEED=… plays the same again.
chaos: install
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(ARGS)

chaos-quick: install
	$(BIN)/python -m tests.chaos --quick $(if $(SEED),--seed $(SEED)) $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: install
	$(BIN)/pip-compile --quiet --extra dev --strip-extras --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --no-emit-options --no-header \
		--output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv build dist *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache
