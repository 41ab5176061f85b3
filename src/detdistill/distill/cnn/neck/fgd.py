"""FGD: imitate objects and background apart, where the teacher attends, and the relation between pixels as a whole.

Yang et al., CVPR 2022, arXiv 2111.11837. For each level, sums over C, H, W, divided by N:
L = a sum M_fg A^S A^C (phi(S) - T)^2 + b sum M_bg A^S A^C (phi(S) - T)^2
    + g (sum |A^S(T) - A^S(S)| + sum |A^C(T) - A^C(S)|) + l sum (GcBlock_S(phi(S)) - GcBlock_T(T))^2
A^S = HW softmax over pixels of mean_c |F| / t, A^C = C softmax over channels of mean_hw |F| / t; those of the teacher
weight the first two terms. M_fg = 1 / area of the smallest object over a pixel, M_bg = 1 / number of the other pixels.
Published (a, b, g, l), 256 channels and 1333 x 800 images, t = 0.5 (configs of yzd-v/FGD): RetinaNet 1e-3, 5e-4, 5e-4,
5e-6; Faster R-CNN 5e-5, 2.5e-5, 5e-5, 5e-7. As in its code, an object covers every cell from floor(min) to ceil(max)
inclusive, rows being y (an early release exchanged x and y), and phi is a 1x1 convolution where the widths differ.
In a padded batch the release scales boxes by the image's own size, so that they drift away from the objects; here by
the padded one, to which the maps belong. Its three RetinaNet configs have g = 5e-4, its class 1e-3 as default. Its
one-stage configs begin with the teacher's neck and head ("inheriting"), which is no loss and not done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, PartWeight, adapters, parts


def attention(features: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """A^S (N, 1, H, W), summing to H * W, and A^C (N, C, 1, 1), summing to C, of features (N, C, H, W)."""
    n, c, h, w = features.shape
    strength = features.abs() / temperature
    spatial = h * w * strength.mean(1).flatten(1).softmax(1).view(n, 1, h, w)
    return spatial, c * strength.mean((2, 3)).softmax(1).view(n, c, 1, 1)


def object_masks(boxes: Sequence[Tensor], image_size: tuple[int, int], shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """M_fg and M_bg, both (N, 1, H, W).

    Args:
        boxes: one (n, 4) an image, xyxy pixels.
        image_size: (H, W) of the padded input in pixels.
        shape: (H, W) of the level in cells.
    """
    foregrounds = []
    for each in boxes:
        cells_down, cells_across = (cells / pixels for cells, pixels in zip(shape, image_size, strict=True))
        left, right = (each[:, 0] * cells_across).floor(), (each[:, 2] * cells_across).ceil()
        top, bottom = (each[:, 1] * cells_down).floor(), (each[:, 3] * cells_down).ceil()
        rows, columns = (torch.arange(size, device=each.device)[None] for size in shape)
        in_row = (rows >= top[:, None]) & (rows <= bottom[:, None])
        in_column = (columns >= left[:, None]) & (columns <= right[:, None])
        area = (bottom - top + 1) * (right - left + 1)
        covered = (in_row[:, :, None] & in_column[:, None]) / area[:, None, None]
        # The row of zeros is an image's value where no object is.
        foregrounds.append(torch.cat([covered, covered.new_zeros(1, *shape)]).amax(0, keepdim=True))
    foreground = torch.stack(foregrounds)
    background = (foreground == 0).to(foreground)
    return foreground, background / background.sum((2, 3), keepdim=True).clamp(min=1)


def focal_loss(student: Tensor, teacher: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Squared error of (N, C, H, W) maps under a (N, 1, H, W) mask and the teacher's attention, summed, over N."""
    spatial, channel = attention(teacher, temperature)
    return (mask * spatial * channel * (student - teacher) ** 2).sum() / len(student)


def attention_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """L1 distance of both attentions of (N, C, H, W) maps, summed, over N."""
    (spatial, channel), (own_spatial, own_channel) = attention(teacher, temperature), attention(student, temperature)
    return ((own_spatial - spatial).abs().sum() + (own_channel - channel).abs().sum()) / len(student)


def context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error of two maps (N, C, H, W) after their GcBlocks, summed, over N."""
    return F.mse_loss(student, teacher, reduction="sum") / len(student)


class GcBlock(nn.Module):
    """Global context: a learned weighted mean over all pixels, transformed and added to every pixel (GCNet)."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(channels // 2, 1)
        self.mask, last = nn.Conv2d(channels, 1, 1), nn.Conv2d(hidden, channels, 1)
        self.transform = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.LayerNorm([hidden, 1, 1]), nn.ReLU(), last)
        nn.init.kaiming_normal_(self.mask.weight, nonlinearity="relu")
        for parameter in last.parameters():  # the block starts as the identity
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        weights = self.mask(features).flatten(2).softmax(2)
        context = (features.flatten(2) * weights).sum(2)[:, :, None, None]
        return features + self.transform(context)


class FGD(Method):
    """Focal and global distillation of every pyramid level.

    Args:
        foreground, background, attention, context: a, b, g, l; 0 switches a term off.
        temperature: t.
    """

    taps = frozenset({"neck"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        foreground: PartWeight,
        background: PartWeight,
        attention: PartWeight,
        context: PartWeight,
        temperature: Annotated[float, Field(gt=0)] = 0.5,
    ):
        super().__init__(student, teacher)
        self.parts = parts(foreground=foreground, background=background, attention=attention, context=context)
        self.temperature = temperature
        self.adapters = adapters("neck", student, teacher)
        channels = teacher.channels(self.taps)["neck"]
        self.student_context = nn.ModuleDict({s: GcBlock(c) for s, c in channels.items()})
        self.teacher_context = nn.ModuleDict({s: GcBlock(c) for s, c in channels.items()})

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        boxes = [target["boxes"] for target in targets]
        levels = []
        for s, adapt in self.adapters.items():
            own, other = adapt(student.neck[s]), teacher.neck[s]
            foreground, background = object_masks(boxes, student.image_size, (own.shape[2], own.shape[3]))
            levels.append(
                {
                    "foreground": focal_loss(own, other, foreground, self.temperature),
                    "background": focal_loss(own, other, background, self.temperature),
                    "attention": attention_loss(own, other, self.temperature),
                    "context": context_loss(self.student_context[s](own), self.teacher_context[s](other)),
                }
            )
        return {
            part: weight * torch.stack([level[part] for level in levels]).sum()
            for part, weight in self.parts.items()
            if weight
        }
