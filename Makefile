# The two commands to start with: `make demo` shows what fastzk does, `make test` passes its tests.
# Each makes its own .venv, installs the pinned dependencies once and builds what changed.

PYTHON ?= python3
# Processes that run tests; those of one file that starts real nodes run one after the other.
TEST_JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find src -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.c')
export FASTZK_BUILD_JOBS ?= $(shell nproc)

.DEFAULT_GOAL := help
.PHONY: help build test lint run demo systems bench bench-vs bench-first profile instructions torture watch-torture failover fuzz corpus differential
.PHONY: chaos kills sim zoo clean

help:
	@echo 'make build      .venv with fastzk-node, from the pinned dependencies'
	@echo 'make demo       three nodes, two client protocols, the leader killed in mid-write, nothing lost'
	@echo 'make test       every test that takes less than minutes'
	@echo 'make systems    Hadoop, Kafka, BookKeeper, MetaMQ, Curator, Codis, ClickHouse, Patroni, kazoo: on three nodes, whose leader is killed meanwhile'
	@echo 'make lint       ruff, mypy --strict, cython-lint'
	@echo 'make run        an ensemble of three nodes on loopback, until Ctrl-C'
	@echo 'make bench      latency and throughput of every operation, on one node and three, over both protocols; the core alone'
	@echo 'make bench-vs   one node and three beside Apache ZooKeeper, in turns'
	@echo 'make profile    flame graphs of three nodes under load (OP=setData NODES=3), by perf and py-spy'
	@echo 'make instructions   instructions per operation (valgrind), beside those written down'
	@echo 'make torture    100 million reads of the arena under a writer'
	@echo 'make watch-torture   a million events (ROUNDS=...), none of them late, lost or doubled'
	@echo 'make failover   the leader of three nodes killed twenty times, as clients on the others see it'
	@echo 'make fuzz       100,000 hostile inputs for each port'
	@echo 'make corpus     every byte of a megabyte of log, vote, snapshots: changed, and told'
	@echo 'make differential   20,000 conversations with Apache ZooKeeper and with fastzk, compared'
	@echo 'make sim        whole nodes in simulated time, for MINUTES=10, from seed SEED=1 on'
	@echo 'make zoo        what systems of this kind had broken once, broken again, and how soon the simulator sees it'
	@echo 'make chaos      real nodes under kills, cut networks, failing disks, for MINUTES=10 (SEED=1), and the judges'
	@echo 'make kills      a thousand times kill -9 on disks that forget what was not synced, and the judges'
	@echo 'make bench-report   every measurement there is, some hours; build/bench/report.html and docs/performance.md'
	@echo 'make clean      all of it away again'

$(VENV)/.deps: requirements/dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements/dev.txt
	@touch $@

$(VENV)/.built: setup.py $(SOURCES) $(VENV)/.deps
	$(BIN)/python setup.py -q build_ext --inplace -j $(FASTZK_BUILD_JOBS)
	@touch $@

# The extensions stand beside their sources and are up to date, so this only writes the entry points.
$(BIN)/fastzk-node: pyproject.toml $(VENV)/.built
	test -x $@ -a $@ -nt pyproject.toml || $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --no-build-isolation --no-deps --editable .
	@touch $@

build: $(BIN)/fastzk-node

test: build
	$(BIN)/python -m pytest -q -m 'not process and not long' -n $(TEST_JOBS)
	$(BIN)/python -m pytest -q -m 'process and not long' -n $(TEST_JOBS) --dist loadfile

# Not part of make test: minutes, and some 100 MB of jars the first time.
systems: build
	$(BIN)/python -m pytest -q -m long tests/systems

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH=$(CURDIR)/$(BIN):$$PATH cython-lint $$(git ls-files '*.pyx' '*.pxd')

run: build
	$(BIN)/python tools/run.py

demo: build
	$(BIN)/python tools/demo.py

bench: build
	$(BIN)/python -m pytest -q bench --benchmark-columns=min,median,mean,max,rounds --benchmark-sort=name

bench-vs: build
	$(BIN)/python bench/versus.py

# The first figures on record were taken with this.
bench-first: bench-vs

OP ?= setData
NODES ?= 3

profile: build
	tools/profile.sh --load $(OP) --nodes $(NODES)

# After a change that is meant: bench/instructions.py --write
instructions: build
	$(BIN)/python bench/instructions.py

# ROUNDS are events; some thousands are part of `make test`.
ROUNDS ?= 1000000

watch-torture: build
	$(BIN)/python tests/crash/torture_watches.py --rounds $(ROUNDS)

torture: build
	$(BIN)/python tests/crash/torture_arena.py --reads 100000000

failover: build
	$(BIN)/python -m pytest -q -s -m long tests/crash/test_failover.py

fuzz: build
	$(BIN)/python -m pytest -q -m long tests/crash/test_hostile.py

corpus: build
	$(BIN)/python -m pytest -q -s -m long -n $(TEST_JOBS) tests/property/test_corpus.py

differential: build
	$(BIN)/python tests/compat/differential.py --seed 1 --sequences 20000 --jobs $$(( ($$(nproc) + 2) / 3 ))

MINUTES ?= 10
SEED ?= 1
KILLS ?= kill=300,leader=300,lossy=300,all=100

chaos: build
	$(BIN)/python -m fastzk.testing.chaos --minutes $(MINUTES) --seed $(SEED)

zoo: build
	$(BIN)/python tests/sim/zoo.py

sim: build
	$(BIN)/python tools/sim.py --seeds $(SEED): --jobs $(TEST_JOBS) --minutes $(MINUTES)

kills: build
	$(BIN)/python -m fastzk.testing.chaos --cycles $(KILLS) --seed $(SEED)

# SCALE=0.05 is a smoke test; SCENARIOS=failover,idle; REPORT_OPTIONS='--minutes 30' ends it then: the next call goes on from there.
SCALE ?= 1.0
SCENARIOS ?=
REPORT_OPTIONS ?=

.PHONY: bench-report
bench-report: build
	$(BIN)/python bench/report.py run --scale $(SCALE) --scenarios '$(SCENARIOS)' $(REPORT_OPTIONS); status=$$?; \
	    $(BIN)/python bench/report.py page && exit $$status

clean:
	rm -rf $(VENV) build dist data .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find src -name '*.so' -delete
	find . -name '__pycache__' -type d -prune -exec rm -rf {} +
	rm -rf src/*.egg-info
