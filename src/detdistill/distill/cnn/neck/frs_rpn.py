"""FRS on a two-stage detector: imitate neck and objectness by the teacher's best objectness at each pixel.

Du et al., NeurIPS 2021, arXiv 2111.00674: the formula of `frs` with the RPN's objectness as the only class.
Published: w_f = 0.002, w_c = 0.1 for Faster R-CNN (config of duzhixing/FRS).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, PartWeight, parts, same_shapes, spatial_adapters
from detdistill.distill.cnn.neck.frs import rich_terms


class FRSRPN(Method):
    """Feature richness on an RPN. `features`, `classes`: w_f and w_c; 0 switches a term off."""

    taps = frozenset({"neck", "rpn_logits"})

    def __init__(self, student: Detector, teacher: Detector, *, features: PartWeight, classes: PartWeight):
        super().__init__(student, teacher)
        self.parts = parts(features=features, classes=classes)
        same_shapes("rpn_logits", student, teacher, slice(1, 2), "anchors")
        self.adapters = spatial_adapters(student, teacher)

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        logits = _one_class(student.rpn_logits), _one_class(teacher.rpn_logits)
        return rich_terms(self.parts, self.adapters, (student.neck, teacher.neck), logits)


def _one_class(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {s: each[..., None] for s, each in logits.items()}
