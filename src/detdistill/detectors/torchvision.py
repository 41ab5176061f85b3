"""The torchvision engine: Faster R-CNN and RetinaNet on a small ResNet-FPN that trains from nothing.

The model, its losses, sampling and assignment are torchvision's own; this module sizes them and reads their tensors.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import MultiScaleRoIAlign, box_iou

from detdistill.detectors.base import Detections, Detector, Taps, Target
from detdistill.detectors.recorder import Call, Recorder
from detdistill.detectors.resnet_fpn import KeepSize, Positive, ResNetFPN, ResNetFPNParams
from detdistill.errors import UserError, near
from detdistill.params import parse


class TorchvisionParams(ResNetFPNParams):
    """What both families have beside backbone and neck."""

    family: str
    anchors: list[list[float]]
    """Anchor sizes in pixels, one list a level."""
    aspect_ratios: list[float] = [1.0]
    """Height over width."""
    detections: Positive = 100

    def anchor_generator(self) -> AnchorGenerator:
        """torchvision's own, every aspect ratio at every size."""
        return AnchorGenerator(tuple(map(tuple, self.anchors)), (tuple(self.aspect_ratios),) * len(self.anchors))


class FasterRCNNParams(TorchvisionParams):
    """Faster R-CNN. Numbers of proposals and samples hold for one image."""

    family: Literal["faster_rcnn"]
    rpn_batch: Positive = 256
    rpn_pre_nms: Positive = 1000
    rpn_post_nms: Positive = 300
    roi_batch: Positive = 128
    roi_positives: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the sampled RoIs that may be positive."""
    roi_size: Positive = 7
    roi_samples: Positive = 2
    """Samples along each side of a RoIAlign bin."""
    hidden: Positive = 1024


class RetinaNetParams(TorchvisionParams):
    """RetinaNet. `candidates` is the number of scored anchors a level that enter NMS."""

    family: Literal["retinanet"]
    candidates: Positive = 1000
    norm_groups: Positive | None = None
    """Group normalisation in the towers, as in torchvision's second RetinaNet; without it, they start slowly."""


def build(params: dict[str, Any], num_classes: int, where: str) -> Detector:
    """The untrained detector of `params["family"]`. Raises UserError for an unknown family or key."""
    families: dict[str, tuple[type[TorchvisionParams], Any]] = {
        "faster_rcnn": (FasterRCNNParams, FasterRCNNDetector),
        "retinanet": (RetinaNetParams, RetinaNetDetector),
    }
    family = params.get("family")
    if family not in families:
        raise UserError(f"{where}: detector.family: torchvision has no family {family!r}{near(str(family), families)}")
    schema, detector = families[family]
    sizes: Any = parse(schema, params, f"{where}: detector")
    if len(sizes.anchors) != len(sizes.widths):
        raise UserError(
            f"{where}: detector.anchors: one list of sizes a level is needed, found {len(sizes.anchors)} for "
            f"{len(sizes.widths)} widths"
        )
    return detector(sizes, num_classes)


