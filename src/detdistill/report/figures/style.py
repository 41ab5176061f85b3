"""One look for every figure: sizes of the printed page, a palette that the colour-blind can read, repeatable SVG."""

import io
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from detdistill.analysis.summary import Summary, by_level
from detdistill.core.files import write_atomic
from detdistill.distill import taxonomy

# Inches on paper: the width of the text block of the report.
FULL_WIDTH = 6.85
ALL = 102.0  # the end of an axis of AP50 in percent, with room for a mark

INK = "#1a1a1a"
GREY = "#8a8a8a"
FAINT = "#d9d9d9"
TEACHER = "#1a1a1a"
PLAIN = "#7a7a7a"

# Okabe and Ito's palette, one hue a level.
LEVEL = {
    "backbone": "#e69f00",
    "neck": "#0072b2",
    "head": "#cc79a7",
    "rpn_roi": "#009e73",
    "query": "#56b4e9",
    "feature": "#b8a800",
    "logit": "#a0522d",
}
SEVERAL_LEVELS = "#d55e00"
AGREES, DIFFERS = "#009e73", "#d55e00"

MARKERS, MARKS = "osD^v*P", "●■◆▲▼★✚"
"""A shape a pair, on axes and in text."""

LABEL = 40
"""Letters of a recipe's name in a line; a set of methods has more."""
SPACING = 1.1
"""Between the lines of a name."""

_STYLE: Any = {
    # The one serif family that ships with matplotlib in every weight, so that no machine falls back to another.
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.frameon": False,
    "lines.linewidth": 1.1,
    "svg.fonttype": "path",
    # Element ids are hashes; without a fixed salt they differ from run to run.
    "svg.hashsalt": "detdistill",
}

P = ParamSpec("P")


def save(path: Path, draw: Callable[P, Figure], *args: P.args, **kwargs: P.kwargs) -> None:
    """Draw under this style and write an SVG whose bytes depend on the figure alone."""
    with matplotlib.rc_context(_STYLE):
        buffer, figure = io.BytesIO(), draw(*args, **kwargs)
        _settle(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    write_atomic(path, buffer.getvalue())


def _settle(figure: Figure) -> None:
    """Round the places of the panels: the layout's solver gives another last digit from time to time, and a clip path
    is named by all of them.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(value, 6) for value in axes.get_position(original=True).bounds)
        axes.set_position((left, bottom, width, height), which="original")


def class_labels(names: Sequence[str], letters: int) -> list[str]:
    """Names of classes as they are drawn: cut to so many letters.

    `class 3` for a script that the font has not, and for names that are the same when they are cut.
    """
    font = font_manager.get_font(font_manager.findfont(_STYLE["font.family"]))
    known = font.get_charmap()
    labels = []
    for number, name in enumerate(names, 1):
        drawn = name if all(ord(letter) in known for letter in name) else f"class {number}"
        labels.append(drawn if len(drawn) <= letters else f"{drawn[: letters - 1]}…")
    return [label if labels.count(label) == 1 else f"class {number}" for number, label in enumerate(labels, 1)]


def wrapped(name: str) -> str:
    """A recipe's name in as many lines as it needs."""
    return "\n".join(textwrap.wrap(name, LABEL))


def rows_of(label: str) -> float:
    """How much taller its row is than one of a single line."""
    return max(1.0, 0.6 * (label.count("\n") + 1))


def letters_of(label: str) -> float:
    """The size of its letters, over that of a single line."""
    return 0.9 if "\n" in label else 1.0


def colour(levels: list[str]) -> str:
    """The hue of a recipe: its level's, or one of its own when it acts on several."""
    return LEVEL[levels[0]] if len(levels) == 1 else SEVERAL_LEVELS


def group(levels: list[str]) -> str:
    """What a hue stands for."""
    return taxonomy.label(levels) if len(levels) == 1 else "Several levels"


def level_handles(summary: Summary) -> list[Line2D]:
    """What the hues of a study's recipes stand for, as handles of a legend."""
    acting = {group(stats["levels"]): colour(stats["levels"]) for _, _, stats in by_level(summary)}
    return [
        Line2D([], [], linestyle="", marker="s", ms=6, mew=0, color=hue, label=each) for each, hue in acting.items()
    ]


def panels_of(figure: Figure, pairs: int, **options: Any) -> list[Axes]:
    """A panel a pair: up to three in a row, more in rows of two."""
    across = across_of(pairs)
    grid = figure.subplots(-(-pairs // across), across, squeeze=False, **options)
    for axes in grid.flat[pairs:]:
        axes.axis("off")
    return list(grid.flat[:pairs])


def across_of(pairs: int) -> int:
    """How many of so many panels stand in a row."""
    return pairs if pairs <= 3 else 2


def legend_below(axes: Axes, panels: int) -> None:
    """A legend under one of so many panels, as wide as it."""
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.22),
        ncols={1: 5, 2: 3}.get(panels, 2),
        fontsize=6.5 if panels > 2 else 7.5,
        handlelength=2.4,
        handletextpad=0.5,
        columnspacing=1.0,
    )


def end_at_all(axes: Axes) -> None:
    """End an axis of AP50 where all is found."""
    axes.set_ylim(top=min(axes.get_ylim()[1], ALL))


def light_grid(axes: Axes, axis: str) -> None:
    """Hairlines behind the data along one axis, `x` or `y`."""
    axes.grid(axis=axis, color=FAINT, linewidth=0.4)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
