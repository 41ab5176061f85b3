"""DETRDistill, query-prior assignment: the teacher's queries train the student's decoder, under the teacher's matches.

Chang et al., ICCV 2023, arXiv 2211.10156. A student's own assignment changes much early in training; the teacher's is
settled, and its queries already know where to look.
L = w * the detector's own set loss of all student layers, at the teacher's initial queries, each query with the object
that the teacher's matching gives it.
The paper gives each student layer the matching of the same teacher layer; here all layers take that of the teacher's
last layer, its final word, so that the depths may differ.
The release (BIVLab-USTC/DETRDistill) has w = 1. As it runs, the teacher's matching is never handed to this loss, so the
student's own matching of the teacher's queries decides there; here it is the teacher's, as the paper has it.
Of the teacher's queries, the student's decoder takes contents and positions; in Deformable DETR the reference points
are found by the student's own layer, as in the release.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight
from detdistill.distill.transformer.query_pairs import check_queries


class DETRDistillQueries(Method):
    """The teacher's queries as an extra group of the student's. `weight`: w."""

    taps = frozenset({"memory", "initial_queries", "query_logits", "query_boxes"})

    def __init__(self, student: Detector, teacher: Detector, *, weight: Weight):
        super().__init__(student, teacher)
        self.weight = weight
        check_queries(student, teacher, shared=True)
        self._hidden = (student, teacher)  # in a tuple, nn.Module does not see them

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        own, other = self._hidden
        matches = other.match(teacher, targets, list(teacher.query_logits)[-1])
        losses = own.set_loss(own.decode(student, teacher.initial_queries), targets, matches)
        return {"queries": self.weight * torch.stack(list(losses.values())).sum()}
