"""The transformers engine: RT-DETR and Deformable DETR of Hugging Face, on our small ResNet-FPN or with their weights.

Models are built from configuration alone. A further family is a module beside this one, with a schema of its sizes and
a `SetPredictionDetector` that says how its decoder begins and what it returns, and a line in `FAMILIES`.
"""

from __future__ import annotations

from typing import Any

from transformers import DeformableDetrForObjectDetection, PreTrainedModel, RTDetrForObjectDetection

from detdistill.core.errors import UserError, near
from detdistill.core.params import parse
from detdistill.detectors.base import Detector
from detdistill.detectors.resnet_fpn import KeepSize
from detdistill.engines.transformers.deformable_detr import DeformableDetrDetector, DeformableDetrParams
from detdistill.engines.transformers.detector import SetPredictionParams, Trunk
from detdistill.engines.transformers.pretrained import PretrainedParams, load
from detdistill.engines.transformers.rt_detr import RTDetrDetector, RTDetrParams

FAMILIES: dict[str, tuple[type[SetPredictionParams], type[PreTrainedModel], Any]] = {
    "rt_detr": (RTDetrParams, RTDetrForObjectDetection, RTDetrDetector),
    "deformable_detr": (DeformableDetrParams, DeformableDetrForObjectDetection, DeformableDetrDetector),
}


def build(params: dict[str, Any], num_classes: int, where: str) -> Detector:
    """The detector of `params["family"]`: untrained, or with the weights of `params["pretrained"]`.

    Raises:
        UserError: an unknown family or key, sizes that do not divide, or weights that are not on this machine.
    """
    family = params.get("family")
    if not isinstance(family, str) or family not in FAMILIES:
        raise UserError(f"{where}: detector.family: transformers has no family {family!r}{near(family, FAMILIES)}")
    schema, model_class, detector = FAMILIES[family]
    if "pretrained" in params:
        weights: Any = parse(PretrainedParams, params, f"{where}: detector")
        model = load(weights, model_class, num_classes, f"{where}: detector.pretrained")
        levels = model.config.num_feature_levels - len(model.model.backbone.intermediate_channel_sizes)
        return detector(
            model, num_classes, KeepSize(0, 0, weights.mean, weights.std, 32 * 2**levels), weights.detections
        )
    sizes: Any = parse(schema, params, f"{where}: detector")
    for name, divisor in (
        ("heads", sizes.heads),
        ("groups of normalisation", 32 if family == "deformable_detr" else 4),
    ):
        if sizes.hidden % divisor:
            raise UserError(
                f"{where}: detector.hidden: {sizes.hidden} is no multiple of {divisor}, the number of {name}"
            )
    model = model_class(sizes.config(num_classes))
    detector.prepare(model)
    model.model.backbone = Trunk(sizes)
    return detector(
        model, num_classes, KeepSize(0, 0, sizes.mean, sizes.std, size_divisible=sizes.strides[-1]), sizes.detections
    )
