"""Validation images where the distilled student and the plain one differ most, with what each model finds there."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from detdistill.analysis.choice import best_recipe
from detdistill.analysis.contrast import at_best_threshold, found, most_changed
from detdistill.analysis.matching import IOU, NOTHING, Scene, take
from detdistill.analysis.results import PREDICTIONS
from detdistill.analysis.summary import PairSummary, Summary
from detdistill.dataset.manifest import Manifest
from detdistill.dataset.records import Record
from detdistill.report.figures.pictures import SPLIT, folder, models, of_first_seed, picture, window
from detdistill.report.figures.style import FULL_WIDTH, INK, class_labels
from detdistill.report.names import Names

MOST_PAIRS, MOST_HEIGHT = 4, 8.8  # side by side; inches
IMAGES, WIDE_IMAGES = 6, 4  # across the page; few of wide images, so that their boxes can be told apart
_LABEL_HEIGHT = 0.095  # of a class's name, as a share of the picture's width
_LETTERS = 10  # of a class's name
_LETTERS_ACROSS = 125  # of all titles side by side

RIGHT, WRONG, TRUTH = "#00c2ff", "#ff7a1a", "#ffffff"
_DASHES = (0.0, (2.0, 1.5))
ROWS = ("Truth", "Teacher", "Plain student", "Distilled")


@dataclass(frozen=True)
class Column:
    """One image, and what teacher, plain and distilled student of one pair detect there; None without results."""

    record: Record
    scenes: list[Scene | None]

    @property
    def change(self) -> str:
        """What the distilled student finds over the plain one, in words; none where they cannot be compared."""
        _, plain, distilled = self.scenes
        if not plain or not distilled:
            return ""
        more = len(found(distilled)) - len(found(plain))
        told = f"{abs(more)} {'more' if more > 0 else 'fewer'}" if more else "as many"
        return f"distilled: {told}"


def draw(summary: Summary, names: Names, manifest: Manifest) -> Figure:
    """A column an image, shared out over the pairs; a row a model, under the truth; bands of so many pairs."""
    records = manifest.split(SPLIT).records
    pairs = list(summary["pairs"])
    sizes = [(bottom - top) / (right - left) for left, top, right, bottom in map(window, records)]
    tallest = max(sizes)
    each = len(pairs) if len(pairs) <= MOST_PAIRS else 3
    bands = [pairs[start : start + each] for start in range(0, len(pairs), each)]
    across = IMAGES if tallest > 0.9 or each > 2 else WIDE_IMAGES
    share = max(across // each, 2)
    across = share * each
    height = min(FULL_WIDTH / across * tallest * len(ROWS) + 0.3, (MOST_HEIGHT - 0.2) / len(bands))
    figure = Figure(
        figsize=(FULL_WIDTH, height * len(bands) + 0.2),
        layout=ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.012, hspace=0.0, compress=True),
    )
    grid = figure.subplots(len(ROWS) * len(bands), across, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, model in zip(grid[:, 0], ROWS * len(bands), strict=True):
        axes.text(-0.05, 0.5, model, transform=axes.transAxes, rotation=90, va="center", ha="right")
    images, labels = folder(manifest), class_labels(manifest.classes, _LETTERS)
    for place, band in enumerate(bands):
        rows = grid[place * len(ROWS) : (place + 1) * len(ROWS)]
        for number, pair in enumerate(band):
            panels = rows.T[number * share : (number + 1) * share]
            content = summary["pairs"][pair]
            shown = _columns(summary["study"], pair, content, records, len(manifest.classes), share)
            for own, column in zip(panels, shown, strict=False):
                _column(own, column, images, labels)
                own[0].set_title(column.change, fontsize=7, pad=4)
            best = best_recipe(content)
            chosen = f"distilled: {names.recipe(pair, best)}" if best else "nothing distilled"
            width = int(_LETTERS_ACROSS / each)
            title = f"{names.pair(pair)} ({chosen})"
            above = [*textwrap.wrap(title, width)[:2], ""]  # the last line is left to the columns
            panels[0][0].set_title("\n".join(above), fontsize=8, loc="left", pad=4)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4)
    return figure


def _columns(
    study: str, pair: str, content: PairSummary, records: list[Record], classes: int, share: int
) -> list[Column]:
    """The images of one pair; the first ones of the split where the two students cannot be compared."""
    shown = [_scenes(study, pair, name, content, records, classes) for name in models(content)]
    _, plain, distilled = shown
    chosen = most_changed(plain, distilled, share) if plain and distilled else range(min(share, len(records)))
    return [Column(records[index], [scenes[index] if scenes else None for scenes in shown]) for index in chosen]


def _scenes(
    study: str, pair: str, recipe: str | None, content: PairSummary, records: list[Record], classes: int
) -> list[Scene] | None:
    """The detections of a run at its best threshold."""
    file = of_first_seed(study, pair, recipe, content, PREDICTIONS)
    return at_best_threshold(file, SPLIT, records, classes) if file else None


def _column(panels: list[Axes], column: Column, images: Path, classes: list[str]) -> None:
    record = column.record
    left, top, right, bottom = window(record)
    shown = picture(record, images)
    for axes in panels:
        axes.imshow(shown, interpolation="none", extent=(left, right, bottom, top))
    for box, label in zip(record.boxes.tolist(), record.labels.tolist(), strict=True):
        _box(panels[0], box, TRUTH, classes[label])
    for axes, scene in zip(panels[1:], column.scenes, strict=True):
        if scene is None:
            axes.text(0.5, 0.5, "missing", transform=axes.transAxes, ha="center", va="center", backgroundcolor="white")
        else:
            mark(axes, scene, record, classes)


def mark(axes: Axes, scene: Scene, record: Record, classes: list[str]) -> None:
    """What a model detects and misses: right boxes last, so that nothing covers them; duplicates have no name."""
    right = take(scene, scene.crowd) != NOTHING
    known = ((scene.overlap >= IOU) & (scene.labels[:, None] == scene.classes)).any(axis=1)
    for index in set(range(len(record.boxes))) - found(scene):
        _box(axes, record.boxes[index].tolist(), TRUTH)
    for box in scene.boxes[known & ~right].tolist():
        _box(axes, box, WRONG)
    for hue, chosen in ((WRONG, ~known & ~right), (RIGHT, right)):
        for box, label in zip(scene.boxes[chosen].tolist(), scene.labels[chosen].tolist(), strict=True):
            _box(axes, box, hue, classes[label])


def _box(axes: Axes, box: list[float], hue: str, text: str | None = None) -> None:
    """A box with its class above it, or inside where the image ends; one without text is dashed."""
    x1, y1, x2, y2 = box
    edge = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=hue, linewidth=0.9)
    edge.set_linestyle("solid" if text else _DASHES)
    edge.set_path_effects([patheffects.withStroke(linewidth=1.7, foreground="black", alpha=0.6)])
    axes.add_patch(edge)
    if text:
        (left, right), (_, top) = axes.get_xlim(), axes.get_ylim()
        above = "bottom" if y1 > top + _LABEL_HEIGHT * (right - left) else "top"
        label = axes.text(max(x1, left + 0.5), max(y1, top + 0.5), text, fontsize=6, va=above, ha="left", clip_on=True)
        label.set_bbox({"facecolor": hue, "edgecolor": "none", "pad": 0.5})


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], color=RIGHT, label="right"),
        Line2D([], [], color=WRONG, label="wrong class or place"),
        Line2D([], [], color=WRONG, linestyle=_DASHES, label="right, but a second time"),
        Line2D([], [], color=INK, linestyle=_DASHES, label="missed (dashed white)"),
    ]
