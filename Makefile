# make run: the whole pipeline on the embedded benchmark; make test: the fast tests. Both set up .venv first.
# Lines with ## are what make help says.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
RUN ?=
PARITY := .venv-parity
TORCH := .venv-torch

.PHONY: run report help unit test test-workflow test-others doctor slow slow-workflow slow-others faults slurm parity torch format docs lint types lock picture clean
.DEFAULT_GOAL := run

## run      the whole pipeline on the embedded benchmark; RUN=... has more for Snakemake
run: $(VENV)/installed
	@scripts/run $(RUN)

## report   report.html, one page of a finished run; RUN=... as for run
report: $(VENV)/installed
	@scripts/run --report report.html $(RUN)

## help     this
help:
	@sed -n 's/^## /make /p' Makefile

## unit     pure functions: the tests for every save
unit: $(VENV)/installed
	@$(BIN)/python -m pytest -m "not integration and not slow" tests/unit

## test     the fast tests and a small run from end to end: the tests for every commit
# In two processes, side by side; each shows what it has to say when it is done.
test: $(VENV)/installed
	@$(MAKE) --no-print-directory -j2 --output-sync=target test-workflow test-others

# Of tests/workflow, with the others: so both processes take as long, and these share no run with the rest.
APART := $(patsubst %,tests/workflow/test_%.py,buckets documentation places presets real_data secrets)
WORKFLOW := $(filter-out $(APART),$(wildcard tests/workflow/test_*.py))
OTHERS := tests $(addprefix --ignore ,$(WORKFLOW))

test-workflow:
	@$(BIN)/python -m pytest $(WORKFLOW)

test-others:
	@$(BIN)/python -m pytest $(OTHERS)

## doctor   what this machine has and lacks; before the installation, too
doctor:
	@PYTHONPATH="src$${PYTHONPATH:+:$$PYTHONPATH}" "$(or $(wildcard $(BIN)/python),$(PYTHON))" -m mcqlora.machine.doctor

## slow     what test leaves out for its time, and ten times the examples of each property
slow: $(VENV)/installed
	@$(MAKE) --no-print-directory -j2 --output-sync=target slow-workflow slow-others

SLOW := --hypothesis-profile many -m "slow or hypothesis"
slow-workflow:
	@$(BIN)/python -m pytest $(SLOW) $(WORKFLOW)

slow-others:
	@$(BIN)/python -m pytest $(SLOW) $(OTHERS)

## faults   kills, full disks, damaged and hostile files; some need root, which mounts
faults: $(VENV)/installed
	@$(BIN)/python -m pytest -rs -m faults

## slurm    through a real Slurm of two nodes; as root, for it installs Debian's packages
slurm: $(VENV)/installed
	@$(BIN)/python -m pytest -rs -m slurm

## parity   networks and exports against transformers and peft
# In a venv of its own: torch has no place beside MindSpore.
parity: $(VENV)/installed $(PARITY)/installed
	@MCQLORA_PYTHON="$(abspath $(BIN)/python)" $(PARITY)/bin/python -m pytest -s -m parity tests/parity

## torch    a venv for snakemake judge: models of others through transformers and peft
torch: $(TORCH)/installed

## format   ruff and snakefmt rewrite the code
format: $(VENV)/installed
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

## docs     the API's pages, in build/api
docs: $(VENV)/installed
	PYTHONPATH=src $(BIN)/pdoc -o build/api mcqlora

## lint     ruff, snakefmt and Snakemake's own lint
lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

## types    mypy
types: $(VENV)/installed
	$(BIN)/mypy

$(VENV)/installed: envs/cpu.lock
	@scripts/check-machine "$(PYTHON)"
	@echo "mcqlora: installing into $(VENV) (3.5 GB, some minutes)"
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/cpu.lock
	@touch $@

# Another build of torch, for a GPU or an NPU, may be installed into .venv-torch instead.
$(PARITY)/installed $(TORCH)/installed: .venv-%/installed: envs/%.lock
	@echo "mcqlora: installing into .venv-$* (2 GB, some minutes)"
	@"$(PYTHON)" -m venv .venv-$*
	@.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r envs/$*.lock
	@touch $@

## lock     the lock files anew, with uv, from envs/*.in
# No registry address lands in a file. ascend.lock is the same for x86_64 and aarch64: uv fails where a package
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
	$(foreach name,parity torch,echo torch | \
		$(UV) --python-platform linux --excludes /dev/stdin envs/$(name).in -o envs/$(name).lock;)
	scripts/conda-yaml envs/torch.lock 2.13.0 > envs/torch.yaml

## picture  the documentation's pictures and docs/times.tsv; after a make run from the start, with Chromium
picture: $(VENV)/installed
	PYTHONPATH=src $(BIN)/python -m mcqlora.terminal benchmarks/demo > docs/times.tsv
	$(BIN)/snakemake --rulegraph 2>/dev/null | $(BIN)/python scripts/picture docs/architecture.md
	@$(MAKE) --no-print-directory report
	$(BIN)/python scripts/screenshot report.html docs/report.png

## clean    remove all that runs made here
clean:
	rm -rf results logs benchmarks runs .snakemake report.html
