# make demo   the whole workflow on the synthetic planet, to the score table
# make demo-all   that, then rain to come and ensembles to correct, each an experiment of its own
# make test   lint and every test
# make test-slurm   the test on a real Slurm; installs Debian's packages, so run it as root
# make benchmarks   memory and time of sparse tuning, of the prompt prefix, of precisions and of the data's path
# Each sets up what it needs in .venv; a second run skips what is done.

PYTHON ?= python3
WORKERS ?= 2

VENV := .venv
INSTALLED := $(VENV)/.installed
TESTED := $(VENV)/.tested
REPORT := results/default/report
SOURCES := $(shell find Snakefile environment.yml README.md weatherpeft workflow config tests docs benchmarks \
	-type f -not -path '*/__pycache__/*')

# The workflow's jobs call the command weatherpeft.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# What trainings need before what only the scores need: the longest chain of jobs first.
SNAKEMAKE := snakemake --cores all --prioritize finetune

.PHONY: help
help:
	@echo "make demo    run config/default.yaml from data to report"
	@echo "make demo-all    make demo, then config/precipitation_toy.yaml and config/postprocessing_toy.yaml"
	@echo "make test    lint, then every test"
	@echo "make test-slurm  the test on a real two-node Slurm on this machine (as root, Debian)"
	@echo "make lint    style, types, import directions, the workflow's own linter"
	@echo "make benchmarks  sparse tuning, prompt prefix, precision and data against the plain ways (about 30 minutes)"
	@echo "make setup   only create $(VENV) (PYTHON=$(PYTHON))"
	@echo "make clean   remove $(VENV) and caches, not data and results"

.PHONY: setup
setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
			"Name another with: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: demo
demo: $(INSTALLED)
	$(SNAKEMAKE) --configfile config/default.yaml
	@echo
	@cat $(REPORT)/scores.txt
	@echo
	@echo "Report: $(REPORT)/report.html"

.PHONY: demo-all
demo-all: demo
	@for name in precipitation_toy postprocessing_toy; do \
		$(SNAKEMAKE) --configfile config/$$name.yaml || exit; \
		echo; cat results/$$name/report/scores.txt; echo; \
		echo "Report: results/$$name/report/report.html"; \
	done

.PHONY: lint
lint: $(INSTALLED)
	ruff check
	ruff format --check
	mypy
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint

# Tests that passed are not run again until a file changes; `make --always-make test` runs them anyway.
.PHONY: test
test: $(TESTED)

$(TESTED): $(INSTALLED) $(SOURCES)
	@$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 pytest --numprocesses $(WORKERS)
	@touch $@

# The test says why, where it is skipped.
.PHONY: test-slurm
test-slurm: $(INSTALLED)
	-command -v slurmctld || { apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge; }
	OMP_NUM_THREADS=1 pytest -rs tests/workflow/test_slurm.py

.PHONY: benchmarks
benchmarks: $(INSTALLED)
	$(VENV)/bin/python benchmarks/sparse_tuning.py
	$(VENV)/bin/python benchmarks/prefix.py
	$(VENV)/bin/python benchmarks/precision.py
	$(VENV)/bin/python benchmarks/data.py

# Downloaded data and results stay: remove data/ and results/ by hand.
.PHONY: clean
clean:
	rm -rf $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build *.egg-info
	find weatherpeft tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
