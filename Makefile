# Set-up and checks on a POSIX machine with Python 3.11 or newer:
#   make quickstart    install the package, then train on the painted scenes
#   make test          install the developer tools, then run the tests
#   make test-slow     the tests that take minutes
#   make soak          kill and resume trainings for SOAK_MINUTES (30), and compare the weights
#   make lint          ruff and mypy
#   make docs          build the documentation site into site/
#   make notebooks     execute the notebooks and store their outputs, which takes about ten minutes
#   make pictures      make the pictures in docs/images/, which trains for about five minutes
#   make test-lowest   tests with the lowest versions of all dependencies
PYTHON ?= python3
LOWEST_PYTHON ?= 3.11
BIN := .venv/bin
# One torch thread by default: on a shared machine, two threads can be several times slower than one.
OMP_NUM_THREADS ?= 1
export OMP_NUM_THREADS
# A part of the tests that reaches every dependency in a few minutes.
LOWEST_TESTS ?= tests/test_cli_basics.py tests/test_cli_runs.py tests/test_confusion.py tests/test_data_coco.py \
  tests/test_data_folder.py tests/test_data_nyudv2_raw.py tests/test_data_voc.py tests/test_ema.py \
  tests/test_encoders.py tests/test_losses.py tests/test_networks.py tests/test_report_plots.py tests/test_schedules.py \
  tests/test_study_file.py tests/test_transforms.py tests/test_weights_folder.py

SOAK_MINUTES ?= 30

.PHONY: quickstart test test-slow test-lowest lint docs notebooks pictures soak

quickstart: .venv/installed
	$(BIN)/refinenet fit --config experiments/datasets/scenes.yaml --config experiments/recipes/quickstart.yaml

test: .venv/developer
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-slow: .venv/developer
	$(BIN)/python -m pytest -m slow

soak: .venv/developer
	PYTHONPATH=.:tests $(BIN)/python -m helpers.soak --minutes $(SOAK_MINUTES)

lint: .venv/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy refinenet_pl
	$(BIN)/mypy --allow-untyped-defs --allow-incomplete-defs --allow-any-generics --no-strict-equality tests

docs: .venv/docs
	$(BIN)/python -m mkdocs build --strict

notebooks: .venv/developer
	PYTHONPATH=.:tests $(BIN)/python -m helpers.notebooks

pictures: .venv/installed
	$(BIN)/python docs/make_pictures.py

# UV_TORCH_BACKEND=cpu takes PyTorch's CPU builds, where their index can be reached.
test-lowest: .venv/developer
	$(BIN)/python -m pip install 'uv>=0.8'
	$(BIN)/uv venv --python "$$(command -v python$(LOWEST_PYTHON))" --clear .venv-lowest
	$(BIN)/uv pip install --python .venv-lowest --resolution lowest-direct --editable '.[nyudv2,coco]'
	$(BIN)/uv pip install --python .venv-lowest 'pytest>=8' 'hypothesis>=6.131'
	.venv-lowest/bin/python -m pytest $(LOWEST_TESTS)

.venv/installed: pyproject.toml
	@echo "Installing into .venv: 6 GB with CUDA, 1.5 GB if it already has a CPU build of PyTorch (see README.md)."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install --editable .
	touch $@

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --editable '.[docs]'
	touch $@

.venv/developer: .venv/installed
	$(BIN)/python -m pip install --editable '.[dev]'
	# The tests read its schema of sweep files. Without its dependencies: it asks for an older numpy.
	$(BIN)/python -m pip install --no-deps 'sweeps==0.3.0'
	touch $@
