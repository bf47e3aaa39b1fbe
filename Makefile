# Two commands matter: `make train` and `make test`. Each does all its own set-up.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
PEERS ?= $(VENV)-peers
ATTRIBUTION_PEERS ?= $(VENV)-attribution-peers
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest -n 2 -q -p no:benchmark
TORCH := torch==2.13.0

# Threads that wait by spinning lose most of their speed to one busy neighbour.
export OMP_WAIT_POLICY ?= PASSIVE
export THP_MEM_ALLOC_ENABLE ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup train test test-slow test-all lint format typecheck imports bench bench-train bench-attribution bench-attribution-peers ui lock clean

help:  ## what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-24s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: $(STAMP)  ## train on the demo data; ARGS="model=lstm" for anything else
	$(BIN)/python train.py $(ARGS)

test: $(STAMP)  ## the tests, without the slow ones
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: $(STAMP)  ## the slow ones
	$(PYTEST) -m slow $(ARGS)

test-all: $(STAMP)  ## all tests
	$(PYTEST) $(ARGS)

lint: $(STAMP)  ## style: ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(STAMP)  ## types: mypy --strict
	$(BIN)/mypy

imports: $(STAMP)  ## who may import whom: import-linter
	$(BIN)/lint-imports

bench: $(STAMP)  ## the benchmarks
	$(BIN)/python -m pytest benchmarks --benchmark-only -q -p no:xdist $(ARGS)
	$(BIN)/python benchmarks/encode_scale.py

bench-train: $(PEERS)/.installed  ## training steps beside the peers', in an environment of its own
	ONEDNN_PRIMITIVE_CACHE_CAPACITY=16384 $(PEERS)/bin/python -m benchmarks.train_speed $(ARGS)

bench-attribution: $(STAMP)  ## attribution methods against the truth of simulated worlds
	$(BIN)/python -m benchmarks.attribution_truth $(ARGS)

bench-attribution-peers: $(STAMP) $(ATTRIBUTION_PEERS)/.installed  ## the same beside other packages; ARGS=cost: what they cost
	$(BIN)/python -m benchmarks.attribution_peers --peers $(ATTRIBUTION_PEERS)/bin/python $(or $(ARGS),accuracy)

ui: $(STAMP)  ## serve the recorded runs at http://127.0.0.1:5000; ARGS="--port 5001"
	@echo "MLflow at http://127.0.0.1:5000 unless ARGS names another port; Ctrl-C stops it"
	$(BIN)/mlflow ui --backend-store-uri "sqlite:///$(CURDIR)/mlflow.db" $(ARGS)

setup: $(STAMP)  ## the virtual environment alone

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "seqmarket needs Python 3.11 to 3.13; '$(PYTHON)' is another, or missing." >&2; \
		echo "Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "'$(PYTHON) -m venv' failed: this Python has no ensurepip." >&2; \
		echo "On Debian and Ubuntu: apt-get install python3-venv. Or: make PYTHON=... with another Python." >&2; \
		exit 1; }
	@echo "Installing into $(VENV), once: a minute or two."
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@

# No dependency is resolved: two of the peers ask for versions that we do not use (see peers.txt).
$(PEERS)/.installed: requirements.lock benchmarks/peers.txt | $(STAMP)
	@echo "Installing the peers into $(PEERS), once: a minute or two."
	@test -x $(PEERS)/bin/python || $(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --disable-pip-version-check -q -r requirements.lock
	$(PEERS)/bin/python -m pip install --disable-pip-version-check -q --no-deps -r benchmarks/peers.txt
	@touch $@

# These see no more of ours than a table, so that their environment is theirs alone.
$(ATTRIBUTION_PEERS)/.installed: benchmarks/attribution_peers.txt | $(STAMP)
	@echo "Installing the peers into $(ATTRIBUTION_PEERS), once: a minute or two; one is compiled."
	@test -x $(ATTRIBUTION_PEERS)/bin/python || $(BIN)/python -m venv $(ATTRIBUTION_PEERS)
	$(ATTRIBUTION_PEERS)/bin/python -m pip install --disable-pip-version-check -q --no-deps -r benchmarks/attribution_peers.txt
	@touch $@

# CUDA libraries are left out: torch asks for its own, exactly, where it needs them.
lock:  ## resolve requirements.lock anew; PYTHON= an oldest supported Python
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --disable-pip-version-check -q $(TORCH) ".[attribution,demo,gbdt,ray,dev]"
	{ sed -n '/^#/p' requirements.lock; $(VENV)-lock/bin/python -m pip freeze --all \
		--exclude pip --exclude wheel --exclude seqmarket \
		| sed -E 's/\+[a-z0-9.]+$$//' | grep -vE '^(nvidia|cuda|triton)[-=]'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf $(VENV)-lock

clean:  ## remove the environment and the caches; runs and MLflow's database stay
	rm -rf $(VENV) $(VENV)-lock $(PEERS) $(ATTRIBUTION_PEERS) .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	rm -rf .benchmarks build dist .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
