"""The review's levels drawn where they sit in a detector, with the methods of each in three states of being here."""

import itertools
import textwrap
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from detdistill.analysis.summary import Summary
from detdistill.distill import taxonomy
from detdistill.report.figures.style import FULL_WIDTH, GREY, INK, LEVEL, MARKS
from detdistill.report.literature import Literature
from detdistill.report.names import Names

_INCH = 2.54
_WIDTH, _HEIGHT = FULL_WIDTH * _INCH, 8.8
_LINE = 0.34
_LISTED, _LISTED_RIGHT = 3, 2
"""Methods of a level, below its module or right of it; more of them share lines."""
_BOLD = 4
"""Letters that a line of bold type and marks has fewer."""
_OF_TRANSFORMERS = {level.key for level in taxonomy.LEVELS if level.family == "transformer"}
# The marks are not in the text's font.
_FONTS = ["STIXGeneral", "DejaVu Sans"]

Measured = dict[str, dict[str, str]]
"""Level -> method -> the marks of the pairs that train it."""


@dataclass(frozen=True)
class Place:
    """A module of a detector in centimetres of the page: its centre, its words, and where its methods are listed."""

    x: float
    y: float
    title: str
    detail: str
    level: str | None = None
    list_right: bool = False
    width: float = 2.5
    columns: int = 24
    convolutional: tuple[str, ...] = ()
    """Levels of a convolutional detector that this module of a transformer has too, listed where they are measured."""


_CNN = (
    Place(1.75, 7.05, "Backbone", "stages C2 to C5", "backbone"),
    Place(5.3, 7.05, "Neck", "feature pyramid", "neck"),
    Place(9.6, 7.05, "Dense head", "one-stage", "head", True, 2.9, 42),
    Place(9.6, 5.15, "RPN and RoI head", "two-stage", "rpn_roi", True, 2.9, 42),
)
_TRANSFORMER = (
    Place(1.75, 2.75, "Backbone, neck", "convolutional", convolutional=("backbone", "neck")),
    Place(5.3, 2.75, "Encoder", "memory, attention", "feature"),
    Place(9.6, 2.75, "Decoder", "object queries", "query", False, 2.9),
    Place(14.4, 2.75, "Predictions", "class and box, matched", "logit", False, 2.9),
)


def draw(summary: Summary, names: Names, literature: Literature) -> Figure:
    """Coloured: measured in this study, with a mark for each pair. Black: in the code as well. Grey: published."""
    figure = Figure(figsize=(FULL_WIDTH, _HEIGHT / _INCH))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, _WIDTH), ylim=(0, _HEIGHT))
    axes.axis("off")
    cnn, transformers = _measured(summary)
    for lane, title, top, measured in (
        (_CNN, "CNN detectors", 7.9, cnn),
        (_TRANSFORMER, "Transformer detectors", 3.6, transformers),
    ):
        axes.text(0.25, top, title, ha="left", va="center", fontsize=9, fontweight="bold", color=INK)
        for place in lane:
            levels = [level for level in (place.level, *place.convolutional) if level in measured]
            _module(axes, place, LEVEL[levels[0]] if levels else None)
            if place.level:
                _methods(axes, place, measured.get(place.level, {}), literature)
            else:
                _convolutional(axes, place, {level: measured[level] for level in levels}, literature)
    axes.plot([0.25, _WIDTH - 0.25], [3.95, 3.95], color="#cccccc", linewidth=0.5)
    backbone, neck, dense, roi = _CNN
    for lane in (_CNN, _TRANSFORMER):
        edge = lane[0].x - lane[0].width / 2
        axes.annotate("", (edge, lane[0].y), (edge - 0.42, lane[0].y), arrowprops={"arrowstyle": "-|>", "lw": 0.8})
    for before, after in (
        (backbone, neck),
        (neck, dense),
        (neck, roi),
        *itertools.pairwise(_TRANSFORMER),
    ):
        _arrow(axes, before, after)
    _key(axes, summary, names)
    return figure


def _key(axes: Axes, summary: Summary, names: Names) -> None:
    marks = "   ".join(
        f"{mark} {names.pair(pair)}" for mark, pair in zip(itertools.cycle(MARKS), summary["pairs"], strict=False)
    )
    top = _HEIGHT - 0.3
    axes.text(0.25, top, f"In this study: {marks}", va="center", fontsize=7.5, fontweight="bold", family=_FONTS)
    axes.text(_WIDTH - 4.3, top, "implemented, not in this study", ha="right", va="center", fontsize=7.5)
    axes.text(_WIDTH - 0.25, top, "published, not implemented", ha="right", va="center", fontsize=7.5, color=GREY)


