# The only door. `make demo` shows the main job, `make test` is all that CI runs; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
# What tests are built in: one profile, so that what they depend on is compiled once.
IN := --profile e2e --locked
# Which packages: the same for every test, because for others cargo would compile what they depend on with other features.
ALL := --workspace --exclude clew-filter
# The tests of all packages but that of the end-to-end tests.
UNIT := $(sort $(notdir $(basename $(filter-out e2e/%,$(wildcard */tests/*.rs */*/tests/*.rs))) \
	$(patsubst %/main.rs,%,$(filter-out e2e/%,$(wildcard */tests/*/main.rs */*/tests/*/main.rs)))))
# What the tests, the demo and the figures drive: the release binary with the shipped module inside.
export CLEW_BIN := $(abspath $(or $(CARGO_TARGET_DIR),target))/release/clew

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.PHONY: build
build: ## target/release/clew, with the filter inside
	$(CARGO) build --release --locked -p clew

.PHONY: plugin
plugin: build ## kubectl clew, packed for krew, in target/krew
	@krew/pack.sh $(CLEW_BIN) target/krew

.PHONY: envoy
envoy:
	@e2e/tools/install-envoy.sh >/dev/null

.PHONY: demo
demo: envoy build ## watch sessions find their pod, stay there, and leave gracefully (KEEP=1 leaves it running)
	CLEW_ENVOY=$$(e2e/tools/install-envoy.sh) $(CARGO) run $(IN) -q -p clew-e2e --bin demo

.PHONY: test
test: ## everything: lints, unit, golden and generated files, the real .wasm in the real Envoy, the real parts of a cluster
	@$(if $(findstring n,$(firstword -$(MAKEFLAGS))),,e2e/tools/meanwhile.sh) $(MAKE) --no-print-directory lint container unit generated monitoring e2e-short

.PHONY: lint
lint:
	@echo "== format and lints"
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(IN) $(ALL) --all-targets -- -D warnings
	$(CARGO) clippy $(IN) -p clew-filter --target wasm32-wasip1 -- -D warnings

.PHONY: unit
unit: build
	@echo "== unit, golden and property tests"
	$(CARGO) test $(IN) $(ALL) --lib --bins $(UNIT:%=--test %) --test architecture
	$(CARGO) test $(IN) $(ALL) --doc

.PHONY: cluster
cluster: ## build etcd, the API server, Istio, Envoy Gateway and an OpenTelemetry Collector into the cache, once (the tests do it when they need them)
	@e2e/tools/install-cluster.sh >/dev/null

.PHONY: e2e-short
e2e-short: envoy build
	@echo "== end to end: the real module in the real Envoy, the real parts of a cluster"
	CLEW_ENVOY=$$(e2e/tools/install-envoy.sh) e2e/run.sh

.PHONY: e2e
e2e: envoy build ## the end-to-end tests in their full sizes (ONLY='standalone autobahn migrate istio envoy-gateway chart recipes')
	CLEW_ENVOY=$$(e2e/tools/install-envoy.sh) CLEW_E2E_FULL=1 e2e/run.sh $(ONLY)

.PHONY: golden
golden: ## rewrite the golden folders, the chart's golden files and what the command line says; read the diff
	CLEW_GOLDEN=rewrite $(CARGO) test $(IN) $(ALL) --test golden --test fields --test migrate --test reference
	CLEW_GOLDEN=rewrite $(CARGO) test $(IN) $(ALL) --lib -- side_by_side chart::values
	CLEW_GOLDEN=rewrite $(CARGO) test $(IN) $(ALL) --bins -- reference::
	TRYCMD=overwrite $(CARGO) test $(IN) $(ALL) --test trycmd
	CLEW_GOLDEN=rewrite CLEW_CLUSTER=$$(e2e/tools/install-cluster.sh kubectl) $(CARGO) test $(IN) $(ALL) --test chart -- rendered::values_become

KINDS := websocketroute websocketpolicy
.PHONY: generate
generate: build ## rewrite the generated files
	for kind in $(KINDS); do $(CLEW_BIN) crd $$kind > crds/$$kind.yaml; done
	cp crds/*.yaml charts/clew/files/crds/

.PHONY: generated
generated: build
	@echo "== generated files"
	@for kind in $(KINDS); do diff -u crds/$$kind.yaml <($(CLEW_BIN) crd $$kind) || { echo "crds/$$kind.yaml is not what the types say: run make generate" >&2; exit 1; }; done
	@for crd in crds/*.yaml; do diff -u "charts/clew/files/$$crd" "$$crd" || { echo "charts/clew/files/$$crd is not $$crd: run make generate" >&2; exit 1; }; done

.PHONY: container
container:
	@echo "== the image's Containerfile"
	@"$$(e2e/tools/install-cluster.sh hadolint)/hadolint" --failure-threshold info Containerfile

.PHONY: monitoring
monitoring: ## every alert fires in one test and is silent in another; dashboards keep the rules of Grafana's linter
	@echo "== alerts and dashboards"
	@tools=$$(e2e/tools/install-prometheus.sh) && $$tools/promtool test rules charts/tests/alerts.test.yaml && \
	python3 charts/tests/dashboards.py $$tools/promtool

.PHONY: pictures
pictures: envoy build ## the pictures of the dashboards in docs/pictures, from what a Prometheus had in a run of the chart's test
	CLEW_PICTURES=$(CURDIR)/docs/pictures CLEW_ENVOY=$$(e2e/tools/install-envoy.sh) e2e/run.sh chart -- a_release_is_installed

MDBOOK_VERSION := 0.5.4
.PHONY: docs
docs: ## the documentation as a book, in target/docs/book (installs mdbook into the cache, once)
	@home=$${XDG_CACHE_HOME:-$$HOME/.cache}/clew/mdbook-$(MDBOOK_VERSION); \
	[ -x "$$home/bin/mdbook" ] || $(CARGO) install --locked mdbook@$(MDBOOK_VERSION) --no-default-features --features search --root "$$home"; \
	"$$home/bin/mdbook" build docs
	@# What pages link to beside the book.
	@mkdir -p target/docs/bench && cp -r bench/results target/docs/bench/

.PHONY: panics
panics: build
	@echo "== no new path to a panic in the module"
	@module=$$(mktemp) && trap 'rm -f "$$module"' EXIT && $(CLEW_BIN) wasm --output "$$module" >/dev/null && \
	$(CARGO) run $(IN) -q -p clew-filter-panics -- "$$module" wasm-filter/panics.txt

.PHONY: check
check: lint container generated monitoring deny panics ## format, lints, licences, generated files, the module's places of panic, what the documents name and show
	$(CARGO) test $(IN) $(ALL) --test architecture
	$(CARGO) test $(IN) $(ALL) --bins -- reference::

.PHONY: deny
deny:
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny@0.20.2
	$(CARGO) deny --locked check bans licenses sources

.PHONY: fuzz
fuzz: ## TARGET=frame RUNS=10000000; the count is kept in bench/results/fuzz.json
	wasm-filter/core/fuzz/run.sh $(or $(TARGET),frame) $(or $(RUNS),10000000)

.PHONY: bench
bench: envoy build ## the figures, both arms in one run (SUITE=cost|placement|hash|drain|control-plane|istiod|many-routes|side-by-side|rooms)
	CLEW_ENVOY=$$(e2e/tools/install-envoy.sh) $(IN_A_CLUSTER) $(BESIDE) $(CARGO) run $(NAMESPACED) $(IN) -q -p clew-e2e --bin bench -- $(SUITE)

# What needs a cluster runs in a network of its own.
bench: OF_CLUSTER = $(filter istiod many-routes,$(or $(SUITE),istiod))
bench: IN_A_CLUSTER = $(if $(OF_CLUSTER),CLEW_CLUSTER=$$(e2e/tools/install-cluster.sh))
bench: NAMESPACED = $(if $(OF_CLUSTER),--config "target.'cfg(unix)'.runner = '$(CURDIR)/e2e/namespace.sh'")
bench: BESIDE = $(if $(filter side-by-side rooms,$(or $(SUITE),side-by-side)),CLEW_BALANCERS=$$(e2e/tools/install-balancers.sh))
