"""The torchvision engine: Faster R-CNN, RetinaNet and GFL.

They stand on a small ResNet-FPN that trains from nothing, of given `widths`, or on a `backbone` of torchvision, with
published weights or without:

    detector:
      family: faster_rcnn         # or retinanet, gfl
      backbone: resnet50          # resnet18, 34, 50, 101, mobilenet_v3_large, convnext_tiny
      weights: imagenet           # or coco, or {file: mine.safetensors, sha256: 0123abcd}; left out: random

The models, their losses, sampling and assignment are torchvision's own; this folder sizes them and reads their tensors.
GFL, which torchvision has not, is its RetinaNet with losses, assignment and box head of GFL's own.
"""

from __future__ import annotations

from typing import Any

from detdistill.core.errors import UserError, near
from detdistill.core.params import Slice, parse
from detdistill.detectors.base import Detector
from detdistill.engines.torchvision.faster_rcnn import FasterRCNNDetector, FasterRCNNOnBackboneParams, FasterRCNNParams
from detdistill.engines.torchvision.gfl import GFLDetector, GFLOnBackboneParams, GFLParams
from detdistill.engines.torchvision.retinanet import RetinaNetDetector, RetinaNetOnBackboneParams, RetinaNetParams


def build(params: dict[str, Any], num_classes: int, where: str) -> Detector:
    """The untrained detector of `params["family"]`. Raises UserError for an unknown family or key."""
    families: dict[str, tuple[type[Slice], type[Slice], Any]] = {
        "faster_rcnn": (FasterRCNNParams, FasterRCNNOnBackboneParams, FasterRCNNDetector),
        "retinanet": (RetinaNetParams, RetinaNetOnBackboneParams, RetinaNetDetector),
        "gfl": (GFLParams, GFLOnBackboneParams, GFLDetector),
    }
    family = params.get("family")
    if not isinstance(family, str) or family not in families:
        raise UserError(f"{where}: detector.family: torchvision has no family {family!r}{near(str(family), families)}")
    small, on_backbone, detector = families[family]
    sizes: Any = parse(on_backbone if "backbone" in params else small, params, f"{where}: detector")
    if len(sizes.anchors) != len(sizes.strides):
        raise UserError(
            f"{where}: detector.anchors: one list of sizes a level is needed, found {len(sizes.anchors)} for "
            f"{len(sizes.strides)} levels"
        )
    return detector(sizes, num_classes)
