"""Checkpoints for exact resume: in an undeclared scratch folder, under a digest of everything that fixes the run."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from detdistill.core import paths
from detdistill.core.files import explained, sha256, write_atomic


class Scratch:
    """The scratch folder of one run.

    Args:
        identity: what determines the result beside the code: parameters, seed, digests of the inputs. JSON-like.

    The digest also covers the first-party modules that are loaded and the version of PyTorch, so a checkpoint is never
    continued by code, parameters or data that it did not start with.
    """

    def __init__(self, identity: dict[str, Any]):
        package = __name__.partition(".")[0]
        loaded = {name: module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == package}
        code = {name: sha256(Path(file)) for name, file in loaded.items() if file}
        everything = json.dumps([identity, code, torch.__version__], sort_keys=True)
        self.folder = paths.SCRATCH / hashlib.sha256(everything.encode()).hexdigest()[:16]

    def claim(self) -> None:
        """Hold the run until this process ends, waiting for any other that trains it: one whose driver was killed."""
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._claim = open(self.folder / "claim", "w")  # noqa: SIM115  open as long as the process lives
        fcntl.flock(self._claim, fcntl.LOCK_EX)

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, whole or not at all. Raises UserError when the disk is full."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomic(self.folder / "checkpoint.pt", buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        """The last state saved, or None. Only tensors and plain values are read, so no file can run code."""
        file = self.folder / "checkpoint.pt"
        return torch.load(file, weights_only=True, map_location="cpu") if file.exists() else None

    def clear(self) -> None:
        """Remove the folder, once the run's outputs stand."""
        shutil.rmtree(self.folder, ignore_errors=True)


def rng_state() -> dict[str, Any]:
    """The state of PyTorch's generators; nothing in training draws from another."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng_state(state: dict[str, Any]) -> None:
    """Undo `rng_state`."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
