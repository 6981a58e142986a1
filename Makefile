# Pyramidion: `make demo` and `make test` are the two commands that a newcomer needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# The demo keeps its database, images and models here, away from a plant's own data.
DEMO_HOME ?= $(CURDIR)/.demo

.PHONY: help
help:  ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 16

# One marker per set of packages, made anew when what they are made from changes.
$(VENV)/.run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Pyramidion needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make environments (Debian and Ubuntu keep that apart): sudo apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Pyramidion into $(VENV) (about a minute)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) --editable '.[dev]'
	@touch $@

.PHONY: demo
demo: $(VENV)/.run  ## Train on a simulated line, stream parts through the real queue, report
	@PYRAMIDION_HOME="$(DEMO_HOME)" $(BIN)/pyramidion demo --exit $(ARGS)

.PHONY: up
up: $(VENV)/.run  ## Start everything on this machine
	@$(BIN)/pyramidion up

.PHONY: lint
lint: $(VENV)/.dev  ## Style, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

.PHONY: packages
packages: $(VENV)/.dev
	@tests/packages.sh

.PHONY: test
test: lint packages  ## Everything that is checked, with real services
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: screenshots
screenshots: $(VENV)/.dev  ## Pictures of every page for docs/page.md, of what the ageing demo leaves; some minutes
	@rm -rf "$(CURDIR)/.screenshots"
	@PYRAMIDION_HOME="$(CURDIR)/.screenshots" $(BIN)/pyramidion demo --retrain --parts 80 --rate 12 --exit || true
	@PYRAMIDION_HOME="$(CURDIR)/.screenshots" $(BIN)/python -m tests.web.screenshots
	@rm -rf "$(CURDIR)/.screenshots"

.PHONY: faults
faults: $(VENV)/.dev  ## A plant under load and 100 faults drawn from a seed (ARGS="--seed 7"); about 15 minutes
	@$(BIN)/python -m tests.faults $(ARGS)

.PHONY: bench-accuracy
bench-accuracy: $(VENV)/.dev  ## Detection quality, on simulated parts or on IMAGES=folder (MVTec layout or IDX files)
	@$(BIN)/python -m benchmarks.accuracy $(if $(IMAGES),$(IMAGES),--simulated) $(ARGS)

.PHONY: bench-speed
bench-speed: $(VENV)/.dev  ## Images per second of each preset, beside what the machine could do
	@$(BIN)/python -m benchmarks.speed $(ARGS)

.PHONY: bench-ledger
bench-ledger: $(VENV)/.dev  ## Facts sealed and verified a second on one core, and the size of proofs
	@$(BIN)/python -m benchmarks.ledger $(ARGS)

.PHONY: clean
clean:  ## Remove the environment, the demo's data and all caches
	@rm -rf $(VENV) "$(DEMO_HOME)" .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
