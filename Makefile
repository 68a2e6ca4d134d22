# Each target does its own set-up on a Debian machine, as root: what is there already is left alone.
#   make demo    record a small program that mixes Python, C and the kernel, and show where it spent its time
#   make test    everything that is checked: lint, types, unit, golden, browser and live tests
#   make test-bcc  the live tests with the other loader
#   make test-debug  the live tests of stacks with Debian's debug builds of CPython (three minutes)
#   make lint    only lint and types
#   make bench   the numbers of docs/benchmarks.md, on this machine, beside other profilers (some 40 minutes; may
#                be stopped: each section is kept when it ends). ONLY="truth merge": these alone; TORCH=1: torch too
#   make bench-quick   fewer cases and repetitions, in less than three minutes; the page stays as it is
#   make guard   renew the counts that the tests hold mixstack to (instructions, calls, bytes, modules)
#   make support the table of docs/support.md: how stacks join on every build
#   make oracle  the oracles at full length: a million samples against trampolines, 300 stops with gdb per
#                interpreter (most of an hour)
#   make losses  200 recordings killed at random moments, and 100 busy threads at 9,999 Hz for a minute
#   make trees   the interpreters of later releases of Debian, in build/trees or $MIXSTACK_TREES
#   make wheel   a wheel with the compiled probe inside, in dist/

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --quiet --disable-pip-version-check --no-input
# What an installation is made from; the rest of the package is used in place.
PARTS := $(wildcard mixstack/bpf/*.[ch] mixstack/compiled/*.[ch]) build_native.py pyproject.toml

# The interpreters of other releases run in root folders of their own, made once and kept.
TREES := $(or $(MIXSTACK_TREES),$(CURDIR)/build/trees)
export MIXSTACK_TREES = $(TREES)
IN_EACH := base-files coreutils dash

.PHONY: demo test test-bcc test-debug debug-trees lint bench bench-quick bench-packages guard support oracle losses trees wheel setup setup-dev clean

# $(1): Debian packages.
install = { \
	echo "installing $(1)"; \
	log=$$(export DEBIAN_FRONTEND=noninteractive; { \
		apt-get update -q && apt-get install -y -q --no-install-recommends $(1); } 2>&1) || { \
		echo "$$log" | tail -n 20 >&2; \
		echo "make: cannot install $(1): run make as root on Debian, or install it yourself" >&2; \
		exit 1; }; }

# $(1): a command that must be there; $(2): the Debian packages that bring it.
need = @command -v $(1) >/dev/null || $(call install,$(2))

demo: setup
	@$(PYTHON) examples/demo.py build/demo

# Two tests at a time; then, one by one, those that a neighbour would disturb.
PYTEST := $(PYTHON) -m pytest
TOGETHER := -n 2 -m 'not alone'
ALONE := -m alone

test: lint trees
	$(PYTEST) $(TOGETHER)
	$(PYTEST) $(ALONE)

WITH_LOADER := tests/live tests/unit/bpf/test_probe.py

test-bcc: setup-dev trees
	MIXSTACK_LOADER=bcc $(PYTEST) $(TOGETHER) $(WITH_LOADER)
	MIXSTACK_LOADER=bcc $(PYTEST) $(ALONE) $(WITH_LOADER)

WITH_STACKS := $(addprefix tests/live/test_,grammar.py trampoline_oracle.py gdb_oracle.py shares.py)

test-debug: setup-dev debug-trees
	MIXSTACK_DEBUG_BUILDS=1 $(PYTEST) $(TOGETHER) $(WITH_STACKS)
	MIXSTACK_DEBUG_BUILDS=1 $(PYTEST) $(ALONE) $(WITH_STACKS)

lint: setup-dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

bench: bench-packages trees
	$(PYTHON) -m tests.bench.run $(addprefix --only ,$(ONLY))

bench-quick: bench-packages trees
	$(PYTHON) -m tests.bench.run --quick $(addprefix --only ,$(ONLY))

# What only measurements need: pyperformance, numpy, and with TORCH=1 torch.
bench-packages: setup-dev
	$(PYTHON) -m tests.bench.packages $(if $(TORCH),--torch)

guard: setup-dev
	$(PYTHON) -m tests.guard.record

support: setup-dev trees
	$(PYTHON) -m tests.bench.support

oracle: setup-dev trees
	$(PYTHON) -m tests.bench.trampoline_oracle
	$(PYTHON) -m tests.bench.gdb_oracle 300
	$(PYTHON) -m tests.bench.gdb_native 300

losses: setup-dev
	$(PYTHON) -m tests.bench.kills 200
	$(PYTHON) -m tests.bench.crowd 60

trees:
	$(call need,mmdebstrap,mmdebstrap debian-archive-keyring)
	@tests/make_tree.sh trixie $(TREES)/trixie $(IN_EACH) $(call python,3.13)
	@tests/make_tree.sh sid $(TREES)/sid $(IN_EACH) $(call python,3.14) $(call python,3.15)

# Builds with --with-pydebug, which share no folder with the others: there they would be found, too.
debug-trees:
	$(call need,mmdebstrap,mmdebstrap debian-archive-keyring)
	@tests/make_tree.sh bookworm $(TREES)/debug/bookworm $(IN_EACH) $(call debug,3.11)
	@tests/make_tree.sh trixie $(TREES)/debug/trixie $(IN_EACH) $(call debug,3.13)
	@tests/make_tree.sh sid $(TREES)/debug/sid $(IN_EACH) $(call debug,3.14) $(call debug,3.15)

debug = python$(1)-dbg python$(1)-dev

# $(1): a version; its interpreter, its headers and its library.
python = python$(1) python$(1)-dev libpython$(1)

wheel: | $(PYTHON) clang
	$(PIP) wheel --no-deps --wheel-dir dist .

# What it takes to record: the package, and the library that loads the probe.
setup: $(VENV)/installed | libbpf

# What the tests need on top.
setup-dev: $(VENV)/installed-dev | libbpf
	$(call need,gcc,gcc libc6-dev)
	@[ ! -x /usr/bin/python3 ] || compgen -G '/usr/include/python3*/internal' >/dev/null \
		|| $(call install,python3-dev)
	$(call need,gdb,gdb)
	$(call need,perf,linux-perf)
	$(call need,readelf,binutils)
	$(call need,dwz,dwz)
	$(call need,g++,g++)
	$(call need,llvm-symbolizer,llvm)
	$(call need,capsh,libcap2-bin)
	$(call need,mksquashfs,squashfs-tools)
	@[ -d /usr/lib/python3/dist-packages/bcc ] || $(call install,python3-bpfcc)
	$(call need,pypy3,pypy3)
	$(call need,chromium,chromium)
	$(call need,node,nodejs)
	$(call need,npm,npm)

.PHONY: clang libbpf

clang:
	$(call need,python3,python3)
	@python3 build_native.py --check || $(call install,clang)

libbpf: | $(PYTHON)
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libbpf.so.1")' 2>/dev/null || $(call install,libbpf1)

$(PYTHON):
	$(call need,python3,python3)
	@python3 -c 'import ensurepip, venv' 2>/dev/null || $(call install,python3-venv)
	@python3 -m venv $(VENV)

$(VENV)/installed: $(PARTS) | $(PYTHON) clang
	@echo "installing mixstack into $(VENV)"
	@$(PIP) install -e .
	@touch $@

$(VENV)/installed-dev: $(PARTS) | $(PYTHON) clang
	@echo "installing mixstack and what its tests need into $(VENV)"
	@$(PIP) install -e '.[dev]'
	@touch $(VENV)/installed $@

clean:
	rm -rf $(VENV) build dist mixstack/bpf/*.o tests/browser/node_modules
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
