"""What a training set says about the detectors that fit it: image size, anchors and length of training."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np

from detdistill.core.errors import UserError
from detdistill.dataset.prepared import Annotations
from detdistill.new_study.cost import minutes

LEVELS = 3
ANCHORS = 2
"""Sizes of a level."""
SMALLEST, HARDLY = 16, 8
"""Pixels, four times and twice the finest stride: the side that nine boxes in ten should have, and must have."""
SIZES = range(96, 641, 32)
SHORTEST = 16
"""Pixels that `resize` has at least."""
BATCH = 8
MOST_ANSWERS = 10.0
"""GiB of the disk that asking a teacher once may take."""
SMALL_SET = 500
"""Images up to which a study shall be done in `MINUTES` on two processor cores; larger sets take what they need."""
MINUTES = 30.0
BOXES_SEEN = 15_000
"""By a student of a small set in all its steps: enough to learn from, and far from all that there is to learn. It is
what 150 steps are on `bccd`, where four times as many leave a teacher nothing to add."""
STUDENT_STEPS, TEACHER_STEPS = (150, 450), 1000
"""Between these, for a student of a small set; at least, for a teacher."""


@dataclass(frozen=True)
class Statistics:
    """Of the training split. `anchors` and `smallest` in pixels of the resized images, finest level first."""

    images: int
    classes: int
    size: int
    whole_size: int
    """The size at which nine boxes in ten have `SMALLEST` pixels; `size` is below it where that would take too long."""
    smallest: float
    anchors: list[list[float]]
    aspect: float
    crowded: int
    """Boxes of an image that only one in twenty exceeds."""
    teacher_steps: int
    student_steps: int
    answers_gib: float | None
    """What a teacher's maps of all training images take, or None where they are of several sizes or take too much."""
    minutes: float
    """About what the study takes on two processor cores."""

    @classmethod
    def of(cls, train: Annotations, classes: int, size: int | None = None) -> Statistics:
        """Of the annotated training images, as large as they are. Raises UserError when none has a box."""
        content = json.loads(train.content())
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        if not content["annotations"]:
            raise UserError("no box in the training images; nothing can be learnt from them")
        boxes = np.array([each["bbox"][2:] for each in content["annotations"]])
        owners = [each["image_id"] for each in content["annotations"]]
        sides, native = np.sqrt(boxes.prod(1)), np.array([max(sizes[owner]) for owner in owners])
        counts = list((dict.fromkeys(sizes, 0) | Counter(owners)).values())

        def side(share: float, size: int) -> float:
            """Of the boxes in images that are shrunk to that size, never enlarged: its quantile."""
            return float(np.quantile(sides * np.minimum(1, size / native), share))

        def area(size: int) -> float:
            """Of an image, in pixels."""
            shrunk = (min(1, size / max(each)) ** 2 * each[0] * each[1] for each in sizes.values())
            return float(np.mean(list(shrunk)))

        longest = max(SHORTEST, *map(max, sizes.values()))
        wanted, least = (
            min(next((each for each in SIZES if side(0.1, each) >= pixels), SIZES[-1]), longest)
            for pixels in (SMALLEST, HARDLY)
        )
        student, teacher = _steps(len(sizes), len(owners) / len(sizes), area(size or least))
        fitting = [each for each in SIZES if each <= wanted and minutes(area(each), teacher, student) <= MINUTES]
        chosen = min(size, longest) if size else wanted if len(sizes) > SMALL_SET else max([*fitting, least])
        # Even steps of size, not even shares of boxes: else a frequent class would have all anchors to itself.
        low, high = side(0.02, chosen), side(0.98, chosen)
        anchors = np.geomspace(low, high, LEVELS * ANCHORS).reshape(LEVELS, ANCHORS)
        return cls(
            images=len(sizes),
            classes=classes,
            size=chosen,
            whole_size=wanted,
            smallest=round(side(0.1, chosen), 1),
            anchors=[[round(float(anchor), 1) for anchor in level] for level in anchors],
            aspect=round(float(np.median(boxes[:, 1] / boxes[:, 0])), 2),
            crowded=int(np.ceil(np.quantile(counts, 0.95))),
            teacher_steps=teacher,
            student_steps=student,
            answers_gib=_answers_gib(len(sizes), chosen) if len(set(sizes.values())) == 1 else None,
            minutes=minutes(area(chosen), teacher, student),
        )


def _answers_gib(images: int, size: int) -> float | None:
    """Of the teacher's three pyramid levels, strides 4 to 16, in 64 channels of 4 bytes."""
    gib = images * 64 * 4 * sum((size / stride) ** 2 for stride in (4, 8, 16)) / 2**30
    return gib if gib <= MOST_ANSWERS else None


def _steps(images: int, boxes: float, area: float) -> tuple[int, int]:
    """Of a student and a teacher, for so many images with so many boxes each, of that area in pixels."""
    passes = images / BATCH
    if images > SMALL_SET:
        return max(200, 100 * round(passes * 4 / 100)), max(1200, 100 * round(passes * 12 / 100))
    least, most = STUDENT_STEPS
    wanted = min(most, max(least, 50 * round(BOXES_SEEN / BATCH / boxes / 50)))
    fitting = [(steps, max(TEACHER_STEPS, 4 * steps)) for steps in range(least, wanted + 1, 50)]
    affordable = [(student, teacher) for student, teacher in fitting if minutes(area, teacher, student) <= MINUTES]
    return max(affordable, default=fitting[0])
