"""A training image and its boxes varied as the parameters say: torchvision's transforms, drawn from one generator."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat, Image

from detdistill.core.params import Augmentation
from detdistill.detectors.base import Target

GREY = [124, 116, 104]
"""RGB of what lies round a smaller image: ImageNet's mean, about 0 once normalised, as the padding of batches is."""


def augmented(recipe: Augmentation, image: Tensor, target: Target, generator: torch.Generator) -> tuple[Tensor, Target]:
    """One training sample, of the same size.

    Args:
        image: uint8 (3, H, W); it is not changed.
        target: `boxes` (n, 4) xyxy, and tensors of n rows or none beside it. A box of which less than a pixel is left
            in width or height loses its row.
        generator: all randomness comes from it, none from PyTorch's default one.
    """
    height, width = image.shape[-2:]
    boxes = BoundingBoxes(target["boxes"], format=BoundingBoxFormat.XYXY, canvas_size=(height, width))
    sample = (Image(image), target | {"boxes": boxes})
    # torchvision's transforms draw from PyTorch's default generator of the processor: it is lent to them.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        varied, moved = _transforms(recipe, height, width)(*sample)
    return varied.as_subclass(Tensor), moved | {"boxes": moved["boxes"].as_subclass(Tensor)}


def _transforms(recipe: Augmentation, height: int, width: int) -> v2.Compose:
    """What the recipe asks for, in its order. The first draw is the factor of the size."""
    steps: list[v2.Transform] = []
    low, high = recipe.scale
    if (low, high) != (1.0, 1.0):
        factor = low + float(torch.rand(())) * (high - low)
        steps += [
            v2.Resize([max(1, round(height * factor)), max(1, round(width * factor))]),
            v2.RandomCrop((height, width), pad_if_needed=True, fill=GREY),
        ]
    steps += [
        v2.RandomHorizontalFlip(recipe.flip),
        v2.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue),
        v2.ClampBoundingBoxes(),
        v2.SanitizeBoundingBoxes(labels_getter=lambda sample: _rows(sample[1])),
    ]
    return v2.Compose(steps)


def _rows(target: Target) -> tuple[Tensor, ...]:
    """What has a row a box, beside the boxes."""
    return tuple(tensor for name, tensor in target.items() if name != "boxes" and tensor.ndim)
