PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Everything that `make run` needs; the tools of `make test` and `make check` come on top.
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Modules are compiled when they are first imported, and most never are. Images set this variable: every job would compile all
# that it imports, each time.
unexport PYTHONDONTWRITEBYTECODE
define install
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '$(1)'
endef

.PHONY: run test test-all test-gpu audit mutants staleness faults newcomer check docs format schema reference clean

run: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores all --resources gpu=1

# The everyday tests: four minutes on 2 CPU cores.
test: $(READY_DEV)
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest --numprocesses 3 --no-loadscope-reorder

# What `make test` leaves out: faults, a real Slurm, Chromium, the tutorial, dry runs, NF4, the documentation, and more random input.
test-all: $(READY_DEV)
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest --numprocesses 2 --no-loadscope-reorder --hypothesis-profile thorough \
		-m "(slow or hypothesis) and not gpu and not many_faults and not newcomer"

# The tests that need CUDA.
test-gpu: $(READY_DEV)
	@$(BIN)/python -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "make test-gpu needs a GPU, and torch finds no CUDA device here")'
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -m gpu tests/gpu

# Every fault, a table of how it went, and the same in docs/reliability.md: three quarters of an hour on 2 CPU cores.
faults: $(READY_DEV)
	PATH="$(CURDIR)/$(BIN):$$PATH" OUTCTL_FAULT_TABLE=docs/reliability.md python -m pytest -s \
		-m "" tests/workflow/test_faults.py tests/workflow/slurm/test_slurm_faults.py

check: $(READY_DEV) docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" snakefmt --check Snakefile src/outctl/workflow
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --lint

# The documentation, into site/. The theme's note on what comes after MkDocs is none of a reader's business.
docs: $(READY_DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(READY_DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	PATH="$(CURDIR)/$(BIN):$$PATH" snakefmt Snakefile src/outctl/workflow

# The JSON schemas of the configuration, from the classes that check it.
schema: $(READY)
	$(BIN)/python -m outctl.config.schemas src/outctl/workflow/schemas

# The pages of the reference, the figures' captions and the picture of the package, from what they describe. They are kept in the repository, where they can
# be read without a build.
reference: $(READY)
	$(BIN)/python docs/generate/reference_pages.py docs/reference src/outctl/workflow/report
	$(BIN)/python docs/generate/structure_picture.py docs/structure.svg

# The tutorial from `git clone` on, with nothing installed or fetched before; how long it takes is written into its page.
newcomer: $(READY_DEV)
	PATH="$(CURDIR)/$(BIN):$$PATH" OUTCTL_NEWCOMER_TABLE=docs/tutorial.md python -m pytest -s -m newcomer tests/test_tutorial.py

# What reruns after which change, printed and written into the documentation; fails where a step is missed or needless.
staleness: $(READY_DEV)
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest --quiet --durations=0 --durations-min=60 -m "" tests/workflow/test_staleness.py --staleness-table docs/reliability.md

# A finished experiment's tables and some of its probabilities, recomputed without the pipeline: make audit RESULTS=my-results.
audit: $(READY)
	$(BIN)/python benchmarks/audit.py $(if $(RESULTS),--results $(RESULTS)) $(if $(MODELS),--models $(MODELS))

# Twenty deliberate bugs, each made in a copy of the checkout, and the test that catches it.
mutants: $(READY_DEV)
	PATH="$(CURDIR)/$(BIN):$$PATH" python tests/mutants.py

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, set PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
# The pip that came with a Python of some age takes far longer to find out what to install.
	$(BIN)/pip install --quiet --upgrade --constraint constraints.txt pip

$(READY): $(VENV)/bin/python pyproject.toml constraints.txt
	$(call install,.)
	touch $@

# All at once: asking the index for everything a second time takes as long again.
$(READY_DEV): $(VENV)/bin/python pyproject.toml constraints.txt
	$(call install,.[dev])
	touch $(READY) $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build site src/*.egg-info
