"""Detectron2's Faster R-CNN behind our interface."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor, nn

from detdistill.detectors.base import Taps
from detdistill.detectors.recorder import Call, Recorder
from detdistill.engines.detectron2.detector import SHARED_SOURCES, UNIT, Detectron2Detector, per_anchor, unit
from detdistill.engines.detectron2.params import Preparation


class FasterRCNNDetector(Detectron2Detector):
    """Detectron2's GeneralizedRCNN with standard heads."""

    background = "softmax"
    anchors_in = "proposal_generator."
    sources = SHARED_SOURCES | {
        "rpn_logits": "proposal_generator.rpn_head",
        "rpn_deltas": "proposal_generator.rpn_head",
        "roi_boxes": "roi_heads.box_pooler",
        "roi_maps": "roi_heads.box_pooler",
        "roi_features": "roi_heads.box_head",
        "roi_logits": "roi_heads.box_predictor",
        "roi_deltas": "roi_heads.box_predictor",
        "roi_labels": "roi_heads",
        "roi_targets": "roi_heads",
    }

    def __init__(self, model: nn.Module, preparation: Preparation, num_classes: int):
        super().__init__(model, preparation, num_classes)
        self.rpn_batch = self.model.proposal_generator.batch_size_per_image

    @property
    def head_levels(self) -> Sequence[str]:
        return self.model.proposal_generator.in_features

    def _forward(self, features: dict[str, Tensor], modules: set[str], roi_boxes: Sequence[Tensor] | None) -> None:
        rpn = self.model.proposal_generator
        levels = [features[name] for name in rpn.in_features]
        if self.anchor_source in modules:
            rpn.anchor_generator(levels)
        if "proposal_generator.rpn_head" in modules:
            rpn.rpn_head(levels)
        if any(module.startswith("roi_heads") for module in modules):
            self._forward_rois({self.strides[name]: each for name, each in features.items()}, modules, roi_boxes or [])

    def _forward_rois(self, neck: dict[str, Tensor], modules: set[str], roi_boxes: Sequence[Tensor]) -> None:
        heads = self.model.roi_heads
        levels = [neck[self.strides[name]] for name in heads.box_in_features]
        maps = heads.box_pooler(levels, list(map(Boxes, roi_boxes)))
        if modules & {"roi_heads.box_head", "roi_heads.box_predictor"}:
            heads.box_predictor(heads.box_head(maps))

    def observe_rois(self, taps: Taps, wanted: frozenset[str], roi_boxes: Sequence[Tensor]) -> Taps:
        modules = {self.sources[tap] for tap in wanted}
        with Recorder(self.model, sorted(modules)) as recorder:
            self._forward_rois(taps.neck, modules, roi_boxes)
        self._read(taps, recorder.calls)
        return taps

    @torch.no_grad()
    def _assign_anchors(self, anchors: list[Boxes], instances: list[Instances]) -> tuple[Tensor, Tensor]:
        rpn, boxes = self.model.proposal_generator, Boxes.cat(anchors)
        labels, targets = [], []
        for each in instances:
            matched, label = rpn.anchor_matcher(pairwise_iou(each.gt_boxes, boxes))
            truth = each.gt_boxes.tensor[matched] if len(each) else boxes.tensor
            labels.append(label.long() - 1)  # Detectron2: 1 positive, 0 background, -1 ignored
            targets.append(UNIT.get_deltas(boxes.tensor, truth))
        return torch.stack(labels), torch.stack(targets)

    def _read(self, taps: Taps, calls: dict[str, list[Call]]) -> None:
        for call in calls["proposal_generator.rpn_head"]:
            logits, deltas = call.output
            taps.rpn_logits = self._levels([per_anchor(each, 1).squeeze(2) for each in logits])
            weights = self.model.proposal_generator.box2box_transform.weights
            taps.rpn_deltas = self._levels([unit(per_anchor(each, 4), weights) for each in deltas])
        for call in calls["roi_heads.box_pooler"]:
            taps.roi_boxes, taps.roi_maps = [boxes.tensor for boxes in call.args[1]], call.output
        for call in calls["roi_heads.box_head"]:
            taps.roi_features = call.output
        for call in calls["roi_heads.box_predictor"]:
            taps.roi_logits, deltas = call.output
            taps.roi_deltas = deltas.unflatten(1, (-1, 4)).expand(-1, self.num_classes, -1)
        for call in calls["roi_heads"]:
            sampled, _ = call.output
            taps.roi_labels = torch.cat([each.gt_classes for each in sampled])
            boxes = torch.cat([each.proposal_boxes.tensor for each in sampled])
            # In an image without objects Detectron2 gives its boxes no object to be moved to.
            truth = torch.cat(
                [(each.gt_boxes if each.has("gt_boxes") else each.proposal_boxes).tensor for each in sampled]
            )
            taps.roi_targets = self.model.roi_heads.box_predictor.box2box_transform.get_deltas(boxes, truth)
