# Everything runs in .venv, which `make install` makes from the lock file.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin

.PHONY: install demo test check lock clean

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
