# Every target sets up the environment that it needs. scripts/bootstrap.py prints the interpreter that the target then uses.
PYTHON ?= python3
ARGS ?=
SETUP = "$(PYTHON)" scripts/bootstrap.py
WITH_TOOLS = py="$$($(SETUP) --extras report,test,dev)"
# Tests of the report use Chromium if it is installed. BROWSER=install installs it from Debian's packages.
BROWSER ?=
# The benchmark uses CrossSim and aihwkit-lightning if they are in .peers. PEERS=install puts them there first.
PEERS ?=

.PHONY: help setup demo test test-all test-peers mutate bench lint docs wheel clean

help:  ## print these lines
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile
	@echo '  PYTHON=python3.12, VENV=PATH (or none) and TORCH=cuda choose the environment; demo, test, mutate and bench hand ARGS="..." on'

setup:  ## make an environment for working on this package, and print its interpreter
	@$(SETUP) --extras report,test,dev

demo:  ## train, measure and report on handwritten digits that the package brings
	@py="$$($(SETUP) --extras report)" && "$$py" -m incorruptible demo $(ARGS)

# Each of the two workers has one thread, because threads that share a core cost a factor of ten. Long tests are left out here and not in
# pyproject.toml, so that `pytest tests/test_x.py` runs all tests of a file.
# worksteal keeps the tests of a file on one worker as far as possible, because they share fixtures that are costly to make. Dozens of
# tests start a Python, and each would compile the package anew if PYTHONDONTWRITEBYTECODE were set.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 "$$py" -m pytest -n 2 --dist worksteal
test:  ## run the tests, except long ones (marked slow); BROWSER=install installs Chromium first, for the tests of the report
	@$(if $(filter install,$(BROWSER)),sh scripts/browser.sh;) $(WITH_TOOLS) \
		&& echo "Tests marked slow are left out: make test-all runs them too." && $(PYTEST) -m "not slow" $(ARGS)

test-all: test  ## run all tests: make test, and then the long ones
	@$(WITH_TOOLS) && $(PYTEST) -m slow $(ARGS)

test-peers:  ## run the tests of the bridges, with CrossSim and aihwkit-lightning, which are installed into .peers
	@$(WITH_TOOLS) && sh scripts/peers.sh "$$py" $(ARGS)

mutate:  ## check that the tests see small faults, about 8 min on two idle cores with --jobs 2; ARGS="--only 'weights/*' --jobs 2"
	@$(WITH_TOOLS) && OMP_NUM_THREADS=1 "$$py" scripts/mutate.py $(ARGS)

bench:  ## time training and measuring, about 90 min on an idle machine; PEERS=install; ARGS="--only memory --check"
	@py="$$($(SETUP))" && sh scripts/bring_peers.sh "$$py" $(if $(filter install,$(PEERS)),simulators) optimizers && "$$py" -m benchmarks $(ARGS)

lint:  ## check ruff's rules, the layout and the types
	@$(WITH_TOOLS) && "$$py" -m ruff check . && "$$py" -m ruff format --check . && "$$py" -m mypy

docs:  ## the site of docs/, into site/index.html; fails where a link or a page is broken
	@py="$$($(SETUP) --extras docs)" && "$$py" scripts/reference_pages.py --check \
		&& NO_MKDOCS_2_WARNING=1 "$$py" -m mkdocs build && echo site/index.html

wheel:  ## build dist/*.whl
	@$(WITH_TOOLS) && "$$py" -m build --wheel --no-isolation --outdir dist .

clean:  ## remove build files and caches, but neither .venv nor runs
	@rm -rf dist build site .peers .mypy_cache .ruff_cache
	@find src tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
