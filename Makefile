# make: run the pipeline and print its figures.  make test: run the tests.  make verify: prove that the committed
# revision reproduces its dvc.lock to the last bit.  All set up .venv first.
PYTHON ?= python3
# `python` and `dvc` are .venv's, also inside the stages.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: all test verify bench wheel pins
# Where there is a remote, what is missing here is pulled if it is there; stages run for the rest.
all: .venv/installed
	@if grep -qs '^[[:space:]]*remote[[:space:]]*=' .dvc/config .dvc/config.local \
		"$${XDG_CONFIG_HOME:-$$HOME/.config}/dvc/config" && ! dvc status --quiet; then \
		dvc pull --quiet --allow-missing </dev/null >/dev/null 2>&1 || \
		echo 'the remote could not be pulled from (`dvc pull` says why); stages make what is missing' >&2; fi
	@dvc repro
	@plumbline report

test: .venv/installed
	ruff check .
	ruff format --check .
	pytest

verify: .venv/installed
	@plumbline verify

# Time, memory and ratios beside the peers, on a machine that does nothing else; some ten minutes on two cores. Results
# go to benchmarks/results. The other benchmarks/ say in their first lines what they do.
bench: .venv/installed
	python benchmarks/training.py
	python benchmarks/whole.py
	python benchmarks/gpu.py
	python benchmarks/portable_cost.py

# Does the wheel, alone in an empty environment, score the test rows as the pipeline did?
wheel: .venv/installed
	@dvc repro --quiet
	$(PYTHON) -m venv --clear .venv-wheel
	.venv-wheel/bin/pip install --quiet --disable-pip-version-check .
	.venv-wheel/bin/python -I tests/wheel.py

.venv/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; make PYTHON=python3.12 takes another one")'
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@echo 'set up: `. .venv/bin/activate` makes its dvc and python yours'
	touch $@

# Renew the pins: the newest versions that go together, tried in an environment of their own.
pins:
	$(PYTHON) -m venv --clear .venv-pins
	.venv-pins/bin/pip install --quiet --disable-pip-version-check --editable '.[pipeline,tests]'
	.venv-pins/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -v '^nvidia-\|^cuda-\|^triton==' > requirements.txt
	rm -rf .venv-pins
