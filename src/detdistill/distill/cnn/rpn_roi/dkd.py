"""DKD: the KL divergence of RoI class logits, split into the target class against the rest and the rest among itself.

Zhao et al., CVPR 2022, arXiv 2203.08679.
L = a * KL(b_T || b_S) + b * KL(q_T || q_S), times t^2, mean over RoIs
b: (target, all others) of softmax(z / t); q: softmax of z / t over the classes other than the target
The target is the RoI's assigned class, background included; the teacher's head looks at the student's sampled boxes.
Published for detectors: a = 1, b = 0.25, t = 1 (megvii-research/mdistiller).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, PartWeight, parts


def decoupled_kl(student: Tensor, teacher: Tensor, target: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The target and the non-target part, scalars, without weights.

    Args:
        student, teacher: logits (R, K + 1).
        target: (R,) class indices.
        temperature: t.
    """
    is_target = F.one_hot(target, student.shape[1]).bool()
    losses = []
    for own, other in zip(
        _split(student / temperature, is_target), _split(teacher / temperature, is_target), strict=True
    ):
        losses.append(F.kl_div(own, other, reduction="batchmean", log_target=True) * temperature**2)
    return losses[0], losses[1]


def _split(logits: Tensor, is_target: Tensor) -> tuple[Tensor, Tensor]:
    """log b (R, 2) and log q (R, K). By logsumexp, since the others' summed probability may round to 0."""
    others = logits[~is_target].view(len(logits), -1)
    binary = torch.stack([logits[is_target], others.logsumexp(1)], dim=1)
    return binary.log_softmax(1), others.log_softmax(1)


class DKD(Method):
    """Decoupled distillation of RoI classes.

    Args:
        target_class, other_classes: a and b; 0 switches a term off.
        temperature: t.
    """

    taps = frozenset({"roi_boxes", "roi_logits"})
    student_taps = frozenset({"roi_labels"})
    background = frozenset({"softmax"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        target_class: PartWeight,
        other_classes: PartWeight,
        temperature: Annotated[float, Field(gt=0)] = 1.0,
    ):
        super().__init__(student, teacher)
        self.parts = parts(target_class=target_class, other_classes=other_classes)
        self.temperature = temperature

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        losses = decoupled_kl(student.roi_logits, teacher.roi_logits, student.roi_labels, self.temperature)
        return {part: weight * loss for (part, weight), loss in zip(self.parts.items(), losses, strict=True) if weight}
