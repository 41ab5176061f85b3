"""Detections drawn into their image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps, font_manager
from matplotlib.colors import to_hex
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from detdistill.detectors.base import Detections

LEAST = 480
"""Pixels of the longer side of a picture; a smaller image is shown larger by a whole factor, so that names fit."""
HUES = [to_hex(each) for each in colormaps["tab10"](range(10))]
"""Of the classes, in turn."""


def draw(image: Tensor, found: Detections, classes: Sequence[str]) -> Tensor:
    """The image with a box, a class and a score a detection, best ones on top.

    Args:
        image: uint8 (3, H, W).

    Returns:
        uint8 (3, sH, sW), s the whole factor that it was enlarged by.
    """
    factor = max(1, -(-LEAST // max(image.shape[1:])))
    large = image.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    picture = Image.fromarray(large.permute(1, 2, 0).contiguous().numpy())
    pen, longest = ImageDraw.Draw(picture), max(picture.size)
    # The one family that ships with matplotlib, so that no machine needs another.
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), max(11, longest // 45))
    for index in found["scores"].argsort().tolist():
        label, score = int(found["labels"][index]), float(found["scores"][index])
        left, top, right, bottom = (factor * found["boxes"][index]).tolist()
        hue = HUES[label % len(HUES)]
        pen.rectangle((left, top, max(right, left), max(bottom, top)), outline=hue, width=max(2, longest // 300))
        text = f"{classes[label]} {score:.2f}"
        _, _, width, height = pen.textbbox((0, 0), text, font=font)
        # Above the box, or inside of it where the image ends.
        corner = max(0, min(left, picture.width - width)), top - height if top >= height else top
        pen.rectangle(pen.textbbox(corner, text, font=font), fill=hue)
        pen.text(corner, text, fill="white", font=font)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
