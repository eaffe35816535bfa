# Everything runs in .venv, which is made from the lock files. The packages of the demo come first,
# then the developers' tools.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
FAILED = $(if $(AGAIN),|| $(PYTEST) -rA --last-failed --last-failed-no-failures none)
COVERED := $(BIN)/coverage run -m pytest
COMPILE := $(BIN)/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-trusted-host \
	--no-emit-find-links --no-emit-options --no-header --generate-hashes --allow-unsafe
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Where this is set, each process compiles all of the code anew, and pytest rewrites every test: a node
# then takes four times as long to start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo quick test system-test compose-test rolling-update chaos chaos-quick mutants mutants-core clients coverage coverage-all check docs tables bench bench-quick bench-posting bench-state instructions trips lock wheel release-check clean

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

# The tests that start no process and no server, with few examples of each property: `make test` has
# all of them.
quick: install
	$(PYTEST) -m quick -n 2 --hypothesis-profile=brief $(ARGS)

# The tests that need no more than Python and Valkey. PATIENCE=3 triples all waits, for a very slow
# machine. AGAIN=1 runs the tests that failed again, one at a time, and takes the second result; both
# summaries are printed.
test: install
	$(PYTEST) -m "not system and not alone and not foreign" -n 4 --dist loadscope $(ARGS) $(FAILED)

# All other tests but those of `make clients`: in browsers, behind balancers, with a Sentinel and a
# Cluster that fail over, with older commits. Then those that must run alone. It takes what `make test`
# takes: PATIENCE, AGAIN and ARGS.
system-test: install
	$(PYTEST) -m system -n 4 --dist loadscope $(ARGS) $(FAILED)
	$(PYTEST) -m alone $(ARGS) $(FAILED)

# Branch coverage of core, by the tests that need nothing but Python. Fails below 100 %.
coverage: install
	$(BIN)/coverage erase
	$(COVERED) --quiet -n 2 tests/core tests/test_interleavings.py
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include 'broadcaster/core/*' --fail-under 100

# Branch coverage of all code, by all tests, which take a third longer. Fails below 95 %.
coverage-all: install
	$(BIN)/coverage erase
	$(MAKE) test system-test PYTEST="$(COVERED) --quiet"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include 'broadcaster/*,workers/*' --fail-under 95

# Runs the compose commands of docs/deployment.md with 300 clients. Needs a Docker engine.
compose-test: install
	COMPOSE_TEST=1 $(PYTEST) -s tests/deploy/test_compose.py $(ARGS)

# A rolling update from each of the older commits that tests/e2e/older-commit names, and back, again
# and again for a minute under load. `make system-test` does it once.
rolling-update: install
	LASTS_S=$${LASTS_S:-60} $(PYTEST) -s tests/e2e/test_rolling_update.py tests/e2e/test_rolling_states.py -k move $(ARGS)

# Takes eight minutes and writes docs/results. docs/performance.md says what it needs.
bench: install
	$(BIN)/python -m bench --write $(ARGS)

# Takes half a minute. Fails if a delivery costs more than 1.6 times the kernel's send.
bench-quick: install
	$(BIN)/python -m bench --quick

# What publishing over HTTP costs its sender, and the clients beside it. Takes three minutes.
bench-posting: install
	$(BIN)/python -m bench.posting $(ARGS)

# What states cost: folding, memory, joins. Takes two minutes, and ARGS=--write writes the results.
bench-state: install
	$(BIN)/python -m bench.states $(ARGS)

# Instructions of a node, counted by valgrind, so that commits can be compared on a busy machine.
# ARGS="--against ../older" counts those of another checkout beside them. Takes five minutes.
instructions: install
	$(BIN)/python -m bench.instructions $(ARGS)

# How many files a reader has to follow: a reconnect, and an event on its way to a client.
trips: install
	$(BIN)/python -m bench.trips $(ARGS)

# Real faults on real servers. SEED=7 repeats a run, SEED="7 8 9" runs three seeds in turn.
chaos: install
	$(BIN)/python -m tests.chaos $(SEED:%=--seed %) $(ARGS)

chaos-quick: install
	$(BIN)/python -m tests.chaos --quick $(SEED:%=--seed %) $(ARGS)

# Breaks the product in one place at a time, and checks that a test fails. Run it again to continue.
# ONLY="bounded:" plays those whose names begin so, also if they were noticed before.
mutants: install
	$(BIN)/python -m tests.mutants $(if $(ONLY),--only "$(ONLY)")

# Mutants of core, made by mutmut, two at a time. Run it again to continue.
# ONLY="broadcaster.core.resume.*" runs some of them, and ARGS=--again the survivors once more.
mutants-core: install
	$(BIN)/python -m tests.mutants.generated $(if $(ONLY),"$(ONLY)") $(ARGS)

# Builds clients/js into broadcaster/web/scripts, where nodes serve it from. A test compares the two.
.PHONY: client
client: install
	$(BIN)/python -m tests.clients.package

# Many requests that schemathesis makes of /openapi.json: a few minutes. `make clients` makes a few of them.
.PHONY: schemathesis
schemathesis: install
	EXAMPLES=$${EXAMPLES:-100} $(PYTEST) tests/clients/test_documents.py -k answers $(ARGS)

# Foreign clients in five languages, with real nodes. What they need is installed in ~/.cache, and they
# are skipped where a toolchain or a registry is missing. ARGS=--write writes docs/results/clients.md.
clients: install
	$(BIN)/python -m tests.clients $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Looks for known vulnerabilities of the packages in the lock files. It is left out, with a line that
# says so, where no data about them can be reached. ARGS="--ignore-vuln ID" ignores one.
.PHONY: audit
audit: install
	$(BIN)/python -m tests.deploy.audit $(ARGS)

# Builds docs/ as a site in docs/_build/html. Fails on a broken link or an orphan page.
docs: install
	$(BIN)/sphinx-build -W --keep-going -n -q -d docs/_build/cache docs docs/_build/html

# Generates the tables in docs/ from the code. A test compares them.
tables: install
	$(BIN)/python docs/tables.py

# Builds a release in dist/, and tests the wheel in an environment of its own.
wheel: install
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	WHEEL=$$(ls dist/*.whl) $(PYTEST) tests/deploy/test_wheel.py $(ARGS)

# Checks that TAG=v0.1.0 matches the version, and has a dated section in the changelog.
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
