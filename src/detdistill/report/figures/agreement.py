"""How far two runs of a study are apart, recipe by recipe, within the band that chance allows."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from detdistill.analysis.compare import Figure, Line
from detdistill.report.figures.style import AGREES, DIFFERS, FAINT, FULL_WIDTH, INK, light_grid
from detdistill.report.names import Names

_ROW, _OUTSIDE, _MOST = 0.175, 0.9, 8.4  # inches


def draw(lines: Sequence[Line], names: Names) -> Drawing:
    """A panel a figure (AP50, AP), a row a recipe under the name of its pair."""
    pairs = list(dict.fromkeys(line.pair for line in lines))
    rows: list[tuple[str, Line | None]] = []
    for pair in pairs:
        rows.append((names.pair(pair), None))
        rows += [(names.recipe(pair, line.recipe), line) for line in lines if line.pair == pair]
    row = min(_ROW, (_MOST - _OUTSIDE) / len(rows))
    drawing = Drawing(figsize=(FULL_WIDTH, _OUTSIDE + row * len(rows)), layout="constrained")
    titles = [figure.name for figure in lines[0].figures]
    panels = drawing.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for number, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        for place, (_, line) in enumerate(rows):
            if line:
                _row(axes, -place, line.figures[number])
        axes.axvline(0, color=INK, linewidth=0.7)
        axes.set(xlabel=f"Difference in {title} (points)", ylim=(-len(rows) + 0.4, 0.6))
        axes.spines["left"].set_visible(False)
        light_grid(axes, "x")
    panels[0].set_yticks([-place for place in range(len(rows))], [label for label, _ in rows])
    for tick, (_, line) in zip(panels[0].get_yticklabels(), rows, strict=True):
        tick.set(fontsize=min(7.5, 7.5 * row / _ROW), fontweight="normal" if line else "bold")
    for axes in panels:
        axes.tick_params(axis="y", length=0)
    drawing.legend(handles=_legend(), loc="outside lower center", ncols=3)
    return drawing


def _row(axes: Axes, y: float, figure: Figure) -> None:
    if figure.first is None or figure.second is None:
        axes.annotate("missing", (0, y), (4, 0), textcoords="offset points", va="center", fontsize=6.5, color=DIFFERS)
        return
    if figure.allowed is not None:
        axes.barh(y, 200 * figure.allowed, left=-100 * figure.allowed, height=0.62, color=FAINT, zorder=0)
    hue = AGREES if figure.agrees else DIFFERS
    axes.plot(
        [100 * (figure.second - figure.first)],
        [y],
        "o" if figure.agrees else "X",
        color=hue,
        ms=4.5,
        mec="white",
        mew=0.4,
    )


def _legend() -> list[Patch | Line2D]:
    return [
        Patch(color=FAINT, label="what chance allows"),
        Line2D([], [], linestyle="", marker="o", color=AGREES, label="within it"),
        Line2D([], [], linestyle="", marker="X", color=DIFFERS, label="beyond it"),
    ]
