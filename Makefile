# The two commands to know: `make run` and `make test`. Each sets up what it needs; only Python and make must be
# installed.

.DEFAULT_GOAL := help
.PHONY: run stop demo token example openapi reference test test-slow test-tools simulate mutate bench check format build deploy restore rerate lock ready clean help

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export SAM_CLI_TELEMETRY := 0
# With this variable, every start of SAM, pytest or mypy would compile all of its sources again, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE
# Validation requires a region but does not use it. A deployment uses the region of your AWS profile.
VALIDATE := env -u AWS_PROFILE -u AWS_DEFAULT_PROFILE AWS_CONFIG_FILE=/dev/null AWS_DEFAULT_REGION=us-east-1

run: ready ## Run the service on a local AWS (PORT=4566, FRESH=1: no old data, BACKGROUND=1: return when it answers, ISSUERS=file.json)
	@PYTHONPATH=layers/shared exec $(BIN)/python -m local.run

stop: ## Stop what `make run BACKGROUND=1` started
	@$(PYTHON) -m local.stop

demo: ready ## Show a chat proxy's workflow against the running service
	@$(BIN)/python -m local.demo

# USER in the environment is the logged-in user; only a USER on the command line counts.
token: ready ## Print a token for the running service (USER=alice ROLE=admin; without ROLE, a user's)
	@exec env $(if $(filter command,$(origin USER)),,-u USER) $(BIN)/python -m local.tokens

.PHONY: check-token
check-token: ready ## Show a token's claims and its issuer, or why it is refused (TOKEN=…, ISSUERS=file.json)
	@PYTHONPATH=layers/shared POWERTOOLS_LOG_LEVEL=CRITICAL $(BIN)/python -m local.check_token

example: ready ## Run an example in front of the service that `make run` started (NAME=litellm_proxy; PORT=8000)
	@PYTHONPATH=client/src $(BIN)/python -m examples.$(or $(NAME),chat_proxy)

.PHONY: prices
prices: ready ## Compare price rules with genai-prices (CREDITS_PER_USD=1000, MARKUP=1.2, MODELS=openai; APPLY=1: import them)
	@PYTHONPATH=layers/shared $(BIN)/python -m local.prices

.PHONY: screenshots
screenshots: ready ## Write the pictures of docs/images from the console of the running service
	@$(BIN)/python -m local.screenshots

openapi: ready ## Write the HTTP API as an OpenAPI document: functions/docs/openapi.json
	@PYTHONPATH=layers/shared $(BIN)/python -m local.openapi

reference: ready ## Write docs/reference from the code, after a change to a route, an error, a parameter or a metric
	@PYTHONPATH=layers/shared $(BIN)/python -m local.reference

# Before the first tests: compile them, and the packages that they import, in one process instead of in each of three.
# Build the service while no test waits for it. If either fails, the tests show why.
.PHONY: compiled
compiled: ready
	@[ .local/compiled -nt .venv/.locked ] || { $(BIN)/pytest --collect-only >/dev/null 2>&1; \
		$(BIN)/python -c 'from local.build import build; build()' >/dev/null 2>&1; touch .local/compiled; }

test: compiled ## Test the service: unit, contract, integration, simulation, end to end, client (ARGS="tests/unit": some)
	$(BIN)/pytest --numprocesses 3 --dist loadgroup $(ARGS)

SLOW = tests/outages tests/fuzz tests/e2e client/tests tests/simulation tests/integration tests/unit
test-slow: ready ## Test the service at length: outages, killed processes, generated requests, all values and examples
	$(BIN)/pytest --numprocesses 3 --dist loadgroup -p schemathesis --hypothesis-profile thorough \
	  -m "slow or hypothesis" -o "testpaths=$(SLOW)" $(ARGS)

test-tools: ready ## Run the tests of the tools: documented commands, benchmarks, local AWS, the console in a browser, LiteLLM
	$(BIN)/pytest --numprocesses 2 --dist loadgroup tests/documentation tests/browser tests/gateways tests/local tests/tools $(ARGS)

simulate: ready ## Simulate workers over a failing database (SEEDS=100, FIRST=1, STEPS=400: see tests/simulation)
	@PYTHONPATH=layers/shared $(BIN)/python -m tests.simulation

mutate: ready ## Show small changes to the domain that no unit test notices (ONLY="users lots": some modules)
	@ONLY="$(ONLY)" $(BIN)/python -m local.mutate

bench: ready ## Measure time, calls, units, sizes and cost into bench/RESULTS.md (ONLY="imports packages": some; SCALE=0.01: quick)
	@PYTHONPATH=layers/shared:client/src ONLY="$(ONLY)" $(BIN)/python -m bench

check: ready ## Check format, lint, types and the template
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/cfn-lint template.yaml
	$(VALIDATE) $(BIN)/sam validate --lint

format: ready ## Format the code, and fix what the linter can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: ready ## Build the functions and their layer for AWS
	$(BIN)/sam build $(if $(PARAMETERS),--parameter-overrides $(PARAMETERS))

deploy: build ## Deploy to the AWS account of your credentials (PARAMETERS="Name=value …", STACK=name, TAGS="key=value …")
	$(BIN)/sam deploy $(if $(STACK),--stack-name $(STACK)) $(if $(TAGS),--tags $(TAGS)) \
	  --parameter-overrides BuildId=$$($(BIN)/python -m local.build $(PARAMETERS)) $(PARAMETERS)

.PHONY: seed
seed: ready ## Fill the running service with users and usage of the last 90 days (USERS=10000 RECORDS=100000)
	@PYTHONPATH=layers/shared POWERTOOLS_LOG_LEVEL=CRITICAL $(BIN)/python -m local.seed

rerate: ready ## Show what past usage would cost at the current prices; change nothing (SINCE=2026-11-01 UNTIL=, MODEL=, TABLE=)
	@PYTHONPATH=layers/shared SINCE="$(SINCE)" UNTIL="$(UNTIL)" MODEL="$(MODEL)" TABLE="$(TABLE)" $(BIN)/python -m local.rerate

restore: ready ## Make a table equal to another one (FROM=, TO=; APPLY=1 writes): docs/operations.md
	@FROM="$(FROM)" TO="$(TO)" APPLY="$(APPLY)" $(BIN)/python -m local.restore

lock: ## Update the locks to the newest versions that requirements/*.in allow
	@$(PYTHON) -m local.bootstrap lock

ready: # Make the environments, or bring them up to date
	@$(PYTHON) -m local.bootstrap

clean: stop ## Remove environments, builds, caches and the local data
	rm -rf .venv .local .aws-sam .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-10s %s\n", $$1, $$2}'
