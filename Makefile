# make book   execute the book and build its site        make lab     open it in JupyterLab
# make test   every check there is                       make bench   measure speed and memory
# make test-quick      the library's tests without the slow ones: while one works on it
# make test-portable   what computes, as processors with SSE or AVX2 alone round
#
# Each target first sets up .venv from requirements.lock, where it is missing or out of date. Another Python than
# python3: make book PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PYTEST := $(BIN)/python -m pytest
AS_ROOT := $(if $(filter 0,$(shell id -u 2>/dev/null)),--allow-root)
# Two workers share the cores: one thread each.
TWO := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

# Tests that compute nothing: pages and pairs. All others are the library's, and run as older processors round, too.
NOT_NUMERIC := tests/browser tests/test_site.py tests/test_build.py tests/test_book.py
# What torch, oneDNN, MKL and NumPy may use of the processor: SSE alone, and AVX2. MKL_CBWR is for processors other than
# Intel's, where MKL_ENABLE_INSTRUCTIONS does nothing.
SSE := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 MKL_CBWR=COMPATIBLE \
  NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX512_ICL AVX512_SPR"
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
  NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR"
LIBRARY := -q -n 2 $(addprefix --ignore=,$(NOT_NUMERIC))
DOCTESTS := -q --doctest-modules --ignore=oneshot_lib/__main__.py oneshot_lib

.PHONY: help book test test-quick test-portable lab bench notebooks lock clean
.DEFAULT_GOAL := help

help:
	@echo "make book       execute the chapters (quick preset) and build the site in _build/html"
	@echo "make test       ruff, tests, notebooks, the site and its pages in a browser"
	@echo "make test-quick the library's tests without the slow ones, ruff and the docstrings' examples"
	@echo "make test-portable   what computes, tested as processors with SSE or AVX2 alone round"
	@echo "make lab        open the book in JupyterLab"
	@echo "make bench      measure speed and memory"
	@echo "make notebooks  for authors: Markdown twins to notebooks, execute, save the outputs"
	@echo "make lock       for maintainers: pin the newest versions in requirements.lock"
	@echo "make clean      remove what was built (.venv stays: rm -rf .venv)"

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and $(PYTHON) is not: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  echo "setting up $(VENV)"; $(PYTHON) -m venv --clear $(VENV); } || { \
	  echo "no virtual environment could be made: is Python's venv module installed (Debian: apt install python3-venv)?" >&2; exit 1; }
	@echo "installing what requirements.lock pins: minutes, and PyTorch is the largest part"
	$(PIP) install -r requirements.lock
	$(PIP) install -q --no-deps --no-build-isolation -e .
	@touch $@

book: $(READY)
	@$(BIN)/python book/build.py

# What the browser sees is a site of the outputs that the notebooks hold: nbval computes them again, and once is enough.
# One worker keeps JupyterLab (--dist loadgroup).
test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/python book/build.py --check
	$(BIN)/python book/build.py --stored
	$(TWO) $(PYTEST) -q -n 2 --dist loadgroup
	$(TWO) $(PYTEST) $(DOCTESTS)
	$(TWO) $(PYTEST) -q --nbval-lax --nbval-current-env --nbval-cell-timeout 120 \
	  --nbval-sanitize-with tests/sanitize.cfg -n 2 --dist loadfile book/

test-quick: $(READY)
	$(BIN)/ruff check .
	$(TWO) $(PYTEST) $(LIBRARY) -m "not slow"
	$(TWO) $(PYTEST) $(DOCTESTS)

test-portable: $(READY)
	$(TWO) $(SSE) $(PYTEST) $(LIBRARY)
	$(TWO) $(AVX2) $(PYTEST) $(LIBRARY)

# The kernel of this environment first, whatever other python3 JUPYTER_PATH or the user's own kernels have.
lab: export JUPYTER_PATH := $(CURDIR)/$(VENV)/share/jupyter$(if $(JUPYTER_PATH),:$(JUPYTER_PATH))
# As root, as one is in a container, JupyterLab starts only where it is told that this is meant.
lab: $(READY)
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/book/intro.ipynb $(AS_ROOT)

bench: $(READY)
	$(BIN)/oneshot bench

notebooks: $(READY)
	@$(BIN)/python book/build.py --sync
	@$(BIN)/python book/build.py --save

# Local version labels (+cpu) and the CUDA packages of one machine's torch stay out: every platform gets its own.
lock:
	rm -rf _build/lock
	$(PYTHON) -m venv _build/lock
	_build/lock/bin/python -m pip --no-input install -q torch==2.13.0 '.[test,site]' hatchling editables
	{ sed -n '/^#/p' requirements.lock; _build/lock/bin/python -m pip freeze --all \
	  | grep -viE '^(pip|nvidia|triton|cuda|oneshot)' | sed 's/+[a-z0-9.]*$$//' | LC_ALL=C sort -f; } > _build/lock.txt
	mv _build/lock.txt requirements.lock
	rm -rf _build/lock

clean:
	rm -rf _build .pytest_cache .ruff_cache
	find book oneshot_lib tests -name __pycache__ -type d -prune -exec rm -rf {} +
