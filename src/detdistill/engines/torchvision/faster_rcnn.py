"""torchvision's Faster R-CNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

from detdistill.detectors.base import Taps, Target
from detdistill.detectors.recorder import Call, Recorder
from detdistill.detectors.resnet_fpn import Positive
from detdistill.engines.torchvision.backbone import BackboneParams
from detdistill.engines.torchvision.detector import (
    SHARED_SOURCES,
    Length,
    SmallTrunkParams,
    TorchvisionDetector,
    TorchvisionParams,
    per_anchor,
)


class TwoStageParams(TorchvisionParams):
    """Sizes of the heads. Numbers of proposals and samples hold for one image."""

    family: Literal["faster_rcnn"]
    rpn_batch: Positive = 256
    rpn_pre_nms: Positive = 1000
    rpn_post_nms: Positive = 300
    roi_batch: Positive = 128
    roi_positives: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the sampled RoIs that may be positive."""
    roi_size: Annotated[int, Field(gt=0, le=256)] = 7
    roi_canonical: Annotated[float, Field(gt=0)] = 224.0
    """Side in pixels of the box that belongs to stride 16; half of it belongs to stride 8, and so on (Lin et al.,
    arXiv 1612.03144, equation 1). A smaller one sends small boxes to coarse levels, where few cells are left of them:
    on `digits`, boxes of 10 to 40 pixels, the teacher's AP50 was 83.4 with 224, 80.4 with 56 and 56.9 with 27."""
    roi_samples: Annotated[int, Field(gt=0, le=256)] = 2
    """Samples along each side of a RoIAlign bin."""
    hidden: Positive = 1024


class FasterRCNNParams(SmallTrunkParams, TwoStageParams):
    """Faster R-CNN on a small trunk."""


class FasterRCNNOnBackboneParams(BackboneParams, TwoStageParams):
    """Faster R-CNN on a backbone of torchvision. Defaults: torchvision's published ones."""

    dense = False
    published = FasterRCNN_ResNet50_FPN_Weights.COCO_V1

    anchors: list[Annotated[list[Length], Field(min_length=1)]] = [[32.0], [64.0], [128.0], [256.0], [512.0]]
    aspect_ratios: Annotated[list[Length], Field(min_length=1)] = [0.5, 1.0, 2.0]
    rpn_post_nms: Positive = 1000
    roi_batch: Positive = 512


def _whole(head: nn.Module, inputs: Any, outputs: tuple[list[Tensor], list[Tensor]]) -> Any:
    """The RPN's logits and deltas in 32 bits: proposals have the precision that deltas have."""
    return tuple([level.float() for level in levels] for levels in outputs)


