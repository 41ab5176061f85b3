"""One quantity over seeds: mean and spread."""

import statistics
from collections.abc import Mapping
from typing import TypedDict


class Stat(TypedDict):
    """`std` is the sample standard deviation, None for fewer than two seeds; `mean` is None for none."""

    n: int
    mean: float | None
    std: float | None
    values: dict[str, float]


def stat(values: Mapping[str, float | None]) -> Stat:
    """The quantity over the seeds that have it; seed -> value, None is left out."""
    known = {seed: float(value) for seed, value in sorted(values.items()) if value is not None}
    n = len(known)
    mean = statistics.fmean(known.values()) if n else None
    return Stat(n=n, mean=mean, std=statistics.stdev(known.values()) if n > 1 else None, values=known)


def paired(ours: Mapping[str, float], baseline: Mapping[str, float]) -> Stat:
    """`ours` minus `baseline` over the seeds that both have."""
    return stat({seed: ours[seed] - baseline[seed] for seed in ours.keys() & baseline.keys()})


def ratio(ours: Mapping[str, float], baseline: Mapping[str, float]) -> Stat:
    """`ours` over `baseline` over the seeds that both have; a baseline of zero is left out."""
    return stat({seed: ours[seed] / baseline[seed] for seed in ours.keys() & baseline.keys() if baseline[seed]})
