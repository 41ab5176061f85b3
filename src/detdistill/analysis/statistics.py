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


def difference(ours: Stat, baseline: Stat) -> float | None:
    """Of the means, whichever seeds they have; None where one is not known."""
    mine, theirs = ours["mean"], baseline["mean"]
    return mine - theirs if mine is not None and theirs is not None else None
