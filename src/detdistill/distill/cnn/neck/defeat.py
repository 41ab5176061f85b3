"""DeFeat: imitate the neck's features of objects and those of the background apart, each as a mean of its own.

Guo et al., CVPR 2021, arXiv 2103.14475. This is the neck half; `defeat_proposals` is the other. Mean over levels of
L = a / (2 n_fg) sum M (phi(S) - T)^2 + b / (2 n_bg) sum (1 - M) (phi(S) - T)^2
M: 1 inside the boxes of the ground truth; n_fg, n_bg: elements, that is pixels times channels, of M and 1 - M in the
batch, so that a pixel of a small foreground weighs more than one of the background.
phi: 3x3 convolution a level, begun near 0 as in the released code (deviation 1e-4).
As in the release, an object lies on one level alone, floor(log2(sqrt(w h) / `side`)) steps above the finest, and covers
the cells from floor(min) to floor(max), the last left out, but one at least. `side: null` puts it on every level.
Published: a = 3, b = 12 for VOC and 56 as side, for a finest stride of 4 and images of 1000 x 600 (config of
ggjy/DeFeat.pytorch); 4 and 16 for COCO by its author (issue 18). The release adds 1 to a box's width and height for
its level, and gives one cell to a box that is thinner than a cell in either direction; here it is one cell thin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, PartWeight, inside, parts, spatial_adapters

Side = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def on_level(boxes: Tensor, level: int, levels: int, side: float | None) -> Tensor:
    """The boxes (n, 4) that belong to a level, 0 the finest; all of them where `side` is None."""
    if side is None:
        return boxes
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1).sqrt()
    return boxes[(size / side).log2().floor().clamp(0, levels - 1) == level]


def region_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Half the mean squared error of (N, C, H, W) maps over the elements under a (N, 1, H, W) mask; 0 without any."""
    total = (mask * (student - teacher).square()).sum()
    return total / (2 * student.shape[1] * mask.sum()).clamp(min=1)


class DeFeat(Method):
    """Decoupled imitation of every pyramid level.

    Args:
        foreground, background: a and b; 0 switches a term off.
        side: in pixels, of the smallest object that leaves the finest level but one; None puts all on every level.
    """

    taps = frozenset({"neck"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        foreground: PartWeight,
        background: PartWeight,
        side: Side | None = 56.0,
    ):
        super().__init__(student, teacher)
        self.parts = parts(foreground=foreground, background=background)
        self.side = side
        self.adapters = spatial_adapters(student, teacher)
        for adapt in self.adapters.values():
            assert isinstance(adapt, nn.Conv2d)
            nn.init.trunc_normal_(adapt.weight, std=1e-4, a=-2e-4, b=2e-4)

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        losses: dict[str, list[Tensor]] = {part: [] for part in self.parts}
        for level, (s, adapt) in enumerate(self.adapters.items()):
            own, other = adapt(student.neck[s]), teacher.neck[s]
            boxes = [on_level(target["boxes"], level, len(self.adapters), self.side) for target in targets]
            shape = (own.shape[2], own.shape[3])
            mask = torch.stack([inside(each, student.image_size, shape) for each in boxes])[:, None]
            losses["foreground"].append(region_loss(own, other, mask))
            losses["background"].append(region_loss(own, other, ~mask))
        return {part: weight * torch.stack(losses[part]).mean() for part, weight in self.parts.items() if weight}
