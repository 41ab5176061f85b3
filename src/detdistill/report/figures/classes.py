"""Gain in AP50 of every recipe by class, as a heat map."""

from matplotlib.figure import Figure

from detdistill.analysis.statistics import difference
from detdistill.analysis.summary import RecipeStats, Summary, by_level
from detdistill.dataset.manifest import Manifest
from detdistill.report import numbers
from detdistill.report.figures.style import FULL_WIDTH, SPACING, class_labels, letters_of, rows_of, wrapped
from detdistill.report.names import Names

MOST = 40
"""Classes; of more, those of the widest range of gains."""
WRITTEN = 12
"""With no more classes than that, every gain is written into its cell."""
LETTERS = 14
"""Of a class's name."""
_ROW = 0.19  # inches, less where the page is full
MOST_HEIGHT = 8.4


def draw(summary: Summary, names: Names, manifest: Manifest) -> Figure:
    """A row a recipe by level, a column a class; blue where distillation gains, red where it loses, white at zero."""
    rows = [(pair, name, stats) for pair, name, stats in by_level(summary) if stats["effect"]]
    gains = [_gains(stats, summary["pairs"][pair]["recipes"][stats["plain"]]) for pair, _, stats in rows]
    classes = _chosen(gains)
    labels = [wrapped(names.across(pair, name)) for pair, name, _ in rows]
    height = min(1.0 + _ROW * max(map(rows_of, labels), default=1) * max(len(rows), 4), MOST_HEIGHT)
    figure = Figure(figsize=(FULL_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    if not rows or not classes:
        axes.text(0.5, 0.5, "no recipe can be compared", ha="center", va="center", transform=axes.transAxes)
        axes.axis("off")
        return figure
    cells = [[100 * each.get(name, float("nan")) for name in classes] for each in gains]
    limit = max((abs(value) for row in cells for value in row if value == value), default=1.0) or 1.0
    image = axes.imshow(cells, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    size = min(7.5, 40 * height / len(rows))
    axes.set_yticks(range(len(rows)), labels, linespacing=SPACING)
    for label in axes.get_yticklabels():
        label.set_fontsize(size * letters_of(label.get_text()))
    numbered = dict(zip(manifest.classes, class_labels(manifest.classes, LETTERS), strict=True))
    short = [numbered[name] for name in classes]
    axes.set_xticks(range(len(classes)), short, rotation=0 if max(map(len, short)) < 4 else 90)
    axes.set_xlabel("Class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(classes) <= WRITTEN:
        for y, row in enumerate(cells):
            for x, value in enumerate(row):
                hue = "white" if abs(value) > 0.6 * limit else "black"
                told = numbers.points(value / 100, signed=True) if value == value else numbers.NONE
                axes.text(x, y, told, ha="center", va="center", fontsize=6.3, color=hue)
    figure.colorbar(image, ax=axes, label="Gain in AP50 (points)", pad=0.01, aspect=25)
    return figure


def numbered(manifest: Manifest) -> bool:
    """Whether a class is called by its number, because its name cannot be drawn."""
    return any(
        label == f"class {number}" != name
        for number, (name, label) in enumerate(
            zip(manifest.classes, class_labels(manifest.classes, LETTERS), strict=True), 1
        )
    )


def _gains(stats: RecipeStats, plain: RecipeStats) -> dict[str, float]:
    """Class -> difference of the means over seeds, where both have one."""
    common = [name for name in stats["per_class_AP50"] if name in plain["per_class_AP50"]]
    gains = {name: difference(stats["per_class_AP50"][name], plain["per_class_AP50"][name]) for name in common}
    return {name: gain for name, gain in gains.items() if gain is not None}


def _chosen(gains: list[dict[str, float]]) -> list[str]:
    classes = list(dict.fromkeys(name for each in gains for name in each))
    if len(classes) <= MOST:
        return classes

    def reach(name: str) -> float:
        found = [each[name] for each in gains if name in each]
        return max(found) - min(found)

    widest = set(sorted(classes, key=lambda name: -reach(name))[:MOST])
    return [name for name in classes if name in widest]
