"""The files of one run that are not an object of figures: the learning curve."""

import json
from pathlib import Path
from typing import TypedDict

from detdistill.core.errors import UserError


class LearningPoint(TypedDict):
    """Validation precision, fractions 0..1, after `step` steps and `images` training images."""

    step: int
    AP: float | None
    AP50: float | None
    images: int


def read_learning(path: Path) -> list[LearningPoint]:
    """`learning.json` in the order of training, the final model last. Raises UserError, naming the file."""
    try:
        points: list[LearningPoint] = json.loads(path.read_text(encoding="utf-8"))
        if not points or any(not {"step", "AP", "AP50", "images"} <= point.keys() for point in points):
            raise ValueError("every point needs step, AP, AP50 and images")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: not a learning curve: {error}") from None
    return points
