"""The embedded study: real handwritten digits on real photographs, both from the scikit-learn wheel.

Each image is a crop of a photograph with a few digits pasted on it, in a random colour, contrast, size and rotation,
some partly over others. The splits share neither a digit image nor a pixel of the photographs.

Everything is integer arithmetic on integers of a bit generator, so that every machine makes the same pixels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from sklearn.datasets import load_digits, load_sample_images

from detdistill.core.params import Seed, Slice
from detdistill.data import png
from detdistill.data.drawing import Draw, contrasting, overlap, render, tight_box
from detdistill.dataset.prepared import Annotations, Writer

SPLITS = ("train", "val", "test")
_DIGIT_SHARES = {"train": (0, 70), "val": (70, 85), "test": (85, 100)}  # percent of each class
STRIPS = {"test": (0, 160), "train": (160, 480), "val": (480, 640)}  # columns of both photographs
_PLACES_TRIED = 30


class Range(Slice):
    """An inclusive range of integers."""

    low: Annotated[int, Field(ge=1)]
    high: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Images(Slice):
    """How many images each split has."""

    train: Count = 4000
    val: Count = 500
    test: Count = 500


class Params(Slice):
    """`data.yaml` of a study of kind `digits`. Sizes in pixels, `rotation` in degrees either way."""

    kind: Literal["digits"]
    seed: Seed = 0
    classes: Annotated[int, Field(ge=1, le=10)] = 10
    images: Images = Images()
    image_size: Annotated[int, Field(ge=32, le=160)] = 96
    digit_size: Range = Range(low=10, high=40)
    objects: Range = Range(low=1, high=6)
    rotation: Annotated[int, Field(ge=0, le=45)] = 20
    contrast: Annotated[int, Field(ge=0, le=120)] = 60  # brightness (0 to 255) of a digit less that of its ground
    max_overlap: Annotated[float, Field(ge=0, le=1)] = 0.25  # intersection over union of two boxes
    max_hidden: Annotated[float, Field(ge=0, lt=1)] = 0.35  # share of a digit's ink below later digits

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if 2 * self.digit_size.high > self.image_size:
            raise ValueError(f"digit_size.high {self.digit_size.high} is above half of image_size {self.image_size}")
        return self


@dataclass(frozen=True)
class Picture:
    """`pixels` (H, W, 3) uint8 RGB; one (x, y, width, height) box, tight about the visible ink, and label a digit."""

    pixels: np.ndarray
    boxes: list[tuple[int, int, int, int]]
    labels: list[int]


def make(params: Params, study: str) -> None:
    """Write the images, the annotations and, last, the manifest of `study`."""
    with Writer(study, params.kind, class_names(params)) as writer:
        for split in SPLITS:
            writer.split(split, annotations(params, split, writer.image))


def class_names(params: Params) -> list[str]:
    """The names of the classes in label order: the digits themselves."""
    return [str(digit) for digit in range(params.classes)]


def annotations(params: Params, split: str, image: Callable[[str, bytes], None] | None = None) -> Annotations:
    """The annotations of a split; `image(file name, PNG bytes)` receives each picture as it is made."""
    noted = Annotations(class_names(params))
    for index, picture in enumerate(pictures(params, split)):
        name = f"{split}-{index:05d}.png"
        noted.add(name, picture.pixels, picture.boxes, picture.labels)
        if image:
            image(name, png.encode(picture.pixels))
    return noted


def pictures(params: Params, split: str) -> Iterator[Picture]:
    """The pictures of a split, in order; each depends on the params and its own number only."""
    for index in range(getattr(params.images, split)):
        yield _compose(params, split, Draw(params.seed, SPLITS.index(split), index))


def digit_partition(params: Params) -> dict[str, list[list[int]]]:
    """Split -> class -> indices into `load_digits()`: every class shuffled, then cut by the same shares."""
    return _partition(params.seed, params.classes)


@lru_cache(maxsize=4)
def _partition(seed: int, classes: int) -> dict[str, list[list[int]]]:
    targets = load_digits().target
    parts: dict[str, list[list[int]]] = {split: [] for split in SPLITS}
    for digit in range(classes):
        indices = [int(index) for index in np.flatnonzero(targets == digit)]
        draw = Draw(seed, len(SPLITS), digit)
        for last in range(len(indices) - 1, 0, -1):
            other = draw.integer(0, last)
            indices[last], indices[other] = indices[other], indices[last]
        for split, (start, end) in _DIGIT_SHARES.items():
            parts[split].append(indices[len(indices) * start // 100 : len(indices) * end // 100])
    return parts


@lru_cache(maxsize=1)
def _sources() -> tuple[np.ndarray, list[np.ndarray]]:
    """The digits, (1797, 8, 8) of 0 to 16 with a margin of one empty pixel, and the two (427, 640, 3) photographs."""
    glyphs = np.pad(load_digits().images.astype(np.int64), ((0, 0), (1, 1), (1, 1)))
    return glyphs, [photo.astype(np.int64) for photo in load_sample_images().images]


def _compose(params: Params, split: str, draw: Draw) -> Picture:
    pixels = _background(params.image_size, split, draw)
    owner = np.full(pixels.shape[:2], -1)  # which digit's ink is seen at each pixel
    labels: list[int] = []
    inks: list[int] = []
    for _ in range(draw.integer(params.objects.low, params.objects.high)):
        label = draw.integer(0, params.classes - 1)
        choices = digit_partition(params)[split][label]
        glyph = _sources()[0][choices[draw.integer(0, len(choices) - 1)]]
        size = draw.integer(params.digit_size.low, params.digit_size.high)
        alpha = render(glyph, size, draw.integer(-params.rotation, params.rotation), draw.integer(130, 200))
        ink = alpha >= 128
        place = _place(params, owner, inks, ink, draw)
        if place is None:
            continue
        owner[place][ink] = len(labels)
        labels.append(label)
        inks.append(int(ink.sum()))
        colour = contrasting(pixels[place][ink], params.contrast, draw)
        cover = (alpha * draw.integer(208, 256) >> 8)[:, :, None]
        pixels[place] = (pixels[place] * (256 - cover) + colour * cover + 128) >> 8
    return Picture(pixels.astype(np.uint8), [tight_box(owner == index) for index in range(len(labels))], labels)


def _background(size: int, split: str, draw: Draw) -> np.ndarray:
    """A crop (size, size, 3) of the split's strip of a photograph, with a random flip, contrast and brightness."""
    photo = _sources()[1][draw.integer(0, 1)]
    start, end = STRIPS[split]
    top = draw.integer(0, photo.shape[0] - size)
    left = draw.integer(start, end - size)
    crop = photo[top : top + size, left : left + size]
    if draw.integer(0, 1):
        crop = crop[:, ::-1]
    return np.clip((crop * draw.integer(180, 300) >> 8) + draw.integer(-30, 30), 0, 255)


def _place(
    params: Params, owner: np.ndarray, inks: list[int], ink: np.ndarray, draw: Draw
) -> tuple[slice, slice] | None:
    """A place for the mask `ink` that hides no earlier digit too much; None when there is none after some tries."""
    height, width = ink.shape
    seen = np.bincount(owner[owner >= 0], minlength=len(inks))
    boxes = [tight_box(owner == index) for index in range(len(inks))]
    left_in, top_in, ink_width, ink_height = tight_box(ink)
    for _ in range(_PLACES_TRIED):
        top = draw.integer(0, owner.shape[0] - height)
        left = draw.integer(0, owner.shape[1] - width)
        place = slice(top, top + height), slice(left, left + width)
        box = (left + left_in, top + top_in, ink_width, ink_height)
        if any(overlap(box, other) > params.max_overlap for other in boxes):
            continue
        below = owner[place][ink]
        hidden = np.bincount(below[below >= 0], minlength=len(inks))
        if all(s - h >= (1 - params.max_hidden) * total for s, h, total in zip(seen, hidden, inks, strict=True)):
            return place
    return None
