"""What torchvision's detectors share: sizes, the native forward under a recorder, and its calls read into the taps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from detdistill.core.params import Slice
from detdistill.detectors.base import Detections, Detector, Taps, Target
from detdistill.detectors.recorder import Call, Recorder
from detdistill.detectors.resnet_fpn import KeepSize, Positive, ResNetFPN, ResNetFPNParams
from detdistill.engines.torchvision.backbone import BackboneParams
from detdistill.engines.torchvision.weights import load

Length = Annotated[float, Field(gt=0, le=10_000)]
SHARED_SOURCES = {"backbone": "backbone.fpn", "neck": "backbone.fpn"}


class SmallTrunkParams(ResNetFPNParams):
    """Backbone and neck of small detectors, which have no published weights."""

    @property
    def divisor(self) -> int:
        """What padding makes the sizes of images a multiple of."""
        return self.strides[-1]

    @property
    def file(self) -> None:
        """Of weights: none."""

    def trunk(self) -> ResNetFPN:
        """The untrained backbone and its pyramid."""
        return ResNetFPN(self)


Trunk = SmallTrunkParams | BackboneParams


class TorchvisionParams(Slice):
    """What all families have beside backbone and neck."""

    family: str
    anchors: list[Annotated[list[Length], Field(min_length=1)]]
    """Anchor sizes in pixels, one list a level."""
    aspect_ratios: Annotated[list[Length], Field(min_length=1)] = [1.0]
    """Height over width."""
    detections: Positive = 100

    def anchor_generator(self) -> AnchorGenerator:
        """torchvision's own, every aspect ratio at every size, in 32 bits."""
        return Anchors(tuple(map(tuple, self.anchors)), (tuple(self.aspect_ratios),) * len(self.anchors))


class Anchors(AnchorGenerator):
    """In 32 bits whatever the features have: in bfloat16, pixels above 256 are steps of 2 and more."""

    def set_cell_anchors(self, dtype: torch.dtype, device: torch.device) -> None:
        super().set_cell_anchors(torch.float32, device)


class TorchvisionDetector(Detector):
    """What the families share: native forward under a recorder, and its calls read into the taps."""

    trunk = "backbone."
    class_layers: tuple[str, ...]
    """What the names of the layers begin with whose shapes hang on the classes."""
    label_offset: int
    """What torchvision adds to our 0-based labels: 1 where its label 0 is the background."""
    sources: dict[str, str]
    """tap -> the module it is read from."""

    def __init__(self, model: FasterRCNN | RetinaNet, sizes: Trunk, num_classes: int):
        super().__init__(model, num_classes)
        model.transform = KeepSize(0, 0, sizes.mean, sizes.std, size_divisible=sizes.divisor)
        self.taps = frozenset(self.sources)
        self._weights = sizes.file

    def initialize(self, where: str) -> None:
        if self._weights is not None:
            load(self.model, self._weights, self.class_layers, f"{where}: detector.weights")

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
                taps.anchor_labels, taps.anchor_targets = self._assign_anchors(taps.anchors, targets)
        self._read(taps, calls, targets)
        return taps

    def _anchors_per_location(self) -> int:
        return self.model.get_submodule(self.sources["anchors"]).num_anchors_per_location()[0]

    @abstractmethod
    def _forward(self, batch: ImageList, modules: set[str], roi_boxes: Sequence[Tensor] | None) -> None:
        """Run the model as far as the wanted modules need."""

    @abstractmethod
    def _assign_anchors(self, anchors: dict[str, Tensor], targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
        """The native assignment as (N, sum HWA) labels and (N, sum HWA, 4) regression targets; anchors a stride."""

    @abstractmethod
    def _read(self, taps: Taps, calls: dict[str, list[Call]], targets: Sequence[Target] | None) -> None:
        """Fill the family's own taps from what was recorded."""


def per_anchor(output: Tensor, values: int) -> Tensor:
    """(N, A * values, H, W) to (N, HWA, values), the order of torchvision's anchors."""
    n, _, h, w = output.shape
    return output.view(n, -1, values, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, values)
