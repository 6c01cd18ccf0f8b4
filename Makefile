# `make demo` and `make test` work in a fresh clone: each makes the environment that it needs first.

PYTHON ?= python3
VENV ?= .venv
MINUTES ?= 20
BENCH ?=
BENCH_VENV ?= .venv-bench
BIN := $(VENV)/bin
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.DEFAULT_GOAL := help
.PHONY: help demo venv test check format soak bench

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/demo.stamp  ## the whole product on real handwritten digits, in ./demo
	$(BIN)/vision-batch demo

venv: $(VENV)/dev.stamp  ## the environment for work on vision-batch, in ./.venv

test: $(VENV)/dev.stamp  ## every test that is not slow
	$(BIN)/pytest -m "not slow"

check: $(VENV)/dev.stamp  ## format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp  ## put the code into the format that `make check` wants
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: $(VENV)/dev.stamp  ## the slow tests, then chaos for MINUTES=20, half of them on S3
	$(BIN)/pytest -m slow
	$(BIN)/python -m tests.faults.chaos --minutes $$(($(MINUTES) / 2))
	$(BIN)/python -m tests.faults.chaos --minutes $$(($(MINUTES) / 2)) --s3

bench: $(BENCH_VENV)/bench.stamp  ## the table of docs/benchmarks.md, an hour or so; BENCH=--quick for a look
	$(BENCH_VENV)/bin/python -m tests.benchmarks $(BENCH)

# A stamp is as new as the last installation of an extra: pip runs again only when what it reads has changed.
$(VENV)/%.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing vision-batch[$*] into $(VENV): a few minutes the first time"
	$(INSTALL) '.[$*]'
	@touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The peers have an environment of their own: Daft wants an older tqdm than the tests have seen.
$(BENCH_VENV)/bench.stamp: pyproject.toml constraints.txt
	@echo "installing vision-batch[bench] into $(BENCH_VENV): a few minutes the first time"
	$(PYTHON) -m venv $(@D)
	grep -v '^tqdm==' constraints.txt > $(@D)/constraints.txt
	$(@D)/bin/pip install --quiet --disable-pip-version-check --constraint $(@D)/constraints.txt --editable '.[bench]'
	@touch $@