class FasterRCNNDetector(TorchvisionDetector):
    """torchvision's Faster R-CNN. Its background is label 0; ours is the last column."""

    background = "softmax"
    class_layers = ("roi_heads.box_predictor.",)
    label_offset = 1
    sources = SHARED_SOURCES | {
        "anchors": "rpn.anchor_generator",
        "anchor_labels": "rpn.anchor_generator",
        "anchor_targets": "rpn.anchor_generator",
        "rpn_logits": "rpn.head",
        "rpn_deltas": "rpn.head",
        "roi_boxes": "roi_heads.box_roi_pool",
        "roi_labels": "roi_heads.box_roi_pool",
        "roi_targets": "roi_heads.box_roi_pool",
        "roi_maps": "roi_heads.box_roi_pool",
        "roi_features": "roi_heads.box_head",
        "roi_logits": "roi_heads.box_predictor",
        "roi_deltas": "roi_heads.box_predictor",
    }

    def __init__(self, sizes: FasterRCNNParams | FasterRCNNOnBackboneParams, num_classes: int):
        backbone: Any = sizes.trunk()
        stages = len(backbone.fpn.inner_blocks)  # a pooled level above them is for the RPN alone
        model = FasterRCNN(
            backbone,
            rpn_anchor_generator=sizes.anchor_generator(),
            rpn_pre_nms_top_n_train=sizes.rpn_pre_nms,
            rpn_pre_nms_top_n_test=sizes.rpn_pre_nms,
            rpn_post_nms_top_n_train=sizes.rpn_post_nms,
            rpn_post_nms_top_n_test=sizes.rpn_post_nms,
            rpn_batch_size_per_image=sizes.rpn_batch,
            box_roi_pool=MultiScaleRoIAlign(
                [str(stride) for stride in sizes.strides[:stages]],
                sizes.roi_size,
                sizes.roi_samples,
                canonical_scale=sizes.roi_canonical,
            ),
            box_head=TwoMLPHead(backbone.out_channels * sizes.roi_size**2, sizes.hidden),
            box_predictor=FastRCNNPredictor(sizes.hidden, num_classes + 1),
            box_batch_size_per_image=sizes.roi_batch,
            box_positive_fraction=sizes.roi_positives,
            box_detections_per_img=sizes.detections,
        )
        super().__init__(model, sizes, num_classes)
        model.rpn.head.register_forward_hook(_whole)
        self.rpn_batch = sizes.rpn_batch

    def _forward(self, batch: ImageList, modules: set[str], roi_boxes: Sequence[Tensor] | None) -> None:
        features = self.model.backbone(batch.tensors)
        if "rpn.anchor_generator" in modules:
            self.model.rpn.anchor_generator(batch, list(features.values()))
        if "rpn.head" in modules:
            self.model.rpn.head(list(features.values()))
        if any(module.startswith("roi_heads") for module in modules):
            self._forward_rois(features, batch.image_sizes, modules, list(roi_boxes or []))

    def _forward_rois(
        self, neck: dict[str, Tensor], sizes: list[tuple[int, int]], modules: set[str], roi_boxes: list[Tensor]
    ) -> None:
        heads = self.model.roi_heads
        maps = heads.box_roi_pool(neck, roi_boxes, sizes)
        if modules & {"roi_heads.box_head", "roi_heads.box_predictor"}:
            heads.box_predictor(heads.box_head(maps))

    def observe_rois(self, taps: Taps, wanted: frozenset[str], roi_boxes: Sequence[Tensor]) -> Taps:
        modules = {self.sources[tap] for tap in wanted}
        with Recorder(self.model, sorted(modules)) as recorder:
            self._forward_rois(taps.neck, taps.image_sizes, modules, list(roi_boxes))
        self._read(taps, recorder.calls, None)
        return taps

    def _assign_anchors(self, anchors: dict[str, Tensor], targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
        every = [torch.cat(list(anchors.values()))] * len(targets)
        labels, boxes = self.model.rpn.assign_targets_to_anchors(every, list(targets))
        deltas = self.model.rpn.box_coder.encode(boxes, every)
        # torchvision says 1 positive, 0 background, -1 ignored; the schema says 0, -1, -2.
        return torch.stack(labels).long() - 1, torch.stack(deltas)

    def _read(self, taps: Taps, calls: dict[str, list[Call]], targets: Sequence[Target] | None) -> None:
        for call in calls["rpn.head"]:
            logits, deltas = call.output
            taps.rpn_logits = {s: per_anchor(x, 1).squeeze(2) for s, x in zip(taps.neck, logits, strict=True)}
            taps.rpn_deltas = {s: per_anchor(x, 4) for s, x in zip(taps.neck, deltas, strict=True)}
        for call in calls["roi_heads.box_roi_pool"]:
            taps.roi_boxes, taps.roi_maps = list(call.args[1]), call.output
            if targets is not None:
                taps.roi_labels, taps.roi_targets = self._assign_rois(taps.roi_boxes, targets)
        for call in calls["roi_heads.box_head"]:
            taps.roi_features = call.output
        for call in calls["roi_heads.box_predictor"]:
            logits, deltas = call.output
            taps.roi_logits = logits.roll(-1, dims=1)
            taps.roi_deltas = deltas.unflatten(1, (-1, 4))[:, 1:]

    @torch.no_grad()
    def _assign_rois(self, boxes: list[Tensor], targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
        heads = self.model.roi_heads
        gt_boxes = [target["boxes"] for target in targets]
        matched, labels = heads.assign_targets_to_proposals(boxes, gt_boxes, [t["labels"] + 1 for t in targets])
        # An image without objects has no row to index: its boxes are all background, so any target will do.
        rows = [gt if len(gt) else gt.new_zeros(1, 4) for gt in gt_boxes]
        deltas = heads.box_coder.encode([gt[index] for gt, index in zip(rows, matched, strict=True)], boxes)
        return (torch.cat(labels) - 1) % (self.num_classes + 1), torch.cat(deltas)
