# A virtual environment of the project's own, with every version pinned in constraints.txt.
PYTHON ?= python3
VENV ?= .venv
DATA ?= $(FEATHERLIGHT_DATA)
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test slow torture check clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/featherlight quickstart

test: setup
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

slow: setup
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --numprocesses 2 --dist loadfile --durations 20

torture: setup
	HF_HUB_OFFLINE=1 PYTHONPATH=tests $(BIN)/python -m helpers.torture examples/all-tasks.yaml --data $(DATA) --examples 150 --kills 10
	PYTHONPATH=tests $(BIN)/python -m helpers.fuzz_light --files 100000

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist
