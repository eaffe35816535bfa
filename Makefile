# Everything runs in .venv, which is made from the lock files: first with what the demo needs, then
# with what developers need besides.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
COVERED := $(BIN)/coverage run -m pytest
COMPILE := $(BIN)/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-trusted-host \
	--no-emit-find-links --no-emit-options --no-header --generate-hashes --allow-unsafe
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: install demo quick test compose-test chaos chaos-quick mutants mutants-core coverage coverage-all check docs tables bench bench-quick trips lock wheel release-check clean

install: .venv/.installed

.venv/.installed: requirements.lock .venv/.demo
	@echo "Adding the developers' tools to .venv, all in all $$(grep -c == $<) packages: some minutes"
	$(INSTALL) --require-hashes --requirement requirements.lock
	@touch $@

.venv/.demo: requirements-build.lock requirements-demo.lock pyproject.toml broadcaster/version.py
	@echo "Making .venv with the $$(cat $(filter %.lock,$^) | grep -c ==) packages of the hub and its demo: once, about half a minute"
	$(PYTHON) -m venv .venv
	$(INSTALL) --require-hashes $(patsubst %,--requirement %,$(filter %.lock,$^))
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

demo: .venv/.demo
	$(BIN)/broadcaster demo --port $(PORT)

# The tests that start no process.
quick: install
	$(PYTEST) -m quick -n 2 $(ARGS)

# All tests: side by side, then those that must be alone. PATIENCE=3 for a very slow machine.
test: install
	$(PYTEST) -m "not alone" -n 3 $(ARGS)
	$(PYTEST) -m alone $(ARGS)

# All of core, with branches, by the tests that need nothing but Python.
coverage: install
	$(BIN)/coverage erase
	$(COVERED) --quiet -n 2 tests/core tests/test_interleavings.py
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include 'broadcaster/core/*' --fail-under 100

# All code, with branches, by all tests; they take a third longer so.
coverage-all: install
	$(BIN)/coverage erase
	$(MAKE) test PYTEST="$(COVERED) --quiet"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under 95

# The compose commands of docs/deployment.md under 300 clients; needs a Docker engine.
compose-test: install
	COMPOSE_TEST=1 $(PYTEST) -s tests/deploy/test_compose.py $(ARGS)

# Eight minutes; docs/performance.md says what it needs. It writes docs/results.
bench: install
	$(BIN)/python -m bench --write $(ARGS)

# Half a minute: fails if a delivery costs more than 1.6 times the kernel's send.
bench-quick: install
	$(BIN)/python -m bench --quick

# How many files a reader has to follow: a reconnect, and an event on its way to a client.
trips: install
	$(BIN)/python -m bench.trips $(ARGS)

# Real faults at real servers; SEED=7 plays the same again, SEED="7 8 9" with one after the other.
chaos: install
	$(BIN)/python -m tests.chaos $(SEED:%=--seed %) $(ARGS)

chaos-quick: install
	$(BIN)/python -m tests.chaos --quick $(SEED:%=--seed %) $(ARGS)

# The product broken in one place at a time: which test notices? ONLY="its name" for one.
mutants: install
	$(BIN)/python -m tests.mutants $(if $(ONLY),--only "$(ONLY)")

# A tool's mutants of core, two at a time; run it again to go on. ONLY="broadcaster.core.cursor*" for some.
mutants-core: install
	PATIENCE=0.2 $(BIN)/mutmut run --max-children 2 $(if $(ONLY),"$(ONLY)")
	$(BIN)/mutmut results

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The pages of docs/ as a site, in docs/_build/html; fails at a broken link or a page without one.
docs: install
	$(BIN)/sphinx-build -W --keep-going -n -q -d docs/_build/cache docs docs/_build/html

# The tables in docs/ that follow from the code; a test compares them.
tables: install
	$(BIN)/python docs/tables.py

# The files of a release in dist/; the wheel is tested in an environment of its own.
wheel: install
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	WHEEL=$$(ls dist/*.whl) $(PYTEST) tests/deploy/test_wheel.py $(ARGS)

# A tag is `v` and the version, and the changelog has a dated section for it: TAG=v0.1.0.
release-check:
	@grep -qxF 'VERSION = "$(TAG:v%=%)"' broadcaster/version.py || { echo "not the version: $(TAG)"; exit 1; }
	@grep -q '^## $(TAG:v%=%) - 20' CHANGELOG.md || { echo "not in the changelog: $(TAG)"; exit 1; }

lock: install
	$(COMPILE) --extra dev --output-file requirements.lock pyproject.toml
	$(COMPILE) --constraint requirements.lock --output-file requirements-runtime.lock pyproject.toml
	$(COMPILE) --constraint requirements.lock --extra embedded --output-file requirements-demo.lock pyproject.toml
	$(COMPILE) --constraint requirements.lock --only-build-deps --build-deps-for editable \
		--output-file requirements-build.lock pyproject.toml

clean:
	rm -rf .venv build dist *.egg-info docs/_build mutants .coverage* .mypy_cache .ruff_cache .pytest_cache
