# One door to everything. Each target makes what it needs; nothing outside this directory is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

GATES := gate-leaders gate-pauses gate-failover gate-servers gate-stores gate-repairs gate-hosts
.PHONY: demo test check sim soak bench bench-peers bench-growth docs wheel clean help gate gate-files $(GATES)

help:
	@echo "make demo   boot a datacenter, run a service and a job on it, check every claim"
	@echo "make test   the whole suite: [JOBS=n] processes, one more than there are cores: much of it waits"
	@echo "make check  what CI runs before the tests: ruff, mypy, generated documents"
	@echo "make sim    whole datacenters on virtual time: SEEDS=1000 [SEED=n]"
	@echo "make gate   a real datacenter, broken on purpose: [SEED=n] [COUNT=n]; one by one: $(GATES) gate-files"
	@echo "make soak   everybody tries everything: a thousand connections, a minute's flood"
	@echo "make bench  measure everything, half an hour: [NAMES='tasks burst']; bench-peers, bench-growth: ops/bench/README.md"
	@echo "make docs   write the generated references again"
	@echo "make wheel  build the wheel, install it in an empty environment, run the demo from it"

$(INSTALLED): pyproject.toml ops/requirements.txt
	$(PYTHON) -c 'import sys; sys.exit("Busbar needs Python 3.11 or newer; try: make PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r ops/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(INSTALLED)
	$(BIN)/busbar demo

JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m ops.reference --check

SEEDS ?= 1000
sim: $(INSTALLED)
	$(BIN)/python -m tests.simulation.run --seeds $(SEEDS) $(if $(SEED),--seed $(SEED))

gate: $(GATES) gate-files

$(GATES): gate-%: $(INSTALLED)
	$(BIN)/python -m tests.faults.$* $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED))

gate-files: $(INSTALLED)
	$(BIN)/python -m tests.eventstore.faults $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED))

soak: $(INSTALLED)
	HOSTILE_CONNECTIONS=1000 HOSTILE_FLOOD_S=60 $(BIN)/python -m pytest tests/hostile

BENCH ?= build/bench.json
bench: $(INSTALLED)
	@mkdir -p $(dir $(BENCH))
	$(BIN)/python -m ops.bench --json $(BENCH) $(NAMES)

bench-peers: $(INSTALLED)
	@mkdir -p $(dir $(BENCH))
	$(BIN)/python -m ops.bench.peers --json $(dir $(BENCH))peers.json

bench-growth: $(INSTALLED)
	$(BIN)/python -m ops.bench.growth $(NAMES)

docs: $(INSTALLED)
	$(BIN)/python -m ops.reference

wheel: $(INSTALLED)
	rm -rf build dist
	$(BIN)/python -m build --quiet --no-isolation --wheel
	$(BIN)/python ops/try_wheel.py dist

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
