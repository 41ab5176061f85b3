"""Learning curves: validation AP50 against training steps, the mean over seeds and their range."""

from collections import defaultdict
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from detdistill.analysis.results import read_learning
from detdistill.analysis.summary import RunStats, Summary, distilled
from detdistill.core import paths
from detdistill.report.figures import labels
from detdistill.report.figures.labels import Label
from detdistill.report.figures.style import (
    FULL_WIDTH,
    PLAIN,
    TEACHER,
    across_of,
    colour,
    end_at_all,
    light_grid,
    panels_of,
)
from detdistill.report.names import Names

_HEIGHT, _OUTSIDE = 2.1, 0.6  # inches, of a row of panels and of that what is not theirs
_AXIS = 0.45  # inches of a panel's width
_NAMED = 0.55  # of a panel's width, at most


@dataclass(frozen=True)
class Curve:
    """Step -> AP50 in points of every seed that has it."""

    name: str
    hue: str
    longer: bool
    points: dict[int, list[float]]

    @property
    def steps(self) -> list[int]:
        return list(self.points)

    @property
    def means(self) -> list[float]:
        return [sum(seeds) / len(seeds) for seeds in self.points.values()]


def draw(summary: Summary, names: Names) -> Figure:
    """One panel a pair: the students of its shortest schedule; of teacher and longer schedules, where they end."""
    pairs, across = summary["pairs"], across_of(len(summary["pairs"]))
    told = {pair: _curves(summary, pair, names, across) for pair in pairs}
    tallest = max(labels.height(curve.name for curve in curves) for curves in told.values())
    height = max(_HEIGHT, _OUTSIDE + tallest)
    figure = Figure(figsize=(FULL_WIDTH, height * -(-len(pairs) // across)), layout="constrained")
    panels = panels_of(figure, len(pairs), sharey=True)
    for axes, pair in zip(panels, pairs, strict=True):
        _lines(axes, told[pair])
        axes.set_title(names.pair(pair), fontweight="bold")
    # The panels share the axis of AP50, which ends and has its names when all is drawn.
    end_at_all(panels[0])
    for axes, curves in zip(panels, told.values(), strict=True):
        _ends(axes, curves, FULL_WIDTH / across - _AXIS, height - _OUTSIDE)
    for axes in panels[::across]:
        axes.set_ylabel("Validation AP50 (%)")
    return figure


def _curves(summary: Summary, pair: str, names: Names, across: int) -> list[Curve]:
    """Of teacher, plain and distilled students, where there are any."""
    content = summary["pairs"][pair]
    recipes = [*content["plain"], *distilled(content)]
    shortest = min((content["recipes"][name]["schedule_factor"] for name in recipes), default=1.0)

    def curve(recipe: str, run: RunStats, hue: str, longer: bool) -> Curve:
        told = labels.wrapped(names.recipe(pair, recipe), across)
        return Curve(told, hue, longer, _points(summary["study"], pair, recipe, run))

    found = [curve(paths.TEACHER, content["teacher"], TEACHER, True)]
    for name in recipes:
        stats = content["recipes"][name]
        hue = colour(stats["levels"]) if stats["levels"] else PLAIN
        found.append(curve(name, stats, hue, stats["schedule_factor"] > shortest))
    return [each for each in found if each.points]


def _lines(axes: Axes, curves: list[Curve]) -> None:
    """The curves, and diamonds where longer trainings end."""
    for curve in curves:
        if not curve.longer:
            low, high = [min(seeds) for seeds in curve.points.values()], [max(seeds) for seeds in curve.points.values()]
            axes.plot(curve.steps, curve.means, color=curve.hue, linewidth=1.6 if curve.hue == PLAIN else 1.1)
            axes.fill_between(curve.steps, low, high, color=curve.hue, alpha=0.1, linewidth=0)
        else:
            axes.plot([_last(curves)], [curve.means[-1]], "D", ms=3, color=curve.hue, clip_on=False)
    axes.set(xlabel="Training steps")
    light_grid(axes, "y")


def _last(curves: list[Curve]) -> int:
    """The step at which the students of the shortest schedule end."""
    return max((curve.steps[-1] for curve in curves if not curve.longer), default=1)


def _ends(axes: Axes, curves: list[Curve], width: float, height: float) -> None:
    """The names at the right; `width` and `height` are inches of the panel."""
    last = _last(curves)
    share = min(labels.width(curve.name for curve in curves) / width, _NAMED)
    axes.set_xlim(0, last / (1 - share))
    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(0, last)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= last]))
    bottom, top = axes.get_ylim()
    ends = [Label(last if each.longer else each.steps[-1], each.means[-1], each.name, each.hue) for each in curves]
    way = labels.WAY / width * last / (1 - share)
    labels.column(axes, ends, last + way, labels.LINE / height * (top - bottom), "right")


def _points(study: str, pair: str, recipe: str, run: RunStats) -> dict[int, list[float]]:
    """A seed without results has none."""
    curve: dict[int, list[float]] = defaultdict(list)
    for seed in run["AP50"]["values"]:
        for point in read_learning(paths.run(study, pair, recipe, seed, "learning.json")):
            if point["AP50"] is not None:
                curve[point["step"]].append(100 * point["AP50"])
    return dict(sorted(curve.items()))
