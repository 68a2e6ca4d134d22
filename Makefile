# Each target does its own set-up on a Debian machine, as root: what is there already is left alone.
#   make demo    record a small program that mixes Python, C and the kernel, and show where it spent its time
#   make test    everything that is checked: lint, types, unit, golden, browser and live tests
#   make bench   the numbers of docs/benchmarks.md, on this machine
#   make oracle  the trampoline oracle at full length: 100,000 samples per interpreter (about 2 minutes)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
VENV := .venv
PYTHON := $(VENV)/bin/python
PROBE_SOURCES := $(wildcard mixstack/bpf/*.c mixstack/bpf/*.h) build_probe.py pyproject.toml

.PHONY: demo test bench oracle lint setup setup-dev clean

# $(1): a command that must be there; $(2): the Debian packages that bring it.
need = @command -v $(1) >/dev/null || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(2) >/dev/null; }

demo: setup
	@$(PYTHON) examples/demo.py

test: setup-dev lint
	$(PYTHON) -m pytest

bench: setup-dev
	$(PYTHON) tests/bench/probe.py

oracle: setup-dev
	$(PYTHON) tests/bench/trampoline_oracle.py

lint: setup-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

setup: $(VENV)/installed

setup-dev: $(VENV)/installed-dev
	$(call need,gcc,gcc libc6-dev)
	$(call need,gdb,gdb)
	$(call need,readelf,binutils)
	$(call need,chromium,chromium)
	$(call need,npm,nodejs npm)

$(VENV)/bin/python:
	$(call need,python3,python3)
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq; apt-get install -y -qq python3-venv >/dev/null; }
	python3 -m venv $(VENV)

$(VENV)/installed: $(PROBE_SOURCES) | $(VENV)/bin/python
	@python3 build_probe.py --check 2>/dev/null || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq clang >/dev/null; }
	@ldconfig -p | grep -q libbpf.so.1 || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libbpf1 >/dev/null; }
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist mixstack/bpf/*.o .pytest_cache .mypy_cache .ruff_cache .hypothesis
