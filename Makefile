# Headrace: every chore has a target here, and `make` alone lists them.
#
# Needs Python >= 3.11, a C compiler and Rust; everything else is installed into .venv (Python) and target (Rust).
# Guarantees: each target does its own set-up; nothing is built again until its sources change.
# Does not: install anything outside this folder.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # Two targets at once would fight over Cargo's lock and the two cores.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

# The first interpreter that is new enough; override with `make PYTHON=/path/to/python`.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python

CORE_STAMP := $(VENV)/.core
DEPS_STAMP := $(VENV)/.deps
NATIVE_STAMP := $(VENV)/.native
PACKAGE_STAMP := $(VENV)/.package
PEERS := .venvs/peers
PEERS_STAMP := $(PEERS)/.installed
# What the extension is made of. Python files are not in it: the install is editable, so they need no build.
NATIVE_SOURCES := $(shell find rust -path '*/src/*' -type f) $(wildcard rust/*/build.rs rust/*/Cargo.toml) \
	Cargo.toml Cargo.lock pyproject.toml

LOOM := RUSTFLAGS="--cfg loom" CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
FUZZ_S ?= 60
# How many processes share the Python tests, a file each; many tests wait for sockets, clocks and other processes.
TEST_PROCESSES ?= 2
# PyO3 looks at this interpreter, whatever `python3` is on the machine.
export PYO3_PYTHON := $(CURDIR)/$(PY)
# One seed for every random test, in Rust and in Python; `make test` prints it, HEADRACE_SEED=… repeats it.
ifndef HEADRACE_SEED
HEADRACE_SEED := $(shell echo $$((RANDOM * 32768 + RANDOM)))
endif
export HEADRACE_SEED
export PROPTEST_RNG_SEED := $(HEADRACE_SEED)

##@ Start here
.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z][a-z-]*:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(DEPS_STAMP) $(NATIVE_STAMP) ## make .venv with what all extras and tests need, build the release extension

.PHONY: demo
demo: $(NATIVE_STAMP) ## run the demo, with the core alone installed: one engine, generated markets, six strategies, orders, an operator
	@$(BIN)/headrace demo

##@ Check
.PHONY: test
test: setup ## Rust, loom at bound 2, Python, every bench once, three planted bugs
	@echo "HEADRACE_SEED=$(HEADRACE_SEED)"
	cargo test --quiet -p headrace-lockfree -p headrace-core
	@$(MAKE) test-loom
	$(PY) -m pytest -m "not deep and not alone" --numprocesses $(TEST_PROCESSES) --dist loadfile --cov --cov-report= --cov-fail-under=0
	$(PY) -m pytest -m "alone and not deep"
	@echo "branch coverage of bus, commands, engine and orders:"
	@$(PY) -m coverage report
	$(PY) -m pytest benches --benchmark-disable -q
	$(PY) tests/planted/run.py --fast

.PHONY: test-pythons
test-pythons: need-rust $(DEPS_STAMP) ## the Python tests, and the same hashes, on each Python 3.11 to 3.14 that is on PATH, or on each of PYTHONS
	$(PY) tools/test_pythons.py $(PYTHONS)

.PHONY: test-deep
test-deep: setup ## what takes minutes to hours: loom at bound 3, deep tests, ThreadSanitizer, fuzzing
	@$(MAKE) test-loom LOOM_MAX_PREEMPTIONS=3
	$(PY) -m pytest -m deep --timeout 7200
	@$(MAKE) test-tsan
	@$(MAKE) fuzz

.PHONY: test-loom
test-loom: export LOOM_MAX_PREEMPTIONS ?= 2
test-loom: need-rust ## every interleaving of the ring's models, at LOOM_MAX_PREEMPTIONS (2)
	$(LOOM) cargo test --quiet -p headrace-lockfree --release --test 'loom_*' --target-dir target/loom

.PHONY: test-tsan
test-tsan: need-rust ## ThreadSanitizer over the ring's stress, with a canary that it must report
	bash rust/lockfree/tsan.sh

.PHONY: fuzz
fuzz: need-rust ## fuzz the decoder for FUZZ_S (60) seconds; installs cargo-fuzz into .tools
	@test -x .tools/bin/cargo-fuzz || cargo install --locked --root .tools cargo-fuzz
	@export PATH="$(CURDIR)/.tools/bin:$$PATH" RUSTC_BOOTSTRAP=1; \
		targets=$$(cargo fuzz list); for target in $$targets; do cargo fuzz run "$$target" -- -max_total_time=$(FUZZ_S); done

