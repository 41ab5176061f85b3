"""AP50 against the core time of training: what plain training buys, and where every recipe stands."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from detdistill.analysis.cost import Cost, PairCost
from detdistill.analysis.summary import PairSummary, Summary, distilled
from detdistill.report.figures.style import FULL_WIDTH, INK, PLAIN, across_of, colour, light_grid, panels_of
from detdistill.report.names import Names

_HEIGHT, _LOW = 2.9, 2.2  # inches, the second where plain training has one schedule; the panels have all of it but:
_OUTSIDE = 0.8
_LABEL_SIZE = 6.3
_MOST_TICKS = 4
_LETTER = 0.021
"""The share of a panel's width that a letter of a label takes where there are three panels."""
_LINE = 1.15 * _LABEL_SIZE / 72
"""Inches that a line of text takes."""

Point = tuple[float, float, str]
"""Seconds, AP50 and label of a recipe."""


def draw(summary: Summary, cost: Cost, names: Names) -> Figure:
    """A panel a pair: filled without the teacher, open with a share of its training; the line is plain training."""
    pairs, across = summary["pairs"], across_of(len(summary["pairs"]))
    most = max(len(distilled(content)) for content in pairs.values())
    ladder = any(len(content["plain"]) > 1 for content in pairs.values())
    height = max(_HEIGHT if ladder else _LOW, _OUTSIDE + most * _LINE)
    figure = Figure(figsize=(FULL_WIDTH, height * -(-len(pairs) // across)), layout="constrained")
    panels = panels_of(figure, len(pairs))
    for axes, (pair, content) in zip(panels, pairs.items(), strict=True):
        points = _panel(axes, pair, content, cost["pairs"][pair], names)
        _labels(axes, points, _LETTER * across / 3, _LINE / (height - _OUTSIDE))
        axes.set_title(names.pair(pair), fontweight="bold")
    for axes in panels[::across]:
        axes.set_ylabel("Test AP50 (%)")
    figure.legend(handles=_legend(ladder), loc="outside lower center", ncols=3)
    return figure


def _panel(axes: Axes, pair: str, content: PairSummary, cost: PairCost, names: Names) -> list[Point]:
    curve = sorted(
        (seconds, 100 * ap50)
        for name in content["plain"]
        if (seconds := cost["recipes"][name]["core_seconds"]) and (ap50 := content["recipes"][name]["AP50"]["mean"])
    )
    axes.plot([x for x, _ in curve], [y for _, y in curve], "o-", color=PLAIN, ms=4, mec="white", mew=0.5, zorder=2)
    points: list[Point] = []
    for name, stats in distilled(content).items():
        own, ap50, hue = cost["recipes"][name], stats["AP50"]["mean"], colour(stats["levels"])
        alone, taught = own["core_seconds"], own["with_teacher"]
        if ap50 is None or alone is None:
            continue
        if taught is not None:
            axes.plot([alone, taught], [100 * ap50] * 2, color=hue, linewidth=0.7, zorder=1)
            axes.plot([taught], [100 * ap50], "o", ms=4, mfc="white", mec=hue, mew=0.9)
        axes.plot([alone], [100 * ap50], "o", ms=5, mfc=hue, mec="white", mew=0.5, zorder=3)
        points.append((taught or alone, 100 * ap50, names.recipe(pair, name)))
    axes.set(xscale="log", xlabel="Core time of training (s)")
    axes.xaxis.set_major_locator(FixedLocator(_ticks(axes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.margins(x=0.08, y=0.08)
    light_grid(axes, "both")
    return points


def _ticks(axes: Axes) -> list[float]:
    """Round seconds where the data lie, few enough to be read; the labels have the rest of the axis."""
    low, high = axes.get_xlim()
    for digits in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)):
        found = [digit * 10**power for power in range(9) for digit in digits if low <= digit * 10**power <= high]
        if len(found) <= _MOST_TICKS:
            break
    return found


def _labels(axes: Axes, points: list[Point], letter: float, line: float) -> None:
    """Names beside their points, in a column at the right, pushed apart by `line`, a share of the panel's height."""
    if not points:
        return
    left, right = axes.get_xlim()
    share = min(letter * max(len(name) for _, _, name in points), 0.6)
    axes.set_xlim(left, right * (right / left) ** (share / (1 - share)))
    bottom, top = axes.get_ylim()
    gap = line * (top - bottom)
    ranked = sorted(points, key=lambda point: point[1])
    heights: list[float] = []
    for _, y, _ in ranked:
        heights.append(max(y, heights[-1] + gap) if heights else y)
    shift = max(0.0, heights[-1] - top + gap / 2)
    for (x, y, name), height in zip(ranked, heights, strict=True):
        axes.plot([x, right], [y, height - shift], color=INK, linewidth=0.25, alpha=0.5, zorder=0)
        axes.text(right, height - shift, f" {name}", va="center", fontsize=_LABEL_SIZE)


def _legend(ladder: bool) -> list[Line2D]:
    return [
        Line2D([], [], color=PLAIN, marker="o", ms=4, mec="white", label="plain training, by schedule")
        if ladder
        else Line2D([], [], linestyle="", marker="o", ms=4, mfc=PLAIN, mec="white", label="plain training"),
        Line2D([], [], linestyle="", marker="o", ms=5, mfc=INK, mec="white", label="recipe, without its teacher"),
        Line2D(
            [], [], linestyle="", marker="o", ms=4, mfc="white", mec=INK, label="with a share of the teacher's training"
        ),
    ]
