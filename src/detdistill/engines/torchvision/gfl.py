"""GFL on torchvision's RetinaNet; what both engines share of it is in `detectors.gfl`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.retinanet import RetinaNetClassificationHead, RetinaNetRegressionHead

from detdistill.detectors.base import Taps, Target
from detdistill.detectors.dense import atss, side_deltas
from detdistill.detectors.gfl import NMS_IOU, expected, losses
from detdistill.detectors.recorder import Call
from detdistill.detectors.resnet_fpn import Positive
from detdistill.engines.torchvision.backbone import BackboneParams
from detdistill.engines.torchvision.detector import Length, SmallTrunkParams, per_anchor
from detdistill.engines.torchvision.retinanet import DenseParams, RetinaNetDetector


class GFLSizes(DenseParams):
    """GFL. The release has anchors of 8 strides and 32 `norm_groups`."""

    family: Literal["gfl"]
    anchors: list[Annotated[list[Length], Field(min_length=1, max_length=1)]]
    """One anchor size in pixels a level. It decides what ATSS assigns, not how large a box can be."""
    aspect_ratios: Annotated[list[Length], Field(min_length=1, max_length=1)] = [1.0]
    bins: Annotated[int, Field(gt=0, le=256)] = 16
    """The largest distance of an edge from its location, in strides (`reg_max` of the release)."""
    nearest: Positive = 9
    """Anchors a level that ATSS considers for an object (arXiv 1912.02424)."""


class GFLParams(SmallTrunkParams, GFLSizes):
    """GFL on a small trunk."""


class GFLOnBackboneParams(BackboneParams, GFLSizes):
    """GFL on a backbone of torchvision, with the release's anchors and normalisation."""

    dense = True

    anchors: list[Annotated[list[Length], Field(min_length=1, max_length=1)]] = [
        [8.0 * stride] for stride in (8, 16, 32, 64, 128)
    ]
    norm_groups: Positive | None = 32


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
        edges, strides = head_outputs["bbox_regression"], self.strides[levels[0]]
        return losses(logits, edges, anchors[0], strides, positive, boxes, labels)

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
        self.nearest = sizes.nearest
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
