# make without an argument lists what there is.
#
# Needed on the machine: Go (see go.mod), make, git and, for the race detector,
# a C compiler (Debian: apt-get install gcc libc6-dev). Everything else is built
# by these rules from the versions pinned in tools/.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN     := $(CURDIR)/.bin
# Tests of whole processes (test/...) take minutes and have targets of their own. The client library of Pulsar has data races
# of its own when it reconnects, so that its adapter is tested beside them, without the race detector.
PULSAR  := ./internal/adapter/pulsar
PKG     ?= $(shell go list ./... | grep -v -e /test/ -e /adapter/pulsar)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REPORT  := go run ./internal/testreport -allow .ci/allowed-skips.txt -copy $(BIN)/test-report

.PHONY: help build demo demo-pulsar testdeps test test-race proof sim sim-verify mutants chaos chaos-cluster powercut rot diskfull overload fuzz bench bench-pulsar quick lint fmt gen gen-check cover docs-check ci clean need-cc

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/continuo, static
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/continuo ./cmd/continuo

demo: ## monthly billing as separate processes, some of them killed, and the books compared
	@go run ./examples/billing/demo

demo-pulsar: testdeps ## the same over a real Pulsar and ClickHouse, two processes of each service; those are killed, too (2 to 4 minutes)
	@go run ./examples/billing/demo --pulsar

testdeps: ## real servers for tests, once, into ~/.cache/continuo: Pulsar (java, mvn), the engine of ClickHouse (npm)
	@go run ./internal/testserver/testdeps

test: ## everything that must hold: tests with -race, proof, fuzz, generated code, lint (sets up what it needs)
	@rm -f $(BIN)/test-report
	@$(MAKE) --no-print-directory testdeps
	@$(MAKE) --no-print-directory test-race proof fuzz gen-check lint
	@$(REPORT) $(BIN)/test.json $(BIN)/proof.json

test-race: need-cc $(BIN)/lint.stamp ## all tests with the race detector (PKG=./services/... for some)
	@status=0; \
	CGO_ENABLED=1 $(BIN)/gotestsum --format pkgname --hide-summary skipped --jsonfile $(BIN)/test.json -- -race -timeout 10m $(PKG) || status=$$?; \
	$(REPORT) $(BIN)/test.json || status=1; \
	exit $$status

proof: $(BIN)/lint.stamp ## a real Pulsar, the short forms of simulation, planted bugs, kills, power cuts, rot, full disk, overload, limits (root for two)
	@status=0; \
	$(BIN)/gotestsum --format pkgname --hide-summary skipped --jsonfile $(BIN)/proof.json -- -count=1 -p 1 -timeout 30m $(PULSAR) ./test/... || status=$$?; \
	$(REPORT) $(BIN)/proof.json || status=1; \
	exit $$status

quick: ## all tests, cached and without -race: the inner loop (PKG=./services/... for some)
	go test $(PKG)

lint: $(BIN)/lint.stamp $(BIN)/buf.stamp ## go vet, golangci-lint, buf lint
	go vet ./...
	$(BIN)/golangci-lint run
	$(BIN)/buf lint

fmt: $(BIN)/lint.stamp $(BIN)/buf.stamp ## format Go code and protos
	$(BIN)/golangci-lint fmt
	$(BIN)/buf format -w --path proto/continuo

