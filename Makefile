# `make` alone lists the targets. All but test-kafka, bench, kafka-up and image
# need Go and git only; those need a JDK 17 and Maven, or Docker.

BROKERS ?= 1
# A bare `make test` is for a machine of any size: packages one per core, and
# a limit that only a test that hangs meets.
TESTFLAGS ?= -timeout 15m
FUZZTIME ?= 10s

# What runs again on a real Kafka: all that speaks to the log.
KAFKASUITE ?= ./internal/commitlog/... ./internal/setup/... ./tests/barelog ./tests/kafka ./tests/integration
KAFKACTL := go run ./tests/kafka/kafkactl
# go vet's and staticcheck's own module, so that linters stay out of go.mod.
TOOL := go tool -modfile=tools/go.mod

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## dsvnode and dsvctl into bin/, static
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -o bin/ ./cmd/...

.PHONY: demo
demo: ## the main job: nine processes, secrets in and out, nodes killed and healed
	go run ./tests/demo

.PHONY: test
test: ## all tests that need nothing but Go
	go test $(TESTFLAGS) ./...

.PHONY: race
race: ## the same under the race detector
	go test -race -timeout 30m ./...

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s) each
	FUZZTIME=$(FUZZTIME) tests/fuzz.sh

.PHONY: test-kafka
test-kafka: ## the integration suite on a real Apache Kafka (JDK 17, Maven); BROKERS=1 or 3
	@set -e; dir=$$(mktemp -d); \
	trap '$(KAFKACTL) down --dir "$$dir" || true; rm -rf "$$dir"' EXIT; \
	env=$$($(KAFKACTL) up --brokers $(BROKERS) --dir "$$dir"); eval "$$env"; \
	echo "on Apache Kafka at $$DSV_TEST_KAFKA"; \
	go test -count=1 -timeout 20m $(KAFKASUITE)

.PHONY: bench
bench: ## five processes and a real Kafka broker: the table of docs/PERFORMANCE.md
	go run ./tests/bench

.PHONY: kafka-up
kafka-up: ## start Apache Kafka here; BROKERS=1 or 3
	$(KAFKACTL) up --brokers $(BROKERS)

.PHONY: kafka-down
kafka-down: ## stop what kafka-up started
	$(KAFKACTL) down

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@files=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi
	go vet ./...
	cd tools && go vet ./...
	$(TOOL) staticcheck ./...

.PHONY: generate
generate: ## Go code of internal/meta/metapb/meta.proto, and the reference in docs/OPERATIONS.md
	cd tools && go run ./protogen ../internal/meta/metapb meta.proto
	go test -count=1 -run TestReference ./internal/node -update

.PHONY: image
image: ## the container image dsv:local (Docker)
	docker build -t dsv:local .
