# The front door. Every target does its own set-up; plain `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

JOBS    ?= $(shell nproc)
MINUTES ?= 60

.PHONY: help setup build test asan tsan fuzz soak lint fmt demo dist bench-core bench-supervise bench-gpu bench-gateway clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install missing packages (returns at once when all is there)
	@scripts/setup

build: setup ## build everything into build/release/bin
	@mkdir -p build && { cmake --preset release >build/configure.log || { cat build/configure.log; exit 1; }; }
	@cmake --build build/release -j $(JOBS)

test: build ## build and run every test
	@scripts/setup --promtool
	@scripts/test

demo: build ## see it work, in 90 s: leftovers, receipt, utilisation, every film, stop with proof
	@build/release/bin/gpuward demo

dist: build ## the archive: dist/gpuward-VERSION-x86_64.tar.gz, checked
	@scripts/dist

lint: build ## layout, clang-tidy, shellcheck
	@scripts/lint

fmt: setup ## let clang-format lay out every file
	@scripts/lint --fix

asan: setup ## unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/test-asan

tsan: setup ## the programs with threads under ThreadSanitizer
	@scripts/test-tsan

fuzz: setup ## every fuzz target for 20 seconds
	@scripts/fuzz

soak: build ## 1,000 rounds of chaos, a million films, then random lives and deaths of everything for MINUTES=60
	@/usr/bin/python3 tests/soak/gateway.py
	@/usr/bin/python3 tests/soak/soak.py --minutes $(MINUTES) --chaos 1000

bench-core: build ## gpuward's own share of a service's life, beside the bare floor
	@/usr/bin/python3 bench/core.py

bench-supervise: build ## trees, anchors, 1,000 services, and our peers with the same trees, in 10 minutes
	@scripts/setup --comparisons
	@/usr/bin/python3 bench/supervise.py bench/results/$$(date +%F)-supervise.json

bench-gpu: build ## what looking at GPUs costs, and from a fault to its verdict (simulated cards)
	@/usr/bin/python3 bench/gpu.py bench/results/$$(date +%F)-gpu.json

bench-gateway: build ## what the gateway costs, beside haproxy and nginx in the same run, in 4 minutes
	@scripts/setup --comparisons
	@/usr/bin/python3 bench/gateway.py bench/results/$$(date +%F)-gateway.json

clean: ## remove build/ and dist/
	@rm -rf build dist
