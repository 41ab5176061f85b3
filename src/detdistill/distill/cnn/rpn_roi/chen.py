"""Chen et al.: soft targets for the classes of RPN and RoI head, and box regression bounded by the teacher's error.

Chen et al., "Learning Efficient Object Detection Models with Knowledge Distillation", NeurIPS 2017. Their parts:
rpn_classes: - v (1 - p_T) log(1 - p_S) - p_T log p_S of the objectness p, v = 1.5, mean over RPN's mini-batch.
roi_classes: - sum_c v_c P_T(c) log P_S(c), v = 1.5 for the background and 1 for the other classes, mean over RoIs.
rpn_boxes, roi_boxes: |R_S - y|^2 where it exceeds |R_T - y|^2 - m, else 0; y: regression target of a positive.
The temperature is 1. The native losses stay whole, so the paper's mixture mu * hard + (1 - mu) * soft is a weight.
RPN's mini-batch is not drawn anew: every anchor counts by its chance to be in one, which holds at most half positives,
an image (Ren et al., NeurIPS 2015: 256 anchors), so that the terms are the mini-batch's in expectation.
v = 1.5 for both heads, temperature 1 and weights of 1 (0.5 for the hint, which is `fitnets` here) are the paper's, read
in transcriptions of it; the weight of the bounded term and m were not found in a source that could be checked (a
third-party implementation has 0.5 and 0.2).
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


def sampling_chance(labels: Tensor, batch: int) -> Tensor:
    """The chance (N, M) that an image's mini-batch of RPN takes an anchor.

    It takes at most `batch // 2` positives, and negatives until it is full; all of a kind are as likely.

    Args:
        labels: (N, M), -1 negative, -2 ignored, else positive.
        batch: anchors an image.
    """
    positive, negative = labels >= 0, labels == -1
    positives, negatives = (kind.sum(1, keepdim=True) for kind in (positive, negative))
    sampled = positives.clamp(max=batch // 2)
    rest = torch.minimum(negatives, batch - sampled)
    return positive * sampled / positives.clamp(min=1) + negative * rest / negatives.clamp(min=1)


def soft_objectness_loss(student: Tensor, teacher: Tensor, background_weight: float) -> Tensor:
    """Class-weighted cross-entropy of s(student) with s(teacher) as target, elementwise; logits of the same shape."""
    objects = teacher.sigmoid()
    return -objects * F.logsigmoid(student) - background_weight * (1 - objects) * F.logsigmoid(-student)


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
        self.background_weight, self.margin, self.rpn_batch = background_weight, margin, student.rpn_batch
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
        losses = soft_objectness_loss(_all(student.rpn_logits), _all(teacher.rpn_logits), self.background_weight)
        chance = sampling_chance(student.anchor_labels, self.rpn_batch)
        return (chance * losses).sum() / chance.sum().clamp(min=1)

    def _rpn_boxes(self, student: Taps, teacher: Taps) -> Tensor:
        positive = student.anchor_labels >= 0
        own, other = (_all(taps.rpn_deltas)[positive] for taps in (student, teacher))
        losses = bounded_loss(own, other, student.anchor_targets[positive], self.margin)
        # Over the whole mini-batch, as the native box loss: a negative has no box to regress.
        chance = sampling_chance(student.anchor_labels, self.rpn_batch)
        return (chance[positive] * losses).sum() / chance.sum().clamp(min=1)

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
