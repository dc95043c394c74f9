# make run: the whole pipeline on the embedded benchmark; make test: the fast tests. Both set up .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
RUN ?=
PARITY := .venv-parity

.PHONY: run test doctor slow faults slurm parity lint lock picture clean
.DEFAULT_GOAL := run

run: $(VENV)/installed
	@scripts/run $(RUN)

test: $(VENV)/installed
	@$(BIN)/python -m pytest

# Before the installation, too.
doctor:
	@PYTHONPATH=src $(or $(wildcard $(BIN)/python),$(PYTHON)) -m mcqlora.machine.doctor

slow: $(VENV)/installed
	@$(BIN)/python -m pytest -m slow

faults: $(VENV)/installed
	@$(BIN)/python -m pytest -rs -m faults

# Through a real Slurm of two nodes; root, and Debian's packages, which are installed if they are missing.
slurm: $(VENV)/installed
	@$(BIN)/python -m pytest -rs -m slurm

# Our networks and exports against transformers and peft, in a venv of its own: torch has no place beside MindSpore.
parity: $(VENV)/installed $(PARITY)/installed
	@MCQLORA_PYTHON="$(abspath $(BIN)/python)" $(PARITY)/bin/python -m pytest -s -m parity tests/parity

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

$(PARITY)/installed: envs/parity.lock
	@echo "mcqlora: installing into $(PARITY) (2 GB, some minutes)"
	@"$(PYTHON)" -m venv $(PARITY)
	@$(PARITY)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(PARITY)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r envs/parity.lock
	@touch $@

# Needs uv. No registry address lands in a file. ascend.lock is the same for x86_64 and aarch64: uv fails where a package
# has no wheel for it (two have none at all, and are plain Python).
UV := uv pip compile --quiet --generate-hashes --python-version 3.11 --no-emit-index-url --no-header --no-annotate
WHEELS := --only-binary :all: --no-binary jieba --no-binary connection-pool
lock:
	$(UV) --python-platform linux envs/cpu.in -o envs/cpu.lock
	sed -n 's/^\([a-z][^ ]*==[^ ]*\).*/\1/p' envs/cpu.lock | grep -v '^protobuf==' | $(UV) $(WHEELS) \
		--python-platform aarch64-unknown-linux-gnu --constraints /dev/stdin envs/ascend.in -o envs/ascend.lock
	$(UV) $(WHEELS) --python-platform x86_64-unknown-linux-gnu --constraints envs/ascend.lock envs/ascend.in \
		-o envs/ascend-x86_64.lock
	cmp envs/ascend.lock envs/ascend-x86_64.lock && rm envs/ascend-x86_64.lock
	$(foreach device,cpu ascend,scripts/conda-yaml envs/$(device).lock > envs/$(device).yaml;)
	echo torch | $(UV) --python-platform linux --excludes /dev/stdin envs/parity.in -o envs/parity.lock

# The README's picture of the DAG, and of the report: make run, then make picture. The second needs Chromium.
picture: $(VENV)/installed
	$(BIN)/snakemake --rulegraph 2>/dev/null | $(BIN)/python scripts/picture README.md
	$(BIN)/snakemake --report report.html --quiet all
	$(BIN)/python scripts/screenshot report.html docs/report.png

clean:
	rm -rf results logs benchmarks runs .snakemake
