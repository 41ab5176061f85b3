"""Which recipe may be called the best: the validation split chooses, so that the test split only reports."""

from detdistill.analysis.summary import PairSummary, distilled


def best_recipe(pair: PairSummary) -> str | None:
    """The distilled recipe of highest mean validation AP50, or None when no distilled run has results.

    Of the shortest schedule that has results, because a longer one is no choice of a recipe.
    """
    scored = {
        name: (-recipe["schedule_factor"], mean)
        for name, recipe in distilled(pair).items()
        if (mean := recipe["val_AP50"]["mean"]) is not None
    }
    return max(scored, key=lambda name: scored[name]) if scored else None


def shown(pair: PairSummary) -> tuple[str | None, str | None]:
    """The best recipe's plain student, or the pair's first where no distilled run has results; and the best recipe."""
    best = best_recipe(pair)
    return pair["recipes"][best]["plain"] if best else next(iter(pair["plain"]), None), best
