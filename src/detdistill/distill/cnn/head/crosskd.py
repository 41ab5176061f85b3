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
GFL: w_c = 1, w_b = 0 and 4 for a term in its place, sum max_k s(z_T) mean over edges KL(S(e_T) || S(e)) of the
distributions e, divided by sum max_k s(z_T): `edges: 4.0` and `divisor: scores`.
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

from detdistill.core.errors import UserError
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


def edge_loss(edges: Tensor, teacher_edges: Tensor, teacher_logits: Tensor) -> Tensor:
    """Sum of the mean KL of a box's four edges, weighted by the teacher's best score, a scalar.

    Args:
        edges, teacher_edges: (M, 4, bins + 1), logits.
        teacher_logits: (M, K).
    """
    logs, teacher_logs = (each.log_softmax(-1) for each in (edges, teacher_edges))
    apart = F.kl_div(logs, teacher_logs, reduction="none", log_target=True).sum(-1).mean(-1)
    return (teacher_logits.sigmoid().amax(-1) * apart).sum()


def centerness(boxes: Tensor, anchors: Tensor) -> Tensor:
    """FCOS's target (..., ): 1 where an anchor's centre is the box's, 0 on its border; both (..., 4) xyxy."""
    middle = centers(anchors)
    sides = torch.stack([middle - boxes[..., :2], boxes[..., 2:] - middle]).clamp(min=0)
    return (sides.amin(0) / sides.amax(0).clamp(min=1e-6)).prod(-1).sqrt()


class CrossKD(Method):
    """Cross-head distillation of a dense detector with sigmoid logits.

    Args:
        classes, boxes: w_c and w_b; 0 switches a term off.
        edges: the weight of the distributions' term, for heads that predict them.
        overlap: how far two boxes are apart, 1 - GIoU or - log IoU.
        divisor: the number of positives, or the sum of their centerness; `scores` divides the terms of boxes and edges
            by the sum of max_k s(z_T) and that of classes by the number of positives.
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
        edges: PartWeight = 0.0,
        overlap: Literal["giou", "iou"] = "giou",
        divisor: Literal["positives", "centerness", "scores"] = "positives",
    ):
        super().__init__(student, teacher)
        self.parts = parts(classes=classes, boxes=boxes, edges=edges)
        self.distance = iou_loss if overlap == "iou" else generalized_box_iou_loss
        self.divisor = divisor
        same_shapes("head_logits", student, teacher, slice(1, 2), "anchors")
        if edges:
            for side, detector in (("student", student), ("teacher", teacher)):
                if "head_edges" not in detector.taps:
                    raise UserError(f"edges: the {side} {type(detector).__name__} predicts no distributions of edges")
            same_shapes("head_edges", student, teacher, slice(1, 4), "logits of edges")
            self.taps = self.taps | {"head_edges"}
        self._hidden = (teacher,)  # in a tuple, nn.Module does not see it
        own, other = (d.channels(frozenset({"head_cls_features", "head_box_features"})) for d in (student, teacher))
        first = next(iter(own["head_cls_features"]))
        self.cls_adapter = adapter(own["head_cls_features"][first], other["head_cls_features"][first])
        self.box_adapter = adapter(own["head_box_features"][first], other["head_box_features"][first])

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        crossed = self._hidden[0].finish_head(
            _cross(self.cls_adapter, student.head_cls_features, teacher.head_cls_features),
            _cross(self.box_adapter, student.head_box_features, teacher.head_box_features),
        )
        counted = student.anchor_labels != -2
        own_logits, own_deltas, teacher_logits, teacher_deltas = (
            torch.cat(list(levels.values()), dim=1)[counted]
            for levels in (crossed.head_logits, crossed.head_deltas, teacher.head_logits, teacher.head_deltas)
        )
        every = torch.cat(list(teacher.anchors.values())).expand(len(counted), -1, -1)
        anchors = every[counted]
        boxes, teacher_boxes = decode(own_deltas, anchors), decode(teacher_deltas, anchors)
        terms = {
            "classes": quality_loss(own_logits, teacher_logits),
            "boxes": box_loss(boxes, teacher_boxes, teacher_logits, self.distance),
        }
        if self.parts["edges"]:
            own_edges, teacher_edges = (
                torch.cat(list(taps.head_edges.values()), dim=1)[counted] for taps in (crossed, teacher)
            )
            terms["edges"] = edge_loss(own_edges, teacher_edges, teacher_logits)
        divisor = self._divisor(student, every)
        divisors = dict.fromkeys(terms, divisor)
        if self.divisor == "scores":
            scores = teacher_logits.sigmoid().amax(-1).sum().clamp(min=1e-6)
            divisors |= {"boxes": scores, "edges": scores}
        return {part: weight * terms[part] / divisors[part] for part, weight in self.parts.items() if weight}

    def _divisor(self, student: Taps, anchors: Tensor) -> Tensor:
        positive = student.anchor_labels >= 0
        if self.divisor != "centerness":
            return positive.sum().clamp(min=1)
        objects = decode(student.anchor_targets[positive], anchors[positive])
        return centerness(objects, anchors[positive]).sum().clamp(min=1e-6)


def _cross(adapt: nn.Module, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {stride: restandardize(adapt(features), teacher[stride]) for stride, features in student.items()}
