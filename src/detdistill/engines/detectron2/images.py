"""Detectron2's own resizing and mirroring, with draws from a given generator instead of NumPy's global one."""

from __future__ import annotations

import numpy as np
import torch
from detectron2.data.transforms import HFlipTransform, ResizeShortestEdge, ResizeTransform, Transform, TransformList
from torch import Tensor

from detdistill.detectors.base import Target
from detdistill.engines.detectron2.params import Input


def augment(recipe: Input, image: Tensor, target: Target, generator: torch.Generator) -> tuple[Tensor, Target]:
    """One training sample, its shortest edge drawn and perhaps mirrored.

    Args:
        image: uint8 (3, H, W).
        target: rows of `boxes` (n, 4), and tensors of n rows or none beside it. Boxes that vanish lose their rows.
    """
    edge = recipe.short_edges[int(torch.randint(len(recipe.short_edges), (), generator=generator))]
    transforms: list[Transform] = [_resize(recipe, image, edge)]
    if recipe.flip and torch.rand((), generator=generator) < 0.5:
        transforms.append(HFlipTransform(transforms[0].new_w))
    both = TransformList(transforms)
    sized = _apply(both, image)
    limits = np.array([sized.shape[2], sized.shape[1]] * 2)
    boxes = both.apply_box(target["boxes"].double().numpy()).clip(min=0, max=limits)
    kept = torch.from_numpy((boxes[:, 2:] - boxes[:, :2] > 1e-5).all(axis=1))
    moved = {**target, "boxes": torch.from_numpy(boxes).float()}
    return sized, {name: value[kept] if value.ndim else value for name, value in moved.items()}


def at_test_size(recipe: Input, image: Tensor) -> Tensor:
    """A float image (3, H, W) in 0..1 as inference sees it; resized in 8 bits, as Detectron2 does."""
    pixels = (255 * image).round().to(torch.uint8)
    return (_apply(_resize(recipe, image, recipe.test_short_edge), pixels.cpu()).float() / 255).to(image.device)


def _resize(recipe: Input, image: Tensor, edge: int) -> ResizeTransform:
    height, width = image.shape[-2:]
    return ResizeTransform(height, width, *ResizeShortestEdge.get_output_shape(height, width, edge, recipe.max_size))


def _apply(transform: Transform, image: Tensor) -> Tensor:
    pixels = transform.apply_image(image.permute(1, 2, 0).contiguous().numpy())
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
