# Every command that a person or CI needs. `make` alone prints them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PYTEST := $(BIN)/pytest -q -n 2 --dist loadgroup
# Acceptance tests mostly wait for other processes, so two cores carry three of them.
SESSIONS ?= 3

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BUILDER ?= docker podman buildah
PROMPT := Put the {product_name} on {surface}, {lighting}. Keep its shape, colours and details exactly as in the photograph.

.PHONY: help setup demo test unit lint acceptance chaos games chaos-long mutants scale long bench bench-quick bench-plan image docs requirements clean

help: ## print this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with retouch and everything that its tests need

$(STAMP): requirements/dev.txt pyproject.toml
	@echo "Setting up .venv (about a minute) …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## run the example catalogue to its end, on a simulated API with real parts
	@$(BIN)/retouch run examples/catalogue.csv --simulate --yes --prompt "$(PROMPT)"

lint: setup ## formatting, lint, types, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: setup ## the fast tests: no server, no network
	$(PYTEST) tests/unit

test: setup lint ## everything that is checked before a commit
	$(PYTEST) tests/unit tests/contract tests/integration

acceptance: setup ## the program as its users meet it: real processes, a real terminal, a real browser
	$(PYTEST) -n $(SESSIONS) tests/acceptance tests/chaos -m "not long and not longest"

chaos: setup ## the long proofs: a death at every line that matters, soaks of 500 jobs, `make games`, long outages (an hour or more)
	$(PYTEST) tests/chaos -m "not longest"
	API_AWAY_SIZE=60/10 $(PYTEST) tests/acceptance -m long
	API_AWAY_SIZE=60/10 LIMIT_SIZE=24/12/700 $(PYTEST) tests/acceptance/test_api_away.py tests/acceptance/test_limit.py -m "not long"
	FAIRNESS_SIZE=24/1000 $(PYTEST) tests/acceptance/test_fairness.py

GAMES ?= 50000

games: setup ## 50,000 random games of the ledger (an hour of two processors); GAMES=N for fewer
	GAMES=$(GAMES) $(PYTEST) -v tests/chaos/test_machine.py -m long

SOAK_ROWS ?= 30000

chaos-long: setup ## 30,000 jobs under fire (an hour or more, of a machine that does nothing else); SOAK_ROWS=N for fewer
	SOAK_ROWS=$(SOAK_ROWS) $(BIN)/pytest -q -s tests/chaos -m longest

mutants: setup ## small mistakes in what decides about money, and how many of them the tests notice (five minutes)
	$(BIN)/python -m tests.mutants

bench-plan: setup ## the part of `make bench` that plans and submits a million rows (five minutes)
	$(BIN)/python -m bench --only plan --only plan-one-core
	$(BIN)/python docs/draw.py

SCALE_IMAGES ?= 100000
SCALE_ROWS ?= 1000000

scale: setup ## report and retry a million rows, stage 100,000 local pictures (20 GB, an hour); SCALE_ROWS=N SCALE_IMAGES=N for fewer
	SCALE_ROWS=$(SCALE_ROWS) $(BIN)/pytest -q tests/long/test_a_million_rows.py
	SCALE_IMAGES=$(SCALE_IMAGES) $(BIN)/pytest -q tests/long/test_staging_at_scale.py

long: setup ## 200 uploads before two watchers of which one is killed, nights of 1,000 products, 40 failed of 500 (ten minutes)
	$(BIN)/pytest -q tests/long/test_inbox.py
	NIGHT_PRODUCTS=1000 RETRY_SIZE=500/40 $(BIN)/pytest -q tests/acceptance/test_schedules.py tests/acceptance/test_retry.py

bench: setup ## Retouch beside what one would write instead, medians of three into docs/benchmarks.md (hours)
	$(BIN)/python -m bench
	$(BIN)/python docs/draw.py

bench-quick: setup ## a short form of it, one run each, which says less (five minutes)
	$(BIN)/python -m bench --quick
	$(BIN)/python docs/draw.py

image: ## build the container image, with docker, podman or buildah, whichever works here
	@for builder in $(BUILDER); do $$builder info >/dev/null 2>&1 && break || builder=; done; \
	test -n "$$builder" || { echo "None of these works here: $(BUILDER)"; exit 1; }; \
	set -x; $$builder build $(addprefix --build-arg PYTHON_IMAGE=,$(PYTHON_IMAGE)) --tag retouch:$(VERSION) .

docs: setup ## write the pages that are drawn from tables
	$(BIN)/python docs/draw.py

COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
  --annotation-style line --upgrade

requirements: setup ## renew the hashed requirement files, for every Python from 3.11 on
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) -o requirements/runtime.txt pyproject.toml
	$(COMPILE) --extra dev -o requirements/dev.txt pyproject.toml

clean: ## remove .venv and everything that was made
	rm -rf .venv retouch-data retouch-out dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
