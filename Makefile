# Every target that a contributor needs; `make` lists them.
PYTHON ?= .venv/bin/python
BIN := $(dir $(PYTHON))

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

.venv/bin/python:
	python3 -m venv .venv
	.venv/bin/pip install -q -e '.[dev]'

setup: .venv/bin/python ## Make .venv with everything for development

check: lint types test ## All that CI checks, without the torch tests

test: ## Run the tests
	$(BIN)pytest

lint: ## Ruff, its formatter, and the import contract
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(BIN)lint-imports

types: ## mypy, strict
	$(BIN)mypy

format: ## Format the code
	$(BIN)ruff format .
	$(BIN)ruff check --fix .

demo: ## A training job dies on this machine, and the verdict says why
	$(BIN)trainwreck demo

pictures: ## Make the README's picture from a real screen of a real fault
	$(PYTHON) -m trainwreck_tui.picture --demo docs/verdict.svg

schema: ## Make docs/schema.md from the declared tables
	$(PYTHON) -m trainwreck_agent.describe > docs/schema.md

bench: ## Measure the recorder beside its peers, and the time to an answer
	$(PYTHON) -m benchmarks.recorder
	$(PYTHON) -m benchmarks.answer

.PHONY: help setup check test lint types format demo pictures schema bench
