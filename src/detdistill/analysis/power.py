"""How many seeds would tell a gain of a given size, from the spread that was measured."""

from scipy.special import ndtr

from detdistill.analysis.dunnett import pooled, quantile
from detdistill.analysis.effects import ERROR_RATE, Family

POWER = 0.8
MOST = 200
"""Seeds; a study that needs more is another study."""


def half_width(family: Family, seeds: int) -> float | None:
    """Half of the simultaneous 95 % interval with so many seeds of every group; None without a spread."""
    if family.spread is None or seeds < 2:
        return None
    return _limit(family, seeds) * family.spread * (2 / seeds) ** 0.5


def seeds_needed(family: Family, gain: float) -> int | None:
    """The least number of seeds with which the simultaneous interval of a recipe of that gain excludes zero in 80 %.

    None without a spread, and where `MOST` seeds are too few.
    """
    if family.spread is None:
        return None
    low, high = 1, MOST
    if _power(family, high, gain) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(family, middle, gain) >= POWER else (middle, high)
    return high


def _power(family: Family, seeds: int, gain: float) -> float:
    """The chance that |t| of a recipe of that gain exceeds Dunnett's quantile."""
    assert family.spread is not None
    shift = gain / (family.spread * (2 / seeds) ** 0.5)
    nodes, weight = pooled(_freedom(family, seeds))
    edge = _limit(family, seeds) * nodes
    return float(weight @ (ndtr(shift - edge) + ndtr(-shift - edge)))


def _limit(family: Family, seeds: int) -> float:
    return quantile(1 - ERROR_RATE, (seeds,) * len(family.recipes), seeds, _freedom(family, seeds))


def _freedom(family: Family, seeds: int) -> int:
    return (len(family.recipes) + 1) * (seeds - 1)
