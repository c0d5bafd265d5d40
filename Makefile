# Everything runs from a fresh clone, as a plain user, with no server installed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
CLIENTS := tests/clients
# Much of the suite waits for processes that it has started, so three of its files run at a time, on two cores too.
# They start in the order of tests/conftest.py, which puts the long ones first.
PYTEST_ARGS ?= -n 3 --dist loadfile --no-loadscope-reorder
# Without the plugin of schemathesis, which takes seconds to load and which no quick test needs.
QUICK_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder -p no:schemathesis
QUICK_TESTS := tests/unit tests/integration/client

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-quick coverage lint docs linkcheck audit up bench chaos clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) $(CLIENTS)/.venv/.installed ## a virtual environment in .venv with everything in it, and what tests need beside it

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV); the first time this takes minutes"
	$(BIN)/python -m pip install -qq --editable '.[dev]' --constraint constraints.txt
	touch $@

$(CLIENTS)/.venv/.installed: $(addprefix $(CLIENTS)/,install.sh requirements.txt package.json package-lock.json)
	PYTHON=$(PYTHON) $(CLIENTS)/install.sh && touch $@ || echo "clients of others are missing: the tests that need them are skipped and say so" >&2

demo: $(STAMP) ## twelve universes through the whole service on this machine; pictures in demo-out/
	$(BIN)/leym demo

test: lint ## what CI runs: linters, types, import rules, tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-quick: $(STAMP) ## ruff and the tests that start no service or server; under 90 s on two cores
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest $(QUICK_ARGS) -m "not (slow or postgresql or s3)" $(QUICK_TESTS)

coverage: setup ## all tests again, measured: branch coverage of leym/, which must be 90 % at least
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: setup ## linters, types and import rules only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: $(STAMP) ## the documentation site in docs/_build/html; warnings and dead internal links are errors
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

linkcheck: $(STAMP) ## links of the documentation to other sites; needs a network
	$(BIN)/python -m sphinx -b linkcheck docs docs/_build/linkcheck

audit: ## known vulnerabilities in the pinned dependencies, to run before a release; needs a network
	$(PYTHON) .ci/audit.py

up: $(STAMP) ## API, broker, workers and Flower on this machine, until Ctrl-C
	$(BIN)/leym up

BENCH_ARGS ?= --quick
bench: setup ## engine, laws by grids, service, sweeps, LitServe and JAX beside it, cold starts; BENCH_ARGS= for the long form
	$(BIN)/python -m pip install -qq --editable '.[bench]' --constraint constraints.txt || echo "without LitServe and JAX: their arms say so" >&2
	$(BIN)/python -m benchmarks.everything $(BENCH_ARGS)

CHAOS_FAULTS ?= 60
chaos: setup ## faults by the hundred against both databases and both stores; the tables of docs/reliability.md
	mkdir -p benchmarks/results/chaos
	CHAOS_FAULTS=$(CHAOS_FAULTS) CHAOS_REPORTS=benchmarks/results/chaos $(BIN)/python -m pytest -q tests/chaos
	$(BIN)/python -m tests.chaos.report benchmarks/results/chaos

clean: ## what tools left behind; .venv and data stay
	rm -rf build dist docs/_build *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	rm -rf .hypothesis
	find leym app workers tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
