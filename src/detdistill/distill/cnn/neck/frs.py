"""FRS: imitate neck and class outputs of a dense detector by the teacher's best class score at each pixel.

Du et al., NeurIPS 2021, arXiv 2111.00674 (feature richness score). Sum over levels of
L = w_f * sum m |phi(S) - T|^2 / sum m + w_c * sum m BCE(z, s(z_T)) / sum m,  m = max over anchors and classes of s(z_T)
Squares are summed over channels, BCE over anchors and classes, m over the pixels of the batch; s is the sigmoid.
phi: 3x3 convolution a level. BCE is at its least, not 0, where both agree.
Published (w_f, w_c): RetinaNet 0.005, 0.02; FCOS 0.01, 0.05; GFL 0.1, 0.05 (configs of duzhixing/FRS). The release
raises both from 0 over 500 steps, here they stand from the first. `frs_rpn` is the same on a two-stage detector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, PartWeight, parts, same_shapes, spatial_adapters


def richness(logits: Tensor) -> Tensor:
    """m (N, HW) of logits (N, HW, A * K)."""
    return logits.sigmoid().amax(-1)


def rich_losses(features: Tensor, teacher_features: Tensor, logits: Tensor, teacher_logits: Tensor) -> list[Tensor]:
    """The two terms of one level, scalars without their weights.

    Args:
        features, teacher_features: (N, C, H, W).
        logits, teacher_logits: (N, HWA, K), order h, w, a.
    """
    n, _, h, w = features.shape
    own, other = (each.reshape(n, h * w, -1) for each in (logits, teacher_logits))
    rich = richness(other)
    errors = (features - teacher_features).square().sum(1).flatten(1)
    entropy = F.binary_cross_entropy_with_logits(own, other.sigmoid(), reduction="none").sum(-1)
    total = rich.sum().clamp(min=1e-6)
    return [(rich * each).sum() / total for each in (errors, entropy)]


def rich_terms(
    weights: Mapping[str, float],
    adapters: nn.ModuleDict,
    necks: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    logits: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """The weighted terms over all levels that have logits; those of weight 0 are absent. Pairs: student, teacher."""
    levels = [rich_losses(adapters[s](necks[0][s]), necks[1][s], own, logits[1][s]) for s, own in logits[0].items()]
    sums = torch.stack([torch.stack(level) for level in levels]).sum(0)
    return {part: weight * each for (part, weight), each in zip(weights.items(), sums, strict=True) if weight}


class FRS(Method):
    """Feature richness on a dense detector. `features`, `classes`: w_f and w_c; 0 switches a term off."""

    taps = frozenset({"neck", "head_logits"})
    background = frozenset({"sigmoid"})

    def __init__(self, student: Detector, teacher: Detector, *, features: PartWeight, classes: PartWeight):
        super().__init__(student, teacher)
        self.parts = parts(features=features, classes=classes)
        same_shapes("head_logits", student, teacher, slice(1, 2), "anchors")
        self.adapters = spatial_adapters(student, teacher)

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        return rich_terms(
            self.parts, self.adapters, (student.neck, teacher.neck), (student.head_logits, teacher.head_logits)
        )
