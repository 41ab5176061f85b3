"""The training images: varied by the parameters and the engine, in lists, on the device that takes them."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from detdistill.core.params import Augmentation
from detdistill.dataset.manifest import Split
from detdistill.detectors.base import Detector
from detdistill.evaluate.predict import as_float
from detdistill.train.augment import augmented


class Samples(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """The training images as `recipe` and then the engine vary them: a draw for each step and image, resumed or not."""

    def __init__(self, split: Split, detector: Detector, seed: int, recipe: Augmentation | None = None):
        self._split, self._detector, self._seed, self._recipe = split, detector, seed, recipe

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, drawn: tuple[int, int]) -> tuple[Tensor, dict[str, Tensor]]:
        step, index = drawn
        seed = (self._seed * 1_000_003 + step) * 1_000_003 + index
        generator = torch.Generator().manual_seed(seed % 2**63)  # no more than a generator takes
        image, target = self._split[index]
        if self._recipe is not None:
            image, target = augmented(self._recipe, image, target, generator)
        image, target = self._detector.augment(image, target, generator)
        return image, target | {"index": torch.tensor(index)}


def collate(samples: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Keep lists: images of a batch may differ in size. Crowd regions are no objects to learn."""
    images = [image for image, _ in samples]
    targets = [
        {name: target[name][~target["iscrowd"]] for name in ("boxes", "labels")} | {"index": target["index"]}
        for _, target in samples
    ]
    return images, targets


def on_device(
    batch: tuple[list[Tensor], list[dict[str, Tensor]]], accelerator: Accelerator
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """This process's share of a batch, images as float in 0..1."""
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    images, targets = batch[0][share], batch[1][share]
    device = accelerator.device
    return (
        [as_float(image.to(device)) for image in images],
        [{name: value.to(device) for name, value in target.items()} for target in targets],
    )
