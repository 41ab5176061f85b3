"""Everything that can be wrong in a study's parameters, found before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from detdistill import data, detectors, distill, memory
from detdistill.core import paths
from detdistill.core.errors import UserError, near
from detdistill.core.params import (
    DistilledRun,
    PlainRun,
    Recipe,
    Side,
    Study,
    Tuning,
    load_recipe,
    load_side,
    load_tuning,
)
from detdistill.detectors.base import Detector
from detdistill.distill.answers import check_constant
from detdistill.needs import load_cluster
from detdistill.pipeline import outdated, pipeline_file
from detdistill.plan import load_plan

SIDES: tuple[Literal["teacher", "student"], ...] = ("teacher", "student")
CLASSES = 2  # any number will do: no slice says how many classes the data have


def check(study: str) -> list[str]:
    """Read every slice and build every detector and method of the study, untrained.

    Returns:
        What is no fault and yet not as it seems, a sentence each.

    Raises:
        UserError: the first fault, with its file and field.
    """
    plan = load_plan(study)
    plan_file = paths.params(study, "study")
    load_cluster(study)
    tuning = load_tuning(study)
    if tuning and tuning.seed in plan.seeds:
        raise UserError(f"{paths.params(study, 'tuning')}: seed: {tuning.seed} is held out, study.yaml has it in seeds")
    for pair in plan.pairs:
        if pair.engine not in detectors.engines():
            known = near(pair.engine, detectors.engines())
            raise UserError(f"{plan_file}: pairs: {pair.pair}: no engine {pair.engine!r}{known}")
    data.read(study)
    sides: dict[tuple[str, str], Side] = {}
    built: dict[tuple[str, str], Detector] = {}
    for pair in plan.pairs:
        for side in SIDES:
            sides[pair.pair, side] = load_side(study, pair.pair, side)
            where = str(paths.params(study, pair.pair, side))
            with memory.bounded(f"{where}: detector"):
                built[pair.pair, side] = detectors.build(pair.engine, sides[pair.pair, side].detector, CLASSES, where)
    for run in [*plan.plain, *plan.distilled]:
        _check_steps(study, run, sides[run.pair, paths.STUDENT], tuning)
    schedules, longer = _check_plain(plan), set[tuple[str, str, float]]()
    for run in plan.distilled:
        recipe = load_recipe(study, run.pair, run.recipe)
        where = str(paths.params(study, run.pair, run.recipe))
        if recipe.schedule_factor not in schedules[run.pair]:
            raise UserError(
                f"{where}: schedule_factor: {recipe.schedule_factor:g} has no plain student of {run.pair} to be "
                "compared with; list one under `plain` in study.yaml"
            )
        if run.like:
            _check_like(run, recipe, load_recipe(study, run.pair, run.like), where)
            if (run.pair, run.like, recipe.schedule_factor) in longer:
                raise UserError(f"{where}: schedule_factor: another recipe like {run.like!r} has it, too")
            longer.add((run.pair, run.like, recipe.schedule_factor))
        methods = load_recipe(study, run.pair, run.source).methods
        student, teacher = built[run.pair, paths.STUDENT], built[run.teaching, paths.TEACHER]
        distill.build(methods, {}, student, teacher, str(paths.params(study, run.pair, run.source)))
        if sides[run.pair, paths.STUDENT].training.ask_teacher == "once":
            check_constant(student, str(paths.side(study, run.pair, run.recipe)))
    return _notes(plan)


def _check_like(run: DistilledRun, recipe: Recipe, first: Recipe, where: str) -> None:
    """Raise UserError for methods of its own, and for a schedule that is not longer than that of the one it is like."""
    if recipe.methods:
        raise UserError(f"{where}: methods: those of {run.like!r} are taken, as study.yaml says; leave them out")
    if recipe.schedule_factor <= first.schedule_factor:
        raise UserError(
            f"{where}: schedule_factor: {recipe.schedule_factor:g}, and {run.like!r}, which it is like, has "
            f"{first.schedule_factor:g}; a longer one is needed"
        )


def _check_plain(plan: Study) -> dict[str, set[float]]:
    """Pair -> the schedules of its plain students. Raises UserError for methods, and for a schedule listed twice."""
    schedules: dict[str, set[float]] = {pair.pair: set() for pair in plan.pairs}
    for run in plan.plain:
        where = paths.params(plan.study, run.pair, run.recipe)
        recipe = load_recipe(plan.study, run.pair, run.recipe)
        if recipe.methods:
            raise UserError(f"{where}: methods: a recipe that study.yaml lists under `plain` has none")
        if recipe.schedule_factor in schedules[run.pair]:
            raise UserError(f"{where}: schedule_factor: another plain recipe has {recipe.schedule_factor:g} too")
        schedules[run.pair].add(recipe.schedule_factor)
    return schedules


def _check_steps(study: str, run: PlainRun, side: Side, tuning: Tuning | None) -> None:
    """Raise UserError where factors leave not one step to train."""
    factor = load_recipe(study, run.pair, run.recipe).schedule_factor
    if tuning and isinstance(run, DistilledRun) and not run.like:
        factor *= tuning.schedule_factor
    if round(side.training.steps * factor) < 1:
        where = paths.params(study, run.pair, run.recipe)
        raise UserError(f"{where}: schedule_factor: {factor:g} of {side.training.steps} steps is not one step")


def _notes(plan: Study) -> list[str]:
    """Slices that no run reads, and a `dvc.yaml` of another plan."""
    read = {paths.params(plan.study, name) for name in ("study", "data", "tuning", "cluster")}
    for pair in plan.pairs:
        recipes = [run.recipe for run in [*plan.plain, *plan.distilled] if run.pair == pair.pair]
        read |= {paths.params(plan.study, pair.pair, name) for name in (paths.TEACHER, paths.STUDENT, *recipes)}
    own = Path(paths.PARAMS, plan.study).rglob("*.yaml")
    unread = [file for file in sorted(own) if file not in read and file != pipeline_file(plan.study)]
    notes = [f"{file}: study.yaml lists no such recipe, so nothing reads it" for file in unread]
    return notes + [note for note in [outdated(plan.study)] if note]
