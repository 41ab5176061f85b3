"""torchvision's RetinaNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet, RetinaNet_ResNet50_FPN_Weights
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import box_iou

from detdistill.detectors.base import Taps, Target
from detdistill.detectors.recorder import Call
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


class DenseParams(TorchvisionParams):
    """RetinaNet and what is built on it. `candidates` is the number of scored anchors a level that enter NMS."""

    candidates: Positive = 1000
    norm_groups: Positive | None = None
    """Group normalisation in the towers, as in torchvision's second RetinaNet; without it, they start slowly."""
    convolutions: Annotated[int, Field(ge=2, le=4)] = 4
    """Of each tower, the first of torchvision's four. From nothing, shorter towers learn sooner."""


class RetinaNetSizes(DenseParams):
    """RetinaNet."""

    family: Literal["retinanet"]


class RetinaNetParams(SmallTrunkParams, RetinaNetSizes):
    """RetinaNet on a small trunk."""


class RetinaNetOnBackboneParams(BackboneParams, RetinaNetSizes):
    """RetinaNet on a backbone of torchvision. Defaults: torchvision's published ones."""

    dense = True
    published = RetinaNet_ResNet50_FPN_Weights.COCO_V1

    anchors: list[Annotated[list[Length], Field(min_length=1)]] = [
        [float(int(size * 2 ** (octave / 3))) for octave in range(3)] for size in (32, 64, 128, 256, 512)
    ]
    aspect_ratios: Annotated[list[Length], Field(min_length=1)] = [0.5, 1.0, 2.0]


class RetinaNetDetector(TorchvisionDetector):
    """torchvision's RetinaNet: K sigmoid logits an anchor, two towers of convolutions."""

    background = "sigmoid"
    class_layers = ("head.classification_head.cls_logits.",)
    label_offset = 0
    sources = SHARED_SOURCES | {
        "anchors": "anchor_generator",
        "anchor_labels": "anchor_generator",
        "anchor_targets": "anchor_generator",
        "head_logits": "head.classification_head",
        "head_deltas": "head.regression_head",
        "head_cls_features": "head.classification_head.conv.{block}.{last}",
        "head_box_features": "head.regression_head.conv.{block}.{last}",
    }

    def __init__(self, sizes: Any, num_classes: int):
        norm = None if sizes.norm_groups is None else partial(nn.GroupNorm, sizes.norm_groups)
        model = self._build(
            sizes,
            norm,
            backbone=sizes.trunk(),
            num_classes=num_classes,
            anchor_generator=sizes.anchor_generator(),
            detections_per_img=sizes.detections,
            topk_candidates=sizes.candidates,
        )
        for module in model.head.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # an in-place ReLU would overwrite the recorded pre-activation features
        for part in (model.head.classification_head, model.head.regression_head):
            part.conv = part.conv[: sizes.convolutions]
            for module in part.conv.modules():
                if isinstance(module, nn.Conv2d):
                    # torchvision's deviation of 0.01 suits 256 channels and SGD; narrow towers do not learn from it.
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        # The pre-activation features: what the last but one block's normalisation, or without one convolution, returns.
        block, last = sizes.convolutions - 2, 0 if norm is None else 1
        self.sources = {tap: module.format(block=block, last=last) for tap, module in self.sources.items()}
        super().__init__(model, sizes, num_classes)

    def _build(self, sizes: Any, norm: Callable[..., nn.Module] | None, **shared: Any) -> RetinaNet:
        cells = shared["anchor_generator"].num_anchors_per_location()[0]
        head = RetinaNetHead(sizes.neck_channels, cells, shared["num_classes"], norm_layer=norm)
        return RetinaNet(**shared, head=head)

    def finish_head(self, cls_features: dict[str, Tensor], box_features: dict[str, Tensor]) -> Taps:
        classify, regress = self.model.head.classification_head, self.model.head.regression_head
        logits = {s: classify.cls_logits(_finish(classify.conv, x)) for s, x in cls_features.items()}
        taps = Taps(head_logits={s: per_anchor(x, self.num_classes) for s, x in logits.items()})
        self._predict_boxes(taps, {s: _finish(regress.conv, x) for s, x in box_features.items()})
        return taps

    def _predict_boxes(self, taps: Taps, towers: dict[str, Tensor]) -> None:
        """Put into the taps what the box predictor makes of its tower's features, stride -> (N, C, H, W)."""
        predict = self.model.head.regression_head.bbox_reg
        taps.head_deltas = {s: per_anchor(predict(x), 4) for s, x in towers.items()}

    def _forward(self, batch: ImageList, modules: set[str], roi_boxes: Sequence[Tensor] | None) -> None:
        features = list(self.model.backbone(batch.tensors).values())
        if any(module.startswith("head.classification_head") for module in modules):
            self.model.head.classification_head(features)
        if any(module.startswith("head.regression_head") for module in modules):
            self.model.head.regression_head(features)
        if modules & {"anchor_generator", "head.classification_head", "head.regression_head"}:
            self.model.anchor_generator(batch, features)

    @torch.no_grad()
    def _assign_anchors(self, anchors: dict[str, Tensor], targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
        boxes, labels, deltas = torch.cat(list(anchors.values())), [], []
        for target in targets:
            if len(target["boxes"]) == 0:
                labels.append(boxes.new_full((len(boxes),), -1, dtype=torch.int64))
                deltas.append(torch.zeros_like(boxes))
                continue
            matched = self._match(anchors, target["boxes"])
            positive = matched.clamp(min=0)
            labels.append(torch.where(matched >= 0, target["labels"][positive], matched))
            deltas.append(self.model.box_coder.encode_single(target["boxes"][positive], boxes))
        return torch.stack(labels), torch.stack(deltas)

    def _match(self, anchors: dict[str, Tensor], boxes: Tensor) -> Tensor:
        """The object (index) of each anchor (sum HWA,), -1 for background, -2 for what is ignored."""
        return self.model.proposal_matcher(box_iou(boxes, torch.cat(list(anchors.values()))))

    def _read(self, taps: Taps, calls: dict[str, list[Call]], targets: Sequence[Target] | None) -> None:
        sizes = [len(anchors) for anchors in taps.anchors.values()]
        for name, tap in (("classification_head", "head_logits"), ("regression_head", "head_deltas")):
            for call in calls[f"head.{name}"]:
                setattr(taps, tap, dict(zip(taps.neck, call.output.split(sizes, dim=1), strict=True)))
        for tap in ("head_cls_features", "head_box_features"):
            if calls[self.sources[tap]]:
                outputs = [call.output for call in calls[self.sources[tap]]]
                setattr(taps, tap, dict(zip(taps.neck, outputs, strict=True)))


def _finish(tower: Any, features: Tensor) -> Tensor:
    """The tower's last but one activation and its last convolution, on pre-activation features."""
    activation = tower[-2][-1]  # after its convolution and, if there is one, its normalisation
    return tower[-1](activation(features))
