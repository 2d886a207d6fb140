# Every target sets up what it needs; scripts/bootstrap.py names the interpreter that it then uses.
PYTHON ?= python3
ARGS ?=
SETUP = "$(PYTHON)" scripts/bootstrap.py
WITH_TOOLS = py="$$($(SETUP) --extras report,test,dev)"
# Chromium for the tests of the report: taken as it is, or with BROWSER=install from Debian's packages.
BROWSER ?=
# CrossSim and aihwkit-lightning for the benchmark: taken from .peers if they are there, or with PEERS=install brought first.
PEERS ?=

.PHONY: help setup demo test test-all test-peers mutate bench lint docs wheel clean

help:  ## these lines
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile
	@echo '  PYTHON=python3.12, VENV=PATH (or none) and TORCH=cuda choose where; ARGS="..." is handed on by demo, test and bench'

setup:  ## an environment for working on this package; prints its interpreter
	@$(SETUP) --extras report,test,dev

demo:  ## train, measure and report on embedded digits
	@py="$$($(SETUP) --extras report)" && "$$py" -m incorruptible demo $(ARGS)

# One thread for each of the two workers: threads that share a core cost a factor of ten. The choice between quick and long tests is made
# here and not in pyproject.toml, so that whoever names a file or a test gets all of it.
# Tests of one file stay with one worker as far as may be, for they share what is costly to make (worksteal); dozens of tests start a
# Python, each of which would compile the package anew where PYTHONDONTWRITEBYTECODE is set.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 "$$py" -m pytest -n 2 --dist worksteal
test:  ## the tests but for the long ones (marked slow); BROWSER=install brings Chromium first, without which those of the report are skipped
	@$(if $(filter install,$(BROWSER)),sh scripts/browser.sh;) $(WITH_TOOLS) \
		&& echo "Tests marked slow are left out: make test-all runs them too." && $(PYTEST) -m "not slow" $(ARGS)

test-all: test  ## make test, and then the long tests
	@$(WITH_TOOLS) && $(PYTEST) -m slow $(ARGS)

test-peers:  ## the tests of the bridges, with CrossSim and aihwkit-lightning, which come into .peers
	@$(WITH_TOOLS) && sh scripts/peers.sh "$$py" $(ARGS)

mutate:  ## whether the tests see small faults, one at a time, about 8 min on two idle cores with --jobs 2; ARGS="--only 'weights/*' --jobs 2"
	@$(WITH_TOOLS) && OMP_NUM_THREADS=1 "$$py" scripts/mutate.py $(ARGS)

bench:  ## what training and measuring cost, about 90 min on an idle machine; PEERS=install; ARGS="--only memory --check"
	@py="$$($(SETUP))" && sh scripts/bring_peers.sh "$$py" $(if $(filter install,$(PEERS)),simulators) optimizers && "$$py" -m benchmarks $(ARGS)

lint:  ## ruff's rules, its layout, strict types
	@$(WITH_TOOLS) && "$$py" -m ruff check . && "$$py" -m ruff format --check . && "$$py" -m mypy

docs:  ## the site of docs/, into site/index.html; fails where a link or a page is broken
	@py="$$($(SETUP) --extras docs)" && "$$py" scripts/reference_pages.py --check \
		&& NO_MKDOCS_2_WARNING=1 "$$py" -m mkdocs build && echo site/index.html

wheel:  ## dist/*.whl
	@$(WITH_TOOLS) && "$$py" -m build --wheel --no-isolation --outdir dist .

clean:  ## remove what was built, but neither .venv nor runs
	@rm -rf dist build site .peers .mypy_cache .ruff_cache
	@find src tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
