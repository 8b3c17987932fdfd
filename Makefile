PYTHON ?= python3
VENV := .venv
STOCK := .venv-stock
VISION := .torchvision
STUBS := $(CURDIR)/tests/stubs
export OMP_NUM_THREADS ?= 1
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: demo lint test test-stock test-mmpretrain

demo: $(VENV)/installed
	tools/demo.sh

lint: $(VENV)/installed-test
	ruff check .
	ruff format --check .

test: lint
	python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests

test-stock: $(STOCK)/installed-test
	PYTHONPATH=$(STUBS) $(STOCK)/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests

test-mmpretrain: $(VENV)/installed-test $(STOCK)/installed-test \
		$(VISION)/installed
	PYTHONPATH=$(CURDIR)/$(VISION):$(STUBS) \
		python -m pytest -q -m mmpretrain tests
	PYTHONPATH=$(CURDIR)/$(VISION):$(STUBS) \
		$(STOCK)/bin/python -m pytest -q -m mmpretrain tests

$(VENV)/installed: requirements.txt setup.py
	$(PYTHON) -m venv $(VENV)
	pip install -q -r requirements.txt
	pip install -q --no-deps -e .
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	pip install -q -r requirements-test.txt
	touch $@

# An isolated build of mmcv sees no torch and leaves out the operators, which
# take most of an hour to compile; such a wheel must not stay in pip's cache.
$(STOCK)/installed-test: export PIP_CONSTRAINT := requirements-stock.txt
$(STOCK)/installed-test: requirements-stock.txt requirements-test.txt setup.py
	$(PYTHON) -m venv $(STOCK)
	$(STOCK)/bin/pip install -q --use-pep517 --no-cache-dir --no-deps mmcv
	$(STOCK)/bin/pip install -q -r requirements-stock.txt \
		-r requirements-test.txt
	$(STOCK)/bin/pip install -q --no-deps -e .
	touch $@

# The release for the torch of requirements.txt. With one for the CPU it is
# PyPI's build for CUDA, hence a folder of its own; see tests/stubs.
$(VISION)/installed: $(VENV)/installed
	rm -rf $(VISION)
	pip install -q --no-deps --target $(VISION) torchvision==0.28.0 \
		timm==1.0.31 safetensors==0.8.0 huggingface_hub==2.4.0
	touch $@
