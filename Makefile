# Every target sets itself up: Python >= 3.10 with venv, and make, are all that must be there.
PYTHON ?= python3
VENV := .venv
VERSIONS := constraints/tested.txt
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup test test-oldest test-newest lint check demo train-demo experiment clean

setup: $(STAMP)

$(STAMP): pyproject.toml $(VERSIONS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint $(VERSIONS) torch
	$(BIN)/python -m pip install --quiet --constraint $(VERSIONS) --editable '.[test]'
	touch $(STAMP)

# A process per core; the tests of a file share their fixtures.
test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

# The same on the lowest and on the newest versions that pyproject.toml allows, each in an environment of its own.
test-oldest test-newest: test-%:
	$(MAKE) test VENV=.venv-$* VERSIONS=constraints/$*.txt

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

# First the stock command on eight problems, then four ways to decode sixty, and what to type next.
# Threads that wait without spinning: far faster where others use the cores too.
demo: export OMP_WAIT_POLICY := PASSIVE
demo: export HF_HUB_OFFLINE := 1
demo: $(STAMP)
	$(BIN)/lm_eval --model mdlm --model_args pretrained=demo,sampler=med,exit_threshold=0.1,device=cpu \
	  --tasks mdlm_demo --limit 8 --batch_size 8 --log_samples --output_path demo_output
	$(BIN)/python -m lm_eval_mdlm.demo.compare

# What made lm_eval_mdlm/demo/checkpoint, into build/demo/checkpoint; wants a GPU.
DEMO_STEPS ?= 22000
train-demo: $(STAMP)
	$(BIN)/python -m lm_eval_mdlm.demo.prepare build/demo --seed 1 --num-train 300000
	$(BIN)/lm-eval-mdlm finetune --data build/demo/train.jsonl --validation build/demo/validation.jsonl \
	  --from-scratch build/demo/start --out build/demo/checkpoint \
	  --template '[{"reasoning": 104}, {"text": "\nThe answer is "}, {"answer": 4}]' --free-share 0.25 --end-padding 4 \
	  --batch-size 256 --steps $(DEMO_STEPS) --learning-rate 2e-3 --warmup-steps 300 --decay-share 0.4 \
	  --weight-decay 0.05 --average-decay 0.998 --compile --workers 13 --save-every 0 --seed 0

# docs/posterior.md: five small bases and eight arms of each; wants a GPU. After a kill the same command goes on.
experiment: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint $(VERSIONS) --editable '.[report]'
	$(BIN)/python -m lm_eval_mdlm.demo.experiment --out build/experiment

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest build dist demo_output *.egg-info .mypy_cache .pytest_cache .ruff_cache
