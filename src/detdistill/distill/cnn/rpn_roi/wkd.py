"""WKD-F: the features of each RoI are a Gaussian a channel, moved towards the teacher's by the Wasserstein distance.

Lv, Yang and Li, NeurIPS 2024, arXiv 2412.08139. For each RoI, over the blocks of a g x g grid on its pooled features:
L = w * mean over RoIs and blocks of sum over channels of [ r * (mu_S - mu_T)^2 + (sigma_S - sigma_T)^2 ]
mu, sigma: mean and deviation of phi(S) and T over a block's cells; with r = 1 the bracket is the squared Wasserstein
distance of two Gaussians of diagonal covariance. sigma = sqrt(var + 1e-5), var unbiased (0 in a block of one cell).
Blocks are those of an adaptive pooling, and may overlap. phi is a 1x1 convolution where the widths differ.
Chosen among recent methods because its loss is a closed formula, released (JiamingLv/WKD, to which it is held), and
the paper distils Faster R-CNN's RoI features with it. That repository has the classification part alone: r = 2 and
w = 0.02 are its ImageNet configs'; no weights for detectors could be checked. Its projector has BN and ReLU, and
its logit half (WKD-L), which needs the similarity of ImageNet's classes, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight, adapter, same_shapes


def moments(features: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """mu and sigma, both (grid^2, R, C), of features (R, C, h, w)."""
    blocks = [
        features[:, :, rows, columns].flatten(2)
        for rows in _spans(features.shape[2], grid)
        for columns in _spans(features.shape[3], grid)
    ]
    means = torch.stack([block.mean(2) for block in blocks])
    variances = torch.stack([block.var(2, correction=min(1, block.shape[2] - 1)) for block in blocks])
    return means, (variances + 1e-5).sqrt()


def wasserstein_loss(student: Tensor, teacher: Tensor, ratio: float, grid: int = 1) -> Tensor:
    """The bracket, summed over channels, mean over RoIs and blocks; features (R, C, h, w), a scalar."""
    squares = [
        (own - other).square().sum() / (grid**2 * max(len(student), 1))
        for own, other in zip(moments(student, grid), moments(teacher, grid), strict=True)
    ]
    return ratio * squares[0] + squares[1]


class WKD(Method):
    """Wasserstein distillation of RoI features.

    Args:
        weight: w.
        ratio: r.
        grid: g.
    """

    taps = frozenset({"roi_boxes", "roi_maps"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        weight: Weight,
        ratio: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0,
        grid: Annotated[int, Field(ge=1, le=256)] = 1,
    ):
        super().__init__(student, teacher)
        self.weight, self.ratio, self.grid = weight, ratio, grid
        same_shapes("roi_maps", student, teacher, slice(2, 4), "pooled cells")
        own, other = (detector.channels(frozenset({"roi_maps"}))["roi_maps"][""] for detector in (student, teacher))
        self.adapter = adapter(own, other)

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        loss = wasserstein_loss(self.adapter(student.roi_maps), teacher.roi_maps, self.ratio, self.grid)
        return {"roi": self.weight * loss}


def _spans(cells: int, grid: int) -> Iterator[slice]:
    return (slice(i * cells // grid, -(-(i + 1) * cells // grid)) for i in range(grid))
