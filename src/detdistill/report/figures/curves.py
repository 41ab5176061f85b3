"""Learning curves: validation AP50 against training steps, the mean over seeds and their range."""

import math
from collections import defaultdict

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from detdistill.analysis.results import read_learning
from detdistill.analysis.summary import RunStats, Summary, by_level, distilled
from detdistill.core import paths
from detdistill.report.figures.style import (
    FULL_WIDTH,
    PLAIN,
    TEACHER,
    across_of,
    colour,
    columns,
    group,
    legend_below,
    light_grid,
    panels_of,
)
from detdistill.report.names import Names

# Recipes of one level share a hue, so they differ by their dashes.
_PANEL_HEIGHT, _LEGEND_LINE = 2.1, 0.14  # inches
MOST_LINES = 12  # of a panel whose lines have a name each
_DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.5), (1.2, 1.2), (6, 1.2, 1.2, 1.2), (2.5, 1.2))


def draw(summary: Summary, names: Names) -> Figure:
    """One panel a pair: teacher, plain students and every recipe, in steps of their own schedule.

    A legend a panel, or where that would be long, one of the levels' colours for all.
    """
    pairs = summary["pairs"]
    longest = max(1 + len(content["recipes"]) for content in pairs.values())
    crowded = longest > MOST_LINES or len(pairs) > 3
    rows = -(-len(pairs) // across_of(len(pairs)))
    legend = 0.3 if crowded else _LEGEND_LINE * math.ceil(longest / columns(len(pairs)))
    figure = Figure(figsize=(FULL_WIDTH, _PANEL_HEIGHT * rows + legend), layout="constrained")
    panels = panels_of(figure, len(pairs), sharey=True)
    for axes, pair in zip(panels, pairs, strict=True):
        _panel(axes, summary, pair, names)
        if not crowded:
            legend_below(axes, len(pairs))
    for axes in panels[:: across_of(len(pairs))]:
        axes.set_ylabel("Validation AP50 (%)")
    if crowded:
        figure.legend(handles=_levels(summary), loc="outside lower center", ncols=6, columnspacing=1.2)
    return figure


def _levels(summary: Summary) -> list[Line2D]:
    """What the colours say."""
    acting = {group(stats["levels"]): colour(stats["levels"]) for _, _, stats in by_level(summary)}
    hues = {"Teacher": TEACHER, "Plain student": PLAIN, **acting}
    return [Line2D([], [], color=hue, label=label) for label, hue in hues.items()]


def _panel(axes: Axes, summary: Summary, pair: str, names: Names) -> None:
    content = summary["pairs"][pair]

    def line(recipe: str, run: RunStats, hue: str, dashes: tuple[float, ...], width: float = 1.1) -> None:
        curve = _curve(summary["study"], pair, recipe, run)
        if not curve:
            return
        steps = list(curve)
        low, high = [min(curve[step]) for step in steps], [max(curve[step]) for step in steps]
        mean = [sum(curve[step]) / len(curve[step]) for step in steps]
        axes.plot(steps, mean, color=hue, dashes=dashes, linewidth=width, label=names.recipe(pair, recipe))
        axes.fill_between(steps, low, high, color=hue, alpha=0.13, linewidth=0)

    line(paths.TEACHER, content["teacher"], TEACHER, (), 1.4)
    for recipe, dashes in zip(content["plain"], _DASHES, strict=False):
        line(recipe, content["recipes"][recipe], PLAIN, dashes, 1.6)
    used: dict[str, int] = defaultdict(int)
    for recipe, stats in distilled(content).items():
        hue = colour(stats["levels"])
        line(recipe, stats, hue, _DASHES[used[hue] % len(_DASHES)])
        used[hue] += 1
    axes.set_title(names.pair(pair), fontweight="bold")
    axes.set(xlabel="Training steps", xlim=(0, None), ylim=(0, None))
    light_grid(axes, "y")


def _curve(study: str, pair: str, recipe: str, run: RunStats) -> dict[int, list[float]]:
    """Step -> AP50 in points of every seed that has it; a seed without results has none."""
    curve: dict[int, list[float]] = defaultdict(list)
    for seed in run["AP50"]["values"]:
        for point in read_learning(paths.run(study, pair, recipe, seed, "learning.json")):
            if point["AP50"] is not None:
                curve[point["step"]].append(100 * point["AP50"])
    return dict(sorted(curve.items()))
