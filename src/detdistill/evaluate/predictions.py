"""`predictions.safetensors`: all that a run detects on the validation and the test split.

For each split: `SPLIT.counts` (images,), `SPLIT.boxes` (n, 4) xyxy pixels, `SPLIT.scores` (n,), `SPLIT.labels` (n,) in
0..K-1; rows in the order of the split's images, within an image as the detector gives them, by falling score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from detdistill.core.errors import UserError
from detdistill.core.files import write_atomic
from detdistill.detectors.base import Detections

COLUMNS = ("boxes", "scores", "labels")


def save(path: Path, predictions: Mapping[str, Sequence[Detections]]) -> None:
    """Write split -> detections of each image. Raises UserError when the disk is full."""
    tensors = {}
    for split, images in predictions.items():
        tensors[f"{split}.counts"] = torch.tensor([len(found["scores"]) for found in images])
        tensors |= {f"{split}.{name}": torch.cat([found[name] for found in images]).contiguous() for name in COLUMNS}
    write_atomic(path, to_bytes(tensors))


def load(path: Path, split: str) -> list[Detections]:
    """The detections of each image of a split. Raises UserError for a file that is missing, damaged or another."""
    try:
        with safe_open(path, "pt") as file:
            counts = file.get_tensor(f"{split}.counts").tolist()
            columns = [file.get_tensor(f"{split}.{name}").split(counts) for name in COLUMNS]
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError(f"{path}: not the predictions of a run: {error}") from None
    return [dict(zip(COLUMNS, rows, strict=True)) for rows in zip(*columns, strict=True)]
