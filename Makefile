# Two commands do everything on a fresh machine: make up, make test. `make help` lists the rest.

PYTHON ?= python3
STACK  ?= dev

VENV    := .venv
BIN     := $(VENV)/bin
SANDBOX := $(BIN)/pulumi-sandbox
RUN     := $(SANDBOX) run --
PACK    := policy/.venv
UV      := 0.13.9
export UV_SYSTEM_CERTS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where it is set, as in many containers, each of the many Python programs here would compile all of its modules again.
export PYTHONDONTWRITEBYTECODE :=
# With it, Python does not find the package demo, which is not installed.
export PYTHONSAFEPATH :=

.DEFAULT_GOAL := help
.PHONY: help setup engine up preview down shell doctor report credentials rotate \
        test test-long test-unit test-sandbox policy-setup policy-check bench wheel session lint format schema lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- set-up

setup: $(VENV)/.installed ## the virtual environment and its packages

$(VENV)/.installed: requirements-dev.lock components/pyproject.toml sandbox/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
	  { echo "make needs Python 3.10 or newer; '$(PYTHON)' is not. Choose one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python cannot create a virtual environment; on Debian and Ubuntu install python3-venv." >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet uv==$(UV)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements-dev.lock || \
	  $(BIN)/python -m pip install --quiet -r requirements-dev.lock
	@touch $@

engine: setup ## the Pulumi engine: found, installed or built once
	@$(SANDBOX) engine >/dev/null

# ---- the sandbox

up: engine ## pulumi up in the sandbox; then show what was created, and whether the keys work
	@$(BIN)/python -m demo up $(STACK)

preview: engine ## pulumi preview in the sandbox
	@$(BIN)/python -m demo preview $(STACK)

down: setup ## destroy the stack in the sandbox, and stop the sandbox
	@$(BIN)/python -m demo down $(STACK)

shell: engine ## open a shell in which pulumi, aws and access-keys use the sandbox
	@$(SANDBOX) run --stack $(STACK) -- $${SHELL:-sh} || true  # whatever the last command in it was

doctor: setup ## show what is installed and what is missing
	@$(SANDBOX) doctor

# ---- what operators do with keys, in the sandbox; elsewhere: .venv/bin/access-keys --help

report: engine ## list every key with its age, last use and next rotation (OUTPUT=text|json|html|csv FILE=file)
	@$(RUN) access-keys report --stack $(STACK) $(if $(OUTPUT),--output $(OUTPUT)) $(if $(FILE),--file '$(FILE)')

credentials: engine ## put a user's key into an AWS profile of the sandbox (USER=name PROFILE=name, or CSV=file)
	@$(user_required)
	@$(RUN) access-keys credentials --stack $(STACK) $(if $(PROFILE),--profile '$(PROFILE)') $(if $(CSV),--csv '$(CSV)') \
	  $(if $(FORCE),--force) '$(USER)'
	@$(if $(CSV),,echo "That file is the sandbox's own; the command works in it: make shell")

rotate: engine ## request a new key for a user in the stack file (USER=name); then: make up
	@$(user_required)
	@$(RUN) access-keys rotate --stack $(STACK) $(if $(DRY_RUN),--dry-run) '$(USER)'

user_required = $(if $(filter command line,$(origin USER)),,$(error USER is required: make $@ USER=test-user))

# ---- for developers

test: engine policy-setup ## unit, sandbox, and whole lives of stacks on the real engine
	@$(BIN)/python -m pytest -n 4 --dist worksteal -m "not long"

test-long: engine policy-setup ## every test, with the whole tables of faults and permissions: hours
	@$(BIN)/python -m pytest -n 2 --dist worksteal

test-unit: setup policy-setup ## the tests that need no engine
	@$(BIN)/python -m pytest tests/unit

test-sandbox: engine ## the tests of the sandbox
	@$(BIN)/python -m pytest -n 2 --dist worksteal sandbox/tests

policy-setup: $(PACK)/.installed ## the virtual environment of the policy pack

$(PACK)/.installed: policy/requirements.txt | setup
	@$(PYTHON) -m venv $(PACK)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(PACK)/bin/python -r $< || \
	  $(PACK)/bin/python -m pip install --quiet -r $<
	@touch $@

policy-check: engine policy-setup ## pulumi preview of every stack in the sandbox, with the policy pack
	@for file in Pulumi.*.yaml; do stack=$${file#Pulumi.}; stack=$${stack%.yaml}; \
	  $(RUN) sh -c 'pulumi stack select --create $$0 >/dev/null && \
	    pulumi preview --stack $$0 --policy-pack policy --policy-pack-config policy/$$0.json' "$$stack" || exit 1; \
	done

bench: engine ## this program beside boto3, a flat Pulumi program and Terraform (ARGS="--users 1 20", BENCH=full: 1,000 users)
	@$(BIN)/python -m bench $(if $(filter full,$(BENCH)),--full) $(ARGS)

wheel: setup ## build the package that is installed: dist/*.whl
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist ./components

session: engine ## the picture of a terminal session, docs/session.svg
	@$(BIN)/python scripts/session.py

lint: setup ## run ruff and a strict type checker
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright

format: setup ## format the code with ruff
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

schema: setup ## write the JSON schemas and the table in docs, after a change in settings.py, args.py or the component's outputs
	@$(BIN)/python -m aws_access_keys.schema > stack.schema.json
	@$(BIN)/python -c 'from aws_access_keys.provider import schema; print(schema())' > components/schema.json
	@$(BIN)/python scripts/configuration_table.py

lock: setup ## pin every package again, after a change in a requirements.txt or requirements-dev.txt
	@$(BIN)/uv pip compile --quiet --universal --no-header --python-version 3.10 --refresh-package aws-access-keys requirements-dev.txt -o requirements-dev.lock

clean: ## remove the virtual environment, and the sandbox with everything in it
	@if [ -x $(SANDBOX) ]; then $(SANDBOX) stop; fi
	@rm -rf $(VENV) $(PACK) .sandbox
