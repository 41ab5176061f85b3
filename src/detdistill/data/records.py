"""A COCO file read into one record an image, its fields checked against each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from torch import Tensor

from detdistill.errors import UserError
from detdistill.files import read_json
from detdistill.params import parse


@dataclass(frozen=True)
class Record:
    """One image: `boxes` (n, 4) float32 xyxy in pixels, `labels` (n,) int64 0-based, two (n,) bool flags."""

    image_id: int
    file_name: str
    width: int
    height: int
    sha256: str | None
    boxes: Tensor
    labels: Tensor
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


class _Annotation(_Lenient):
    id: int
    image_id: int
    category_id: int
    bbox: Annotated[list[FiniteFloat], Field(min_length=4, max_length=4)]
    iscrowd: int = 0
    difficult: int = 0


class _Category(_Lenient):
    id: int
    name: str


class _Coco(_Lenient):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_records(file: Path, classes: Sequence[str]) -> list[Record]:
    """The annotations image by image, in the file's order; `classes` are the category names in label order.

    Raises UserError, naming the file and the field, for what is not COCO JSON, an empty split, categories other than
    the classes, an annotation of no image or no category, and boxes that are degenerate or off their image.
    """
    coco = parse(_Coco, read_json(file), str(file))
    if not coco.images:
        raise UserError(f"{file}: images: the split is empty; at least one image is needed")
    expected = [_Category(id=label + 1, name=name) for label, name in enumerate(classes)]
    if coco.categories != expected:
        raise UserError(
            f"{file}: categories: must be the classes of the manifest with ids 1 to {len(classes)}, in order"
        )
    images = {image.id: image for image in coco.images}
    if len(images) != len(coco.images):
        raise UserError(f"{file}: images: two have the same id")
    grouped: dict[int, list[_Annotation]] = {image: [] for image in images}
    for annotation in coco.annotations:
        where = f"{file}: annotation {annotation.id}"
        if annotation.image_id not in images:
            raise UserError(f"{where}: image_id: no image has id {annotation.image_id}")
        if not 1 <= annotation.category_id <= len(classes):
            raise UserError(f"{where}: category_id: found {annotation.category_id}, allowed 1 to {len(classes)}")
        image = images[annotation.image_id]
        x, y, width, height = annotation.bbox
        if width <= 0 or height <= 0:
            raise UserError(f"{where}: bbox: a degenerate box, {width:g} by {height:g} pixels")
        if x >= image.width or y >= image.height or x + width <= 0 or y + height <= 0:
            raise UserError(f"{where}: bbox: {annotation.bbox} lies outside {image.file_name}")
        grouped[annotation.image_id].append(annotation)
    return [_record(image, grouped[image.id]) for image in coco.images]


def _record(image: _Image, annotations: Sequence[_Annotation]) -> Record:
    corners = [(x, y, x + width, y + height) for x, y, width, height in (each.bbox for each in annotations)]
    return Record(
        image_id=image.id,
        file_name=image.file_name,
        width=image.width,
        height=image.height,
        sha256=image.sha256,
        boxes=torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([each.category_id - 1 for each in annotations], dtype=torch.int64),
        iscrowd=torch.tensor([each.iscrowd for each in annotations], dtype=torch.bool),
        difficult=torch.tensor([each.difficult for each in annotations], dtype=torch.bool),
    )
