# make demo | test | check | setup. All paths are relative, so that a checkout in a folder with a space in its name works.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
# Not '.': a user's own scripts in the checkout are not ours to lint.
SOURCES := conflictscope tests benchmarks

.PHONY: setup demo test check clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@$(RUN) conflictscope demo

# A file a worker: what one test file sets up for all its tests is set up once; in their order, for those that are last otherwise, with
# few tests, take longest. Two workers more than there are cores: much of what tests do is to wait for processes.
test: check
	$(RUN) pytest -n $$($(VENV)/bin/python -c 'import os; print((os.cpu_count() or 1) + 2)') --dist loadfile --no-loadscope-reorder

check: $(VENV)/.developing
	$(RUN) ruff check $(SOURCES)
	$(RUN) ruff format --check $(SOURCES)
	$(RUN) mypy
	$(VENV)/bin/lint-imports

setup: $(VENV)/.developing

# What a user needs; what the tests need besides is several times as much.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ConflictScope needs Python 3.11 or newer; " + sys.executable + " is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.developing: $(VENV)/.installed
	@echo "Installing what the tests need (once, about two minutes) ..."
	@$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
