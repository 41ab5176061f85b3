"""What may be said of every recipe against the plain student of its pair and schedule.

A family is one plain student and the recipes that are compared with it. Within a family, Dunnett's test: one variance
pooled over all of its groups, and intervals that hold for all of its recipes at once. Across the families of a study,
Holm: of m families that still have a recipe without an effect told, the largest |t| are held against the quantile of
level 1 - 0.05 / m, until nothing more is told. By Bonferroni across the m families and Dunnett within each, the chance
of any false `helps` or `hurts` in the whole study is at most 5 % (Goeman and Solari, Annals of Statistics 38, 2010).
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypedDict, TypeVar

import numpy as np

from detdistill.analysis.dunnett import coverage, quantile

ERROR_RATE = 0.05
NEGLIGIBLE = 0.01
"""A gain within so much of zero, one point, is called no effect."""
ROUNDING = 1e-12
"""What differs by less is equal but for the last digits."""

Verdict = Literal["helps", "hurts", "no effect", "open"]
Key = TypeVar("Key", bound=Hashable)


class Effect(TypedDict):
    """A difference to the plain student. `low` and `high` are simultaneous within the family, of 95 %, `p` likewise.

    They and the verdict are None where the seeds show no spread: one seed, or all seeds equal to the last digit.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    verdict: Verdict | None


@dataclass(frozen=True)
class Family:
    """Values by seed of a plain student and, by name, of the recipes that are compared with it; none is empty."""

    plain: Mapping[str, float]
    recipes: Mapping[str, Mapping[str, float]]

    @cached_property
    def differences(self) -> dict[str, float]:
        """Mean of each recipe minus mean of the plain student."""
        baseline = _mean(self.plain)
        return {name: _mean(values) - baseline for name, values in self.recipes.items()}

    @cached_property
    def freedom(self) -> int:
        """Degrees of freedom of the pooled variance."""
        return sum(len(values) - 1 for values in (self.plain, *self.recipes.values()))

    @cached_property
    def spread(self) -> float | None:
        """Pooled standard deviation of one seed; None where the seeds show none."""
        if self.freedom < 1:
            return None
        squares = sum(_squares(values) for values in (self.plain, *self.recipes.values()))
        spread: float = (squares / self.freedom) ** 0.5
        return spread if spread > ROUNDING else None

    @property
    def treated(self) -> tuple[int, ...]:
        """The number of seeds of each recipe."""
        return tuple(len(values) for values in self.recipes.values())

    def error(self, name: str) -> float:
        """Standard error of a recipe's difference. Only where there is a spread."""
        assert self.spread is not None
        return self.spread * (1 / len(self.recipes[name]) + 1 / len(self.plain)) ** 0.5

    def limit(self, error_rate: float = ERROR_RATE) -> float:
        """What the largest |t| of the family exceeds with that probability when no recipe does anything."""
        return quantile(1 - error_rate, self.treated, len(self.plain), self.freedom)


def effects(families: Mapping[Key, Family]) -> dict[Key, dict[str, Effect]]:
    """Every recipe of a study by family, with intervals, p-values and verdicts."""
    told = verdicts(families)
    return {
        key: {name: _effect(family, name, told[key][name]) for name in family.recipes}
        for key, family in families.items()
    }


def verdicts(families: Mapping[Key, Family]) -> dict[Key, dict[str, Verdict | None]]:
    """Every recipe's verdict by family: `helps` and `hurts` by Holm, of the others `no effect` by the interval."""
    real = _real(families)
    return {
        key: {name: _verdict(family, name, (key, name) in real) for name in family.recipes}
        for key, family in families.items()
    }


def _real(families: Mapping[Key, Family]) -> set[tuple[Key, str]]:
    """The recipes whose difference is told from zero, at the study's error rate."""
    waiting = {
        (key, name): abs(family.differences[name]) / family.error(name)
        for key, family in families.items()
        if family.spread is not None
        for name in family.recipes
    }
    real: set[tuple[Key, str]] = set()
    while waiting:
        open_families = {key for key, _ in waiting}
        limits = {key: families[key].limit(ERROR_RATE / len(open_families)) for key in open_families}
        told = {each for each, t in waiting.items() if t > limits[each[0]]}
        if not told:
            break
        real |= told
        waiting = {each: t for each, t in waiting.items() if each not in told}
    return real


def _verdict(family: Family, name: str, real: bool) -> Verdict | None:
    if family.spread is None:
        return None
    difference = family.differences[name]
    if real:
        return "helps" if difference > 0 else "hurts"
    return "no effect" if abs(difference) + family.limit() * family.error(name) <= NEGLIGIBLE else "open"


def _effect(family: Family, name: str, verdict: Verdict | None) -> Effect:
    difference = family.differences[name]
    if family.spread is None:
        return Effect(difference=difference, low=None, high=None, p=None, verdict=None)
    half = family.limit() * family.error(name)
    inside = coverage(abs(difference) / family.error(name), family.treated, len(family.plain), family.freedom)
    p = min(max(1 - inside, 0.0), 1.0)
    return Effect(difference=difference, low=difference - half, high=difference + half, p=p, verdict=verdict)


class Blocked(TypedDict):
    """A difference and its simultaneous 95 % interval under the additive model of seed and recipe."""

    difference: float
    low: float
    high: float


def additive(family: Family) -> dict[str, Blocked]:
    """The sensitivity check: seeds as blocks, so that what all recipes share within a seed is no error.

    Value = recipe + seed + error, over the seeds that every group has; Dunnett's quantile with the degrees of freedom
    of the two-way residuals. Empty with fewer than two such seeds, or without residuals.
    """
    groups = [family.plain, *family.recipes.values()]
    seeds = sorted(set.intersection(*(set(values) for values in groups)))
    if len(seeds) < 2:
        return {}
    table = np.array([[values[seed] for seed in seeds] for values in groups])
    rows = table.mean(axis=1)
    residuals = table - rows[:, None] - table.mean(axis=0) + table.mean()
    freedom = (len(groups) - 1) * (len(seeds) - 1)
    error = float((2 * (residuals**2).sum() / freedom / len(seeds)) ** 0.5)
    if error < ROUNDING:
        return {}
    half = quantile(1 - ERROR_RATE, (len(seeds),) * len(family.recipes), len(seeds), freedom) * error
    found = {}
    for name, difference in zip(family.recipes, (rows[1:] - rows[0]).tolist(), strict=True):
        found[name] = Blocked(difference=difference, low=difference - half, high=difference + half)
    return found


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)


def _squares(values: Mapping[str, float]) -> float:
    mean = _mean(values)
    return sum((value - mean) ** 2 for value in values.values())
