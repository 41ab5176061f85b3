"""What a training set says about the detectors that fit it: image size, anchors and length of training."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np

from detdistill.core.errors import UserError
from detdistill.dataset.prepared import Annotations

LEVELS = 3
ANCHORS = 2
"""Sizes of a level."""
SMALLEST = 16
"""Pixels, four times the finest stride: the side that nine boxes in ten should have at least."""
SIZES = range(96, 641, 32)
BATCH = 8
MOST_ANSWERS = 10.0
"""GiB of the disk that asking a teacher once may take."""


@dataclass(frozen=True)
class Statistics:
    """Of the training split. `anchors` and `smallest` in pixels of the resized images, finest level first."""

    images: int
    classes: int
    size: int
    smallest: float
    anchors: list[list[float]]
    aspect: float
    crowded: int
    """Boxes of an image that only one in twenty exceeds."""
    teacher_steps: int
    student_steps: int
    answers_gib: float | None
    """What a teacher's maps of all training images take, or None where they are of several sizes or take too much."""

    @classmethod
    def of(cls, train: Annotations, classes: int, size: int | None = None) -> Statistics:
        """Of the annotated training images, as large as they are. Raises UserError when none has a box."""
        content = json.loads(train.content())
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        if not content["annotations"]:
            raise UserError("no box in the training images; nothing can be learnt from them")
        boxes = np.array([each["bbox"][2:] for each in content["annotations"]])
        owners = [each["image_id"] for each in content["annotations"]]
        sides = np.sqrt(boxes.prod(1)) / np.array([max(sizes[owner]) for owner in owners])
        counts = list((dict.fromkeys(sizes, 0) | Counter(owners)).values())
        chosen = size or _size_for(float(np.quantile(sides, 0.1)), max(map(max, sizes.values())))
        # Even steps of size, not even shares of boxes: else a frequent class would have all anchors to itself.
        low, high = (float(np.quantile(sides, share)) * chosen for share in (0.02, 0.98))
        anchors = np.geomspace(low, high, LEVELS * ANCHORS).reshape(LEVELS, ANCHORS)
        passes = len(sizes) / BATCH
        return cls(
            images=len(sizes),
            classes=classes,
            size=chosen,
            smallest=round(float(np.quantile(sides, 0.1)) * chosen, 1),
            anchors=[[round(float(anchor), 1) for anchor in level] for level in anchors],
            aspect=round(float(np.median(boxes[:, 1] / boxes[:, 0])), 2),
            crowded=int(np.ceil(np.quantile(counts, 0.95))),
            teacher_steps=_steps(passes, 12, 1200),
            student_steps=_steps(passes, 4, 200),
            answers_gib=_answers_gib(len(sizes), chosen) if len(set(sizes.values())) == 1 else None,
        )


def _size_for(share: float, native: int) -> int:
    """The least size at which a box of this share of the longest side has `SMALLEST` pixels, at most the native one."""
    fitting = [size for size in SIZES if size * share >= SMALLEST]
    return min(fitting[0] if fitting else SIZES[-1], max(native, SIZES[0]))


def _answers_gib(images: int, size: int) -> float | None:
    """Of the teacher's three pyramid levels, strides 4 to 16, in 64 channels of 4 bytes."""
    gib = images * 64 * 4 * sum((size / stride) ** 2 for stride in (4, 8, 16)) / 2**30
    return gib if gib <= MOST_ANSWERS else None


def _steps(passes: float, epochs: int, least: int) -> int:
    """So many passes over the training images, but at least `least` steps: small sets are seen more often."""
    return max(least, 100 * round(passes * epochs / 100))
