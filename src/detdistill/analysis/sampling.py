"""What the choice of test images adds to an uncertainty: a bootstrap that draws whole images, the same for all runs."""

from collections.abc import Mapping
from typing import TypedDict

import numpy as np

from detdistill.analysis.matching import Matches
from detdistill.analysis.precision import by_class

RESAMPLES = 1000


class Sampling(TypedDict):
    """A difference in AP50 over resamples of the test images: standard error and 95 % interval by percentiles."""

    error: float
    low: float
    high: float


def draws(images: int, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each image is drawn, (images, resamples); the same on every call."""
    generator = np.random.default_rng(0)
    return generator.multinomial(images, np.full(images, 1 / images), size=resamples).T.astype(float)


def resampled(matches: Matches, weights: np.ndarray) -> np.ndarray:
    """AP50 of one run in every resample, (resamples,); NaN where none has an object."""
    ap = by_class(matches, weights)
    occurs = ~np.isnan(ap)
    with np.errstate(invalid="ignore"):
        return np.where(occurs, ap, 0.0).sum(axis=1) / occurs.sum(axis=1)


def sampling(ours: Mapping[str, np.ndarray], baseline: Mapping[str, np.ndarray]) -> Sampling | None:
    """Mean over seeds of `ours` minus that of `baseline`, seed -> (resamples,); None without both."""
    if not ours or not baseline:
        return None
    difference = np.mean(list(ours.values()), axis=0) - np.mean(list(baseline.values()), axis=0)
    difference = difference[~np.isnan(difference)]
    if len(difference) < 2:
        return None
    low, high = np.quantile(difference, [0.025, 0.975])
    return Sampling(error=float(difference.std(ddof=1)), low=float(low), high=float(high))
