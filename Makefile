# mailbridge: `make demo` shows it at work, `make test` tries all of it.
#
# Set-up happens once, in $(VENV), and again when pyproject.toml or constraints.txt changes.
#   make demo [SERVE=1] [MARKETPLACE=cdiscount]
#                            SERVE=1: stay up and play the agent from your own mail client;
#                            the other marketplace is the older SOAP service
#   make test [ARGS="…"]     ARGS go to pytest; JOBS=0 runs the tests one after the other
#   make lint                ruff and mypy --strict
#   make PYTHON=python3.12   another interpreter (3.11 or later)

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
needs := pyproject.toml constraints.txt

.DELETE_ON_ERROR:
.PHONY: demo test lint clean constraints help

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.demo
	@$(BIN)/mailbridge demo $(if $(filter-out 0,$(SERVE)),--serve) $(if $(MARKETPLACE),--marketplace $(MARKETPLACE))

test: $(VENV)/.test
	@$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The newest versions that fit together, as a new constraints.txt.
constraints:
	@rm -rf $(VENV) && $(MAKE) --no-print-directory $(VENV)/.made
	@$(PIP) install -qq -e '.[test,lint]'
	@sed -n '/^#/p' constraints.txt > $(VENV)/constraints.new
	@$(PIP) freeze --exclude-editable --exclude mailbridge >> $(VENV)/constraints.new
	@mv $(VENV)/constraints.new constraints.txt
	@git --no-pager diff --stat constraints.txt

# One environment; each extra is added to it when it is first asked for.
$(VENV)/.demo $(VENV)/.test: $(VENV)/.%: $(VENV)/.made $(needs)
	@echo "Setting up $(VENV) for $* (once, about a minute) …"
	@$(PIP) install -qq -c constraints.txt -e '.[$*]' || { \
	  echo "$(VENV): the packages in constraints.txt could not be installed (see above)."; \
	  echo "pip needs a package index: check the network, or pip's configuration."; exit 1; } >&2
	@touch $@

# The type checker reads the tests too, so it needs what they need.
$(VENV)/.lint: $(VENV)/.test
	@$(PIP) install -qq -c constraints.txt -e '.[test,lint]'
	@touch $@

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) is not installed. On Debian: apt-get install python3 python3-venv;"; \
	  echo "or name another interpreter: make PYTHON=python3.12 …"; exit 1; } >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mailbridge needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another interpreter: make PYTHON=python3.12 …"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments (no ensurepip)."; \
	  echo "On Debian: apt-get install python3-venv"; exit 1; } >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@
