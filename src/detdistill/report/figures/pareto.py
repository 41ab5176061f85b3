"""Precision against price: AP50 of teachers and students against what they cost to train and to run."""

import itertools
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from detdistill.analysis.choice import best_recipe, shown
from detdistill.analysis.cost import Cost
from detdistill.analysis.summary import RunStats, Summary
from detdistill.core import paths
from detdistill.report import numbers
from detdistill.report.figures.students import distilled_students, front, plain_students
from detdistill.report.figures.style import (
    FULL_WIDTH,
    INK,
    LEVEL,
    MARKERS,
    PLAIN,
    TEACHER,
    colour,
    end_at_all,
    light_grid,
)
from detdistill.report.names import Names

_HEIGHT = 2.7  # inches
_WIDE = 2.6  # the panel of training, over one of the others
_NARROW = 12  # of a span, whose axis has room for more figures
RUNNING = ("Parameters", "Operations (MFLOP)", "Latency (ms)")


class Model(NamedTuple):
    """What one of a pair's models reaches in points, and its price on every axis of running it, None where unknown."""

    hue: str
    precision: float
    prices: tuple[float | None, ...]


def draw(summary: Summary, cost: Cost, names: Names) -> Figure:
    """Training in full, with the students that none beats; then what running costs, which a pair's students share."""
    figure = Figure(figsize=(FULL_WIDTH, _HEIGHT), layout="constrained")
    panels = figure.subplots(1, 1 + len(RUNNING), sharey=True, width_ratios=[_WIDE] + [1] * len(RUNNING))
    for pair, marker in zip(summary["pairs"], itertools.cycle(MARKERS), strict=False):
        _training(panels[0], summary, cost, pair, marker)
        models = _models(summary, cost, pair)
        for place, axes in enumerate(panels[1:]):
            _running(axes, models, place, marker)
    for axes, label in zip(panels, ("Training (core s)", *RUNNING), strict=True):
        _scale(axes, label)
    end_at_all(panels[0])
    panels[0].set_ylabel("Test AP50 (%)")
    figure.legend(handles=_legend(summary, names), loc="outside lower center", ncols=4, handletextpad=0.3)
    return figure


def _training(axes: Axes, summary: Summary, cost: Cost, pair: str, marker: str) -> None:
    """All students of a pair at all that their training costs; the chosen one also without its teacher."""
    content, costs = summary["pairs"][pair], cost["pairs"][pair]
    plain, taught, best = plain_students(content, costs), distilled_students(content, costs), best_recipe(content)
    ahead = front([*plain, *taught])
    line = [each.paid for each in ahead], [each.mean for each in ahead]
    axes.step(*line, where="post", color=PLAIN, linewidth=0.8, zorder=1)
    for student in taught:
        chosen = student.recipe == best
        if chosen:
            axes.plot([student.alone, student.paid], [student.mean] * 2, color=student.hue, linewidth=0.8, zorder=2)
            _mark(axes, student.alone, student.mean, marker, student.hue)
        style: dict[str, Any] = {"mfc": "white", "mec": student.hue, "mew": 0.9 if chosen else 0.6}
        axes.plot([student.paid], [student.mean], marker, ms=5.5 if chosen else 2.5, zorder=3 if chosen else 2, **style)
    for student in plain:
        _mark(axes, student.alone, student.mean, marker, PLAIN)
        told, at = f"{student.schedule:g}×" if len(plain) > 1 else "", (student.alone, student.mean)
        axes.annotate(told, at, (-5, 3), textcoords="offset points", ha="right", fontsize=6.3, color=PLAIN)
    teacher, seconds = content["teacher"]["AP50"]["mean"], costs["teacher_core_seconds"]
    if teacher is not None and seconds:
        _mark(axes, seconds, 100 * teacher, marker, TEACHER)


def _models(summary: Summary, cost: Cost, pair: str) -> tuple[Model | None, Model | None, Model | None]:
    """Teacher, and the distilled student that validation chose after its plain one."""
    content, latency = summary["pairs"][pair], cost["pairs"][pair]["latency"] or {}
    plain, best = (content["recipes"].get(name or "") for name in shown(content))

    def model(stats: RunStats | None, hue: str, side: str) -> Model | None:
        if stats is None or stats["AP50"]["mean"] is None:
            return None
        flops = stats["flops"] / 1e6 if stats["flops"] else None
        return Model(hue, 100 * stats["AP50"]["mean"], (stats["parameters"], flops, latency.get(side)))

    return (
        model(content["teacher"], TEACHER, paths.TEACHER),
        model(plain, PLAIN, paths.STUDENT),
        model(best, colour(best["levels"]) if best else INK, paths.STUDENT),
    )


def _running(axes: Axes, models: tuple[Model | None, Model | None, Model | None], place: int, marker: str) -> None:
    _, plain, distilled = models
    if plain and distilled and (start := plain.prices[place]) and (end := distilled.prices[place]):
        style = {"arrowstyle": "-|>", "color": distilled.hue, "shrinkA": 3, "shrinkB": 3, "mutation_scale": 7}
        axes.annotate("", (end, distilled.precision), (start, plain.precision), arrowprops=style)
    for model in models:
        if model and (price := model.prices[place]):
            _mark(axes, price, model.precision, marker, model.hue)


def _mark(axes: Axes, price: float, precision: float, marker: str, hue: str) -> None:
    axes.plot([price], [precision], marker, ms=6, mfc=hue, mec="white", mew=0.6, zorder=3)


def _scale(axes: Axes, label: str) -> None:
    axes.set(xscale="log", xlabel=label)
    axes.margins(0.12)
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < _NARROW else (1, 3), numticks=5))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: numbers.short(value))
    light_grid(axes, "both")


def _legend(summary: Summary, names: Names) -> list[Line2D]:
    def handle(marker: str, label: str, **style: Any) -> Line2D:
        usual: dict[str, Any] = {"linestyle": "", "marker": marker, "ms": 5.5, "mec": "white"}
        return Line2D([], [], **usual | style, label=label)

    pairs = zip(summary["pairs"], itertools.cycle(MARKERS), strict=False)
    return [
        *(handle(marker, names.pair(pair), mfc="none", mec=INK) for pair, marker in pairs),
        handle("o", "teacher", mfc=TEACHER),
        handle("o", "plain student", mfc=PLAIN),
        handle("o", "distilled student, in its level's colour", mfc=LEVEL["neck"]),
        handle("o", "with its share of the teacher", mfc="white", mec=LEVEL["neck"]),
        handle("o", "other recipes, with that share", mfc="white", mec=LEVEL["neck"], ms=2.5),
        handle("", "students of a pair that none beats", color=PLAIN, linestyle="-", linewidth=0.8),
    ]
