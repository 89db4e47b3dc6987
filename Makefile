# `make repro` and `make test` each do everything, from a bare machine on; `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
READY := $(VENV)/.ready
# Quoted by the shell wherever it is used: the project may live in a folder with spaces.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help setup repro test lint types tests stress format bench lock clean

help:  ## List the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

# uv installs the pinned set several times faster than pip does; both check the hashes.
$(READY): requirements.txt pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed, found $$("$(PYTHON)" --version); set PYTHON=…" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(VENV)/bin/python -m uv pip install --quiet --require-hashes -r requirements.txt
	$(VENV)/bin/python -m uv pip install --quiet --no-deps -e .
	@touch $(READY)

setup: $(READY)  ## Make .venv with the pinned dependencies and the project

repro: setup  ## Run the whole pipeline: songs → embeddings → heads → metrics
	dvc repro
	dvc metrics show

test: setup lint types tests  ## Lint, types and tests, as CI runs them

lint: setup
	ruff check .
	ruff format --check .
	deptry . --no-ansi

types: setup
	mypy

# One thread a process: two test processes share two cores.
tests: setup
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist worksteal

stress: setup  ## Try random hostile input for SECONDS=300, from SEED=0 on
	OMP_NUM_THREADS=1 python -m pytest tests/stress -n 2 --seconds $(or $(SECONDS),300) --seed $(or $(SEED),0)

format: setup  ## Format the code
	ruff check --fix .
	ruff format .

bench: setup  ## Measure speed, memory and sizes against the plain ways
	python -m benchmarks

lock: setup  ## Pin the dependencies anew after a change of pyproject.toml
	python -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --extra dev pyproject.toml -o requirements.txt

clean:  ## Remove what was built (not data/, models/ and results/)
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
