"""Detectron2's RetinaNet and FCOS behind our interface."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from detdistill.detectors.base import Taps
from detdistill.detectors.dense import side_deltas
from detdistill.detectors.recorder import Call
from detdistill.engines.detectron2.detector import SHARED_SOURCES, UNIT, Detectron2Detector, per_anchor, unit
from detdistill.engines.detectron2.params import Preparation


class DenseDetector(Detectron2Detector):
    """Detectron2's RetinaNet: K sigmoid logits an anchor, two towers of convolutions."""

    background = "sigmoid"
    anchors_in = ""
    sources = SHARED_SOURCES | {"head_logits": "head", "head_deltas": "head"}

    def __init__(self, model: Any, preparation: Preparation, num_classes: int):
        self.sources = type(self).sources | {
            "head_cls_features": f"head.cls_subnet.{_split(model.head.cls_subnet) - 1}",
            "head_box_features": f"head.bbox_subnet.{_split(model.head.bbox_subnet) - 1}",
        }
        super().__init__(model, preparation, num_classes)

    @property
    def head_levels(self) -> Sequence[str]:
        return self.model.head_in_features

    def get_extra_state(self) -> Tensor:
        """The running number of positive anchors that the losses are divided by: Detectron2 keeps it in no state."""
        return torch.tensor(getattr(self.model, "loss_normalizer", math.nan), dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        if not state.isnan():
            self.model.loss_normalizer = state.item()
        elif hasattr(self.model, "loss_normalizer"):
            del self.model.loss_normalizer

    def finish_head(self, cls_features: dict[str, Tensor], box_features: dict[str, Tensor]) -> Taps:
        head = self.model.head
        classify, regress = head.cls_subnet[_split(head.cls_subnet) :], head.bbox_subnet[_split(head.bbox_subnet) :]
        logits = {s: per_anchor(head.cls_score(classify(x)), self.num_classes) for s, x in cls_features.items()}
        taps = Taps(head_logits=logits)
        self._put_boxes(taps, {s: head.bbox_pred(regress(x)) for s, x in box_features.items()})
        return taps

    def _put_boxes(self, taps: Taps, predicted: dict[str, Tensor]) -> None:
        """Put into the taps what the box tower predicts, stride -> (N, C, H, W)."""
        taps.head_deltas = {s: self._deltas(per_anchor(x, 4)) for s, x in predicted.items()}

    def _deltas(self, predicted: Tensor) -> Tensor:
        """Detectron2's box predictions (..., 4) as the schema's deltas."""
        return unit(predicted, self.model.box2box_transform.weights)

    def _forward(self, features: dict[str, Tensor], modules: set[str], roi_boxes: Sequence[Tensor] | None) -> None:
        levels = [features[name] for name in self.model.head_in_features]
        if any(module.startswith("head") for module in modules):
            self.model.head(levels)
        if self.anchor_source in modules or any(module.startswith("head") for module in modules):
            self.model.anchor_generator(levels)

    @torch.no_grad()
    def _assign_anchors(self, anchors: list[Boxes], instances: list[Instances]) -> tuple[Tensor, Tensor]:
        boxes = Boxes.cat(anchors).tensor
        labels, matched = self.model.label_anchors(anchors, instances)
        assigned = torch.stack(list(labels))
        # Detectron2: K background, -1 ignored; the schema: -1 and -2.
        assigned = torch.where(assigned < 0, -2, torch.where(assigned == self.num_classes, -1, assigned))
        # Version 0.6 of FCOS gives Boxes. What is not positive may have no box at all: its own anchor is as good.
        truth = torch.stack([getattr(each, "tensor", each) for each in matched])
        truth = torch.where(assigned[..., None] >= 0, truth, boxes)
        return assigned, torch.stack([UNIT.get_deltas(boxes, each) for each in truth])

    def _read(self, taps: Taps, calls: dict[str, list[Call]]) -> None:
        for call in calls["head"]:
            logits, boxes = call.output[:2]
            taps.head_logits = self._levels([per_anchor(each, self.num_classes) for each in logits])
            self._put_boxes(taps, self._levels(boxes))
        for tap in ("head_cls_features", "head_box_features"):
            if calls[self.sources[tap]]:
                setattr(taps, tap, self._levels([call.output for call in calls[self.sources[tap]]]))


class FCOSDetector(DenseDetector):
    """Detectron2's FCOS. Its anchors are squares of one stride about the locations.

    It predicts distances to the four sides of a box; the taps hold the deltas of its anchors that mean the same box.
    """

    def _deltas(self, predicted: Tensor) -> Tensor:
        return side_deltas(predicted.relu())


def _split(tower: nn.Sequential) -> int:
    """Where a tower's end begins: the activation before its last convolution."""
    return max(i for i, module in enumerate(tower) if isinstance(module, nn.Conv2d)) - 1
