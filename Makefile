# What a person or CI does with this tree. Each target says what it needs; scripts/ says how.

SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

.PHONY: build
build: ## one static binary: build/sallyport
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o build/sallyport ./cmd/sallyport

.PHONY: demo
demo: ## everything with demo people, on loopback; needs nothing but Go
	go run ./cmd/sallyport demo

.PHONY: test
test: ## everything CI runs; on Debian as root it installs the peers first
	scripts/peers.sh
	scripts/test.sh

.PHONY: check
check: ## formatting, linters, generated code, modules
	scripts/check.sh

.PHONY: fuzz
fuzz: ## every fuzz target, 30 s in all
	scripts/fuzz.sh 30

.PHONY: bench
bench: ## the benchmarks: ratios within one run, never a pass or a failure
	CGO_ENABLED=0 go test -run '^$$' -bench . -benchmem -timeout 60m ./...

.PHONY: long
long: ## ten minutes of fuzzing, every test three times, every byte of a signed SAML response changed
	SALLYPORT_TEST_SWEEP=1 SALLYPORT_TEST_TIMEOUT=6h scripts/test.sh -count=3
	scripts/fuzz.sh 600

.PHONY: peers
peers: ## install what the tests talk to (Debian, as root)
	scripts/peers.sh

.PHONY: generate
generate: ## typed queries from storage/queries
	CGO_ENABLED=0 go tool -modfile=tools/go.mod sqlc generate -f storage/sqlc.yaml

.PHONY: fmt
fmt: ## gofumpt, in place
	CGO_ENABLED=0 go tool -modfile=tools/go.mod gofumpt -w $$(git ls-files '*.go')

.PHONY: clean
clean: ## remove what was built
	rm -rf build
