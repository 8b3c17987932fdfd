PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: demo test

demo: $(VENV)/installed
	tools/demo.sh

test: $(VENV)/installed-test
	ruff check .
	python -m pytest -q tests

$(VENV)/installed: requirements.txt setup.py
	$(PYTHON) -m venv $(VENV)
	pip install -q -r requirements.txt
	pip install -q --no-deps -e .
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	pip install -q -r requirements-test.txt
	touch $@
