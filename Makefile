# Everything a checkout needs; `make help` lists it. Runs with the make of Linux and of macOS.
.DEFAULT_GOAL := help
.PHONY: help setup train test test-slow test-gpu test-slurm lint types lock numerics bench gallery notebooks clean

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
WORKERS ?= 3
ARGS ?=

FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
RANGE := >=3.11,<3.14
PYTHON ?= $(shell for p in python3 python python3.13 python3.12 python3.11; do \
	$$p -c '$(FITS)' >/dev/null 2>&1 && { echo $$p; break; }; done)
UV ?= $(shell uv --version >/dev/null 2>&1 && echo uv)
# Of pip's 700 lines: every 25th package, what is large, what is written at last; its errors and warnings are all shown.
FEW_LINES := /^Collecting / && ++packages % 25 == 0 {print "  " packages " packages"; fflush()} \
	/Downloading .*[0-9][0-9][0-9](\.[0-9])? MB/ {print; fflush()} \
	/^Installing/ {print "  writing " packages " packages"; fflush()} /^FAILED$$/ {failed = 1} END {exit failed}
# Idle OpenMP threads sleep: those that spin keep the other workers from their cores. A third worker fills the time in
# which tests wait for processes. What is compiled is kept, for the workers and processes that come after.
PYTEST := OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE= $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

help: ## these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## make .venv from the lock file, by uv or, without it, pip
train: setup ## train LeNet-5 on digits; anything else: make train ARGS="arch=resnet20 data=cifar10"
	@$(PY) train.py $(ARGS)
test: setup ## the tests: offline, no GPU, minutes
	$(PYTEST) $(ARGS)
test-slow: setup ## the long tests; those on real data want CONVARIUM_DATA
	$(PYTEST) -m slow $(ARGS)
test-gpu: setup ## the tests on a CUDA GPU
	CUDA_VISIBLE_DEVICES=$${CUDA_VISIBLE_DEVICES-0} $(PY) -m pytest -m gpu $(ARGS)
test-slurm: setup ## the tests on a Slurm of this machine (root; apt-get install slurmctld slurmd slurm-client munge)
	$(PY) -m pytest -m slurm tests/slurm $(ARGS)
SCRIPTS := src/convarium/report/scripts/*.js tests/*.js
lint: setup ## ruff, its format, which package may import which; the scripts of pages where node, or eslint, is there
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	@node --version >/dev/null 2>&1 || echo "no node: the scripts of pages are not checked"
	@! node --version >/dev/null 2>&1 || for script in $(SCRIPTS); do node --check $$script || exit 1; done
	@! eslint --version >/dev/null 2>&1 || eslint $(SCRIPTS)
types: setup ## mypy, strict, on src
	$(PY) -m mypy
lock: ## resolve the lock file anew (needs uv); to take newer versions: make lock ARGS=--upgrade
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" --quiet --output-file requirements.txt $(ARGS)
numerics: setup ## 20 losses of every architecture, bit for bit; AGAINST=FILE compares with an earlier output
	@$(PY) tests/numerics.py $(if $(AGAINST),--against "$(AGAINST)") $(ARGS)
bench: setup ## every benchmark; each prints a ratio against a named peer
	@for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(PY) "$$benchmark" || exit 1; done
gallery: setup ## docs/gallery.html: all networks drawn and counted, on one page
	@$(VENV)/bin/convarium gallery out=docs/gallery.html
notebooks: setup ## execute the notebooks
	$(PY) -m pytest tests/test_notebooks.py $(ARGS)
clean: ## remove caches and builds (not .venv, data or runs)
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks train.py -name __pycache__ -type d -prune -exec rm -rf {} +

# setuptools comes first: one requirement exists as source only and is built with it. Nothing is fetched that the lock
# file does not name with its hash; the package itself is built by the hatchling it names. What is compiled here is
# not compiled at every start where Python is told to write no bytecode.
$(STAMP): requirements.txt pyproject.toml
	@test -n "$(PYTHON)$(UV)" && { test -z "$(PYTHON)" || $(PYTHON) -c '$(FITS)'; } || { \
		echo "error: Python 3.11, 3.12 or 3.13 is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
ifneq ($(UV),)
	@test -x $(PY) || $(UV) venv --quiet --python "$(or $(PYTHON),$(RANGE))" $(VENV)
	@awk '/^[a-z]/ {keep = /^setuptools==/} keep' requirements.txt > $(VENV)/first.txt
	$(UV) pip install --quiet --python $(PY) --require-hashes -r $(VENV)/first.txt
	$(UV) pip install --compile-bytecode --python $(PY) --require-hashes --no-build-isolation -r requirements.txt
	$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .
else
	@echo "by pip, which takes minutes"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null
	@awk '/^[a-z]/ {keep = /^setuptools==/} keep' requirements.txt > $(VENV)/first.txt
	@$(PY) -m pip install --quiet --require-hashes -r $(VENV)/first.txt
	@{ $(PY) -m pip install --require-hashes --no-build-isolation --use-pep517 -r requirements.txt || echo FAILED; } \
		| awk '$(FEW_LINES)'
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .
endif
	@touch $(STAMP)
