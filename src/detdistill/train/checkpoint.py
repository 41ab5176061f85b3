"""Checkpoints for exact resume: in an undeclared scratch folder, under a digest of everything that fixes the run."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
from typing import Any

import torch
from rich.console import Console

from detdistill.core import paths
from detdistill.core.code import loaded
from detdistill.core.files import explained, sha256, write_atomic
from detdistill.core.timing import versions

DIGEST = hashlib.sha256


class Scratch:
    """The scratch folder of one run.

    Args:
        identity: what determines the result beside the code: parameters, seed, digests of the inputs. JSON-like.

    The digest also covers the first-party modules that are loaded and the versions of the libraries, so a checkpoint is
    never continued by code, parameters or data that it did not start with.
    """

    def __init__(self, identity: dict[str, Any]):
        code = {name: sha256(file) for name, file in loaded().items()}
        everything = json.dumps([identity, code, versions()], sort_keys=True)
        self.folder = paths.SCRATCH / DIGEST(everything.encode()).hexdigest()[:16]
        self._last, self._before = self.folder / "checkpoint.pt", self.folder / "checkpoint.before.pt"

    def claim(self) -> None:
        """Hold the run until this process ends, waiting for any other that trains it: one whose driver was killed."""
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._claim = open(self.folder / "claim", "w")  # noqa: SIM115  open as long as the process lives
        fcntl.flock(self._claim, fcntl.LOCK_EX)

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, whole or not at all, and keep the one before. Raises UserError when the disk is full."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        if self._last.exists():
            os.replace(self._last, self._before)
        content = buffer.getvalue()
        write_atomic(self._last, DIGEST(content).digest() + content)

    def load(self) -> dict[str, Any] | None:
        """The last state saved that is whole, or None; a damaged file is named and set aside.

        Only tensors and plain values are read, so no file can run code.
        """
        for file in (self._last, self._before):
            if not file.exists():
                continue
            content = file.read_bytes()
            size = DIGEST().digest_size
            if content[:size] == DIGEST(content[size:]).digest():
                state: dict[str, Any] = torch.load(io.BytesIO(content[size:]), weights_only=True, map_location="cpu")
                return state
            os.replace(file, file.with_suffix(".damaged"))
            Console(stderr=True).print(f"{file}: damaged, set aside; going on from the one before or from the start")
        return None

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
