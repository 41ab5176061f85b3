"""DeFeat, decoupled proposals: the KL divergence of RoI classes, apart for objects and for background.

Guo et al., CVPR 2021, arXiv 2103.14475. The other half of `defeat`.
L = a * t_fg^2 mean over foreground RoIs of KL(softmax(T / t_fg) || softmax(S / t_fg)) + b * the same, background, t_bg
Foreground are the RoIs whose assigned class is no background; the teacher's head looks at the student's sampled boxes.
A mean over few foreground RoIs weighs each of them more than a background one, which is the point.
Published: a = 2, b = 2, t_fg = t_bg = 1 for VOC (config of ggjy/DeFeat.pytorch, whose `type` leaves this half out of
the released run). Its foreground test is against the highest label in the batch, so that without background RoIs the
last class would be taken for it; here it is against the background's index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, PartWeight, parts

Temperature = Annotated[float, Field(gt=0)]


def divergence(student: Tensor, teacher: Tensor, rows: Tensor, temperature: float) -> Tensor:
    """t^2 KL of the chosen rows, their mean, 0 without any; a scalar.

    Args:
        student, teacher: logits (R, K + 1).
        rows: (R,) bool.
        temperature: t.
    """
    own, other = ((each[rows] / temperature).log_softmax(1) for each in (student, teacher))
    total = F.kl_div(own, other, reduction="sum", log_target=True)
    return temperature**2 * total / rows.sum().clamp(min=1)


class DeFeatProposals(Method):
    """Decoupled distillation of RoI classes.

    Args:
        foreground, background: a and b; 0 switches a term off.
        foreground_temperature, background_temperature: t_fg and t_bg.
    """

    taps = frozenset({"roi_boxes", "roi_logits"})
    student_taps = frozenset({"roi_labels"})
    background = frozenset({"softmax"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        foreground: PartWeight,
        background: PartWeight,
        foreground_temperature: Temperature = 1.0,
        background_temperature: Temperature = 1.0,
    ):
        super().__init__(student, teacher)
        self.parts = parts(foreground=foreground, background=background)
        self.temperatures = (foreground_temperature, background_temperature)

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        found = student.roi_labels < student.roi_logits.shape[1] - 1
        return {
            part: weight * divergence(student.roi_logits, teacher.roi_logits, rows, temperature)
            for (part, weight), rows, temperature in zip(
                self.parts.items(), (found, ~found), self.temperatures, strict=True
            )
            if weight
        }
