"""The files that a run left, read and checked."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from detdistill.analysis.matching import Scene, scenes
from detdistill.core import paths, record
from detdistill.core.errors import UserError
from detdistill.core.files import read_json
from detdistill.core.record import intact
from detdistill.dataset.records import Record
from detdistill.evaluate import predictions

LEARNING = "learning.json"
PREDICTIONS = "predictions.safetensors"
FILES = ("metrics.json", "timing.json", LEARNING, PREDICTIONS)


class LearningPoint(TypedDict):
    """Validation precision, fractions 0..1, after `step` steps and `images` training images.

    `inside` is the share of the gradient inside objects, of the native losses and of each method (`train.regions`).
    """

    step: int
    AP: float | None
    AP50: float | None
    images: int
    inside: NotRequired[dict[str, float | None]]


@dataclass(frozen=True)
class Result:
    """One run with results: its figures, its times, and its way to them."""

    metrics: dict[str, Any]
    timing: dict[str, Any]
    learning: list[LearningPoint]

    @property
    def images(self) -> int:
        """How many images it trained on."""
        return self.learning[-1]["images"]


def read_result(study: str, pair: str, recipe: str, seed: int) -> Result | None:
    """The results of one run, or None when any of its `FILES` is absent. Raises UserError for one that is damaged."""
    files = {name: paths.run(study, pair, recipe, seed, name) for name in FILES}
    if not all(path.is_file() for path in files.values()):
        return None
    metrics = read_json(intact(files["metrics.json"]))
    return Result(metrics, record.read(files["timing.json"]), read_learning(files[LEARNING]))


def read_learning(path: Path) -> list[LearningPoint]:
    """`learning.json` in the order of training, the final model last. Raises UserError, naming the file."""
    try:
        points: list[LearningPoint] = json.loads(intact(path).read_text(encoding="utf-8"))
        if not points or any(not {"step", "AP", "AP50", "images"} <= point.keys() for point in points):
            raise ValueError("every point needs step, AP, AP50 and images")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: not a learning curve: {error}") from None
    return points


def read_scenes(path: Path, split: str, records: Sequence[Record]) -> list[Scene]:
    """What a run detects in the images of a split. Raises UserError when the file is damaged or of other images."""
    found = predictions.load(intact(path), split)
    if len(found) != len(records):
        raise UserError(f"{path}: {split}: of {len(found)} images, the split has {len(records)}")
    return scenes(records, found)
