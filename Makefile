# make demo: film -> trained model -> videos -> report.   make world: the same for a world that is known, and what
# its prompts say.   make test: quick tests.   Needs python3 3.11 or 3.12.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# The locks of an existing environment's own Python, else of $(PYTHON).
VERSION := $(shell test -x $(RUN) && $(RUN) -c 'import sys; print("%d%d" % sys.version_info[:2])' \
	|| $(PYTHON) -c 'import sys; print("%d%d" % sys.version_info[:2])')
INSTALLED := $(VENV)/installed-py$(VERSION)
INSTALLED_TEST := $(VENV)/installed-test-py$(VERSION)
PIP_INSTALL := $(RUN) -m pip install --quiet --progress-bar off --disable-pip-version-check --require-hashes

.PHONY: env test-env test test-slow test-faults lint demo world lock

# What training, generation, the demo and the world need.
env: $(INSTALLED)

# That, and tools for tests and checks, and the simulators of videodit/worlds.
test-env: $(INSTALLED_TEST)

$(INSTALLED): requirements/py$(VERSION).txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -r $<
	touch $@

$(INSTALLED_TEST): requirements/test-py$(VERSION).txt $(INSTALLED)
	$(PIP_INSTALL) -r $<
	touch $@

requirements/%.txt:
	@echo "Python 3.11 or 3.12 is needed, '$(PYTHON)' is: $$($(PYTHON) --version 2>&1). Name another with" >&2
	@echo "  make PYTHON=python3.12 $(MAKECMDGOALS)" >&2
	@false

test: test-env
	$(RUN) -m pytest -n 2 --dist loadfile

# Exit status 5 is "no tests collected": a slow tier that is empty is not a failure.
test-slow: test-env
	$(RUN) -m pytest -m slow -n 2 --dist loadfile || test $$? -eq 5

# Kills, stops and starves a run of two processes; the result must be that of the unbroken run. Takes many minutes.
test-faults: env
	$(RUN) -m tools.faults --out=$(or $(OUT),runs/faults)

lint: test-env
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

demo: env
	$(RUN) -m tools.demo --out=$(or $(OUT),runs/demo)

world: env
	$(RUN) -m tools.world --out=$(or $(OUT),runs/world)

# Every version and hash anew, from setup.py. Locked versions stay where they still fit; delete a file to renew all of it.
COMPILE := uv pip compile --quiet setup.py --generate-hashes --no-annotate --no-header --no-emit-index-url
lock:
	for version in 3.11 3.12; do \
		digits=$$(echo $$version | tr -d .); \
		run=requirements/py$$digits.txt; test=requirements/test-py$$digits.txt; \
		$(COMPILE) --python-version $$version -o $$run || exit 1; \
		$(COMPILE) --python-version $$version --extra test -c $$run -o $$test || exit 1; \
	done
