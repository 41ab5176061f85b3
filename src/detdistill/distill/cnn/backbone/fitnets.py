"""FitNets: the student's backbone stage, through a 1x1 convolution, regresses the teacher's ("hint").

Romero et al., ICLR 2015, arXiv 1412.6550.
L = w * sum over strides of mean (phi(S) - T)^2,  phi: 1x1 convolution, S and T the stage outputs before the neck
The paper trains one hint layer first and the task afterwards; here, as detectors do it, both are trained together.
Chen et al. (NeurIPS 2017) use the same hint on a detector's last backbone feature, hence the default stage.
No weight for detectors is published by the authors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detdistill.core.errors import UserError
from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight, same_levels


def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of two feature maps (N, C, H, W), a scalar."""
    return F.mse_loss(student, teacher)


class FitNets(Method):
    """Hints at backbone stages.

    Args:
        weight: w.
        strides: the stages, named by their stride in pixels; None is the last stage alone.
    """

    taps = frozenset({"backbone"})

    def __init__(self, student: Detector, teacher: Detector, *, weight: Weight, strides: list[int] | None = None):
        super().__init__(student, teacher)
        self.weight = weight
        students, teachers = (detector.channels(self.taps)["backbone"] for detector in (student, teacher))
        known = same_levels("backbone", students, teachers)
        chosen = known[-1:] if strides is None else [str(stride) for stride in strides]
        if not chosen or not set(chosen) <= set(known):
            raise UserError(f"strides: {strides} found, the backbones have {', '.join(known)}")
        # Also where the widths agree: the two networks' channels have no common order.
        self.adapters = nn.ModuleDict({s: nn.Conv2d(students[s], teachers[s], 1) for s in chosen})

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        losses = [hint_loss(adapt(student.backbone[s]), teacher.backbone[s]) for s, adapt in self.adapters.items()]
        return {"backbone": self.weight * torch.stack(losses).sum()}
