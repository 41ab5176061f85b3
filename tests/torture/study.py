"""A study small enough to be made a hundred times: of `smoke`, one pair, with a run of every kind of step."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import yaml

from detdistill import pipeline, project, stages
from detdistill.core.files import sha256
from detdistill.core.params import load_study

from . import forked

STUDY = "smoke"
PIPELINE = f"params/{STUDY}/dvc.yaml"
UNREPEATABLE = {"timing.json", "evaluation.json", "latency.json", "cost.json"}
"""They hold what a step cost."""


def lay(folder: Path) -> Path:
    """A project with the parameters of the small study, nothing made yet."""
    folder.mkdir(parents=True)
    project.init(folder)
    file = folder / f"params/{STUDY}/study.yaml"
    plan = yaml.safe_load(file.read_text())
    plan["seeds"] = [0]
    plan["pairs"] = plan["pairs"][:1]
    for kind in ("plain", "distilled"):
        plan[kind] = [run for run in plan[kind] if run["recipe"] in ("plain", "pkd")]
    plan["plain"] = [run for run in plan["plain"] if run["pair"] == plan["pairs"][0]["pair"]]
    file.write_text(yaml.safe_dump(plan))
    with contextlib.chdir(folder):
        pipeline.write(STUDY)
    return folder


def commands(folder: Path) -> list[list[str]]:
    """Every step's command, in the order of the work."""
    with contextlib.chdir(folder):
        listed = [stage.command for stage in stages.stages(load_study(STUDY))]
    order = ["data", "teacher", "student", "tune", "distill", "evaluate", "latency", "summarize", "report"]
    words = sorted((command.split() for command in listed), key=lambda each: order.index(each[0]))
    return [[*each, "--study", STUDY] for each in words]


def make(folder: Path) -> Path:
    """Lay the study and run all of its steps, undisturbed."""
    lay(folder)
    for command in commands(folder):
        done = forked.run(folder, *command)
        assert done.code == 0, f"{' '.join(command)}: {done.said}"
    return folder


def copy(finished: Path, folder: Path) -> Path:
    """A finished study again, time stamps and all."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(finished, folder, symlinks=True)
    return folder


def repeatable(folder: Path) -> dict[str, str]:
    """SHA-256 of everything that the project promises to repeat byte for byte."""
    found = [file for top in ("data", "runs", "reports") for file in (folder / top).rglob("*") if file.is_file()]
    left_out = (*UNREPEATABLE, ".snakemake_timestamp")
    kept = [file for file in found if file.name not in left_out and file.suffix not in (".pdf", ".html", ".svg")]
    return {file.relative_to(folder).as_posix(): sha256(file) for file in sorted(kept)}
