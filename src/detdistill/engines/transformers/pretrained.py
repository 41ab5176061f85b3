"""Models with weights that are on this machine: a folder, or a name in the hub's cache. Nothing is downloaded."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from detdistill.core.errors import UserError
from detdistill.core.params import Slice
from detdistill.detectors.resnet_fpn import Colour, Positive, Spread

CLASS_LAYERS = ("class_embed", "enc_score_head")
"""What is in the names of the layers whose shapes hang on the classes."""


class PretrainedParams(Slice):
    """A model of a family with its weights and its own backbone; classification heads of other classes start anew."""

    family: str
    pretrained: str
    """A folder that `save_pretrained` wrote, or a name in the local cache of the hub; safetensors only."""
    mean: Colour
    std: Spread
    """RGB statistics that the weights were trained with."""
    detections: Positive = 100


def load(weights: PretrainedParams, model_class: type[PreTrainedModel], num_classes: int, where: str) -> Any:
    """The model with its weights, from this machine alone.

    Raises:
        UserError: weights that are not there, or that are not of the architecture which their config.json says.
    """
    try:
        found = PreTrainedConfig.get_config_dict(weights.pretrained, local_files_only=True)[0].get("model_type")
    except (OSError, ValueError) as error:
        raise _absent(weights.pretrained, where) from error
    if found != weights.family:
        raise UserError(f"{where}: {weights.pretrained} holds a model of {found!r}, the params say {weights.family!r}")
    try:
        both: Any = model_class.from_pretrained(
            weights.pretrained,
            local_files_only=True,
            use_safetensors=True,
            num_labels=num_classes,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except OSError as error:
        raise _absent(weights.pretrained, where) from error
    except ImportError as error:
        raise UserError(f"{where}: {weights.pretrained}: {error}") from error
    model, loaded = both
    _check_whole(loaded, weights.pretrained, where)
    if getattr(model.config, "two_stage", False):
        raise UserError(
            f"{where}: {weights.pretrained}: two_stage: its queries are proposals, none is learned; allowed: false"
        )
    return model


def _check_whole(loaded: dict[str, Any], name: str, where: str) -> None:
    """Raise UserError where a tensor was not taken from the file; transformers would draw it anew and go on."""
    absent = {key: "no" for key in loaded["missing_keys"]}
    other = {key: f"{tuple(found)} instead of {tuple(own)} in" for key, found, own in loaded["mismatched_keys"]}
    for key, fault in sorted((absent | other).items()):
        if not any(layer in key for layer in CLASS_LAYERS):
            raise UserError(f"{where}: {name}: weights of another architecture than its config.json: {fault} {key}")


def _absent(name: str, where: str) -> UserError:
    return UserError(
        f"{where}: {name!r} is no folder with config.json and model.safetensors, and no such model is in the local "
        "cache of the hub; nothing is downloaded here"
    )