.PHONY: planted
planted: setup ## plant every bug of tests/planted; each must be caught (about half an hour)
	$(PY) tests/planted/run.py

.PHONY: lint
lint: setup ## format, clippy, ruff, mypy --strict, stubtest; a warning is an error
	cargo fmt --check
	@for alone in fuzz tests/hostile_extension; do cargo fmt --check --manifest-path $$alone/Cargo.toml; done
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	$(LOOM) cargo clippy --quiet -p headrace-lockfree --all-targets --target-dir target/loom -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy python/headrace tests tools docs/conf.py $(sort $(dir $(wildcard benches/*.py)))
	$(PY) -m mypy.stubtest --mypy-config-file pyproject.toml headrace._native

##@ Measure
# A case that fails has no rows; the table of the others is printed first.
BENCHES = pytest benches -q $(if $(QUICK),,--full) --benchmark-only --benchmark-quiet --benchmark-json
.PHONY: bench
bench: setup ## one table of ratios to a bare Python loop; QUICK=1 for fewer rounds and ticks
	@rm -f target/bench.json; failed=0; $(PY) -m $(BENCHES) target/bench.json || failed=1; \
		$(PY) -m benches.table target/bench.json --whole $(if $(QUICK),quick,full); exit $$failed

.PHONY: bench-instructions
bench-instructions: setup ## instruction counts under callgrind against the stored ones
	$(PY) benches/instructions.py

.PHONY: bench-peers
bench-peers: setup $(PEERS_STAMP) ## the rows in which csp, nautilus_trader and backtesting.py stand beside us, in an environment of their own
	@rm -f target/bench-peers.json; export PYTHONPATH=python; failed=0; \
		$(PEERS)/bin/python -m $(BENCHES) target/bench-peers.json --peers || failed=1; \
		$(PEERS)/bin/python -m benches.table target/bench-peers.json; exit $$failed

##@ Ship
.PHONY: package
package: setup $(PACKAGE_STAMP) ## sdist and a manylinux2014 wheel for .venv's Python, or for each of PYTHONS, into dist
	$(PY) tools/package.py $(PYTHONS)

.PHONY: docs
docs: setup ## build the documentation into docs/_build/html
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps -p headrace-lockfree -p headrace-core
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build/html

.PHONY: clean
clean: ## remove everything that was built or installed here
	rm -rf $(VENV) .venvs .tools target fuzz/target dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f python/headrace/_native*.so

# Not for people: what the targets above stand on.
.PHONY: need-python need-rust
need-python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing: install python3 (Debian: apt install python3-venv)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv module: install it (Debian: apt install python3-venv)" >&2; exit 1; }

need-rust:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.88 or newer, for example with rustup" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "cc is missing: install a C compiler (Debian: apt install gcc libc6-dev)" >&2; exit 1; }

# Of the versions that were tested together, those of the core install and of what builds it.
$(CORE_STAMP): requirements-dev.txt | need-python need-rust
	@echo "installing the core into $(VENV)"
	@test -x $(PY) || "$(PYTHON)" -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check $$(grep -E '^(click|maturin|msgspec|numpy)==' requirements-dev.txt)
	@touch $@

$(DEPS_STAMP): requirements-dev.txt $(CORE_STAMP)
	@echo "installing the extras and the tools into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# Of their own, because only `package` needs them and Zig is large.
$(PACKAGE_STAMP): tools/requirements-package.txt $(DEPS_STAMP)
	@echo "installing what builds portable wheels into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -r tools/requirements-package.txt
	@touch $@

# A peer that does not install is left out of the table.
$(PEERS_STAMP): benches/peers/requirements.txt | $(DEPS_STAMP)
	@echo "installing the peers into $(PEERS) (about 1.2 GB)"
	@test -x $(PEERS)/bin/python || $(PY) -m venv $(PEERS)
	@install="$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all:"; \
		$$install $$(grep -v '^#\|^csp\|^nautilus' $<); \
		for peer in $$(grep '^csp\|^nautilus' $<); do $$install "$$peer" || echo "$$peer does not install here: its rows are left out"; done
	@touch $@

$(NATIVE_STAMP): $(CORE_STAMP) $(NATIVE_SOURCES) | need-rust
	@echo "building the extension (release, whole-program optimisation: a minute or two the first time)"
	@PIP_QUIET=1 VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/maturin develop --release
	@touch $@
