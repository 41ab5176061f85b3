"""MGD: from a randomly masked student map, a small generator must restore the teacher's whole map.

Yang et al., ECCV 2022, arXiv 2205.01529.
L = w * sum over levels of sum (G(M * phi(S)) - T)^2 / N,  G: conv 3x3 - ReLU - conv 3x3,  M: random, one value a pixel
Published (configs of yzd-v/MGD): w = 2e-5 and 0.65 of the pixels removed for one-stage detectors, 5e-7 and 0.45 for
two-stage ones. The sum runs over C * H * W, so these w belong to 256 channels and 1333 x 800 images.
phi is a 1x1 convolution where the widths differ, as in the released code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight, adapters


def generator(channels: int) -> nn.Sequential:
    """G, for maps of `channels` channels."""
    convolutions = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)]
    return nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1])


def masked_generation_loss(
    student: Tensor, teacher: Tensor, generate: nn.Module, uniform: Tensor, removed: float
) -> Tensor:
    """Squared error of the restored map, summed over channels and pixels, averaged over images.

    Args:
        student, teacher: (N, C, H, W).
        generate: G.
        uniform: (N, 1, H, W) drawn from [0, 1); a pixel is zeroed where it exceeds 1 - `removed`.
        removed: expected share of zeroed pixels.
    """
    restored = generate(student * (uniform <= 1 - removed))
    return F.mse_loss(restored, teacher, reduction="sum") / len(student)


class MGD(Method):
    """Masked generation of every pyramid level. `weight`: w, `removed`: share of student pixels that is masked out."""

    taps = frozenset({"neck"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        weight: Weight,
        removed: Annotated[float, Field(ge=0, lt=1)] = 0.65,
    ):
        super().__init__(student, teacher)
        self.weight, self.removed = weight, removed
        self.adapters = adapters("neck", student, teacher)
        self.generators = nn.ModuleDict({s: generator(c) for s, c in teacher.channels(self.taps)["neck"].items()})

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        losses = []
        for s, adapt in self.adapters.items():
            features = adapt(student.neck[s])
            uniform = torch.rand_like(features[:, :1])
            loss = masked_generation_loss(features, teacher.neck[s], self.generators[s], uniform, self.removed)
            losses.append(loss)
        return {"neck": self.weight * torch.stack(losses).sum()}
