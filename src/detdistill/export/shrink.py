"""Images as small as those that a model was trained on, and what is found in them in pixels of the images as given.

`resize` in a study's `data.yaml` is the longest side that its images were shrunk to; a model knows objects of no other
size. The rule and the filter are those of the data step: what both shrink is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from detdistill.detectors.base import Detections, Detector
from detdistill.evaluate.predict import as_float

LINES = """\
photo = Image.open("image.png").convert("RGB")
share = min(1, {longest} / max(photo.size))  # as in training
size = max(1, round(photo.width * share)), max(1, round(photo.height * share))
shown = photo.resize(size, Image.Resampling.BILINEAR)
"""
"""The rule for who has Pillow alone."""


class Shrink(GeneralizedRCNNTransform):
    """torchvision's normalisation and padding, of images whose longest side is `max_size` at most: others are shrunk.

    Boxes come back in pixels of the image as given.
    """

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        height, width = image.shape[-2:]
        share = min(1.0, self.max_size / max(height, width))
        size = [max(1, round(height * share)), max(1, round(width * share))]
        return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0] if share < 1 else image, target


def shrunk(image: Tensor, longest: int | None) -> Tensor:
    """An image, uint8 (3, H, W), whose longest side is `longest` at most; None leaves it as it is."""
    height, width = image.shape[1:]
    if longest is None or max(height, width) <= longest:
        return image
    share = longest / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    whole = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    return torch.from_numpy(np.array(whole.resize(size, Image.Resampling.BILINEAR))).permute(2, 0, 1).contiguous()


@torch.no_grad()
def predict(detector: Detector, images: Sequence[Tensor], longest: int | None) -> list[Detections]:
    """What a detector finds in images that are shrunk as those that it was trained on, on the CPU.

    Args:
        images: uint8 (3, H, W), RGB; of one size, or they are padded for the sake of one another.
        longest: pixels of the longest side, `resize` of the model's card.

    Returns:
        An image's detections, boxes (n, 4) xyxy in pixels of the image as given.
    """
    device = next(detector.parameters()).device
    shown = [shrunk(image, longest) for image in images]
    found = detector.predict([as_float(image.to(device)) for image in shown])
    return [
        {name: value.cpu() for name, value in each.items()} | {"boxes": each["boxes"].cpu() * _factors(image, small)}
        for each, image, small in zip(found, images, shown, strict=True)
    ]


def _factors(image: Tensor, small: Tensor) -> Tensor:
    down, across = (given / seen for given, seen in zip(image.shape[1:], small.shape[1:], strict=True))
    return torch.tensor([across, down, across, down])
