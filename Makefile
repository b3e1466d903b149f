# Everything needs only make and Python 3.11 or newer. `make` alone shows what there is.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup run demo test check bench lock wheel sbom clean

BIN := .venv/bin
EXTRAS ?= dev
LOCKED_EXTRAS := postgres embeddings vectors documents train qlora search ray guardrails
JOBS ?= $(shell test "$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)" -ge 2 && echo 2 || echo 1)
unexport PYTHONDONTWRITEBYTECODE  # tests start hundreds of processes, each of which would compile everything again
INSTALLED := .venv/.installed
WITH_EXTRAS := .venv/.installed-$(EXTRAS)
FIND_PYTHON = for one in $(PYTHON) python3.13 python3.12 python3.11 python3.14 python3 python; do \
	if "$$one" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo "$$one"; exit 0; fi; done; \
	echo "Understudy needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Create .venv with what the product needs (quick when nothing changed)

run: $(INSTALLED) ## Start Understudy: your providers when a key is set, else the demonstration
	@exec $(BIN)/understudy

demo: $(INSTALLED) ## Show the whole loop with a simulated teacher
	@exec $(BIN)/understudy demo

test: $(WITH_EXTRAS) ## Run every test, JOBS files at a time (2; 1 where there is one core)
	$(BIN)/pytest $(if $(filter-out 0 1,$(JOBS)),--numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder) $(ARGS)

check: $(WITH_EXTRAS) ## Lint, strict typing, and the rules of the house
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest tests/tidy

bench: $(INSTALLED) ## Measure what the gateway adds to a call
	$(BIN)/python -m benchmarks.overhead $(ARGS)

lock: ## Resolve and hash what is installed from deploy/locks (needs uv: pip install uv)
	@mkdir -p build && for one in runtime build extras; do \
	  case $$one in runtime) what="pyproject.toml --extra postgres";; build) what=deploy/locks/build.in;; \
	    extras) what="pyproject.toml $(LOCKED_EXTRAS:%=--extra %) --constraint deploy/locks/runtime.txt --no-emit-package torch";; esac; \
	  rm -f build/$$one.txt; uv pip compile --quiet --universal --python-version 3.11 --exclude-newer "7 days" --generate-hashes --no-emit-index-url --no-header \
	    --no-annotate --config-file deploy/locks/uv.toml $$what --output-file build/$$one.txt && \
	  { sed -n '/^#/p' deploy/locks/$$one.txt; cat build/$$one.txt; } > build/$$one.new && mv build/$$one.new deploy/locks/$$one.txt || exit 1; \
	done

wheel: $(WITH_EXTRAS) ## Build the wheel into dist/, with the same bytes everywhere
	$(BIN)/python -m hatchling build -t wheel -d dist

sbom: ## List the components of a release as CycloneDX, into dist/
	@mkdir -p dist && python3 deploy/sbom.py deploy/locks/runtime.txt > dist/understudy.cdx.json && echo dist/understudy.cdx.json

clean: ## Remove .venv and caches; your data in .understudy stays
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@python=$$($(FIND_PYTHON)) && { "$$python" -m venv .venv >/dev/null 2>&1 || \
	{ rm -rf .venv; echo "This Python came without pip; fetching it ..."; "$$python" -m venv --without-pip .venv && $(BIN)/python deploy/pip_alone.py; }; } \
	|| { rm -rf .venv; echo "No virtual environment could be made (on Debian and Ubuntu: apt-get install python3-venv)." >&2; exit 1; }

$(INSTALLED): pyproject.toml | $(BIN)/python
	@echo "Installing the packages into .venv (the first time takes a minute or two) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(WITH_EXTRAS): pyproject.toml | $(BIN)/python
	@echo "Installing the packages and the tools for $(EXTRAS) into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@ $(INSTALLED)
