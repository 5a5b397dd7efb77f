# make demo: film -> trained model -> videos -> report.   make test: quick tests.   Needs python3 3.11 or 3.12.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
OUT ?= runs/demo

# The lock of an existing environment's own Python, else of $(PYTHON).
VERSION := $(shell test -x $(RUN) && $(RUN) -c 'import sys; print("%d%d" % sys.version_info[:2])' \
	|| $(PYTHON) -c 'import sys; print("%d%d" % sys.version_info[:2])')
LOCK := requirements/py$(VERSION).txt
STAMP := $(VENV)/installed-py$(VERSION)

.PHONY: env test test-slow lint demo lock

env: $(STAMP)

$(STAMP): $(LOCK)
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --progress-bar off --disable-pip-version-check --require-hashes -r $(LOCK)
	touch $@

requirements/%.txt:
	@echo "Python 3.11 or 3.12 is needed, '$(PYTHON)' is: $$($(PYTHON) --version 2>&1). Name another with" >&2
	@echo "  make PYTHON=python3.12 $(MAKECMDGOALS)" >&2
	@false

test: env
	$(RUN) -m pytest -n 2 --dist loadfile

# Exit status 5 is "no tests collected": a slow tier that is empty is not a failure.
test-slow: env
	$(RUN) -m pytest -m slow || test $$? -eq 5

lint: env
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

demo: env
	$(RUN) -m tools.demo --out=$(OUT)

lock:
	for version in 3.11 3.12; do \
		uv pip compile setup.py --extra test --python-version $$version --generate-hashes \
			--no-annotate --no-header --no-emit-index-url \
			-o requirements/py$$(echo $$version | tr -d .).txt || exit 1; \
	done
