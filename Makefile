# One command each; every target sets up what it needs and repeats nothing that is done.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Other implementations to compare with, and Triton's interpreter: next to the environment, not in it.
PEERS := .venv-peers
# Tests that run in parallel: one more than the two cores of CI, since some wait for Slurm or a server.
JOBS ?= 3

.PHONY: bench test test-fast docs check perf plans faults lock
.DEFAULT_GOAL := bench

# One sentence instead of an error from pip; a .venv of another Python is recreated.
define CHECK_PYTHON
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit("segloss needs Python 3.11, 3.12 or 3.13, %s is %s: make PYTHON=<one of them>" % (sys.executable, sys.version.split()[0]))
endef
export CHECK_PYTHON

# The file that marks the environment as ready contains the version of its Python; if that differs or is missing, the
# environment is recreated.
VERSION := import sys; print("%d.%d" % sys.version_info[:2])
ifneq ($(shell $(BIN)/python -c '$(VERSION)' 2>/dev/null),$(shell cat $(READY) 2>/dev/null))
.PHONY: $(READY)
endif

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@echo "setting up $(VENV): about 150 pinned packages, once"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c '$(VERSION)' > $@

$(PEERS)/.ready: requirements-peers.txt $(READY)
	@echo "fetching other implementations to compare with into $(PEERS), once"
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet --no-deps --upgrade --target $(PEERS) -r requirements-peers.txt
	@touch $@

bench: $(READY)  ## train and tabulate the demo grid on the embedded data set
	$(BIN)/snakemake --cores all --config grid=demo

test: $(READY) $(PEERS)/.ready  ## all tests, JOBS of them in parallel; then those that measure time or fill the machine
	PYTHONPATH=$(PEERS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not alone"
	PYTHONPATH=$(PEERS) $(BIN)/python -m pytest -m alone

test-fast: $(READY) $(PEERS)/.ready  ## the tests that need no training, workflow or browser
	PYTHONPATH=$(PEERS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not slow and not alone"

docs: $(READY)  ## the documentation in site/
	$(BIN)/mkdocs build --strict

perf: $(READY) $(PEERS)/.ready  ## time and memory of losses, labels, metrics and whole grids, compared with their peers
	PYTHONPATH=$(PEERS) OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.losses --repeats 21 --operators --out reports/perf/losses.md
	PYTHONPATH=$(PEERS) OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.metrics --threads 2 > reports/perf/metrics.txt
	$(BIN)/python -W ignore -m benchmarks.labels > reports/perf/labels.txt
	cat reports/perf/metrics.txt reports/perf/labels.txt
	$(BIN)/python -W ignore -m benchmarks.stock --out reports/perf/stock.md
	$(BIN)/python -W ignore -m benchmarks.loader --out reports/perf/loader.md
	$(BIN)/python -W ignore -m benchmarks.reports --out reports/perf/reports.md

plans: $(READY)  ## cells, GPU-hours and disk of the articles' grids
	mkdir -p reports/plans
	for grid in $(notdir $(basename $(wildcard configs/grids/paper-*.yaml))); do \
		$(BIN)/segloss plan $$grid --from-scratch > reports/plans/$$grid.txt || exit 1; done

faults: $(READY)  ## kill and damage a small grid in every way we know, and compare with an undisturbed one
	$(BIN)/python -m benchmarks.faults --out reports/faults/summary.md
	$(BIN)/python -m benchmarks.faults.tracking --out reports/faults/tracking.md

check: $(READY)  ## linters and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflows
	$(BIN)/snakemake --lint --config grid=demo

lock:  ## regenerate requirements.txt from pyproject.toml
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet torch==2.13.0 && .venv-lock/bin/python -m pip install --quiet ".[dev]"
	{ sed -n '/^#/p' requirements.txt; .venv-lock/bin/python -m pip freeze --all --exclude pip --exclude segloss | sed 's/+[a-z0-9]*$$//' | sort -f; } > requirements.new
	mv requirements.new requirements.txt && rm -rf .venv-lock
