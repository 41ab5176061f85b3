"""A trained model as a folder that runs elsewhere: weights, model card, and the words of the library that runs it."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from detdistill.core.errors import UserError, near
from detdistill.core.files import explained, require_empty, write_atomic
from detdistill.core.params import load_study
from detdistill.detectors import engines
from detdistill.export import card, folder, trained
from detdistill.report.provenance import commit

ONNX = "onnx"


def export(
    study: str, pair: str, recipe: str, seed: int, to: Path, formats: Sequence[str] = (), licence: str | None = None
) -> None:
    """Write a run as a folder: safetensors, model card, the engine's own format, and the formats asked for beside it.

    Args:
        to: a new or an empty folder; it appears whole or not at all.
        formats: `onnx`, or the name of the engine.
        licence: of the model, for its card.

    Raises:
        UserError: a folder with something in it, a format that the engine's models do not have, an unknown run, a
            damaged model.
    """
    require_empty(to)
    writers = _writers(load_study(study).pair(pair).engine, formats)
    run = trained.read(study, pair, recipe, seed)
    partial = to.resolve().with_name(f".{to.resolve().name}.partial")
    with explained(to):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            # transformers wants to be told what wrote the tensors.
            metadata = {"trunk": run.detector.trunk, "format": "pt"}
            save_file(load_file(run.weights), partial / folder.WEIGHTS, metadata)
            uses = [writer.write(run, partial) for writer in writers]
            head = commit(Path(__file__).parent)
            write_atomic(partial / card.README, card.readme(run, licence, head, uses).encode())
            card.write(run, folder.portable(run.params), licence, head, partial)
            partial.replace(to)
        except BaseException:
            shutil.rmtree(partial)
            raise


def _writers(engine: str, formats: Sequence[str]) -> list[Any]:
    """The modules that write the formats; the engine's own comes first."""
    known = [*engines(), ONNX]
    for name in formats:
        if name not in known:
            raise UserError(f"--format {name}: no such format{near(name, known)}")
        if name not in (engine, ONNX):
            raise UserError(f"--format {name}: models of {engine} do not have it; allowed: {engine}, {ONNX}")
    names = list(dict.fromkeys([engine, *formats]))
    writers = [importlib.import_module(f"{__name__}.{name}") for name in names]
    for writer in writers:
        if hasattr(writer, "check"):
            writer.check(engine)
    return writers
