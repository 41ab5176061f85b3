"""The optimiser, the learning rate over the steps, and the order of the images: all functions of params and seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from detdistill.core.params import Training


def optimizer(module: nn.Module, trunk: Iterable[nn.Parameter], training: Training) -> torch.optim.Optimizer:
    """AdamW or SGD over the trainable parameters; those of the trunk have their own rate, norms and biases no decay."""
    slow = {id(parameter) for parameter in trunk}
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [p for p in trainable if (id(p) in slow) == is_trunk and (p.ndim > 1) == is_weight],
            "lr": training.lr * (training.trunk_lr if is_trunk else 1.0),
            "weight_decay": training.weight_decay if is_weight else 0.0,
        }
        for is_trunk in (False, True)
        for is_weight in (True, False)
    ]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=True)
    return torch.optim.SGD(groups, momentum=training.momentum, fused=True)


def scheduler(optimizer: torch.optim.Optimizer, training: Training, steps: int) -> LRScheduler:
    """OneCycle (Smith and Topin, arXiv 1708.07120), or linear warm-up and a tenth of the rate at each milestone.

    Warm-up and milestones are shares of all steps, so a longer schedule keeps its shape.
    """
    if training.schedule == "onecycle":
        # OneCycle's own momentum cycle stays: it is part of the published policy.
        rates = [group["lr"] for group in optimizer.param_groups]
        warmup = training.warmup * steps
        # PyTorch's divides by zero where warm-up ends at the step that it begins with.
        return OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.0 if warmup == 1 else training.warmup)
    warmup = max(1, math.ceil(training.warmup * steps))
    milestones = [share * steps for share in training.milestones]
    return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup) * 0.1 ** sum(step >= m for m in milestones))


def batches(images: int, batch: int, steps: int, seed: int, start: int = 0) -> Iterator[list[int]]:
    """The image indices of each step from `start` on: a new order each epoch, incomplete last batches left out.

    Step s always gets the same images for the same seed, so a resumed run continues the order without replaying it.
    """
    batch = min(batch, images)
    per_epoch = images // batch
    order, epoch = torch.empty(0), -1
    for step in range(start, steps):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            order = torch.randperm(images, generator=generator)
        first = step % per_epoch * batch
        yield order[first : first + batch].tolist()
