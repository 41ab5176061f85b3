"""DETRDistill, target-aware features: imitate the memory where the teacher's good queries look.

Chang et al., ICCV 2023, arXiv 2211.10156. For each level of the memory and each teacher layer l:
L = w * sum over levels and l of mean (M_l T - M_l phi(S))^2,  M_l = m_l / max m_l over the level's pixels of an image
m_l at a pixel = max(0.01, sum_i q_i cos(query_i, T)),  q_i = best class score of query i * its best IoU with an object
T, S: memory of teacher and student, queries: what the teacher's layer l returns. Without objects, q_i is the score.
The release (BIVLab-USTC/DETRDistill) has w = 1, no phi, the neck's maps for S and T and the 100 best of all pairs of
query and class; here the encoder's memory, and every query with its best class. phi is
a 1x1 convolution where the widths differ. Score and IoU are multiplied, as in the release.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from detdistill.core.errors import UserError
from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight, adapters
from detdistill.distill.transformer.query_pairs import initial_queries


def query_quality(logits: Tensor, boxes: Tensor, objects: Sequence[Tensor]) -> Tensor:
    """q (N, Q): best class score times best IoU with an object of the image; the score where there is none.

    Args:
        logits, boxes: (N, Q, K) of a sigmoid detector and (N, Q, 4), xyxy pixels.
        objects: one (n, 4) an image, xyxy pixels.
    """
    overlaps = [
        # Boxes without area have no IoU with one another.
        box_iou(each, found).nan_to_num().amax(1) if len(found) else torch.ones_like(each[:, 0])
        for each, found in zip(boxes, objects, strict=True)
    ]
    return logits.sigmoid().amax(-1) * torch.stack(overlaps)


def object_mask(queries: Tensor, quality: Tensor, memory: Tensor) -> Tensor:
    """M (N, 1, H, W), at most 1, of queries (N, Q, D) with quality (N, Q), and memory (N, D, H, W)."""
    # The sum over queries comes first, as the cosine is linear in the normalised query.
    looked_for = (quality[..., None] * F.normalize(queries, dim=-1)).sum(1)
    mask = torch.einsum("nd,ndhw->nhw", looked_for, F.normalize(memory, dim=1)).clamp(min=0.01)[:, None]
    return mask / mask.amax((2, 3), keepdim=True)


class DETRDistillFeatures(Method):
    """Target-aware distillation of every level of the encoder's memory. `weight`: w."""

    taps = frozenset({"memory", "queries", "query_logits", "query_boxes"})
    background = frozenset({"sigmoid"})

    def __init__(self, student: Detector, teacher: Detector, *, weight: Weight):
        super().__init__(student, teacher)
        self.weight = weight
        self.adapters = adapters("memory", student, teacher)
        channels = next(iter(teacher.channels(frozenset({"memory"}))["memory"].values()))
        found = initial_queries(teacher).content.shape[2]
        if found != channels:
            raise UserError(f"queries: the teacher's have {found} channels, its memory has {channels}")
        self._hidden = (teacher,)  # in a tuple, nn.Module does not see it

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        objects = [target["boxes"] for target in targets]
        quality = {
            layer: query_quality(logits, self._hidden[0].pixel_boxes(teacher, layer), objects)
            for layer, logits in teacher.query_logits.items()
        }
        losses = []
        for stride, adapt in self.adapters.items():
            memory = teacher.memory[stride]
            masks = [object_mask(queries, quality[layer], memory) for layer, queries in teacher.queries.items()]
            squares = torch.stack(masks).square().sum(0)
            losses.append((squares * (adapt(student.memory[stride]) - memory) ** 2).mean())
        return {"memory": self.weight * torch.stack(losses).sum()}
