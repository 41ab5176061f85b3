"""Generalized Focal Loss on torchvision's RetinaNet (Li et al., NeurIPS 2020, arXiv 2006.04388).

One anchor a location, assigned by ATSS. A class score is trained to be the IoU of its box, and each edge of a box is a
distribution of its distance from the location. i: the positives, w_i: their best class score, a number to the gradient.
L = sum over anchors and classes of |q - s(z)|^2 BCE(z, q) / number of positives
  + [ sum_i w_i (2 (1 - GIoU_i) + 0.25 DFL_i) ] / sum_i w_i,  DFL_i: mean over the edges of
    - (y_{l+1} - y) log p_l - (y - y_l) log p_{l+1},  y between the bins l and l + 1, p the softmax of the edge's logits
q: the IoU at a positive's class, else 0. Both divisors, the first an image, are at least 1. Weights, beta = 2 and
divisors are those of the release (GFLHead of open-mmlab/mmdetection), as is NMS at 0.6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.retinanet import RetinaNetClassificationHead, RetinaNetRegressionHead
from torchvision.ops import generalized_box_iou_loss

from detdistill.detectors.base import Taps, Target
from detdistill.detectors.dense import atss, centers, paired_iou, side_deltas
from detdistill.detectors.recorder import Call
from detdistill.detectors.resnet_fpn import Positive
from detdistill.engines.torchvision.detector import Length, per_anchor
from detdistill.engines.torchvision.retinanet import DenseParams, RetinaNetDetector

BETA, BOX_WEIGHT, DISTRIBUTION_WEIGHT = 2.0, 2.0, 0.25
NMS_IOU = 0.6
MARGIN = 0.1
"""How far below the last bin a distance is kept, so that there are two bins beside it."""


class GFLParams(DenseParams):
    """GFL. The release has anchors of 8 strides and 32 `norm_groups`."""

    family: Literal["gfl"]
    anchors: list[Annotated[list[Length], Field(min_length=1, max_length=1)]]
    """One anchor size in pixels a level. It decides what ATSS assigns, not how large a box can be."""
    aspect_ratios: Annotated[list[Length], Field(min_length=1, max_length=1)] = [1.0]
    bins: Annotated[int, Field(gt=0, le=256)] = 16
    """The largest distance of an edge from its location, in strides (`reg_max` of the release)."""
    nearest: Positive = 9
    """Anchors a level that ATSS considers for an object (arXiv 1912.02424)."""


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


class DistributionHead(RetinaNetRegressionHead):
    """torchvision's box tower with a distribution an edge, its logits scaled by a learned number a level."""

    def __init__(self, channels: int, bins: int, levels: int, norm: Callable[..., nn.Module] | None):
        super().__init__(channels, bins + 1, norm_layer=norm)
        self.scales = nn.Parameter(torch.ones(levels))

    def finish(self, features: Tensor, level: int) -> Tensor:
        """Logits (N, HW, 4, bins + 1) of the tower's features (N, C, H, W); float32, as the release has them."""
        output = per_anchor(self.scales[level] * self.bbox_reg(features), self.bbox_reg.out_channels)
        return output.float().unflatten(-1, (4, -1))

    def forward(self, features: list[Tensor]) -> Tensor:
        """(N, sum HW, 4, bins + 1)."""
        return torch.cat([self.finish(self.conv(each), level) for level, each in enumerate(features)], dim=1)


class GFLHead(nn.Module):
    """The two towers. Beside their outputs it tells each location's level, (1, sum HW)."""

    def __init__(self, channels: int, num_classes: int, bins: int, levels: int, norm: Callable[..., nn.Module] | None):
        super().__init__()
        self.classification_head = RetinaNetClassificationHead(channels, 1, num_classes, norm_layer=norm)
        self.regression_head = DistributionHead(channels, bins, levels, norm)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        levels = [
            torch.full((1, each.shape[2] * each.shape[3]), level, device=each.device)
            for level, each in enumerate(features)
        ]
        return {
            "cls_logits": self.classification_head(features),
            "bbox_regression": self.regression_head(features),
            "levels": torch.cat(levels, dim=1),
        }


