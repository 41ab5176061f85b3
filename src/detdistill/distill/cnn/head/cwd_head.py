"""CWD on class logits: each class map of the head is a distribution over positions, pulled towards the teacher's.

Shu et al., ICCV 2021, arXiv 2011.13256: the formula of `cwd`, with the maps of the head's class logits as channels:
L = w * sum over levels of tau^2 / (A K N) * sum over anchors and classes of KL(softmax(T / tau) || softmax(S / tau))
A softmax over positions ignores what is the same at all of them, so a class's overall level is not distilled.
The logits have the same maps in both detectors, so that nothing need be adapted.
Published as the head variant of open-mmlab/mmrazor (GFL, R101 to R50, 40.2 to 41.9 AP); its config on main inherits
the pyramid's w = 10, tau = 1 and distils the pyramid in fact, so no weight of its own could be checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight, same_shapes
from detdistill.distill.cnn.neck.cwd import channel_loss


def class_maps(logits: Tensor, locations: int) -> Tensor:
    """Logits (N, HWA, K), order h, w, a, as maps (N, A * K, HW) of that many locations."""
    return logits.reshape(len(logits), locations, -1).mT


class CWDHead(Method):
    """Channel-wise distillation of class maps. `weight`: w, `temperature`: tau."""

    taps = frozenset({"head_logits"})
    student_taps = frozenset({"neck"})
    background = frozenset({"sigmoid"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        weight: Weight,
        temperature: Annotated[float, Field(gt=0)] = 1.0,
    ):
        super().__init__(student, teacher)
        self.weight, self.temperature = weight, temperature
        same_shapes("head_logits", student, teacher, slice(1, 2), "anchors")

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        losses = []
        for s, logits in student.head_logits.items():
            locations = student.neck[s].shape[2] * student.neck[s].shape[3]
            own, other = (class_maps(each, locations) for each in (logits, teacher.head_logits[s]))
            losses.append(channel_loss(own, other, self.temperature))
        return {"head": self.weight * torch.stack(losses).sum()}
