"""A recipe against what plain training reaches for the same core time.

The plain students of a pair at their schedules give AP50 against core time, joined by straight lines over the
logarithm of time. Beyond its ends nothing is said. The error rate is shared out over a pair's recipes (Bonferroni), so
that the intervals of one price hold for all of them at once.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypedDict

from scipy.special import stdtrit

from detdistill.analysis.effects import ERROR_RATE, ROUNDING


class Schedule(NamedTuple):
    """A plain student's schedule: mean core seconds of a training, and AP50 by seed."""

    core_seconds: float
    precision: Mapping[str, float]


class EqualCost(TypedDict):
    """A run's `core_seconds`, the AP50 of plain training for as many, and what the recipe has above it.

    `low` and `high` are its 95 % interval, which holds for all recipes of a pair at once, at one price. Where the cost
    is `shorter` or `longer` than every plain schedule's, there is no figure.
    """

    core_seconds: float
    place: Literal["within", "shorter", "longer"]
    plain: float | None
    difference: float | None
    low: float | None
    high: float | None


class Spread(NamedTuple):
    """The standard deviation of a seed, pooled over all students of a pair, and its degrees of freedom."""

    deviation: float
    freedom: int


def at_equal_cost(
    ours: Mapping[str, float], core_seconds: float, schedules: Sequence[Schedule], spread: Spread | None, recipes: int
) -> EqualCost | None:
    """A recipe's AP50 by seed against the plain schedules of its pair; None where one of the two is missing.

    `recipes` is how many of the pair are compared like this.
    """
    curve = sorted((each for each in schedules if each.precision), key=lambda each: each.core_seconds)
    if not ours or not curve:
        return None
    found = EqualCost(core_seconds=core_seconds, place="within", plain=None, difference=None, low=None, high=None)
    if core_seconds < curve[0].core_seconds:
        found["place"] = "shorter"
        return found
    if core_seconds > curve[-1].core_seconds:
        found["place"] = "longer"
        return found
    after = next(index for index, each in enumerate(curve) if core_seconds <= each.core_seconds)
    first, second = curve[max(after - 1, 0)], curve[after]
    part = _part(first.core_seconds, second.core_seconds, core_seconds)
    plain = (1 - part) * _mean(first.precision) + part * _mean(second.precision)
    difference = _mean(ours) - plain
    found["plain"], found["difference"] = plain, difference
    if spread:
        weights = 1 / len(ours) + (1 - part) ** 2 / len(first.precision) + part**2 / len(second.precision)
        half = float(stdtrit(spread.freedom, 1 - ERROR_RATE / recipes / 2)) * spread.deviation * math.sqrt(weights)
        found["low"], found["high"] = difference - half, difference + half
    return found


def pooled(groups: Sequence[Mapping[str, float]]) -> Spread | None:
    """The spread within the groups, each a recipe's AP50 by seed; None where the seeds show none."""
    freedom = sum(max(len(group) - 1, 0) for group in groups)
    squares = sum((value - _mean(group)) ** 2 for group in groups for value in group.values())
    deviation = math.sqrt(squares / freedom) if freedom else 0.0
    return Spread(deviation, freedom) if deviation > ROUNDING else None


def _part(low: float, high: float, value: float) -> float:
    """Where `value` lies from `low` to `high`, 0..1, in the logarithm."""
    return math.log(value / low) / math.log(high / low) if high > low else 0.0


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)
