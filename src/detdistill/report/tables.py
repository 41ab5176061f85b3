"""The tables of results: from summary and cost to rows of printed strings. Nothing is computed here."""

from dataclasses import dataclass, field

from detdistill.analysis.choice import shown
from detdistill.analysis.cost import Cost, RecipeCost
from detdistill.analysis.errors import KINDS
from detdistill.analysis.statistics import Stat
from detdistill.analysis.summary import TERCILES, PairSummary, RecipeStats, RunStats, Summary, distilled
from detdistill.core import paths
from detdistill.distill import taxonomy
from detdistill.report import numbers, verdicts
from detdistill.report.literature import Literature
from detdistill.report.names import Names
from detdistill.train.history import AREA, NATIVE

MISSING = "missing"


@dataclass(frozen=True)
class Group:
    """Rows under a common heading, or under none."""

    title: str | None
    rows: list[list[str]]


@dataclass(frozen=True)
class Table:
    """`align` has one of l, c, r a column; `spans` is an optional row of (heading, columns) above the header.

    `label` is the column that names a row.
    """

    header: list[str]
    align: str
    groups: list[Group]
    spans: list[tuple[str, int]] = field(default_factory=list)
    label: int = 0


def lean(table: Table) -> Table:
    """The same table without the columns that have nothing in any row; those that name a row stay."""
    rows = [row for group in table.groups for row in group.rows]
    kept = [
        place
        for place in range(len(table.header))
        if place <= table.label or any(row[place].strip(f"{numbers.NONE} ") for row in rows)
    ]
    spans, at = [], 0
    for title, width in table.spans:
        if left := sum(at <= place < at + width for place in kept):
            spans.append((title, left))
        at += width
    return Table(
        [table.header[place] for place in kept],
        "".join(table.align[place] for place in kept),
        [Group(group.title, [[row[place] for place in kept] for row in group.rows]) for group in table.groups],
        spans,
        table.label,
    )


def results(summary: Summary, names: Names, literature: Literature) -> Table:
    """The table by level: every pair's teacher and plain students, then its recipes from the backbone onwards."""
    interval = " [95 %]" if verdicts.judged(summary) else ""
    header = [
        "Level",
        "Recipe",
        "AP50 (%)",
        "AP (%)",
        f"Gain in AP50\n(points){interval}",
        "p",
        "Gap\nclosed",
        "Published",
        "Verdict",
    ]
    groups = []
    for pair, content in summary["pairs"].items():
        rows = [["", "Teacher", precision(content["teacher"], "AP50"), _stat(content["teacher"], "AP"), *[""] * 5]]
        for plain in content["plain"]:
            stats = content["recipes"][plain]
            rows.append(["", names.recipe(pair, plain), precision(stats, "AP50"), _stat(stats, "AP"), *[""] * 5])
        for recipe, stats in distilled(content).items():
            rows.append(
                _distilled(names.recipe(pair, recipe), stats, _published(stats, names.family(pair), literature))
            )
        groups.append(Group(names.pair(pair), rows))
    return lean(Table(header, "llrrrrrrl", groups, label=1))


def _distilled(label: str, stats: RecipeStats, published: str) -> list[str]:
    start = [taxonomy.label(stats["levels"]), label, precision(stats, "AP50")]
    if not stats["AP50"]["n"]:
        return [*start, *[""] * 4, published, ""]
    return [
        *start,
        _stat(stats, "AP"),
        numbers.gain(stats["effect"]),
        numbers.probability(stats["effect"]["p"]) if stats["effect"] else numbers.NONE,
        numbers.percent(stats["gap_closed"]),
        published,
        verdicts.word(stats["effect"]),
    ]


def _published(stats: RecipeStats, family: str, literature: Literature) -> str:
    """What the method of a recipe of one gained elsewhere, `+3.4 AP (94 %)`, and in which detector if in another."""
    told = literature.published(next(iter(stats["methods"])), family) if len(stats["methods"]) == 1 else None
    if not told or told.gain is None:
        return ""
    gain = f"{numbers.points(told.gain / 100, signed=True)} {told.metric}"
    gain += f" ({numbers.percent(told.gap_closed)})" if told.gap_closed is not None else ""
    return gain if told.setting.startswith(family) else f"{gain}, {told.setting.split(',')[0]}"


