"""Gain of every recipe over its plain student, by level: a forest plot with the verdict in words.

What a recipe does on longer schedules has its place in the figure of those, where there is one.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from detdistill.analysis.summary import RecipeStats, Summary, by_level
from detdistill.report import numbers, verdicts
from detdistill.report.figures import schedules
from detdistill.report.figures.style import (
    FULL_WIDTH,
    GREY,
    INK,
    SPACING,
    colour,
    group,
    letters_of,
    light_grid,
    rows_of,
    wrapped,
)
from detdistill.report.literature import Literature
from detdistill.report.names import Names

ROW_HEIGHT = 0.185  # inches, less where the page is full
MOST_HEIGHT = 8.4
_OUTSIDE = 0.9  # inches around the rows
_FONT = 8
_ALONE, _COMMON = "o", "s"
_DIAMOND: dict[str, Any] = {"marker": "D", "linestyle": "", "mfc": "none", "mec": GREY}
_DIAMONDS = {"AP50": _DIAMOND | {"ms": 4.5, "mew": 0.9}, "AP": _DIAMOND | {"ms": 3, "mew": 0.6}}
"""Of a published gain by its metric: AP is not what the axis measures, so its diamond is slight."""


def draw(summary: Summary, names: Names, literature: Literature) -> Figure:
    """A line a recipe under the heading of its level; published gains are open marks, and never decide the axis."""
    rows = [
        each for each in by_level(summary) if not (each[2]["like"] and schedules.several(summary["pairs"][each[0]]))
    ]
    groups = list(dict.fromkeys(group(stats["levels"]) for _, _, stats in rows))
    labels = {(pair, recipe): wrapped(names.across(pair, recipe)) for pair, recipe, _ in rows}
    height = len(groups) + sum(rows_of(label) for label in labels.values())
    row = min(ROW_HEIGHT, (MOST_HEIGHT - _OUTSIDE) / max(height, 1))
    size = _FONT * row / ROW_HEIGHT
    figure = Figure(figsize=(FULL_WIDTH, _OUTSIDE + row * max(height, 3)), layout="constrained")
    axes = figure.subplots()
    common = common_methods(summary)
    left, right = _limits([stats for _, _, stats in rows])
    place = 0.0
    for title in groups:
        own = [row for row in rows if group(row[2]["levels"]) == title]
        hue = colour(own[0][2]["levels"])
        _beside(axes, place, -6, title, "right", fontweight="bold", fontsize=size, color=hue)
        place -= 1
        for pair, recipe, stats in own:
            label = labels[pair, recipe]
            middle = place - (rows_of(label) - 1) / 2
            _beside(axes, middle, -6, label, "right", fontsize=size * letters_of(label), linespacing=SPACING)
            marker = _COMMON if len(stats["methods"]) == 1 and common & set(stats["methods"]) else _ALONE
            _estimate(axes, stats, middle, marker, size)
            _published(axes, stats, middle, (left, right), names.family(pair), literature)
            place -= rows_of(label)
    axes.axvline(0, color=INK, linewidth=0.7)
    axes.set(xlim=(left, right), ylim=(-height + 0.4, 0.6), yticks=[], xlabel="Gain in AP50 (points)")
    axes.spines["left"].set_visible(False)
    light_grid(axes, "x")
    handles = _legend(literature, common, verdicts.judged(summary))
    across = -(-len(handles) // 2)
    figure.legend(handles=handles, loc="outside lower center", ncols=across, handletextpad=0.4, columnspacing=1.6)
    return figure


def common_methods(summary: Summary) -> set[str]:
    """The methods that every pair trains alone, so that they link the pairs; none where there is one pair."""
    alone = [
        {next(iter(stats["methods"])) for stats in content["recipes"].values() if len(stats["methods"]) == 1}
        for content in summary["pairs"].values()
    ]
    return set.intersection(*alone) if len(alone) > 1 else set()


def _beside(axes: Axes, place: float, shift: float, text: str, align: str, x: float = 0, **style: object) -> None:
    at = blended_transform_factory(axes.transAxes, axes.transData)
    axes.annotate(text, (x, place), (shift, 0), at, "offset points", ha=align, va="center", **style)  # type: ignore[arg-type]


def _estimate(axes: Axes, stats: RecipeStats, y: float, marker: str, size: float) -> None:
    effect, hue = stats["effect"], colour(stats["levels"])
    if effect is None:
        why = "no plain student" if stats["AP50"]["n"] else "missing"
        _beside(axes, y, 6, why, "left", x=1, color=GREY, fontsize=size)
        return
    if effect["low"] is not None and effect["high"] is not None:
        ends = [100 * effect["low"], 100 * effect["high"]]
        axes.plot(ends, [y, y], color=hue, linewidth=1.2, solid_capstyle="butt")
        axes.plot(ends, [y, y], "|", color=hue, ms=5)
    seeds = [100 * value for value in stats["seed_gains"]["values"].values()]
    axes.plot([100 * effect["difference"]], [y], marker, ms=5, mfc=hue, mec="white", mew=0.5)
    axes.plot(seeds, [y] * len(seeds), ".", ms=2.5, color=INK, mew=0, zorder=3)
    told = f"{numbers.points(effect['difference'], signed=True)}  {verdicts.word(effect)}"
    decided = effect["verdict"] in ("helps", "hurts")
    weight, ink = ("bold", INK) if decided else ("normal", GREY)
    _beside(axes, y, 6, told, "left", x=1, fontsize=size, fontweight=weight, color=ink)


def _published(
    axes: Axes, stats: RecipeStats, y: float, limits: tuple[float, float], family: str, literature: Literature
) -> None:
    if len(stats["methods"]) != 1:
        return
    told = literature.published(next(iter(stats["methods"])), family)
    if told and told.gain is not None and limits[0] <= told.gain <= limits[1]:
        axes.plot([told.gain], [y], **_DIAMONDS[told.metric], zorder=1)


def _limits(rows: list[RecipeStats]) -> tuple[float, float]:
    """All intervals and seeds, with a margin."""
    found = [0.0]
    for stats in rows:
        found += stats["seed_gains"]["values"].values()
        if effect := stats["effect"]:
            found += [value for value in (effect["difference"], effect["low"], effect["high"]) if value is not None]
    margin = max(0.04 * (max(found) - min(found)), 0.005)
    return 100 * (min(found) - margin), 100 * (max(found) + margin)


def _legend(literature: Literature, common: set[str], judged: bool) -> list[Line2D]:
    interval = ", simultaneous 95 % interval" if judged else ""
    handles = [Line2D([], [], color=INK, marker=_ALONE, ms=5, linewidth=1.2 if judged else 0, label=f"mean{interval}")]
    if common:
        papers = numbers.listing([literature.name(method) for method in sorted(common)])
        handles.append(Line2D([], [], color=INK, marker=_COMMON, ms=5, linewidth=0, label=f"{papers}, in every pair"))
    handles.append(Line2D([], [], color=INK, marker=".", ms=2.5, linewidth=0, label="one seed"))
    published = [Line2D([], [], **style, label=f"published gain in {metric}") for metric, style in _DIAMONDS.items()]
    return [*handles, *published]
