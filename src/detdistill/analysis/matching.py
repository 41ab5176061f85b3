"""Detections against objects at an overlap of one half, by COCO's rules, as flat columns of a whole split.

An image's detections take, by falling score, the free object of their class that they overlap most; one that finds
only an ignored object (a crowd, or one outside the sizes that are asked for) counts neither way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pycocotools import mask

from detdistill.dataset.records import Record
from detdistill.detectors.base import Detections

IOU = 0.5
MOST = 100
"""Detections of one class in one image that COCO looks at."""
NOTHING = -1
ALL_SIZES = (0.0, float("inf"))


@dataclass(frozen=True)
class Scene:
    """One image: D detections by falling score beside G objects.

    `boxes` (D, 4) xyxy, `scores` (D,), `labels` (D,); `classes`, `areas` and `crowd` (G,); `overlap` (D, G) is the
    intersection over union, with a crowd over the detection.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    overlap: np.ndarray


@dataclass(frozen=True)
class Matches:
    """All detections that count, over the split by falling score.

    `image`, `label`, `score` (n,); `taken` (n,) is the object each one is right about, counted over the split, or
    `NOTHING`; `objects` (images, classes) is how many there were to find.
    """

    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    taken: np.ndarray
    objects: np.ndarray


def scenes(records: Sequence[Record], predictions: Sequence[Detections]) -> list[Scene]:
    """Every image of a split with what a run detects there, in the split's order."""
    return [_scene(record, found) for record, found in zip(records, predictions, strict=True)]


def match(images: Sequence[Scene], classes: int, sizes: tuple[float, float] = ALL_SIZES) -> Matches:
    """Match a whole split; `sizes` are the least and the largest area, in square pixels, of the objects that count."""
    low, high = sizes
    columns, objects, before = [], np.zeros((len(images), classes), int), 0
    for number, scene in enumerate(images):
        ignored = scene.crowd | (scene.areas < low) | (scene.areas > high)
        taken = take(scene, ignored)
        sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
        area = sides.prod(axis=1)
        counts = np.where(taken == NOTHING, (area >= low) & (area <= high), True)
        counts[taken != NOTHING] = ~ignored[taken[taken != NOTHING]]
        rows = np.where(taken == NOTHING, NOTHING, taken + before)
        image = np.full(len(taken), number)
        columns.append([column[counts] for column in (image, scene.labels, scene.scores, rows)])
        np.add.at(objects[number], scene.classes[~ignored], 1)
        before += len(scene.classes)
    image, label, score, taken = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.argsort(-score, kind="stable")
    return Matches(image[order], label[order], score[order], taken[order], objects)


def above(scene: Scene, threshold: float) -> Scene:
    """The same image with the detections of at least that score."""
    kept = scene.scores >= threshold
    columns = {name: getattr(scene, name)[kept] for name in ("boxes", "scores", "labels", "overlap")}
    return replace(scene, **columns)


def take(scene: Scene, ignored: np.ndarray) -> np.ndarray:
    """The object that each detection takes, (D,), or `NOTHING`; objects that are not `ignored` (G,) come first."""
    taken = np.full(len(scene.scores), NOTHING)
    candidates = (scene.overlap >= IOU) & (scene.labels[:, None] == scene.classes[None])
    gone: set[int] = set()
    wishes: dict[int, list[int]] = {}
    for row, column in np.argwhere(candidates).tolist():
        wishes.setdefault(row, []).append(column)
    for row, wanted in wishes.items():
        free = [(not ignored[each], scene.overlap[row, each], each) for each in wanted if each not in gone]
        if free:
            taken[row] = best = max(free)[-1]
            if not scene.crowd[best]:
                gone.add(best)
    return taken


def _scene(record: Record, found: Detections) -> Scene:
    order = np.argsort(-found["scores"].numpy(), kind="stable")
    boxes, scores, labels = (found[name].numpy()[order] for name in ("boxes", "scores", "labels"))
    if len(order) > MOST:
        rank = np.tril(labels[:, None] == labels[None], -1).sum(axis=1)
        boxes, scores, labels = (column[rank < MOST] for column in (boxes, scores, labels))
    boxes, objects = boxes.astype(float), record.boxes.numpy().astype(float)
    crowd = record.iscrowd.numpy()
    overlap = np.zeros((len(boxes), len(objects)))
    if overlap.size:
        overlap = mask.iou(_sides(boxes), _sides(objects), crowd.astype(np.uint8))
    return Scene(boxes, scores, labels, record.labels.numpy(), record.areas.numpy(), crowd, overlap)


def _sides(boxes: np.ndarray) -> np.ndarray:
    """xyxy as x, y, width, height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
