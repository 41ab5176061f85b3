"""Mimic: imitate the teacher's features only where the student proposes objects.

Li, Jin and Yan, "Mimicking Very Efficient Network for Object Detection", CVPR 2017.
L = w / (2 R) * sum over the R RoIs of |phi(u_i) - v_i|^2 / m,  m: number of values of one RoI's feature
u_i and v_i are the student's and the teacher's features pooled at the student's i-th sampled box, by RoIAlign on the
neck; phi is a 1x1 convolution where the widths differ. The normalisation is the division by m.
The paper's w was not found in a source that could be checked. Its second stage, which imitates what the heads say of
each RoI, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight, adapter, same_shapes


def mimic_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared error of pooled features (R, C, h, w)."""
    return F.mse_loss(student, teacher) / 2


class Mimic(Method):
    """Feature imitation inside the student's RoIs. `weight`: w."""

    taps = frozenset({"roi_boxes", "roi_maps"})

    def __init__(self, student: Detector, teacher: Detector, *, weight: Weight):
        super().__init__(student, teacher)
        self.weight = weight
        same_shapes("roi_maps", student, teacher, slice(2, 4), "pooled cells")
        own, other = (detector.channels(frozenset({"roi_maps"}))["roi_maps"][""] for detector in (student, teacher))
        self.adapter = adapter(own, other)

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        return {"roi": self.weight * mimic_loss(self.adapter(student.roi_maps), teacher.roi_maps)}
