# Two commands are all a newcomer needs: `make demo` and `make test`. Both make their own virtual environment.
PYTHON ?= python3
VENV ?= .venv
# Options for installing PyTorch, such as where its CPU builds are: see "Installing PyTorch" in the README.
TORCH_FLAGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
LOCKED := --constraint constraints.txt

.PHONY: demo test test-all check format clean

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

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis

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
