# Two commands are all a newcomer needs: `make demo` and `make test`. Both make their own virtual environment.
PYTHON ?= python3
VENV ?= .venv
# Options for installing PyTorch, such as where its CPU builds are: see "Installing PyTorch" in the README.
TORCH_FLAGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
LOCKED := --constraint constraints.txt

# What `make bench` passes on; without --table the table in the documentation stays as it is.
BENCH ?= --table docs/performance.md
PEERS := bench/.venv

.PHONY: demo test test-all check format bench bench-setup clean

demo: $(VENV)/.core  ## Steer a real model from demonstrations to PPO, and report what changed
	$(BIN)/trimtab run recipes/demo.yaml

test: $(VENV)/.test  ## The fast suite
	GOMP_SPINCOUNT=5000 $(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.test  ## Everything, the slow tests on the real model too
	GOMP_SPINCOUNT=5000 $(BIN)/python -m pytest

check: $(VENV)/.dev  ## Style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	GOMP_SPINCOUNT=5000 $(BIN)/python -m pytest tests/test_architecture.py

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.core  ## Measure against TRL, transformers and llama.cpp: half an hour on an idle machine
	$(BIN)/python -m bench $(BENCH)

bench-setup: $(PEERS)/.done  ## The peers, in a virtual environment of their own: some ten minutes, once

clean:
	rm -rf $(VENV) $(PEERS) .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(VENV)/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "trimtab needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into $(VENV): a few minutes, once."
	$(PYTHON) -m venv $(VENV)
	$(PIP) install $(LOCKED) $(TORCH_FLAGS) torch
	$(PIP) install $(LOCKED) --editable .
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(PIP) install $(LOCKED) --editable '.[test]'
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) install $(LOCKED) --editable '.[dev]'
	touch $@

$(PEERS)/.done: constraints.txt bench/requirements.txt bench/requirements-llama.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip --disable-pip-version-check --quiet install $(LOCKED) $(TORCH_FLAGS) torch
	$(PEERS)/bin/pip --disable-pip-version-check --quiet install -r bench/requirements.txt
	CMAKE_ARGS="$(CMAKE_ARGS) -DGGML_NATIVE=ON" $(PEERS)/bin/pip --disable-pip-version-check --quiet install \
	  --no-binary llama-cpp-python -r bench/requirements-llama.txt \
	  || echo "llama.cpp could not be compiled (it needs a C++ compiler); the other peers are there"
	touch $@
