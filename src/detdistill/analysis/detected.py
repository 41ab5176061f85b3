"""What a run's detections on the test split say beyond its metrics: mistakes by kind, AP50 by size, and resamples."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detdistill.analysis import errors, sampling
from detdistill.analysis.matching import match
from detdistill.analysis.precision import average_precision
from detdistill.analysis.results import read_scenes
from detdistill.analysis.summary import TERCILES
from detdistill.dataset.manifest import Split

SPLIT = "test"


@dataclass(frozen=True)
class Detected:
    """Of one run: the AP50 of every resample of the images, that lost to each kind of mistake, that of each size."""

    resampled: np.ndarray
    errors: dict[str, float]
    by_size: dict[str, float | None]


class Reader:
    """Looks at every run in the same way: the same resamples, the same bounds of size."""

    def __init__(self, split: Split) -> None:
        self._records, self._classes = split.records, len(split.classes)
        self._weights = sampling.draws(len(split))
        areas = np.concatenate([record.areas.numpy()[~record.iscrowd.numpy()] for record in split.records])
        self.size_bounds: list[float] = np.quantile(areas, [1 / 3, 2 / 3]).tolist() if len(areas) else []

    def read(self, predictions: Path) -> Detected:
        """Raises UserError for a file that is damaged or of other images."""
        scenes = read_scenes(predictions, SPLIT, self._records)
        matches = match(scenes, self._classes)
        edges = [0.0, *self.size_bounds, np.inf]
        by_size = {
            # An object on a bound is of the smaller third.
            name: average_precision(match(scenes, self._classes, (np.nextafter(low, np.inf), high)))
            for name, low, high in zip(TERCILES, edges[:-1], edges[1:], strict=False)
        }
        return Detected(sampling.resampled(matches, self._weights), errors.costs(scenes, self._classes) or {}, by_size)
