"""Two decoders' predictions: whether they fit, which layers and queries are paired, and how far a pair is apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou, generalized_box_iou_loss

from detdistill.core.errors import UserError
from detdistill.detectors.base import Detector, Queries, Taps


class Predictions(NamedTuple):
    """What one decoder layer says of Q queries an image."""

    logits: Tensor
    """(N, Q, K) of a sigmoid detector."""
    boxes: Tensor
    """(N, Q, 4), cxcywh in 0..1."""

    def take(self, indices: Tensor) -> Predictions:
        """The queries (N, M) alone, in their order."""
        return Predictions(*(each.take_along_dim(indices[..., None], dim=1) for each in self))


def predictions(taps: Taps, layer: str) -> Predictions:
    """Those of one layer."""
    return Predictions(taps.query_logits[layer], taps.query_boxes[layer])


def check_queries(student: Detector, teacher: Detector, *, shared: bool) -> None:
    """Raise UserError when the teacher has fewer queries, or when its queries are `shared` and the student cannot.

    Queries are shared where both have the same width, and both a learned position for each query or neither.
    """
    if (teacher.num_queries or 0) < (student.num_queries or 0):
        raise UserError(f"queries: the student asks for {student.num_queries}, the teacher has {teacher.num_queries}")
    if shared:
        own, other = (initial_queries(detector) for detector in (student, teacher))
        channels, others = own.content.shape[2], other.content.shape[2]
        if channels != others:
            raise UserError(
                f"queries: the student's have {channels} channels, the teacher's {others}; equal ones share"
            )
        if (own.position is None) != (other.position is None):
            which = "student's" if other.position is None else "teacher's"
            raise UserError(f"queries: only the {which} have learned positions, so that they cannot be shared")


@torch.no_grad()
def initial_queries(detector: Detector) -> Queries:
    """Those of one blank image."""
    training = detector.training
    # In 256 x 256 pixels there are more locations than any detector chooses queries from.
    blank = torch.zeros(3, 256, 256, device=next(detector.parameters()).device)
    taps = detector.eval().observe([blank], frozenset({"initial_queries"}))
    detector.train(training)
    return taps.initial_queries


def paired_layers(student: Iterable[str], teacher: Iterable[str]) -> list[tuple[str, str]]:
    """Last layer with last, the one before with the one before; layers without a counterpart are left out."""
    return list(zip(reversed(list(student)), reversed(list(teacher)), strict=False))


def pair_losses(
    student: Predictions, teacher: Predictions, importance: Tensor, weights: Mapping[str, float]
) -> dict[str, Tensor]:
    """Weighted mean differences of pairs in the same order, each term a scalar times its weight; those of 0 are absent.

    `classes` is binary cross-entropy with the teacher's scores, summed over classes; `boxes` L1, summed over
    coordinates; `giou` 1 - GIoU.

    Args:
        student, teacher: of M queries an image each.
        importance: (N, M), how much a pair counts in the means.
        weights: of `classes`, `boxes` and `giou`.
    """
    corners, teacher_corners = (box_convert(each.boxes, "cxcywh", "xyxy") for each in (student, teacher))
    entropy = F.binary_cross_entropy_with_logits(student.logits, teacher.logits.sigmoid(), reduction="none")
    apart = {
        "classes": entropy.sum(-1),
        "boxes": (student.boxes - teacher.boxes).abs().sum(-1),
        "giou": generalized_box_iou_loss(corners, teacher_corners),
    }
    total = importance.sum().clamp(min=1)
    return {part: weight * (importance * apart[part]).sum() / total for part, weight in weights.items() if weight}


@torch.no_grad()
def match(student: Predictions, teacher: Predictions, weights: Mapping[str, float]) -> tuple[Tensor, Tensor]:
    """The one-to-one matching with the least sum of `pair_losses`, an image, at one transfer to the host.

    Returns:
        The indices of student and of teacher queries, both (N, min(Q_S, Q_T)).
    """
    corners, teacher_corners = (box_convert(each.boxes, "cxcywh", "xyxy") for each in (student, teacher))
    costs = {
        "classes": F.softplus(student.logits).sum(2, keepdim=True) - student.logits @ teacher.logits.sigmoid().mT,
        "boxes": torch.cdist(student.boxes, teacher.boxes, p=1),
        "giou": 1 - torch.stack(list(map(generalized_box_iou, corners, teacher_corners))),
    }
    cost = torch.stack([weight * costs[part] for part, weight in weights.items() if weight]).sum(0)
    # Two boxes without area have no IoU; predictions that are not numbers are the training loop's to report.
    matrices = cost.float().nan_to_num().cpu().numpy()
    matches = np.stack([linear_sum_assignment(matrix) for matrix in matrices])
    rows, columns = torch.from_numpy(matches).to(cost.device).unbind(1)
    return rows, columns
