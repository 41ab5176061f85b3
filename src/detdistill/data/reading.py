"""What the readers of COCO and VOC folders share: where the data are, which boxes are taken, and how they are written.

Boxes, by rule: one without area, with swapped corners or outside its image is dropped; one that reaches beyond its
image is clipped. Both are counted and named in the manifest, but for an overhang below one pixel, which is rounding.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from PIL.Image import Resampling
from pydantic import AfterValidator, Field
from rich.progress import track

from detdistill.core.errors import UserError, near
from detdistill.core.files import read_bytes
from detdistill.core.params import Slice
from detdistill.data import png
from detdistill.data.download import Source, ready
from detdistill.dataset.pixels import decode
from detdistill.dataset.prepared import Annotations, Box, Object, Writer
from detdistill.dataset.records import has_area

SplitName = Literal["train", "val", "test"]
ROUNDING = 1.0


def _once(names: list[str]) -> list[str]:
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise ValueError(f"{twice[0]!r} is there twice")
    return names


class Reading(Slice):
    """What `data.yaml` says of every data set that is read: where it is, its classes and the size of its images.

    `folder` is in the project, or inside the `source`. `classes` are label names in order; by default those of the
    data. `resize` is the longest side in pixels that images are written with; without it they stay where they are.
    `hold_out` is how many images of `train` become `val` when the data have no split of their own for it.
    """

    source: Source | None = None
    folder: str = "."
    classes: Annotated[list[str], Field(min_length=1), AfterValidator(_once)] | None = None
    resize: Annotated[int, Field(ge=16)] | None = None
    hold_out: Annotated[int, Field(gt=0)] | None = None

    def root(self, where: str) -> Path:
        """The folder with the data. Raises UserError when there is none, and as `download.ready`."""
        root = ready(self.source) / self.folder if self.source else Path(self.folder)
        if not root.is_dir():
            raise UserError(f"{where}: folder: no folder {str(root)!r}")
        return root

    def held_out(self, splits: "Splits", where: str) -> "Splits":
        """All three splits: for a missing `val`, the images whose names have the lowest digests leave `train`.

        Raises UserError when a split is missing or empty.
        """
        for split in ("train", "test"):
            if not splits.get(split):
                raise UserError(f"{where}: splits: {split!r} is missing or empty")
        if "val" in splits:
            if self.hold_out is not None or not splits["val"]:
                raise UserError(f"{where}: splits: 'val' is empty, or both it and `hold_out` are said; one is needed")
            return splits
        train = splits["train"]
        if self.hold_out is None or self.hold_out >= len(train):
            raise UserError(f"{where}: splits: 'val' is missing; name it, or set `hold_out` to less than {len(train)}")
        chosen = set(sorted((image.file for image in train), key=_digest)[: self.hold_out])
        kept = [image for image in train if image.file not in chosen]
        return {"train": kept, "val": [image for image in train if image.file in chosen], "test": splits["test"]}


@dataclass(frozen=True)
class RawObject:
    """One object as annotated: corners in pixels from the image's left top, which may be senseless but are finite."""

    corners: tuple[float, float, float, float]
    name: str
    where: str
    area: float | None = None
    iscrowd: bool = False
    difficult: bool = False


@dataclass(frozen=True)
class RawImage:
    """One image: `file` below the root, and the size that the annotations say, if they do."""

    file: str
    size: tuple[int, int] | None
    objects: list[RawObject]
    where: str
    """The annotation that names it, for errors."""


Splits = Mapping[SplitName, Sequence[RawImage]]


@dataclass(frozen=True)
class Raw:
    """A data set as annotated: where its images are, its classes in label order, its three splits."""

    root: Path
    classes: list[str]
    splits: Splits


def write(study: str, kind: str, params: Reading, raw: Raw) -> None:
    """Write annotations, manifest and, with `resize`, images. Raises UserError for what cannot be read."""
    _require_distinct(raw.splits)
    if not raw.classes:
        raise UserError(f"{raw.root}: no object in any split, so there is no class")
    labels = {name: label for label, name in enumerate(raw.classes)}
    with Writer(study, kind, raw.classes, None if params.resize else raw.root.as_posix()) as writer:
        for split, images in raw.splits.items():
            noted = Annotations(raw.classes)
            quiet = not sys.stderr.isatty()
            for image in track(images, f"{split} of {study}", disable=quiet, transient=True):
                _add(noted, image, raw.root, labels, params.resize, writer.image)
            writer.split(split, noted)


def taken(corners: Sequence[float], width: int, height: int) -> tuple[Box | None, str | None]:
    """The box (x, y, width, height) inside the image, or None, and what was wrong with it, if anything."""
    left, top, right, bottom = corners
    if right < left or bottom < top:
        return None, "swapped corners"
    if right == left or bottom == top:
        return None, "no area"
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        return None, "outside the image"
    inside = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
    overhang = max(abs(mine - theirs) for mine, theirs in zip(inside, corners, strict=True))
    box = inside[0], inside[1], inside[2] - inside[0], inside[3] - inside[1]
    return box, "beyond the image" if overhang >= ROUNDING else None


def _add(
    noted: Annotations,
    image: RawImage,
    root: Path,
    labels: Mapping[str, int],
    resize: int | None,
    write_image: Callable[[str, bytes], None],
) -> None:
    path = root / image.file
    content = read_bytes(path, f"{image.where}: its image {path} does not exist")
    whole = decode(path, content)
    width, height = whole.size
    if image.size is not None and image.size != (width, height):
        raise UserError(f"{image.where}: size: {image.size[0]} x {image.size[1]}, but {path} is {width} x {height}")
    share = min(1.0, (resize or max(whole.size)) / max(whole.size))
    shown = round(width * share), round(height * share)
    across, down = shown[0] / width, shown[1] / height
    objects = []
    for each in image.objects:
        if each.name not in labels:
            raise UserError(f"{each.where}: no class {each.name!r}{near(each.name, labels)}")
        box, wrong = taken(each.corners, width, height)
        if wrong:
            noted.add_fault(image.file, each.corners, wrong, "clipped" if box else "dropped")
        if box:
            scaled = box[0] * across, box[1] * down, box[2] * across, box[3] * down
            if not has_area(scaled):
                noted.add_fault(image.file, each.corners, "no area in single precision", "dropped")
                continue
            area = None if each.area is None else each.area * across * down
            objects.append(Object(scaled, labels[each.name], area, each.iscrowd, each.difficult))
    if resize is None:
        noted.add_image(image.file, width, height, objects, file_sha256=hashlib.sha256(content).hexdigest())
        return
    pixels = np.array(whole.resize(shown, Resampling.BILINEAR))
    name = Path(image.file).with_suffix(".png").as_posix()
    noted.add_image(name, shown[0], shown[1], objects, sha256=hashlib.sha256(pixels.tobytes()).hexdigest())
    write_image(name, png.encode(pixels))


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _require_distinct(splits: Splits) -> None:
    """Raise UserError when two images are one, or would be written to one file."""
    seen: dict[str, tuple[str, str]] = {}
    for split, image in _all(splits):
        name = Path(image.file).with_suffix("").as_posix()
        if name in seen:
            raise UserError(f"{image.where}: {image.file} of {split} is also {seen[name][1]} of {seen[name][0]}")
        seen[name] = split, image.file


def _all(splits: Splits) -> Iterator[tuple[str, RawImage]]:
    return ((split, image) for split, images in splits.items() for image in images)
