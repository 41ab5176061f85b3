"""AP50 against the core time of training: what plain training buys, and where every recipe stands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from detdistill.analysis.cost import Cost
from detdistill.analysis.summary import Summary
from detdistill.report.figures import labels
from detdistill.report.figures.labels import Label
from detdistill.report.figures.students import Student, distilled_students, plain_students
from detdistill.report.figures.style import (
    ALL,
    FULL_WIDTH,
    INK,
    PLAIN,
    across_of,
    level_handles,
    light_grid,
    panels_of,
)
from detdistill.report.names import Names

_HEIGHT, _LOW = 2.9, 2.2  # inches, the second where plain training has one schedule; the panels have all of it but:
_OUTSIDE = 0.95
_AXIS = 0.45  # inches of a panel's width
_NAMED = 0.65  # of the width, at most
_MOST_TICKS = 4
LEAST_SPAN = 5.0
"""Points of AP50 in a panel at least, so that a small gain looks small."""


@dataclass(frozen=True)
class Panel:
    """The students of a pair; the recipes above the line of plain training have their names on its left."""

    pair: str
    plain: list[Student]
    left: list[Student]
    right: list[Student]
    names: dict[str, str]

    @property
    def beside(self) -> tuple[list[str], list[str]]:
        """The names on either side."""
        left, right = ([self.names[student.recipe] for student in side] for side in (self.left, self.right))
        return left, right


def draw(summary: Summary, cost: Cost, names: Names) -> Figure:
    """A panel a pair: filled without the teacher, open with a share of its training; the line is plain training."""
    across = across_of(len(summary["pairs"]))
    told = [_read(summary, cost, pair, names, across) for pair in summary["pairs"]]
    ladder = any(len(panel.plain) > 1 for panel in told)
    tallest = max(labels.height(side) for panel in told for side in panel.beside)
    height = max(_HEIGHT if ladder else _LOW, _OUTSIDE + tallest)
    figure = Figure(figsize=(FULL_WIDTH, height * -(-len(told) // across)), layout="constrained")
    widths = _widths(told, across)
    grid = panels_of(figure, len(told), width_ratios=[_AXIS + width for width in widths])
    for place, (axes, panel) in enumerate(zip(grid, told, strict=True)):
        _panel(axes, panel, widths[place % across], height - _OUTSIDE)
        axes.set_title(names.pair(panel.pair), fontweight="bold")
    for axes in grid[::across]:
        axes.set_ylabel("Test AP50 (%)")
    handles = [*_legend(told), *level_handles(summary)]
    figure.legend(handles=handles, loc="outside lower center", ncols=-(-len(handles) // 2), columnspacing=1.4)
    return figure


def _widths(told: Sequence[Panel], across: int) -> list[float]:
    """Inches of each panel in a row, so that beside its names every one has as much room for its students."""
    inside = FULL_WIDTH - across * _AXIS
    named = [max(sum(map(labels.width, panel.beside)) for panel in told[place::across]) for place in range(across)]
    fit = min(1.0, _NAMED * inside / sum(named)) if sum(named) else 1.0
    return [fit * inches + (inside - fit * sum(named)) / across for inches in named]


def _read(summary: Summary, cost: Cost, pair: str, names: Names, across: int) -> Panel:
    content, costs = summary["pairs"][pair], cost["pairs"][pair]
    plain, recipes = plain_students(content, costs), distilled_students(content, costs)
    ends = plain[-1].alone if len(plain) > 1 else 0.0
    above = [each.alone < ends and each.mean > _line(plain, each.alone) for each in recipes]
    left, right = ([each for each, over in zip(recipes, above, strict=True) if over == side] for side in (True, False))
    told = {each.recipe: labels.wrapped(names.recipe(pair, each.recipe), across) for each in recipes}
    return Panel(pair, plain, left, right, told)


def _line(plain: Sequence[Student], seconds: float) -> float:
    """Plain training of so many core seconds; the nearest schedule beyond the ends."""
    return float(np.interp(math.log(seconds), [math.log(each.alone) for each in plain], [each.mean for each in plain]))


def _panel(axes: Axes, panel: Panel, width: float, height: float) -> None:
    """`width` and `height` are the inches that it has."""
    plain, recipes = panel.plain, [*panel.left, *panel.right]
    axes.plot([each.alone for each in plain], [each.mean for each in plain], color=PLAIN, zorder=2)
    for student in (*plain, *recipes):
        _mark(axes, student)
    if len(plain) > 1:
        for student in plain:
            told, at = f"{student.schedule:g}×", (student.alone, student.mean)
            axes.annotate(told, at, (-4, 3), textcoords="offset points", ha="right", fontsize=6.3, color=PLAIN)
    axes.set(xscale="log", xlabel="Core time of training (s, log scale)")
    light_grid(axes, "both")
    if plain or recipes:
        _names(axes, panel, width, height)


def _mark(axes: Axes, student: Student) -> None:
    style: dict[str, Any] = {"color": student.hue, "linewidth": 0.7, "zorder": 1}
    axes.plot([student.alone] * 2, [student.mean - student.spread, student.mean + student.spread], **style)
    if student.taught is not None:
        axes.plot([student.alone, student.taught], [student.mean] * 2, **style)
        axes.plot([student.taught], [student.mean], "o", ms=4, mfc="white", mec=student.hue, mew=0.9)
    axes.plot([student.alone], [student.mean], "o", ms=5, mfc=student.hue, mec="white", mew=0.5, zorder=3)


def _names(axes: Axes, panel: Panel, width: float, height: float) -> None:
    """The names and the limits that leave them room; those on the right may stand under the line."""
    students = [*panel.plain, *panel.left, *panel.right]
    bottom, top = _heights(students)
    line = labels.LINE / height * (top - bottom)
    first, last = math.log10(min(each.alone for each in students)), math.log10(max(each.paid for each in students))
    begins = max((each.paid for each in panel.right), default=10**first)
    stands = bottom + line * labels.height(panel.beside[1]) / labels.LINE
    reaches = max([stands, *(each.mean + line / 2 for each in panel.right)])
    if panel.plain and reaches > _line(panel.plain, begins):
        begins = 10**last
    left, right = (labels.width(side) / width for side in panel.beside)
    least, most, span = _times(first, last, math.log10(begins), left, right)
    axes.set(xlim=(10**least, 10**most), ylim=(bottom, top))
    axes.xaxis.set_major_locator(FixedLocator(_ticks(10**first, 10**last)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    way = labels.WAY / width * span
    before = [Label(each.alone, each.mean, panel.names[each.recipe]) for each in panel.left]
    after = [Label(each.paid, each.mean, panel.names[each.recipe]) for each in panel.right]
    labels.column(axes, before, 10 ** (first - way), line, "left")
    labels.column(axes, after, begins * 10**way, line, "right")


def _heights(students: Sequence[Student]) -> tuple[float, float]:
    """Limits of AP50 around the students and their spreads."""
    low, high = min(each.mean - each.spread for each in students), max(each.mean + each.spread for each in students)
    missing = max(LEAST_SPAN - (high - low), 0.0) / 2
    margin = 0.08 * (high - low + 2 * missing) + missing
    return low - margin, min(high + margin, ALL)


def _times(first: float, last: float, begins: float, left: float, right: float) -> tuple[float, float, float]:
    """Limits of the logarithm of time and their distance: the names take these shares, the right ones from `begins`."""
    fit = min(1.0, _NAMED / (left + right or 1))
    left, right = left * fit, right * fit
    margin = 0.05 * (last - first) or 0.1
    span = max((last - first + 2 * margin) / (1 - left), (begins - first + margin) / (1 - left - right))
    return first - margin - left * span, first - margin + (1 - left) * span, span


def _ticks(low: float, high: float) -> list[float]:
    """Round seconds where the data lie, few enough to be read; the names have the rest of the axis."""
    for digits in ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)):
        found = [digit * 10**power for power in range(9) for digit in digits if low <= digit * 10**power <= high]
        if len(found) <= _MOST_TICKS:
            break
    return found


def _legend(told: Sequence[Panel]) -> list[Line2D]:
    alone: dict[str, Any] = {"linestyle": "", "marker": "o", "mec": INK, "mfc": INK, "mew": 0.9}
    line = {"linestyle": "-"} if any(len(panel.plain) > 1 for panel in told) else {}
    handles = [
        Line2D([], [], **alone | line | {"color": PLAIN, "mfc": PLAIN, "mec": "white"}, ms=5, label="plain training"),
        Line2D([], [], **alone, ms=4, label="recipe, without its teacher"),
        Line2D([], [], **alone | {"mfc": "white"}, ms=4, label="with a share of its teacher"),
    ]
    if any(each.spread for panel in told for each in (*panel.plain, *panel.left, *panel.right)):
        handles.append(Line2D([], [], linestyle="", marker="|", ms=8, mec=INK, mew=0.7, label="standard deviation"))
    return handles
