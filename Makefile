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
T       ?= 10s
PKG     ?= ./...
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.PHONY: help build demo test test-race quick lint fmt gen gen-check cover fuzz docs-check ci clean need-cc

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/continuo, static
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/continuo ./cmd/continuo

demo: ## monthly billing as separate processes, some of them killed, and the books compared
	@go run ./examples/billing/demo

test: ## everything that must hold: tests with -race, generated code, lint (sets up what it needs)
	@$(MAKE) --no-print-directory test-race gen-check lint
	@cat $(BIN)/test-report

test-race: need-cc $(BIN)/lint.stamp ## all tests with the race detector (PKG=./services/... for some)
	@rm -f $(BIN)/test-report; status=0; \
	CGO_ENABLED=1 $(BIN)/gotestsum --format pkgname --hide-summary skipped --jsonfile $(BIN)/test.json -- -race -timeout 10m $(PKG) || status=$$?; \
	go run ./internal/testreport -allow .ci/allowed-skips.txt -copy $(BIN)/test-report $(BIN)/test.json || status=1; \
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
	@for pkg in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -r -n1 dirname | sort -u); do \
		for name in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]*' $$pkg/*_test.go | cut -c6-); do \
			echo "$$pkg $$name"; go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(T) $$pkg; \
		done; \
	done

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