gen: $(BIN)/buf.stamp $(BIN)/protoc.stamp ## gen/ from proto/
	@rm -rf gen/continuo gen/openapi/*.json
	@PATH=$(BIN):$$PATH $(BIN)/buf generate

gen-check: $(BIN)/buf.stamp $(BIN)/protoc.stamp ## fail when gen/ is not what proto/ says
	@fresh=$$(mktemp -d); trap 'rm -rf $$fresh' EXIT; \
	PATH=$(BIN):$$PATH $(BIN)/buf generate -o $$fresh; \
	diff -r --brief --exclude='*_embed.go' $$fresh/gen gen || { echo 'gen/ is stale: run make gen and commit it' >&2; exit 1; }

cover: ## coverage.html, and the total
	go test -coverpkg=./pkg/...,./services/...,./internal/... -coverprofile=coverage.out ./...
	@go tool cover -html=coverage.out -o coverage.html
	@go tool cover -func=coverage.out | tail -n 1

fuzz: ## every fuzz test for T=10s
	@go run ./internal/fuzzall -time $(or $(T),10s)

sim: ## deterministic simulation: T=30s of seeds, or SEEDS=2000 within T=6m
	@go run ./cmd/continuo-sim run -time $(or $(T),30s) $(if $(SEEDS),-seeds $(SEEDS))

sim-verify: ## SEEDS=100 seeds have the same hash on one processor and two, with and without -race
	@go test -count=1 -timeout 2h ./test/sim -run Deterministic -verify $(or $(SEEDS),100) -v

mutants: ## every planted bug is hunted; writes the table of docs/internals/simulation.md
	@go run ./cmd/continuo-sim mutants -write docs/internals/simulation.md

chaos: ## real processes under load, KILLS=150 times killed, and the books compared
	@go run ./cmd/continuo-chaos -kills $(or $(KILLS),150)

chaos-cluster: ## the same over Pulsar and ClickHouse: KILLS=50, STOPS=20 that others take over, RESTARTS=10 of the broker, ClickHouse AWAY=60s
	@go test -count=1 -timeout 2h ./test/cluster -run TestKills -kills $(or $(KILLS),50) -stops $(or $(STOPS),20) -restarts $(or $(RESTARTS),10) -away $(or $(AWAY),60s) -v

powercut: ## CUTS=50 power cuts under load on an ext4 loop device (root)
	@go test -count=1 -timeout 3h ./test/powercut -cuts $(or $(CUTS),50) -v

rot: ## FLIPS=500 bit flips and truncations of a stopped store
	@go test -count=1 -timeout 3h ./test/rot -flips $(or $(FLIPS),500) -v

diskfull: ## a disk that fills up, is full, fails (root)
	@go test -count=1 -timeout 1h ./test/diskfull -v

overload: ## three times the capacity for T=1m, a herd of timers, a run with SIGNALS=1000000
	@go test -count=1 -timeout 2h ./test/overload -strict -for $(or $(T),1m) -signals $(or $(SIGNALS),1000000) -v

bench: build ## all workloads 5 times beside the machine's own rates, into docs/performance.md
	bin/continuo bench --workload all --repeat 5 --write docs/performance.md

# The broker's virtual machine compiles while it runs, so something is measured before what counts.
BENCH = bin/continuo bench --pulsar {pulsar} --pulsar-admin {admin} --clickhouse {clickhouse} --json
BENCH_WARM = $(BENCH) --workload seq10 --duration 40s > /dev/null
bench-pulsar: build ## services over a real Pulsar and the engine of ClickHouse, into docs/performance.md
	go build -o bin/withservers ./internal/testserver/withservers
	bin/withservers -stock sh -ec '$(BENCH_WARM); $(BENCH) --workload seq10,sequence --setting "stock broker" > bin/bench-stock.json'
	bin/withservers sh -ec '$(BENCH_WARM); $(BENCH) --workload all > bin/bench-tuned.json; \
		$(BENCH) --workload seq10 --inflight 256 --setting "256 in flight" > bin/bench-more.json; \
		$(BENCH) --workload seq10,sequence --together --setting "one process" >> bin/bench-more.json'
	bin/continuo bench --read bin/bench-tuned.json,bin/bench-more.json,bin/bench-stock.json --write docs/performance.md --as 'make bench-pulsar'

docs-check: ## code in the docs equals the code it was taken from, and paths they name exist
	go test -count=1 -run '^TestDocs' ./internal/archtest

ci: ## what a fresh machine runs
	bash .ci/run

clean: ## what building left (the cached tools stay in ~/.cache/continuo)
	rm -rf bin $(BIN) coverage.out coverage.html

need-cc:
	@command -v "$$(go env CC)" >/dev/null || { echo "the race detector needs a C compiler ($$(go env CC)): apt-get install gcc libc6-dev" >&2; exit 1; }

# Tools, rebuilt when their pinned versions change.
$(BIN)/lint.stamp: tools/go.mod tools/go.sum tools/install
	@tools/install tools && touch $@

$(BIN)/buf.stamp: tools/buf/go.mod tools/buf/go.sum tools/install
	@tools/install tools/buf && touch $@

$(BIN)/protoc.stamp: tools/protoc/go.mod tools/protoc/go.sum tools/install
	@tools/install tools/protoc && touch $@
