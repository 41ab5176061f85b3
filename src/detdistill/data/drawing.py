"""Drawing in whole numbers: the same pixels from every processor, operating system and mathematics library."""

import math

import numpy as np

_ONE = 1 << 16  # 1.0 in fixed-point arithmetic
_COLOURS_TRIED = 20


class Draw:
    """Random integers that NumPy promises never to change: raw PCG64 words, reduced here."""

    def __init__(self, *key: int) -> None:
        self._word = np.random.PCG64(np.random.SeedSequence(key)).random_raw

    def integer(self, low: int, high: int) -> int:
        """One integer from `low` to `high`, both included."""
        return low + ((int(self._word()) >> 32) * (high - low + 1) >> 32)


def render(glyph: np.ndarray, size: int, degrees: int, full: int) -> np.ndarray:
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
    left, top, width, height = tight_box(alpha > 0)
    return alpha[top : top + height, left : left + width]


def contrasting(ground: np.ndarray, contrast: int, draw: Draw) -> np.ndarray:
    """A random (3,) colour whose brightness is `contrast` away from the mean of the (n, 3) `ground`."""
    below = int(brightness(ground).sum()) // len(ground)
    for _ in range(_COLOURS_TRIED):
        colour = np.array([draw.integer(0, 255) for _ in range(3)])
        if abs(int(brightness(colour)) - below) >= contrast:
            return colour
    return np.full(3, 0 if below > 127 else 255)


def brightness(colours: np.ndarray) -> np.ndarray:
    """Luma of (..., 3) RGB, 0 to 255: the weights of ITU-R BT.601 in 256ths."""
    return (77 * colours[..., 0] + 150 * colours[..., 1] + 29 * colours[..., 2]) >> 8


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The tight (x, y, width, height) of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Intersection over union of two (x, y, width, height) boxes."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)
