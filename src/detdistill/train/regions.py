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


class Regions:
    """The share of the gradient on the student's backbone maps that lies in cells of an object, of one step.

    Magnitudes are summed over channels, cells, levels and images, those of all parts of an accumulated batch.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, losses: Mapping[str, Tensor], taps: Taps, targets: Sequence[Target]) -> None:
        """Add one forward pass. A level that frozen stages make has no gradient at all.

        Args:
            losses: as `Distillation` returns them, before the backward pass.
            taps: of the student, with its `backbone`.
            targets: of the same images.
        """
        maps = [level for level in taps.backbone.values() if level.requires_grad]
        masks = [
            torch.stack(
                [inside(target["boxes"], taps.image_size, (level.shape[2], level.shape[3])) for target in targets]
            )
            for level in maps
        ]
        groups: dict[str, list[Tensor]] = {}
        for name, loss in losses.items():
            groups.setdefault(name.rpartition(".")[0] or NATIVE, []).append(loss)
        self._add(AREA, [torch.ones_like(level[:, :1]) for level in maps], masks)
        for name, own in groups.items():
            loss = torch.stack(own).sum()
            gradients = torch.autograd.grad(loss, maps, retain_graph=True, allow_unused=True) if maps else ()
            found = [(each, mask) for each, mask in zip(gradients, masks, strict=True) if each is not None]
            self._add(name, [each for each, _ in found], [mask for _, mask in found])

    def shares(self) -> dict[str, float | None]:
        """`native` or a method's name -> its share, 0..1, and `area`: that of the cells themselves.

        None where a loss has no gradient on the maps.
        """
        return {name: inner / all_ if 0 < all_ < float("inf") else None for name, (inner, all_) in self._sums.items()}

    def _add(self, name: str, levels: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
        inner, total = self._sums.get(name, (0.0, 0.0))
        sums = [level.float().abs().sum(1) for level in levels]
        inner += float(sum((each * mask).sum() for each, mask in zip(sums, masks, strict=True)))
        self._sums[name] = inner, total + float(sum(each.sum() for each in sums))
