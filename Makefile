# Everything runs in .venv, made from the hashed lock; nothing is set up by hand.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
# Tests share two processes; those of one group (tests/conftest.py) stay together, in the order of that file.
PYTEST := python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder
# DVC starts `python`: it must be the environment's. Nothing here calls home.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export NO_ALBUMENTATIONS_UPDATE := 1
# Without bytecode every process compiles torch and MLflow anew, for some ten seconds each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup repro test test-fast test-long lint bench mlflow lock

help:  ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## create .venv from requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pneumoseg needs Python 3.11 or newer; set PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r <(awk '/^uv==/{keep=1} keep{print} keep && !/\\$$/{exit}' requirements.lock)
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(VENV)/bin/python --require-hashes -r requirements.lock
	$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --no-deps --no-build-isolation -e .
	@touch $(READY)

repro: setup  ## run the whole pipeline (dvc repro): phantoms unless params.yaml says otherwise
	dvc repro

test: setup lint  ## lint, types and all tests but the long ones (8 minutes or less on two cores)
	$(PYTEST) -m "not long" --durations=20

test-fast: setup  ## the tests that take seconds (a minute or less)
	$(PYTEST) -m "not long and not slow and not pipeline and not gpu and not real"

test-long: setup  ## what is long by nature: learning proofs, browser, server, many DVC runs
	$(PYTEST) -m long --durations=20

lint: setup  ## ruff, mypy --strict and the import contract
	ruff check .
	ruff format --check .
	mypy
	PYTHONPATH=src lint-imports

bench: setup  ## tables of speed and memory; nothing is asserted
	PYTHONPATH=src python -m benchmarks

mlflow: setup  ## rebuild missing rows, then the MLflow UI on http://127.0.0.1:5000
	pneumoseg track
	pneumoseg ui

lock: setup  ## renew requirements.lock from pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --extra dev pyproject.toml -o requirements.lock
