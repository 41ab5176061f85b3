"""CrossKD: the student's head features finish in the teacher's head, and that prediction imitates the teacher's own.

Wang et al., CVPR 2024, arXiv 2306.11369. No imitation term meets the terms of the ground truth in the student's head.
f: the tower's features before the activation of its last but one convolution; per channel over (N, H, W), f of the
student takes the mean and deviation of the teacher's f; the rest of the teacher's head gives logits z and boxes b.
L = [ w_c * sum |s(z) - s(z_T)| BCE(z, s(z_T)) + w_b * sum max_k s(z_T) (1 - GIoU(b, b_T)) ] / number of positives
Both sums run over all anchors that the student's assignment does not ignore; s is the sigmoid.
Published for RetinaNet: w_c = 1, w_b = 1 (configs of jbwang1997/CrossKD). The paper's two detectors have equal widths;
where they differ, a 1x1 convolution a tower, shared by all levels as the tower is, widens the student first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, PartWeight, adapter, parts, same_shapes

LARGEST_GROWTH = math.log(1000 / 16)  # the usual bound that keeps exp() of an untrained delta finite


def restandardize(student: Tensor, teacher: Tensor) -> Tensor:
    """The student's (N, C, H, W) features with each channel's mean and deviation over N, H, W those of the teacher."""
    over = (0, 2, 3)
    standard = (student - student.mean(over, keepdim=True)) / (student.std(over, keepdim=True) + 1e-6)
    return standard * teacher.std(over, keepdim=True) + teacher.mean(over, keepdim=True)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (..., 4) xyxy of deltas (..., 4), (dx, dy, dw, dh) of unit variances, at anchors (..., 4) xyxy."""
    size = anchors[..., 2:] - anchors[..., :2]
    center = anchors[..., :2] + size / 2 + deltas[..., :2] * size
    half = size * deltas[..., 2:].clamp(max=LARGEST_GROWTH).exp() / 2
    return torch.cat([center - half, center + half], dim=-1)


def quality_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Sum of |s(z) - s(z_T)| * BCE(z, s(z_T)), a scalar; logits and teacher_logits (..., K)."""
    scores = teacher_logits.sigmoid()
    losses = F.binary_cross_entropy_with_logits(logits, scores, reduction="none")
    return ((logits.sigmoid() - scores).abs() * losses).sum()


def box_loss(boxes: Tensor, teacher_boxes: Tensor, teacher_logits: Tensor) -> Tensor:
    """Sum of (1 - GIoU), weighted by the teacher's best score: boxes (M, 4) xyxy, logits (M, K); a scalar."""
    return (teacher_logits.sigmoid().amax(-1) * generalized_box_iou_loss(boxes, teacher_boxes)).sum()


class CrossKD(Method):
    """Cross-head distillation of a dense detector with sigmoid logits.

    Args:
        classes, boxes: w_c and w_b; 0 switches a term off.
    """

    taps = frozenset({"head_cls_features", "head_box_features", "head_logits", "head_deltas", "anchors"})
    student_taps = frozenset({"anchor_labels"})
    background = frozenset({"sigmoid"})

    def __init__(self, student: Detector, teacher: Detector, *, classes: PartWeight, boxes: PartWeight):
        super().__init__(student, teacher)
        self.parts = parts(classes=classes, boxes=boxes)
        same_shapes("head_logits", student, teacher, slice(1, 2), "anchors")
        self._hidden = (teacher,)  # in a tuple, nn.Module does not see it
        own, other = (d.channels(frozenset({"head_cls_features", "head_box_features"})) for d in (student, teacher))
        first = next(iter(own["head_cls_features"]))
        self.cls_adapter = adapter(own["head_cls_features"][first], other["head_cls_features"][first])
        self.box_adapter = adapter(own["head_box_features"][first], other["head_box_features"][first])

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        logits, deltas = self._hidden[0].finish_head(
            _cross(self.cls_adapter, student.head_cls_features, teacher.head_cls_features),
            _cross(self.box_adapter, student.head_box_features, teacher.head_box_features),
        )
        counted = student.anchor_labels != -2
        positives = (student.anchor_labels >= 0).sum().clamp(min=1)
        own_logits, own_deltas, teacher_logits, teacher_deltas = (
            torch.cat(list(levels.values()), dim=1)[counted]
            for levels in (logits, deltas, teacher.head_logits, teacher.head_deltas)
        )
        anchors = torch.cat(list(teacher.anchors.values())).expand(len(counted), -1, -1)[counted]
        boxes, teacher_boxes = decode(own_deltas, anchors), decode(teacher_deltas, anchors)
        terms = {
            "classes": quality_loss(own_logits, teacher_logits),
            "boxes": box_loss(boxes, teacher_boxes, teacher_logits),
        }
        return {part: weight * terms[part] / positives for part, weight in self.parts.items() if weight}


def _cross(adapt: nn.Module, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {stride: restandardize(adapt(features), teacher[stride]) for stride, features in student.items()}
