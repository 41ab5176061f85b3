"""GID: imitate features, relations and responses where the two RPNs disagree most, whether objects are there or not.

Dai et al., CVPR 2021, arXiv 2103.02340 (general instances). An instance: the g = |s(z_T) - s(z_S)| largest anchors'
boxes after non-maximum suppression by g, each box that of the detector with the higher score s(z).
L = w_f * mean over instances and pooled cells of sum over channels (phi(F_S) - F_T)^2,  F: RoIAlign of the neck, 10x10
  + w_r * mean over pairs (i, j) of SmoothL1(d_ij / mean d, d^T_ij / mean d^T),  d: distance of two instances' F
  + [ w_c * sum BCE(z_S, s(z_T)) + w_b * sum |r_S - r_T| ] / n,  over the n anchors that belong to instances
r: deltas. An anchor belongs to an instance whose IoU with it is `overlap` or above, or the best of that instance.
Pairs are of all instances of the batch, as in the release, so repeating an image moves that term.
The paper selects on a dense head by its best class score; here the RPN's objectness is the only class.
Published for RetinaNet: w_f = 5e-4, w_r = 40, w_c = 0.1, w_b = 1 (the code's own defaults are 5e-3 and w_b = 0.1); 10
instances an image, NMS at 0.3, the best 3000 before it (daixinghome/Distill_GID_detectron2, whose README calls its
accuracy unfinished). There phi, a 3x3 convolution, is built but never applied; here it is a 1x1 where the widths
differ. Boxes under 10 pixels are left out there, here those under 1; RoIAlign is shifted by half a pixel there, not
here. BCE is at its least, not 0, where both agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, box_iou, clip_boxes_to_image, nms, remove_small_boxes

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, PartWeight, adapter, parts, same_shapes
from detdistill.distill.cnn.head.crosskd import decode

Share = Annotated[float, Field(gt=0, lt=1)]
POOLED, BEFORE_NMS = 10, 3000


def general_instances(
    scores: Tensor, teacher_scores: Tensor, boxes: Tensor, teacher_boxes: Tensor, *, count: int, threshold: float
) -> Tensor:
    """The boxes (at most `count`, 4) of one image, most disputed first.

    Args:
        scores, teacher_scores: (M,).
        boxes, teacher_boxes: (M, 4) xyxy, inside the image.
        threshold: IoU above which the less disputed of two boxes is left out.
    """
    gaps, chosen = (teacher_scores - scores).abs().topk(min(BEFORE_NMS, len(scores)))
    disputed = torch.where((teacher_scores > scores)[:, None], teacher_boxes, boxes)[chosen]
    large = remove_small_boxes(disputed, 1.0)
    disputed, gaps = disputed[large], gaps[large]
    return disputed[nms(disputed, gaps, threshold)[:count]]


def of_instances(anchors: Tensor, instances: Tensor, overlap: float) -> Tensor:
    """Whether each anchor (M, 4) belongs to one of the instances (I, 4), of which there may be none: (M,) bool."""
    overlaps = box_iou(anchors, instances)
    return ((overlaps >= overlap) | ((overlaps == overlaps.amax(0)) & (overlaps > 0))).any(1)


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error of pooled features (I, C, h, w), summed over channels, mean over instances and cells."""
    cells = len(student) * student.shape[2] * student.shape[3]
    return (student - teacher).square().sum() / max(cells, 1)


def relation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean smooth L1 difference of the distances of all pairs of rows (I, D), each set over its mean; 0 without pairs.

    The two may have different D.
    """
    if len(student) < 3:  # one pair is always at its mean distance
        return student.sum() * 0
    own, other = (_distances(features) for features in (student, teacher))
    return F.smooth_l1_loss(own, other)


class GID(Method):
    """Distillation of general instances.

    Args:
        features, relations, classes, boxes: w_f, w_r, w_c and w_b; 0 switches a term off.
        instances: how many an image, at most.
        threshold: of the non-maximum suppression.
        overlap: IoU of an anchor that belongs to an instance; 0.7 is the RPN's own rule (0.5 of RetinaNet's).
        canonical: side in pixels of the box that is pooled from stride 16; half of it from stride 8, and so on.
    """

    taps = frozenset({"neck", "anchors", "rpn_logits", "rpn_deltas"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        features: PartWeight,
        relations: PartWeight,
        classes: PartWeight,
        boxes: PartWeight,
        instances: Annotated[int, Field(ge=1, le=16_384)] = 10,
        threshold: Share = 0.3,
        overlap: Share = 0.7,
        canonical: Annotated[float, Field(gt=0)] = 224.0,
    ):
        super().__init__(student, teacher)
        self.parts = parts(features=features, relations=relations, classes=classes, boxes=boxes)
        self.instances, self.threshold, self.overlap = instances, threshold, overlap
        same_shapes("rpn_logits", student, teacher, slice(1, 2), "anchors")
        own, other = (detector.channels(frozenset({"neck"}))["neck"] for detector in (student, teacher))
        finest = next(iter(own))
        self.adapter = adapter(own[finest], other[finest])
        self.pool = MultiScaleRoIAlign(list(own), POOLED, 2, canonical_scale=canonical)

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        anchors = torch.cat(list(student.anchors.values()))
        logits, other_logits = _all(student.rpn_logits), _all(teacher.rpn_logits)
        deltas, other_deltas = _all(student.rpn_deltas), _all(teacher.rpn_deltas)
        found = self._find(anchors, (logits, other_logits), (deltas, other_deltas), student.image_size)
        pooled = self.adapter(self._pool(student, found))
        other_pooled = self._pool(teacher, found)
        mask = torch.stack([of_instances(anchors, each, self.overlap) for each in found])
        count = mask.sum().clamp(min=1)
        entropy = F.binary_cross_entropy_with_logits(logits[mask], other_logits[mask].sigmoid(), reduction="sum")
        terms = {
            "features": feature_loss(pooled, other_pooled),
            "relations": relation_loss(pooled.flatten(1), other_pooled.flatten(1)),
            "classes": entropy / count,
            "boxes": (deltas[mask] - other_deltas[mask]).abs().sum() / count,
        }
        return {part: weight * terms[part] for part, weight in self.parts.items() if weight}

    @torch.no_grad()
    def _find(
        self, anchors: Tensor, logits: tuple[Tensor, Tensor], deltas: tuple[Tensor, Tensor], image: tuple[int, int]
    ) -> list[Tensor]:
        scores, other_scores = (each.sigmoid() for each in logits)
        boxes, other_boxes = (clip_boxes_to_image(decode(each, anchors), image) for each in deltas)
        return [
            general_instances(*each, count=self.instances, threshold=self.threshold)
            for each in zip(scores, other_scores, boxes, other_boxes, strict=True)
        ]

    def _pool(self, taps: Taps, boxes: list[Tensor]) -> Tensor:
        return self.pool(taps.neck, boxes, [taps.image_size] * len(boxes))


def _distances(features: Tensor) -> Tensor:
    precise = features.to(torch.promote_types(features.dtype, torch.float32))  # there is none in half precision
    distances = F.pdist(precise)
    return distances / distances.mean().clamp(min=1e-12)


def _all(levels: Mapping[str, Tensor]) -> Tensor:
    return torch.cat(list(levels.values()), dim=1)
