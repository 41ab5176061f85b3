"""Everything that can be wrong in a study's parameters, found before any work."""

from __future__ import annotations

from detdistill import detectors, distill
from detdistill.core import paths
from detdistill.core.errors import UserError, near
from detdistill.core.params import DistilledRun, Study, load_recipe, load_side, load_study
from detdistill.detectors.base import Detector

CLASSES = 2  # any number will do: no slice says how many classes the data have


def check(study: str) -> None:
    """Read every slice and build every detector and method of the study, untrained.

    Raises:
        UserError: the first fault, with its file and field.
    """
    loaded = load_study(study)
    built: dict[tuple[str, str], Detector] = {}
    for pair in loaded.pairs:
        for side in ("teacher", "student"):
            where = str(paths.params(study, pair.pair, side))
            detector = load_side(study, pair.pair, side).detector
            built[pair.pair, side] = detectors.build(pair.engine, detector, CLASSES, where)
        load_recipe(study, pair.pair, paths.START)
        for key, begin in (("teacher_from", pair.teacher_from), ("student_from", pair.student_from)):
            _check_begin(loaded, f"{paths.params(study, 'study')}: pairs: {pair.pair}: {key}", pair.pair, begin)
    for run in [*loaded.plain, *loaded.taught]:
        pair = loaded.pair(run.pair)
        if run.engine != pair.engine:
            file = paths.params(study, "study")
            raise UserError(f"{file}: {run.pair} {run.recipe}: engine: {run.engine!r}, its pair has {pair.engine!r}")
        recipe = load_recipe(study, run.pair, run.recipe)
        where = str(paths.params(study, run.pair, run.recipe))
        if isinstance(run, DistilledRun):
            teacher = loaded.pair(run.teaching.pair)
            if run.teaching.engine != teacher.engine:
                file = paths.params(study, "study")
                raise UserError(
                    f"{file}: {run.pair} {run.recipe}: teacher_engine: {run.teaching.engine!r}, {teacher.pair} has "
                    f"{teacher.engine!r}"
                )
            distill.build(recipe, run, built[run.pair, "student"], built[teacher.pair, "teacher"], where)
        elif recipe.methods:
            raise UserError(f"{where}: methods: a recipe that study.yaml lists under `plain` has none")


def _check_begin(study: Study, where: str, pair: str, begin: str) -> None:
    """Raise UserError when a teacher or start would begin with a file that no step before it makes."""
    others = [each.pair for each in study.pairs if each.pair != pair]
    allowed = [paths.data(study.study, "manifest.json")]
    allowed += [path(study.study, other) for other in others for path in (paths.teacher, paths.start)]
    if begin not in map(str, allowed):
        raise UserError(f"{where}: cannot begin with {begin!r}{near(begin, allowed)}")
