"""Which recipe may be called the best: the validation split chooses, so that the test split only reports."""

from detdistill.report.summary import PairSummary


def best_recipe(pair: PairSummary) -> str | None:
    """The distilled recipe of highest mean validation AP50, or None when no distilled run has results."""
    scored = {
        name: mean
        for name, recipe in pair["recipes"].items()
        if recipe["kind"] == "distilled" and (mean := recipe["val_AP50"]["mean"]) is not None
    }
    return max(scored, key=lambda name: scored[name]) if scored else None
