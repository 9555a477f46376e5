# Every target sets up .venv by itself. On a fresh machine `make demo` and `make test` are all one needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# pip reads it, and it takes other versions for what the packages allow.
export PIP_CONSTRAINT

# Test processes, each with one thread: more threads than cores is the slow way on small networks.
JOBS ?= 2

# Benchmarks read the networks and images from here when the folder exists, and download CIFAR otherwise.
DATA ?= ../shared/data
DATA_OPTION := $(if $(wildcard $(DATA)),--data $(DATA))

.PHONY: install demo test smoke check test-all test-oldest check-oldest check-dist browser test-processors coverage fuzz mutants bench evidence tables docs lint dist clean help
.NOTPARALLEL:
.DEFAULT_GOAL := help

help:
	@echo "make install | demo | smoke | test | check | test-all | test-oldest | check-oldest | check-dist | browser | test-processors | coverage | fuzz | mutants | bench | evidence | tables | docs | lint | dist | clean"

install: $(VENV)/installed-plot

demo: $(VENV)/installed-plot
	$(BIN)/python examples/digits.py

# The tests of a file share a process, since they share what its fixtures fit. Files in their order: xdist's own, by
# number of tests, has long ones of few tests last, and one process then waits for another.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# What pytest is told besides: ARGS=tests/clamping, say.
ARGS ?=
EVERYTHING := -m ""

# A quick look: every public name once, on real data, in one process.
smoke: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_smoke.py $(ARGS)

# The fast run: all but what is marked as slow.
test: $(VENV)/installed-test
	$(PYTEST) $(ARGS)

# Lint, the documentation without a warning, then every test.
check: lint docs test-all

# The slow ones among them; those of pages are skipped without a browser, those of the site without `make docs`.
test-all: $(VENV)/installed-dev
	$(PYTEST) $(EVERYTHING) $(ARGS)

# From Debian or Ubuntu, for root. Where none is to be had it says so, and all is well.
browser:
	@command -v chromium >/dev/null \
	  || { timeout 120 apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -qq chromium; } \
	     </dev/null >/dev/null && chromium --version --no-sandbox \
	  || echo "no Chromium from apt: tests of pages will be skipped"

# Lines and branches of the package; below what setup.cfg asks for it fails.
coverage: $(VENV)/installed-dev
	$(PYTEST) $(EVERYTHING) --cov=skclamp

# Draws cases of tests/campaign anew for so many seconds in each of JOBS processes; ARGS="--kinds metrics", say.
SECONDS ?= 600

fuzz: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python tools/fuzz.py --seconds $(SECONDS) --jobs $(JOBS) $(ARGS)

# Small faults of the numeric rooms that the fast tests don't notice: ARGS="--sample 10 --rooms metrics", say.
mutants: $(VENV)/installed-dev
	$(BIN)/python tools/mutants.py $(ARGS)

# With the oldest versions that pyproject.toml allows, on the oldest Python.
OLDEST_PYTHON ?= python3.11
# Python compiles what tests import, pip would compile all.
OLDEST = $(MAKE) test VENV=.venv-oldest PYTHON=$(OLDEST_PYTHON) PIP_COMPILE=0 \
  PIP_CONSTRAINT=$(CURDIR)/constraints-oldest.txt

test-oldest:
	$(OLDEST) ARGS='$(EVERYTHING)'

# Of these tests what CI runs: every public name and calibrator, files and exports.
check-oldest:
	$(OLDEST) ARGS='$(wildcard tests/test_smoke.py tests/test_common*.py tests/test_persistence*.py tests/modules)'

# The fast tests as processors of other vector instructions and threads run them; ARGS=tests/_solvers, say.
test-processors: $(VENV)/installed-test
	$(BIN)/python tools/processors.py -n $(JOBS) $(ARGS)

bench: $(VENV)/installed-bench
	$(BIN)/python benchmarks/shift.py $(DATA_OPTION) --shifts none --sizes 5000 --out data/none.csv
	$(BIN)/python benchmarks/speed.py

# Goes on with the files of benchmarks/results where it stopped, for hours; ARGS=--missing only says what they lack.
evidence: $(VENV)/installed-bench
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/run.py evidence $(DATA_OPTION) $(ARGS)

# The measured tables of the pages, from benchmarks/results; a test fails where one differs.
tables: $(VENV)/installed-test
	$(BIN)/python benchmarks/tables.py

# Read docs/_build/html/index.html. It needs no network, and any warning fails it. All pages anew (-E): those that an
# earlier build has left would be missing from the search.
docs: $(VENV)/installed-docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -b html -E -W --keep-going docs docs/_build/html

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/docstrings.py
	$(BIN)/python tools/prose.py
	$(BIN)/repo-review .

dist: $(VENV)/installed-dev
	rm -rf dist
	$(BIN)/python -m build

# The README's lines, with the wheel and what it brings alone.
check-dist: dist
	$(PYTHON) -m venv --clear build/environment
	build/environment/bin/pip install --quiet dist/*.whl
	sed -n '/^```python/,/^```/{/^```/!p}' README.md > build/readme.py
	cd build && OMP_NUM_THREADS=1 environment/bin/python -W error readme.py

clean:
	rm -rf $(VENV) .venv-oldest build dist docs/_build docs/api/examples docs/api/generated docs/auto_examples *.egg-info

# One stamp for each group of dependencies: installed once, and again when they change.
$(VENV)/installed-%: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable . --group $*
	@touch $@

$(VENV)/installed-plot: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[plot]'
	@touch $@

# The first pip that knows groups is 25.1.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT= $(BIN)/pip install --quiet --upgrade 'pip>=25.1'
