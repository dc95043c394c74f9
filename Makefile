# make run: the whole pipeline on the embedded benchmark; make test: the fast tests. Both set up .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
RUN ?=

.PHONY: run test slow faults lint lock clean
.DEFAULT_GOAL := run

run: $(VENV)/installed
	@scripts/run $(RUN)

test: $(VENV)/installed
	@$(BIN)/python -m pytest

slow: $(VENV)/installed
	@$(BIN)/python -m pytest -m slow

faults: $(VENV)/installed
	@$(BIN)/python -m pytest -m faults

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

$(VENV)/installed: envs/cpu.lock
	@scripts/check-machine "$(PYTHON)"
	@echo "mcqlora: installing into $(VENV) (3.5 GB, some minutes)"
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r envs/cpu.lock
	@touch $@

# Needs uv. No registry address lands in the file.
lock:
	uv pip compile --generate-hashes --python-version 3.11 --python-platform linux --no-emit-index-url --no-header \
		--no-annotate envs/cpu.in -o envs/cpu.lock

clean:
	rm -rf results logs benchmarks runs .snakemake
