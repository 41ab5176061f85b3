"""A detector's weights as a file that its engine alone can load, and the trunk that detectors can share."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from detdistill.core.errors import UserError
from detdistill.core.files import write_atomic
from detdistill.core.record import intact
from detdistill.detectors.base import Detector


def save_weights(detector: Detector, path: Path) -> None:
    """Write the engine model's state as safetensors, whole or not at all.

    Raises:
        UserError: when the disk is full.
    """
    # Cloned, because safetensors refuses parameters that share memory, such as a transformer's tied heads.
    state = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in detector.model.state_dict().items()
    }
    write_atomic(path, save(state, metadata={"trunk": detector.trunk}))


def load_weights(detector: Detector, path: Path) -> None:
    """Load a checkpoint that `save_weights` wrote, strictly.

    Raises:
        UserError: missing file, not safetensors, another architecture (names the first tensor that differs), or a
            parameter that is not finite.
    """
    state, _ = _read(path)
    _load(detector, path, state, "")


def load_trunk(detector: Detector, path: Path) -> None:
    """Load backbone and neck alone, from a checkpoint of any family of any engine that has the same ones.

    Raises:
        UserError: as `load_weights`.
    """
    state, trunk = _read(path)
    own = detector.trunk
    _load(detector, path, {own + n.removeprefix(trunk): t for n, t in state.items() if n.startswith(trunk)}, own)


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a checkpoint, and what the names of its trunk begin with."""
    try:
        with safe_open(intact(path), "pt") as file:
            names, metadata = file.keys(), file.metadata() or {}
            return {name: file.get_tensor(name) for name in names}, metadata.get("trunk", "")
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors checkpoint: {error}") from None


def _load(detector: Detector, path: Path, found: dict[str, Tensor], prefix: str) -> None:
    """Load `found`, which must be exactly the part of the state whose names begin with `prefix`."""
    own = {name: tensor for name, tensor in detector.model.state_dict().items() if name.startswith(prefix)}
    parameters = {name for name, _ in detector.model.named_parameters()}
    for name in sorted(own.keys() | found.keys()):
        shapes = [str(tuple(state[name].shape)) if name in state else "none" for state in (found, own)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"{path}: a checkpoint of another architecture: {name} has shape {shapes[0]}, "
                f"the detector of the params has {shapes[1]}"
            )
    if bad := [name for name, tensor in found.items() if name in parameters and not torch.isfinite(tensor).all()]:
        raise UserError(f"{path}: {bad[0]} is not finite; the training that wrote it has diverged")
    detector.model.load_state_dict(detector.model.state_dict() | found)
