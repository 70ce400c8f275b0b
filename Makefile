# Every command a user or a contributor needs; `make` alone lists them. Nothing is installed outside .venv.
# Works with GNU make 3.81 and later (macOS ships that one), so no .ONESHELL.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN  := $(VENV)/bin
LOG  := $(VENV)/install.log
PIP  := $(BIN)/python -m pip --disable-pip-version-check --no-input
BENCHES  = step gemm scaling peers job data memory service growth load serving
PACKAGES = $(wildcard api worker store rnn migrations bench examples tests sdk)

# A Python of one's own choice: make demo PYTHON=/path/to/python3.12
PYTHON ?=
CANDIDATES := $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11

# Tests run in as many processes as there are cores, four at most: each starts a PostgreSQL and a Redis of its own.
PYTEST_ARGS ?= -n logical --maxprocesses 4 --dist worksteal
FUZZ_ARGS   ?=

.PHONY: help demo picture up test test-all chaos fuzz audit lint fmt openapi tasks constraints bench clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sort | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.runtime ## train the integrator through a service of its own, predict, plot, stop
	@$(BIN)/python examples/integrate_noise.py

picture: $(VENV)/.runtime ## draw the README's picture anew: the demo, with its plot copied to docs/pictures
	@$(BIN)/python examples/integrate_noise.py --picture docs/pictures/integrate_noise.png

up: $(VENV)/.runtime ## run the service here (SQLite, no servers) until Ctrl-C
	@$(BIN)/unroll-server up

test: $(VENV)/.dev ## run the tests, in parallel; PYTEST_ARGS="-n0 -k name" for some
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

test-all: $(VENV)/.dev ## run the tests with every case of the oracles' matrices, not only those that cover the rest
	@$(BIN)/python -m pytest --product $(PYTEST_ARGS)

# 1: every count, at most 40 minutes; make chaos SCALE=0.05 tries each fault once or twice.
SCALE ?= 1

chaos: $(VENV)/.dev ## break everything on purpose, and write docs/reliability.md; Linux, as root for all of it
	@$(BIN)/python -m pytest -n0 -v --chaos $(SCALE) --chaos-page docs/reliability.md tests/chaos/rows

audit: $(VENV)/.dev ## ask the advisory service (needs the internet) about every version in constraints.txt
	@$(BIN)/python -c 'import pip_audit' 2>/dev/null || $(PIP) install -q 'pip-audit>=2.9,<3'
	@$(BIN)/python .ci/audit.py

fuzz: $(VENV)/.dev ## ask a real server all that its document admits, and more; FUZZ_ARGS="--cases 100000 --seed 7"
	@$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

lint: $(VENV)/.dev ## ruff, mypy (strict) and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

fmt: $(VENV)/.dev ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

openapi: $(VENV)/.runtime ## regenerate openapi.json from the code
	@$(BIN)/python -m api.openapi

tasks: $(VENV)/.dev ## regenerate docs/tasks.md and its pictures from the code
	@$(BIN)/python .ci/tasks.py --pictures

constraints: $(VENV)/.dev ## write the versions installed in .venv to constraints.txt
	@$(BIN)/python .ci/constraints.py > constraints.txt.new && mv constraints.txt.new constraints.txt
	@touch $(VENV)/.runtime $(VENV)/.dev && echo "wrote constraints.txt ($$(grep -c == constraints.txt) versions)"

bench: $(VENV)/.dev ## measure the promises, side by side with their peers; prints ratios
	@set -e; for script in $(BENCHES:%=bench/%.py); do echo "== $$script"; $(BIN)/python "$$script"; done
	@echo "== bench/gpu.py"; $(BIN)/python bench/gpu.py || [ $$? -eq 3 ] # 3: there is no GPU, and it said so

clean: ## remove caches and build outputs; .venv and data stay
	rm -rf build dist sdk/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(PACKAGES) -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment ----------------------------------------------------------------------------------------------
# A stamp a purpose: newer than what declares the dependencies, there is nothing to do.

DECLARED := pyproject.toml sdk/pyproject.toml constraints.txt hatch_build.py rnn/kernels/build.py $(wildcard rnn/kernels/src/*)

# An environment works if its Python is still there and its scripts name it: not after the folder was moved or copied.
WORKS := test -x $(BIN)/python && grep -qsF "$(CURDIR)/$(BIN)/python" $(BIN)/pip
ifneq ($(shell $(WORKS) && echo yes),yes)
DECLARED += remake
endif
.PHONY: remake
remake:

$(VENV)/.runtime: $(DECLARED)
	@$(call install,the service,.[demo])
	@touch $@

$(VENV)/.dev: $(DECLARED)
	@$(call install,the service and what its tests need,.[demo$(comma)dev])
	@touch $(VENV)/.runtime $@

comma := ,

# $(1) what is installed, in words; $(2) the requirement. An environment that does not work is made anew; one that
# does is kept and brought up to date.
define install
set -e; \
if ! { $(WORKS); }; then \
	python=; \
	for candidate in $(CANDIDATES); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "error: no Python 3.11 or later found (looked for: $(strip $(CANDIDATES)))." >&2; \
		echo "       Install one, or name it: make demo PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	if ! "$$python" -m venv --clear $(VENV); then \
		echo "error: $$python could not make $(VENV); on Debian and Ubuntu the package python3-venv is needed." >&2; \
		rm -rf $(VENV); exit 1; \
	fi; \
fi; \
echo "Installing $(1) into $(VENV): minutes the first time, as PyTorch is large (log: $(LOG))"; \
begin=$$(date +%s); \
if ! $(PIP) install -c constraints.txt -e "sdk[cli]" -e "$(2)" >$(LOG) 2>&1; then \
	echo "error: the installation failed; the end of $(LOG):" >&2; \
	tail -n 25 $(LOG) >&2; \
	exit 1; \
fi; \
echo "Installed in $$(( $$(date +%s) - begin )) s"; \
kernel=$$($(BIN)/python -P -m rnn.kernels); \
case "$$kernel" in native,*) ;; *) echo "note: $$kernel" ;; esac
endef
