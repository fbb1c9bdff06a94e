# Every command that a contributor needs. `make` alone lists them.

# The race detector needs a C compiler, which a machine with only Go does not have.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

# The packages whose statements a newer PostgreSQL could take otherwise: they are tested on 17 as well.
DATABASE_PACKAGES := $(wildcard pkg/pg pkg/pg/local pkg/queue pkg/upstream pkg/key pkg/webhook)

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## Everything on this machine, with nothing configured, until Ctrl-C
	@bin/demo

.PHONY: smoke
smoke: build ## Database and API alone: enqueue one job, show the queue, end
	@bin/demo smoke

# How long one package's tests may take until they are taken for stuck. A machine may be slow, or stand still.
STUCK := -timeout 30m

.PHONY: test
test: ## Every test: vet, all packages, those with SQL once more on PostgreSQL 17 (from npm), the React package, the page, both in a browser
	go vet ./...
	go test $(STUCK) $(RACE) -parallel 8 ./...
	cd bench && go vet ./... && go test $(STUCK) -p 1 ./...
	cd chaos && go vet ./... && go test $(STUCK) ./...
	cd deploy/check && go vet ./... && go test $(STUCK) ./...
	SLUICE_TEST_POSTGRES=npm go test $(STUCK) -count=1 $(DATABASE_PACKAGES:%=./%)
	@$(MAKE) --no-print-directory web
	@$(MAKE) --no-print-directory browser

# npm asks again for an answer that does not come, but does not go on where one breaks off.
NPM_CI := (npm ci || npm ci || npm ci)

.PHONY: web
web: ## The React package and the page: check, test and build them, in two minutes
	@if command -v npm >/dev/null; then (cd web/react && $(NPM_CI) && npm run check && npm test && npm run build) && $(MAKE) --no-print-directory page; \
	else echo "web was not tested: there is no npm on this machine (Node 20 or newer brings it)" >&2; [ "$$CI" != true ]; fi

# The page is built before it is committed, so that Go alone builds a clone.
BUILT := find dist -type f | LC_ALL=C sort | xargs cksum
.PHONY: page
page:
	@cd web/dashboard && $(NPM_CI) && npm run check && npm test && before=$$($(BUILT)) && npm run build && after=$$($(BUILT)) && \
	if [ "$$before" != "$$after" ]; then echo "web/dashboard/dist was out of date: it is new now, commit it"; exit 1; fi

.PHONY: browser
browser: ## The page in a real Chromium against the real binaries, in a minute and a half; ONLY=cancel takes some of its tests
	go vet -tags browser ./e2e
	SLUICE_TEST_BROWSER='$(ONLY)' go test $(STUCK) -tags browser -v -count=1 -run '^TestBrowser$$' ./e2e

.PHONY: screenshots
screenshots: ## The page on a bad day, light and dark, wide and on a phone; writes docs/screenshots
	SLUICE_TEST_SCREENSHOTS='$(CURDIR)/docs/screenshots' $(MAKE) --no-print-directory browser ONLY=picture

.PHONY: chaos
chaos: ## Faults for half an hour on a printed seed, under load; what must hold is checked after each
	cd chaos && go run . -for 30m

.PHONY: bench
bench: ## Sluice beside its peers on speed and cost, in about 25 minutes; writes docs/benchmarks.md
	cd bench && go run ./speed -write

.PHONY: bench-quota
bench-quota: ## Sluice beside its peers on limits and in an outage, under five minutes; writes docs/benchmarks-quota.md
	cd bench && go run ./quota -write

.PHONY: bench-quota-real
bench-quota-real: ## Sluice alone on windows of a minute, for ten minutes and three; writes docs/benchmarks-quota-real.md
	cd bench && go run ./quota -real -write

.PHONY: check
check: ## Format, vet, staticcheck, and that generated code is up to date
	@unformatted=$$(gofmt -l $$(go list -f '{{.Dir}}' ./...)); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi
	go vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...
	@before=$$(cat pkg/*/*.gen.go | cksum); go generate ./...; after=$$(cat pkg/*/*.gen.go | cksum); \
		if [ "$$before" != "$$after" ]; then echo "generated code was out of date: it is new now, commit it"; exit 1; fi

.PHONY: build
build: ## The programs, into bin/
	CGO_ENABLED=0 go build -o bin/ ./cmd/...

.PHONY: migrate
migrate: build ## Bring the database of DATABASE_URL to the newest schema
	bin/api migrate

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin web/react/dist