def _measured(summary: Summary) -> tuple[Measured, Measured]:
    """What the pairs of either kind train: the convolutional ones, and the transformers."""
    cnn: Measured = {}
    transformers: Measured = {}
    for mark, content in zip(itertools.cycle(MARKS), summary["pairs"].values(), strict=False):
        for recipe in content["recipes"].values():
            for method, level in recipe["method_levels"].items():
                transformer = content["engine"] == "transformers" or level in _OF_TRANSFORMERS
                methods = (transformers if transformer else cnn).setdefault(level, {})
                marks = methods.get(method, "")
                methods[method] = marks if mark in marks else marks + mark
    return cnn, transformers


def _module(axes: Axes, place: Place, hue: str | None) -> None:
    """Framed in the hue of a level that is measured there."""
    corner = (place.x - place.width / 2, place.y - 0.42)
    style = "round,pad=0,rounding_size=0.12"
    edge, line = (hue, 1.5) if hue else (GREY, 0.8)
    axes.add_patch(FancyBboxPatch(corner, place.width, 0.84, boxstyle=style, fc="white", ec=edge, lw=line))
    ink = INK if hue else "#6a6a6a"
    axes.text(place.x, place.y + 0.13, place.title, ha="center", va="center", fontweight="bold", fontsize=8, color=ink)
    axes.text(place.x, place.y - 0.2, place.detail, ha="center", va="center", fontsize=6.8, color=ink)


def _methods(axes: Axes, place: Place, measured: dict[str, str], literature: Literature) -> None:
    """The level's name, then what was measured there, what else the code has for it, and what else is published."""
    x = place.x + place.width / 2 + 0.3 if place.list_right else place.x - place.width / 2
    y = place.y + 0.32 if place.list_right else place.y - 0.72
    level = place.level or ""
    listed = _LISTED_RIGHT if place.list_right else _LISTED
    y = _level(axes, (x, y), level, measured, place.columns, literature, listed)
    here = [method for method, where in taxonomy.implemented().items() if where == level]
    coded = {_paper(method, literature) for method in here}
    waiting = [_paper(method, literature) for method in here if method not in measured]
    published = [each.name for each in literature.references.values() if level in each.levels]
    unwritten = [name for name in published if name not in coded]
    for others, ink in ((waiting, INK), (unwritten, GREY)):
        for line in textwrap.wrap(", ".join(dict.fromkeys(others)), place.columns):
            y -= _LINE
            axes.text(x, y, line, va="center", fontsize=7.5, color=ink)


def _convolutional(axes: Axes, place: Place, measured: Measured, literature: Literature) -> None:
    """What is measured at the convolutional levels of a transformer; the other lane has all of their methods."""
    x, y = place.x - place.width / 2, place.y - 0.72
    listed = _LISTED if len(measured) == 1 else 1
    for level in measured:
        y = _level(axes, (x, y), level, measured[level], place.columns, literature, listed) - _LINE


def _level(
    axes: Axes,
    at: tuple[float, float],
    level: str,
    measured: dict[str, str],
    columns: int,
    literature: Literature,
    listed: int,
) -> float:
    """The level's name with what was measured there, in lines of their own if so few; where the last line stands."""
    x, y = at
    hue = LEVEL[level] if measured else GREY
    axes.text(x, y, f"Level: {taxonomy.LABELS[level]}", style="italic", va="center", fontsize=7.5, color=hue)
    # A mark stays with its method at the end of a line.
    entries = [f"{_paper(method, literature)}\u00a0{marks}" for method, marks in sorted(measured.items())]
    few = len(entries) <= listed
    for line in entries if few else textwrap.wrap(", ".join(entries), columns - _BOLD):
        y -= _LINE
        size = 8.5 if few else 7.5
        axes.text(x, y, line, va="center", fontweight="bold", fontsize=size, color=hue, family=_FONTS)
    return y


def _paper(method: str, literature: Literature) -> str:
    """The paper alone: which part of it a method is, its place in the figure says."""
    paper = literature.paper(method)
    return paper.name if paper else method


def _arrow(axes: Axes, before: Place, after: Place) -> None:
    start, end = (before.x + before.width / 2, before.y), (after.x - after.width / 2, after.y)
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, lw=0.8, color=INK, shrinkA=2, shrinkB=2)
    )
