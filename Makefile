# Everything that a person or a CI runs. Needs Python 3.11+, make and a package index; the servers come as wheels.
PYTHON ?= python3
# What the tests run on, the oldest first: pyproject.toml says the same in its classifiers.
PYTHONS := 3.11 3.12 3.13
python_version = $(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
# Where the program of that name is. pyenv's answers only if it is asked for the version by name.
python_path = $(shell { $(1) -c 'import sys; print(sys.executable)' || \
	PYENV_VERSION=$(patsubst python%,%,$(notdir $(1))) $(1) -c 'import sys; print(sys.executable)'; } 2>/dev/null)

# `make test PYTHON=python3.13` runs every test on that one: in `.venv`, or beside it where that is of another version.
VENV := .venv
ifneq ($(origin PYTHON),file)
  ASKED := $(PYTHON)
  override PYTHON := $(or $(call python_path,$(ASKED)),$(ASKED))
  ASKED_VERSION := $(call python_version,$(PYTHON))
  ifneq ($(or $(call python_version,.venv/bin/python),$(ASKED_VERSION)),$(ASKED_VERSION))
    VENV := .venv-$(ASKED_VERSION)
  endif
endif
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
JOBS ?= 3
ARGS ?=

# `make test POSTGRES=15` runs every test on Debian's Postgres of that version instead of the wheel's (18).
POSTGRES ?=
OTHER_POSTGRES := 15
# Debian's folders: named in one place, also for the slice of the tests that runs on the other version each time.
postgres_bin = /usr/lib/postgresql/$(1)/bin
export SCHEDULER_POSTGRES_BIN := $(if $(POSTGRES),$(call postgres_bin,$(POSTGRES)),$(SCHEDULER_POSTGRES_BIN))
SLICE := tests/integration/test_migrations.py tests/integration/test_plans.py tests/integration/test_claim.py \
	tests/integration/test_terms.py tests/failover/test_kill.py

# What runs on the other Pythons each time, with the extra `unit` alone: what versions differ in (signatures and types, event
# loops and their tasks, imports, the surface), the claim and a killed leader.
OTHER_PYTHONS = $(filter-out $(call python_version,$(BIN)/python),$(PYTHONS))
PYTHON_SLICE := tests/architecture $(patsubst %,tests/unit/test_%.py,argument_types call_signature callback_call \
	callback_registry callback_resolution docs_testing job job_signature loop_thread manual_scheduler retry settings \
	start_gate supervision testing_plugin trust_window) tests/integration/test_claim.py tests/failover/test_kill.py

# The dashboard's tests look at its pages in a real browser: Debian's package, where it is missing and we may.
CHROMIUM := command -v chromium || command -v chromium-browser || command -v google-chrome || \
	{ test "$$(id -u)" = 0 && command -v apt-get && export DEBIAN_FRONTEND=noninteractive && \
	  { apt-get install -qq -y chromium || { apt-get update -qq && apt-get install -qq -y chromium; }; }; }

# The wheels' servers know no TLS, and one version of Postgres: Debian's packages, where they are missing and we may. No
# cluster is made and no service is started (redis-tools has the server, under the name of redis-check-rdb).
DEBIAN_PACKAGES := redis-tools postgresql-$(OTHER_POSTGRES) pgbouncer
DEBIAN_SERVERS := { test -x $(call postgres_bin,$(OTHER_POSTGRES))/postgres && command -v redis-check-rdb && \
	    PATH="$$PATH:/usr/sbin" command -v pgbouncer; } || \
	{ test "$$(id -u)" = 0 && command -v apt-get && export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 && \
	  mkdir -p /etc/postgresql-common/createcluster.d && \
	  { test -x /usr/bin/pg_createcluster || \
	    echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.d/no-main.conf; } && \
	  { apt-get install -qq -y --no-install-recommends $(DEBIAN_PACKAGES) || \
	    { apt-get update -qq && apt-get install -qq -y --no-install-recommends $(DEBIAN_PACKAGES); }; }; }

.PHONY: setup demo test other-postgres other-pythons $(PYTHONS:%=python-%) unit check format docs newcomer bench chaos simulate-faults stateful endings fuzz screens clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@{ $(CHROMIUM); } >/dev/null 2>&1 || echo "make: there is no Chromium, and it can't be installed here: the tests of the dashboard will be skipped"
	@{ $(DEBIAN_SERVERS); } >/dev/null 2>&1 || echo "make: not all of Debian's $(DEBIAN_PACKAGES) are here, nor can they be installed: TLS, poolers and Postgres $(OTHER_POSTGRES) will not be tested"
	@touch $(STAMP)

demo: setup
	@$(BIN)/scheduler dev $(ARGS)

test: setup check
	@$(BIN)/python -m pytest -n $(JOBS) $(ARGS)
	@$(if $(strip $(POSTGRES)$(ARGS)),true,$(MAKE) --silent --no-print-directory other-postgres other-pythons)

# Migrations, the claim and its plans, terms and a killed leader on the other version of Postgres; part of `make test`.
other-postgres: setup
	@if test -x $(call postgres_bin,$(OTHER_POSTGRES))/postgres; then \
	  SCHEDULER_POSTGRES_BIN=$(call postgres_bin,$(OTHER_POSTGRES)) $(BIN)/python -m pytest -n $(JOBS) $(SLICE); \
	else echo "make: THERE IS NO POSTGRES $(OTHER_POSTGRES), so it is not tested: apt-get install postgresql-$(OTHER_POSTGRES)"; fi

# The slice on each other Python that is here; part of `make test`.
other-pythons: setup
	@$(MAKE) --silent --no-print-directory $(OTHER_PYTHONS:%=python-%)

# The two steps stand on lines of their own: make runs a line that calls make also where it was to print it only (-n).
$(PYTHONS:%=python-%): python-%:
	@$(if $(call python_path,python$*),$(MAKE) --silent --no-print-directory build/python$*/.set-up,echo "make: \
	THERE IS NO PYTHON $*, so it is not tested: have python$* on the PATH, or pyenv know it")
	@$(if $(call python_path,python$*),build/python$*/bin/python -m pytest -n $(JOBS) $(PYTHON_SLICE))

build/python%/.set-up: pyproject.toml constraints.txt
	@test -x build/python$*/bin/python || $(call python_path,python$*) -m venv build/python$*
	@build/python$*/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[unit]'
	@touch $@

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

# Every ending in every place, with each delivery, with and without a lock: a quarter of an hour.
endings: setup
	@ENDINGS=all $(BIN)/python -m pytest -n 2 --timeout 3600 tests/endings $(ARGS)

# Each tutorial word for word in a folder and a venv of its own, with the built wheel: minutes, and a package index.
newcomer: setup
	@$(BIN)/python -m tests.newcomer $(ARGS)

bench: setup
	@$(BIN)/python -m bench $(ARGS)

# The long failover drill: COUNT times two faults at once, pair after pair (about two hours; COUNT=791 plays every
# pair, ARGS="--ttl 1" halves the time). FAULT=all has every kind by itself. SEED=N plays a drill again.
COUNT ?= 500
FAULT ?= two
SEED ?= $(shell $(PYTHON) -c 'import random; print(random.randrange(10**6))')
chaos: setup
	$(eval CHAOS_SEED := $(SEED))
	@echo "to play this drill again: make chaos SEED=$(CHAOS_SEED) COUNT=$(COUNT) FAULT=$(FAULT)"
	@mkdir -p build
	@$(BIN)/scheduler drill --fault $(FAULT) --kills $(COUNT) --seed $(CHAOS_SEED) \
	    --trace build/chaos-$(CHAOS_SEED).jsonl --html build/chaos-$(CHAOS_SEED).html $(ARGS)
	@PYTHONPATH=tests $(BIN)/python -m traces build/chaos-$(CHAOS_SEED).jsonl

# The real election, and the whole fire path on a stepped Postgres, in virtual time, two and three faults at once: COUNT
# seeds of KIND (election, fire or both), from SEED on; the same seed is the same history (docs/failover.md). COUNT=1
# tells one that is broken step by step; TRACE=FILE writes what every replica of an election did, and checks that. A slice
# of each is in `make test`.
KIND ?= both
TRACE ?=
simulate-faults: setup
	$(eval FIRST_SEED := $(SEED))
	@echo "to play these again: make simulate-faults KIND=$(KIND) SEED=$(FIRST_SEED) COUNT=$(COUNT)"
	@$(BIN)/python -m tests.simulation --kind $(KIND) --seed $(FIRST_SEED) --count $(COUNT) $(if $(TRACE),--trace $(TRACE))
	@$(if $(TRACE),PYTHONPATH=tests $(BIN)/python -m traces $(TRACE))

# What operators do to jobs, in any order and others each time, for SECONDS: a model has to agree with the rows. What is
# broken is told as the shortest history that shows it. A slice of it is in `make test`.
stateful: setup
	@STATEFUL_SECONDS=$(SECONDS) $(BIN)/python -m pytest -q -s --timeout $$(( $(SECONDS) + 900 )) tests/stateful/test_machine.py

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
	@rm -rf .venv $(PYTHONS:%=.venv-%) .bench build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
