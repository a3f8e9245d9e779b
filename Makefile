# make demo         run the whole workflow on the toy planet, from data to the score table
# make demo-all     also run precipitation, ensemble post-processing and forecasting on toy planets
# make test         run lint and every test but those of faults
# make test-faults  kill, damage, fill and race; print how each fault ended. LONG=1: for an hour
# make test-slurm   run the test on a real Slurm; it installs Debian's packages, so run it as root
# make benchmarks   measure memory and time of sparse tuning, the prompt prefix, precisions and the data path
# Each target sets up what it needs in .venv. A second run skips what is done.

PYTHON ?= python3
WORKERS ?= 2

VENV := .venv
INSTALLED := $(VENV)/.installed
TESTED := $(VENV)/.tested
REPORT := results/default/report
SOURCES := $(shell find *.md CITATION.cff Snakefile environment.yml weatherpeft workflow config tests docs benchmarks \
	-type f -not -path '*/__pycache__/*')

# The jobs of the workflow call the command weatherpeft.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# The longest chain of jobs runs first: inputs of trainings come before inputs of scores.
SNAKEMAKE := snakemake --cores all --prioritize finetune finetune_candidate

# Tests of a file share what it has made, so that they stay together until a process has nothing left to do.
PYTEST := OMP_NUM_THREADS=1 pytest --numprocesses $(WORKERS) --dist worksteal

.PHONY: help
help:
	@echo "make demo    run config/default.yaml from data to report"
	@echo "make demo-all    run make demo, then precipitation_toy, postprocessing_toy and forecasting_toy"
	@echo "make test    run lint, then every test but those of faults"
	@echo "make test-faults  inject faults and print how they ended (LONG=1: for an hour)"
	@echo "make test-slurm  run the test on a real two-node Slurm on this machine (as root, Debian)"
	@echo "make lint    check style, types and import directions, and run the workflow's own linter"
	@echo "make benchmarks  compare sparse tuning, prompt prefix, precision and data with the plain ways (about 30 minutes)"
	@echo "make setup   create only $(VENV) (PYTHON=$(PYTHON))"
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
	@for name in precipitation_toy postprocessing_toy forecasting_toy; do \
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

# Tests that passed run again only after a file changes. `make --always-make test` runs them anyway.
.PHONY: test
test: $(TESTED)

$(TESTED): $(INSTALLED) $(SOURCES)
	@$(MAKE) --no-print-directory lint
	$(PYTEST) --ignore tests/faults
	@touch $@

# With LONG, what must be refused counts too, which `make test` runs already. A skipped fault says why.
REFUSED := tests/sources/formats/test_hostile_files.py tests/sources/formats/test_archive.py \
	tests/training/test_hostile_weights.py tests/test_ranges.py tests/test_config_file.py tests/test_config.py \
	tests/workflow/test_names.py tests/workflow/test_bad_input.py

.PHONY: test-faults
test-faults: $(INSTALLED)
	$(PYTEST) -rs tests/faults $(if $(LONG),--long $(LONG) $(REFUSED))

# A skipped test says why.
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
	$(VENV)/bin/python benchmarks/checksums.py

# Downloaded data and results stay. Remove data/ and results/ by hand.
.PHONY: clean
clean:
	rm -rf $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build *.egg-info
	find weatherpeft tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