class GFL(RetinaNet):
    """torchvision's RetinaNet with the losses, the assignment and the boxes of GFL.

    Args:
        strides: of each level, in pixels.
        nearest: see `GFLParams`.
        settings: those of RetinaNet, with a `GFLHead`.
    """

    strides: Tensor

    def __init__(self, strides: Sequence[int], nearest: int, **settings: Any):
        super().__init__(**settings, nms_thresh=NMS_IOU)
        self.nearest = nearest
        self.register_buffer("strides", torch.tensor(strides), persistent=False)

    def deltas(self, edges: Tensor, level: int) -> Tensor:
        """(N, HW, 4) of the level's anchors, for logits (N, HW, 4, bins + 1)."""
        anchor = self.anchor_generator.cell_anchors[level][0].to(edges)
        return side_deltas(expected(edges) * self.strides[level] / (anchor[2:] - anchor[:2]).repeat(2))

    def compute_loss(
        self, targets: list[Target], head_outputs: dict[str, Tensor], anchors: list[Tensor]
    ) -> dict[str, Tensor]:
        logits, levels = head_outputs["cls_logits"].float(), head_outputs["levels"]
        sizes = levels[0].unique_consecutive(return_counts=True)[1].tolist()
        matched = [
            atss(each.split(sizes), target["boxes"], self.nearest)
            for each, target in zip(anchors, targets, strict=True)
        ]
        positive = torch.stack(matched) >= 0
        boxes, labels = (
            torch.cat([target[key][rows[rows >= 0]] for target, rows in zip(targets, matched, strict=True)])
            for key in ("boxes", "labels")
        )
        middle = centers(torch.stack(anchors)[positive]).float()
        strides = self.strides[levels].expand_as(positive)[positive][:, None]
        edges = head_outputs["bbox_regression"][positive]
        sides = expected(edges) * strides
        found = torch.cat([middle - sides[:, :2], middle + sides[:, 2:]], dim=1)
        true_sides = torch.cat([middle - boxes[:, :2], boxes[:, 2:] - middle], dim=1)
        distances = (true_sides / strides).clamp(min=0, max=edges.shape[-1] - 1 - MARGIN)
        quality = torch.zeros_like(logits)
        quality[(*positive.nonzero(as_tuple=True), labels)] = paired_iou(found.detach(), boxes)
        weights = logits.detach()[positive].sigmoid().amax(1)
        divisor = weights.sum().clamp(min=1)
        apart, spread = generalized_box_iou_loss(found, boxes), distribution_focal_loss(edges, distances).mean(1)
        return {
            "quality": quality_focal_loss(logits, quality) / positive.sum(1).clamp(min=1).sum(),
            "boxes": BOX_WEIGHT * (weights * apart).sum() / divisor,
            "distribution": DISTRIBUTION_WEIGHT * (weights * spread).sum() / divisor,
        }

    def postprocess_detections(
        self, head_outputs: dict[str, list[Tensor]], anchors: list[list[Tensor]], image_shapes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        deltas = [self.deltas(edges, level) for level, edges in enumerate(head_outputs["bbox_regression"])]
        return super().postprocess_detections({**head_outputs, "bbox_regression": deltas}, anchors, image_shapes)


class GFLDetector(RetinaNetDetector):
    """GFL: K sigmoid logits a location, which are scores of its box, too. Its deltas are the means of `head_edges`."""

    sources = RetinaNetDetector.sources | {"head_edges": "head.regression_head"}

    def _build(self, sizes: Any, norm: Callable[..., nn.Module] | None, **shared: Any) -> RetinaNet:
        head = GFLHead(sizes.neck_channels, shared["num_classes"], sizes.bins, len(sizes.strides), norm)
        return GFL(sizes.strides, sizes.nearest, **shared, head=head)

    def _predict_boxes(self, taps: Taps, towers: dict[str, Tensor]) -> None:
        levels = {stride: self.model.strides.tolist().index(int(stride)) for stride in towers}
        taps.head_edges = {s: self.model.head.regression_head.finish(x, levels[s]) for s, x in towers.items()}
        taps.head_deltas = {s: self.model.deltas(x, levels[s]) for s, x in taps.head_edges.items()}

    def _match(self, anchors: dict[str, Tensor], boxes: Tensor) -> Tensor:
        return atss(list(anchors.values()), boxes, self.model.nearest)

    def _read(self, taps: Taps, calls: dict[str, list[Call]], targets: Sequence[Target] | None) -> None:
        super()._read(taps, calls, targets)
        taps.head_edges = taps.head_deltas
        taps.head_deltas = {
            stride: self.model.deltas(edges, level) for level, (stride, edges) in enumerate(taps.head_edges.items())
        }
