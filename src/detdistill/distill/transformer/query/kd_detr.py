"""KD-DETR: at the same queries, random ones and the teacher's own, the student's decoder predicts as the teacher's.

Wang et al., CVPR 2024, arXiv 2211.08071. Query i of the student answers query i of the teacher, so nothing is matched.
L = sum over both groups of queries and all student layers of
    w_c * sum_i q_i T^2 mean_k KL(softmax(t_i / T) || softmax(z_i / T))
    + [ w_b * sum_i q_i mean |b_i - b_i^T| + w_g * sum_i q_i (1 - GIoU(b_i, b_i^T)) ] / sum_i q_i
z, b: logits and boxes (cxcywh in 0..1) of the student, t, b^T: of the teacher's LAST layer, i: all queries of all
images, q_i = max_k s(t_ik). The class term is a sum and the box terms are weighted means, as in the released code, so
the balance shifts with the number of queries and the batch. It takes a softmax over logits of a sigmoid classifier, so
with one class that term is 0.
Published: w_c = 1, w_b = 5, w_g = 2, T = 10, 300 random queries, drawn anew at each step (code of Myleswork/KD-DETR).
The release adds 1e-6 to the denominators of GIoU, torchvision 1e-7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou_loss

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, PartWeight, parts
from detdistill.distill.transformer.query_pairs import Predictions, check_queries, predictions


def query_loss(student: Predictions, teacher: Predictions, temperature: float) -> dict[str, Tensor]:
    """`classes`, `boxes` and `giou` of one group of queries and one student layer, scalars without their weights."""
    confidence = teacher.logits.sigmoid().amax(-1)
    logs, teacher_logs = ((each.logits / temperature).log_softmax(-1) for each in (student, teacher))
    divergence = F.kl_div(logs, teacher_logs, reduction="none", log_target=True).mean(-1) * temperature**2
    distance = (student.boxes - teacher.boxes).abs().mean(-1)
    corners, teacher_corners = (box_convert(each.boxes, "cxcywh", "xyxy") for each in (student, teacher))
    return {
        "classes": (confidence * divergence).sum(),
        "boxes": (confidence * distance).sum() / confidence.sum(),
        "giou": (confidence * generalized_box_iou_loss(corners, teacher_corners)).sum() / confidence.sum(),
    }


class KDDETR(Method):
    """Distillation at shared queries.

    Args:
        classes, boxes, giou: w_c, w_b and w_g; 0 switches a term off.
        random_queries: how many an image; 0 leaves the teacher's own alone.
        temperature: T.
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
        random_queries: Annotated[int, Field(ge=0, le=16_384)] = 300,
        temperature: Annotated[float, Field(gt=0)] = 10.0,
    ):
        super().__init__(student, teacher)
        self.parts = parts(classes=classes, boxes=boxes, giou=giou)
        self.random_queries, self.temperature = random_queries, temperature
        check_queries(student, teacher, shared=True)
        self._hidden = (student, teacher)  # in a tuple, nn.Module does not see them

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        own, other = self._hidden
        groups = [(own.decode(student, teacher.initial_queries), teacher)]
        if self.random_queries:
            with torch.no_grad():
                queries = other.random_queries(teacher, self.random_queries)
                answers = other.decode(teacher, queries)
            groups.append((own.decode(student, queries), answers))
        losses = []
        for decoded, answers in groups:
            taught = predictions(answers, list(answers.query_logits)[-1])
            losses += [
                query_loss(predictions(decoded, layer), taught, self.temperature) for layer in decoded.query_logits
            ]
        return {
            part: weight * torch.stack([loss[part] for loss in losses]).sum()
            for part, weight in self.parts.items()
            if weight
        }
