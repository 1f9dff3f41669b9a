# `make` alone lists what can be made; each line of help is the ## comment of its target.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
INSTALLED := .venv/installed

# Names of directories are targets here too: make must not take them for made.
.PHONY: help .venv demo up test check lint format types imports schemas migrate lock screenshots clean

help:
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "make %-21s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv: $(INSTALLED)  ## Install Errata and everything it needs into .venv (the other targets do this by themselves)

$(INSTALLED): requirements.lock pyproject.toml
	@python=$$(scripts/find_python.sh); test -x $(BIN)/python || "$$python" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(INSTALLED)

demo: $(INSTALLED)  ## See the whole loop on this machine, in a browser; HEADLESS=1: without one
	$(BIN)/errata demo $(if $(HEADLESS),--headless)

up: $(INSTALLED)  ## Run worker, trainer, intake and dashboard here, with the settings of errata.toml; Kafka must be there
	$(BIN)/errata up

test: lint types imports  ## Check everything: style, types, imports between rooms, and all tests in two processes
	scripts/ensure_browser.sh $(BIN)
	$(BIN)/python -m scripts.run_tests

check: lint types imports  ## Check what takes seconds: style, types, imports, and the promises of the repository
	$(BIN)/python -m pytest tests/promises

lint: $(INSTALLED)  ## Check style (ruff)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(INSTALLED)  ## Bring the code into style (ruff)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(INSTALLED)  ## Check types (mypy --strict)
	$(BIN)/mypy

imports: $(INSTALLED)  ## Check who may import whom (import-linter)
	$(BIN)/lint-imports

schemas: $(INSTALLED)  ## Write what is generated: JSON Schema and AsyncAPI of the events, docs/settings.md, the README's map
	$(BIN)/python -m errata.schemas
	$(BIN)/python -m scripts.document_settings
	$(BIN)/python -m scripts.draw_map

migrate: $(INSTALLED)  ## Bring the tables of the configured database up to date
	$(BIN)/errata migrate

lock: $(INSTALLED)  ## Resolve every dependency again and write requirements.lock
	scripts/write_lock.sh $(BIN)

screenshots: $(INSTALLED)  ## Take pictures of the dashboard of a running demo into docs/screenshots
	scripts/ensure_browser.sh $(BIN)
	$(BIN)/python scripts/take_screenshots.py

clean:  ## Remove what was made: virtual environments, caches and the demo's data (the database in var/ stays)
	rm -rf .venv .venv-bench .venv-statistics build dist var/demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: bench-intake-profile
bench-intake-profile: $(INSTALLED)  ## Where the time of the intake goes, per stage and event; EVENTS=n
	$(BIN)/python -m bench.intake.profile

BENCH := .venv-bench/installed
STATISTICS := .venv-statistics/installed

.PHONY: bench-intake
bench-intake: $(INSTALLED) $(BENCH)  ## The intake beside a bulk load, stock Faust, Quix Streams and Bytewax; EVENTS=n, FULL=1
	@$(BIN)/python -m bench.intake

$(BENCH): bench/intake/requirements.txt
	@python=$$(scripts/find_python.sh); test -x .venv-bench/bin/python || "$$python" -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r bench/intake/requirements.txt
	@touch $(BENCH)
.PHONY: bench-client
bench-client: $(INSTALLED)  ## Measure the client: microseconds a call, events a second, memory, beside kafka-python's send
	$(BIN)/python -m bench.client
.PHONY: chaos chaos-model
KILLS ?= 50
STEPS ?= 100000

chaos: $(INSTALLED)  ## Kill real workers KILLS=50 times under every fault, and judge what they stored; SEED=, PAUSES=, RESTORES=, DATABASE=
	$(BIN)/python -m bench.chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED)) $(if $(PAUSES),--pauses $(PAUSES)) \
		$(if $(RESTORES),--restores $(RESTORES)) $(if $(DATABASE),--database $(DATABASE))

chaos-model: $(INSTALLED)  ## Run random histories of the real consumer and transaction beside a plain count, STEPS=100000 steps; SEED=, PROCESSES=
	$(BIN)/python -m tests.end_to_end.campaign --steps $(STEPS) $(if $(SEED),--seed $(SEED)) \
		$(if $(PROCESSES),--processes $(PROCESSES))

.PHONY: bench-statistics
bench-statistics: $(INSTALLED) $(STATISTICS)  ## What detectors, intervals and estimates do on streams whose truth is known; SCALE=, SEED=, WORKERS=, DATA=
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.statistics

$(STATISTICS): bench/statistics/requirements.txt
	@python=$$(scripts/find_python.sh); test -x .venv-statistics/bin/python || "$$python" -m venv .venv-statistics
	.venv-statistics/bin/python -m pip install --quiet --disable-pip-version-check -r bench/statistics/requirements.txt
	@touch $(STATISTICS)

.PHONY: malformed
malformed: $(INSTALLED)  ## Store malformed events of every kind, EVENTS=1000000, and see that each is set aside for its reason; SEED=
	$(BIN)/python -m bench.malformed

.PHONY: replay-data
replay-data: $(INSTALLED)  ## Replay real data through the pipeline and compare the report with the files; DATA=directory (excerpts unless given)
	$(BIN)/python -m bench.replay
