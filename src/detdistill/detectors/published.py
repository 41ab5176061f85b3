"""Published weights that training begins with: a file that is on this machine or downloaded, and verified either way.

The digest is part of the parameters, so that they alone say what a run began with.
"""

from __future__ import annotations

import os
import pickle
import shutil
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Self

import pooch
import torch
from pydantic import BeforeValidator, Field, model_validator
from requests.exceptions import RequestException
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import WeightsEnum

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import explained, sha256
from detdistill.core.params import Slice

RETRIES = 3
SECONDS = 60
"""How long a server may say nothing."""


class WeightsFile(Slice):
    """A checkpoint that backbone, or the whole detector, begins with; published ones for backbone or detector."""

    file: str
    """Looked for in the folder of DETDISTILL_RAW, then in raw."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]
    """The digest or its beginning, as in the names of torchvision's files."""
    url: str | None = None
    """Where to download it from, into raw, when it is in neither folder."""
    mib: Annotated[int, Field(gt=0)] | None = None
    """What the download needs of the disk: the size of the file, rounded up."""

    @model_validator(mode="after")
    def _size_is_known(self) -> Self:
        if self.url is not None and self.mib is None:
            raise ValueError("`url` needs `mib`, the size of the file")
        return self


def mapping_as(schema: type[WeightsFile]) -> BeforeValidator:
    """A mapping is judged as a file, so that its faults are told instead of that it is no name."""
    return BeforeValidator(lambda value: schema.model_validate(value) if isinstance(value, dict) else value)


def of_torchvision(published: WeightsEnum) -> WeightsFile:
    """The file of one of torchvision's own entries, whose name ends in the beginning of its digest."""
    name = published.url.rsplit("/", 1)[1]
    mib = ceil(published.meta["_file_size"])
    return WeightsFile(file=name, sha256=Path(name).stem.rsplit("-", 1)[1], url=published.url, mib=mib)


def find(weights: WeightsFile, where: str) -> Path:
    """The verified file: from the folder of DETDISTILL_RAW, from `raw`, or downloaded into it.

    Args:
        where: the field of the parameters, for errors.

    Raises:
        UserError: a file that is nowhere, cannot be downloaded or has another digest.
    """
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


def read_state(path: Path, where: str) -> dict[str, Tensor]:
    """The tensors of a file by name, safetensors or PyTorch's own; nothing else in it is read or run.

    A training's checkpoint that holds them under `model` is one, too.

    Raises:
        UserError: a file that holds more than tensors, or that cannot be read.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{where}: {path} holds more than tensors and would run code; save the model's state_dict alone"
        ) from None
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise UserError(f"{where}: {path} is no file of weights that can be read: {error}") from None
    state = state.get("model", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError(f"{where}: {path} holds no state_dict: tensors by name are needed")
    return state


def _download(weights: WeightsFile, file: Path, where: str) -> None:
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
