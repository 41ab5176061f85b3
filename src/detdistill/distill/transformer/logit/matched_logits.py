"""Matched logits: of each object, the student's query learns the class scores of the teacher's query for that object.

Hinton et al., 2015, arXiv 1503.02531, carried over to set predictions: the plain baseline of this level, of no paper of
its own. Which query answers an object is each detector's own Hungarian assignment; no loss of this method decides it.
L = w * sum over pairs of decoder layers of mean over objects of sum_k KL(Bernoulli(s(t_jk)) || Bernoulli(s(z_ik)))
z_i: logits of the student's query i assigned to the object, t_j: of the teacher's, s the sigmoid; 0 without objects.
The mean is over the objects of the batch; boxes and queries without an object are left alone. Layers are paired from
the last backwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight
from detdistill.distill.transformer.query_pairs import paired_layers


def score_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL of class scores, summed over classes, mean over rows, 0 without any; logits (M, K), a scalar."""
    scores = teacher.sigmoid()
    kept = [F.binary_cross_entropy_with_logits(logits, scores, reduction="sum") for logits in (student, teacher)]
    return (kept[0] - kept[1]) / max(len(student), 1)


def answering(matches: Sequence[tuple[Tensor, Tensor]], objects: Sequence[int], queries: int) -> Tensor:
    """The query that each object of the batch is assigned to, counted through the images, or -1: (sum of objects,).

    Args:
        matches: indices of queries and of objects, an image, in the same order.
        objects: how many an image has.
        queries: Q.
    """
    found = [torch.full((count,), -1) for count in objects]
    for image, (own, (rows, columns)) in enumerate(zip(found, matches, strict=True)):
        own[columns] = image * queries + rows
    return torch.cat(found)


class MatchedLogits(Method):
    """Distillation of class scores object by object. `weight`: w."""

    taps = frozenset({"query_logits", "query_boxes"})
    background = frozenset({"sigmoid"})

    def __init__(self, student: Detector, teacher: Detector, *, weight: Weight):
        super().__init__(student, teacher)
        self.weight = weight
        self._hidden = (student, teacher)  # in a tuple, nn.Module does not see them

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        objects = [len(target["labels"]) for target in targets]
        losses = []
        for layers in paired_layers(student.query_logits, teacher.query_logits):
            logits, queries = [], []
            for detector, taps, layer in zip(self._hidden, (student, teacher), layers, strict=True):
                tap = taps.query_logits[layer]
                logits.append(tap.flatten(0, 1))
                queries.append(answering(detector.match(taps, targets, layer), objects, tap.shape[1]))
            # With more objects than queries, the two detectors may leave out different ones.
            both = torch.stack(queries).amin(0) >= 0
            losses.append(score_divergence(*(each[rows[both]] for each, rows in zip(logits, queries, strict=True))))
        return {"classes": self.weight * torch.stack(losses).sum()}
