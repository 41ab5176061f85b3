"""CLoCKDistill: imitate the encoder's memory, objects and background apart, every object alike whatever its size.

Lan and Tian, WACV 2026, arXiv 2502.10683. For each level of the memory, summed over pixels, a mean over images:
L = a * sum M S mean_c (T - phi(S))^2 + b * sum (1 - M) S mean_c (T - phi(S))^2
M: location mask, 1 where an object of the ground truth is; S: scale mask, 1 / the pixels of the smallest object over a
pixel, and 1 / the number of the other pixels outside. T, S in the brackets: memory of teacher and student.
This is the memory half; the paper's other half, logits at queries made of the ground truth, is left out.
No weights were found in a primary source. The mean over channels keeps them independent of the width; an object covers
every cell that it touches. phi is a 1x1 convolution where the widths differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, PartWeight, adapters, parts


def location_and_scale(
    objects: Sequence[Tensor], image_size: tuple[int, int], shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """M and S, both (N, 1, H, W).

    Args:
        objects: one (n, 4) an image, xyxy pixels.
        image_size: (H, W) of the padded input in pixels.
        shape: (H, W) of the level in cells.
    """
    scales = []
    for boxes in objects:
        cells = boxes.new_tensor([size / pixels for size, pixels in zip(shape, image_size, strict=True)])
        first = (boxes[:, [1, 0]] * cells).floor()
        # One cell at least, also for an object that begins and ends on the same border of cells.
        last = torch.maximum((boxes[:, [3, 2]] * cells).ceil(), first + 1)
        rows, columns = (torch.arange(size, device=boxes.device) for size in shape)
        in_row = (rows >= first[:, :1]) & (rows < last[:, :1])
        in_column = (columns >= first[:, 1:]) & (columns < last[:, 1:])
        covered = (in_row[:, :, None] & in_column[:, None]) / (last - first).prod(1)[:, None, None]
        # The row of zeros is an image's value where no object is.
        scales.append(torch.cat([covered, covered.new_zeros(1, *shape)]).amax(0, keepdim=True))
    scale = torch.stack(scales)
    location = (scale > 0).to(scale)
    outside = 1 - location
    return location, scale + outside / outside.sum((2, 3), keepdim=True).clamp(min=1)


def memory_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Squared error of (N, C, H, W) maps, mean over C, sum under a (N, 1, H, W) mask, mean over N; a scalar."""
    return (mask * (student - teacher).square().mean(1, keepdim=True)).sum() / len(student)


class CLoCKDistill(Method):
    """Location- and scale-aware distillation of every level of the encoder's memory.

    Args:
        foreground, background: a and b; 0 switches a term off.
    """

    taps = frozenset({"memory"})

    def __init__(self, student: Detector, teacher: Detector, *, foreground: PartWeight, background: PartWeight):
        super().__init__(student, teacher)
        self.parts = parts(foreground=foreground, background=background)
        self.adapters = adapters("memory", student, teacher)

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        objects = [target["boxes"] for target in targets]
        levels = []
        for stride, adapt in self.adapters.items():
            own, other = adapt(student.memory[stride]), teacher.memory[stride]
            location, scale = location_and_scale(objects, student.image_size, (own.shape[2], own.shape[3]))
            levels.append(
                {
                    "foreground": memory_loss(own, other, location * scale),
                    "background": memory_loss(own, other, (1 - location) * scale),
                }
            )
        return {
            part: weight * torch.stack([level[part] for level in levels]).sum()
            for part, weight in self.parts.items()
            if weight
        }
