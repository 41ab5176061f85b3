"""What the readers of all kinds of folders share: where the data are, their splits, and what they hand on."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from detdistill.core.errors import UserError
from detdistill.core.files import read_bytes
from detdistill.core.params import Slice
from detdistill.data.download import Source, ready
from detdistill.data.faults import Faults
from detdistill.data.hold_out import HoldOut, draw

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Of files that are taken for images, in small letters."""


Part = TypeVar("Part")


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Parts = Annotated[list[Part], Field(min_length=1), BeforeValidator(_listed)]
"""What a split consists of: one of them, or a list of several."""


def once(names: list[str]) -> list[str]:
    """The names again. Raises ValueError when one is there twice."""
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise ValueError(f"{twice[0]!r} is there twice")
    return names


class Reading(Slice):
    """What `data.yaml` says of every data set that is read: where it is, its classes and the size of its images.

    `folder` is in the project, or inside the `source`. `classes` are label names in order; by default those of the
    data. `resize` is the longest side in pixels that images are written with; without it they stay where they are.
    `hold_out` is what leaves `train` for splits that the data do not have. `broken_images: skip` leaves out, and the
    manifest names, those that are missing, that are no images or whose annotation cannot be read.
    """

    kind: str
    source: Source | None = None
    folder: str = "."
    classes: Annotated[list[str], Field(min_length=1), AfterValidator(once)] | None = None
    resize: Annotated[int, Field(ge=16)] | None = None
    hold_out: HoldOut | None = None
    broken_images: Literal["refuse", "skip"] = "refuse"

    def root(self, where: str) -> Path:
        """The folder with the data. Raises UserError when there is none, and as `download.ready`."""
        root = ready(self.source) / self.folder if self.source else Path(self.folder)
        if not root.is_dir():
            raise UserError(f"{where}: folder: no folder {str(root)!r}")
        return root

    def parted(self, splits: "Splits", root: Path, where: str, faults: Faults) -> "Splits":
        """All three splits; those that `hold_out` says leave `train`.

        Raises UserError when a split is missing, said twice or empty; if that is for faults, those.
        """
        amounts = self.hold_out.amounts if self.hold_out else {}
        for split in SPLITS:
            if split in splits and not splits[split]:
                faults.settle()
                raise UserError(f"{where}: splits: {split!r} is empty")
            if split in splits and split in amounts:
                raise UserError(f"{where}: splits: both it and `hold_out` say {split!r}; one is needed")
            if split not in splits and split not in amounts:
                hint = "name it" if split == "train" else f"name it, or set `hold_out: {{{split}: 0.15}}`"
                raise UserError(f"{where}: splits: {split!r} is missing; {hint}")
        train = splits["train"]
        files = [image.file for image in train]
        for file in chain.from_iterable(self.hold_out.same if self.hold_out else []):
            if file not in files:
                raise UserError(f"{where}: hold_out.same: {file!r} is no image of 'train'")
        drawn = draw(files, root, self.hold_out) if self.hold_out else {}
        parts = {**splits, "train": [image for image in train if image.file not in drawn]}
        parts |= {split: [image for image in train if drawn.get(image.file) == split] for split in amounts}
        for split, images in parts.items():
            if not images:
                raise UserError(f"{where}: hold_out: {len(train)} images of 'train' leave none for {split!r}")
        return {split: parts[split] for split in SPLITS}


@dataclass(frozen=True)
class RawObject:
    """One object as annotated: corners from the image's left top, which may be senseless but are finite."""

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
    shares: bool = False
    """Corners are in shares of the image's sides, not in pixels."""
    broken: str | None = None
    """Why its annotation cannot be read."""

    def corners(self, each: RawObject, width: int, height: int) -> tuple[float, float, float, float]:
        """Of one of its objects, in pixels of the image of that size."""
        if not self.shares:
            return each.corners
        left, top, right, bottom = each.corners
        return left * width, top * height, right * width, bottom * height


Splits = Mapping[SplitName, Sequence[RawImage]]


@dataclass(frozen=True)
class Raw:
    """A data set as annotated: where its images are, its classes in label order, its three splits, their faults."""

    root: Path
    classes: list[str]
    splits: Splits
    faults: Faults


def class_names(splits: Splits) -> list[str]:
    """The names of all classes that occur, sorted."""
    return sorted({each.name for images in splits.values() for image in images for each in image.objects})


def lines_of(file: Path) -> list[str]:
    """The lines of a text file, with or without a byte order mark. Raises UserError when it is none in UTF-8."""
    try:
        return read_bytes(file).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: cannot be read: {error}; save it as UTF-8") from None


def forward(name: str) -> str:
    """A path as it is written here, of one that may have been written on Windows."""
    return name.replace("\\", "/")


def below(root: Path, folder: str, name: str, where: str) -> str:
    """The path of a file below `root`, of a `name` below `folder`. Raises UserError when it leads out of it."""
    path = Path(os.path.normpath(Path(folder, name)))
    if path.is_absolute() and path.is_relative_to(root.absolute()):
        path = path.relative_to(root.absolute())
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{where}: {name!r} lies outside {root / folder}")
    return path.as_posix()
