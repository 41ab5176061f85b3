"""Run a detector over a split."""

from __future__ import annotations

import torch
from torch import Tensor

from detdistill.dataset.manifest import Split
from detdistill.detectors.base import Detections, Detector


def as_float(image: Tensor) -> Tensor:
    """A uint8 image (3, H, W) as the detectors take it: float in 0..1."""
    return image.float() / 255


@torch.no_grad()
def predict(detector: Detector, split: Split, batch: int) -> list[Detections]:
    """Detections of every image of the split, in its order, on the CPU.

    The detector is in eval mode meanwhile and draws no random numbers, so training can go on as if nothing happened.
    """
    training = detector.training
    detector.eval()
    device = next(detector.parameters()).device
    found: list[Detections] = []
    for first in range(0, len(split), batch):
        indices = range(first, min(first + batch, len(split)))
        images = [as_float(split.image(index).to(device)) for index in indices]
        found += [{name: value.cpu() for name, value in each.items()} for each in detector.predict(images)]
    detector.train(training)
    return found
