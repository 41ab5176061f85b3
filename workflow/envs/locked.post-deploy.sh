#!/bin/sh
# Snakemake runs this in the new environment, from the project's root: the locked packages, then the project itself.
set -e
python -m pip install --require-hashes --requirement requirements.lock
python -m pip install --no-deps --no-build-isolation --editable .
