"""Chen et al.: soft targets for the classes of RPN and RoI head, and box regression bounded by the teacher's error.

Chen et al., "Learning Efficient Object Detection Models with Knowledge Distillation", NeurIPS 2017. Their parts:
rpn_classes: cross-entropy with the teacher's objectness as soft target.
roi_classes: - sum_c v_c P_T(c) log P_S(c), v = 1.5 for the background and 1 for the other classes, mean over RoIs.
rpn_boxes, roi_boxes: |R_S - y|^2 where it exceeds |R_T - y|^2 - m, else 0; y: regression target of a positive.
The temperature is 1. The native losses stay whole, so the paper's mixture mu * hard + (1 - mu) * soft is a weight.
The RPN's terms average over anchors as a balanced mini-batch does in expectation: half positives, half negatives.
1.5, temperature 1 and weights of 1 (0.5 for the hint, which is `fitnets` here) are the paper's, read in transcriptions
of it; the weight of the bounded term and the margin m were not found in a source that could be checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, PartWeight, parts, same_shapes


def soft_objectness_loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Half the mean over positive anchors plus half the mean over negative ones of BCE(s(student), s(teacher)).

    Args:
        student, teacher: logits (N, M).
        labels: (N, M), -1 negative, -2 ignored, else positive.
    """
    losses = F.binary_cross_entropy_with_logits(student, teacher.sigmoid(), reduction="none")
    return (_mean(losses, labels >= 0) + _mean(losses, labels == -1)) / 2


def soft_class_loss(student: Tensor, teacher: Tensor, background_weight: float) -> Tensor:
    """Class-weighted cross-entropy of softmax(student) with softmax(teacher) as target, mean over rows.

    Its minimum is the teacher's entropy, and for a background weight other than 1 it lies where the background has
    that much more than the teacher's share.

    Args:
        student, teacher: logits (R, K + 1), background last.
    """
    weights = torch.ones_like(student[0])
    weights[-1] = background_weight
    return -(weights * teacher.softmax(1) * student.log_softmax(1)).sum(1).mean()


def bounded_loss(student: Tensor, teacher: Tensor, target: Tensor, margin: float) -> Tensor:
    """Squared error of the student's deltas where, the margin added, it exceeds the teacher's, else 0.

    Args:
        student, teacher, target: (P, 4).

    Returns:
        (P,).
    """
    own, other = ((deltas - target).square().sum(1) for deltas in (student, teacher))
    return torch.where(own + margin > other, own, 0)


class Chen(Method):
    """The RPN and RoI parts.

    Args:
        rpn_classes, rpn_boxes, roi_classes, roi_boxes: weights of the parts; 0 switches a part off.
        background_weight: v of the background.
        margin: m, in units of the squared deltas.
    """

    taps = frozenset({"rpn_logits", "rpn_deltas", "roi_boxes", "roi_logits", "roi_deltas"})
    student_taps = frozenset({"anchor_labels", "anchor_targets", "roi_labels", "roi_targets"})
    background = frozenset({"softmax"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        rpn_classes: PartWeight,
        rpn_boxes: PartWeight,
        roi_classes: PartWeight,
        roi_boxes: PartWeight,
        background_weight: Annotated[float, Field(gt=0)] = 1.5,
        margin: Annotated[float, Field(ge=0)] = 0.0,
    ):
        super().__init__(student, teacher)
        self.parts = parts(rpn_classes=rpn_classes, rpn_boxes=rpn_boxes, roi_classes=roi_classes, roi_boxes=roi_boxes)
        self.background_weight, self.margin = background_weight, margin
        if rpn_classes or rpn_boxes:
            same_shapes("rpn_logits", student, teacher, slice(1, 2), "anchors")

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        terms = {
            "rpn_classes": self._rpn_classes,
            "rpn_boxes": self._rpn_boxes,
            "roi_classes": self._roi_classes,
            "roi_boxes": self._roi_boxes,
        }
        return {part: weight * terms[part](student, teacher) for part, weight in self.parts.items() if weight}

    def _rpn_classes(self, student: Taps, teacher: Taps) -> Tensor:
        return soft_objectness_loss(_all(student.rpn_logits), _all(teacher.rpn_logits), student.anchor_labels)

    def _rpn_boxes(self, student: Taps, teacher: Taps) -> Tensor:
        positive = student.anchor_labels >= 0
        own, other = (_all(taps.rpn_deltas)[positive] for taps in (student, teacher))
        losses = bounded_loss(own, other, student.anchor_targets[positive], self.margin)
        return losses.sum() / (2 * len(losses) or 1)

    def _roi_classes(self, student: Taps, teacher: Taps) -> Tensor:
        return soft_class_loss(student.roi_logits, teacher.roi_logits, self.background_weight)

    def _roi_boxes(self, student: Taps, teacher: Taps) -> Tensor:
        labels = student.roi_labels
        rows = (labels < student.roi_deltas.shape[1]).nonzero()[:, 0]
        own, other = (taps.roi_deltas[rows, labels[rows]] for taps in (student, teacher))
        # Over all RoIs, as the native box loss: a background RoI has no box to regress.
        return bounded_loss(own, other, student.roi_targets[rows], self.margin).sum() / len(labels)


def _all(levels: Mapping[str, Tensor]) -> Tensor:
    return torch.cat(list(levels.values()), dim=1)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
