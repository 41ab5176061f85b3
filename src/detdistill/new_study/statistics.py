"""What a training set says about the detectors that fit it: image size, anchors and length of training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from detdistill.core.errors import UserError
from detdistill.data.reading import Raw, RawImage, taken

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
    def of(cls, raw: Raw, size: int | None = None) -> Statistics:
        """Raises UserError when no training image has a box."""
        images = raw.splits["train"]
        sides, aspects, counts, longest, shapes = [], [], [], [], set()
        for image in images:
            width, height = image.size or _size(raw, image)
            boxes = [box for each in image.objects if (box := taken(each.corners, width, height)[0])]
            sides += [np.sqrt(box[2] * box[3]) / max(width, height) for box in boxes]
            aspects += [box[3] / box[2] for box in boxes]
            counts.append(len(boxes))
            longest.append(max(width, height))
            shapes.add((width, height))
        if not sides:
            raise UserError(f"{raw.root}: no box in the training images")
        chosen = size or _size_for(np.quantile(sides, 0.1), int(max(longest)))
        # Even steps of size, not even shares of boxes: else a frequent class would have all anchors to itself.
        low, high = (float(np.quantile(sides, share)) * chosen for share in (0.02, 0.98))
        anchors = np.geomspace(low, high, LEVELS * ANCHORS).reshape(LEVELS, ANCHORS)
        passes = len(images) / BATCH
        return cls(
            images=len(images),
            classes=len(raw.classes),
            size=chosen,
            smallest=round(float(np.quantile(sides, 0.1)) * chosen, 1),
            anchors=[[round(float(anchor), 1) for anchor in level] for level in anchors],
            aspect=round(float(np.median(aspects)), 2),
            crowded=int(np.ceil(np.quantile(counts, 0.95))),
            teacher_steps=_steps(passes, 12, 1200),
            student_steps=_steps(passes, 4, 200),
            answers_gib=_answers_gib(len(images), chosen) if len(shapes) == 1 else None,
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


def _size(raw: Raw, image: RawImage) -> tuple[int, int]:
    try:
        with Image.open(raw.root / image.file) as opened:
            return opened.size
    except OSError as error:
        raise UserError(f"{raw.root / image.file}: cannot be read: {error}") from None
