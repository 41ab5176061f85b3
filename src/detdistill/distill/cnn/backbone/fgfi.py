"""FGFI: imitate the teacher's backbone where anchors overlap an object about as well as the best of them does.

Wang et al., CVPR 2019, arXiv 1906.03609 (fine-grained feature imitation).
L = w / (2 N_p) * sum_p I_p sum_c (phi(S) - T)^2,  N_p = sum_p I_p
I_p = 1 where an anchor of that location has an IoU with an object above psi times the best IoU of all anchors with it.
phi: 3x3 convolution and ReLU, a stage, as in the released code, so that it cannot answer a negative value; begun near 0
(deviation 1e-4), as there.
The paper has one map. With a pyramid, each stage has the anchors of its own stride, and the best IoU is that over the
anchors of all strides, so that an object belongs to the stages whose anchors fit it; N_p counts all stages together.
Published: psi = 0.5, w = 0.01 (code of twangnh/Distilling-Object-Detectors), switched on after 400 steps, here from the
first. It counts the border pixel to a box's width, as VOC does; here a width is the difference of the coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.ops import box_iou

from detdistill.core.errors import UserError
from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill.base import Method, Weight, same_levels


def near_objects(anchors: Tensor, objects: Tensor, fraction: float) -> Tensor:
    """Whether each anchor's IoU with an object is above `fraction` of that object's best one.

    Args:
        anchors: (M, 4), those of all locations and strides.
        objects: (n, 4); n may be 0.
        fraction: psi.

    Returns:
        (M,) bool.
    """
    overlaps = box_iou(anchors, objects)
    return (overlaps > fraction * overlaps.amax(0)).any(1)


def imitation_masks(
    anchors: Mapping[str, Tensor], objects: Sequence[Tensor], fraction: float, shapes: Mapping[str, tuple[int, int]]
) -> dict[str, Tensor]:
    """stride -> I (N, 1, H, W).

    Args:
        anchors: stride -> (HWA, 4), order h, w, a.
        objects: one (n, 4) an image.
        fraction: psi.
        shapes: stride -> (H, W), of all or some of the anchors' strides.
    """
    every = torch.cat(list(anchors.values()))
    near = torch.stack([near_objects(every, boxes, fraction) for boxes in objects])
    levels = dict(zip(anchors, near.split([len(each) for each in anchors.values()], dim=1), strict=True))
    return {s: levels[s].view(len(near), 1, *shape, -1).any(-1) for s, shape in shapes.items()}


def imitation_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """Squared error summed over channels, half the mean over the masked locations of all stages; 0 without any.

    Args:
        student, teacher: (N, C, H, W) a stage.
        masks: (N, 1, H, W) a stage.
    """
    errors = [(mask * (own - other).square()).sum() for own, other, mask in zip(student, teacher, masks, strict=True)]
    locations = torch.stack([mask.sum() for mask in masks]).sum()
    return torch.stack(errors).sum() / (2 * locations).clamp(min=1)


class FGFI(Method):
    """Fine-grained imitation of every backbone stage that has anchors. `weight`: w, `fraction`: psi."""

    taps = frozenset({"backbone"})
    student_taps = frozenset({"anchors"})

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        *,
        weight: Weight,
        fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5,
    ):
        super().__init__(student, teacher)
        self.weight, self.fraction = weight, fraction
        students, teachers = (detector.channels(self.taps)["backbone"] for detector in (student, teacher))
        anchored = student.shapes(frozenset({"anchors"}))["anchors"]
        shared = [s for s in same_levels("backbone", students, teachers) if s in anchored]
        if not shared:
            raise UserError(
                f"backbone: no stage has anchors; its strides are {', '.join(students)}, theirs {', '.join(anchored)}"
            )
        self.adapters = nn.ModuleDict(
            {s: nn.Sequential(nn.Conv2d(students[s], teachers[s], 3, padding=1), nn.ReLU()) for s in shared}
        )
        for adapt in self.adapters.values():
            nn.init.trunc_normal_(adapt.get_parameter("0.weight"), std=1e-4, a=-2e-4, b=2e-4)

    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        shapes = {s: (student.backbone[s].shape[2], student.backbone[s].shape[3]) for s in self.adapters}
        masks = imitation_masks(student.anchors, [target["boxes"] for target in targets], self.fraction, shapes)
        own = [adapt(student.backbone[s]) for s, adapt in self.adapters.items()]
        loss = imitation_loss(own, [teacher.backbone[s] for s in self.adapters], list(masks.values()))
        return {"backbone": self.weight * loss}
