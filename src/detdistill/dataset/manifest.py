"""Read a prepared data set and trust nothing: digests, boxes, categories and images are checked where they are read."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from detdistill.core import paths
from detdistill.core.errors import UserError, near
from detdistill.core.files import read_bytes, read_json, sha256
from detdistill.core.params import Slice, parse
from detdistill.dataset.pixels import decode
from detdistill.dataset.prepared import digest_of
from detdistill.dataset.records import Record, read_records

Targets = dict[str, Tensor]


class Fault(Slice):
    """A box of the raw data that was not taken as it is: `box` as annotated, in `image`, for `reason`."""

    image: str
    box: list[float]
    reason: str
    done: Literal["dropped", "clipped"]


class Skipped(Slice):
    """An image of the raw data that was left out, as `broken_images: skip` asks, and why."""

    image: str
    reason: str


class SplitEntry(Slice):
    """What the manifest says of one split; `annotations` is a file beside it.

    `faults` names the first of many; `skipped` names all images that were left out.
    """

    annotations: str
    sha256: str
    images: int
    boxes: int
    boxes_per_class: list[int]
    dropped: int = 0
    clipped: int = 0
    faults: list[Fault] = []
    skipped: list[Skipped] = []


class Manifest(Slice):
    """`manifest.json`. `classes` are in label order; `digest` covers every annotation and every pixel.

    `folder` is what the images' file names are below; None means `images`, beside the manifest.
    """

    study: str
    kind: str
    folder: str | None = None
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
        records = read_records(file, self.classes)
        folder = Path(self.folder) if self.folder else paths.data(self.study, "images")
        return Split(records, self.classes, folder, {} if cache else None)


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


class Split(Dataset[tuple[Tensor, Targets]]):
    """The images of one split in the order of their file, as a PyTorch data set of (image, targets)."""

    def __init__(
        self, records: Sequence[Record], classes: Sequence[str], folder: Path, cache: dict[int, Tensor] | None = None
    ) -> None:
        self.records = list(records)
        self.classes = list(classes)
        self._folder = folder
        self._cache = cache
        self._verified: set[int] = set()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        return self.image(index), self.targets(index)

    def subset(self, indices: Sequence[int]) -> "Split":
        """These images only, in this order; decoded images are shared with the whole."""
        return Split([self.records[index] for index in indices], self.classes, self._folder, self._cache)

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
        """The decoded image, (3, H, W) uint8 RGB, compared with the annotated digest when first read.

        Raises UserError, naming the file, when it is missing, broken, truncated, altered or of another size.
        """
        record = self.records[index]
        if self._cache is not None and record.image_id in self._cache:
            return self._cache[record.image_id]
        path = self._folder / record.file_name
        content = read_bytes(path, f"{path}: no such image; run `detdistill data` again")
        pixels = np.array(decode(path, content))
        if pixels.shape[:2] != (record.height, record.width):
            found = f"{pixels.shape[1]} x {pixels.shape[0]}"
            raise UserError(
                f"{path}: the image is {found} pixels, the annotations say {record.width} x {record.height}"
            )
        if record.image_id not in self._verified:
            if record.sha256 not in (None, hashlib.sha256(pixels.tobytes()).hexdigest()):
                raise UserError(f"{path}: altered: its pixels do not match the sha256 in the annotations")
            if record.file_sha256 not in (None, hashlib.sha256(content).hexdigest()):
                raise UserError(f"{path}: altered: its bytes do not match the file_sha256 in the annotations")
            self._verified.add(record.image_id)
        image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        if self._cache is not None:
            self._cache[record.image_id] = image
        return image
