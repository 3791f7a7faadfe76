# Mailhearth: what a checkout can do. `make` alone lists it.
#
#   ARGS=...     further arguments of `make up`, `make demo`, `make test` and `make bench`
#   IMAGE_COMMAND=...  of `make e2e`: builds NAME:TAG of a folder and loads it into the cluster
#   PYTHON=...   the interpreter that .venv is made with (3.11 or newer)

SHELL := /bin/sh
.DEFAULT_GOAL := help
BIN := .venv/bin
INSTALLED := .venv/installed
COMPILE := UV_SYSTEM_CERTS=1 $(BIN)/uv pip compile -q --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-header

.PHONY: help install demo up test e2e bench bench-operator check format audit lock clean

help:  ## List these targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | awk -F '\t' '{ printf "make %-14s %s\n", $$1, $$2 }'

install: $(INSTALLED)  ## Make .venv with the locked dependencies; leaves .venv/bin/mailhearth

# PYTHON is passed by the environment; a finished .venv is kept whatever it says.
$(INSTALLED): pyproject.toml requirements.lock scripts/install.sh
	@PYTHON="$(PYTHON)" scripts/install.sh

demo: $(INSTALLED)  ## Install and run the demo: sandbox servers, 12 mailboxes, a day per minute
	@$(BIN)/mailhearth up --demo $(ARGS)

up: $(INSTALLED)  ## Install and run everything on this machine
	@$(BIN)/mailhearth up $(ARGS)

test: $(INSTALLED)  ## Install and run all tests; ARGS="tests/core -k smtp" runs some
	@$(BIN)/python -m pytest $(ARGS)

e2e: $(INSTALLED)  ## Install and run the life of an installation on the cluster of KUBECONFIG (kubectl, helm)
	@$(BIN)/python -m pytest -s -o pythonpath="tests/support e2e" --timeout 1500 e2e $(ARGS)

bench: $(INSTALLED)  ## Measure, as ratios, into bench/results.json; ARGS="sending receiving" picks parts
	@$(BIN)/python -m bench $(ARGS)

bench-operator: $(INSTALLED)  ## Measure the operator on the cluster of KUBECONFIG (simulated nodes), 1,000 pools
	@$(BIN)/python -m bench.operator $(ARGS)

check: $(INSTALLED)  ## ruff, mypy --strict and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(INSTALLED)  ## Format and sort imports
	@$(BIN)/ruff check --fix-only -q .
	@$(BIN)/ruff format .

audit: $(INSTALLED)  ## Look the lock up in the vulnerability database; write sbom.cdx.json
	@$(BIN)/python scripts/audit.py

lock: $(INSTALLED)  ## Resolve the dependencies anew; ARGS=--upgrade takes newer versions
	@$(COMPILE) pyproject.toml -o requirements.lock --extra dev $(ARGS)
	@$(COMPILE) pyproject.toml -c requirements.lock -o requirements-image.lock
	@$(COMPILE) scripts/requirements-build.in -c requirements.lock -o scripts/requirements-build.lock

clean:  ## Remove .venv, caches and what was built; the data folder stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@rm -rf build dist sbom.cdx.json
	@find core operator webapp worker local tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
