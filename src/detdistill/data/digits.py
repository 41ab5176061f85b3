"""The embedded study: real handwritten digits on real photographs, both from the scikit-learn wheel.

Each image is a crop of a photograph with a few digits pasted on it, in a random colour, contrast, size and rotation,
some partly over others. The splits share neither a digit image nor a pixel of the photographs.

Everything is integer arithmetic on integers of a bit generator, so that every machine makes the same pixels.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from sklearn.datasets import load_digits, load_sample_images

from detdistill.data import png
from detdistill.data.prepared import Annotations, Writer
from detdistill.params import Slice

SPLITS = ("train", "val", "test")
_DIGIT_SHARES = {"train": (0, 70), "val": (70, 85), "test": (85, 100)}  # percent of each class
_STRIPS = {"test": (0, 160), "train": (160, 480), "val": (480, 640)}  # columns of both photographs
_ONE = 1 << 16  # 1.0 in the fixed-point arithmetic below
_PLACES_TRIED = 30
_COLOURS_TRIED = 20


class Range(Slice):
    """An inclusive range of integers."""

    low: Annotated[int, Field(ge=1)]
    high: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class Images(Slice):
    """How many images each split has."""

    train: Annotated[int, Field(ge=1)] = 4000
    val: Annotated[int, Field(ge=1)] = 500
    test: Annotated[int, Field(ge=1)] = 500


class Params(Slice):
    """`data.yaml` of a study of kind `digits`. Sizes in pixels, `rotation` in degrees either way."""

    kind: Literal["digits"]
    seed: Annotated[int, Field(ge=0)] = 0
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


class Draw:
    """Random integers that NumPy promises never to change: raw PCG64 words, reduced here."""

    def __init__(self, *key: int) -> None:
        self._word = np.random.PCG64(np.random.SeedSequence(key)).random_raw

    def integer(self, low: int, high: int) -> int:
        """One integer from `low` to `high`, both included."""
        return low + ((int(self._word()) >> 32) * (high - low + 1) >> 32)


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
        alpha = _render(glyph, size, draw.integer(-params.rotation, params.rotation), draw.integer(130, 200))
        place = _place(params, owner, inks, alpha >= 128, draw)
        if place is None:
            continue
        ink = alpha >= 128
        owner[place][ink] = len(labels)
        labels.append(label)
        inks.append(int(ink.sum()))
        colour = _colour(pixels[place][ink], params.contrast, draw)
        cover = (alpha * draw.integer(208, 256) >> 8)[:, :, None]
        pixels[place] = (pixels[place] * (256 - cover) + colour * cover + 128) >> 8
    return Picture(pixels.astype(np.uint8), [_box(owner == index) for index in range(len(labels))], labels)


def _background(size: int, split: str, draw: Draw) -> np.ndarray:
    """A crop (size, size, 3) of the split's strip of a photograph, with a random flip, contrast and brightness."""
    photo = _sources()[1][draw.integer(0, 1)]
    start, end = _STRIPS[split]
    top = draw.integer(0, photo.shape[0] - size)
    left = draw.integer(start, end - size)
    crop = photo[top : top + size, left : left + size]
    if draw.integer(0, 1):
        crop = crop[:, ::-1]
    return np.clip((crop * draw.integer(180, 300) >> 8) + draw.integer(-30, 30), 0, 255)


def _render(glyph: np.ndarray, size: int, degrees: int, full: int) -> np.ndarray:
    """Opacity (h, w), 0 to 256, of a padded glyph drawn `size` pixels high and rotated, cut to what is not clear.

    Bilinear interpolation at 16 fractional bits; ink from grey level 64 up shows, from `full` up it is opaque.
    """
    # Whole degrees: no sine lies so near a half that two mathematics libraries could round it differently.
    cos, sin = (round(_ONE * function(math.radians(degrees))) for function in (math.cos, math.sin))
    side = (size * (cos + abs(sin)) >> 16) + 2
    ramp = 2 * np.arange(side) + 1 - side  # twice the distance from the centre
    x, y = ramp[None, :], ramp[:, None]
    cells = glyph.shape[0] - 2
    middle = (cells + 1) * _ONE // 2
    u, v = (
        np.clip((turned * cells) // (2 * size) + middle, 0, (cells + 1) * _ONE - 1)
        for turned in (x * cos + y * sin, y * cos - x * sin)
    )
    column, row, right, down = u >> 16, v >> 16, u >> 8 & 255, v >> 8 & 255
    upper = glyph[row, column] * (256 - right) + glyph[row, column + 1] * right
    lower = glyph[row + 1, column] * (256 - right) + glyph[row + 1, column + 1] * right
    grey = (upper * (256 - down) + lower * down) >> 12  # 0 to 256
    alpha = np.clip((grey - 64) * 256 // (full - 64), 0, 256)
    left, top, width, height = _box(alpha > 0)
    return alpha[top : top + height, left : left + width]


def _place(
    params: Params, owner: np.ndarray, inks: list[int], ink: np.ndarray, draw: Draw
) -> tuple[slice, slice] | None:
    """A place for the mask `ink` that hides no earlier digit too much; None when there is none after some tries."""
    height, width = ink.shape
    seen = np.bincount(owner[owner >= 0], minlength=len(inks))
    boxes = [_box(owner == index) for index in range(len(inks))]
    left_in, top_in, ink_width, ink_height = _box(ink)
    for _ in range(_PLACES_TRIED):
        top = draw.integer(0, owner.shape[0] - height)
        left = draw.integer(0, owner.shape[1] - width)
        place = slice(top, top + height), slice(left, left + width)
        box = (left + left_in, top + top_in, ink_width, ink_height)
        if any(_overlap(box, other) > params.max_overlap for other in boxes):
            continue
        below = owner[place][ink]
        hidden = np.bincount(below[below >= 0], minlength=len(inks))
        if all(s - h >= (1 - params.max_hidden) * total for s, h, total in zip(seen, hidden, inks, strict=True)):
            return place
    return None


def _colour(ground: np.ndarray, contrast: int, draw: Draw) -> np.ndarray:
    """A random (3,) colour whose brightness is `contrast` away from the mean of the (n, 3) `ground`."""
    below = int(_brightness(ground).sum()) // len(ground)
    for _ in range(_COLOURS_TRIED):
        colour = np.array([draw.integer(0, 255) for _ in range(3)])
        if abs(int(_brightness(colour)) - below) >= contrast:
            return colour
    return np.full(3, 0 if below > 127 else 255)


def _brightness(colours: np.ndarray) -> np.ndarray:
    """Luma of (..., 3) RGB, 0 to 255: the weights of ITU-R BT.601 in 256ths."""
    return (77 * colours[..., 0] + 150 * colours[..., 1] + 29 * colours[..., 2]) >> 8


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The tight (x, y, width, height) of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Intersection over union of two (x, y, width, height) boxes."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)
