"""Gain of every recipe over the plain students, by level: seeds, mean and 95 % interval."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from detdistill.report import taxonomy
from detdistill.report.figures.style import FULL_WIDTH, GREY, INK, colour, light_grid
from detdistill.report.names import Names
from detdistill.report.statistics import Stat
from detdistill.report.summary import Row, Summary

ROW_HEIGHT = 0.23
STEPS_OFFSET, TIME_OFFSET = 0.13, -0.17


def draw(summary: Summary, names: Names) -> Figure:
    """One panel a pair, one line a recipe; an interval that leaves the panel ends in an arrow at its edge."""
    pairs = list(summary["pairs"])
    rows = {pair: [row for row in summary["levels"] if row["pair"] == pair] for pair in pairs}
    tallest = max(len(each) + len(_groups(each)) for each in rows.values())
    figure = Figure(figsize=(FULL_WIDTH, 0.95 + ROW_HEIGHT * tallest), layout="constrained")
    panels = figure.subplots(1, len(pairs), sharex=True, squeeze=False)[0]
    limits = _limits(summary["levels"])
    for axes, pair in zip(panels, pairs, strict=True):
        _panel(axes, rows[pair], names, limits, tallest)
        axes.set_title(names.pair(pair), fontweight="bold")
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, handletextpad=0.4, columnspacing=1.6)
    return figure


def _groups(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(_group(row) for row in rows))


def _group(row: Row) -> str:
    return taxonomy.label(row["levels"]) if len(row["levels"]) == 1 else "Several levels"


def _panel(axes: Axes, rows: list[Row], names: Names, limits: tuple[float, float], tallest: int) -> None:
    def label(text: str, style: str) -> None:
        # Clear of the arrows at the panel's edge.
        at = axes.get_yaxis_transform()
        axes.annotate(text, (0, place), (-6, 0), at, "offset points", ha="right", va="center", style=style)

    place = 0
    for group in _groups(rows):
        label(group, "italic")
        place -= 1
        for row in [row for row in rows if _group(row) == group]:
            label(names.recipe(row["pair"], row["recipe"]), "normal")
            hue = colour(row["levels"])
            if not row["AP50"]["n"]:
                axes.text(0.02, place, "missing", transform=axes.get_yaxis_transform(), va="center", color=GREY)
            _estimate(axes, row["gain_equal_steps"], place + STEPS_OFFSET, limits, hue, filled=True)
            _estimate(axes, row["gain_equal_time"], place + TIME_OFFSET, limits, hue, filled=False)
            place -= 1
    axes.axvline(0, color=INK, linewidth=0.7)
    axes.set(xlim=limits, ylim=(-tallest + 0.4, 0.5), yticks=[], xlabel="Gain in AP50 (points)")
    axes.spines["left"].set_visible(False)
    light_grid(axes, "x")


def _estimate(axes: Axes, gain: Stat, y: float, limits: tuple[float, float], hue: str, filled: bool) -> None:
    if gain["mean"] is None:
        return
    if gain["low"] is not None and gain["high"] is not None:
        low, high = 100 * gain["low"], 100 * gain["high"]
        left, right = max(low, limits[0]), min(high, limits[1])
        alpha = 1.0 if filled else 0.55
        axes.plot([left, right], [y, y], color=hue, linewidth=1.0, alpha=alpha, solid_capstyle="butt")
        for end, edge, arrow in ((low, left, "<"), (high, right, ">")):
            axes.plot([edge], [y], "|" if end == edge else arrow, color=hue, ms=4, alpha=alpha, clip_on=False)
    face = hue if filled else "white"
    axes.plot([100 * gain["mean"]], [y], "D", ms=4.6, mfc=face, mec=hue, mew=0.9)
    seeds = [100 * value for value in gain["values"].values()]
    axes.plot(seeds, [y] * len(seeds), "o", ms=2.4, mfc="white", mec=INK, mew=0.5)


def _limits(rows: list[Row]) -> tuple[float, float]:
    """The range of the single seeds with a margin: with two seeds the intervals would crush everything else."""
    gains = [row[kind] for row in rows for kind in ("gain_equal_steps", "gain_equal_time")]  # type: ignore[literal-required]
    seeds = [100 * value for gain in gains for value in gain["values"].values()] + [0.0]
    margin = max(0.35 * (max(seeds) - min(seeds)), 1.0)
    return min(seeds) - margin, max(seeds) + margin


def _legend() -> list[Line2D]:
    def line(label: str, marker: str, face: str, size: float, width: float) -> Line2D:
        return Line2D(
            [], [], color=INK, marker=marker, markerfacecolor=face, markersize=size, linewidth=width, label=label
        )

    return [
        line("equal steps, mean and 95 % interval", "D", INK, 4.6, 1.0),
        line("equal core time (against the longer plain run)", "D", "white", 4.6, 1.0),
        line("one seed", "o", "white", 2.4, 0),
        Line2D([], [], color=INK, marker=">", markersize=4, linewidth=1.0, label="interval leaves the panel"),
    ]
