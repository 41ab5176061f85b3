"""Validation images where the distilled student and the plain one differ most, with what each model finds there."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from detdistill.analysis.choice import best_recipe
from detdistill.analysis.contrast import at_best_threshold, found, most_changed
from detdistill.analysis.matching import NOTHING, Scene, take
from detdistill.analysis.results import PREDICTIONS
from detdistill.analysis.summary import PairSummary, Summary
from detdistill.core import paths
from detdistill.dataset.manifest import Manifest
from detdistill.dataset.records import Record
from detdistill.report.figures.style import FULL_WIDTH, INK, class_labels
from detdistill.report.names import Names

SPLIT = "val"
IMAGES, WIDE_IMAGES = 6, 4  # across the page; few of wide images, so that their boxes can be told apart
MOST_TALL, MOST_WIDE = 1.6, 3.0  # of a picture, one side over the other; a longer image is cut
PIXELS = 360  # of a picture's longer side, about 300 to the inch on paper
_LABEL_HEIGHT = 0.095  # of a class's name, as a share of the picture's width
_LETTERS = 10  # of a class's name

CORRECT, WRONG, MISSED = "#00c2ff", "#ff7a1a", "#ffffff"
_MISSED_DASHES = (0.0, (2.0, 1.5))
ROWS = ("Truth", "Teacher", "Plain student", "Distilled")


@dataclass(frozen=True)
class Column:
    """One image, and what teacher, plain and distilled student of one pair detect there; None without results."""

    pair: str
    record: Record
    scenes: list[Scene | None]


def draw(summary: Summary, names: Names, manifest: Manifest) -> Figure:
    """A column an image, shared out over the pairs; a row a model, under the truth."""
    records = manifest.split(SPLIT).records
    folder = Path(manifest.folder) if manifest.folder else paths.data(manifest.study, "images")
    sizes = [(bottom - top) / (right - left) for left, top, right, bottom in map(window, records)]
    tallest = max(sizes)
    across = IMAGES if tallest > 0.9 or len(summary["pairs"]) > 2 else WIDE_IMAGES
    share = max(across // len(summary["pairs"]), 1)
    columns = [
        column
        for pair, content in summary["pairs"].items()
        for column in _columns(summary["study"], pair, content, records, len(manifest.classes), share)
    ]
    layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.012, hspace=0.0)
    figure = Figure(figsize=(FULL_WIDTH, FULL_WIDTH / across * tallest * len(ROWS) + 0.45), layout=layout)
    grid = figure.subplots(len(ROWS), max(len(columns), 1), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, model in zip(grid[:, 0], ROWS, strict=True):
        axes.text(-0.05, 0.5, model, transform=axes.transAxes, rotation=90, va="center", ha="right")
    labels = class_labels(manifest.classes, _LETTERS)
    for panels, column in zip(grid.T, columns, strict=False):
        _column(panels, column, folder, labels)
    for pair in summary["pairs"]:
        own = [axes for axes, column in zip(grid[0], columns, strict=False) if column.pair == pair]
        if own:
            best = best_recipe(summary["pairs"][pair])
            chosen = f" (distilled: {names.recipe(pair, best)})" if best else ""
            own[0].set_title(f"{names.pair(pair)}{chosen}", fontsize=8, loc="left")
    figure.legend(handles=_legend(), loc="outside lower center", ncols=3)
    return figure


def window(record: Record) -> tuple[int, int, int, int]:
    """The part of an image that is shown: left, top, right, bottom.

    All of it, but of a long and narrow image where most objects lie; ties by the order of the objects.
    """
    width, height = (
        min(record.width, round(MOST_WIDE * record.height)),
        min(record.height, round(MOST_TALL * record.width)),
    )
    boxes = record.boxes.tolist()

    def at(box: list[float]) -> tuple[int, int, int, int]:
        left = min(max(int((box[0] + box[2] - width) / 2), 0), record.width - width)
        top = min(max(int((box[1] + box[3] - height) / 2), 0), record.height - height)
        return left, top, left + width, top + height

    def inside(view: tuple[int, int, int, int]) -> int:
        return sum(view[0] <= x1 and view[1] <= y1 and x2 <= view[2] and y2 <= view[3] for x1, y1, x2, y2 in boxes)

    return max(map(at, boxes), key=inside, default=(0, 0, width, height))


def cut(record: Record) -> bool:
    """Whether less than the whole image is shown."""
    return window(record) != (0, 0, record.width, record.height)


def _columns(
    study: str, pair: str, content: PairSummary, records: list[Record], classes: int, share: int
) -> list[Column]:
    """The images of one pair; the first ones of the split where the two students cannot be compared."""
    models = [_scenes(study, pair, name, content, records, classes) for name in _models(content)]
    _, plain, distilled = models
    chosen = most_changed(plain, distilled, share) if plain and distilled else range(min(share, len(records)))
    return [Column(pair, records[index], [scenes[index] if scenes else None for scenes in models]) for index in chosen]


def _models(content: PairSummary) -> tuple[str | None, str | None, str | None]:
    return paths.TEACHER, next(iter(content["plain"]), None), best_recipe(content)


def _scenes(
    study: str, pair: str, recipe: str | None, content: PairSummary, records: list[Record], classes: int
) -> list[Scene] | None:
    """The detections of the first seed that has results, at its best threshold."""
    stats = content["teacher"] if recipe == paths.TEACHER else content["recipes"].get(recipe or "")
    if not recipe or not stats or not stats["AP50"]["n"]:
        return None
    seed = next(iter(stats["AP50"]["values"]))
    return at_best_threshold(paths.run(study, pair, recipe, seed, PREDICTIONS), SPLIT, records, classes)


def _column(panels: list[Axes], column: Column, folder: Path, classes: list[str]) -> None:
    record = column.record
    left, top, right, bottom = window(record)
    picture = Image.open(folder / record.file_name).convert("RGB").crop((left, top, right, bottom))
    picture.thumbnail((PIXELS, PIXELS))
    for axes in panels:
        axes.imshow(picture, interpolation="none", extent=(left, right, bottom, top))
    for box, label in zip(record.boxes.tolist(), record.labels.tolist(), strict=True):
        _box(panels[0], box, classes[label], MISSED)
    for axes, scene in zip(panels[1:], column.scenes, strict=True):
        if scene is None:
            axes.text(0.5, 0.5, "missing", transform=axes.transAxes, ha="center", va="center", backgroundcolor="white")
            continue
        taken = take(scene, scene.crowd).tolist()
        for box, label, right in zip(scene.boxes.tolist(), scene.labels.tolist(), taken, strict=True):
            _box(axes, box, classes[label], WRONG if right == NOTHING else CORRECT)
        for index in set(range(len(record.boxes))) - found(scene):
            _box(axes, record.boxes[index].tolist(), None, MISSED)


def _box(axes: Axes, box: list[float], text: str | None, hue: str) -> None:
    """A box with its class above it, or inside where the image ends; one without text is dashed: a missed object."""
    x1, y1, x2, y2 = box
    edge = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=hue, linewidth=0.9)
    edge.set_linestyle("solid" if text else _MISSED_DASHES)
    edge.set_path_effects([patheffects.withStroke(linewidth=1.7, foreground="black", alpha=0.6)])
    axes.add_patch(edge)
    if text:
        (left, right), (_, top) = axes.get_xlim(), axes.get_ylim()
        above = "bottom" if y1 > top + _LABEL_HEIGHT * (right - left) else "top"
        label = axes.text(max(x1, left + 0.5), max(y1, top + 0.5), text, fontsize=6, va=above, ha="left", clip_on=True)
        label.set_bbox({"facecolor": hue, "edgecolor": "none", "pad": 0.5})


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], color=CORRECT, label="right"),
        Line2D([], [], color=WRONG, label="wrong class or place"),
        Line2D([], [], color=INK, linestyle=_MISSED_DASHES, label="missed (dashed white)"),
    ]
