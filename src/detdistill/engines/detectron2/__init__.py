"""The Detectron2 engine: Faster R-CNN, RetinaNet, FCOS and GFL on ResNet-FPN, or any config of the first three.

Models, losses, sampling, assignment and inference are Detectron2's own; this engine sizes them, feeds them and reads
their tensors. GFL, which Detectron2 has not, is its RetinaNet with losses, assignment and boxes of GFL. `detector` of
`teacher.yaml` and `student.yaml` is one of the classes of `params.py`: `family` chooses it, or `config` names a config
file of Detectron2. Defaults are Detectron2's published ones (configs/common/models and Base-*.yaml), except for the
normalisation of images, which suits torchvision's ImageNet weights:

    detector:
      family: faster_rcnn         # or retinanet, fcos, gfl
      depth: 50                   # 18, 34, 50, 101
      weights: imagenet           # torchvision's for that depth; left out: random, with norm BN and freeze 0
      input: {short_edges: [640, 672, 704, 736, 768, 800], test_short_edge: 800, max_size: 1333, flip: true}

Tested with Detectron2 main of June 2026 (02b5c4e) from its plain Python sources, without its compiled extension.
"""

from __future__ import annotations

from typing import Any

from detectron2.modeling.meta_arch import GeneralizedRCNN, RetinaNet
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.modeling.roi_heads import StandardROIHeads

from detdistill.core.errors import UserError, near
from detdistill.core.params import parse
from detdistill.detectors.base import Detector
from detdistill.engines.detectron2.dense import DenseDetector, FCOSDetector
from detdistill.engines.detectron2.faster_rcnn import FasterRCNNDetector
from detdistill.engines.detectron2.gfl import GFL, GFLDetector
from detdistill.engines.detectron2.models import configured, faster_rcnn, fcos, gfl, retinanet
from detdistill.engines.detectron2.params import (
    ConfigParams,
    FasterRCNNParams,
    FCOSParams,
    GFLParams,
    Preparation,
    RetinaNetParams,
)


def build(params: dict[str, Any], num_classes: int, where: str) -> Detector:
    """The untrained detector of `params["family"]` or `params["config"]`.

    Raises:
        UserError: an unknown family or key, or a config that cannot be read or that asks for more than boxes.
    """
    families: dict[str, tuple[type[Preparation], Any]] = {
        "faster_rcnn": (FasterRCNNParams, faster_rcnn),
        "retinanet": (RetinaNetParams, retinanet),
        "fcos": (FCOSParams, fcos),
        "gfl": (GFLParams, gfl),
    }
    schema: type[Preparation]
    family = params.get("family")
    if "config" in params:
        schema, model_of = ConfigParams, configured
    elif isinstance(family, str) and family in families:
        schema, model_of = families[family]
    else:
        raise UserError(f"{where}: detector.family: detectron2 has no family {family!r}{near(str(family), families)}")
    sizes: Any = parse(schema, params, f"{where}: detector")
    return _wrapped(model_of(sizes, num_classes, where), sizes, num_classes, where)


def _wrapped(model: Any, preparation: Preparation, num_classes: int, where: str) -> Detector:
    """The detector of a native model. Raises UserError for a model that has no detector here."""
    found = type(model).__name__
    if not hasattr(getattr(model, "backbone", None), "bottom_up"):
        raise UserError(f"{where}: detector.config: {found} has no feature pyramid; allowed: FPN backbones")
    if type(model) is GeneralizedRCNN:
        heads = model.roi_heads
        if type(heads) is not StandardROIHeads or heads.mask_on or heads.keypoint_on:
            raise UserError(
                f"{where}: detector.config: {type(heads).__name__} with masks, keypoints or cascades is not trained "
                "here; allowed: StandardROIHeads with boxes alone (MODEL.MASK_ON: False)"
            )
        if (
            getattr(heads.box_predictor, "use_sigmoid_ce", False)
            or model.proposal_generator.anchor_boundary_thresh >= 0
        ):
            raise UserError(f"{where}: detector.config: USE_SIGMOID_CE and RPN.BOUNDARY_THRESH have no taps here")
        return FasterRCNNDetector(model, preparation, num_classes)
    if type(model) is GFL:
        return GFLDetector(model, preparation, num_classes)
    if type(model) is RetinaNet:
        return DenseDetector(model, preparation, num_classes)
    if type(model) is FCOS and model.box2box_transform.normalize_by_size:
        return FCOSDetector(model, preparation, num_classes)
    raise UserError(f"{where}: detector.config: {found} has no taps here; allowed: GeneralizedRCNN, RetinaNet, FCOS")
