"""Several studies of the same images as one: all of their pairs, and verdicts that hold across all of them.

A pair that several studies train, such as one whose models give others their trunk, is taken whole from the study that
has most of its recipes, so that its recipes keep the plain students that they ran beside. What another study has of
that pair is a repetition, and the largest difference is told.
"""

import copy
import itertools
from collections.abc import Sequence

from detdistill.analysis.cost import Cost, RecipeCost
from detdistill.analysis.effects import Family, effects
from detdistill.analysis.summary import FamilySummary, PairSummary, RecipeStats, Summary
from detdistill.core.errors import UserError


def join(name: str, title: str, studies: Sequence[Summary]) -> Summary:
    """The studies as one of that name: every figure as it was, every verdict by Holm across all families.

    Raises UserError unless images, seeds and all slices of one name are equal, where a repeated pair has a recipe that
    the study it is taken from has not, and for a summary of another version of detdistill.
    """
    for study in studies:
        _current(study)
    for one, other in itertools.combinations(studies, 2):
        _same(one, other)
    first = studies[0]
    of = owners(studies)
    for pair, owner in of.items():
        _whole(pair, owner, studies)
    return Summary(
        study=name,
        title=title,
        seeds=first["seeds"],
        data=first["data"],
        params={key: digest for study in studies for key, digest in study["params"].items() if key != "study"},
        size_bounds=first["size_bounds"],
        pairs=_judged({pair: owner["pairs"][pair] for pair, owner in of.items()}),
    )


def owners(studies: Sequence[Summary]) -> dict[str, Summary]:
    """Pair -> the study that it is taken from: the first of those with most of its recipes."""
    of: dict[str, Summary] = {}
    for study in studies:
        for pair, content in study["pairs"].items():
            if pair not in of or len(content["recipes"]) > len(of[pair]["pairs"][pair]["recipes"]):
                of[pair] = study
    return of


def costs(studies: Sequence[Summary], told: Sequence[Cost]) -> Cost:
    """What the joined pairs cost, each as its own study measured it.

    Raises UserError for a cost of another version of detdistill.
    """
    for study, cost in zip(studies, told, strict=True):
        for pair, content in cost["pairs"].items():
            for recipe, price in content["recipes"].items():
                _complete(f"{study['study']}: {pair}: {recipe}", RecipeCost.__required_keys__ - price.keys())
    by_study = {study["study"]: cost for study, cost in zip(studies, told, strict=True)}
    return Cost(pairs={pair: by_study[owner["study"]]["pairs"][pair] for pair, owner in owners(studies).items()})


def repeated(studies: Sequence[Summary]) -> dict[tuple[str, str], float]:
    """(pair, recipe) -> how far apart the mean AP50 of the studies lie that have trained it; one alone is not there."""
    means: dict[tuple[str, str], list[float]] = {}
    for study in studies:
        for pair, content in study["pairs"].items():
            for recipe, stats in content["recipes"].items():
                if (mean := stats["AP50"]["mean"]) is not None:
                    means.setdefault((pair, recipe), []).append(mean)
    return {key: max(found) - min(found) for key, found in means.items() if len(found) > 1}


def _current(study: Summary) -> None:
    for pair, content in study["pairs"].items():
        for recipe, stats in content["recipes"].items():
            _complete(f"{study['study']}: {pair}: {recipe}", RecipeStats.__required_keys__ - stats.keys())


def _complete(where: str, missing: frozenset[str]) -> None:
    if missing:
        listed = ", ".join(sorted(missing))
        raise UserError(f"{where}: {listed}: missing; run `detdistill summarize` of this version")


def _same(first: Summary, other: Summary) -> None:
    between = f"{first['study']} and {other['study']}"
    if first["data"] != other["data"]:
        raise UserError(f"{between}: their images differ; only studies of the same images can be joined")
    if first["seeds"] != other["seeds"]:
        raise UserError(f"{between}: seeds: {first['seeds']} and {other['seeds']}; joined studies have the same")
    common = first["params"].keys() & other["params"].keys() - {"study"} | {"tuning"}
    if differing := sorted(name for name in common if first["params"].get(name) != other["params"].get(name)):
        raise UserError(f"{between}: {', '.join(differing)} differ; what joined studies share must be equal")


def _whole(pair: str, owner: Summary, studies: Sequence[Summary]) -> None:
    known = owner["pairs"][pair]["recipes"]
    for study in studies:
        if lost := sorted(study["pairs"].get(pair, owner["pairs"][pair])["recipes"].keys() - known.keys()):
            raise UserError(
                f"{study['study']}: {pair}: {', '.join(lost)}: not in {owner['study']}, from which the pair is taken; "
                "a pair of several studies must be whole in one"
            )


def _judged(pairs: dict[str, PairSummary]) -> dict[str, PairSummary]:
    """The same pairs with the verdicts of one study: intervals are within a family, so they stay."""
    judged = copy.deepcopy(pairs)
    for precision, key in (("AP50", "effect"), ("AP", "effect_AP")):
        families = {
            (pair, family["plain"]): _family(content, family, precision)
            for pair, content in pairs.items()
            for family in content["families"]
        }
        for (pair, _), told in effects(families).items():
            for recipe, effect in told.items():
                judged[pair]["recipes"][recipe][key] = effect  # type: ignore[literal-required]
    return judged


def _family(content: PairSummary, family: FamilySummary, precision: str) -> Family:
    values = {name: stats[precision]["values"] for name, stats in content["recipes"].items()}  # type: ignore[literal-required]
    return Family(values[family["plain"]], {name: values[name] for name in family["recipes"]})
