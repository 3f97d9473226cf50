# Everything that a person or a CI runs. Needs Python 3.11+, make and a package index; the servers come as wheels.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
JOBS ?= 4
ARGS ?=

# The dashboard's tests look at its pages in a real browser: Debian's package, where it is missing and we may.
CHROMIUM := command -v chromium || command -v chromium-browser || command -v google-chrome || \
	{ test "$$(id -u)" = 0 && command -v apt-get && export DEBIAN_FRONTEND=noninteractive && \
	  { apt-get install -qq -y chromium || { apt-get update -qq && apt-get install -qq -y chromium; }; }; }

.PHONY: setup demo test unit check format docs newcomer bench chaos fuzz screens clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@{ $(CHROMIUM); } >/dev/null 2>&1 || echo "make: there is no Chromium, and it can't be installed here: the tests of the dashboard will be skipped"
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

# The documentation as a site, in build/site; a warning, as for a link that leads nowhere, is an error.
docs: setup
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/site
	@echo "build/site/index.html"

# Each tutorial word for word in a folder and a venv of its own, with the built wheel: minutes, and a package index.
newcomer: setup
	@$(BIN)/python -m tests.newcomer $(ARGS)

bench: setup
	@$(BIN)/python -m bench $(ARGS)

# The long failover drill: every kind of fault, COUNT in all (about an hour). SEED=N plays a drill again.
COUNT ?= 500
SEED ?= $(shell $(PYTHON) -c 'import random; print(random.randrange(10**6))')
chaos: setup
	$(eval CHAOS_SEED := $(SEED))
	@echo "to play this drill again: make chaos SEED=$(CHAOS_SEED) COUNT=$(COUNT)"
	@$(BIN)/scheduler drill --fault all --kills $(COUNT) --seed $(CHAOS_SEED) $(ARGS)

# The pictures of docs/screens: every screen and every action of the dashboard, in both themes.
screens: setup
	@mkdir -p docs/screens
	@SCREENS=docs/screens $(BIN)/python -m pytest -q tests/web/browser
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pillow
	@$(BIN)/python -m tests.smaller docs/screens

# schemathesis over the whole API for SECONDS; a short run of it is in `make test`.
SECONDS ?= 600
fuzz: setup
	@SCHEMATHESIS_SECONDS=$(SECONDS) $(BIN)/python -m pytest -q -s tests/web/test_openapi.py -k schemathesis

clean:
	@rm -rf $(VENV) .bench build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
