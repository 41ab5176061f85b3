"""The tables of what the results rest on: seeds, sensitivity of the verdicts, tuning."""

from detdistill.analysis.cost import Cost, PairCost
from detdistill.analysis.power import MOST
from detdistill.analysis.summary import Summary, distilled
from detdistill.report import numbers, verdicts
from detdistill.report.names import Names
from detdistill.report.tables import Group, Table, lean


def seeds(summary: Summary, cost: Cost, names: Names) -> Table:
    """How far the seeds of each family see, and how many more would be needed at what cost."""
    header = [
        "Compared with",
        "Recipes",
        "Spread of a\nseed (points)",
        "Half interval\n(points)",
        "Seeds for\n1 point",
        "Core\ntime",
    ]
    header += ["Seeds for\n2 points", "Core\ntime"]
    groups = []
    for pair, content in summary["pairs"].items():
        rows = []
        for family in content["families"]:
            row = [names.recipe(pair, family["plain"]), str(len(family["recipes"]))]
            row += [numbers.points(family["spread"]), numbers.points(family["half_width"])]
            for wanted in family["seeds_needed"].values():
                row += _needed(wanted, family["spread"], cost["pairs"][pair], family["plain"])
            rows.append(row)
        groups.append(Group(names.pair(pair), rows))
    return lean(Table(header, "lrrrrrrr", groups))


def _needed(wanted: int | None, spread: float | None, cost: PairCost, plain: str) -> list[str]:
    if wanted is None:
        return [numbers.NONE if spread is None else f"> {MOST}", numbers.NONE]
    return [str(wanted), numbers.duration(wanted * cost["seed"][plain])]


def tuning(summary: Summary, names: Names) -> Table | None:
    """What every recipe's grid gave on validation, the value that won, and its gradient; None untuned."""
    found = [
        (pair, name, tuned)
        for pair, content in summary["pairs"].items()
        for name, stats in distilled(content).items()
        if (tuned := stats["tuned"])
    ]
    if not found:
        return None
    factors = sorted({tried["factor"] for _, _, tuned in found for tried in tuned["grid"]})
    groups = []
    for pair in dict.fromkeys(pair for pair, _, _ in found):
        rows = []
        for _, name, tuned in (each for each in found if each[0] == pair):
            tried = {each["factor"]: each for each in tuned["grid"]}
            values = [numbers.points(tried[factor]["AP50"]) if factor in tried else "" for factor in factors]
            share = numbers.scaled(tried[tuned["factor"]]["gradient_share"], 1.0, 2)
            rows.append([names.recipe(pair, name), *values, f"{tuned['factor']:g}", share])
        groups.append(Group(names.pair(pair), rows))
    header = ["Recipe", *(f"{factor:g}" for factor in factors), "Taken", "Gradient\nshare"]
    spans = [("", 1), ("Validation AP50 (%)\nat this factor of the unit", len(factors)), ("", 2)]
    return Table(header, "l" + "r" * (len(factors) + 2), groups, spans)


def sensitivity(summary: Summary, names: Names) -> Table:
    """The gain by Dunnett, by the additive model, and what the choice of test images adds."""
    interval = " [95 %]" if verdicts.judged(summary) else ""
    header = [
        "Recipe",
        f"Gain\n(points){interval}",
        "Seeds as blocks\n(points) [95 %]",
        "Over test images\n(points) [95 %]",
        "Verdict",
    ]
    groups = []
    for pair, content in summary["pairs"].items():
        rows = []
        for name, stats in distilled(content).items():
            if not stats["effect"]:
                continue
            blocked, images = stats["additive"], stats["sampling"]
            rows.append(
                [
                    names.recipe(pair, name),
                    numbers.gain(stats["effect"]),
                    f"{numbers.points(blocked['difference'], signed=True)} "
                    f"{numbers.interval(blocked['low'], blocked['high'])}"
                    if blocked
                    else numbers.NONE,
                    numbers.interval(images["low"], images["high"]) if images else numbers.NONE,
                    verdicts.word(stats["effect"]),
                ]
            )
        groups.append(Group(names.pair(pair), rows))
    return lean(Table(header, "lrrrl", groups))
