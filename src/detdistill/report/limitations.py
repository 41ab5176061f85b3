"""What this study cannot show, stated from its own facts."""

from detdistill.dataset.manifest import Manifest
from detdistill.report import numbers, statistics
from detdistill.report.names import Names
from detdistill.report.provenance import Provenance
from detdistill.report.summary import Summary


def limitations(summary: Summary, names: Names, manifest: Manifest, provenance: Provenance) -> list[str]:
    """One sentence or two for each limit, the most important first."""
    told = [
        _missing(summary, names),
        _seeds(summary),
        _many(summary),
        _scale(summary, manifest, provenance),
        _precision(summary, names),
        "Each pair has one teacher, and one start that all of its students share: the spread over seeds is that of the "
        "order of images and of sampling, not of another teacher or other first weights.",
    ]
    return [sentence for sentence in told if sentence]


def _missing(summary: Summary, names: Names) -> str:
    gone = []
    for pair, content in summary["pairs"].items():
        for recipe, stats in {"teacher": content["teacher"], **content["recipes"]}.items():
            if stats["missing"]:
                seeds = numbers.listing([str(seed) for seed in stats["missing"]])
                noun = "seed" if len(stats["missing"]) == 1 else "seeds"
                gone.append(f"{names.pair(pair)} {names.recipe(pair, recipe)} ({noun} {seeds})")
    return f"Without results, and shown as missing: {numbers.listing(gone)}." if gone else ""


def _seeds(summary: Summary) -> str:
    n = len(summary["seeds"])
    if n < 2:
        return "One seed shows no spread: every difference may be chance."
    gains = [row["gain_equal_steps"] for row in summary["levels"]]
    halves = [
        (gain["high"] - gain["low"]) / 2 for gain in gains if gain["high"] is not None and gain["low"] is not None
    ]
    if not halves:
        return ""
    return (
        f"With {n} seeds a 95 % interval reaches {statistics.t_quantile(n):.1f} standard errors to each side, for the "
        f"gains at equal steps between ±{numbers.points(min(halves))} and ±{numbers.points(max(halves))} points."
    )


def _many(summary: Summary) -> str:
    n = sum(row["gain_equal_steps"]["n"] > 1 for row in summary["levels"])
    if n < 2:
        return ""
    chance = n * (1 - statistics.CONFIDENCE)
    return (
        f"The {n} intervals are not corrected for their number: if no recipe did anything, about {chance:.1f} of them "
        "would still exclude zero."
    )


def _scale(summary: Summary, manifest: Manifest, provenance: Provenance) -> str:
    sizes = [
        stats["parameters"]
        for content in summary["pairs"].values()
        for stats in (content["teacher"], *content["recipes"].values())
        if stats["parameters"]
    ]
    if not sizes:
        return ""
    machines = numbers.listing(list(dict.fromkeys(machine["cpu"] for machine in provenance.machines)))
    return (
        f"The models have {numbers.count(min(sizes))} to {numbers.count(max(sizes))} parameters and were trained on "
        f"{numbers.count(manifest.splits['train'].images)} images (on {machines}). An order of methods found at this "
        "scale need not hold at another."
    )


def _precision(summary: Summary, names: Names) -> str:
    """AP50 does not see tighter boxes: say where AP tells another story."""
    other, compared = [], 0
    for row in summary["levels"]:
        stats = summary["pairs"][row["pair"]]["recipes"][row["recipe"]]
        ap50, ap = stats["gain_equal_steps"]["mean"], stats["gain_equal_steps_AP"]["mean"]
        if ap50 is None or ap is None:
            continue
        compared += 1
        if ap50 * ap < 0:
            other.append(f"{names.recipe(row['pair'], row['recipe'])} ({names.pair(row['pair'])})")
    start = "AP50, the headline, does not reward tighter boxes than an overlap of one half."
    if other:
        return f"{start} Over all thresholds the gain has the other sign for {numbers.listing(other)}."
    return f"{start} Over all thresholds (AP) every gain has the same sign." if compared else start
