"""Where the features of the neck are strong in one image: teacher, plain and distilled student, a row a pair."""

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from detdistill.analysis.choice import best_recipe
from detdistill.analysis.summary import PairSummary, Summary
from detdistill.core.record import intact
from detdistill.dataset.manifest import Manifest
from detdistill.dataset.records import Record
from detdistill.evaluate import maps
from detdistill.report.figures.pictures import SPLIT, folder, models, of_first_seed, picture, window
from detdistill.report.figures.style import FULL_WIDTH
from detdistill.report.names import Names

TAP = "neck"
COLUMNS = ("Truth", "Teacher", "Plain student", "Distilled")
MOST_WIDTH, MOST_HEIGHT = 1.3, 7.6  # inches, of a panel and of all rows
_NAMES = 0.55  # inches on the left, for the pairs and their recipes
_LETTER, _LINES = 0.055, 3  # inches a letter of these takes, and their lines above that of neck or backbone


def draw(summary: Summary, names: Names, manifest: Manifest) -> Figure:
    """Each map by its own range, because the magnitudes of different networks have no common unit."""
    records = manifest.split(SPLIT).records
    record = records[maps.shown(records)]
    left, top, right, bottom = window(record)
    pairs, tall = summary["pairs"], (bottom - top) / (right - left)
    width = min(MOST_WIDTH, (FULL_WIDTH - _NAMES) / len(COLUMNS), MOST_HEIGHT / len(pairs) / tall)
    figure = Figure(
        figsize=(FULL_WIDTH, width * tall * len(pairs) + 0.25),
        layout=ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, wspace=0.0, hspace=0.0, compress=True),
    )
    grid = figure.subplots(len(pairs), len(COLUMNS), squeeze=False)
    for axes, title in zip(grid[0], COLUMNS, strict=True):
        axes.set_title(title, fontsize=8)
    shown = picture(record, folder(manifest))
    for (pair, content), (truth, *panels) in zip(pairs.items(), grid, strict=True):
        truth.imshow(shown, interpolation="none", extent=(left, right, bottom, top))
        drawn = [
            _map(axes, summary["study"], pair, recipe, content)
            for axes, recipe in zip(panels, models(content), strict=True)
        ]
        chosen = best_recipe(content)
        told = f"{names.pair(pair)} ({names.recipe(pair, chosen) if chosen else 'nothing distilled'})"
        letters = max(int(width * tall / _LETTER), 8)
        taps = " and ".join(dict.fromkeys(tap for tap in drawn if tap))
        truth.set_ylabel("\n".join([*textwrap.wrap(told, letters)[:_LINES], taps]), fontsize=7)
        for axes in (truth, *panels):
            axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            _objects(axes, record)
    return figure


def _map(axes: Axes, study: str, pair: str, recipe: str | None, content: PairSummary) -> str | None:
    """The finest level, of the first seed that has results; cells as they are, none smoothed. Where it is from."""
    file = of_first_seed(study, pair, recipe, content, "maps.safetensors")
    if not file or not file.is_file():
        axes.text(0.5, 0.5, "missing", transform=axes.transAxes, ha="center", va="center")
        return None
    found = maps.load(intact(file))
    tap = TAP if any(name.startswith(f"{TAP}.") for name in found) else "backbone"
    stride = min(int(name.partition(".")[2]) for name in found if name.startswith(f"{tap}."))
    level = found[f"{tap}.{stride}"]
    extent = (0, level.shape[1] * stride, level.shape[0] * stride, 0)
    axes.imshow(level.numpy(), cmap="viridis", interpolation="none", extent=extent)
    return tap


def _objects(axes: Axes, record: Record) -> None:
    for x1, y1, x2, y2 in record.boxes.tolist():
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="white", linewidth=0.5))
