"""Every image of a raw data set opened and every box of it judged: what the study's annotations and images will be.

Boxes, by rule: one without area, with swapped corners or outside its image is dropped; one that reaches beyond its
image is clipped. Both are counted and named in the manifest, but for an overhang below one pixel, which is rounding.
"""

import hashlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL.Image import Image, Resampling
from PIL.Image import open as open_image
from rich.progress import track

from detdistill.core.errors import UserError, near
from detdistill.core.files import read_bytes
from detdistill.data import png
from detdistill.data.faults import BrokenImageError, Faults
from detdistill.data.reading import Raw, RawImage, Reading, SplitName, Splits
from detdistill.dataset.pixels import decode
from detdistill.dataset.prepared import Annotations, Box, Object, Writer
from detdistill.dataset.records import has_area

ROUNDING = 1.0
TURNED = ", as its EXIF orientation turns it; if its boxes are those of the file as it lies, save it without that tag"
WriteImage = Callable[[str, bytes], None]


def write(study: str, params: Reading, raw: Raw) -> None:
    """Write annotations, manifest and, with `resize`, images. Raises UserError for all that cannot be used."""
    with Writer(study, params.kind, raw.classes, None if params.resize else raw.root.as_posix()) as writer:
        for split, noted in annotate(params, raw, f" of {study}", writer.image).items():
            writer.split(split, noted)


def annotate(
    params: Reading, raw: Raw, title: str, write_image: WriteImage | None = None
) -> dict[SplitName, Annotations]:
    """The annotations of each split; with `resize`, every image that is taken goes to `write_image` as PNG.

    Raises UserError, with a line for each fault, when there is any, and when no image or object is left.
    """
    faults, seen = raw.faults, dict[bytes, tuple[str, str]]()
    _require_distinct(raw.splits, faults)
    labels = {name: label for label, name in enumerate(raw.classes)}
    made = {split: Annotations(raw.classes) for split in raw.splits}
    for split, images in raw.splits.items():
        for image in track(images, f"{split}{title}", disable=not sys.stderr.isatty(), transient=True):
            with faults.collect():
                try:
                    whole, content = _open(image, raw.root)
                except BrokenImageError as error:
                    if params.broken_images == "refuse":
                        raise
                    made[split].add_skipped(image.file, str(error).removeprefix(f"{raw.root / image.file}: "))
                    continue
                if params.source is None:  # splits of published data are what they are
                    _require_new(whole, split, image.file, seen)
                _add(made[split], image, whole, content, labels, params.resize, write_image, faults)
    faults.settle()
    for split, noted in made.items():
        if not noted.summary()["images"]:
            raise UserError(f"{raw.root}: no image of {split!r} can be used")
    if not raw.classes:
        raise UserError(f"{raw.root}: no object in any split, so there is no class")
    return made


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


def _open(image: RawImage, root: Path) -> tuple[Image, bytes]:
    """The upright image and the bytes of its file. Raises BrokenImageError."""
    path = root / image.file
    if image.broken is not None:
        raise BrokenImageError(image.broken)
    try:
        content = read_bytes(path, f"{image.where}: its image {path} does not exist")
        whole = decode(path, content)
    except UserError as error:
        raise BrokenImageError(str(error)) from None
    if image.size is not None and image.size != whole.size:
        said, found = (f"{width} x {height}" for width, height in (image.size, whole.size))
        with open_image(io.BytesIO(content)) as stored:
            turned = TURNED if stored.size == image.size else ""
        raise BrokenImageError(f"{image.where}: size: {said}, but {path} is {found}{turned}")
    return whole, content


def _add(
    noted: Annotations,
    image: RawImage,
    whole: Image,
    content: bytes,
    labels: Mapping[str, int],
    resize: int | None,
    write_image: WriteImage | None,
    faults: Faults,
) -> None:
    """Note an image with its objects, and with both `resize` and `write_image`, write it."""
    if resize is None or write_image is None:
        objects = _objects(noted, image, whole.size, whole.size, labels, faults)
        noted.add_image(image.file, *whole.size, objects, file_sha256=hashlib.sha256(content).hexdigest())
        return
    share = min(1.0, resize / max(whole.size))
    shown = max(1, round(whole.width * share)), max(1, round(whole.height * share))
    objects = _objects(noted, image, whole.size, shown, labels, faults)
    pixels = np.array(whole.resize(shown, Resampling.BILINEAR))
    name = Path(image.file).with_suffix(".png").as_posix()
    noted.add_image(name, *shown, objects, sha256=hashlib.sha256(pixels.tobytes()).hexdigest())
    write_image(name, png.encode(pixels))


def _objects(
    noted: Annotations,
    image: RawImage,
    size: tuple[int, int],
    shown: tuple[int, int],
    labels: Mapping[str, int],
    faults: Faults,
) -> list[Object]:
    """Those that are taken of an image of that size, in pixels of the size that it is shown in."""
    across, down = shown[0] / size[0], shown[1] / size[1]
    found = []
    for each in image.objects:
        with faults.collect():
            if each.name not in labels:
                raise UserError(f"{each.where}: no class {each.name!r}{near(each.name, labels)}")
            corners = image.corners(each, *size)
            box, wrong = taken(corners, *size)
            scaled = (box[0] * across, box[1] * down, box[2] * across, box[3] * down) if box else None
            if scaled and not has_area(scaled):
                scaled, wrong = None, "no area in single precision"
            if wrong:
                noted.add_fault(image.file, corners, wrong, "clipped" if scaled else "dropped")
            if scaled:
                area = None if each.area is None else each.area * across * down
                found.append(Object(scaled, labels[each.name], area, each.iscrowd, each.difficult))
    return found


def _require_distinct(splits: Splits, faults: Faults) -> None:
    """Note when one file is there twice, or two would be written to one file."""
    seen: dict[str, tuple[str, str]] = {}
    for split, image in _all(splits):
        name = Path(image.file).with_suffix("").as_posix()
        with faults.collect():
            if name in seen:
                raise UserError(f"{image.where}: {image.file} of {split} is also {seen[name][1]} of {seen[name][0]}")
            seen[name] = split, image.file


def _require_new(whole: Image, split: str, file: str, seen: dict[bytes, tuple[str, str]]) -> None:
    """Raise UserError when the pixels were seen in another split."""
    digest = hashlib.sha256(repr(whole.size).encode() + whole.tobytes()).digest()
    there, other = seen.setdefault(digest, (split, file))
    if there != split:
        raise UserError(f"{file} of {split} is the same image as {other} of {there}; one of the two has to go")


def _all(splits: Splits) -> Iterator[tuple[str, RawImage]]:
    return ((split, image) for split, images in splits.items() for image in images)
