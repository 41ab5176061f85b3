#!/bin/sh
# Snakemake runs this in the new environment, from the project's root: the project itself and what it needs beside.
python -m pip install --editable .
