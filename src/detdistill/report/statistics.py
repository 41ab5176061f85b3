"""Statistics over seeds: mean, spread, 95 % interval, and what may be said of a gain.

Comparisons are paired by seed: the same seed gives the two runs the same first weights and order of images, so the
difference within a seed is what the method did.
"""

import statistics
from collections.abc import Mapping
from typing import Literal, TypedDict

from scipy.special import stdtrit

CONFIDENCE = 0.95

Verdict = Literal["helps", "hurts", "inconclusive"]


class Stat(TypedDict):
    """One quantity over seeds. `std`, `low` and `high` are None for fewer than two seeds, `mean` for none."""

    n: int
    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    values: dict[str, float]


def stat(values: Mapping[str, float | None]) -> Stat:
    """Mean, sample standard deviation and 95 % Student t interval of the mean; seed -> value, None is left out."""
    known = {seed: float(value) for seed, value in sorted(values.items()) if value is not None}
    n = len(known)
    if n == 0:
        return Stat(n=0, mean=None, std=None, low=None, high=None, values={})
    mean = statistics.fmean(known.values())
    if n == 1:
        return Stat(n=1, mean=mean, std=None, low=None, high=None, values=known)
    std = statistics.stdev(known.values())
    half = t_quantile(n) * std / n**0.5
    return Stat(n=n, mean=mean, std=std, low=mean - half, high=mean + half, values=known)


def t_quantile(n: int) -> float:
    """The two-sided 95 % quantile of Student's t for `n` values, so with `n` - 1 degrees of freedom."""
    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))


def paired(ours: Mapping[str, float], baseline: Mapping[str, float]) -> Stat:
    """`ours` minus `baseline` over the seeds that both have."""
    return stat({seed: ours[seed] - baseline[seed] for seed in ours.keys() & baseline.keys()})


def ratio(ours: Mapping[str, float], baseline: Mapping[str, float]) -> Stat:
    """`ours` over `baseline` over the seeds that both have; a baseline of zero is left out."""
    return stat({seed: ours[seed] / baseline[seed] for seed in ours.keys() & baseline.keys() if baseline[seed]})


def gap_closed(ours: Mapping[str, float], baseline: Mapping[str, float], teacher: float | None) -> Stat:
    """(ours - baseline) / (teacher - baseline), paired; a baseline that reaches the teacher leaves no gap to close."""
    if teacher is None:
        return stat({})
    seeds = [seed for seed in ours.keys() & baseline.keys() if teacher > baseline[seed]]
    return stat({seed: (ours[seed] - baseline[seed]) / (teacher - baseline[seed]) for seed in seeds})


def seeds_better(gain: Stat) -> int:
    """In how many seeds the paired difference is above zero."""
    return sum(value > 0 for value in gain["values"].values())


def verdict(gain: Stat) -> Verdict:
    """`helps` or `hurts` only where the paired 95 % interval excludes zero; everything else is `inconclusive`."""
    low, high = gain["low"], gain["high"]
    if low is None or high is None:
        return "inconclusive"
    if low > 0:
        return "helps"
    if high < 0:
        return "hurts"
    return "inconclusive"
