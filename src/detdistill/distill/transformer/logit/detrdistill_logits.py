"""DETRDistill, Hungarian-matched logits: each student prediction imitates the teacher prediction that it is matched to.

Chang et al., ICCV 2023, arXiv 2211.10156. For each pair of decoder layers, over the matched pairs of queries (i, j):
L = sum_ij v_j [ w_c * sum_k BCE(z_i, s(t_j)) + w_b * |b_i - b_j|_1 + w_g * (1 - GIoU(b_i, b_j)) ] / sum_ij v_j
z, b_i: logits and boxes (cxcywh in 0..1) of the student, t, b_j of the teacher, s the sigmoid. The matching of all
student with all teacher queries of an image has the least sum of the bracket, so cost and loss are one formula.
Foreground are the teacher's predictions that the engine's own matching with the ground truth gives an object in that
layer (v_j = 1), negatives all others (v_j = v). The release, of which this is
the formula (BIVLab-USTC/DETRDistill), makes no difference between them and the foreground: v = 1.
Sigmoid detectors have no background class, so classes are compared by binary cross-entropy with the teacher's scores as
soft targets, as in the release: it keeps low scores low and needs no temperature. It is at its least, not 0, where
student and teacher agree. Layers are paired from the last backwards; the paper's two detectors have equally many.
Published: w_c = 1, w_b = 5, w_g = 2 (configs of the release).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, PartWeight, parts
from detdistill.distill.transformer.query_pairs import (
    Predictions,
    check_queries,
    match,
    pair_losses,
    paired_layers,
    predictions,
)


def matched_losses(
    student: Predictions, teacher: Predictions, importance: Tensor, weights: Mapping[str, float]
) -> dict[str, Tensor]:
    """The weighted terms of one pair of layers, scalars; importance: v (N, Q_T)."""
    rows, columns = match(student, teacher, weights)
    return pair_losses(student.take(rows), teacher.take(columns), importance.gather(1, columns), weights)


class DETRDistillLogits(Method):
    """Distillation of matched predictions.

    Args:
        classes, boxes, giou: w_c, w_b and w_g; 0 switches a term off.
        negatives: v; 0 leaves the foreground alone.
    """

    taps = frozenset({"query_logits", "query_boxes"})
    background = frozenset({"sigmoid"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        classes: PartWeight,
        boxes: PartWeight,
        giou: PartWeight,
        negatives: PartWeight = 1.0,
    ):
        super().__init__(student, teacher)
        self.parts = parts(classes=classes, boxes=boxes, giou=giou)
        self.negatives = negatives
        check_queries(student, teacher, shared=False)
        self._hidden = (teacher,)  # in a tuple, nn.Module does not see it

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        losses = []
        for own, other in paired_layers(student.query_logits, teacher.query_logits):
            taught = predictions(teacher, other)
            importance = torch.full_like(taught.logits[..., 0], self.negatives)
            if self.negatives != 1:
                matches = self._hidden[0].match(teacher, targets, other)
                for image, (queries, _) in zip(importance, matches, strict=True):
                    image[queries] = 1
            losses.append(matched_losses(predictions(student, own), taught, importance, self.parts))
        return {part: torch.stack([loss[part] for loss in losses]).sum() for part in losses[0]}
