"""Precision against price: AP50 of teacher, plain and distilled student against what they cost to train and to run."""

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from detdistill.analysis.choice import best_recipe
from detdistill.analysis.cost import Cost
from detdistill.analysis.summary import Summary, baseline
from detdistill.core import paths
from detdistill.report import numbers
from detdistill.report.figures.style import FULL_WIDTH, INK, MARKERS, PLAIN, TEACHER, colour, light_grid
from detdistill.report.names import Names

_HEIGHT = 2.5  # inches
_NARROW = 12  # of a span, whose axis has room for more figures


class Model(NamedTuple):
    """One model of a pair: AP50 in points, and its price on every axis, None where unknown."""

    marker: str
    hue: str
    precision: float
    prices: tuple[float | None, ...]


AXES = ("Training (core s)", "Parameters", "Operations (MFLOP)", "Latency (ms)")


def draw(summary: Summary, cost: Cost, names: Names) -> Figure:
    """A panel a price; the shape is the pair, the arrow leads from the plain student to the distilled one."""
    figure = Figure(figsize=(FULL_WIDTH, _HEIGHT), layout="constrained")
    panels = figure.subplots(1, len(AXES), sharey=True)
    for pair, marker in zip(summary["pairs"], MARKERS * len(summary["pairs"]), strict=False):
        teacher, plain, distilled = _models(summary, cost, pair, marker)
        for place, axes in enumerate(panels):
            _arrow(axes, plain, distilled, place)
            for model in (teacher, plain, distilled):
                _mark(axes, model, place)
    for axes, label in zip(panels, AXES, strict=True):
        axes.set(xscale="log", xlabel=label)
        axes.margins(0.12)
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < _NARROW else (1, 3), numticks=5))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: numbers.short(value))
        light_grid(axes, "both")
    panels[0].set_ylabel("Test AP50 (%)")
    figure.legend(handles=_legend(summary, names), loc="outside lower center", ncols=6, handletextpad=0.3)
    return figure


def _models(summary: Summary, cost: Cost, pair: str, marker: str) -> tuple[Model | None, Model | None, Model | None]:
    """Teacher, plain student, and the distilled one that validation chose, its teacher's share in its cost."""
    content, costs = summary["pairs"][pair], cost["pairs"][pair]
    latency, best = costs["latency"] or {}, best_recipe(content)

    def model(stats, hue, training, side):  # type: ignore[no-untyped-def]
        mean = stats["AP50"]["mean"] if stats else None
        if mean is None:
            return None
        flops = stats["flops"] / 1e6 if stats["flops"] else None
        return Model(marker, hue, 100 * mean, (training, stats["parameters"], flops, latency.get(side)))

    plain = costs["recipes"][content["plain"][0]]["core_seconds"] if content["plain"] else None
    taught, hue = None, INK
    if best:
        own = costs["recipes"][best]
        taught, hue = own["with_teacher"] or own["core_seconds"], colour(content["recipes"][best]["levels"])
    return (
        model(content["teacher"], TEACHER, costs["teacher_core_seconds"], paths.TEACHER),
        model(baseline(content), PLAIN, plain, paths.STUDENT),
        model(content["recipes"].get(best or ""), hue, taught, paths.STUDENT),
    )


def _mark(axes: Axes, model: Model | None, place: int) -> None:
    if model and (price := model.prices[place]):
        axes.plot([price], [model.precision], model.marker, ms=6, mfc=model.hue, mec="white", mew=0.6, zorder=3)


def _arrow(axes: Axes, plain: Model | None, distilled: Model | None, place: int) -> None:
    if plain and distilled and (start := plain.prices[place]) and (end := distilled.prices[place]):
        style = {
            "arrowstyle": "-|>",
            "color": distilled.hue,
            "lw": 1.0,
            "shrinkA": 3,
            "shrinkB": 3,
            "mutation_scale": 7,
        }
        axes.annotate("", (end, distilled.precision), (start, plain.precision), arrowprops=style)


def _legend(summary: Summary, names: Names) -> list[Line2D]:
    def handle(marker: str, hue: str, label: str) -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, ms=6, mfc=hue, mec="white", label=label)

    pairs = zip(summary["pairs"], MARKERS * len(summary["pairs"]), strict=False)
    return [
        *(
            Line2D([], [], linestyle="", marker=mark, ms=5, mfc="none", mec=INK, label=names.pair(pair))
            for pair, mark in pairs
        ),
        handle("o", TEACHER, "teacher"),
        handle("o", PLAIN, "plain student"),
        Line2D(
            [], [], color=INK, marker=">", ms=4, linewidth=1, label="to the distilled student, in its level's colour"
        ),
    ]