def precision(stats: RunStats, name: str) -> str:
    """Mean and spread, with the seeds that are missing named; `missing` when none has results."""
    if not stats["AP50"]["n"]:
        return MISSING
    seeds = ", ".join(str(seed) for seed in stats["missing"])
    return _stat(stats, name) + (f" (seed {seeds} missing)" if seeds else "")


def _stat(stats: RunStats, name: str) -> str:
    stat: Stat = stats[name]  # type: ignore[literal-required]
    return numbers.spread(stat) if stats["AP50"]["n"] else ""


def price(summary: Summary, cost: Cost, names: Names) -> Table:
    """What every recipe costs in core time, part by part, and over plain training of the same schedule."""
    header = ["Recipe", "Step,\nover plain", "Training\n(s)", "Asking the\nteacher (s)", "Share of its\ntraining (s)"]
    header += ["All three,\nover plain", "Tuning\n(s)", "For one student\nalone (s)"]
    groups = []
    for pair, content in summary["pairs"].items():
        rows = []
        for name in distilled(content):
            own = cost["pairs"][pair]["recipes"][name]
            parts = [own["training_core_seconds"]["mean"], own["asking"], own["teaching"]]
            paid = [*map(numbers.count, parts), numbers.factor(own["over_plain"])]
            paid += [numbers.count(own["tuning"]), numbers.count(own["for_one"])]
            rows.append([names.recipe(pair, name), numbers.factor(own["step"]), *paid])
        groups.append(Group(names.pair(pair), rows))
    return lean(Table(header, "lrrrrrrr", groups))


def equal_cost(summary: Summary, cost: Cost, names: Names) -> Table | None:
    """Every recipe against plain training of the same core time, without its teacher and with a share of it.

    None where no pair has plain students of several schedules, between which a time could lie.
    """
    if all(len(content["plain"]) < 2 for content in summary["pairs"].values()):
        return None
    groups = []
    for pair, content in summary["pairs"].items():
        costs = cost["pairs"][pair]["recipes"]
        rows = [_equal(names.recipe(pair, name), stats, costs[name]) for name, stats in distilled(content).items()]
        groups.append(Group(names.pair(pair), rows))
    interval = " [95 %]" if verdicts.judged(summary) else ""
    each = ["Core time\n(s)", "Plain\n(%)", f"Difference\n(points){interval}"]
    spans = [("", 2), ("Without the teacher", 3), ("With its share", 3)]
    return lean(Table(["Recipe", "AP50\n(%)", *each, *each], "lr" + "rrr" * 2, groups, spans))


def _equal(label: str, stats: RecipeStats, cost: RecipeCost) -> list[str]:
    row = [label, numbers.points(stats["AP50"]["mean"])]
    for equal in (cost["alone"], cost["taught"]):
        if equal is None:
            row += [numbers.NONE] * 3
        elif equal["place"] != "within":
            row += [numbers.count(equal["core_seconds"]), equal["place"], ""]
        else:
            difference = numbers.points(equal["difference"], signed=True)
            interval = numbers.interval(equal["low"], equal["high"]) if equal["low"] is not None else ""
            plain = numbers.points(equal["plain"])
            row += [numbers.count(equal["core_seconds"]), plain, f"{difference} {interval}".strip()]
    return row


def mistakes(summary: Summary, names: Names) -> Table:
    """AP50 lost to each kind of mistake, and AP50 by thirds of the objects' sizes; plain and teacher included."""
    header = ["Model", *(kind.capitalize() for kind in KINDS), *(size.capitalize() for size in TERCILES)]
    groups = []
    for pair, content in summary["pairs"].items():
        rows = []
        for name, stats in _models(content):
            lost = [numbers.points(stats["errors"][kind]["mean"]) for kind in KINDS]
            found = [numbers.points(stats["by_size"][size]["mean"]) for size in TERCILES]
            rows.append([names.recipe(pair, name), *lost, *found])
        groups.append(Group(names.pair(pair), rows))
    spans = [("", 1), ("AP50 lost to (points)", len(KINDS)), ("AP50 of the third (%)", len(TERCILES))]
    return lean(Table(header, "l" + "r" * (len(header) - 1), groups, spans))


