"""Where in an image a student learns: the share of its gradient inside objects, of the native losses and each method.

Objects cover a small part of an image, and methods differ in what they do with the rest: the second of the challenges
that the review of arXiv 2508.03317 names.

The share of a loss itself cannot be told alike for all: a squared distance of maps is a sum over cells, but a softmax
or a correlation over a channel (CWD, PKD) mixes all of them, the loss of an RoI, an anchor or a query belongs to a box
or to none, and the engines give theirs as scalars. What each does to the student is its gradient, and that has cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from detdistill.detectors.base import Taps, Target
from detdistill.distill.base import inside
from detdistill.train.history import AREA, NATIVE


def gradient_inside(losses: Mapping[str, Tensor], taps: Taps, targets: Sequence[Target]) -> dict[str, float | None]:
    """The share of the gradient on the student's backbone maps that lies in cells of an object, 0..1.

    Magnitudes are summed over channels, cells, levels and images; None where a loss has no gradient there. A level that
    frozen stages make has none at all.

    Args:
        losses: as `Distillation` returns them, before the backward pass.
        taps: of the student, with its `backbone`.
        targets: of the same images.

    Returns:
        `native`, then a method's name -> its share, and `area`: that of the cells themselves.
    """
    maps = [level for level in taps.backbone.values() if level.requires_grad]
    masks = [
        torch.stack([inside(target["boxes"], taps.image_size, (level.shape[2], level.shape[3])) for target in targets])
        for level in maps
    ]
    groups: dict[str, list[Tensor]] = {}
    for name, loss in losses.items():
        groups.setdefault(name.rpartition(".")[0] or NATIVE, []).append(loss)
    shares: dict[str, float | None] = {AREA: _share([torch.ones_like(level[:, :1]) for level in maps], masks)}
    for name, own in groups.items():
        loss = torch.stack(own).sum()
        gradients = torch.autograd.grad(loss, maps, retain_graph=True, allow_unused=True) if maps else ()
        found = [(each, mask) for each, mask in zip(gradients, masks, strict=True) if each is not None]
        shares[name] = _share([each for each, _ in found], [mask for _, mask in found])
    return shares


def _share(levels: Sequence[Tensor], masks: Sequence[Tensor]) -> float | None:
    sums = [level.float().abs().sum(1) for level in levels]
    total = float(sum(each.sum() for each in sums))
    within = float(sum((each * mask).sum() for each, mask in zip(sums, masks, strict=True)))
    return within / total if 0 < total < float("inf") else None
