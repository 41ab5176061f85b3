"""A study that can become a DAG: what its `study.yaml` must say before any driver makes a command or a path of it.

It reads `study.yaml` alone and imports no engine, because every start of a driver goes through it; `check` does more.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from detdistill.core import paths
from detdistill.core.errors import UserError, near
from detdistill.core.params import Pair, Study, load_study

Node = tuple[str, str]
"""A pair and one of its two sides, each a training that others may begin with."""


def load_plan(study: str) -> Study:
    """The study, its names plain and unique, its runs of pairs that exist, every beginning made by an earlier step.

    Raises:
        UserError: the first fault, with its field.
    """
    plan = load_study(study)
    where = str(paths.params(study, "study"))
    _check_names(plan, where)
    for run in [*plan.plain, *plan.distilled]:
        plan.pair(run.pair)
    for taught in plan.distilled:
        plan.pair(taught.teaching)
        sources = {each.recipe: each for each in plan.distilled if each.pair == taught.pair and not each.like}
        of = f"{where}: distilled: {taught.pair} {taught.recipe}"
        if taught.like and taught.like not in sources:
            raise UserError(f"{of}: like: no recipe {taught.like!r} of its own methods{near(taught.like, sources)}")
        if taught.like and taught.teaching != sources[taught.like].teaching:
            raise UserError(
                f"{of}: teacher: {taught.teaching!r}, where {taught.like!r}, which it is like, has "
                f"{sources[taught.like].teaching!r}; weights are tuned for one teacher"
            )
    for pair in plan.pairs:
        if pair.pair not in {run.pair for run in plan.plain}:
            raise UserError(f"{where}: plain: no recipe of pair {pair.pair!r}; its recipes need one to compare with")
    _check_beginnings(plan, where)
    return plan


def _check_names(plan: Study, where: str) -> None:
    """Raise UserError for what is listed twice, and for a recipe whose slice is that of a side."""
    runs = [f"{run.pair} {run.recipe}" for run in [*plan.plain, *plan.distilled]]
    for field, names in (("seeds", plan.seeds), ("pairs", [each.pair for each in plan.pairs]), ("recipes", runs)):
        if twice := [name for place, name in enumerate(names) if name in names[:place]]:
            raise UserError(f"{where}: {field}: {twice[0]!r} is listed twice")
    if taken := [run for run in runs if run.endswith((f" {paths.TEACHER}", f" {paths.STUDENT}"))]:
        raise UserError(f"{where}: recipes: {taken[0]!r}: the name is that of a pair's own slice; choose another")


def _check_beginnings(plan: Study, where: str) -> None:
    """Raise UserError when a training would begin with a file that no step makes, or waits for itself."""
    models = _models(plan)
    waits: dict[Node, set[Node]] = {}
    for pair in plan.pairs:
        for side, begin in ((paths.TEACHER, pair.teacher_from), (paths.STUDENT, pair.student_from)):
            allowed = {file: node for file, node in models.items() if node is None or node[0] != pair.pair}
            if begin not in allowed:
                raise UserError(
                    f"{where}: pairs: {pair.pair}: {side}_from: cannot begin with {begin!r}{near(begin, allowed)}"
                )
            waits[pair.pair, side] = {node} if (node := allowed[begin]) else set()
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        circle = " <- ".join(f"{side} of {pair}" for pair, side in error.args[1])
        raise UserError(f"{where}: pairs: teacher_from, student_from: each waits for the other: {circle}") from None


def _models(plan: Study) -> dict[str, Node | None]:
    """What training may begin with: file -> whose weights they are, or None for the data alone."""
    models: dict[str, Node | None] = {str(paths.data(plan.study, "manifest.json")): None}
    for pair in plan.pairs:
        models[str(paths.teacher(plan.study, pair.pair))] = pair.pair, paths.TEACHER
        for recipe, seed in _plain_runs(plan, pair):
            file = paths.run(plan.study, pair.pair, recipe, seed, "model.safetensors")
            models[str(file)] = pair.pair, paths.STUDENT
    return models


def _plain_runs(plan: Study, pair: Pair) -> list[tuple[str, int]]:
    return [(run.recipe, seed) for run in plan.plain if run.pair == pair.pair for seed in plan.seeds]
