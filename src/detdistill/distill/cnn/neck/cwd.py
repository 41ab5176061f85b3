"""CWD: each channel is a distribution over positions, and the student's is pulled towards the teacher's.

Shu et al., ICCV 2021, arXiv 2011.13256.
L = w * sum over levels of tau^2 / (C N) * sum over channels of KL(softmax(T / tau) || softmax(S / tau)) over H * W
Published for detectors: w = 10, tau = 1 on the pyramid (configs of open-mmlab/mmrazor, which divide by N as well as C).
Where the widths differ, a 1x1 convolution a level widens the student first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight, adapters


def channel_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence of the channels' spatial distributions, averaged over channels and images.

    Args:
        student, teacher: (N, C, H, W).
        temperature: tau.
    """
    n, c = student.shape[:2]
    log_student, log_teacher = ((x.flatten(2) / temperature).log_softmax(dim=2) for x in (student, teacher))
    return F.kl_div(log_student, log_teacher, reduction="sum", log_target=True) * temperature**2 / (c * n)


class CWD(Method):
    """Channel-wise distillation of every pyramid level. `weight`: w, `temperature`: tau."""

    taps = frozenset({"neck"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        weight: Weight,
        temperature: Annotated[float, Field(gt=0)] = 1.0,
    ):
        super().__init__(student, teacher)
        self.weight, self.temperature = weight, temperature
        self.adapters = adapters("neck", student, teacher)

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        losses = [
            channel_loss(adapt(student.neck[s]), teacher.neck[s], self.temperature)
            for s, adapt in self.adapters.items()
        ]
        return {"neck": self.weight * torch.stack(losses).sum()}
