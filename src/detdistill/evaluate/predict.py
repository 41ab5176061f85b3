"""Run a detector over a split."""

from __future__ import annotations

from collections.abc import Iterator

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

    Images of a batch have one size, so that none is padded for the sake of another: what is found in an image must not
    depend on the images beside it. The detector is in eval mode meanwhile and draws no random numbers, so training can
    go on as if nothing happened.
    """
    training = detector.training
    detector.eval()
    device = next(detector.parameters()).device
    found: dict[int, Detections] = {}
    for indices in _batches(split, batch):
        images = [as_float(split.image(index).to(device)) for index in indices]
        for index, each in zip(indices, detector.predict(images), strict=True):
            found[index] = {name: value.cpu() for name, value in each.items()}
    detector.train(training)
    return [found[index] for index in range(len(split))]


def _batches(split: Split, batch: int) -> Iterator[list[int]]:
    """The images of each size, `batch` at a time, in the order of the split."""
    of_size: dict[tuple[int, int], list[int]] = {}
    for index, record in enumerate(split.records):
        waiting = of_size.setdefault((record.height, record.width), [])
        waiting.append(index)
        if len(waiting) == batch:
            yield of_size.pop((record.height, record.width))
    yield from of_size.values()
