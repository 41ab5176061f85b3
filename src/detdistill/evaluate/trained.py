"""A trained detector, from the files of its run."""

from __future__ import annotations

from typing import Literal

from detdistill.core import paths
from detdistill.core.params import load_side, load_study
from detdistill.dataset.manifest import Manifest
from detdistill.detectors import build
from detdistill.detectors.base import Detector
from detdistill.detectors.weights import load_weights


def trained(study: str, pair: str, recipe: str, seed: int, data: Manifest) -> Detector:
    """The detector of a run. Raises UserError for an unknown pair or recipe, and a missing or foreign checkpoint."""
    plan = load_study(study)
    if recipe != paths.TEACHER:
        plan.recipe(pair, recipe)
    side: Literal["teacher", "student"] = "teacher" if recipe == paths.TEACHER else "student"
    where = str(paths.params(study, pair, side))
    detector = build(plan.pair(pair).engine, load_side(study, pair, side).detector, len(data.classes), where)
    load_weights(detector, paths.run(study, pair, recipe, seed, "model.safetensors"))
    return detector
