# Each target does its own set-up, in .venv, on a machine with Python 3.11 or newer. PYTHON names another interpreter.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
SET_UP := $(VENV)/.set-up

TESTS := $(RUN) -m pytest -n auto --maxprocesses 8 --dist worksteal

.PHONY: quickstart test test-all test-cpus pictures lint bench bench-methods gpu-check lock audit clean

$(SET_UP): setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "aird_plugin needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

quickstart: $(SET_UP)   ## draw images, train a teacher and three 16 px students, compare: 10 to 15 minutes on two cores
	$(RUN) tools/quickstart.py

test: lint              ## lint, and all tests but the slow ones, on up to 8 cores
	$(TESTS) -m 'not slow'

test-all: lint          ## also the slow ones, on real images where AIRD_DATA names them
	$(TESTS)

test-cpus: $(SET_UP)    ## the numeric tests with other CPU instruction sets; SHORT=1 for the one furthest from the default
	$(RUN) tools/cpu_settings.py $(if $(SHORT),--short)

lint: $(SET_UP)         ## style, format, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench-methods: $(SET_UP)   ## all methods, two epochs and one seed each, on real faces (AIRD_DATA), in one table; resumable
	$(RUN) tools/bench_methods.py runs/bench-methods --seeds 0 --set num_epoch=2

bench: $(SET_UP)        ## the speed and memory targets as ratios of one run; WITH="--arcface-torch DIR ..." adds rows; resumable
	$(RUN) tools/bench.py runs/bench $(WITH)

pictures: $(SET_UP)     ## the charts of docs/pictures from the rows beside them, and faces at falling sizes by the quickstart's models
	$(RUN) tools/draw_charts.py
	if test -e runs/quickstart/quickstart/model.pt; then $(RUN) tools/draw_sizes_picture.py runs/quickstart; fi

gpu-check: $(SET_UP)    ## this machine's GPU against its CPU, and its speed, on drawn faces; WITH="--arcface-torch DIR" or WITH=--fake
	$(RUN) tools/check_gpu.py $(WITH)

EXTRAS := arcface faiss insightface onnx prior report safetensors video wandb

lock: $(SET_UP)         ## constraints-hashed.txt from constraints.txt; asks the index for hashes and downloads no package but uv
	$(RUN) -m pip install --quiet --disable-pip-version-check uv
	$(VENV)/bin/uv pip compile --quiet setup.py $(EXTRAS:%=--extra %) --constraints constraints.txt --generate-hashes --universal \
		--python-version 3.11 --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' -o constraints-hashed.txt

audit: $(SET_UP)        ## known vulnerabilities of the packages in constraints-hashed.txt; fails if the service does not answer
	$(RUN) -m pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)/bin/pip-audit --strict --disable-pip --require-hashes -r constraints-hashed.txt

clean:
	rm -rf $(VENV) build *.egg-info
