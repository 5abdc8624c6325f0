# The project's commands; `make` alone lists them.
#
# Every path below is relative: `make -C somewhere` works, and a folder's name may hold spaces.
# Nothing asks the network once .venv stands and a browser is found.

.DEFAULT_GOAL := help
.PHONY: help env lab test lint browser picture bench bench-ui soak clean

# The Python that .venv is made from: the first of these that runs and is new enough (a shim may
# exist and fail), or the one named by PYTHON=.
PYTHON ?=
PYTHONS = $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3)
NEW_ENOUGH = -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null

# Compiling torch anew takes every process eight seconds; some containers forbid to keep the result.
unexport PYTHONDONTWRITEBYTECODE

# Handed through: make lab LAB_FLAGS='--no-browser --port 9000', make test PYTEST_FLAGS='-k cuts'
LAB_FLAGS ?=
PYTEST_FLAGS ?=

# A file of tests runs in one of up to four processes, the longest first, as tests/conftest.py says.
WORKERS = -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# make lab EXTRAS=lab leaves out torch, with CUDA some five gigabytes: the workbench on the shipped
# profiles does without.
EXTRAS ?= lab,torch,test
INSTALL = install -c constraints.txt -e '.[$(EXTRAS)]'

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

# The stamp is written last, so an interrupted installation is taken up again.
STAMP := .venv/.complete

env: $(STAMP)  ## make .venv with everything (PYTHON=... chooses its Python; to change it remove .venv)

# uv takes seconds where pip takes minutes, so without one pip fetches uv first; plain pip is the
# last resort, for machines that uv does not know or whose package index only pip is told of.
$(STAMP): pyproject.toml constraints.txt
	@set -e; \
	for python in $(PYTHONS) none; do if "$$python" $(NEW_ENOUGH); then break; fi; done; \
	if [ "$$python" = none ]; then \
	    echo "dscwb needs Python 3.11 or newer, which none of these is:" $(PYTHONS)"; install one," \
	        "or name yours with: make env PYTHON=path/to/python3" >&2; exit 1; \
	fi; \
	if command -v uv >/dev/null; then \
	    .venv/bin/python $(NEW_ENOUGH) || { rm -rf .venv; uv venv --python "$$python" .venv; }; \
	    uv pip $(INSTALL) --python .venv/bin/python; \
	else \
	    .venv/bin/python -m pip --version >/dev/null 2>&1 || "$$python" -m venv --clear .venv; \
	    { .venv/bin/python -m pip install uv && \
	      .venv/bin/python -m uv pip $(INSTALL) --python .venv/bin/python; } || \
	    .venv/bin/python -m pip $(INSTALL); \
	fi
# JupyterLab would ask each newcomer whether it may fetch news.
	@.venv/bin/jupyter labextension disable --log-level=ERROR --level=sys_prefix \
	    @jupyterlab/apputils-extension:announcements
	@touch $@

lab: env  ## open the workbench in JupyterLab, on this machine only
	.venv/bin/jupyter lab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=. \
	    --LabApp.default_url=/lab/tree/notebooks/01-explore.ipynb \
	    $$([ "$$(id -u)" != 0 ] || echo --allow-root) $(LAB_FLAGS)

test: lint browser  ## check style, types and imports, find a browser, run all tests
	.venv/bin/python -m pytest $(WORKERS) $(PYTEST_FLAGS)

lint: env  ## check style, types and imports
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

browser: env
	.venv/bin/python -m tests.ensure_browser

picture: browser  ## draw the README's picture from the real workbench
	.venv/bin/python -m tests.picture

bench: env  ## measure the project's own speed, as ratios
	.venv/bin/python -m benchmarks.bench

bench-ui: browser  ## measure how long a slider takes to repaint, in a real browser
	.venv/bin/python -m benchmarks.bench_ui

soak: env  ## longer tests: 100,000 mutated files, 100 writers killed, 1,000,000 malformed frames, 10,000 requests with faults, all models captured as on CUDA
	DSCWB_MUTATIONS=$${DSCWB_MUTATIONS:-100000} DSCWB_KILLS=$${DSCWB_KILLS:-100} \
	    DSCWB_FRAMES=$${DSCWB_FRAMES:-1000000} DSCWB_REQUESTS=$${DSCWB_REQUESTS:-10000} \
	    DSCWB_CAPTURES=all \
	    .venv/bin/python -m pytest -q tests/test_files.py tests/test_running_attack.py \
	    tests/test_running_faults.py tests/test_capture_cuda.py

clean:  ## remove caches and builds; .venv stays
	rm -rf build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o '(' -name __pycache__ -o -name .ipynb_checkpoints ')' \
	    -exec rm -rf {} +
