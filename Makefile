# Clipline: `make help` lists what there is. Every target installs what it needs when it is first called.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
FOOTAGE ?=
ARGS ?=
BASE ?=
TORCH_INDEX ?=
IMAGES ?= edge full
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' consumers/__init__.py)
PINNED := pyproject.toml constraints.txt
define install
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Clipline needs Python 3.11 or newer; '$(PYTHON)' is older. Install it, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
@$(PYTHON) tools/install.py $(1)
endef

.PHONY: help
help: ## List the targets
	@echo "Each target installs what it needs into $(VENV) when it is first called; a second call installs nothing."
	@echo "(0.5 GB): half a minute. (7 GB): torch and tools, 2 to 5 minutes, once for all of these targets."
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'
	@echo
	@echo "FOOTAGE=path  your own videos in a demo        ARGS='...'  further arguments of the command"
	@echo "PYTHON=path   another Python, 3.11 or newer"

# tools/install.py writes these stamps once everything is in place; that of a larger install stands for the smaller.
$(VENV)/.demo: $(PINNED)
	$(call install,demo)

$(VENV)/.all: $(PINNED)
	$(call install,all)

$(VENV)/.bench: $(PINNED)
	$(call install,bench)

.PHONY: demo
demo: $(VENV)/.demo ## Run everything on sample cameras, or on FOOTAGE=path (0.5 GB)
	@$(BIN)/clipline demo $(if $(FOOTAGE),"$(FOOTAGE)") $(ARGS)

.PHONY: install
install: $(VENV)/.all ## Install everything: to train, export and develop (7 GB)

.PHONY: test
test: $(VENV)/.all ## Run the tests; ARGS='-k clipper' for some (7 GB)
	@# One thread each: test processes that each use every core mostly wait for one another.
	@# Tests of a file stay together, since they share what is dear to make.
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadscope $(ARGS)

.PHONY: test-slow
test-slow: $(VENV)/.all ## Run the tests that take long and rarely fail (7 GB)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m slow $(ARGS)

.PHONY: check
check: $(VENV)/.all ## Lint, types, the borders between packages, exports of shipped models (7 GB)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m models.engines.shipped --check

.PHONY: format
format: $(VENV)/.all ## Format the code (7 GB)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: shipped
shipped: $(VENV)/.all ## Export shipped models whose checkpoint is new beside it (7 GB)
	@$(BIN)/python -W ignore -m models.engines.shipped

.PHONY: test-gpu
test-gpu: $(VENV)/.bench ## On a machine with an NVIDIA GPU: its tests, then cameras a GPU beside other decoders (7 GB)
	@$(BIN)/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("torch finds no GPU: install the driver, or a torch for CUDA")'
	@$(BIN)/python -m pytest tests/test_gpu_decoding.py tests/test_models.py -k "nvdec or cuda or footage_are" $(ARGS)
	@$(BIN)/python benchmarks/bench.py --only cameras_per_gpu

.PHONY: bench
bench: $(VENV)/.bench ## Measure what a camera costs, beside what people would write instead, and how soon messages arrive (7 GB)
	@$(BIN)/python benchmarks/bench.py $(ARGS)
	@$(if $(ARGS),:,$(BIN)/python benchmarks/notify.py)

.PHONY: bench-replay
bench-replay: $(VENV)/.bench ## Measure how fast recorded footage is replayed, and its memory over an hour (7 GB)
	@$(BIN)/python benchmarks/replay.py --hour $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.all kafka ## Kill, stop and cut processes at random, then count every window; ARGS='--kills 300' (7 GB)
	@$(BIN)/python -W ignore benchmarks/chaos.py $(ARGS)

.PHONY: soak
soak: $(VENV)/.all kafka ## An hour of 30 cameras: does anything grow? writes build/soak.json; ARGS='--minutes 10' (7 GB)
	@$(BIN)/python -W ignore benchmarks/soak.py $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.bench ## Decode 50,000 damaged segments in a watched process; ARGS='--count 1000' for fewer (7 GB)
	@$(BIN)/python benchmarks/fuzz.py $(ARGS)

.PHONY: bench-minutes
bench-minutes: ## Measure the first minutes: a fresh clone, `make demo`, the first event
	@$(PYTHON) benchmarks/first_minutes.py $(ARGS)

build/edge-venv/.edge: $(PINNED) $(shell find stream models consumers -name '*.py' -o -name '*.xml')
	$(call install,edge build/edge-venv)

.PHONY: edge
edge: $(VENV)/.all build/edge-venv/.edge ## Serve models from an install without torch; prints its size (7 GB)
	@$(BIN)/python -W ignore benchmarks/edge.py build/edge-venv/bin/python

.PHONY: images
images: ## Build the container images with buildah and print their sizes; IMAGES=edge for one, BASE=image, TORCH_INDEX=url
	@BASE="$(BASE)" TORCH_INDEX="$(TORCH_INDEX)" docker/build.sh $(IMAGES)

.PHONY: image-test
image-test: $(VENV)/.demo kafka ## Run the edge image, as `make images` built it, on Apache Kafka without a daemon (root)
	@$(BIN)/python -W ignore benchmarks/edge_image.py localhost/clipline-edge:$(VERSION)

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
