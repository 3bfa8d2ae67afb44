# make demo          the worker against pods and a DNS server on loopback
# make recipe        the shell loop of dig and curl, and the worker, against the same faults
# make test          every test that this machine can run (REQUIRE=container,cluster,… makes a skipped suite a failure;
#                    ARGS are pytest's: ARGS='tests/unit -x'; WORKERS=0 keeps it in one process)
# make check         formatting, lint, types, import contract
# make image         build pod-broadcast:VERSION (ARGS go to docker build)
# make kind          apply the example overlay to an existing kind cluster
# make bench         compare the worker with curl, requests and aiohttp; needs curl, dig, nginx and openssl (ARGS=--quick, ARGS=--help)
# make simulate      100,000 histories of a simulated cluster (HISTORIES=n for another number)
# make mutations     break the program in 1,200 ways, and name those that no test notices (ARGS=worker/FILE …)
# make coverage      run the tests, and show which lines and branches of worker/ they reach
# make generated     write docs/configuration.md, docs/events.* and config/schema.json from their tables
# make requirements  pin the dependencies of pyproject.toml (ARGS='--upgrade-package NAME' raises one)
#
# PYTHON=python3.13 runs any of them with that Python, in an environment of its own.

PYTHON ?= python3
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
ARGS ?=
WORKERS ?= auto
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' worker/__init__.py)

.PHONY: demo recipe test check format image kind bench simulate mutations coverage generated requirements clean

demo: $(VENV)/runtime
	@$(BIN)/python -m tests.loopback.demo

recipe: $(VENV)/development
	@$(BIN)/python -m tests.docs.recipe

test: $(VENV)/development
ifdef COVERAGE
	@rm -f .coverage .coverage.*
	@REQUIRE=$(REQUIRE) $(BIN)/coverage run -m pytest --numprocesses $(WORKERS) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
else
	@REQUIRE=$(REQUIRE) $(BIN)/python -m pytest --numprocesses $(WORKERS) $(ARGS)
endif

check: $(VENV)/development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint Dockerfile
	$(BIN)/yamllint --strict .

format: $(VENV)/development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

image:
	docker build $(ARGS) --tag pod-broadcast:$(VERSION) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) .

kind: image
	kind load docker-image pod-broadcast:$(VERSION)
	kubectl --context kind-kind apply -k manifests/overlays/example
	kubectl --context kind-kind --namespace pod-broadcast-example get pods,services,cronjobs

bench: $(VENV)-bench/ready
	@$(VENV)-bench/bin/python -m tests.bench $(ARGS)

simulate: $(VENV)/development
	@$(BIN)/python -m tests.simulation.explore $(HISTORIES)

mutations: $(VENV)/development
	@$(BIN)/python -m tests.mutation $(ARGS)

coverage:
	@$(MAKE) --no-print-directory test COVERAGE=yes

generated: $(VENV)/development
	@$(BIN)/python -m tools.generate

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.x …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime: requirements-console.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/development: requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@ $(VENV)/runtime

# What the image has and what it is compared with, but no development tools: they slow some imports.
$(VENV)-bench/ready: requirements-bench.txt | $(BIN)/python
	$(BIN)/python -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# What is pinned stays as it is, unless ARGS say otherwise.
COMPILE := $(VENV)-uv/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --custom-compile-command "make requirements" $(ARGS)

$(VENV)-uv/ready: | $(BIN)/python
	$(BIN)/python -m venv $(VENV)-uv
	$(VENV)-uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

requirements: $(VENV)-uv/ready
	$(COMPILE) --output-file requirements.txt
	$(COMPILE) --extra console --constraint requirements.txt --output-file requirements-console.txt
	$(COMPILE) --extra console --group dev --constraint requirements-console.txt --output-file requirements-dev.txt
	$(COMPILE) --group bench --constraint requirements.txt --output-file requirements-bench.txt

clean:
	rm -rf .venv .venv-* build *.egg-info
