"""What each step asks a cluster for: by the study's schedules, and by its `cluster.yaml` if it has one.

No result depends on it, so a change of `cluster.yaml` runs nothing again; SLURM and Kubernetes read it by Snakemake.
"""

from __future__ import annotations

import math
import os
from functools import cache, partial
from typing import Annotated

from pydantic import Field

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.params import Slice, Study, load_recipe, load_side, load_tuning, parse, read_yaml

PROCESSES = "DETDISTILL_PROCESSES"
SPREAD = ("teacher", "student", "distill")
"""The trainings that it is for."""
START_MINUTES = 30
"""For what a training does beside its steps: a job begins, reads the data, and looks at the validation split."""
Count = Annotated[int, Field(ge=0, le=1_000_000)]


class Needs(Slice):
    """Of a step; `mem_mb` and `gpu` for the whole job, `runtime` in minutes."""

    gpu: Count = 0
    mem_mb: Count = 2000
    runtime: Count = 240


class TrainingNeeds(Slice):
    """Of a training, whose time is that of its steps; `gpu` for each of its processes (`DETDISTILL_PROCESSES`)."""

    gpu: Count = 0
    mem_mb: Count = 2000
    minutes_per_1000_steps: Annotated[float, Field(gt=0, le=1_000_000)] = 60.0


class Cluster(Slice):
    """`cluster.yaml` of a study: trainings and tuning, evaluation and latency, the data, statistics and report."""

    training: TrainingNeeds = TrainingNeeds()
    evaluation: Needs = Needs()
    data: Needs = Needs()
    analysis: Needs = Needs()


def load_cluster(study: str) -> Cluster:
    """`params/STUDY/cluster.yaml`, or what a small study needs. Raises UserError for a fault in it."""
    path = paths.params(study, "cluster")
    return parse(Cluster, read_yaml(path), str(path)) if path.exists() else Cluster()


class StudyNeeds:
    """What the steps of a study ask for. Raises UserError for a fault in its `cluster.yaml`."""

    def __init__(self, study: Study):
        self._study = study
        self._cluster, self._tuning = load_cluster(study.study), load_tuning(study.study)
        # A plan has hundreds of steps with the same few slices.
        self._side, self._recipe = cache(partial(load_side, study.study)), cache(partial(load_recipe, study.study))

    def of(self, verb: str, pair: str = "", recipe: str = "") -> dict[str, int | None]:
        """The resources of one step, by the names that Snakemake's executors give them; None is not asked for.

        Args:
            pair, recipe: of a training; the recipe is `teacher` for a teacher.

        Raises:
            UserError: a fault in a slice, or a number of processes that is none.
        """
        if verb not in (*SPREAD, "tune"):
            others = {"evaluate": self._cluster.evaluation, "latency": self._cluster.evaluation}
            asked = (others | {"data": self._cluster.data}).get(verb, self._cluster.analysis)
            return {"gpu": asked.gpu or None, "cpus_per_task": None, "mem_mb": asked.mem_mb, "runtime": asked.runtime}
        side = self._side(pair, "teacher" if recipe == paths.TEACHER else "student").training
        count = processes(os.environ.get(PROCESSES, "1")) if verb in SPREAD else 1
        thousands = side.steps * self._schedules(verb, pair, recipe) / 1000
        return {
            "gpu": self._cluster.training.gpu * count or None,
            "cpus_per_task": (side.threads + side.workers) * count,
            "mem_mb": self._cluster.training.mem_mb,
            "runtime": START_MINUTES + math.ceil(thousands * self._cluster.training.minutes_per_1000_steps),
        }

    def _schedules(self, verb: str, pair: str, recipe: str) -> float:
        """How many times the steps of its side a training, or all trials of a tuning, have."""
        if recipe == paths.TEACHER:
            return 1.0
        factor: float = self._recipe(pair, recipe).schedule_factor
        if verb == "tune" and self._tuning:
            return factor * self._tuning.schedule_factor * (len(self._tuning.factors) + 1)
        return factor


def processes(named: str) -> int:
    """In how many processes to train a run, one a GPU. Raises UserError where it is no such number."""
    if not named.isdecimal() or int(named) == 0:
        raise UserError(f"{PROCESSES}: a number of processes is needed, found {named!r}")
    return int(named)
