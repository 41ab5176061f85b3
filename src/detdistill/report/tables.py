"""The tables of results: from the summary to rows of printed strings. Nothing is computed here."""

from dataclasses import dataclass, field

from detdistill.core import paths
from detdistill.report import numbers, taxonomy
from detdistill.report.choice import best_recipe
from detdistill.report.names import Names
from detdistill.report.statistics import Stat
from detdistill.report.summary import PairSummary, RecipeStats, RunStats, Summary, distilled

MISSING = "missing"
CLASSES_ACROSS = 10
# With more, a table of all of them is no longer read.
CLASSES_SHOWN = 20


@dataclass(frozen=True)
class Group:
    """Rows under a common heading, or under none."""

    title: str | None
    rows: list[list[str]]


@dataclass(frozen=True)
class Table:
    """`align` has one of l, c, r a column; `spans` is an optional row of (heading, columns) above the header."""

    header: list[str]
    align: str
    groups: list[Group]
    spans: list[tuple[str, int]] = field(default_factory=list)


def results(summary: Summary, names: Names) -> Table:
    """The table by level: every pair's teacher and plain students, then its recipes from the backbone onwards."""
    header = [
        "Level",
        "Recipe",
        "AP50",
        "AP",
        "Gain at equal steps",
        "Seeds\nbetter",
        "Gain at equal core time",
        "Gap\nclosed",
        "Core\ntime",
        "Verdict",
    ]
    groups = []
    for pair, content in summary["pairs"].items():
        rows = [["", "Teacher", precision(content["teacher"], "AP50"), _stat(content["teacher"], "AP"), *[""] * 6]]
        for plain in (paths.PLAIN, paths.PLAIN_LONG):
            if plain in content["recipes"]:
                rows.append(_plain(names.recipe(pair, plain), content["recipes"][plain]))
        rows += [_distilled(names.recipe(pair, recipe), stats) for recipe, stats in distilled(content).items()]
        groups.append(Group(names.pair(pair), rows))
    return Table(header, "llrrrcrrrl", groups)


def _plain(label: str, stats: RecipeStats) -> list[str]:
    longer = stats["kind"] == "plain_long"
    gain = numbers.gain(stats["gain_equal_steps"]) if longer and stats["runs"] else ""
    label = f"{label} ({stats['schedule_factor']:g}×)" if longer else label
    cost = numbers.factor(stats["overhead"]["mean"] and stats["overhead"]["mean"] * stats["schedule_factor"])
    return [
        "",
        label,
        precision(stats, "AP50"),
        _stat(stats, "AP"),
        gain,
        "",
        "",
        "",
        cost if stats["runs"] else "",
        "",
    ]


def _distilled(label: str, stats: RecipeStats) -> list[str]:
    start = [taxonomy.label(stats["levels"]), label, precision(stats, "AP50")]
    if not stats["runs"]:
        return [*start, *[""] * 7]
    overhead = stats["overhead"]["mean"]
    return [
        *start,
        _stat(stats, "AP"),
        numbers.gain(stats["gain_equal_steps"]),
        f"{stats['seeds_better']} of {stats['gain_equal_steps']['n']}",
        numbers.gain(stats["gain_equal_time"]),
        numbers.percent(stats["gap_closed"]["mean"]),
        numbers.factor(overhead and overhead * stats["schedule_factor"]),
        stats["verdict"],
    ]


def precision(stats: RunStats, name: str) -> str:
    """Mean and spread, with the seeds that are missing named; `missing` when none has results."""
    if not stats["runs"]:
        return MISSING
    seeds = ", ".join(str(seed) for seed in stats["missing"])
    return _stat(stats, name) + (f" (seed {seeds} missing)" if seeds else "")


def _stat(stats: RunStats, name: str) -> str:
    stat: Stat = stats[name]  # type: ignore[literal-required]
    return numbers.spread(stat) if stats["runs"] else ""


def models(summary: Summary, names: Names) -> Table:
    """What teacher and student cost to run, and every precision of teacher, plain and best distilled student."""
    header = ["Model", "Parameters", "MFLOP", "File, kB", "ms/image", "AP50", "AP", "AP75", "APs", "APm", "APl"]
    header += ["VOC area", "VOC 11-pt"]
    groups = []
    for pair, content in summary["pairs"].items():
        rows = []
        for recipe, stats in compared(content):
            size = [
                numbers.count(stats["parameters"]),
                numbers.scaled(stats["flops"], 1e6),
                numbers.scaled(stats["checkpoint_bytes"], 1e3, 0),
                numbers.scaled(stats["milliseconds_per_image"]["mean"], 1),
            ]
            keys = ("AP50", "AP", "AP75", "AP_small", "AP_medium", "AP_large", "voc_AP50_area", "voc_AP50_11point")
            found = [numbers.points(stats[key]["mean"]) for key in keys]  # type: ignore[literal-required]
            label = names.recipe(pair, recipe)
            rows.append([label, *size, *found] if stats["runs"] else [label, MISSING, *[""] * 11])
        groups.append(Group(names.pair(pair), rows))
    return Table(header, "l" + "r" * 12, groups)


def classes(summary: Summary, names: Names, class_names: list[str]) -> list[Table]:
    """Test AP50 and AP of every class, a column each, for the models of `compared`; ten classes a table.

    None at all for more than `CLASSES_SHOWN` classes.
    """
    if len(class_names) > CLASSES_SHOWN:
        return []
    parts = [class_names[start : start + CLASSES_ACROSS] for start in range(0, len(class_names), CLASSES_ACROSS)]
    return [_classes(summary, names, part) for part in parts]


def _classes(summary: Summary, names: Names, class_names: list[str]) -> Table:
    groups = []
    for pair, content in summary["pairs"].items():
        rows = []
        for recipe, stats in compared(content):
            cells = [_precisions(stats, name) if stats["runs"] else MISSING for name in class_names]
            rows.append([names.recipe(pair, recipe), *cells])
        groups.append(Group(names.pair(pair), rows))
    return Table(["Model", *class_names], "l" + "r" * len(class_names), groups)


def _precisions(stats: RunStats, name: str) -> str:
    return " / ".join(numbers.points(each[name]["mean"]) for each in (stats["per_class_AP50"], stats["per_class_AP"]))


def compared(content: PairSummary) -> list[tuple[str, RunStats]]:
    """Teacher, plain student and the distilled one that validation chose, as far as the study has them."""
    best = best_recipe(content)
    chosen = [name for name in (paths.PLAIN, best) if name is not None and name in content["recipes"]]
    return [(paths.TEACHER, content["teacher"]), *((name, content["recipes"][name]) for name in chosen)]
