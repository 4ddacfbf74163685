# make demo    GPU Relay on a local Kubernetes: SAM3 unloads, YOLO trains, SAM3 loads again    (KEEP=1 keeps it)
# make try     the same, to try by hand: docs/try-it.md; `make try-down` ends it
# make test    every test; on a fresh machine this builds Kubernetes and the images first
#
# Both install what they need into $(CACHE), nothing into the checkout. NODE=process|kubelet chooses the node by hand.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo try try-env try-down test test-fast test-unit test-mutants test-controlplane test-faults test-e2e test-docs lint docs crds chart tour lock images sbom release environment cuda-wheels down

PYTHON ?= python3
CACHE := $(or $(GPU_RELAY_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/gpu-relay)
UV := $(CACHE)/uv-$(shell sha256sum requirements/uv.txt | cut -c1-12)/bin/uv
VENV := $(CACHE)/venv-$(shell sha256sum requirements/dev.txt | cut -c1-12)
PY := $(VENV)/bin/python
PUBLISH := $(CACHE)/publish-$(shell sha256sum requirements/publish.txt | cut -c1-12)
export PATH := $(VENV)/bin:$(dir $(UV)):$(PATH)
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/images/sam3:$(CURDIR)/images/yolo:$(CURDIR)/images/adapter:$(CURDIR)/images/common:$(CURDIR)
PYTEST := $(PY) -m pytest --quiet
# Where it is set, each of the hundreds of programs that the tests start compiles all that it imports: SAM3's, for 10 s.
unexport PYTHONDONTWRITEBYTECODE

help:
	@sed -n 's/^# //p' Makefile
	@echo "also: test-fast test-mutants test-controlplane test-faults test-e2e test-docs lint docs crds chart tour lock images sbom release cuda-wheels down"

demo: environment
	@$(PY) -m demo

# The cluster has a name of its own, so that `make try-down` ends no other cluster.
TRY ?= try
try: environment
	@$(PY) -m demo.playground up --name $(TRY)

try-env: environment
	@$(PY) -m demo.playground env --name $(TRY)

try-down: environment
	@$(PY) -m devcluster down --name $(TRY)

test: lint test-unit test-mutants test-controlplane test-faults test-e2e test-docs

test-fast: lint test-unit

# The trainer's apart: Ultralytics, once imported, changes Pillow and more for the whole process. What needs it is in files
# named test_ultralytics…, which their conftest keeps in one group, so that one of the two processes imports it.
test-unit: environment
	$(PYTEST) --numprocesses 2 --dist loadfile --ignore tests/unit/yolo tests/unit tests/property
	$(PYTEST) --numprocesses 2 --dist loadgroup tests/unit/yolo

# The model of the turn must find every law that a change of the planner breaks.
test-mutants: environment
	$(PY) -m tests.property.mutants

test-controlplane: environment
	@$(PY) -m devcluster prepare --node none --gitops
	$(PYTEST) --numprocesses 2 --dist loadfile tests/controlplane

test-faults: environment
	$(PYTEST) tests/faults

test-e2e: environment
	@$(PY) -m devcluster prepare
	$(PYTEST) tests/e2e

# Apart from the end-to-end tests: both take the machine's one kubelet node.
test-docs: environment docs
	@$(PY) -m devcluster prepare
	$(PYTEST) tests/docs

lint: environment
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	python -m tools.words
	python -m tools.module_length

# The site, strictly: a link or an anchor that leads nowhere is an error.
docs: $(PUBLISH)/.complete
	NO_MKDOCS_2_WARNING=1 $(PUBLISH)/bin/mkdocs --quiet build --strict

crds: environment
	$(PY) -m gpu_relay.api.crd > crds/yolotrainingjobs.gpurelay.dev.yaml
	$(PY) -m gpu_relay.api.json_schema > crds/schemas/gpurelay.dev/yolotrainingjob_v1alpha1.json
	$(MAKE) chart

chart: environment
	kubectl kustomize manifests/chart/source | $(PY) manifests/chart/generate.py manifests/chart

lock: $(UV)
	UV=$(UV) requirements/lock.sh

images: environment
	$(PY) -m devcluster images

sbom: environment
	$(PY) -m devcluster.sbom sbom

# make release VERSION=0.1.0 [IMAGES=1 REGISTRY=registry.example/gpu-relay DOWNLOADS=https://… OUT=dist]
IMAGES ?=
REGISTRY ?= gpu-relay
DOWNLOADS ?=
OUT ?= dist
release: environment $(PUBLISH)/.complete
	@$(PY) -m tools.release $(VERSION) $(if $(IMAGES),--images) --registry $(REGISTRY) $(if $(DOWNLOADS),--downloads $(DOWNLOADS)) --output $(OUT) --hatchling $(PUBLISH)/bin/hatchling

# What `python -m bench.cuda` needs on a GPU machine without a network, at most 60 MiB: docs/performance.md.
CUDA_PYTHON ?= 3.12
CUDA_WHEELS ?= $(CACHE)/cuda-wheels
cuda-wheels: environment
	@$(PY) -m bench.cuda.wheels $(CUDA_WHEELS) --python $(CUDA_PYTHON)

tour: environment
	@$(PY) -m devcluster prepare --node none
	$(PY) -m tools.tour

down: environment
	$(PY) -m devcluster down --all

environment: $(VENV)/.complete

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit("gpu-relay needs Python 3.11 or newer; this is %s (set PYTHON=…)" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(@D)/..
	$(@D)/pip install --quiet --require-hashes --only-binary :all: --requirement requirements/uv.txt

$(VENV)/.complete: $(UV)
	@echo "Installing the locked Python packages into $(VENV): about half a minute and 6 GB."
	$(UV) venv --quiet --clear --python $(PYTHON) $(VENV)
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --require-hashes --requirement requirements/dev.txt
	@touch $@

$(PUBLISH)/.complete: $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) $(PUBLISH)
	VIRTUAL_ENV=$(PUBLISH) $(UV) pip install --quiet --require-hashes --requirement requirements/publish.txt
	@touch $@
