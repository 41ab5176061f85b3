"""AP50 against what it costs: core time to train, and size, arithmetic and latency of the model that is left."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, StrMethodFormatter

from detdistill.core import paths
from detdistill.report import taxonomy
from detdistill.report.figures.style import FULL_WIDTH, INK, PLAIN, SEVERAL_LEVELS, TEACHER, colour, light_grid
from detdistill.report.names import Names
from detdistill.report.summary import PairSummary, RunStats, Summary

_MARKERS = "osD^v"
_MODEL = ("Parameters (k)", "MFLOP", "Latency (ms)")
_LABEL_SIZE = 6.5
# The share of a panel's width that a letter of a label takes.
_LETTER = 0.026
_PANEL_HEIGHT = 1.6  # inches, about
# More pairs than this, and the models get a row of their own.
PAIRS_BESIDE = 2
LEGEND_ACROSS = 10


def draw(summary: Summary, names: Names) -> Figure:
    """First the students of each pair by the core time of their training, then all models by what they cost to run."""
    pairs = summary["pairs"]
    figure, training, model = _panels(len(pairs))
    for axes, marker, pair in zip(training, _MARKERS, pairs, strict=False):
        _training(axes, pair, pairs[pair], marker, names)
        axes.set_title(names.pair(pair), fontweight="bold")
    training[0].set_ylabel("Test AP50 (%)")
    for position, (axes, label) in enumerate(zip(model, _MODEL, strict=True)):
        for marker, content in zip(_MARKERS, pairs.values(), strict=False):
            _model(axes, content, position, marker)
        axes.set(xlabel=label, xscale="log")
        axes.margins(x=0.25)
        axes.set_xticks(_round(*axes.get_xlim(), most=3 if len(pairs) <= PAIRS_BESIDE else 6))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        light_grid(axes, "both")
    model[0].set_ylabel("" if len(pairs) <= PAIRS_BESIDE else training[0].get_ylabel())
    model[1].set_title("All models", fontweight="bold")
    for axes in model[1:]:
        axes.sharey(model[0])
        axes.tick_params(labelleft=False)
    handles = _legend(summary, names)
    rows = math.ceil(len(handles) / LEGEND_ACROSS)
    columns = math.ceil(len(handles) / rows)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handletextpad=0.1, columnspacing=0.9)
    return figure


def _panels(pairs: int) -> tuple[Figure, list[Axes], list[Axes]]:
    """All panels in one row, or a row of the pairs above one of the models where that leaves too little room."""
    if pairs <= PAIRS_BESIDE:
        figure = Figure(figsize=(FULL_WIDTH, 2.75), layout="constrained")
        panels = list(figure.subplots(1, pairs + len(_MODEL), width_ratios=[2.1] * pairs + [1] * len(_MODEL)))
        return figure, panels[:pairs], panels[pairs:]
    figure = Figure(figsize=(FULL_WIDTH, 4.4), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[2.6, 1.6])  # type: ignore[misc]
    return figure, list(upper.subplots(1, pairs)), list(lower.subplots(1, len(_MODEL)))


def _training(axes: Axes, pair: str, content: PairSummary, marker: str, names: Names) -> None:
    """Every student of a pair, and a dashed line from the plain one to its longer self: what time alone buys."""
    recipes = content["recipes"]
    points: list[tuple[float, float, str]] = []
    for name, stats in recipes.items():
        seconds, ap50 = stats["core_seconds"], stats["AP50"]
        hue = colour(stats["levels"]) if stats["kind"] == "distilled" else PLAIN
        seeds = sorted(seconds["values"].keys() & ap50["values"].keys())
        x, y = [seconds["values"][seed] for seed in seeds], [100 * ap50["values"][seed] for seed in seeds]
        axes.plot(x, y, marker, ms=2.4, mfc="none", mec=hue, mew=0.5)
        if seconds["mean"] is not None and ap50["mean"] is not None:
            axes.plot([seconds["mean"]], [100 * ap50["mean"]], marker, ms=5, mfc=hue, mec="white", mew=0.5)
            points.append((seconds["mean"], 100 * ap50["mean"], names.recipe(pair, name)))
    ends = [recipes[name] for name in (paths.PLAIN, paths.PLAIN_LONG) if name in recipes and recipes[name]["runs"]]
    if len(ends) == 2:
        x = [end["core_seconds"]["mean"] or 0.0 for end in ends]
        y = [100 * (end["AP50"]["mean"] or 0.0) for end in ends]
        axes.plot(x, y, color=PLAIN, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)
    axes.set_xlabel("Core time of training (s)")
    axes.margins(x=0.12, y=0.08)
    light_grid(axes, "both")
    _labels(axes, points)


def _labels(axes: Axes, points: list[tuple[float, float, str]]) -> None:
    """Names beside their points, in a column at the right, pushed apart where they would touch."""
    if not points:
        return
    left, right = axes.get_xlim()
    share = min(_LETTER * max(len(name) for _, _, name in points), 0.6)
    axes.set_xlim(left, right + share / (1 - share) * (right - left))
    bottom, top = axes.get_ylim()
    # As much of the panel as a line of text takes.
    gap = 1.1 * _LABEL_SIZE / 72 / _PANEL_HEIGHT * (top - bottom)
    heights: list[float] = []
    for _, y, _ in sorted(points, key=lambda point: point[1]):
        heights.append(max(y, heights[-1] + gap) if heights else y)
    shift = max(0.0, heights[-1] - top + gap / 2)
    for (x, y, name), height in zip(sorted(points, key=lambda point: point[1]), heights, strict=True):
        axes.plot([x, right], [y, height - shift], color=INK, linewidth=0.25, alpha=0.5, zorder=0)
        axes.text(right, height - shift, f" {name}", va="center", fontsize=_LABEL_SIZE)


def _model(axes: Axes, content: PairSummary, cost: int, marker: str) -> None:
    students = [stats for stats in content["recipes"].values() if stats["kind"] != "plain_long"]
    hues = [colour(stats["levels"]) if stats["kind"] == "distilled" else PLAIN for stats in students]
    for stats, hue in [(content["teacher"], TEACHER), *zip(students, hues, strict=True)]:
        x, y = _costs(stats)[cost], stats["AP50"]["mean"]
        if x and y is not None:
            axes.plot([x], [100 * y], marker, ms=4.5, mfc=hue, mec="white", mew=0.5)


def _round(low: float, high: float, most: int) -> list[float]:
    """Round numbers between the ends of a logarithmic axis, as dense as `most` of them allow."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    found: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(found) <= most:
            break
    return found


def _costs(stats: RunStats) -> tuple[float | None, float | None, float | None]:
    parameters, flops = stats["parameters"], stats["flops"]
    return parameters and parameters / 1e3, flops and flops / 1e6, stats["milliseconds_per_image"]["mean"]


def _legend(summary: Summary, names: Names) -> list[Line2D]:
    def mark(label: str, face: str, edge: str, marker: str) -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, ms=4.5, mfc=face, mec=edge, mew=0.7, label=label)

    shapes = [
        mark(names.pair(pair), "none", INK, marker) for marker, pair in zip(_MARKERS, summary["pairs"], strict=False)
    ]
    hues = {"Teacher": TEACHER, "Plain": PLAIN}
    for row in summary["levels"]:
        single = len(row["levels"]) == 1
        hues[taxonomy.label(row["levels"]) if single else "Several levels"] = (
            colour(row["levels"]) if single else SEVERAL_LEVELS
        )
    return [*shapes, *(mark(label, hue, "none", "o") for label, hue in hues.items())]
