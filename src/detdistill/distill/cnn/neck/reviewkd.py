"""ReviewKD: each level of the student, fused with what lies above it, imitates the teacher's at several scales.

Chen et al., CVPR 2021, arXiv 2104.09044.
L = w * sum over levels of HCL(ABF_i, T_i)
ABF (attention-based fusion), from the coarsest level down: x = conv 1x1 - BN of the level; r = z_1 x + z_2 up(r), with
z = sigmoid(conv 1x1 of both) and r of the level above (the coarsest has r = x); ABF_i = conv 3x3 - BN of r.
HCL (hierarchical context loss): mean squared error of the maps themselves and of their averages over 4x4, 2x2 and 1x1
blocks, weighted by 1, 1/2, 1/4, 1/8 over the sum of those that apply: a pooled size must be below the map's height.
Published: w = 1 (R50 from R101), 1.2 (R18 from R101), 2 (MobileNetV2 from R50); the width within ABF is the pyramid's
256, here the teacher's (code of dvlab-research/ReviewKD). Resizing up is by the nearest pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight, same_levels

POOLED = (4, 2, 1)


def context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """HCL of two maps (N, C, H, W), a scalar."""
    loss, total, share = F.mse_loss(student, teacher), 1.0, 1.0
    for size in POOLED:
        if size < student.shape[2]:
            share /= 2
            own, other = (F.adaptive_avg_pool2d(features, size) for features in (student, teacher))
            loss, total = loss + share * F.mse_loss(own, other), total + share
    return loss / total


def normalised(channels: int, out: int, size: int) -> nn.Sequential:
    """A convolution of size x size with its batch normalisation."""
    convolution = nn.Conv2d(channels, out, size, padding=size // 2, bias=False)
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(out))


class Fusion(nn.Module):
    """ABF of one level, from `channels` of the student over `middle` to `out` of the teacher."""

    def __init__(self, channels: int, middle: int, out: int, coarsest: bool):
        super().__init__()
        self.reduce, self.expand = normalised(channels, middle, 1), normalised(middle, out, 3)
        self.attend = None if coarsest else nn.Sequential(nn.Conv2d(2 * middle, 2, 1), nn.Sigmoid())

    def forward(self, features: Tensor, above: Tensor | None) -> tuple[Tensor, Tensor]:
        """What imitates the teacher (N, out, H, W), and the residual r for the level below (N, middle, H, W)."""
        residual = self.reduce(features)
        if self.attend is not None and above is not None:
            above = F.interpolate(above, residual.shape[2:], mode="nearest")
            share = self.attend(torch.cat([residual, above], dim=1))
            residual = share[:, :1] * residual + share[:, 1:] * above
        return self.expand(residual), residual


class ReviewKD(Method):
    """Knowledge review over every pyramid level. `weight`: w."""

    taps = frozenset({"neck"})

    def __init__(self, student: Detector, teacher: Detector, *, weight: Weight):
        super().__init__(student, teacher)
        self.weight = weight
        own, other = (detector.channels(self.taps)["neck"] for detector in (student, teacher))
        levels = same_levels("neck", own, other)
        # r goes from level to level, so that it has one width.
        middle, coarsest = other[levels[0]], levels[-1]
        self.fusions = nn.ModuleDict(
            {s: Fusion(own[s], middle, other[s], coarsest=s == coarsest) for s in reversed(levels)}
        )

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        losses, residual = [], None
        for s, fuse in self.fusions.items():
            imitation, residual = fuse(student.neck[s], residual)
            losses.append(context_loss(imitation, teacher.neck[s]))
        return {"neck": self.weight * torch.stack(losses).sum()}
