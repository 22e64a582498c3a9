# make train   trains on the built-in city           make test    quick tests        make lint    every checker
# make cluster the tests on a real Slurm, MPI, Apptainer and two hosts, as root
# make prove   the tests that take over a minute     make clean   removes what was built (keeps .venv and results)
#
# Each target does its own set-up in .venv. ARGS="..." reaches the command, PYTHON=python3.12 picks the interpreter.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
APT_LINE := sudo apt-get install python3-venv python3-dev g++ make
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder
CPP_FILES := git ls-files '*.cpp' '*.h' '*.cu' '*.cuh'

.PHONY: train test cluster prove lint types clean
.DELETE_ON_ERROR:

train: $(VENV)/run.stamp
	$(BIN)/dcrnn-fast train $(ARGS)

test: $(VENV)/dev.stamp
	$(PYTEST) -m "not slow and not prove and not gpu and not cluster" $(ARGS)

# One after the other: they share a cluster, and each starts several processes.
cluster: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m "cluster and not prove and not gpu" --timeout 900 --durations 12 $(ARGS)

prove: $(VENV)/dev.stamp
	$(PYTEST) -m "prove and not gpu" --timeout 3600 $(ARGS)

lint: $(VENV)/dev.stamp types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files '*.sh' '*.sbatch' .ci/run | xargs -r $(BIN)/shellcheck -x
	$(CPP_FILES) | xargs -r $(BIN)/clang-format --dry-run -Werror

# mypy resolves dcrnn_fast.kernels only where the package has a folder of that name: a forest of links gives it one.
types: $(VENV)/dev.stamp
	@rm -rf build/types && mkdir -p build/types/dcrnn_fast
	@ln -s ../../../kernels $(addprefix ../../../,$(filter-out %/__pycache__,$(wildcard dcrnn_fast/*))) build/types/dcrnn_fast/
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p dcrnn_fast

$(VENV)/run.stamp: pyproject.toml setup.py constraints.txt $(wildcard csrc/*/*)
	@test -n "$$(command -v $(PYTHON))" || { echo "make: no $(PYTHON); on Debian or Ubuntu: $(APT_LINE)" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is $$($(PYTHON) -V), Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv, os, sysconfig as s; os.stat(s.get_path("include") + "/Python.h")' 2>/dev/null \
	  && command -v g++ >/dev/null || { echo "make: a package is missing; on Debian or Ubuntu: $(APT_LINE)" >&2; exit 2; }
	@echo "setting up $(VENV) (once)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -c constraints.txt setuptools wheel torch # before the package: its kernels compile against torch
	@$(PIP) install -c constraints.txt --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	@echo "adding the tools for tests and checks (once)"
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

clean:
	rm -rf build dist _dcrnn_fast_C* $(VENV)/run.stamp *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find dcrnn_fast kernels bench tests -name __pycache__ -prune -exec rm -rf {} +
