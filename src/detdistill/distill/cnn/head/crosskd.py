"""CrossKD: the student's head features finish in the teacher's head, and that prediction imitates the teacher's own.

Wang et al., CVPR 2024, arXiv 2306.11369. No imitation term meets the terms of the ground truth in the student's head.
f: the tower's features before the activation of its last but one convolution; per channel over (N, H, W), f of the
student takes the mean and deviation of the teacher's f; the rest of the teacher's head gives logits z and boxes b.
L = [ w_c * sum |s(z) - s(z_T)| BCE(z, s(z_T)) + w_b * sum max_k s(z_T) (1 - GIoU(b, b_T)) ] / number of positives
Both sums run over all anchors that the student's assignment does not ignore; s is the sigmoid.
Published (configs of jbwang1997/CrossKD): RetinaNet w_c = 1, w_b = 1. FCOS w_c = 0.4, w_b = 0.75, with - log IoU for
1 - GIoU and the sum of the positives' centerness for their number: `overlap: iou` and `divisor: centerness`.
The release counts at least one positive in every image, here in the batch: images without objects weigh less there.
For FCOS it crosses over after the second of four convolutions, here as everywhere after the last but one.
For GFL its box term is the KL of the distributions of edges over the sum of max_k s(z_T) (weight 4), here GIoU as ever.
The paper's two detectors have equal widths; where they differ, a 1x1 convolution a tower, shared by all levels as the
tower is, widens the student first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.detectors.dense import centers, paired_iou
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


def iou_loss(boxes: Tensor, others: Tensor) -> Tensor:
    """- log IoU (M,) of pairs of boxes (M, 4) xyxy, the IoU being 1e-6 at least."""
    return -paired_iou(boxes, others).clamp(min=1e-6).log()


def box_loss(
    boxes: Tensor,
    teacher_boxes: Tensor,
    teacher_logits: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor] = generalized_box_iou_loss,
) -> Tensor:
    """Sum of the boxes' distances, weighted by the teacher's best score: boxes (M, 4) xyxy, logits (M, K); a scalar."""
    return (teacher_logits.sigmoid().amax(-1) * distance(boxes, teacher_boxes)).sum()


def centerness(boxes: Tensor, anchors: Tensor) -> Tensor:
    """FCOS's target (..., ): 1 where an anchor's centre is the box's, 0 on its border; both (..., 4) xyxy."""
    middle = centers(anchors)
    sides = torch.stack([middle - boxes[..., :2], boxes[..., 2:] - middle]).clamp(min=0)
    return (sides.amin(0) / sides.amax(0).clamp(min=1e-6)).prod(-1).sqrt()


class CrossKD(Method):
    """Cross-head distillation of a dense detector with sigmoid logits.

    Args:
        classes, boxes: w_c and w_b; 0 switches a term off.
        overlap: how far two boxes are apart, 1 - GIoU or - log IoU.
        divisor: the number of positives, or the sum of their centerness.
    """

    taps = frozenset({"head_cls_features", "head_box_features", "head_logits", "head_deltas", "anchors"})
    student_taps = frozenset({"anchor_labels", "anchor_targets"})
    background = frozenset({"sigmoid"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        classes: PartWeight,
        boxes: PartWeight,
        overlap: Literal["giou", "iou"] = "giou",
        divisor: Literal["positives", "centerness"] = "positives",
    ):
        super().__init__(student, teacher)
        self.parts = parts(classes=classes, boxes=boxes)
        self.distance = iou_loss if overlap == "iou" else generalized_box_iou_loss
        self.divisor = divisor
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
        own_logits, own_deltas, teacher_logits, teacher_deltas = (
            torch.cat(list(levels.values()), dim=1)[counted]
            for levels in (logits, deltas, teacher.head_logits, teacher.head_deltas)
        )
        every = torch.cat(list(teacher.anchors.values())).expand(len(counted), -1, -1)
        anchors = every[counted]
        boxes, teacher_boxes = decode(own_deltas, anchors), decode(teacher_deltas, anchors)
        terms = {
            "classes": quality_loss(own_logits, teacher_logits),
            "boxes": box_loss(boxes, teacher_boxes, teacher_logits, self.distance),
        }
        divisor = self._divisor(student, every)
        return {part: weight * terms[part] / divisor for part, weight in self.parts.items() if weight}

    def _divisor(self, student: Taps, anchors: Tensor) -> Tensor:
        positive = student.anchor_labels >= 0
        if self.divisor == "positives":
            return positive.sum().clamp(min=1)
        objects = decode(student.anchor_targets[positive], anchors[positive])
        return centerness(objects, anchors[positive]).sum().clamp(min=1e-6)


def _cross(adapt: nn.Module, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {stride: restandardize(adapt(features), teacher[stride]) for stride, features in student.items()}
