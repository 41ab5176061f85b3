"""A COCO file read into one record an image, its fields checked against each other.

Annotations are checked a column at a time, so that a file of COCO's size is read in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from torch import Tensor

from detdistill.core.errors import UserError
from detdistill.core.files import read_json
from detdistill.core.params import parse


@dataclass(frozen=True)
class Record:
    """One image: `boxes` (n, 4) float32 xyxy in pixels, `labels` (n,) int64 0-based, two (n,) bool flags.

    `areas` (n,) float64 are the annotated ones, in square pixels: COCO's metric sorts objects by the area of the mask.
    `sha256` is of the decoded pixels, (H, W, 3) uint8 RGB; `file_sha256` is of the bytes of the file.
    """

    image_id: int
    file_name: str
    width: int
    height: int
    sha256: str | None
    file_sha256: str | None
    boxes: Tensor
    labels: Tensor
    areas: Tensor
    iscrowd: Tensor
    difficult: Tensor


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)  # COCO files carry licences, masks and more


class _Image(_Lenient):
    id: int
    file_name: str
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    sha256: str | None = None
    file_sha256: str | None = None


class _Annotation(_Lenient):
    id: int
    image_id: int
    category_id: int
    bbox: Annotated[list[FiniteFloat], Field(min_length=4, max_length=4)]
    area: Annotated[FiniteFloat, Field(ge=0)]
    iscrowd: Annotated[int, Field(ge=0, le=1)] = 0
    difficult: Annotated[int, Field(ge=0, le=1)] = 0


class _Category(_Lenient):
    id: int
    name: str


class _Coco(_Lenient):
    images: list[_Image]
    annotations: list[Any]
    categories: list[_Category]


class _Slow(_Coco):
    annotations: list[_Annotation]


def read_records(file: Path, classes: Sequence[str]) -> list[Record]:
    """The annotations image by image, in the file's order; `classes` are the category names in label order.

    Raises UserError, naming the file and the field, for what is not COCO JSON, an empty split, categories other than
    the classes, an annotation of no image or no category, and boxes that are degenerate or off their image.
    """
    content = read_json(file)
    coco = parse(_Coco, content, str(file))
    if not coco.images:
        raise UserError(f"{file}: images: the split is empty; at least one image is needed")
    expected = [_Category(id=label + 1, name=name) for label, name in enumerate(classes)]
    if coco.categories != expected:
        raise UserError(
            f"{file}: categories: must be the classes of the manifest with ids 1 to {len(classes)}, in order"
        )
    rows = {image.id: row for row, image in enumerate(coco.images)}
    if len(rows) != len(coco.images):
        raise UserError(f"{file}: images: two have the same id")
    columns = _columns(coco.annotations)
    if columns is None:
        parse(_Slow, content, str(file))  # says which field of which annotation
        raise UserError(f"{file}: annotations: a whole number is beyond 64 bits")
    row = np.array([rows.get(image, -1) for image in columns["image_id"].tolist()], np.int64)
    _check(file, columns, row, coco.images, len(classes))
    return _records(columns, row, coco.images)


def _columns(annotations: Sequence[Any]) -> dict[str, np.ndarray] | None:
    """Field -> (n,) numbers, `bbox` (n, 4); None when any field is missing or anything else."""
    try:
        numbers = {name: [each[name] for each in annotations] for name in ("id", "image_id", "category_id", "area")}
        numbers |= {name: [each.get(name, 0) for each in annotations] for name in ("iscrowd", "difficult")}
        sides = [side for each in annotations for side in each["bbox"]]
        if any(len(each["bbox"]) != 4 for each in annotations):
            return None
        columns = {
            name: np.array(values, np.float64 if name == "area" else np.int64)
            for name, values in numbers.items()
            if set(map(type, values)) <= ({int, float} if name == "area" else {int})
        }
        if len(columns) < len(numbers) or not set(map(type, sides)) <= {int, float}:
            return None
        columns["bbox"] = np.array(sides, np.float64).reshape(-1, 4)
    except (KeyError, TypeError, AttributeError, OverflowError):
        return None
    allowed = np.isfinite(columns["bbox"]).all() and np.isfinite(columns["area"]).all() and (columns["area"] >= 0).all()
    flags = np.concatenate([columns["iscrowd"], columns["difficult"]])
    return columns if allowed and np.isin(flags, (0, 1)).all() else None


def _check(file: Path, columns: dict[str, np.ndarray], row: np.ndarray, images: Sequence[_Image], classes: int) -> None:
    """Raise UserError for the first annotation whose fields do not agree with the rest of the file."""
    sizes = np.array([(image.width, image.height) for image in images], np.float64)[row]
    left_top, sides = columns["bbox"][:, :2], columns["bbox"][:, 2:]
    category = columns["category_id"]
    orphan, foreign = row < 0, (category < 1) | (category > classes)
    degenerate = ~has_area(columns["bbox"])
    outside = np.any((left_top >= sizes) | (left_top + sides <= 0), axis=1)
    for index in np.flatnonzero(orphan | foreign | degenerate | outside)[:1]:
        where = f"{file}: annotation {columns['id'][index]}"
        box = columns["bbox"][index].tolist()
        if orphan[index]:
            raise UserError(f"{where}: image_id: no image has id {columns['image_id'][index]}")
        if foreign[index]:
            raise UserError(f"{where}: category_id: found {category[index]}, allowed 1 to {classes}")
        if degenerate[index]:
            raise UserError(f"{where}: bbox: a degenerate box, {box[2]:g} by {box[3]:g} pixels")
        raise UserError(f"{where}: bbox: {box} lies outside {images[row[index]].file_name}")


def has_area(boxes: Any) -> Any:
    """Whether boxes (..., 4), x, y, width and height, are finite and not empty as the tensors of a `Record` have them.

    Returns:
        (...) bool.
    """
    corners = np.asarray(boxes, np.float64).copy()
    with np.errstate(over="ignore"):
        corners[..., 2:] += corners[..., :2]
        corners = corners.astype(np.float32)
    return np.isfinite(corners).all(-1) & (corners[..., 2:] > corners[..., :2]).all(-1)


def _records(columns: dict[str, np.ndarray], row: np.ndarray, images: Sequence[_Image]) -> list[Record]:
    """Cut the columns into images; each tensor is a view of its column."""
    order = np.argsort(row, kind="stable")
    counts = np.bincount(row, minlength=len(images)).tolist()
    corners = columns["bbox"].copy()
    corners[:, 2:] += corners[:, :2]
    parts = {
        "boxes": corners.astype(np.float32),
        "labels": columns["category_id"] - 1,
        "areas": columns["area"],
        "iscrowd": columns["iscrowd"].astype(bool),
        "difficult": columns["difficult"].astype(bool),
    }
    cut = {name: torch.from_numpy(part[order]).split(counts) for name, part in parts.items()}
    return [
        Record(
            image_id=image.id,
            file_name=image.file_name,
            width=image.width,
            height=image.height,
            sha256=image.sha256,
            file_sha256=image.file_sha256,
            **{name: part[index] for name, part in cut.items()},
        )
        for index, image in enumerate(images)
    ]
