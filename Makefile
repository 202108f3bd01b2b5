# Each target sets up what it needs in .venv from constraints.txt; nothing is asked of the machine
# but make and Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
MIN_VENV ?= .venv-min
WORKERS ?= auto
BIN = $(VENV)/bin

.PHONY: demo test lint format docs bench test-min clean help

help:
	@echo "make demo      cross-validate on real bags, with a table and a figure"
	@echo "make test      the whole test suite"
	@echo "make lint      ruff"
	@echo "make docs      build the documentation, warnings are errors"
	@echo "make bench     the measurements in benchmarks/"
	@echo "make test-min  the test suite on the oldest versions that milkit admits"

define new_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "milkit needs Python 3.11 or newer; run make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
endef

$(VENV)/.ready: pyproject.toml constraints.txt milkit/svm/_smo.pyx
	@echo "Setting up $(VENV) (once; some minutes, mostly PyTorch)"
	$(call new_venv,$(VENV))
	@PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install -q --disable-pip-version-check -e ".[plot,test]"
	@touch $@

$(VENV)/.ready-docs: $(VENV)/.ready
	@PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install -q --disable-pip-version-check -e ".[docs]"
	@touch $@

$(MIN_VENV)/.ready: pyproject.toml constraints-min.txt milkit/svm/_smo.pyx
	$(call new_venv,$(MIN_VENV))
	@PIP_CONSTRAINT=constraints-min.txt $(MIN_VENV)/bin/python -m pip install -q --disable-pip-version-check -e ".[plot,test]"
	@touch $@

demo: $(VENV)/.ready
	@mkdir -p output
	$(BIN)/python examples/plot_quickstart.py --figure output/quickstart.png

test: $(VENV)/.ready
	MPLBACKEND=agg $(BIN)/python -m pytest -n $(WORKERS)

test-min: $(MIN_VENV)/.ready
	MPLBACKEND=agg $(MIN_VENV)/bin/python -m pytest -n $(WORKERS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.ready-docs
	MPLBACKEND=agg $(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.ready
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) $(MIN_VENV) docs/_build docs/auto_examples docs/api/generated output build *.egg-info
