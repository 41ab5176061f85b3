"""Read a prepared data set and trust nothing: digests, boxes, categories and images are checked where they are read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from torch import Tensor
from torch.utils.data import Dataset

from detdistill import paths
from detdistill.data.prepared import digest_of
from detdistill.errors import UserError, near
from detdistill.files import read_json, sha256
from detdistill.params import Slice, parse

Targets = dict[str, Tensor]


class SplitEntry(Slice):
    """What the manifest says of one split; `annotations` is a file beside it."""

    annotations: str
    sha256: str
    images: int
    boxes: int
    boxes_per_class: list[int]


class Manifest(Slice):
    """`manifest.json`. `classes` are in label order; `digest` covers every annotation and every pixel."""

    study: str
    kind: str
    classes: Annotated[list[str], Field(min_length=1)]
    splits: dict[str, SplitEntry]
    digest: str

    def split(self, name: str, cache: bool = False) -> "Split":
        """The split of that name; `cache` keeps decoded images in memory.

        Raises UserError, naming the file, for an unknown or empty split, an annotation file that is missing or
        altered, and annotations that make no sense.
        """
        path = paths.data(self.study, "manifest.json")
        if name not in self.splits:
            raise UserError(f"{path}: splits: no split {name!r}{near(name, self.splits)}")
        entry = self.splits[name]
        file = paths.data(self.study, entry.annotations)
        found = sha256(file)
        if found != entry.sha256:
            raise UserError(
                f"{file}: altered since `detdistill data` wrote it: SHA-256 {found[:12]}, expected {entry.sha256[:12]}"
            )
        records = _records(parse(_Coco, read_json(file), str(file)), self.classes, file)
        return Split(records, paths.data(self.study, "images"), {} if cache else None)


def load(study: str) -> Manifest:
    """The manifest of a study. Raises UserError when the data step has not been run or the file was altered."""
    path = paths.data(study, "manifest.json")
    if not path.exists():
        raise UserError(f"{path}: no such file; run `detdistill data --study {study}` first")
    manifest = parse(Manifest, read_json(path), str(path))
    if manifest.study != study:
        raise UserError(f"{path}: study: must be {study!r}, found {manifest.study!r}")
    if manifest.digest != digest_of({name: entry.sha256 for name, entry in manifest.splits.items()}):
        raise UserError(f"{path}: digest: does not match the digests of the splits; the file was altered")
    return manifest


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


class Split(Dataset[tuple[Tensor, Targets]]):
    """The images of one split in the order of their file, as a PyTorch data set of (image, targets)."""

    def __init__(self, records: Sequence[Record], folder: Path, cache: dict[int, Tensor] | None = None) -> None:
        self.records = list(records)
        self._folder = folder
        self._cache = cache
        self._verified: set[int] = set()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        return self.image(index), self.targets(index)

    def subset(self, indices: Sequence[int]) -> "Split":
        """These images only, in this order; decoded images are shared with the whole."""
        return Split([self.records[index] for index in indices], self._folder, self._cache)

    def targets(self, index: int) -> Targets:
        """`boxes` (n, 4) float32 xyxy, `labels` (n,) int64, `iscrowd` and `difficult` (n,) bool, `image_id` ()."""
        record = self.records[index]
        return {
            "boxes": record.boxes,
            "labels": record.labels,
            "iscrowd": record.iscrowd,
            "difficult": record.difficult,
            "image_id": torch.tensor(record.image_id),
        }

    def image(self, index: int) -> Tensor:
        """The decoded image, (3, H, W) uint8 RGB, its pixels compared with the annotated digest when first read.

        Raises UserError, naming the file, when it is missing, broken, truncated, altered or of another size.
        """
        record = self.records[index]
        if self._cache is not None and record.image_id in self._cache:
            return self._cache[record.image_id]
        path = self._folder / record.file_name
        pixels = _decode(path)
        if pixels.shape[:2] != (record.height, record.width):
            found = f"{pixels.shape[1]} x {pixels.shape[0]}"
            raise UserError(f"{path}: the image is {found} pixels, the annotations say {record.width} x {record.height}")
        if record.sha256 is not None and record.image_id not in self._verified:
            if hashlib.sha256(pixels.tobytes()).hexdigest() != record.sha256:
                raise UserError(f"{path}: altered: its pixels do not match the sha256 in the annotations")
            self._verified.add(record.image_id)
        image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        if self._cache is not None:
            self._cache[record.image_id] = image
        return image


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


def _records(coco: _Coco, classes: Sequence[str], file: Path) -> list[Record]:
    """The annotations image by image, checked against each other. Raises UserError naming `file` and the field."""
    if not coco.images:
        raise UserError(f"{file}: images: the split is empty; at least one image is needed")
    expected = [_Category(id=label + 1, name=name) for label, name in enumerate(classes)]
    if coco.categories != expected:
        raise UserError(f"{file}: categories: must be the classes of the manifest with ids 1 to {len(classes)}, in order")
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


def _decode(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as opened:
            return np.array(opened.convert("RGB"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such image; run `detdistill data` again") from None
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: a broken or truncated image: {error}") from None
