# `make repro` and `make test` each do everything, starting from a bare machine; `make help` lists the targets.
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

# A wheelhouse to install from instead of a registry, and the folder for the results of `make gpu`.
WHEELHOUSE ?=
RESULTS ?= build/gpu
# What `make wheelhouse` is for: Python and processor of the other machine, extras to include, packages it has already.
PY ?= $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ARCH ?= x86_64
EXTRAS ?=
WITHOUT ?=
# What `make lock` passes to uv: --upgrade, or --upgrade-package NAME.
UPGRADE ?=
COMPILE := python -m uv pip compile --quiet --no-header --no-emit-index-url

.PHONY: help setup repro test lint types docs tests stress bench gpu gpu-tests gpu-extract gpu-train format lock dist \
	wheelhouse clean

help:  ## List the targets
	@awk -F ':.*## ' '/^##@ / {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-12s%s\n", $$1, $$2}' Makefile

##@ Start

# uv installs the pinned set several times faster than pip does; both check the hashes.
# Beside a wheelhouse, .venv also sees the packages of PYTHON: pip, and a torch for the machine's GPU. PYTHON may be in a
# virtual environment itself, so its folders are listed: --system-site-packages would name those of another Python. An
# earlier .venv is removed first: PATH would find its Python.
$(READY): requirements.txt pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed, found $$("$(PYTHON)" --version); set PYTHON=…" >&2; exit 1; }
ifdef WHEELHOUSE
	rm -rf $(VENV) && mkdir -p build
	"$(PYTHON)" -c 'import site; print(*site.getsitepackages(), sep="\n")' > build/machine.pth
	"$(PYTHON)" -m venv --without-pip $(VENV)
	mv build/machine.pth $(VENV)/lib/python3.*/site-packages
	python -m pip install --quiet --no-index --no-deps "$(WHEELHOUSE)"/*.whl
	python -m pip install --quiet --no-index --no-deps --no-build-isolation -e .
	python -m pip check || echo "Packages that you do not use may be missing."
else
	"$(PYTHON)" -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(VENV)/bin/python -m uv pip install --quiet --require-hashes -r requirements.txt
	$(VENV)/bin/python -m uv pip install --quiet --no-deps -e .
endif
	@touch $(READY)

setup: $(READY)  ## Make .venv with the pinned dependencies and the project; WHEELHOUSE=wheelhouse needs no network

repro: setup  ## Run the whole pipeline: songs → embeddings → heads → metrics
	dvc repro
	dvc metrics show

##@ Check

test: setup lint types docs tests  ## Run all checks below, as CI does

lint: setup  ## Check style, declared dependencies and import directions
	ruff check .
	ruff format --check .
	deptry . --no-ansi
	lint-imports

types: setup  ## Check types with mypy
	mypy

docs: setup  ## Build the docs site into build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --site-dir build/site

# One thread per process: two test processes share two cores.
tests: setup  ## Run the tests
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist worksteal

stress: setup  ## Try random hostile input for SECONDS=300, starting from SEED=0
	OMP_NUM_THREADS=1 python -m pytest tests/stress -n 2 --seconds $(or $(SECONDS),300) --seed $(or $(SEED),0)

bench: setup  ## Measure speed, memory and sizes against plain implementations; a missed goal is an error
	python -m benchmarks

##@ On a GPU (without one, a dry run)

gpu: setup  ## Run the three steps below, in less than 30 minutes, and write RESULTS=build/gpu
	python -m benchmarks.gpu tests extract train --results "$(RESULTS)"

gpu-tests: setup  ## Run the tests that need a GPU
	python -m benchmarks.gpu tests --results "$(RESULTS)"

gpu-extract: setup  ## Measure the feed and the encoders
	python -m benchmarks.gpu extract --results "$(RESULTS)"

gpu-train: setup  ## Measure the head's training and its loading
	python -m benchmarks.gpu train --results "$(RESULTS)"

##@ Change

format: setup  ## Format the code and fix what ruff can fix
	ruff check --fix .
	ruff format .

lock: setup  ## Pin the dependencies after a change of pyproject.toml; UPGRADE=--upgrade takes new releases
	# dask-cuda allows one version of Dask, so the file that has it comes first.
	$(COMPILE) --universal --generate-hashes --python-version 3.11 $(UPGRADE) \
		$(addprefix --extra=,audiobox cuda pandas s3 serve tensorboard xarray) pyproject.toml -o requirements-run.txt
	$(COMPILE) --universal --generate-hashes --python-version 3.11 --constraints requirements-run.txt $(UPGRADE) \
		--extra dev pyproject.toml -o requirements.txt

clean:  ## Remove what was built (not data/, models/ and results/)
	rm -rf $(VENV) build dist wheelhouse .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

##@ Hand out

dist: setup  ## Build the sdist and the wheel, install the wheel with the newest allowed dependencies, and try its commands
	rm -rf dist build/trial
	python -m uv build --quiet
	python -m uv venv --quiet build/trial
	python -m uv pip install --quiet --python build/trial dist/*.whl
	cd build && for command in trial/bin/hear trial/bin/hear-*; do $$command --version && $$command --help > trial/help; done

# setuptools, pytest and hypothesis are for `make setup` and `make gpu` there.
# uv picks the packages for the other machine, since pip would go by this machine's Python; the hashes are the pinned ones.
# Two pinned packages have no wheel and are built here; this only works for another machine if they hold no machine code.
wheelhouse: setup  ## Collect all wheels for a machine without a network; see CONTRIBUTING.md
	rm -rf wheelhouse build/wheelhouse && mkdir -p build/wheelhouse/built
	printf '%s\n' $(WITHOUT) > build/wheelhouse/without.txt
	printf '%s\n' setuptools pytest hypothesis > build/wheelhouse/tests.txt
	$(COMPILE) --no-annotate --python-version $(PY) --python-platform $(ARCH)-manylinux_2_28 \
		--excludes build/wheelhouse/without.txt --constraints requirements-run.txt --constraints requirements.txt \
		$(addprefix --extra=,$(EXTRAS)) pyproject.toml build/wheelhouse/tests.txt -o build/wheelhouse/names.txt
	awk 'NR == FNR {named[$$1]; next} /^[a-z]/ {keep = $$1 in named && !seen[$$1]++; sub(/ ;.*/, " \\")} keep && !/^ *#/' \
		build/wheelhouse/names.txt requirements-run.txt requirements.txt > build/wheelhouse/hashes.txt
	python -m pip download --quiet --no-deps --require-hashes -r build/wheelhouse/hashes.txt --dest wheelhouse \
		--implementation cp --python-version $(PY) \
		--platform=manylinux_2_{5..28}_$(ARCH) --platform=manylinux2014_$(ARCH)
	find wheelhouse -name '*.tar.gz' -exec python -m pip wheel --quiet --no-deps --wheel-dir build/wheelhouse/built {} +
	@! ls build/wheelhouse/built | grep -v -- '-none-any.whl$$' \
		|| { echo "These have no wheel for Python $(PY) on $(ARCH), and hold machine code: build them there." >&2; exit 1; }
	python -m uv build --quiet --out-dir build/wheelhouse/built
	find wheelhouse -name '*.tar.gz' -delete && mv build/wheelhouse/built/*.whl wheelhouse
	@du -sh wheelhouse
	@echo "Copy wheelhouse/ to the other machine, then: pip install --no-index --find-links wheelhouse hear-music"
