"""`maps.safetensors`: where a detector's features are strong in one image, to be looked at.

For each level of `backbone` and `neck`, under `TAP.STRIDE`: (H, W) float32, the mean over channels of the features'
magnitudes, which is attention transfer's map of power 1 (Zagoruyko and Komodakis, ICLR 2017, arXiv 1612.03928).
Channels cannot be compared between detectors of different widths; their mean can.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from detdistill.core.errors import UserError
from detdistill.core.files import write_atomic
from detdistill.dataset.records import Record
from detdistill.detectors.base import Detector

TAPS = ("backbone", "neck")


def shown(records: Sequence[Record]) -> int:
    """Which image of a split is looked at: the first of those with most objects, whatever any model finds there."""
    return max(range(len(records)), key=lambda index: len(records[index].boxes))


@torch.no_grad()
def strengths(detector: Detector, image: Tensor) -> dict[str, Tensor]:
    """`TAP.STRIDE` -> (H, W) in the cells that the image reaches, padding left out.

    A trunk of the engine's own may have no neck that is tapped; then there is its backbone alone.

    Args:
        image: float (3, H, W) in 0..1.
    """
    training = detector.training
    detector.eval()
    taps = detector.observe([image], detector.taps & frozenset(TAPS))
    detector.train(training)
    found = {}
    for tap in TAPS:
        for stride, level in getattr(taps, tap).items():
            rows, columns = (
                math.ceil(cells * pixels / padded)
                for cells, pixels, padded in zip(level.shape[-2:], image.shape[-2:], taps.image_size, strict=True)
            )
            found[f"{tap}.{stride}"] = level[0].float().abs().mean(0)[:rows, :columns].cpu().contiguous()
    return found


def save(path: Path, maps: dict[str, Tensor]) -> None:
    """Raises UserError when the disk is full."""
    write_atomic(path, to_bytes(maps))


def load(path: Path) -> dict[str, Tensor]:
    """As `strengths` gives them. Raises UserError for a file that is missing, damaged or another."""
    try:
        maps = from_bytes(path.read_bytes())
        if not maps or any(each.dim() != 2 or name.partition(".")[0] not in TAPS for name, each in maps.items()):
            raise ValueError("backbone.STRIDE and neck.STRIDE, each of two dimensions, are needed")
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not the maps of a run: {error}") from None
    return maps
