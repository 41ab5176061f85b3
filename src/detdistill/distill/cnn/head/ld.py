"""LD: the distributions of a box's edges imitate the teacher's, where objects are and where they nearly are.

Zheng et al., CVPR 2022, arXiv 2102.12252 (localization distillation). S(z, tau): softmax of z / tau. For an edge e of
n + 1 bins, L_LD^e = tau^2 * mean over bins of KL(S(z_T, tau) || S(z_S, tau)); L_KD is the same of the class logits.
L = l_3 sum over I_main of w sum_e L_LD^e / 4 + l_4 sum over I_VL of v sum_e L_LD^e / 16 + l_5 mean over I_main of L_KD
I_main: the positives of the student's assignment, w: the student's best class score there, a number to the gradient.
I_VL, the valuable localization region: gamma alpha <= DIoU < alpha of an anchor and an object, alpha the threshold of
ATSS for that object; v: the IoU of the two, the largest where an anchor is near several objects.
Published (GFL, R101 to R50, config of HikariTJU/LD): l_3 = l_4 = 0.25 at tau = 10, l_5 = 10 at tau = 2, gamma = 0.25.
That config adds a term of features (FGFI's, weight 2), which is a method of its own and left out here.
The paper's KL is a sum over bins, the release's a mean, as here. The paper weighs no location, the release by w and v.
The release divides the two box terms by 4 and 16, not by what they sum over: they grow with the batch (its issue 78).
The paper also has L_KD in I_VL; the release multiplies it by 0, here it is left out. L_KD is a mean a level, summed;
with one class it is 0. A positive may lie in I_VL as well, as in the release. An image without objects has no I_VL; the
release takes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torchvision.ops import box_iou, distance_box_iou

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.detectors.dense import adaptive_threshold, near_anchors
from detdistill.distill.base import Method, PartWeight, parts, same_shapes

Temperature = Annotated[float, Field(gt=0)]


def soft_divergence(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """tau^2 * mean of KL(S(z_T, tau) || S(z_S, tau)) over the last dimension: (..., n) to (...), at least float32."""
    own, other = (
        (each if each.dtype == torch.float64 else each.float()).div(temperature).log_softmax(-1)
        for each in (logits, teacher_logits)
    )
    return temperature**2 * F.kl_div(own, other, reduction="none", log_target=True).mean(-1)


def localization_loss(edges: Tensor, teacher_edges: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """Weighted sum of L_LD^e over locations and edges, a scalar: edges (M, 4, bins + 1), weights (M,)."""
    return (weights * soft_divergence(edges, teacher_edges, temperature).sum(1)).sum()


def valuable_region(anchors: Sequence[Tensor], boxes: Tensor, fraction: float, nearest: int) -> Tensor:
    """v (sum HWA,), 0 outside of the valuable localization region.

    Args:
        anchors: (HWA, 4) xyxy a level.
        boxes: the image's objects, (n, 4).
        fraction: gamma.
        nearest: anchors a level that ATSS considers for an object.
    """
    every = torch.cat(list(anchors))
    if len(boxes) == 0:
        return every.new_zeros(len(every))
    overlaps, apart = box_iou(every, boxes), distance_box_iou(every, boxes)
    threshold = adaptive_threshold(overlaps, near_anchors(anchors, boxes, nearest))
    valuable = (apart >= fraction * threshold) & (apart < threshold)
    return overlaps.masked_fill(~valuable, 0.0).amax(1)


class LD(Method):
    """Localization distillation of a head that predicts each edge's distribution.

    Args:
        main, valuable, classes: l_3, l_4 and l_5; 0 switches a term off.
        temperature: tau of the edges.
        class_temperature: tau of the class logits.
        fraction: gamma, where the valuable region begins.
    """

    taps = frozenset({"head_logits", "head_edges"})
    student_taps = frozenset({"anchors", "anchor_labels"})
    background = frozenset({"sigmoid"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        main: PartWeight,
        valuable: PartWeight,
        classes: PartWeight,
        temperature: Temperature = 10.0,
        class_temperature: Temperature = 2.0,
        fraction: Annotated[float, Field(gt=0, lt=1)] = 0.25,
    ):
        super().__init__(student, teacher)
        self.parts = parts(main=main, valuable=valuable, classes=classes)
        self.temperature, self.class_temperature = temperature, class_temperature
        self.fraction, self.nearest = fraction, student.nearest
        same_shapes("head_edges", student, teacher, slice(1, 4), "logits of edges")

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        anchors = list(student.anchors.values())
        logits, edges, other_edges = (
            torch.cat(list(levels.values()), dim=1)
            for levels in (student.head_logits, student.head_edges, teacher.head_edges)
        )
        main = student.anchor_labels >= 0
        scores = logits.detach().sigmoid().amax(-1)
        region = torch.stack([valuable_region(anchors, t["boxes"], self.fraction, self.nearest) for t in targets])
        near = region > 0
        terms = {
            "main": localization_loss(edges[main], other_edges[main], scores[main], self.temperature) / 4,
            "valuable": localization_loss(edges[near], other_edges[near], region[near], self.temperature) / 16,
            "classes": self._classes(student, teacher, main),
        }
        return {part: weight * terms[part] for part, weight in self.parts.items() if weight}

    def _classes(self, student: Taps, teacher: Taps, main: Tensor) -> Tensor:
        levels = zip(
            main.split([len(level) for level in student.anchors.values()], dim=1),
            student.head_logits.values(),
            teacher.head_logits.values(),
            strict=True,
        )
        apart = [soft_divergence(own[rows], other[rows], self.class_temperature) for rows, own, other in levels]
        return torch.stack([level.sum() / max(len(level), 1) for level in apart]).sum()
