# vectorfleet: `make help` lists the targets. Every target does its own set-up; what is slow is cached by content.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CACHE  := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/vectorfleet
# A stamp is named after what it was made from, so that a changed lock file makes a new environment and an old one is found again.
LOCKED := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)
DEMO_LOCKED := $(VENV)/.demo-$(shell cat demo/requirements.lock demo/requirements-no-deps.lock 2>/dev/null | sha256sum | cut -c1-16)
BENCH_VENV := .venv-bench
BENCH_LOCKED := $(BENCH_VENV)/.installed-$(shell cat benchmarks/requirements-peers.lock 2>/dev/null | sha256sum | cut -c1-16)
E2E ?= tests/e2e
SOURCES := client node operator devcluster demo benchmarks tests

##@ The two commands
.PHONY: demo
demo: $(LOCKED) $(DEMO_LOCKED) ## Boot a cluster, install the chart, load 117,000 glosses, ask questions, kill a pod (CLUSTER=devcluster|kind|current)
	$(BIN)/python -m demo up

.PHONY: test
test: check fuzz mutants-fast sim property bench-smoke durability e2e ## Everything: format, lint, types, layers, unit tests, hostile bytes, some mutants, the simulation, searches against an oracle, the benchmarks' smoke tests, real processes that are killed, then end-to-end tests on a real Kubernetes

##@ While you work
.PHONY: check
check: format-check lint types layers generated unit ## The inner loop, under two minutes

.PHONY: unit
unit: $(LOCKED) ## Unit tests
	$(BIN)/python -m pytest tests/unit -q -n 4

.PHONY: fuzz
fuzz: $(LOCKED) ## Every decoder against cut, flipped and hostile bytes
	$(BIN)/python -m pytest tests/fuzz -q -n 4

.PHONY: sim
sim: $(LOCKED) ## Two minutes of the deterministic simulation of a shard
	$(BIN)/python -m pytest tests/sim -q -s

.PHONY: property
property: $(LOCKED) ## Random operations and searches on a shard, each answer compared with a brute-force oracle
	$(BIN)/python -m pytest tests/property -q -s

.PHONY: golden
golden: $(LOCKED) $(DEMO_LOCKED) ## Recall on GloVe-100 (downloads 118 MB once) and on the glosses that `make demo` embedded; minutes at first, then cached
	$(BIN)/python -m pytest tests/golden -q -s

.PHONY: soak
soak: $(LOCKED) ## The simulation from a random seed on, SECONDS=600 long
	$(BIN)/python -m tests.sim --seconds $(or $(SECONDS),600)

.PHONY: durability
durability: $(LOCKED) ## Real processes, disks and an S3 server, killed, stopped and filled: nothing acknowledged is lost
	$(BIN)/python -m pytest tests/durability -q -n 2 --dist worksteal

.PHONY: e2e
e2e: $(LOCKED) ## End-to-end tests (E2E=tests/e2e/test_x.py for some of them)
	$(BIN)/python -m pytest $(E2E) -v --cluster=$(or $(CLUSTER),auto) --durations=15

.PHONY: mutants
mutants: $(LOCKED) ## Breaks the storage protocol on purpose: each mutant must be killed by its test
	$(BIN)/python -m tests.mutants

.PHONY: mutants-fast
mutants-fast: $(LOCKED)
	$(BIN)/python -m tests.mutants --fast

.PHONY: bench-storage
bench-storage: $(LOCKED) ## The storage engine's figures, each beside the raw figure of the same run (idle machine, many minutes)
	$(BIN)/python -m benchmarks.storage all

.PHONY: bench-search
bench-search: $(LOCKED) $(BENCH_LOCKED) ## Search beside other engines at equal recall (idle machine, hours; QUICK=1: ten minutes; PART=peers: one part)
	$(BIN)/python -m benchmarks.search $(or $(PART),all) $(if $(QUICK),--quick)

.PHONY: bench-smoke
bench-smoke: $(LOCKED) ## Every part of the search benchmarks with tiny data: that they run
	$(BIN)/python -m pytest tests/bench -q -n 2 --dist worksteal

.PHONY: format
format: $(LOCKED) ## Rewrite the code in the one format
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

.PHONY: format-check
format-check: $(LOCKED)
	$(BIN)/ruff format --check --quiet $(SOURCES)

.PHONY: lint
lint: $(LOCKED)
	$(BIN)/ruff check --quiet $(SOURCES)

.PHONY: types
types: $(LOCKED)
	$(BIN)/mypy client/vectorfleet node/vectorfleet_node operator/vectorfleet_operator devcluster demo benchmarks

.PHONY: layers
layers: $(LOCKED) ## The import contracts of pyproject.toml
	$(BIN)/lint-imports

##@ Generated files
.PHONY: generate
generate: $(LOCKED) ## gRPC stubs, CRD and API reference, from the .proto files and the models
	$(BIN)/python -m grpc_tools.protoc -I client --python_out=client --pyi_out=client --grpc_python_out=client client/vectorfleet/v1/*.proto
	$(BIN)/python -m vectorfleet_operator.model.generate

.PHONY: generated
generated: generate ## Fails when a generated file was not committed as it would be made now
	@git diff --exit-code --stat -- client/vectorfleet/v1 crds charts docs/reference || { echo "generated files differ: commit what 'make generate' made" >&2; exit 1; }

.PHONY: lock
lock: $(LOCKED) ## Lock the dependencies anew
	$(BIN)/uv pip compile pyproject.toml --extra operator --extra node --extra dev --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra node --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o node/requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra operator --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o operator/requirements.lock
	$(BIN)/uv pip compile demo/requirements.in --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -c requirements.lock -o demo/requirements.lock
	$(BIN)/uv pip compile benchmarks/requirements-peers.in --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -c requirements.lock -o benchmarks/requirements-peers.lock
	$(BIN)/uv pip compile demo/requirements-no-deps.in --no-deps --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o demo/requirements-no-deps.lock

##@ Clusters
.PHONY: cluster-up
cluster-up: $(LOCKED) ## A three-node Kubernetes on this machine, without Docker
	$(BIN)/python -m devcluster up --nodes 3

.PHONY: cluster-down
cluster-down: $(LOCKED) ## Removes it without a trace
	$(BIN)/python -m devcluster down

.PHONY: demo-down
demo-down: $(LOCKED) ## Removes what the demo made
	$(BIN)/python -m demo down

##@ Housekeeping
.PHONY: setup
setup: $(LOCKED) ## Only the Python environment

.PHONY: clean
clean: ## Removes the environment and tool caches (the caches of built programs stay in $(CACHE))
	rm -rf $(VENV) $(BENCH_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(LOCKED):
	@echo "setting up the Python environment in $(VENV) (once)"
	@$(PYTHON) -c 'import sys; sys.exit("vectorfleet needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (set PYTHON=...)") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv; } || { echo "python3-venv is missing and could not be installed: apt-get install -y python3-venv" >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.installed-* && touch $@

$(DEMO_LOCKED): $(LOCKED)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r demo/requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r demo/requirements-no-deps.lock
	@rm -f $(VENV)/.demo-* && touch $@

$(BENCH_LOCKED): $(LOCKED)
	@[ -x $(BENCH_VENV)/bin/python ] || $(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/requirements-peers.lock
	@rm -f $(BENCH_VENV)/.installed-* && touch $@
