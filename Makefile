# make demo    the main job on the embedded data; results in runs/demo/
# make test    the tests, but those marked slow
# make test-all    all tests
# make lint    style, types and layers; the shell scripts
# make docs    the documents and the Python API as a site, in site/
# make test-docs   all that the documents say is run: snippets and commands, the slow ones too
# make clean   removes what building and checking leave behind (not .venv*/, not runs/)
# make test-newest   the tests with the newest Python and libraries, without constraints.txt
#
# Each installs what it needs into .venv/ first, again whenever setup.py or constraints.txt change;
# test-newest upgrades .venv-newest/ each time.
# Other settings: make test PYTHON=/path/to/python3.12 VENV=/elsewhere PYTEST_ARGS="-k trie" PIP_FLAGS=--no-compile
#   make test-newest NEWEST_PYTHON=/path/to/python3.13 NEWEST_VENV=/elsewhere PYTEST_ARGS="-k trie"

PYTHON ?= $(shell python3.11 -c pass 2>/dev/null && echo python3.11 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
NEWEST_PYTHON ?= $(shell python3.13 -c pass 2>/dev/null && echo python3.13 || echo python3)
NEWEST_VENV ?= .venv-newest
# A test file stays in one process, so that what it compiles is shared by its tests.
PYTEST := python -m pytest -q -n 2 --dist loadfile
# glibc's memory in huge pages: a fifth of the time of steps on a CPU (distill_jax/huge_pages.py).
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
SCRIPTS := .ci/run tpu_scripts/*.sh tpu_scripts/on_host/*.sh tpu_scripts/slurm/train.sbatch

# Build environments follow the constraints too: older versions of pip read the first variable, newer
# ones the second.
INSTALL := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
  $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt

.PHONY: help demo test test-all test-docs test-newest lint docs clean
.DELETE_ON_ERROR:

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: $(VENV)/.installed-core
	$(BIN)/distill-jax demo --out runs/demo

test: $(VENV)/.installed-test
	$(BIN)/$(PYTEST) -m 'not slow' $(PYTEST_ARGS)

test-all: $(VENV)/.installed-test
	$(BIN)/$(PYTEST) $(PYTEST_ARGS)

test-docs: $(VENV)/.installed-test
	$(BIN)/$(PYTEST) tests/docs $(PYTEST_ARGS)

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --clean --strict

test-newest: | $(NEWEST_VENV)/bin/pip
	$(NEWEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade -e '.[test]'
	$(NEWEST_VENV)/bin/$(PYTEST) -m 'not slow' $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/tools/structure.py
	$(BIN)/shellcheck -x -P SCRIPTDIR $(SCRIPTS)

clean:
	rm -rf build dist site *.egg-info runtime/build runtime/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find distill_jax runtime tasks tests benchmarks tpu_scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last thing that venv makes, so a half-made environment is made again.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(NEWEST_VENV)/bin/pip:
	$(NEWEST_PYTHON) -m venv $(NEWEST_VENV)

$(VENV)/.installed-core: setup.py constraints.txt | $(BIN)/pip
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-test: setup.py constraints.txt | $(BIN)/pip
	$(INSTALL) -e '.[test]'
	touch $@ $(VENV)/.installed-core

$(VENV)/.installed-docs: setup.py constraints.txt | $(BIN)/pip
	$(INSTALL) -e '.[docs]'
	touch $@ $(VENV)/.installed-core

$(VENV)/.installed-dev: setup.py constraints.txt | $(BIN)/pip
	$(INSTALL) -e '.[dev]'
	touch $@ $(VENV)/.installed-test $(VENV)/.installed-core  # it has all that these have
