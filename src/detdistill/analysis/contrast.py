"""Images where a distilled student and the plain one differ most: what pictures may be shown, by rule."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detdistill.analysis.matching import NOTHING, Scene, above, match, take
from detdistill.analysis.precision import best_threshold
from detdistill.analysis.results import read_scenes
from detdistill.dataset.records import Record


def at_best_threshold(predictions: Path, split: str, records: Sequence[Record], classes: int) -> list[Scene]:
    """What a run detects at the score of its highest F1 on that split. Raises UserError for a damaged file."""
    scenes = read_scenes(predictions, split, records)
    threshold = best_threshold(match(scenes, classes))
    return [above(scene, threshold) for scene in scenes]


def found(scene: Scene) -> set[int]:
    """The objects of an image, crowds apart, that are detected."""
    return set(take(scene, scene.crowd).tolist()) - {NOTHING} - set(np.flatnonzero(scene.crowd).tolist())


def most_changed(plain: Sequence[Scene], distilled: Sequence[Scene], images: int) -> list[int]:
    """So many images: those where distillation finds most of what plain training missed, and every other the reverse.

    Ties by the order of the split.
    """
    change = [len(found(after)) - len(found(before)) for before, after in zip(plain, distilled, strict=True)]
    ranked = sorted(range(len(change)), key=lambda index: -change[index])
    chosen: list[int] = []
    for turn in range(min(images, len(ranked))):
        waiting = [index for index in ranked if index not in chosen]
        chosen.append(waiting[0] if turn % 2 == 0 else min(waiting, key=lambda index: (change[index], index)))
    return chosen
