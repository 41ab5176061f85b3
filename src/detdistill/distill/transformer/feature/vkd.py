"""VkD: the encoder's memory through an orthogonal projection, imitating the teacher's normalised one.

Miles, Elezi and Deng, CVPR 2024, arXiv 2403.06213.
L = w * sum over levels of mean SmoothL1(norm(P S) - norm(T)),  norm: zero mean, unit deviation per channel over N, H, W
P: a matrix a level with orthonormal rows or columns, learned within that constraint, so that it turns the student's
features without distorting them and all else is left for the student to learn. SmoothL1 is quadratic below 1.
Chosen among recent methods because its detection code is released (roymiles/VkD, ViDT on COCO), its one loss acts on
the tokens that a deformable decoder reads, and it adds what the catalogue lacks: a projection that cannot learn the
task in the student's stead. Published: w = 4.
The release also compares the [DET] tokens of ViDT's body and neck, index by index; two detectors' queries have no
common order, so the memory alone is compared. It scales and shifts P S, which the normalisation undoes, and adds
nothing to the deviation, here 1e-6.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight, same_levels
from detdistill.distill.cnn.neck.pkd import standardize


def normalised_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean smooth L1 distance of two maps (N, C, H, W) after normalisation, a scalar."""
    return F.smooth_l1_loss(standardize(student), standardize(teacher))


class VkD(Method):
    """Orthogonally projected imitation of every level of the encoder's memory. `weight`: w."""

    taps = frozenset({"memory"})

    def __init__(self, student: Detector, teacher: Detector, *, weight: Weight):
        super().__init__(student, teacher)
        self.weight = weight
        own, other = (detector.channels(self.taps)["memory"] for detector in (student, teacher))
        levels = same_levels("memory", own, other)
        self.projections = nn.ModuleDict({s: orthogonal(nn.Linear(own[s], other[s], bias=False)) for s in levels})

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        losses = [
            normalised_loss(project(student.memory[s].movedim(1, 3)).movedim(3, 1), teacher.memory[s])
            for s, project in self.projections.items()
        ]
        return {"memory": self.weight * torch.stack(losses).sum()}
