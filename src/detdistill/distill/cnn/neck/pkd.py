"""PKD: imitate the teacher's neck features up to each channel's mean and scale (their Pearson correlation).

Cao et al., NeurIPS 2022, arXiv 2207.02039.
L = w * sum over levels of 1/2 mean (norm(S) - norm(T))^2,  norm: zero mean, unit deviation per channel over (N, H, W)
Published w: 6 for two-stage, 10 for one-stage detectors of 256 channels (configs of open-mmlab/mmrazor).
That is a sum over four levels; here over all of the neck, of which a Faster R-CNN on a published backbone has five, the
pooled one too. The paper's two detectors have equal widths; where they differ, a 1x1 convolution a level widens the
student first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight, adapters


def standardize(features: Tensor) -> Tensor:
    """Each channel of (N, C, H, W) to zero mean and unit (unbiased) deviation over N, H, W."""
    over = (0, 2, 3)
    return (features - features.mean(over, keepdim=True)) / (features.std(over, keepdim=True) + 1e-6)


def pearson_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """(n - 1) / n * (1 - r), with r the mean correlation of a channel over its n = N * H * W values.

    Args:
        student, teacher: (N, C, H, W).
    """
    return F.mse_loss(standardize(student), standardize(teacher)) / 2


class PKD(Method):
    """Pearson distillation of every pyramid level. `weight`: w."""

    taps = frozenset({"neck"})

    def __init__(self, student: Detector, teacher: Detector, *, weight: Weight):
        super().__init__(student, teacher)
        self.weight = weight
        self.adapters = adapters("neck", student, teacher)

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        losses = [pearson_loss(adapt(student.neck[s]), teacher.neck[s]) for s, adapt in self.adapters.items()]
        return {"neck": self.weight * torch.stack(losses).sum()}
