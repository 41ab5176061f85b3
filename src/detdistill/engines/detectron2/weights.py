"""Published weights that training begins with: torchvision's ImageNet classifiers, or Detectron2's zoo."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn
from torchvision.models import get_model_weights

from detdistill.core.errors import UserError
from detdistill.detectors.published import find, of_torchvision
from detdistill.engines.detectron2.params import Preparation, ResNetParams, Weights

BODY = "backbone.bottom_up."
NAMES = {
    r"^conv1\.": "stem.conv1.",
    r"^bn1\.": "stem.conv1.norm.",
    r"^layer1\.": "res2.",
    r"^layer2\.": "res3.",
    r"^layer3\.": "res4.",
    r"^layer4\.": "res5.",
    r"\.bn(\d)\.": r".conv\1.norm.",
    r"\.downsample\.0\.": ".shortcut.",
    r"\.downsample\.1\.": ".shortcut.norm.",
}
"""torchvision's names of a ResNet's tensors, and Detectron2's."""


def load(model: nn.Module, preparation: Preparation, where: str) -> None:
    """Load the weights that the parameters name; what has no fitting tensor in the file stays as it was.

    Raises:
        UserError: a file that is missing, altered or of another backbone, or that would run code without leave.
    """
    weights = _named(preparation, where)
    path = find(weights, f"{where}: detector.weights")
    if weights.allow_pickle:
        _Zoo(model).load(str(path))
        return
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{where}: detector.weights: {path} holds more than tensors and would run code; "
            "say allow_pickle: true to allow it"
        ) from None
    state = state.get("model", state)
    if "layer1.0.conv1.weight" in state:
        state = converted(state, getattr(model, "input_format", "BGR"))
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in state.items() if name in own and tensor.shape == own[name].shape}
    _check_body(path, {name for name in own if name not in fitting})
    model.load_state_dict(own | fitting)


def converted(state: dict[str, Tensor], colours: str = "BGR") -> dict[str, Tensor]:
    """torchvision's ResNet classifier under Detectron2's names, its first convolution for that order of colours."""
    body = {}
    for name, tensor in state.items():
        for pattern, replacement in NAMES.items():
            name = re.sub(pattern, replacement, name)
        body[BODY + name] = tensor
    if colours == "BGR":
        body[f"{BODY}stem.conv1.weight"] = body[f"{BODY}stem.conv1.weight"].flip(1)
    return body


class _Zoo(DetectionCheckpointer):
    """Detectron2's own reader of its zoo, which matches the names of older files, and warns of what does not fit."""

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        super()._log_incompatible_keys(incompatible)
        _check_body(
            "detector.weights", {*incompatible.missing_keys, *(name for name, *_ in incompatible.incorrect_shapes)}
        )


def _check_body(where: str | Path, missing: set[str]) -> None:
    absent = sorted(name for name in missing if name.startswith(BODY) and not name.endswith("num_batches_tracked"))
    if absent:
        raise UserError(f"{where}: weights of another backbone: no fitting tensor for {absent[0]}")


def _named(preparation: Preparation, where: str) -> Weights:
    """The file meant: `imagenet` is torchvision's of that depth, whose name ends in the beginning of its digest."""
    if isinstance(preparation.weights, Weights):
        return preparation.weights
    if not isinstance(preparation, ResNetParams):
        raise UserError(f"{where}: detector.weights: 'imagenet' needs a depth; a config needs file and sha256")
    published = of_torchvision(get_model_weights(f"resnet{preparation.depth}").IMAGENET1K_V1)
    return Weights(**published.model_dump())
