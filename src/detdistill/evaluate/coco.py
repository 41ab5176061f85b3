"""COCO average precision, by pycocotools.

Sizes are COCO's, by the annotated area in pixels, which is the mask's in COCO's own files and else the box's: small
below 32 x 32, large from 96 x 96. Crowd boxes are ignored by COCO's rule; `difficult`, which COCO does not know, counts
as any other object. Figures are fractions.
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detdistill.dataset.manifest import Split
from detdistill.detectors.base import Detections

_AREAS = {"AP": 0, "AP_small": 1, "AP_medium": 2, "AP_large": 3}  # positions in COCOeval's area ranges
_IOU50, _IOU75 = 0, 5  # positions among its thresholds .50, .55, ... .95
_MOST = 2  # position of 100 among its numbers of detections an image


def coco_metrics(split: Split, predictions: Sequence[Detections]) -> tuple[dict[str, Any], dict[str, str]]:
    """AP, AP50, AP75, AP by size, AR100 and per-class AP and AP50 of one prediction an image, in the split's order.

    Returns:
        The figures, and the reason for each one that does not exist and is None, by its dotted name.
    """
    precision, recall = _accumulate(split, predictions)
    figures: dict[str, Any] = {name: _mean(precision[:, :, :, area]) for name, area in _AREAS.items()}
    figures["AP50"] = _mean(precision[_IOU50, :, :, 0])
    figures["AP75"] = _mean(precision[_IOU75, :, :, 0])
    figures["AR100"] = _mean(recall[:, :, 0])
    figures["per_class"] = {
        name: {"AP": _mean(precision[:, :, label, 0]), "AP50": _mean(precision[_IOU50, :, label, 0])}
        for label, name in enumerate(split.classes)
    }
    absent = {
        name: "no object of that size in the split" if "_" in name else "no object in the split"
        for name, value in figures.items()
        if value is None
    }
    for name, pair in figures["per_class"].items():
        absent |= {
            f"per_class.{name}.{figure}": "no object of that class in the split"
            for figure, value in pair.items()
            if value is None
        }
    return figures, absent


def average_precision(split: Split, predictions: Sequence[Detections]) -> dict[str, float | None]:
    """`AP` and `AP50` alone, for a learning curve; None when the split has no object."""
    precision, _ = _accumulate(split, predictions, areas=1)
    return {"AP": _mean(precision[:, :, :, 0]), "AP50": _mean(precision[_IOU50, :, :, 0])}


def _accumulate(
    split: Split, predictions: Sequence[Detections], areas: int = len(_AREAS)
) -> tuple[np.ndarray, np.ndarray]:
    """Precision (thresholds, recalls, classes, areas) and recall (thresholds, classes, areas); -1 where undefined.

    Only the first `areas` of COCOeval's ranges, the first of which is all sizes: each costs about as much.
    """
    with redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_truth(split), _detections(split, predictions), "bbox")
        evaluation.params.areaRng = evaluation.params.areaRng[:areas]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][..., _MOST], evaluation.eval["recall"][..., _MOST]


def _truth(split: Split) -> COCO:
    annotations = []
    for record in split.records:
        columns = (record.boxes, record.labels, record.areas, record.iscrowd)
        for box, label, area, crowd in zip(*(column.tolist() for column in columns), strict=True):
            annotations.append(_annotation(record.image_id, box, label) | {"area": area, "iscrowd": int(crowd)})
    return _indexed(split, annotations)


def _detections(split: Split, predictions: Sequence[Detections]) -> COCO:
    annotations = []
    for record, found in zip(split.records, predictions, strict=True):
        for box, score, label in zip(*(found[key].tolist() for key in ("boxes", "scores", "labels")), strict=True):
            annotations.append(_annotation(record.image_id, box, label) | {"score": score})
    return _indexed(split, annotations)


def _annotation(image_id: int, box: list[float], label: int) -> dict[str, Any]:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return {
        "image_id": image_id,
        "category_id": label + 1,
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
    }


def _indexed(split: Split, annotations: list[dict[str, Any]]) -> COCO:
    """A COCO object made in memory; unlike `COCO.loadRes`, it takes an empty list."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": record.image_id} for record in split.records],
        "annotations": [annotation | {"id": number} for number, annotation in enumerate(annotations, start=1)],
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(split.classes)],
    }
    coco.createIndex()
    return coco


def _mean(values: np.ndarray) -> float | None:
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None
