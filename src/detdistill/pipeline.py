"""A study's steps as `dvc.yaml`, and what its lock keeps of steps that are no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import read_bytes, write_atomic
from detdistill.core.params import Pair, Study, read_yaml
from detdistill.plan import load_plan
from detdistill.stages import stages

HEAD = """\
# The DAG of the study {study} for `dvc repro`, written by `detdistill pipeline --study {study}`.
# The Snakefile is the same DAG for `snakemake`; tests/test_drivers.py holds the two equal.
# A slice is a parameter of the step that it is for, and a plain dependency of the others: DVC copies parameters into
# the lock each time, which is slow to read.
"""


def write(study: str) -> Path:
    """Write the study's `dvc.yaml` and return its path. Raises UserError for parameters that make no DAG."""
    file = pipeline_file(study)
    write_atomic(file, text(study).encode())
    _forget_gone(file)
    return file


def _forget_gone(file: Path) -> None:
    """Leave out of `dvc.lock` the stages that are no more: DVC itself keeps them for good."""
    lock = file.with_suffix(".lock")
    if not lock.exists():
        return
    kept, listed = read_yaml(lock), read_yaml(file)["stages"]
    if not (isinstance(kept, dict) and isinstance(kept.get("stages"), dict)):
        raise UserError(f"{lock}: no record of DVC's; remove it, and DVC runs every step anew")
    if gone := kept["stages"].keys() - listed.keys():
        kept["stages"] = {name: stage for name, stage in kept["stages"].items() if name not in gone}
        write_atomic(lock, yaml.safe_dump(kept, sort_keys=False).encode())


def outdated(study: str) -> str | None:
    """A sentence when the study has a `dvc.yaml` and it is not what its parameters make of it now."""
    file = pipeline_file(study)
    if not file.is_file() or read_bytes(file) == text(study).encode():
        return None
    return f"{file}: not the DAG of the parameters any more; `detdistill pipeline --study {study}` writes it anew"


def text(study: str) -> str:
    """The content of the study's `dvc.yaml`. Raises UserError for parameters that make no DAG."""
    wdir = None if study == paths.DEFAULT_STUDY else "../.."
    plan = load_plan(study)
    entries = {stage.name: stage.entry(study, wdir) for stage in stages(plan)}
    content = {"stages": entries, "plots": [_learning(plan, pair, wdir) for pair in plan.pairs]}
    dumped = yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)
    # A blank line before each stage; DVC's own form of parameters that are whole files.
    dumped = re.sub(r"^(?:  |plots)(?=\S)", r"\n\g<0>", dumped, flags=re.MULTILINE).replace(": null\n", ":\n")
    return HEAD.format(study=study) + dumped.replace("stages:\n\n", "stages:\n")


def _learning(plan: Study, pair: Pair, wdir: str | None) -> dict[str, Any]:
    """What `dvc plots show` draws of a pair: how its plain and distilled students learn, over one another."""
    recipes = [run.recipe for run in [*plan.plain, *plan.distilled] if run.pair == pair.pair]
    files = [paths.run(plan.study, pair.pair, recipe, plan.seeds[0], "learning.json") for recipe in recipes]
    curves = {Path(wdir or "", file).as_posix(): "AP50" for file in files}
    title = f"{pair.pair}: AP50 on the validation split, seed {plan.seeds[0]}"
    return {f"learning-{pair.pair}": {"x": "step", "y": curves, "title": title}}


def pipeline_file(study: str) -> Path:
    """Where a study's `dvc.yaml` is: the default study's at the root, each further one beside its parameters."""
    return Path("dvc.yaml") if study == paths.DEFAULT_STUDY else paths.PARAMS / study / "dvc.yaml"
