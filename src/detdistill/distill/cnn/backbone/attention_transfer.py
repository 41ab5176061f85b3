"""Attention transfer: the student's backbone is strong at the same pixels as the teacher's, whatever its channels say.

Zagoruyko and Komodakis, ICLR 2017, arXiv 1612.03928. With Q = vec(sum_c A_c^2) of a stage's activations A:
L = beta / 2 * sum over stages of | Q_S / |Q_S|_2 - Q_T / |Q_T|_2 |_2
Here, as in the released code, the mean of the squared difference over pixels and images, and beta for beta / 2:
L = beta * sum over stages of mean (Q_S / |Q_S|_2 - Q_T / |Q_T|_2)^2
Published: beta = 1e3 for classifiers (README of szagoruyko/attention-transfer); none for detectors. A map is of norm 1
whatever its size, so that the mean falls with the square of its pixels: fine stages count least.
The maps have no channels left, so that nothing need be adapted.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight, same_levels


def attention(features: Tensor) -> Tensor:
    """Q / |Q| (N, HW) of features (N, C, H, W)."""
    return F.normalize(features.square().mean(1).flatten(1))


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the attention of two stages (N, C, H, W), of any channels; a scalar."""
    return F.mse_loss(attention(student), attention(teacher))


class AttentionTransfer(Method):
    """Attention of every backbone stage. `weight`: beta."""

    taps = frozenset({"backbone"})

    def __init__(self, student: Detector, teacher: Detector, *, weight: Weight):
        super().__init__(student, teacher)
        self.weight = weight
        same_levels("backbone", *(detector.channels(self.taps)["backbone"] for detector in (student, teacher)))

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        losses = [attention_loss(own, teacher.backbone[s]) for s, own in student.backbone.items()]
        return {"backbone": self.weight * torch.stack(losses).sum()}
