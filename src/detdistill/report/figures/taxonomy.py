"""The review's levels drawn where they sit in a detector, with the methods of each in three states of being here."""

import itertools
import textwrap
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from detdistill.analysis.summary import Summary
from detdistill.distill import taxonomy
from detdistill.report.figures.style import FULL_WIDTH, GREY, INK, LEVEL
from detdistill.report.literature import Literature
from detdistill.report.names import Names

_INCH = 2.54
_WIDTH, _HEIGHT = FULL_WIDTH * _INCH, 8.5
_MARKS = "●■◆▲▼"
_LINE = 0.34
_LISTED = 3
"""Methods of a level; more of them share lines."""
_BOLD = 4
"""Letters that a line of bold type and marks has fewer."""
# The marks are not in the text's font.
_FONTS = ["STIXGeneral", "DejaVu Sans"]


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


_CNN = (
    Place(1.75, 6.75, "Backbone", "stages C2 to C5", "backbone"),
    Place(5.3, 6.75, "Neck", "feature pyramid", "neck"),
    Place(9.6, 6.75, "RPN and RoI head", "two-stage", "rpn_roi", True, 2.9, 30),
    Place(9.6, 4.95, "Dense head", "one-stage", "head", True, 2.9, 30),
)
_TRANSFORMER = (
    Place(1.75, 2.45, "Backbone", "stages C2 to C5"),
    Place(5.3, 2.45, "Encoder", "memory, attention", "feature", columns=24),
    Place(9.6, 2.45, "Decoder", "object queries", "query", False, 2.9, 24),
    Place(14.4, 2.45, "Predictions", "class and box, matched", "logit", False, 2.9, 24),
)


def draw(summary: Summary, names: Names, literature: Literature) -> Figure:
    """Coloured: measured in this study, with a mark for each pair. Black: in the code as well. Grey: published."""
    figure = Figure(figsize=(FULL_WIDTH, _HEIGHT / _INCH))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, _WIDTH), ylim=(0, _HEIGHT))
    axes.axis("off")
    measured = _measured(summary)
    for lane, title, top in ((_CNN, "CNN detectors", 7.6), (_TRANSFORMER, "Transformer detectors", 3.3)):
        axes.text(0.25, top, title, ha="left", va="center", fontsize=9, fontweight="bold", color=INK)
        for place in lane:
            _module(axes, place, used=place.level in measured)
            if place.level:
                _methods(axes, place, measured.get(place.level, {}), literature)
    axes.plot([0.25, _WIDTH - 0.25], [3.65, 3.65], color="#cccccc", linewidth=0.5)
    backbone, neck, roi, dense = _CNN
    for lane in (_CNN, _TRANSFORMER):
        edge = lane[0].x - lane[0].width / 2
        axes.annotate("", (edge, lane[0].y), (edge - 0.42, lane[0].y), arrowprops={"arrowstyle": "-|>", "lw": 0.8})
    for before, after in (
        (backbone, neck),
        (neck, roi),
        (neck, dense),
        *itertools.pairwise(_TRANSFORMER),
    ):
        _arrow(axes, before, after)
    _key(axes, summary, names)
    return figure


def _key(axes: Axes, summary: Summary, names: Names) -> None:
    marks = "   ".join(f"{mark} {names.pair(pair)}" for mark, pair in zip(_MARKS, summary["pairs"], strict=False))
    top = _HEIGHT - 0.3
    axes.text(0.25, top, f"In this study: {marks}", va="center", fontsize=7.5, fontweight="bold", family=_FONTS)
    axes.text(_WIDTH - 4.3, top, "implemented, not in this study", ha="right", va="center", fontsize=7.5)
    axes.text(_WIDTH - 0.25, top, "published, not implemented", ha="right", va="center", fontsize=7.5, color=GREY)


def _measured(summary: Summary) -> dict[str, dict[str, str]]:
    """Level -> method -> the marks of the pairs that train it."""
    found: dict[str, dict[str, str]] = {}
    for mark, content in zip(_MARKS, summary["pairs"].values(), strict=False):
        for recipe in content["recipes"].values():
            for method, level in recipe["method_levels"].items():
                marks = found.setdefault(level, {}).get(method, "")
                found[level][method] = marks if mark in marks else marks + mark
    return found


def _module(axes: Axes, place: Place, used: bool) -> None:
    hue = LEVEL[place.level] if place.level and used else GREY
    corner = (place.x - place.width / 2, place.y - 0.42)
    style = "round,pad=0,rounding_size=0.12"
    axes.add_patch(
        FancyBboxPatch(corner, place.width, 0.84, boxstyle=style, fc="white", ec=hue, lw=1.5 if used else 0.8)
    )
    ink = INK if used else "#6a6a6a"
    axes.text(place.x, place.y + 0.13, place.title, ha="center", va="center", fontweight="bold", fontsize=8, color=ink)
    axes.text(place.x, place.y - 0.2, place.detail, ha="center", va="center", fontsize=6.8, color=ink)


def _methods(axes: Axes, place: Place, measured: dict[str, str], literature: Literature) -> None:
    """The level's name, then what was measured there, what else the code has for it, and what else is published."""
    x = place.x + place.width / 2 + 0.3 if place.list_right else place.x - place.width / 2
    y = place.y + 0.32 if place.list_right else place.y - 0.72
    level = place.level or ""
    hue = LEVEL[level] if measured else GREY
    axes.text(x, y, f"Level: {taxonomy.LABELS[level]}", style="italic", va="center", fontsize=7.5, color=hue)
    # A mark stays with its method at the end of a line.
    entries = [f"{_paper(method, literature)}\u00a0{marks}" for method, marks in sorted(measured.items())]
    few = len(entries) <= _LISTED
    for line in entries if few else textwrap.wrap(", ".join(entries), place.columns - _BOLD):
        y -= _LINE
        size = 8.5 if few else 7.5
        axes.text(x, y, line, va="center", fontweight="bold", fontsize=size, color=hue, family=_FONTS)
    here = [method for method, where in taxonomy.implemented().items() if where == level]
    coded = {_paper(method, literature) for method in here}
    waiting = [_paper(method, literature) for method in here if method not in measured]
    published = [each.name for each in literature.references.values() if level in each.levels]
    unwritten = [name for name in published if name not in coded]
    for others, ink in ((waiting, INK), (unwritten, GREY)):
        for line in textwrap.wrap(", ".join(dict.fromkeys(others)), place.columns):
            y -= _LINE
            axes.text(x, y, line, va="center", fontsize=7.5, color=ink)


def _paper(method: str, literature: Literature) -> str:
    """The paper alone: which part of it a method is, its place in the figure says."""
    paper = literature.paper(method)
    return paper.name if paper else method


def _arrow(axes: Axes, before: Place, after: Place) -> None:
    start, end = (before.x + before.width / 2, before.y), (after.x - after.width / 2, after.y)
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, lw=0.8, color=INK, shrinkA=2, shrinkB=2)
    )
