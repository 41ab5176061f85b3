"""D3ETR: imitate the teacher's predictions under two correspondences, of matched queries and of the same queries.

Chen et al., IJCAI 2024, arXiv 2211.09768 ("MixMatcher"). For each pair of decoder layers:
L = a * L(pairs of adaptive matching) + f * L(pairs of fixed matching)
L(pairs) = mean over pairs of w_c * sum_k BCE(z, s(t)) + w_b * |b - b^T|_1 + w_g * (1 - GIoU(b, b^T))
z, b: logits and boxes (cxcywh in 0..1) of the student, t, b^T of the teacher, s the sigmoid.
Adaptive: the student's own queries, matched one to one to the teacher's at the least sum of L. Fixed: the teacher's
queries go through the student's decoder as an extra group, and query i answers query i.
The paper also distils self- and cross-attention maps under the same correspondences. Those are not tapped, so this is
its prediction part alone. No weights and no code were found; w_c, w_b, w_g = 1, 5, 2 are those of the other DETR
methods, 1, 1, 1 those of the studies here, tuned as a whole. Classes are compared by binary cross-entropy, as sigmoid
detectors have no background for a softmax; it is at its least, not 0, where both agree. Layers are paired from the last
backwards; the paper's detectors have equally many.
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


def fixed_losses(student: Predictions, teacher: Predictions, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """The weighted terms of one pair of layers, query by query, scalars."""
    return pair_losses(student, teacher, torch.ones_like(teacher.logits[..., 0]), weights)


def adaptive_losses(student: Predictions, teacher: Predictions, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """The same of matched queries."""
    rows, columns = match(student, teacher, weights)
    return fixed_losses(student.take(rows), teacher.take(columns), weights)


class D3ETR(Method):
    """Distillation of predictions under mixed matching.

    Args:
        classes, boxes, giou: w_c, w_b and w_g; 0 switches a term off.
        adaptive, fixed: a and f; 0 switches a matching off.
    """

    taps = frozenset({"memory", "initial_queries", "query_logits", "query_boxes"})
    background = frozenset({"sigmoid"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        classes: PartWeight,
        boxes: PartWeight,
        giou: PartWeight,
        adaptive: PartWeight = 1.0,
        fixed: PartWeight = 1.0,
    ):
        super().__init__(student, teacher)
        self.parts = parts(classes=classes, boxes=boxes, giou=giou)
        parts(adaptive=adaptive, fixed=fixed)
        self.adaptive, self.fixed = adaptive, fixed
        check_queries(student, teacher, shared=fixed > 0)
        self._hidden = (student,)  # in a tuple, nn.Module does not see it

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        groups = []
        if self.adaptive:
            groups.append(("adaptive", self.adaptive, student, adaptive_losses))
        if self.fixed:
            decoded = self._hidden[0].decode(student, teacher.initial_queries)
            groups.append(("fixed", self.fixed, decoded, fixed_losses))
        terms = {}
        for matching, weight, answers, compare in groups:
            layers = [
                compare(predictions(answers, own), predictions(teacher, other), self.parts)
                for own, other in paired_layers(answers.query_logits, teacher.query_logits)
            ]
            for part in layers[0]:
                terms[f"{matching}_{part}"] = weight * torch.stack([layer[part] for layer in layers]).sum()
        return terms
