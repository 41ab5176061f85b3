# make reproduce   from nothing to reports/digits.pdf (STUDY=name for another study)
# make full        all methods: three studies of 3 to 5 core hours each, resumed at will, then reports/digits_full.pdf
# make test        the tests but the slow ones, in two processes
# make test-all    the slow ones too: whole studies by both drivers
# make torture     kills, flipped bytes, bad inputs and edits under way, an hour; prints one table
# make bench       what the drivers and the recipes cost, after the study
# make lint        style and types
# make detectron2  Detectron2 into .venv: one tested commit, or DETECTRON2=/folder; COMPILE=1 builds its extension
# make docs        the documentation, into site/
# make wheel       the package, into dist/
# make lock        what pyproject.toml asks for into requirements.lock, versions kept where they can be

STUDY ?= digits
PYTHON ?= python3
INSIDE = PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: reproduce full test test-slow test-all torture bench lint docs wheel lock environment detectron2

reproduce: environment
	$(INSIDE) snakemake --config study=$(STUDY)

FULL = digits_two_stage digits_one_stage digits_transformer
full: environment
	$(foreach study,$(FULL),$(INSIDE) snakemake --config study=$(study) &&) \
	$(INSIDE) detdistill join digits_full $(FULL) --title "Handwritten digits on photographs, all methods"

test: environment
	$(INSIDE) pytest -m "not slow" --numprocesses 2 --dist loadfile

test-slow: environment
	$(INSIDE) pytest -m slow --numprocesses 2 --dist loadfile

test-all: test test-slow

torture: environment
	cd tests && PATH="$(CURDIR)/.venv/bin:$$PATH" python -m torture

bench: environment
	$(INSIDE) python tests/bench.py $(STUDY)

lint: environment
	$(INSIDE) ruff check .
	$(INSIDE) ruff format --check .
	$(INSIDE) snakefmt --check --line-length 120 Snakefile workflow
	$(INSIDE) mypy

docs: environment
	$(INSIDE) python -m pip install --quiet --no-build-isolation --editable ".[docs]"
	$(INSIDE) mkdocs build --strict

wheel: environment
	$(INSIDE) python -m hatchling build --target wheel

environment:
	@$(PYTHON) workflow/envs/environment.py

detectron2: environment
	@$(PYTHON) workflow/envs/detectron2.py

lock:
	$(PYTHON) -m venv --clear .scratch/uv
	.scratch/uv/bin/pip install --quiet uv
	.scratch/uv/bin/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --quiet \
		--custom-compile-command 'make lock' --output-file requirements.lock
	.scratch/uv/bin/uv pip compile workflow/envs/detectron2.in --constraint requirements.lock --python-version 3.11 \
		--universal --generate-hashes --quiet --custom-compile-command 'make lock' \
		--output-file workflow/envs/detectron2.lock
	rm -r .scratch/uv
