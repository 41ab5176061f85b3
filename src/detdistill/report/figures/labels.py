"""Names in a column beside the points they belong to, pushed apart so that each can be read."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from matplotlib.axes import Axes

from detdistill.report.figures.style import INK

_SIZE = 6.3
_LETTERS = {1: 40, 2: 25, 3: 13}
_LETTER = 0.42 * _SIZE / 72
LINE = 1.15 * _SIZE / 72
"""Inches that a line takes."""
_SPACING = 0.9
"""Matplotlib's, that gives such lines."""
WAY = 0.14
"""Inches from the last point to the names."""


class Label(NamedTuple):
    """Where a point lies, its name in lines, and the hue of the way between them."""

    x: float
    y: float
    name: str
    hue: str = INK


def wrapped(name: str, panels: int) -> str:
    """A name in lines that suit one of so many panels in a row."""
    return "\n".join(textwrap.wrap(name, _LETTERS[panels]))


def width(names: Iterable[str]) -> float:
    """Inches that a column of these names takes, with the way to it."""
    longest = max((len(line) for name in names for line in name.split("\n")), default=None)
    return 0.0 if longest is None else _LETTER * (longest + 2) + WAY


def height(names: Iterable[str]) -> float:
    """Inches that a column of these names takes."""
    return LINE * sum(map(_lines, names))


def column(axes: Axes, labels: Sequence[Label], x: float, line: float, side: Literal["left", "right"]) -> None:
    """The names on that side of `x`; `line` is the height of a line in units of y.

    Names that would meet give way downwards on the right and upwards on the left, off a line that rises between them.
    """
    sign = 1 if side == "right" else -1
    ranked = sorted(labels, key=lambda label: -sign * label.y)
    floor = min(sign * limit for limit in axes.get_ylim())
    places = apart([sign * label.y for label in ranked], [line * _lines(label.name) for label in ranked], floor)
    for label, place in zip(ranked, places, strict=True):
        axes.plot([label.x, x], [label.y, sign * place], color=label.hue, linewidth=0.4, alpha=0.5, zorder=0)
        style: dict[str, Any] = {"ha": "left" if side == "right" else "right", "va": "center", "fontsize": _SIZE}
        at, shift = (x, sign * place), (sign * 1.5, 0)
        axes.annotate(label.name, at, shift, textcoords="offset points", linespacing=_SPACING, **style)


def apart(wanted: Sequence[float], heights: Sequence[float], floor: float) -> list[float]:
    """Middles of things of these heights, each as wanted or under the one before; the last stand on the floor."""
    places: list[float] = []
    under = float("inf")
    for middle, size in zip(wanted, heights, strict=True):
        places.append(min(middle, under - size / 2))
        under = places[-1] - size / 2
    for index in reversed(range(len(places))):
        places[index] = max(places[index], floor + heights[index] / 2)
        floor = places[index] + heights[index] / 2
    return places


def _lines(name: str) -> int:
    return 1 + name.count("\n")
