"""Truth and predictions on validation images: teacher, plain student and the distilled one that validation chose."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from detdistill.core import paths
from detdistill.core.files import read_json
from detdistill.report.choice import best_recipe
from detdistill.report.figures.style import FULL_WIDTH, INK
from detdistill.report.names import Names
from detdistill.report.summary import PairSummary, Summary

SCORE = 0.5
IOU = 0.5
IMAGES, WIDE_IMAGES = 6, 4  # across the page; few of wide images, so that their boxes can be told apart
PIXELS = 360  # of a picture's longer side, about 300 to the inch on paper
_LABEL_HEIGHT = 0.095  # of a class's name, as a share of the picture's width

CORRECT, WRONG, MISSED = "#00c2ff", "#ff7a1a", "#ffffff"
_MISSED_DASHES = (0.0, (2.0, 1.5))
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Column:
    """One image with its objects, (box, 0-based label) each, and what each model of one pair predicts on it."""

    pair: str
    file_name: str
    objects: list[tuple[Box, int]]
    predictions: list[dict[str, Any] | None]


def draw(summary: Summary, names: Names, images: Path) -> Figure:
    """A column an image below the folder `images`, shared out over the pairs; a row a model, under the truth."""
    truth = read_json(paths.data(summary["study"], "val.json"))
    classes = {category["id"] - 1: category["name"] for category in truth["categories"]}
    tallest = max(image["height"] / image["width"] for image in truth["images"])
    across = IMAGES if tallest > 0.9 or len(summary["pairs"]) > 2 else WIDE_IMAGES
    columns = _columns(summary, truth, across)
    rows = ("Truth", "Teacher", "Plain student", "Distilled")
    layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.012, hspace=0.0)
    pictures = [Image.open(images / column.file_name).convert("RGB") for column in columns]
    figure = Figure(figsize=(FULL_WIDTH, FULL_WIDTH / across * tallest * len(rows) + 0.45), layout=layout)
    grid = figure.subplots(len(rows), max(len(columns), 1), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, model in zip(grid[:, 0], rows, strict=True):
        axes.text(-0.05, 0.5, model, transform=axes.transAxes, rotation=90, va="center", ha="right")
    for panels, column, picture in zip(grid.T, columns, pictures, strict=False):
        width, height = picture.size
        picture.thumbnail((PIXELS, PIXELS))
        for axes in panels:
            axes.imshow(picture, interpolation="none", extent=(0, width, height, 0))
        for box, label in column.objects:
            _box(panels[0], box, classes[label], MISSED)
        for axes, found in zip(panels[1:], column.predictions, strict=True):
            _predictions(axes, found, column.objects, classes)
    for pair in summary["pairs"]:
        own = [axes for axes, column in zip(grid[0], columns, strict=False) if column.pair == pair]
        if own:
            best = best_recipe(summary["pairs"][pair])
            chosen = f" (distilled: {names.recipe(pair, best)})" if best else ""
            own[0].set_title(f"{names.pair(pair)}{chosen}", fontsize=8, loc="left")
    figure.legend(handles=_legend(), loc="outside lower center", ncols=3)
    return figure


def _columns(summary: Summary, truth: dict[str, Any], across: int) -> list[Column]:
    """The images of the fixed rule of `detections.json`, dealt out to the pairs in turn."""
    columns = []
    share = max(across // len(summary["pairs"]), 1)
    for position, (pair, content) in enumerate(summary["pairs"].items()):
        models = _models(summary["study"], pair, content)
        images = next((list(found.values()) for found in models if found), [])
        for image in images[position * share : (position + 1) * share]:
            objects = [
                (_corners(each["bbox"]), each["category_id"] - 1)
                for each in truth["annotations"]
                if each["image_id"] == image["image_id"]
            ]
            predictions = [found.get(image["image_id"]) for found in models]
            columns.append(Column(pair, image["file_name"], objects, predictions))
    return columns


def _models(study: str, pair: str, content: PairSummary) -> list[dict[int, dict[str, Any]]]:
    """Image id -> predictions of the teacher, the plain student and the best distilled one; empty where missing.

    Of several seeds the first that has results.
    """
    models = []
    for recipe in (paths.TEACHER, paths.PLAIN, best_recipe(content)):
        stats = content["teacher"] if recipe == paths.TEACHER else content["recipes"].get(recipe or "")
        found = {}
        if recipe and stats and stats["runs"]:
            path = paths.run(study, pair, recipe, next(iter(stats["runs"])), "detections.json")
            found = {image["image_id"]: image for image in read_json(path)["images"]}
        models.append(found)
    return models


def _predictions(
    axes: Axes, found: dict[str, Any] | None, objects: list[tuple[Box, int]], classes: dict[int, str]
) -> None:
    """Greedy by score: a prediction is right when it meets an object of its class that none has taken yet."""
    if found is None:
        axes.text(0.5, 0.5, "missing", transform=axes.transAxes, ha="center", va="center", backgroundcolor="white")
        return
    free = list(range(len(objects)))
    ranked = sorted(zip(found["scores"], found["boxes"], found["labels"], strict=True), key=lambda each: -each[0])
    for score, box, label in ranked:
        if score < SCORE:
            break
        hits = [index for index in free if objects[index][1] == label and _iou(box, objects[index][0]) >= IOU]
        if hits:
            free.remove(max(hits, key=lambda index: _iou(box, objects[index][0])))
        _box(axes, box, classes[label], CORRECT if hits else WRONG)
    for index in free:
        _box(axes, objects[index][0], None, MISSED)


def _box(axes: Axes, box: Box, text: str | None, hue: str) -> None:
    """A box with its class above it, or inside where the image ends; one without text is dashed: a missed object."""
    x1, y1, x2, y2 = box
    edge = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=hue, linewidth=0.9)
    edge.set_linestyle("solid" if text else _MISSED_DASHES)
    edge.set_path_effects([patheffects.withStroke(linewidth=1.7, foreground="black", alpha=0.6)])
    axes.add_patch(edge)
    if text:
        _, right = axes.get_xlim()
        above = "bottom" if y1 > _LABEL_HEIGHT * right else "top"
        label = axes.text(max(x1, 0.5), max(y1, 0.5), text, fontsize=6, va=above, ha="left", clip_on=True)
        label.set_bbox({"facecolor": hue, "edgecolor": "none", "pad": 0.5})


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], color=CORRECT, label="right"),
        Line2D([], [], color=WRONG, label="wrong class or place"),
        Line2D([], [], color=INK, linestyle=_MISSED_DASHES, label="missed (dashed white)"),
    ]


def _corners(bbox: list[float]) -> Box:
    x, y, width, height = bbox
    return x, y, x + width, y + height


def _iou(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0.0) * max(height, 0.0)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return overlap / (areas - overlap) if areas > overlap else 0.0
