"""Average precision of a whole split from its matches, as COCO interpolates it at 101 recalls; also for resamples."""

import numpy as np
from scipy.sparse import csr_matrix

from detdistill.analysis.matching import NOTHING, Matches

RECALLS = np.linspace(0, 1, 101)


def by_class(matches: Matches, weights: np.ndarray) -> np.ndarray:
    """AP (resamples, classes); an image counts `weights` (images, resamples) times. NaN for a class without objects."""
    positives = matches.objects.T @ weights
    columns = [_weighted(matches, label, weights, positives[label]) for label in range(len(positives))]
    return np.stack(columns, axis=1)


def average_precision(matches: Matches) -> float | None:
    """The mean over the classes that occur, every image counted once; None when the split has no object."""
    return mean([curve_area(*_ranked(matches, label)) for label in range(matches.objects.shape[1])])


def mean(of_classes: list[float | None]) -> float | None:
    """Over the classes that have objects."""
    known = [value for value in of_classes if value is not None]
    return sum(known) / len(known) if known else None


def curve_area(hits: np.ndarray, positives: int) -> float | None:
    """AP of one class from its detections by falling score, (n,) bool, and the number of its objects."""
    if not positives:
        return None
    places = np.flatnonzero(hits)
    right = np.arange(1, len(places) + 1)
    area = _area(right[:, None], (places + 1 - right)[:, None], np.array([positives]))
    return float(area[0])


def best_threshold(matches: Matches) -> float:
    """The score at and above which F1 over all classes is highest; 1 without any right detection."""
    right = np.cumsum(matches.taken != NOTHING)
    if not len(right) or not right[-1]:
        return 1.0
    f1 = 2 * right / (np.arange(1, len(right) + 1) + matches.objects.sum())
    return float(matches.score[f1.argmax()])


def _ranked(matches: Matches, label: int) -> tuple[np.ndarray, int]:
    return matches.taken[matches.label == label] != NOTHING, int(matches.objects[:, label].sum())


def _weighted(matches: Matches, label: int, weights: np.ndarray, positives: np.ndarray) -> np.ndarray:
    own = matches.label == label
    hits, image = matches.taken[own] != NOTHING, matches.image[own]
    places, wrong = np.flatnonzero(hits), np.flatnonzero(~hits)
    # Precision matters where recall grows, so a false alarm counts from the next hit on; those after the last never.
    following = np.searchsorted(places, wrong)
    counted = following < len(places)
    ones = np.ones(int(counted.sum()))
    between = csr_matrix((ones, (following[counted], image[wrong[counted]])), shape=(len(places), len(weights)))
    return _area(weights[image[places]].cumsum(axis=0), (between @ weights).cumsum(axis=0), positives)


def _area(right: np.ndarray, wrong: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """AP (R,) from right and wrong detections (hits, R) up to each hit, and the objects (R,)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(right / (right + wrong))
        recall = right / positives
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    reached = np.searchsorted(RECALLS, recall.ravel(), side="right").reshape(recall.shape)
    area = (envelope * np.diff(reached, axis=0, prepend=0)).sum(axis=0) / len(RECALLS)
    return np.where(positives > 0, area, np.nan)
