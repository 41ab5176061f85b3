"""Generalized Focal Loss, whichever engine runs it (Li et al., NeurIPS 2020, arXiv 2006.04388).

One anchor a location, assigned by ATSS. A class score is trained to be the IoU of its box, and each edge of a box is a
distribution of its distance from the location. i: the positives, w_i: their best class score, a number to the gradient.
L = sum over anchors and classes of |q - s(z)|^2 BCE(z, q) / number of positives
  + [ sum_i w_i (2 (1 - GIoU_i) + 0.25 DFL_i) ] / sum_i w_i,  DFL_i: mean over the edges of
    - (y_{l+1} - y) log p_l - (y - y_l) log p_{l+1},  y between the bins l and l + 1, p the softmax of the edge's logits
q: the IoU at a positive's class, else 0. Both divisors, the first an image, are at least 1. Weights, beta = 2 and
divisors are those of the release (GFLHead of open-mmlab/mmdetection), as is NMS at 0.6.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from detdistill.detectors.dense import centers, paired_iou

BETA, BOX_WEIGHT, DISTRIBUTION_WEIGHT = 2.0, 2.0, 0.25
NMS_IOU = 0.6
MARGIN = 0.1
"""How far below the last bin a distance is kept, so that there are two bins beside it."""


def expected(edges: Tensor) -> Tensor:
    """The mean distance (...) in bins of logits (..., bins + 1)."""
    return (edges.softmax(-1) * torch.arange(edges.shape[-1], device=edges.device)).sum(-1)


def quality_focal_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """Sum of |q - s(z)|^2 BCE(z, q), a scalar; logits and quality (M, K)."""
    entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return ((logits.sigmoid() - quality).abs() ** BETA * entropy).sum()


def distribution_focal_loss(edges: Tensor, distances: Tensor) -> Tensor:
    """Cross-entropy (...) with the two bins beside a distance: logits (..., bins + 1), distances (...) below bins."""
    below = distances.floor()
    logs = edges.log_softmax(-1)
    beside = torch.stack([below, below + 1], dim=-1).long()
    shares = torch.stack([below + 1 - distances, distances - below], dim=-1)
    return -(shares * logs.gather(-1, beside)).sum(-1)


def losses(
    logits: Tensor,
    edges: Tensor,
    anchors: Tensor,
    strides: Tensor,
    positive: Tensor,
    boxes: Tensor,
    labels: Tensor,
) -> dict[str, Tensor]:
    """The three terms, weighted, as scalars.

    Args:
        logits: (N, M, K) of all M anchors of an image, whatever their level.
        edges: (N, M, 4, bins + 1).
        anchors: (M, 4) xyxy.
        strides: (M,) of their levels, in pixels.
        positive: bool (N, M), which anchors have an object.
        boxes, labels: (P, 4) xyxy and (P,), the objects of the P positive ones, in their order.
    """
    image, row = positive.nonzero(as_tuple=True)
    middle, stride = centers(anchors[row]).float(), strides[row][:, None]
    predicted = edges[positive]
    sides = expected(predicted) * stride
    found = torch.cat([middle - sides[:, :2], middle + sides[:, 2:]], dim=1)
    true_sides = torch.cat([middle - boxes[:, :2], boxes[:, 2:] - middle], dim=1)
    distances = (true_sides / stride).clamp(min=0, max=edges.shape[-1] - 1 - MARGIN)
    quality = torch.zeros_like(logits)
    quality[image, row, labels] = paired_iou(found.detach(), boxes)
    weights = logits.detach()[positive].sigmoid().amax(1)
    divisor = weights.sum().clamp(min=1)
    apart, spread = generalized_box_iou_loss(found, boxes), distribution_focal_loss(predicted, distances).mean(1)
    return {
        "quality": quality_focal_loss(logits, quality) / positive.sum(1).clamp(min=1).sum(),
        "boxes": BOX_WEIGHT * (weights * apart).sum() / divisor,
        "distribution": DISTRIBUTION_WEIGHT * (weights * spread).sum() / divisor,
    }
