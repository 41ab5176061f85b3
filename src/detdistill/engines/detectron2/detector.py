"""What Detectron2's detectors share behind our interface: native forward under a recorder, read into the taps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from detdistill.detectors.base import Detections, Detector, Taps, Target
from detdistill.detectors.recorder import Call, Recorder
from detdistill.engines.detectron2.images import at_test_size, augment
from detdistill.engines.detectron2.params import Preparation
from detdistill.engines.detectron2.weights import load

UNIT = Box2BoxTransform((1.0, 1.0, 1.0, 1.0))
SHARED_SOURCES = {"backbone": "backbone.bottom_up", "neck": "backbone"}


class Detectron2Detector(Detector):
    """What all families share. The background is Detectron2's last class, as in the taps."""

    trunk = "backbone."
    sources: dict[str, str]
    """tap -> the module it is read from."""
    anchors_in: str
    """The module that holds `anchor_generator`, with its dot, or nothing."""

    def __init__(self, model: nn.Module, preparation: Preparation, num_classes: int):
        super().__init__(model, num_classes)
        self.preparation = preparation
        self.varies = preparation.input is not None
        self.sources = dict.fromkeys(("anchors", "anchor_labels", "anchor_targets"), self.anchor_source) | self.sources
        self.taps = frozenset(self.sources)
        pyramid = self.model.backbone
        shapes = {**pyramid.bottom_up.output_shape(), **pyramid.output_shape()}
        self.strides = {name: str(shape.stride) for name, shape in shapes.items()}

    @property
    def anchor_source(self) -> str:
        return f"{self.anchors_in}anchor_generator"

    def initialize(self, where: str) -> None:
        if self.preparation.weights is not None:
            load(self.model, self.preparation, where)

    def augment(self, image: Tensor, target: Target, generator: torch.Generator) -> tuple[Tensor, Target]:
        if self.preparation.input is None:
            return image, target
        return augment(self.preparation.input, image, target, generator)

    def training_step(
        self, images: Sequence[Tensor], targets: Sequence[Target], wanted: frozenset[str] = frozenset()
    ) -> tuple[dict[str, Tensor], Taps]:
        inputs = self.native(images, targets)
        with self._recorder(wanted) as recorder, EventStorage():
            losses = self.model(inputs)
        return losses, self._taps(recorder.calls, wanted, [each["instances"] for each in inputs])

    def observe(
        self, images: Sequence[Tensor], wanted: frozenset[str], roi_boxes: Sequence[Tensor] | None = None
    ) -> Taps:
        with self._recorder(wanted) as recorder:
            features = self.model.backbone(self.model.preprocess_image(self.native(images)).tensor)
            self._forward(features, {self.sources[tap] for tap in wanted}, roi_boxes)
        return self._taps(recorder.calls, wanted, None)

    def predict(self, images: Sequence[Tensor]) -> list[Detections]:
        inputs = self.native([self._sized(image) for image in images])
        for each, image in zip(inputs, images, strict=True):
            each["height"], each["width"] = image.shape[-2:]
        found = [each["instances"] for each in self.model(inputs)]
        return [{"boxes": f.pred_boxes.tensor, "scores": f.scores, "labels": f.pred_classes} for f in found]

    def native(self, images: Sequence[Tensor], targets: Sequence[Target] | None = None) -> list[dict[str, Any]]:
        """What Detectron2's models take: images in 0..255 in their order of colours, and instances to learn from."""
        bgr = getattr(self.model, "input_format", "BGR") == "BGR"
        inputs = [{"image": 255 * (image.flip(0) if bgr else image)} for image in images]
        for each, target in zip(inputs, targets or [], strict=targets is not None):
            size = each["image"].shape[-2:]
            each["instances"] = Instances(size, gt_boxes=Boxes(target["boxes"]), gt_classes=target["labels"])
        return inputs

    def _sized(self, image: Tensor) -> Tensor:
        """The image as inference sees it."""
        return image if self.preparation.input is None else at_test_size(self.preparation.input, image)

    def _recorder(self, wanted: frozenset[str]) -> Recorder:
        always = {"backbone", "backbone.bottom_up", self.anchor_source} if wanted else set()
        return Recorder(self.model, sorted(always | {self.sources[tap] for tap in wanted}))

    def _taps(self, calls: dict[str, list[Call]], wanted: frozenset[str], instances: list[Instances] | None) -> Taps:
        if not wanted:
            return Taps()
        images, pyramid = calls["backbone"][0].args[0], calls["backbone"][0].output
        stages = calls["backbone.bottom_up"][0].output
        taps = Taps(
            image_size=tuple(images.shape[-2:]),
            backbone={self.strides[name]: feature for name, feature in stages.items()},
            neck={self.strides[name]: feature for name, feature in pyramid.items()},
        )
        for call in calls[self.anchor_source]:
            taps.anchors = self._levels([boxes.tensor for boxes in call.output])
            if instances is not None and wanted & {"anchor_labels", "anchor_targets"}:
                taps.anchor_labels, taps.anchor_targets = self._assign_anchors(call.output, instances)
        self._read(taps, calls)
        return taps

    def _levels(self, values: Sequence[Tensor]) -> dict[str, Tensor]:
        """One value a level of the anchors, by stride."""
        return dict(zip((self.strides[name] for name in self.head_levels), values, strict=True))

    @property
    @abstractmethod
    def head_levels(self) -> Sequence[str]:
        """Detectron2's names of the levels that have anchors."""

    @abstractmethod
    def _forward(self, features: dict[str, Tensor], modules: set[str], roi_boxes: Sequence[Tensor] | None) -> None:
        """Run the model as far as the wanted modules need."""

    @abstractmethod
    def _assign_anchors(self, anchors: list[Boxes], instances: list[Instances]) -> tuple[Tensor, Tensor]:
        """The native assignment as (N, sum HWA) labels and (N, sum HWA, 4) regression targets."""

    @abstractmethod
    def _read(self, taps: Taps, calls: dict[str, list[Call]]) -> None:
        """Fill the family's own taps from what was recorded."""


def per_anchor(output: Tensor, values: int) -> Tensor:
    """(N, A * values, H, W) to (N, HWA, values), the order of Detectron2's anchors."""
    n, _, h, w = output.shape
    return output.view(n, -1, values, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, values)


def unit(deltas: Tensor, weights: Sequence[float]) -> Tensor:
    """Deltas (..., 4) of unit variances from those that are multiplied by `weights`."""
    return deltas / deltas.new_tensor(weights)
