# Portcullis. `make help` lists the targets; `make demo` and `make test` are the two that matter.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
GO      ?= go
STATIC  := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
CLUSTER := bin/cluster


.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## The two commands

.PHONY: demo
demo: setup $(CLUSTER) ## The main job on a real Kubernetes: an attack, its detection, the denial
	@$(GO) run ./test/demo

.PHONY: test
test: lint verify unit fuzz e2e ## Everything that CI checks: lint, generated files, unit and fuzz tests, end-to-end test

## Parts of them

.PHONY: setup
setup: ## Install the Debian packages that building and testing need
	@hack/setup.sh

.PHONY: build
build: ## The three binaries, in bin/
	@mkdir -p bin
	$(STATIC) -o bin/ ./cmd/...

.PHONY: images
images: setup ## The two images as OCI archives, in dist/ (no Docker needed)
	$(GO) run ./hack/release --version '$(VERSION)' --output dist

.PHONY: lint
lint: setup ## golangci-lint, at the pinned version
	$(GO) tool -modfile=hack/lint/go.mod golangci-lint run ./...

.PHONY: generate
generate: setup ## Regenerate protocol, CRDs, eBPF objects and the chart's reference
	hack/generate.sh

.PHONY: verify
verify: setup ## Fail when a generated file differs from its source
	hack/verify.sh

.PHONY: unit
unit: setup $(CLUSTER) ## Unit and integration tests, with the race detector
	@$(CLUSTER) build
	PORTCULLIS_KUBE_BIN="$$($(CLUSTER) build --print-dir)" $(GO) test -race -timeout 20m ./...

FOR ?= 3s

.PHONY: fuzz
fuzz: setup ## Every fuzz target for some seconds; FOR=10m is how long each runs, WHAT=eql narrows them
	$(GO) run ./hack/fuzz --for $(FOR) ./$(if $(WHAT),$(WHAT)/)...

.PHONY: e2e
e2e: setup $(CLUSTER) ## The end-to-end test on a real Kubernetes, which it brings up and takes down
	$(GO) test -tags e2e -v -count=1 -timeout 20m -run E2E ./hack/cluster
	$(GO) test -tags e2e -v -count=1 -timeout 40m ./test/e2e

SEED ?= 1

# FOR has a default of its own here: fuzz' is that of a variable nobody has set.
.PHONY: torture
torture: setup $(CLUSTER) ## Thousands of pods of equal names against the real server, killed on the way; SEED=2 FOR=10m NAMES=25 NAMESPACES=40
	@$(CLUSTER) build
	@PORTCULLIS_KUBE_BIN="$$($(CLUSTER) build --print-dir)" $(GO) run ./test/torture -seed $(SEED) $(if $(filter-out file,$(origin FOR)),-for $(FOR)) \
		$(if $(NAMES),-names $(NAMES)) $(if $(NAMESPACES),-namespaces $(NAMESPACES))

.PHONY: chaos
chaos: setup $(CLUSTER) ## The real server killed hundreds of times, its disk full, slow and damaged, its clock wrong; SEED=2 FOR=1m
	@$(CLUSTER) build
	@PORTCULLIS_KUBE_BIN="$$($(CLUSTER) build --print-dir)" $(GO) run ./test/chaos --seed $(SEED) --for $(if $(filter-out file,$(origin FOR)),$(FOR),10m)

.PHONY: nogap
nogap: setup $(CLUSTER) ## An exec right after a pod's request was answered, thousands of times: nobody may get in; TRIALS=3000 SEED=1
	@$(CLUSTER) build
	@PORTCULLIS_KUBE_BIN="$$($(CLUSTER) build --print-dir)" $(GO) run ./test/nogap -seed $(SEED) $(if $(TRIALS),-trials $(TRIALS))

.PHONY: test-kernels
test-kernels: setup ## The agent's tests on older kernels, emulated; KERNEL=5.10|6.1 narrows them
	@hack/test-kernels.sh $(KERNEL)

PAIRS ?= 100

.PHONY: bench
bench: ## Benchmarks; WHAT=engine, ingest, parsers, gate and agent print their tables, WHAT=correlator|webhook|auditsink|eql narrows them
ifeq ($(WHAT),engine)
	$(GO) run ./test/enginebench
else ifeq ($(WHAT),ingest)
	$(GO) run ./test/ingestbench
else ifeq ($(WHAT),parsers)
	@mkdir -p bin
	$(GO) run ./test/ingestbench -write bin/audit-list.json
	cd test/ingestbench/parsers && $(GO) run . ../../../bin/audit-list.json
else ifeq ($(WHAT),gate)
	@$(MAKE) --no-print-directory setup $(CLUSTER)
	@$(CLUSTER) build
	@PORTCULLIS_KUBE_BIN="$$($(CLUSTER) build --print-dir)" $(GO) run ./test/gatebench
else ifeq ($(WHAT),agent)
	@$(MAKE) --no-print-directory setup
	@# CI is set so that it fails, and does not skip, where containers cannot be made.
	CI=1 $(GO) test -run '^$$' -bench Cost -benchtime 1x -timeout 60m ./agent/cost -pairs $(PAIRS)
else
	$(GO) test -run '^$$' -bench . -benchmem -timeout 60m ./$(if $(WHAT),$(WHAT)/)...
endif

BENCHSTAT := $(GO) run golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

.PHONY: bench-engine-stat
bench-engine-stat: ## The engine's benchmarks ten times, summed up by benchstat
	@mkdir -p bin
	$(GO) test -run '^$$' -bench 'Event|Kind' -benchmem -count 10 ./test/enginebench > bin/engine-bench.txt
	$(BENCHSTAT) bin/engine-bench.txt

.PHONY: recordings
recordings: setup $(CLUSTER) ## Capture the recordings in docs/samples anew, on a real Kubernetes
	@$(GO) run ./test/recordings

.PHONY: cluster-up cluster-down
cluster-up: setup $(CLUSTER) ## A real Kubernetes on this machine, to play with
	@$(CLUSTER) up
cluster-down: $(CLUSTER) ## Take it down again; nothing is left behind
	@$(CLUSTER) down

.PHONY: $(CLUSTER)
$(CLUSTER):
	@mkdir -p bin
	@$(GO) build -o $@ ./hack/cluster

.PHONY: clean
clean: ## Remove what the other targets made in this folder
	rm -rf bin dist
