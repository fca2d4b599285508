# Needs Python >= 3.10 and make. The first target run builds .venv; edit pyproject.toml and the next run rebuilds it.
#   make test PYTHON=python3.12      make demo ARGS="--help"

SHELL   := /bin/bash
PYTHON  ?= python3
WORKERS ?= 2
ARGS    ?=
BIN     := .venv/bin
READY   := .venv/.ready
LIMITS  ?= 10 20

# Bytecode is kept in .venv, whatever the caller's environment says: without it each process compiles torch and its like again.
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/bytecode
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv test suite lint format docs demo theory bench dist clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(READY)  ## build .venv (every target below does it when needed)

test: $(READY)  ## lint beside the test suite, and what they took; slow tests: make test ARGS="-m slow"
	@$(BIN)/python .ci/took.py $(LIMITS) $(MAKE) --no-print-directory -j 2 lint suite

suite: $(READY)
	@echo "== pytest"
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(READY)  ## ruff check, ruff format --check, mypy
	@echo "== ruff, mypy"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "run 'make format' to fix the layout"; exit 1; }
	@$(BIN)/mypy --no-error-summary

format: $(READY)  ## let ruff fix what it can
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format --quiet .

docs: $(READY)  ## build the documentation into docs/_build/html, running the gallery
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html $(ARGS)
	@echo "docs/_build/html/index.html"

demo: $(READY)  ## compare the geometries side by side
	@$(BIN)/python -m experiments compare $(ARGS)

theory: $(READY)  ## decide every mathematical claim of the papers
	@$(BIN)/python -m theory $(ARGS)

bench: $(READY)  ## measure what a step costs
	@$(BIN)/python -m experiments benchmarks $(ARGS)

dist: $(READY)  ## build the sdist and the wheel, and check them; a release: make dist TAG=v1.2.3
	@.ci/dist $(TAG)

clean:  ## remove what builds and tests left behind; .venv stays
	@rm -rf docs/_build docs/gallery docs/theory docs/zoo.md docs/figures.md docs/api/summary.md docs/trainers_table.md docs/choose_table.md docs/sg_execution_times.rst build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# One resolver run for everything: torchvision (through BackPACK) fits exactly one torch.
# CITATION.cff changes with the version, which an editable install reads once.
$(READY): pyproject.toml CITATION.cff
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "geosam needs Python >= 3.10, and '$(PYTHON)' is not: make PYTHON=/path/to/python3.12"; exit 1; }
	@test ! -L .venv || { echo ".venv is a link: what it leads to would be emptied. Remove the link, or touch .venv/.ready"; exit 1; }
	@echo "== building .venv with $$($(PYTHON) --version); the first time downloads PyTorch"
	@$(PYTHON) -m venv --clear .venv
	@if $(BIN)/python -m pip install -qq --disable-pip-version-check uv; then \
	  $(BIN)/uv pip install -qq --python $(BIN)/python -e '.[experiments,docs,dev]'; \
	else \
	  echo "uv cannot be installed here; going on with pip"; \
	  $(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[experiments,docs,dev]'; \
	fi
	@touch $@
