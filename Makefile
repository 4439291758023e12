# Everything a person or CI does with this project. `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
# Python keeps what it compiled, whatever the shell says: a test session starts it some two hundred times.
export PYTHONDONTWRITEBYTECODE :=
# Only from make's command line: login shells set MAIL to the user's own mailbox.
MAIL_OPTION = $(if $(filter command,$(origin MAIL)),--mail "$(MAIL)")

.DEFAULT_GOAL := help
.PHONY: help run ui stop test tests spark lint format typecheck clean lock runtime development

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

runtime:
	@$(PYTHON) -I stack/environment.py runtime

development:
	@$(PYTHON) -I stack/environment.py development

run: runtime ## do the whole path on synthetic mail; MAIL=path takes real mail (mbox, maildir, folder, tar)
	@$(BIN)/penguinmails run $(MAIL_OPTION)

ui: runtime ## open Dagster's UI on a free port
	@$(BIN)/penguinmails ui

stop: ## stop the embedded servers; data stays
	@if [ -x $(BIN)/penguinmails ]; then $(BIN)/penguinmails down; fi

test: development ## run everything CI runs
	@$(MAKE) --no-print-directory -j 2 lint tests

tests: development
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

spark: development ## compare every mart on real Spark (a master, two workers; needs Java 17) with DuckDB's, row for row
	@$(BIN)/python bench/olap/compare_engines.py --standalone --events 20000

lint: development typecheck ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: development ## format and mend what ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# mypy cannot follow setuptools' editable import hook: it gets a tree of links in the shape of the installed package.
typecheck: development
	@mkdir -p .typing/penguinmails
	@for tier in pipelines oltp content_store olap queue stack; do ln -sfn ../../$$tier .typing/penguinmails/$$tier; done
	@cd .typing && MYPYPATH=. ../$(BIN)/mypy --config-file ../pyproject.toml -p penguinmails

lock: development ## resolve the dependencies anew into requirements/*.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/bootstrap.in -o requirements/bootstrap.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements/runtime.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --group dev -c requirements/runtime.lock -o requirements/development.lock

clean: stop ## stop the servers and remove everything that make and the platform made here, data included
	@rm -rf .venv .typing .penguinmails build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
	@find pipelines oltp content_store olap queue stack tests bench -name __pycache__ -prune -exec rm -rf {} +
