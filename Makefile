# make reproduce   from nothing to reports/digits.pdf (STUDY=name for another study)
# make test        the tests
# make bench       what the drivers and the recipes cost, after the study
# make lint        style and types
# make lock        what pyproject.toml asks for into requirements.lock, versions kept where they can be
# make params/NAME/dvc.yaml   lets `dvc repro params/NAME/dvc.yaml` run the study NAME

STUDY ?= digits
PYTHON ?= python3
INSIDE = PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: reproduce test bench lint lock environment

reproduce: environment
	$(INSIDE) snakemake --config study=$(STUDY)

test: environment
	$(INSIDE) pytest

bench: environment
	$(INSIDE) python tests/bench.py $(STUDY)

lint: environment
	$(INSIDE) ruff check .
	$(INSIDE) ruff format --check .
	$(INSIDE) snakefmt --check --line-length 120 Snakefile workflow
	$(INSIDE) mypy

environment:
	@$(PYTHON) workflow/envs/environment.py

lock:
	$(PYTHON) -m venv --clear .scratch/uv
	.scratch/uv/bin/pip install --quiet uv
	.scratch/uv/bin/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --quiet \
		--custom-compile-command 'make lock' --output-file requirements.lock
	rm -r .scratch/uv

# DVC reads `vars` without substitution, so each study has its own file: the root's, with its own params and root folder.
params/%/dvc.yaml: dvc.yaml
	awk '/^vars:/ { gsub("params/[^/]*/", "") } /^    cmd:/ { print "    wdir: ../.." } { print }' dvc.yaml > $@
