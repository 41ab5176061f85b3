"""Average precision of PASCAL VOC at an intersection over union of 0.5.

Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010, section 4.2, with the rules of the
development kit's VOCevaldet: detections in order of falling score each take the truth they overlap most; the first to
reach 0.5 is a hit, a later one on the same truth is a false alarm, and one on a difficult truth counts neither way.
VOC 2007 interpolates at 11 recalls, later years use the area under the monotone curve. Boxes are continuous here, so
no pixel is added to a side. Crowd boxes are treated as difficult ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detdistill.dataset.manifest import Split
from detdistill.detectors.base import Detections

IOU = 0.5


@dataclass(frozen=True)
class Truths:
    """The objects of one class in one image: `boxes` (n, 4) xyxy, `difficult` (n,) bool."""

    boxes: np.ndarray
    difficult: np.ndarray


@dataclass(frozen=True)
class Found:
    """The detections of one class in one image: `boxes` (n, 4) xyxy, `scores` (n,)."""

    boxes: np.ndarray
    scores: np.ndarray


def voc_metrics(split: Split, predictions: Sequence[Detections]) -> tuple[dict[str, float | None], dict[str, str]]:
    """Mean over the classes that occur of `AP50_area` and `AP50_11point`, fractions.

    Returns:
        The figures, and the reason for each one that does not exist and is None.
    """
    truth = [
        (record.boxes.double().numpy(), record.labels.numpy(), (record.difficult | record.iscrowd).numpy())
        for record in split.records
    ]
    detected = [
        (found["boxes"].double().numpy(), found["labels"].numpy(), found["scores"].double().numpy())
        for found in predictions
    ]
    area, eleven_points = [], []
    for label in range(len(split.classes)):
        truths = [Truths(boxes[of == label], ignored[of == label]) for boxes, of, ignored in truth]
        found = [Found(boxes[of == label], scores[of == label]) for boxes, of, scores in detected]
        hits, positives = match(truths, found)
        if positives:
            area.append(area_ap(hits, positives))
            eleven_points.append(eleven_point_ap(hits, positives))
    if not area:
        reason = "no object that is not difficult in the split"
        return {"AP50_area": None, "AP50_11point": None}, {"AP50_area": reason, "AP50_11point": reason}
    return {"AP50_area": float(np.mean(area)), "AP50_11point": float(np.mean(eleven_points))}, {}


def match(truths: Sequence[Truths], found: Sequence[Found]) -> tuple[np.ndarray, int]:
    """Hits (True) and false alarms (False) in order of falling score, and the number of objects to find.

    Both sequences hold one entry an image, of one class. Equal scores keep the order of the images.
    """
    positives = sum(int((~each.difficult).sum()) for each in truths)
    candidates = [(image, row) for image, each in enumerate(found) for row in range(len(each.scores))]
    scores = [found[image].scores[row] for image, row in candidates]
    taken = [np.zeros(len(each.boxes), bool) for each in truths]
    overlaps = [_iou(mine.boxes, theirs.boxes) for mine, theirs in zip(found, truths, strict=True)]
    hits = []
    for position in np.argsort(-np.array(scores), kind="stable"):
        image, row = candidates[position]
        with_each = overlaps[image][row]
        best = int(with_each.argmax()) if len(with_each) else -1
        if best < 0 or with_each[best] < IOU:
            hits.append(False)
        elif not truths[image].difficult[best]:
            hits.append(not taken[image][best])
            taken[image][best] = True
    return np.array(hits, bool), positives


def area_ap(hits: np.ndarray, positives: int) -> float:
    """Area under precision over recall, precision made to fall monotonically (VOC 2010 and later)."""
    precision, recall = _curve(hits, positives)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(recall, prepend=0.0)
    return float((envelope * steps).sum())


def eleven_point_ap(hits: np.ndarray, positives: int) -> float:
    """Mean of the best precision at a recall of at least 0, 0.1, ... 1 (VOC 2007)."""
    precision, recall = _curve(hits, positives)
    # Tenths are compared as whole numbers: a recall of 3/10 must reach the third point whatever its rounding.
    found = np.rint(recall * positives).astype(int)
    return float(np.mean([precision[10 * found >= tenth * positives].max(initial=0.0) for tenth in range(11)]))


def _curve(hits: np.ndarray, positives: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall (n,) after each detection."""
    found = np.cumsum(hits)
    return found / np.arange(1, len(hits) + 1), found / positives


def _iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m) of (n, 4) xyxy boxes with (m, 4) others."""
    mine, theirs = boxes[:, None], others[None]
    sides = np.minimum(mine[..., 2:], theirs[..., 2:]) - np.maximum(mine[..., :2], theirs[..., :2])
    shared = sides.clip(min=0).prod(axis=2)
    union = _area(mine) + _area(theirs) - shared
    return shared / np.maximum(union, np.finfo(float).tiny)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)
