"""Learning curves: validation AP50 against training steps, the mean over seeds and their range."""

import math
from collections import defaultdict

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from detdistill.analysis.results import read_learning
from detdistill.analysis.summary import RunStats, Summary, distilled
from detdistill.core import paths
from detdistill.report.figures.style import FULL_WIDTH, PLAIN, TEACHER, colour, columns, legend_below, light_grid
from detdistill.report.names import Names

# Recipes of one level share a hue, so they differ by their dashes.
_PANEL_HEIGHT, _LEGEND_LINE = 2.1, 0.14  # inches
_DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.5), (1.2, 1.2), (6, 1.2, 1.2, 1.2), (2.5, 1.2))


def draw(summary: Summary, names: Names) -> Figure:
    """One panel a pair: teacher, plain students and every recipe, in steps of their own schedule."""
    pairs = list(summary["pairs"])
    longest = max(1 + len(content["recipes"]) for content in summary["pairs"].values())
    height = _PANEL_HEIGHT + _LEGEND_LINE * math.ceil(longest / columns(len(pairs)))
    figure = Figure(figsize=(FULL_WIDTH, height), layout="constrained")
    for axes, pair in zip(figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0], pairs, strict=True):
        _panel(axes, summary, pair, names)
    figure.axes[0].set_ylabel("Validation AP50 (%)")
    return figure


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
    legend_below(axes, len(summary["pairs"]))


def _curve(study: str, pair: str, recipe: str, run: RunStats) -> dict[int, list[float]]:
    """Step -> AP50 in points of every seed that has it; a seed without results has none."""
    curve: dict[int, list[float]] = defaultdict(list)
    for seed in run["AP50"]["values"]:
        for point in read_learning(paths.run(study, pair, recipe, seed, "learning.json")):
            if point["AP50"] is not None:
                curve[point["step"]].append(100 * point["AP50"])
    return dict(sorted(curve.items()))
