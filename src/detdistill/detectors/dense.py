"""What dense detectors share, whichever engine runs them: boxes by distances to their sides, overlaps, assignment.

Boxes are xyxy; anchors come as one (HWA, 4) a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou


def centers(boxes: Tensor) -> Tensor:
    """(..., 2) of boxes (..., 4)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def side_deltas(distances: Tensor) -> Tensor:
    """Deltas (..., 4) of boxes whose sides lie `distances` (..., 4) from an anchor's centre: left, top, right, bottom.

    Distances are in widths and heights of the anchor; the deltas are (dx, dy, dw, dh) of unit variances.
    """
    left, top, right, bottom = distances.unbind(-1)
    sizes = torch.stack([left + right, top + bottom], dim=-1).clamp(min=1e-6)  # an empty box has no logarithm
    return torch.cat([torch.stack([right - left, bottom - top], dim=-1) / 2, sizes.log()], dim=-1)


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU (M,) of pairs of boxes (M, 4)."""
    near = torch.maximum(boxes[:, :2], others[:, :2])
    shared = (torch.minimum(boxes[:, 2:], others[:, 2:]) - near).clamp(min=0).prod(1)
    areas = [(each[:, 2:] - each[:, :2]).prod(1) for each in (boxes, others)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-6)


def near_anchors(anchors: Sequence[Tensor], boxes: Tensor, nearest: int) -> Tensor:
    """Which anchors, bool (sum HWA, n), are among the `nearest` of their level to each of n boxes, by their centres."""
    levels = []
    for level in anchors:
        apart = (centers(level)[:, None] - centers(boxes)).square().sum(-1)
        first = apart.topk(min(nearest, len(level)), dim=0, largest=False).indices
        levels.append(torch.zeros_like(apart, dtype=torch.bool).scatter(0, first, True))
    return torch.cat(levels)


def adaptive_threshold(overlaps: Tensor, near: Tensor) -> Tensor:
    """ATSS's threshold (n,) of each box: mean and unbiased deviation of the IoUs (sum HWA, n) of its near anchors."""
    candidates = overlaps.mT[near.mT].view(overlaps.shape[1], -1)
    spread = candidates.std(1) if candidates.shape[1] > 1 else 0.0
    return candidates.mean(1) + spread


def atss(anchors: Sequence[Tensor], boxes: Tensor, nearest: int) -> Tensor:
    """The box (index) of each anchor (sum HWA,), -1 for background.

    Adaptive training sample selection (Zhang et al., CVPR 2020, arXiv 1912.02424): of the `nearest` anchors a level,
    those whose IoU reaches the box's `adaptive_threshold` and whose centre lies in the box, by more than 0.01 pixels
    as in the release. An anchor of several boxes belongs to the one that it overlaps most.
    """
    every = torch.cat(list(anchors))
    if len(boxes) == 0:
        return every.new_full((len(every),), -1, dtype=torch.int64)
    overlaps, near = box_iou(every, boxes), near_anchors(anchors, boxes, nearest)
    middle = centers(every)[:, None]
    inside = torch.cat([middle - boxes[:, :2], boxes[:, 2:] - middle], dim=-1).amin(-1) > 0.01
    positive = near & inside & (overlaps >= adaptive_threshold(overlaps, near))
    best, matched = overlaps.masked_fill(~positive, -1.0).max(1)
    return torch.where(best >= 0, matched, -1)
