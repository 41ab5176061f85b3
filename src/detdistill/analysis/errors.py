"""Error types of Bolya et al., TIDE, ECCV 2020, arXiv 2008.08115: the AP50 that each kind of mistake costs.

A wrong detection is of the first kind that fits: *localisation* (right class, overlap 0.1 to 0.5), *classification*
(wrong class, overlap of 0.5), *duplicate* (of an object that a better scored one took), *background* (overlap of at
most 0.1 with anything), *both* (what is left). An object that nothing found, and that no mistake of the first two kinds
could have found, is *missed*. The cost of a kind is the AP50 that would be gained were it alone corrected: the best
scored mistake of the first two kinds becomes right about its object, all others vanish, and missed objects are not
counted. Corrections of different kinds overlap, so the costs do not add up. Detections of crowds are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detdistill.analysis.matching import IOU, NOTHING, Scene, take
from detdistill.analysis.precision import curve_area, mean

BACKGROUND_IOU = 0.1
KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
_RIGHT = len(KINDS)
_KIND = {kind: place for place, kind in enumerate(KINDS)}


@dataclass(frozen=True)
class Judged:
    """The detections that count, by columns (n,): `kind` is a place in `KINDS` or that of a right one; `mends` is the
    class that a mistake would be right in, or `NOTHING`. `missed` are the classes of the missed objects.
    """

    score: np.ndarray
    label: np.ndarray
    kind: np.ndarray
    mends: np.ndarray
    missed: np.ndarray


def costs(images: Sequence[Scene], classes: int) -> dict[str, float] | None:
    """AP50 lost to each of `KINDS`, fractions; None for a split without objects."""
    judged = _by_score([_judge(scene) for scene in images])
    objects = np.zeros(classes, int)
    for scene in images:
        np.add.at(objects, scene.classes[~scene.crowd], 1)
    before = _precision(judged, objects, None)
    if before is None:
        return None
    after = {kind: _precision(judged, objects, _KIND[kind]) for kind in KINDS[:-1]}
    after["missed"] = _precision(judged, objects - np.bincount(judged.missed, minlength=classes), None)
    # Below zero only by the steps of the interpolation.
    return {kind: max((value or 0.0) - before, 0.0) for kind, value in after.items()}


def _by_score(images: Sequence[Judged]) -> Judged:
    """All images as one."""
    columns = {name: np.concatenate([getattr(each, name) for each in images]) for name in Judged.__dataclass_fields__}
    missed, order = columns.pop("missed"), np.argsort(-columns["score"], kind="stable")
    return Judged(**{name: column[order] for name, column in columns.items()}, missed=missed)


def _precision(judged: Judged, objects: np.ndarray, corrected: int | None) -> float | None:
    """AP50 with the mistakes of one kind corrected."""
    mended = judged.kind == corrected
    kept = ~mended | (judged.mends != NOTHING)
    label = np.where(mended, judged.mends, judged.label)[kept]
    hits = (mended | (judged.kind == _RIGHT))[kept]
    return mean([curve_area(hits[label == own], int(count)) for own, count in enumerate(objects)])


def _judge(scene: Scene) -> Judged:
    """The detections of an image that count, and the objects it missed."""
    taken = take(scene, scene.crowd)
    used = np.isin(np.arange(len(scene.classes)), taken)
    kind, about = _kinds(scene, used)
    kind[taken != NOTHING] = _RIGHT
    mends, usable = np.full(len(kind), NOTHING), np.zeros(len(used), bool)
    for row in np.flatnonzero((about != NOTHING) & (taken == NOTHING)):
        wanted = about[row]
        # By falling score, so the first that could be right about an object is the one that is mended.
        if not used[wanted] and not usable[wanted]:
            usable[wanted] = True
            mends[row] = scene.classes[wanted]
    counts = taken == NOTHING
    counts[~counts] = ~scene.crowd[taken[~counts]]
    missed = scene.classes[~(used | usable | scene.crowd)]
    return Judged(scene.scores[counts], scene.labels[counts], kind[counts], mends[counts], missed)


def _kinds(scene: Scene, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kind of each detection, were it a mistake, and the object that it is about: (D,) both."""
    if not len(scene.classes):
        rows = len(scene.scores)
        return np.full(rows, _KIND["background"]), np.full(rows, NOTHING)
    overlap = np.where(scene.crowd, 0.0, scene.overlap)
    same = scene.labels[:, None] == scene.classes[None]
    own, other = overlap * same, overlap * ~same
    nearest = own.max(axis=1)
    tests = {
        "localisation": (nearest >= BACKGROUND_IOU) & (nearest <= IOU),
        "classification": other.max(axis=1) >= IOU,
        "duplicate": (own * used).max(axis=1) >= IOU,
        "background": overlap.max(axis=1) <= BACKGROUND_IOU,
    }
    kind = np.select(list(tests.values()), [_KIND[name] for name in tests], _KIND["both"])
    about = [kind == _KIND[name] for name in ("localisation", "classification")]
    return kind, np.select(about, [own.argmax(axis=1), other.argmax(axis=1)], NOTHING)
