# Two commands for a newcomer (`make run`, `make test`), one for whoever is editing (`make check`).

.DEFAULT_GOAL := help
.PHONY: help run test check bench scale kills liars alert-kills alert-storm alert-edits simulate fuzz golden image tools packages components machine agent-static collector-static clean
SHELL := /bin/bash -o pipefail

# The pinned toolchain where rustup has it; elsewhere whatever satisfies `rust-version`.
pinned := 1.95.0
ifneq ($(shell rustup toolchain list 2>/dev/null | grep -c '^$(pinned)-'),0)
export RUSTUP_TOOLCHAIN := $(pinned)
endif

host_target := $(shell rustc -vV | sed -n 's/^host: //p')
cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/palisade
cargo_deny := $(cache)/cargo-deny-0.20.2/bin/cargo-deny
version := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

# Everything is built one way, so that lints, tests, demo and images share what is compiled: static,
# and the same bytes wherever checkout and registry lie; C code (SQLite, zstd) likewise. The explicit
# target keeps proc-macros dynamic.
cargo_home := $(or $(CARGO_HOME),$(HOME)/.cargo)
export CARGO_BUILD_TARGET := $(host_target)
export CFLAGS := -ffile-prefix-map=$(cargo_home)=cargo -ffile-prefix-map=$(CURDIR)=.
export RUSTFLAGS := -C target-feature=+crt-static --remap-path-prefix=$(cargo_home)=cargo --remap-path-prefix=$(CURDIR)=.

built := target/$(host_target)
static := $(built)/agent/palisade-agent
# PROFILE=dev takes the collector that the tests use; without it, the one that is shipped.
static_collector := $(built)/$(if $(filter dev,$(PROFILE)),debug,release)/palisade-collector
pure := palisade-report palisade-rules palisade-inspect palisade-plan palisade-alert

help: ## Show these lines
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: ## Inspect this host: collector and agent on loopback, findings, until Ctrl-C
	@tests/tools/demo

check: ## Inner loop: format, lints, unit tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked --lib --quiet

test: ## Everything that CI runs; needs root
	@[ "$$(id -u)" = 0 ] || { echo "make test starts kubelets, machines and network namespaces: run it as root" >&2; exit 1; }
	@$(MAKE) --no-print-directory packages
	@$(MAKE) --no-print-directory -j3 tools components machine
	@$(MAKE) --no-print-directory agent-static
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo build --workspace --bins --locked
# Whole-system tests mostly wait: for a machine that boots, a Lease that ends. Two at once would idle.
	PALISADE_AGENT=$(CURDIR)/$(static) PALISADE_COLLECTOR=$(CURDIR)/$(built)/debug/palisade-collector \
	  RUST_TEST_THREADS=6 cargo test --workspace --locked
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --locked --quiet
	for package in $(pure); do cargo check --locked --quiet -p $$package || exit 1; done
	$(cargo_deny) --workspace check --hide-inclusion-graph bans licenses sources

# Alone, so that no other member's features get into what is shipped.
agent-static:
	cargo build --locked --profile agent -p palisade-agent

collector-static:
	cargo build --locked $(if $(filter dev,$(PROFILE)),--workspace --bins,--release -p palisade-collector)

image: agent-static collector-static ## Both images as OCI archives below target/image, no container engine needed
	tests/tools/image target/image/palisade-agent.tar palisade-agent:$(version) 0:0 $(static) run --root /host
	tests/tools/image target/image/palisade-collector.tar palisade-collector:$(version) 65532:65532 $(static_collector)

bench: agent-static ## Ratios against real peers and bare limits (BENCH="B5 B11" for some rows)
	tests/tools/peers
	cargo build --locked --release -p palisade-collector -p palisade-tests
	PALISADE_AGENT=$(CURDIR)/$(static) PALISADE_COLLECTOR=$(CURDIR)/$(built)/release/palisade-collector \
	  $(built)/release/bench $(BENCH)

scale: tools components ## Five thousand nodes with simulated agents in a real cluster (PALISADE_NODES=n for others)
	cargo build --workspace --bins --locked
	PALISADE_NODES=$(or $(PALISADE_NODES),5000) PALISADE_COLLECTOR=$(CURDIR)/$(built)/debug/palisade-collector \
	  cargo test --locked --workspace --test whole scale -- --nocapture

kills: tools components ## The collector killed five hundred times while nodes reboot (PALISADE_KILLS=n for others, PALISADE_KILLS_IN=STATE,... in these only)
	cargo build --workspace --bins --locked
	PALISADE_KILLS=$(or $(PALISADE_KILLS),500) PALISADE_COLLECTOR=$(CURDIR)/$(built)/debug/palisade-collector \
	  cargo test --locked --workspace --test whole killed_around -- --nocapture

liars: tools components ## A thousand nodes that all lie about their reboots (PALISADE_LIARS=n for others)
	cargo build --workspace --bins --locked
	PALISADE_LIARS=$(or $(PALISADE_LIARS),1000) PALISADE_COLLECTOR=$(CURDIR)/$(built)/debug/palisade-collector \
	  cargo test --locked --workspace --test whole a_fleet_that_lies -- --nocapture

alert-kills: tools ## The collector killed three hundred times during ten thousand alerts that come and go (PALISADE_ALERT_KILLS=n for others)
	cargo build --workspace --bins --locked
	PALISADE_ALERT_KILLS=$(or $(PALISADE_ALERT_KILLS),300) PALISADE_COLLECTOR=$(CURDIR)/$(built)/debug/palisade-collector \
	  cargo test --locked --workspace --test whole alerts::kills -- --nocapture

alert-storm: tools ## A hundred thousand nodes that turn red at once (PALISADE_STORM=n for others)
	cargo build --locked --release -p palisade-collector -p palisade-tests
	PALISADE_STORM=$(or $(PALISADE_STORM),100000) PALISADE_COLLECTOR=$(CURDIR)/$(built)/release/palisade-collector \
	  cargo test --locked --release -p palisade-tests --test whole alerts::storm -- --nocapture

alert-edits: tools ## Edits of rules and policy that make five thousand nodes fail (PALISADE_EDITED=n for others)
	cargo build --workspace --bins --locked
	PALISADE_EDITED=$(or $(PALISADE_EDITED),5000) PALISADE_COLLECTOR=$(CURDIR)/$(built)/debug/palisade-collector \
	  cargo test --locked --workspace --test whole alerts::edits -- --nocapture

simulate: ## Ten thousand fleets under all faults, judged by the laws of reboots (SEEDS=n for others)
	cargo run --locked --release -p palisade-plan --example campaign -- $(or $(SEEDS),10000)

fuzz: ## Every parser of foreign bytes for 60 seconds (SECONDS_EACH=n for another time)
	tests/tools/fuzz $(or $(SECONDS_EACH),60)

golden: ## Write the golden files anew; read the difference before you commit it
	PALISADE_GOLDEN=write cargo test --workspace --locked

tools: packages $(cargo_deny)

packages:
	@tests/tools/packages

components: packages ## The real Kubernetes that the tests run: built once, about 15 minutes
	@tests/tools/components >/dev/null

machine: packages ## The disk of the machine that the tests emulate: built once, about 2 minutes
	@tests/tools/machine >/dev/null

$(cargo_deny):
	env -u CARGO_BUILD_TARGET -u RUSTFLAGS -u CFLAGS \
	  cargo install cargo-deny --version 0.20.2 --locked --debug --root $(cache)/cargo-deny-0.20.2

clean: ## Remove what was built and the demo's state
	cargo clean
	rm -rf .palisade
