"""A trained detector, from the files of its run."""

from __future__ import annotations

from detdistill.core import paths
from detdistill.core.params import Side, load_side, load_study
from detdistill.dataset.manifest import Manifest
from detdistill.detectors import build
from detdistill.detectors.base import Detector
from detdistill.detectors.weights import load_weights


def trained(study: str, pair: str, recipe: str, seed: int, data: Manifest) -> tuple[Detector, Side]:
    """The detector of a run, and its slice.

    Raises UserError for an unknown pair or recipe, and a missing, damaged or foreign checkpoint.
    """
    plan = load_study(study)
    if recipe != paths.TEACHER:
        plan.recipe(pair, recipe)
    side = load_side(study, pair, "teacher" if recipe == paths.TEACHER else "student")
    detector = build(plan.pair(pair).engine, side.detector, len(data.classes), str(paths.side(study, pair, recipe)))
    load_weights(detector, paths.run(study, pair, recipe, seed, "model.safetensors"))
    return detector, side
