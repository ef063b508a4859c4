# Everything a newcomer needs: `make demo` and `make test`. Each creates the environment once and reuses it.
PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
INSTALLED := $(VENV)/.installed

.PHONY: install demo test lint types proof bench schemas docs clean
install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[learn,dev]"
	@touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/stroma demo --output demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 2 -m "not proof"

lint: $(INSTALLED)
	$(BIN)/python -m ruff check src tests benchmarks
	$(BIN)/python -m ruff format --check src tests benchmarks

types: $(INSTALLED)
	$(BIN)/python -m mypy

proof: $(INSTALLED)
	$(BIN)/python -m pytest -q -m proof

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks

schemas: $(INSTALLED)
	$(BIN)/python -m stroma.support.schemas docs/schemas

docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet ".[docs]"
	$(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache
