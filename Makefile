# Clipline: `make help` lists what there is. Every target sets up what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
FOOTAGE ?=
ARGS ?=

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Clipline needs Python 3.11 or newer; '$(PYTHON)' is older. Install it, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up $(VENV) (a few minutes the first time: torch is large)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[full,dev]'
	@touch $@

.PHONY: install
install: $(VENV)/.installed ## Create .venv with everything; a second call does nothing

.PHONY: demo
demo: $(VENV)/.installed ## Run everything on sample cameras, or on FOOTAGE=path
	@$(BIN)/clipline demo $(if $(FOOTAGE),"$(FOOTAGE)") $(ARGS)

.PHONY: test
test: $(VENV)/.installed ## Run the tests; ARGS='-k clipper' for some
	@# One thread each: test processes that each use every core mostly wait for one another.
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(ARGS)

.PHONY: check
check: $(VENV)/.installed ## Lint, types and the borders between packages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.installed ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

$(VENV)/.bench: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[full,dev,bench]'
	@touch $@

.PHONY: bench
bench: $(VENV)/.bench ## Measure against what people would write instead; writes build/bench.json
	@$(BIN)/python benchmarks/bench.py $(ARGS)
	@$(BIN)/python benchmarks/replay.py

.PHONY: bench-replay
bench-replay: $(VENV)/.bench ## Measure how fast recorded footage is replayed, and its memory over an hour
	@$(BIN)/python benchmarks/replay.py --hour $(ARGS)

build/edge-venv/.installed: pyproject.toml constraints.txt $(shell find stream models consumers -name '*.py')
	@rm -rf build/edge-venv && mkdir -p build && $(PYTHON) -m venv build/edge-venv
	@build/edge-venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt '.[edge]'
	@touch $@

.PHONY: edge
edge: $(VENV)/.installed build/edge-venv/.installed ## Serve an exported model from an install without torch; prints its size
	@$(BIN)/python -W ignore benchmarks/edge.py build/edge-venv/bin/python

.PHONY: kafka
kafka: .kafka/stamp ## Apache Kafka's jars into .kafka/libs, for tests and demos (nothing to do where KAFKA_HOME is set)

# The stamp comes last, so an interrupted download is repeated, and a changed pom is downloaded anew.
.kafka/stamp: docker/kafka-pom.xml
	@if [ -n "$$KAFKA_HOME" ]; then \
	  ls "$$KAFKA_HOME"/libs/kafka_*.jar >/dev/null 2>&1 \
	    || { echo "make kafka: KAFKA_HOME=$$KAFKA_HOME holds no libs/kafka_*.jar" >&2; exit 1; }; \
	  echo "make kafka: using KAFKA_HOME=$$KAFKA_HOME"; exit 0; \
	fi; \
	command -v mvn >/dev/null || { echo "make kafka: needs Maven (Debian: apt install maven), or KAFKA_HOME pointing at a Kafka distribution" >&2; exit 1; }; \
	command -v java >/dev/null || { echo "make kafka: needs Java 17 or newer (Debian: apt install openjdk-17-jre-headless)" >&2; exit 1; }; \
	version=$$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p'); \
	[ "$${version:-0}" -ge 17 ] || { echo "make kafka: needs Java 17 or newer, found $${version:-none}" >&2; exit 1; }; \
	rm -rf .kafka/libs && mkdir -p .kafka \
	  && mvn -q -B -ntp -f docker/kafka-pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$(CURDIR)/.kafka/libs" \
	  && touch $@ && echo "make kafka: $$(ls .kafka/libs | wc -l) jars in .kafka/libs"

.PHONY: clean
clean: ## Remove everything that make created, but for .kafka
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
