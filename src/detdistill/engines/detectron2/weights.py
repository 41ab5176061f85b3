"""Published weights that training begins with: torchvision's ImageNet classifiers, or Detectron2's zoo."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from math import ceil
from pathlib import Path
from typing import Any

import pooch
import torch
from detectron2.checkpoint import DetectionCheckpointer
from requests.exceptions import RequestException
from torch import Tensor, nn
from torchvision.models import get_model_weights

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import explained, sha256
from detdistill.engines.detectron2.params import Preparation, ResNetParams, Weights

RETRIES = 3
SECONDS = 60
"""How long a server may say nothing."""
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
    path = _find(weights, f"{where}: detector.weights")
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
    published = get_model_weights(f"resnet{preparation.depth}").IMAGENET1K_V1
    name = published.url.rsplit("/", 1)[1]
    mib = ceil(published.meta["_file_size"])
    return Weights(file=name, sha256=Path(name).stem.rsplit("-", 1)[1], url=published.url, mib=mib)


def _find(weights: Weights, where: str) -> Path:
    """The verified file: from the folder of DETDISTILL_RAW, from `raw`, or downloaded into it."""
    given = os.environ.get("DETDISTILL_RAW")
    folders = [Path(given), paths.RAW] if given else [paths.RAW]
    path = next((folder / weights.file for folder in folders if (folder / weights.file).is_file()), None)
    if path is None:
        if weights.url is None:
            raise UserError(f"{where}.file: {weights.file}: not found in {' or '.join(map(str, folders))}")
        path = paths.RAW / weights.file
        _download(weights, path, where)
    found = sha256(path)
    if not found.startswith(weights.sha256):
        raise UserError(f"{path}: SHA-256 {found[: len(weights.sha256)]}, expected {weights.sha256}; remove the file")
    return path


def _download(weights: Weights, file: Path, where: str) -> None:
    """The whole file or none. Its digest, of which only the beginning may be known, is for the caller to compare."""
    with explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(file.parent).free // 2**20
        if weights.mib is not None and free < weights.mib:
            raise UserError(f"{file.parent}: {file.name} needs {weights.mib} MiB, {free} MiB are free")
        store = pooch.create(
            file.parent, "", registry={file.name: None}, urls={file.name: weights.url}, retry_if_failed=RETRIES
        )
        try:
            store.fetch(file.name, downloader=pooch.HTTPDownloader(timeout=SECONDS))
        except RequestException as error:
            raise UserError(
                f"{where}.url: {weights.url}: not downloaded in {1 + RETRIES} attempts: {error}; without a network, "
                "put the file into the folder that DETDISTILL_RAW names"
            ) from None
