# `make` lists the targets. All of them work from a fresh clone with Python >= 3.11 and make.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
PIP_ARGS ?=
CHAPTER ?=
NBVAL ?= --nbval
LAX ?= --nbval-lax
STAGES ?=
DATA ?=
WEIGHTS ?=
CAMVID ?=
METHODS ?= --seeds 0
GPU ?=

VENV := .venv
PY := $(VENV)/bin/python
PIP = $(PY) -m pip install $(PIP_ARGS) $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
PAGES := $(VENV)/.pages
STAMP := $(VENV)/.installed
HTML := _build/html
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv book notebooks stamp test lint types unit twins nbval browser \
  slow mutants damage kills camvid methods gpu format clean test-oldest test-newest

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 13

venv: $(STAMP) ## make .venv and install everything into it

# No ensurepip: Debian ships it apart, as python3-venv.
$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	    "name another one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; \
	  else \
	    echo "Python cannot make a virtual environment; install it: sudo apt-get install python3-venv"; \
	    exit 1; \
	  fi; }
	$(PYTHON) -m venv $(VENV)

# What the pages need, torch not among it: the requirements of the extra `book` alone.
$(PAGES): pyproject.toml $(CONSTRAINTS) | $(PY)
	$(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["book"], sep="\n")' \
	  | $(PIP) -r /dev/stdin
	@touch $@

$(STAMP): pyproject.toml $(CONSTRAINTS) | $(PY)
	$(PIP) -e ".[book,test]"
	@touch $(PAGES) $@

book: $(PAGES) ## render the stored outputs to _build/html, warnings as errors
	$(if $(FRESH),rm -rf $(HTML) _build/.doctrees)
	@# A failed build is forgotten: its warnings would not be repeated by the next one.
	$(VENV)/bin/jupyter-book build -q -W -n --keep-going . >/dev/null \
	  || { rm -rf _build/.doctrees; exit 1; }
	@echo "Open       $(HTML)/index.html"
	@echo "or serve   $(PY) -m http.server --directory $(HTML) 8000, then open localhost:8000"

notebooks: $(STAMP) ## execute every chapter (or CHAPTER=04) from its text, and write both files
	$(PY) -m tools.notebooks --chapter "$(CHAPTER)"
	$(PY) -m tools.readme

stamp: $(STAMP) ## run chapters whose outputs are older than the package; note those that repeat
	$(PY) -m tools.notebooks --stamp --chapter "$(CHAPTER)"

test: $(STAMP) ## all stages below, with the time each took
	@$(PY) -m tools.stages $(STAGES)

# Other versions print other last digits and want other forms of code: outputs are compared where a
# cell proves an equation (LAX=--nbval: everywhere), and the oldest set is not asked about form, types
# and pages.
test-oldest: ## unit, nbval and book with the lowest versions of pyproject.toml, in .venv-oldest
	@mkdir -p _build && $(PYTHON) -m tools.bounds > _build/oldest.new
	@cmp -s _build/oldest.new _build/oldest.txt || mv _build/oldest.new _build/oldest.txt
	@$(MAKE) --no-print-directory test VENV=.venv-oldest CONSTRAINTS=_build/oldest.txt \
	  NBVAL=$(LAX) STAGES="unit nbval book"

test-newest: ## all stages with the newest versions there are, in .venv-newest
	@$(MAKE) --no-print-directory test VENV=.venv-newest CONSTRAINTS= NBVAL=$(LAX)

lint: $(STAMP) ## stage: ruff, rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(STAMP) ## stage: mypy, strict
	$(PY) -m mypy

unit: $(STAMP) ## stage: tests of the package and of the project's files
	@# The longest files first: both processes are busy to the end.
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder --durations=5 \
	  --ignore=tests/book --ignore=tests/notebooks tests/training tests

twins: $(STAMP) ## stage: chapters in form, in step with their texts, and listed
	$(PY) -m tools.chapter_form
	$(PY) -m pytest -q tests/notebooks

nbval: $(STAMP) ## stage: every chapter run again from the wheel, its outputs compared with the stored ones
	$(PY) -m tools.rerun $(NBVAL)

browser: $(STAMP) $(if $(FRESH),,book) ## stage: the rendered pages in headless Chromium
	$(PY) -m pytest -q -n 2 --dist loadgroup tests/book

slow: $(STAMP) book ## what the tests run small, at full width; torch's compiler; axe on every page (minutes)
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -m slow

mutants: $(STAMP) ## break formulas, of the package and of the book, and see that it is noticed (an hour)
	OMP_NUM_THREADS=1 $(PY) -m tools.mutants
	OMP_NUM_THREADS=1 $(PY) -m tools.book_mutants

damage: $(STAMP) ## read 10,000 damaged and hostile files; none may crash, hang or mislead (minutes)
	OMP_NUM_THREADS=1 $(PY) -m tools.damage

kills: $(STAMP) ## end training runs in every way machines do, go on each time, compare (minutes)
	OMP_NUM_THREADS=1 $(PY) -m tests.training.killing

camvid: $(STAMP) ## CamVid from the raw folder to the table: DATA=folder WEIGHTS=mobilenet_v2 file
	@test -n "$(DATA)" -a -n "$(WEIGHTS)" || { echo "name the folder and the weights:" \
	  "make camvid DATA=CamVid/ WEIGHTS=mobilenet_v2.safetensors [CAMVID='--full --seeds 0 1 2']"; exit 1; }
	$(PY) -m benchmarks.camvid --data "$(DATA)" --weights "$(WEIGHTS)" $(CAMVID)

methods: $(STAMP) ## every method before, of and after FCN on the same scenes or, DATA=folder, on CamVid (a quarter of an hour); all seeds of the record: METHODS='--seeds 0 1 2'
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.methods $(if $(DATA),--data "$(DATA)") $(METHODS)

publish-check: $(STAMP) ## what must be mended or claimed before a release; builds into _build/dist
	$(PIP) -q "build>=1.2" "twine>=5.1"
	$(PY) -m tools.publish _build/dist

release: $(STAMP) publish-check book ## build all of a release into dist: wheel, archive, the pages
	rm -rf dist && mkdir dist && cp _build/dist/*.whl _build/dist/*.tar.gz dist
	$(PY) -m zipfile -c dist/book.zip $(HTML)/.
	@ls -l dist

shots: $(STAMP) book ## a picture of every page, light, dark and on a phone, in _build/shots [CHAPTER=04]
	$(PY) -m tools.pages shots _build/shots $(CHAPTER)

pdf: $(STAMP) book ## a PDF of each chapter, and of all in book.pdf, in _build/pdf [CHAPTER=04]
	$(PIP) -q "pypdf>=4"
	$(PY) -m tools.pages pdf _build/pdf $(CHAPTER)

# On the machine's own Python, which has a torch that fits its device: nothing is installed.
gpu: ## all that is asked of a CUDA device, in ten minutes: OUT=folder [GPU='--only speed']
	$(PYTHON) -m benchmarks.gpu --out "$(or $(OUT),runs/gpu)" $(GPU)

# Not the notebooks: `make notebooks` formats them from their texts.
format: $(STAMP) ## put the code into form
	$(PY) -m ruff check --fix --extend-exclude '*.ipynb' .
	$(PY) -m ruff format --extend-exclude '*.ipynb' .

clean: ## remove what was built, keep .venv
	rm -rf _build dist build .mypy_cache .ruff_cache book/.ruff_cache .pytest_cache .hypothesis
