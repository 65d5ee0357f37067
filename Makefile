# The two commands: `make run` starts the daemon, `make test` runs every test. Both install what they lack into
# ~/.cache/packhouse (PACKHOUSE_CACHE), outside the tree.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
DATA ?= data
LISTEN ?= 127.0.0.1:5000

.PHONY: run build test unit conformance kill kill-short soak gc-bench bench bench-smoke bench-inner bench-growth setup clients fmt lint docs deny fuzz

setup:
	@.ci/setup/packages.sh build
	@.ci/setup/rust.sh
	@.ci/setup/rocksdb.sh >/dev/null

clients: setup
	@.ci/setup/packages.sh clients bench
	@.ci/setup/go-tools.sh
	@.ci/setup/npm-tools.sh
	@.ci/setup/images.sh

build: setup
	@. .ci/setup/env.sh; cargo build --locked --release

run: build
	@. .ci/setup/env.sh; exec "$$CARGO_TARGET_DIR/release/packhouse" serve --listen $(LISTEN) --data $(DATA)

# Unit and integration tests; no client, no network beyond loopback.
unit: setup
	@. .ci/setup/env.sh; cargo test --locked

# Real clients, and the OCI conformance suite where OCI_CONFORMANCE names its program.
conformance: build clients
	@. .ci/setup/env.sh; PACKHOUSE_BIN="$$CARGO_TARGET_DIR/release/packhouse" cargo test --locked --test conformance

# Kills the daemon under load, then cuts the power of its disk (needs root; skipped by name without), and looks for what
# is lost. One run of each kind for the figures; the short form is part of the tests.
KILLS ?= 2000
CUTS ?= 500
kill: build
	@. .ci/setup/env.sh; export PACKHOUSE_BIN="$$CARGO_TARGET_DIR/release/packhouse"; \
	cargo test --locked --test kill -- --kills $(KILLS); cargo test --locked --test kill -- --power --kills $(CUTS)

kill-short: build
	@. .ci/setup/env.sh; export PACKHOUSE_BIN="$$CARGO_TARGET_DIR/release/packhouse"; \
	cargo test --locked --test kill -- --seconds 30; cargo test --locked --test kill -- --power --seconds 20

test: unit conformance kill-short bench-smoke

fmt:
	@cargo fmt --all --check

lint: setup
	@. .ci/setup/env.sh; cargo clippy --locked --all-targets -- -D warnings

docs: setup
	@. .ci/setup/env.sh; RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

deny: setup
	@.ci/setup/cargo-deny.sh
	@# Builds fetch the crates of this platform only; the check looks at all of them.
	@cargo fetch --locked --quiet
	@. .ci/setup/env.sh; cargo deny --locked --offline check bans licenses sources

fuzz: setup
	@tests/fuzz/run.sh $(SECONDS_EACH)

# Many clients against collection: PACKHOUSE_SOAK_OPS, _CLIENTS, _SEED, _LEASE (seconds). A short run is part of `make unit`.
soak: export PACKHOUSE_SOAK_OPS ?= 100000
soak: setup
	@. .ci/setup/env.sh; cargo test --locked --test it -- --nocapture collect::soak

# Throughput and p99 with collection and without it, in turn: PACKHOUSE_BENCH_ROUNDS, _SECONDS.
gc-bench: setup
	@. .ci/setup/env.sh; cargo test --locked --release --test it -- --nocapture --ignored collect::bench

# Figures of the inner parts (ONLY picks by name), and of a store that grows: UNTIL so many manifests, in DIR (a temporary
# folder by default); the JSON goes to the target folder.
ONLY ?=
bench-inner: setup
	@. .ci/setup/env.sh; cargo bench --locked --bench inner -- $(ONLY)

UNTIL ?= 1000000
bench-growth: setup
	@. .ci/setup/env.sh; cargo bench --locked --bench growth -- --until $(UNTIL) --json "$$CARGO_TARGET_DIR/growth.json" $(if $(DIR),--dir $(DIR))

# Packhouse and its peers side by side under load, about an hour on two cores: PEER_ZOT, PEER_DISTRIBUTION and
# PEER_DISTRIBUTION2 name programs of peers that Debian does not have; absent ones are named. BENCH="--rows push" for a part,
# BENCH=--list for the rows, BENCH=--help for the rest.
BENCH ?=
bench: clients build
	@. .ci/setup/env.sh; PACKHOUSE_BIN="$$CARGO_TARGET_DIR/release/packhouse" cargo bench --locked --bench load -- $(BENCH)

# The same with tiny sizes: whether it still works. Not optimized, so that nothing is built twice for it.
bench-smoke: setup
	@. .ci/setup/env.sh; cargo bench --locked --profile dev --bench load -- --smoke
