# FretCoach: `make run` to practise, `make test` to check everything. Both install what the machine lacks.
# ARGS reach the program: make run ARGS='--scale "A minor pentatonic" --bpm 90'

# Shells that make starts may not have read the profile that rustup wrote.
export PATH := $(PATH):$(HOME)/.cargo/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test bench deb fuzz rig-demo measure fmt deps

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build and practise (no sound card: the virtual guitarist plays)
	@scripts/install-deps build run
	@cargo run --release --locked -- practice $(ARGS)

test: ## Check format, lints and docs, and run all tests
	@scripts/install-deps build test
	@scripts/test $(ARGS)

bench: ## Run the benches
	@scripts/install-deps build run test
	@cargo bench --locked --benches $(ARGS)

deb: ## Build a Debian package: program, manual page, shell completions, systemd unit
	@scripts/install-deps build
	@scripts/deb $(ARGS)

fuzz: ## Throw random sound and files at what hears and reads, an hour each (ARGS='60 file': a minute of one)
	@scripts/fuzz $(ARGS)

rig-demo: ## Practise on a sound card in memory into which a phrase is played
	@scripts/install-deps build test
	@cargo test --release --locked --test rig -- practice $(ARGS)

measure: ## Measure memory and processor share while practising
	@scripts/measure-resources $(ARGS)

fmt: ## Format the code
	@cargo fmt

deps: ## Install the system packages that are missing
	@scripts/install-deps
