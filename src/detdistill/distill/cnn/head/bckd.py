"""BCKD: each class score imitates the teacher's as a binary classifier, and boxes where the scores are far apart.

Yang et al., ICCV 2023, arXiv 2308.14286. Over all anchors that the student's assignment does not ignore:
L = [ w_c * sum_k |p_k - p_k^T| BCE(z_k, p_k^T) + w_b * max_k |p_k - p_k^T| (1 - GIoU(b, b^T)) ] / number of positives
p = s(z): scores of the student's logits z, s the sigmoid, b: boxes, ^T: the teacher's. The weight of a box is a number
to the gradient, that of a class is not, as in the released code.
Published for GFL: w_c = 1, w_b = 4 (config of TinyTigerPan/BCKD); its boxes are means of distributions, here they are
decoded from the anchors' deltas, whatever the head. The release leaves out a level without positives.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, PartWeight, parts, same_shapes
from detdistill.distill.cnn.head.crosskd import decode, quality_loss


def disputed_box_loss(boxes: Tensor, teacher_boxes: Tensor, logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Sum of (1 - GIoU), weighted by the largest difference of a class score: boxes (M, 4) xyxy, logits (M, K)."""
    apart = (teacher_logits.sigmoid() - logits.detach().sigmoid()).abs().amax(1)
    return (apart * generalized_box_iou_loss(boxes, teacher_boxes)).sum()


class BCKD(Method):
    """Binary classification distillation of a dense detector. `classes`, `boxes`: w_c, w_b; 0 switches a term off."""

    taps = frozenset({"head_logits", "head_deltas", "anchors"})
    student_taps = frozenset({"anchor_labels"})
    background = frozenset({"sigmoid"})

    def __init__(self, student: Detector, teacher: Detector, *, classes: PartWeight, boxes: PartWeight):
        super().__init__(student, teacher)
        self.parts = parts(classes=classes, boxes=boxes)
        same_shapes("head_logits", student, teacher, slice(1, 2), "anchors")

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        counted = student.anchor_labels != -2
        logits, other_logits, deltas, other_deltas = (
            torch.cat(list(levels.values()), dim=1)[counted]
            for levels in (student.head_logits, teacher.head_logits, student.head_deltas, teacher.head_deltas)
        )
        anchors = torch.cat(list(student.anchors.values())).expand(len(counted), -1, -1)[counted]
        boxes, other_boxes = decode(deltas, anchors), decode(other_deltas, anchors)
        positives = (student.anchor_labels >= 0).sum().clamp(min=1)
        terms = {
            "classes": quality_loss(logits, other_logits),
            "boxes": disputed_box_loss(boxes, other_boxes, logits, other_logits),
        }
        return {part: weight * terms[part] / positives for part, weight in self.parts.items() if weight}