class TorchvisionDetector(Detector):
    """What Faster R-CNN and RetinaNet share: native forward under a recorder, and its calls read into the taps."""

    trunk = "backbone."
    label_offset: int
    """What torchvision adds to our 0-based labels: 1 where its label 0 is the background."""
    sources: dict[str, str]
    """tap -> the module it is read from."""

    def __init__(self, model: FasterRCNN | RetinaNet, sizes: TorchvisionParams, num_classes: int):
        super().__init__(model, num_classes)
        model.transform = KeepSize(0, 0, sizes.mean, sizes.std, size_divisible=sizes.strides[-1])
        self.taps = frozenset(self.sources)

    def training_step(
        self, images: Sequence[Tensor], targets: Sequence[Target], wanted: frozenset[str] = frozenset()
    ) -> tuple[dict[str, Tensor], Taps]:
        native = [{"boxes": t["boxes"], "labels": t["labels"] + self.label_offset} for t in targets]
        with self._recorder(wanted) as recorder:
            losses = self.model(list(images), native)
        return losses, self._taps(recorder.calls, wanted, targets)

    def observe(
        self, images: Sequence[Tensor], wanted: frozenset[str], roi_boxes: Sequence[Tensor] | None = None
    ) -> Taps:
        with self._recorder(wanted) as recorder:
            batch, _ = self.model.transform(list(images))
            self._forward(batch, {self.sources[tap] for tap in wanted}, roi_boxes)
        return self._taps(recorder.calls, wanted, None)

    def predict(self, images: Sequence[Tensor]) -> list[Detections]:
        return [{**found, "labels": found["labels"] - self.label_offset} for found in self.model(list(images))]

    def _recorder(self, wanted: frozenset[str]) -> Recorder:
        always = {"transform", "backbone.fpn", self.sources["anchors"]} if wanted else set()
        return Recorder(self.model, sorted(always | {self.sources[tap] for tap in wanted}))

    def _taps(self, calls: dict[str, list[Call]], wanted: frozenset[str], targets: Sequence[Target] | None) -> Taps:
        if not wanted:
            return Taps()
        stages, pyramid = calls["backbone.fpn"][0].args[0], calls["backbone.fpn"][0].output
        taps = Taps(image_size=tuple(calls["transform"][0].output[0].tensors.shape[-2:]), backbone=stages, neck=pyramid)
        if calls[self.sources["anchors"]]:
            anchors = calls[self.sources["anchors"]][0].output
            per_location = self._anchors_per_location()
            sizes = [feature.shape[-2] * feature.shape[-1] * per_location for feature in pyramid.values()]
            taps.anchors = dict(zip(pyramid, anchors[0].split(sizes), strict=True))
            if targets is not None and wanted & {"anchor_labels", "anchor_targets"}:
                taps.anchor_labels, taps.anchor_targets = self._assign_anchors(anchors, targets)
        self._read(taps, calls, targets)
        return taps

    def _anchors_per_location(self) -> int:
        return self.model.get_submodule(self.sources["anchors"]).num_anchors_per_location()[0]

    @abstractmethod
    def _forward(self, batch: ImageList, modules: set[str], roi_boxes: Sequence[Tensor] | None) -> None:
        """Run the model as far as the wanted modules need."""

    @abstractmethod
    def _assign_anchors(self, anchors: list[Tensor], targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
        """The native assignment as (N, sum HWA) labels and (N, sum HWA, 4) regression targets."""

    @abstractmethod
    def _read(self, taps: Taps, calls: dict[str, list[Call]], targets: Sequence[Target] | None) -> None:
        """Fill the family's own taps from what was recorded."""


SHARED_SOURCES = {"backbone": "backbone.fpn", "neck": "backbone.fpn"}


class FasterRCNNDetector(TorchvisionDetector):
    """torchvision's Faster R-CNN. Its background is label 0; ours is the last column."""

    background = "softmax"
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

    def __init__(self, sizes: FasterRCNNParams, num_classes: int):
        backbone = ResNetFPN(sizes)
        model = FasterRCNN(
            backbone,
            rpn_anchor_generator=sizes.anchor_generator(),
            rpn_pre_nms_top_n_train=sizes.rpn_pre_nms,
            rpn_pre_nms_top_n_test=sizes.rpn_pre_nms,
            rpn_post_nms_top_n_train=sizes.rpn_post_nms,
            rpn_post_nms_top_n_test=sizes.rpn_post_nms,
            rpn_batch_size_per_image=sizes.rpn_batch,
            box_roi_pool=MultiScaleRoIAlign(list(backbone.body), sizes.roi_size, sampling_ratio=sizes.roi_samples),
            box_head=TwoMLPHead(backbone.out_channels * sizes.roi_size**2, sizes.hidden),
            box_predictor=FastRCNNPredictor(sizes.hidden, num_classes + 1),
            box_batch_size_per_image=sizes.roi_batch,
            box_positive_fraction=sizes.roi_positives,
            box_detections_per_img=sizes.detections,
        )
        super().__init__(model, sizes, num_classes)

    def _forward(self, batch: ImageList, modules: set[str], roi_boxes: Sequence[Tensor] | None) -> None:
        features = self.model.backbone(batch.tensors)
        if "rpn.anchor_generator" in modules:
            self.model.rpn.anchor_generator(batch, list(features.values()))
        if "rpn.head" in modules:
            self.model.rpn.head(list(features.values()))
        if any(module.startswith("roi_heads") for module in modules):
            heads = self.model.roi_heads
            maps = heads.box_roi_pool(features, list(roi_boxes or []), batch.image_sizes)
            if modules & {"roi_heads.box_head", "roi_heads.box_predictor"}:
                heads.box_predictor(heads.box_head(maps))

    def _assign_anchors(self, anchors: list[Tensor], targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
        labels, boxes = self.model.rpn.assign_targets_to_anchors(anchors, list(targets))
        deltas = self.model.rpn.box_coder.encode(boxes, anchors)
        # torchvision says 1 positive, 0 background, -1 ignored; the schema says 0, -1, -2.
        return torch.stack(labels).long() - 1, torch.stack(deltas)

    def _read(self, taps: Taps, calls: dict[str, list[Call]], targets: Sequence[Target] | None) -> None:
        for call in calls["rpn.head"]:
            logits, deltas = call.output
            taps.rpn_logits = {s: _per_anchor(x, 1).squeeze(2) for s, x in zip(taps.neck, logits, strict=True)}
            taps.rpn_deltas = {s: _per_anchor(x, 4) for s, x in zip(taps.neck, deltas, strict=True)}
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


class RetinaNetDetector(TorchvisionDetector):
    """torchvision's RetinaNet: K sigmoid logits an anchor, towers of four convolutions."""

    background = "sigmoid"
    label_offset = 0
    sources = SHARED_SOURCES | {
        "anchors": "anchor_generator",
        "anchor_labels": "anchor_generator",
        "anchor_targets": "anchor_generator",
        "head_logits": "head.classification_head",
        "head_deltas": "head.regression_head",
        "head_cls_features": "head.classification_head.conv.2.{last}",
        "head_box_features": "head.regression_head.conv.2.{last}",
    }

    def __init__(self, sizes: RetinaNetParams, num_classes: int):
        backbone = ResNetFPN(sizes)
        anchors = sizes.anchor_generator()
        norm = None if sizes.norm_groups is None else partial(nn.GroupNorm, sizes.norm_groups)
        cells = anchors.num_anchors_per_location()[0]
        model = RetinaNet(
            backbone,
            num_classes,
            anchor_generator=anchors,
            head=RetinaNetHead(backbone.out_channels, cells, num_classes, norm_layer=norm),
            detections_per_img=sizes.detections,
            topk_candidates=sizes.candidates,
        )
        for module in model.head.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # an in-place ReLU would overwrite the recorded pre-activation features
        for tower in (model.head.classification_head.conv, model.head.regression_head.conv):
            for module in tower.modules():
                if isinstance(module, nn.Conv2d):
                    # torchvision's deviation of 0.01 suits 256 channels and SGD; narrow towers do not learn from it.
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        # The pre-activation features: what the third block's normalisation, or without one its convolution, returns.
        last = 0 if norm is None else 1
        self.sources = {tap: module.format(last=last) for tap, module in self.sources.items()}
        super().__init__(model, sizes, num_classes)

    def finish_head(
        self, cls_features: dict[str, Tensor], box_features: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        classify, regress = self.model.head.classification_head, self.model.head.regression_head
        logits = {s: _finish(classify.conv, classify.cls_logits, x, self.num_classes) for s, x in cls_features.items()}
        deltas = {s: _finish(regress.conv, regress.bbox_reg, x, 4) for s, x in box_features.items()}
        return logits, deltas

    def _forward(self, batch: ImageList, modules: set[str], roi_boxes: Sequence[Tensor] | None) -> None:
        features = list(self.model.backbone(batch.tensors).values())
        if any(module.startswith("head.classification_head") for module in modules):
            self.model.head.classification_head(features)
        if any(module.startswith("head.regression_head") for module in modules):
            self.model.head.regression_head(features)
        if modules & {"anchor_generator", "head.classification_head", "head.regression_head"}:
            self.model.anchor_generator(batch, features)

    @torch.no_grad()
    def _assign_anchors(self, anchors: list[Tensor], targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
        labels, deltas = [], []
        for boxes, target in zip(anchors, targets, strict=True):
            if len(target["boxes"]) == 0:
                labels.append(boxes.new_full((len(boxes),), -1, dtype=torch.int64))
                deltas.append(torch.zeros_like(boxes))
                continue
            matched = self.model.proposal_matcher(box_iou(target["boxes"], boxes))
            positive = matched.clamp(min=0)
            labels.append(torch.where(matched >= 0, target["labels"][positive], matched))
            deltas.append(self.model.box_coder.encode_single(target["boxes"][positive], boxes))
        return torch.stack(labels), torch.stack(deltas)

    def _read(self, taps: Taps, calls: dict[str, list[Call]], targets: Sequence[Target] | None) -> None:
        sizes = [len(anchors) for anchors in taps.anchors.values()]
        for name, tap in (("classification_head", "head_logits"), ("regression_head", "head_deltas")):
            for call in calls[f"head.{name}"]:
                setattr(taps, tap, dict(zip(taps.neck, call.output.split(sizes, dim=1), strict=True)))
        for tap in ("head_cls_features", "head_box_features"):
            if calls[self.sources[tap]]:
                outputs = [call.output for call in calls[self.sources[tap]]]
                setattr(taps, tap, dict(zip(taps.neck, outputs, strict=True)))


def _per_anchor(output: Tensor, values: int) -> Tensor:
    """(N, A * values, H, W) to (N, HWA, values), the order of torchvision's anchors."""
    n, _, h, w = output.shape
    return output.view(n, -1, values, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, values)


def _finish(tower: Any, predictor: nn.Module, features: Tensor, values: int) -> Tensor:
    """The tower's last but one activation, its last convolution and the predictor, on pre-activation features."""
    activation = tower[-2][-1]  # after its convolution and, if there is one, its normalisation
    return _per_anchor(predictor(tower[-1](activation(features))), values)
