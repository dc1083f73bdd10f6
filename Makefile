# Two commands do all the set-up, on a machine with Python 3.10 or newer:
#   make quickstart   train, validate and show pictures on the embedded dataset
#   make test         pass the tests
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test test-slow lint

quickstart: .venv/installed
	$(BIN)/refinenet fit --config experiments/quickstart.yaml

test: .venv/installed
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy refinenet_pl
	$(BIN)/mypy --allow-untyped-defs tests

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install --editable '.[dev]'
	# For its schema of sweep files alone, which the tests read; it asks for an older numpy than ours.
	$(BIN)/python -m pip install --no-deps 'sweeps==0.3.0'
	touch $@
