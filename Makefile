# Everything runs in .venv, made from requirements.lock; needs python3 >= 3.11 and the network for the first install only.
# PYTHON=/path/to/python picks another interpreter.

SHELL := /bin/sh
VENV := .venv
READY := $(VENV)/.ready
RUN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo serve test coverage check bench kill-test chaos lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: $(READY) ## simulated CPOs and eMSPs on four OCPI versions over real HTTP, ending with verify
	@$(RUN)/roamlog demo

serve: $(READY) ## keep one running on ./data
	@$(RUN)/roamlog serve --data ./data

PYTEST := $(RUN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations=15 --durations-min=10

test: $(READY) ## the whole test suite
	@$(PYTEST)

coverage: $(READY) ## the same with its coverage, in half as much time again
	@$(PYTEST) --cov --cov-report=term:skip-covered

check: $(READY) ## ruff, mypy --strict, the import arrows
	@echo "ruff" && $(RUN)/python -m ruff check --quiet .
	@echo "mypy" && $(RUN)/python -m mypy
	@echo "import arrows" && $(RUN)/lint-imports --no-logo

bench: $(READY) ## every benchmark beside its peers; figures to benchmarks/results.json
	@$(RUN)/python -m benchmarks

kill-test: $(READY) ## kill -9 and SIGTERM of serve at 50 random moments under load (the tests do 5)
	@ROAMLOG_KILLS=50 $(RUN)/python -m pytest tests/system/test_kill.py -s

chaos: $(READY) ## faults of every process at scale, the broker and connections under load, 15 minutes at most (the tests do 12)
	@$(RUN)/python tests/support/chaos.py

lock: $(READY) ## resolve pyproject.toml anew into requirements.lock
	@$(RUN)/python -m pip install --quiet uv
	@$(RUN)/python -m uv pip compile --quiet --universal --no-header --generate-hashes --extra dev pyproject.toml -o requirements.lock
	@echo "requirements.lock is written"

clean: ## remove everything that make made, ./data excepted
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage dist build benchmarks/.peers
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@python=; for candidate in "$(PYTHON)" python3 python3.14 python3.13 python3.12 python3.11; do \
	  if [ -n "$$candidate" ] && "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	  if [ -n "$(PYTHON)" ]; then break; fi; \
	done; \
	if [ -z "$$python" ]; then echo "roamlog needs python3 >= 3.11; name one with: make PYTHON=/path/to/python3" >&2; exit 1; fi; \
	if [ ! -x $(RUN)/python ]; then echo "making .venv with $$("$$python" --version)"; "$$python" -m venv $(VENV); fi
	@echo "installing the locked dependencies into .venv"
	@$(RUN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(RUN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@
