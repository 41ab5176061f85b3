"""GFL on Detectron2's RetinaNet; what both engines share of it is in `detectors.gfl`."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.modeling.meta_arch import RetinaNet
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from detdistill.detectors.base import Taps
from detdistill.detectors.dense import atss, side_deltas
from detdistill.detectors.gfl import expected, losses
from detdistill.engines.detectron2.dense import DenseDetector
from detdistill.engines.detectron2.detector import per_anchor
from detdistill.engines.detectron2.params import Preparation


class GFL(RetinaNet):
    """Detectron2's RetinaNet with the losses, the assignment and the boxes of GFL.

    Args:
        bins, nearest: see `GFLParams`.
        settings: those of RetinaNet, with a head of one anchor a location.
    """

    def __init__(self, bins: int, nearest: int, **settings: Any):
        super().__init__(**settings)
        self.nearest = nearest
        self.scales = nn.Parameter(torch.ones(len(self.head_in_features)))
        self.head.bbox_pred = nn.Conv2d(self.head.bbox_pred.in_channels, 4 * (bins + 1), 3, padding=1)
        nn.init.normal_(self.head.bbox_pred.weight, std=0.01)
        nn.init.zeros_(self.head.bbox_pred.bias)

    def edges(self, predicted: Tensor, level: int) -> Tensor:
        """Logits (N, HW, 4, bins + 1), float32, of what the box tower predicts on a level, (N, 4 (bins + 1), H, W)."""
        return per_anchor(self.scales[level] * predicted, predicted.shape[1]).float().unflatten(-1, (4, -1))

    def deltas(self, edges: Tensor, level: int) -> Tensor:
        """(N, HW, 4) of the level's anchors, for logits (N, HW, 4, bins + 1)."""
        anchor = list(self.anchor_generator.cell_anchors)[level][0].to(edges)
        stride = self.anchor_generator.strides[level]
        return side_deltas(expected(edges) * stride / (anchor[2:] - anchor[:2]).repeat(2))

    def forward_training(
        self, images: Any, features: list[Tensor], predictions: list[list[Tensor]], gt_instances: list[Instances]
    ) -> dict[str, Tensor]:
        logits = [per_anchor(each, self.num_classes) for each in predictions[0]]
        edges = [self.edges(each, level) for level, each in enumerate(predictions[1])]
        anchors = self.anchor_generator(features)
        labels, boxes = self.label_anchors(anchors, gt_instances)
        return self.losses(anchors, logits, labels, edges, boxes)

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_edges: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """As RetinaNet's, of edges (N, HW, 4, bins + 1) a level."""
        labels, boxes = torch.stack(gt_labels), torch.stack(gt_boxes)
        positive = labels != self.num_classes
        strides = torch.cat(
            [
                torch.full((len(level),), stride, device=labels.device)
                for level, stride in zip(anchors, self.anchor_generator.strides, strict=True)
            ]
        )
        return losses(
            torch.cat(pred_logits, dim=1).float(),
            torch.cat(pred_edges, dim=1),
            Boxes.cat(anchors).tensor,
            strides,
            positive,
            boxes[positive],
            labels[positive],
        )

    @torch.no_grad()
    def label_anchors(self, anchors: list[Boxes], gt_instances: list[Instances]) -> tuple[list[Tensor], list[Tensor]]:
        """As RetinaNet's, by ATSS; none is ignored."""
        labels, boxes = [], []
        for image in gt_instances:
            matched = atss([level.tensor for level in anchors], image.gt_boxes.tensor, self.nearest)
            positive = matched >= 0
            labels.append(torch.full_like(matched, self.num_classes))
            labels[-1][positive] = image.gt_classes[matched[positive]]
            boxes.append(image.gt_boxes.tensor.new_zeros(len(matched), 4))
            boxes[-1][positive] = image.gt_boxes.tensor[matched[positive]]
        return labels, boxes

    def forward_inference(
        self, images: Any, features: list[Tensor], predictions: list[list[Tensor]]
    ) -> list[Instances]:
        logits, predicted = predictions
        deltas = [
            self.deltas(self.edges(each, level), level).mT.unflatten(-1, each.shape[2:])
            for level, each in enumerate(predicted)
        ]
        return super().forward_inference(images, features, [logits, deltas])


class GFLDetector(DenseDetector):
    """GFL: K sigmoid logits a location, which are scores of its box, too. Its deltas are the means of `head_edges`."""

    sources = DenseDetector.sources | {"head_edges": "head"}

    def __init__(self, model: GFL, preparation: Preparation, num_classes: int):
        super().__init__(model, preparation, num_classes)
        self.nearest = model.nearest

    def _put_boxes(self, taps: Taps, predicted: dict[str, Tensor]) -> None:
        strides = self.model.anchor_generator.strides
        levels = {stride: strides.index(int(stride)) for stride in predicted}
        taps.head_edges = {stride: self.model.edges(x, levels[stride]) for stride, x in predicted.items()}
        taps.head_deltas = {stride: self.model.deltas(x, levels[stride]) for stride, x in taps.head_edges.items()}
