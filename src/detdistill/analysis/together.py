"""Do levels add up? A recipe of several methods against the best recipe of some of them.

Validation chooses that part, the difference is of the test split. Its interval is Student's with the variance of the
family, shared out over the sets of the family (Bonferroni), so that its 95 % hold for all of them at once.
"""

from collections.abc import Hashable, Mapping, Set
from typing import TypedDict

from scipy.special import stdtrit

from detdistill.analysis.effects import ERROR_RATE, Family
from detdistill.analysis.statistics import Stat


class Together(TypedDict):
    """A set's AP50 less that of `part`; `low` and `high` are None where the seeds show no spread."""

    part: str
    difference: float
    low: float | None
    high: float | None


def together(
    family: Family, methods: Mapping[str, Set[Hashable]], validation: Mapping[str, Stat]
) -> dict[str, Together]:
    """Every set of the family that has a part in it.

    Args:
        family: AP50 on the test split by seed.
        methods: what each recipe of the family trains; a set is a recipe whose methods hold all those of another.
        validation: AP50 on the validation split of each recipe.
    """
    parts = {}
    for name in family.recipes:
        if smaller := [each for each in family.recipes if methods[each] < methods[name]]:
            parts[name] = max(smaller, key=lambda each: validation[each]["mean"] or 0.0)
    found = {}
    for name, part in parts.items():
        difference = family.differences[name] - family.differences[part]
        half = None
        if family.spread is not None:
            seeds = len(family.recipes[name]), len(family.recipes[part])
            error = family.spread * sum(1 / n for n in seeds) ** 0.5
            half = float(stdtrit(family.freedom, 1 - ERROR_RATE / len(parts) / 2)) * error
        found[name] = Together(
            part=part,
            difference=difference,
            low=None if half is None else difference - half,
            high=None if half is None else difference + half,
        )
    return found