def regions(summary: Summary, names: Names, literature: Literature) -> Table:
    """How much denser the gradient lies in objects than over the maps, of a run's native losses and of its methods.

    At the first validation and at the last. A recipe of several methods has a row for each.
    """
    header = ["Model", "First", "Last", "First", "Last", "First", "Last"]
    spans = [("", 1), ("Cells in objects (%)", 2), ("Native losses", 2), ("Distillation", 2)]
    groups = []
    for pair, content in summary["pairs"].items():
        rows = []
        for name, stats in _models(content):
            if not stats["inside"]["last"]:
                continue
            losses = [loss for loss in stats["inside"]["last"] if loss not in (AREA, NATIVE)]
            start = [names.recipe(pair, name), *_inside(stats, AREA), *_inside(stats, NATIVE)]
            own = ["", ""] if len(losses) > 1 else _inside(stats, next(iter(losses), None))
            rows.append([*start, *own])
            if len(losses) > 1:
                rows += [[f"\u2003{literature.name(loss)}", *[""] * 4, *_inside(stats, loss)] for loss in losses]
        groups += [Group(names.pair(pair), rows)] if rows else []
    return lean(Table(header, "lrrrrrr", groups, spans))


def _inside(stats: RunStats, loss: str | None) -> list[str]:
    """At the first validation and at the last: cells in percent; a gradient, if any, as its share over theirs."""
    told = []
    for when in ("first", "last"):
        inside = {name: stat["mean"] for name, stat in stats["inside"][when].items()}
        area, share = inside.get(AREA), inside.get(loss) if loss else None
        dense = numbers.factor(share / area if area and share is not None else None)
        told.append(numbers.points(area) if loss == AREA else dense)
    return told


def _models(content: PairSummary) -> list[tuple[str, RunStats]]:
    """Teacher, plain students and recipes, as far as they have results."""
    students = [(name, content["recipes"][name]) for name in (*content["plain"], *distilled(content))]
    return [(name, stats) for name, stats in [(paths.TEACHER, content["teacher"]), *students] if stats["AP50"]["n"]]


def models(summary: Summary, cost: Cost, names: Names) -> Table:
    """What teacher and student cost to run, and every precision of teacher, plain and best distilled student."""
    header = ["Model", "Parameters", "MFLOP", "File\n(kB)", "Latency\n(ms)", "AP50", "AP", "AP75", "APs", "APm", "APl"]
    header += ["VOC\narea", "VOC\n11 points"]
    spans = [("", 1), ("Cost of the model", 4), ("Precision (%)", 8)]
    keys = ("AP50", "AP", "AP75", "AP_small", "AP_medium", "AP_large", "voc_AP50_area", "voc_AP50_11point")
    groups = []
    for pair, content in summary["pairs"].items():
        rows, latency = [], cost["pairs"][pair]["latency"]
        for recipe, stats in compared(content):
            side = paths.TEACHER if recipe == paths.TEACHER else paths.STUDENT
            size = [
                numbers.count(stats["parameters"]),
                numbers.scaled(stats["flops"], 1e6),
                numbers.scaled(stats["checkpoint_bytes"], 1e3, 0),
                numbers.scaled(latency[side], 1, 1) if latency else numbers.NONE,
            ]
            found = [numbers.points(stats[key]["mean"]) for key in keys]  # type: ignore[literal-required]
            label = names.recipe(pair, recipe)
            rows.append([label, *size, *found] if stats["AP50"]["n"] else [label, MISSING, *[""] * 11])
        groups.append(Group(names.pair(pair), rows))
    return lean(Table(header, "l" + "r" * 12, groups, spans))


def compared(content: PairSummary) -> list[tuple[str, RunStats]]:
    """Teacher, the distilled student that validation chose and before it its plain one, as far as there are any."""
    return [(paths.TEACHER, content["teacher"]), *((name, content["recipes"][name]) for name in shown(content) if name)]
