# wfp-hil: `make run` and `make test` do all set-up themselves and may be called first.
# Words for the harness or for pytest go into ARGS: make run ARGS="-k redirect".
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
WFP_HIL := .venv/bin/wfp-hil
STAGE := scripts/stage.sh
JOBS := $(shell nproc)
ARGS :=
NOTHING_CHOSEN := 5  # pytest's exit code where ARGS leave no test

.PHONY: help setup drivers model image run test mutations check bench endurance clean distclean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## Debian packages, virtual environment, libvirt's daemons
	@scripts/setup.sh

drivers: setup
	@$(STAGE) "driver and probe" $(MAKE) --no-print-directory -s -j$(JOBS) -C drivers

model: setup
	@mkdir -p vm-images/reference/model/build
	@$(STAGE) "model of the filter engine" $(MAKE) --no-print-directory -s -j$(JOBS) -C vm-images/reference/model
	@$(STAGE) "Winsock of the reference guest" $(MAKE) --no-print-directory -s -j$(JOBS) -C vm-images/reference/winsock

image: drivers model  ## the reference image, from the cache when its inputs did not change
	@$(WFP_HIL) image build reference

run: image  ## the main job: boot the reference guest, deploy the driver, run all scenarios
	@$(WFP_HIL) run --guest reference $(ARGS)

check: setup  ## format, lint, types
	@$(STAGE) "format" .venv/bin/ruff format --check .
	@$(STAGE) "lint" .venv/bin/ruff check .
	@$(STAGE) "types" .venv/bin/mypy

test: image check  ## all tests, with real virtual machines
	@$(STAGE) "checks of the model" $(MAKE) --no-print-directory -s -j$(JOBS) -C vm-images/reference/model check checked bad
	@$(PYTHON) -m pytest tests -m "not vm" -n $(JOBS) --dist loadfile $(ARGS) || [ $$? = $(NOTHING_CHOSEN) ]
	@$(PYTHON) -m pytest tests -m vm $(ARGS) || [ $$? = $(NOTHING_CHOSEN) ]

mutations: setup  ## faults in the model's engine, one by one: its checks must find each
	@WFP_HIL_MUTATIONS=all $(PYTHON) -m pytest tests/mutations $(ARGS)

bench: image  ## the figures: main job, revert, round trip, link, overhead, crash, speed of the engine
	@$(PYTHON) -m benchmarks

endurance: image  ## hours of it: a million fuzzed frames, stress, hundreds of reverts, kills and injected faults
	@$(PYTHON) -m benchmarks endurance

clean:  ## leftovers of killed runs, and build products
	@-[ ! -x $(WFP_HIL) ] || $(WFP_HIL) clean
	@rm -rf out drivers/build vm-images/reference/*/build .pytest_cache .mypy_cache .ruff_cache

distclean: clean  ## also the virtual environment
	@rm -rf .venv
