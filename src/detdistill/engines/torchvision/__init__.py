"""The torchvision engine: Faster R-CNN, RetinaNet and GFL on a small ResNet-FPN that trains from nothing.

The models, their losses, sampling and assignment are torchvision's own; this folder sizes them and reads their tensors.
GFL, which torchvision has not, is its RetinaNet with losses, assignment and box head of GFL's own.
"""

from __future__ import annotations

from typing import Any

from detdistill.core.errors import UserError, near
from detdistill.core.params import parse
from detdistill.detectors.base import Detector
from detdistill.engines.torchvision.detector import TorchvisionParams
from detdistill.engines.torchvision.faster_rcnn import FasterRCNNDetector, FasterRCNNParams
from detdistill.engines.torchvision.gfl import GFLDetector, GFLParams
from detdistill.engines.torchvision.retinanet import RetinaNetDetector, RetinaNetParams


def build(params: dict[str, Any], num_classes: int, where: str) -> Detector:
    """The untrained detector of `params["family"]`. Raises UserError for an unknown family or key."""
    families: dict[str, tuple[type[TorchvisionParams], Any]] = {
        "faster_rcnn": (FasterRCNNParams, FasterRCNNDetector),
        "retinanet": (RetinaNetParams, RetinaNetDetector),
        "gfl": (GFLParams, GFLDetector),
    }
    family = params.get("family")
    if not isinstance(family, str) or family not in families:
        raise UserError(f"{where}: detector.family: torchvision has no family {family!r}{near(str(family), families)}")
    schema, detector = families[family]
    sizes: Any = parse(schema, params, f"{where}: detector")
    if len(sizes.anchors) != len(sizes.widths):
        raise UserError(
            f"{where}: detector.anchors: one list of sizes a level is needed, found {len(sizes.anchors)} for "
            f"{len(sizes.widths)} widths"
        )
    return detector(sizes, num_classes)
