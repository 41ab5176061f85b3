"""What a method is, and how a recipe of methods trains a student beside its teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from detdistill.core.errors import UserError
from detdistill.detectors.base import Background, Detector, Taps, Target
from detdistill.distill.answers import Answers

# The teacher's forward must not repeat what only the student's native training step knows.
STUDENT_ONLY = frozenset({"roi_boxes", "anchor_labels", "anchor_targets", "roi_labels", "roi_targets"})

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""The weight of a method of one term."""
PartWeight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""The weight of one term of several; 0 switches that term off."""


class Method(nn.Module, ABC):
    """One published distillation loss.

    A subclass names the taps it compares, takes its parameters as keyword arguments (those without a default, the
    weights among them, must be given in the recipe), builds its adapters from the two detectors, and returns named
    scalars. Its own parameters are trained with the student and left out of the exported student.
    """

    taps: frozenset[str]
    """What it needs of both detectors; the teacher's `roi_*` are evaluated at the student's boxes."""
    student_taps: ClassVar[frozenset[str]] = frozenset()
    """What it needs of the student alone, such as the engine's own assignment."""
    background: ClassVar[frozenset[Background]] = frozenset({"softmax", "sigmoid"})
    """The classification conventions it is defined for."""

    def __init__(self, student: Detector, teacher: Detector):
        super().__init__()

    @abstractmethod
    def forward(self, student: Taps, teacher: Taps, targets: Sequence[Target]) -> dict[str, Tensor]:
        """The weighted terms of the loss by name, scalars. Teacher taps carry no gradient."""


class Learner(nn.Module):
    """A student as the training loop sees it: called with images and targets, it returns losses by name."""

    watching = False
    """Whether the next pass keeps the student's backbone maps in `watched`."""
    watched: Taps | None = None

    def __init__(self, student: Detector):
        super().__init__()
        self.student = student

    def native(
        self, images: Sequence[Tensor], targets: Sequence[Target], wanted: frozenset[str] = frozenset()
    ) -> tuple[dict[str, Tensor], Taps]:
        """The student's own training step, with the wanted taps."""
        losses, taps = self.student.training_step(images, targets, wanted | ({"backbone"} if self.watching else set()))
        self.watched = taps if self.watching else None
        return losses, taps


class Distillation(Learner):
    """A student with its recipe: the module that the training loop sees.

    The teacher is in eval mode, without gradients, and in no `parameters()`, `state_dict()` or wrapper of this module.
    What methods draw comes from a stream of their own, so that the student's native sampling is that of a plain run.

    Args:
        student: trained by its own native losses plus the methods' terms.
        teacher: already loaded with its weights.
        methods: name -> method, built for this student and teacher.
        scales: name -> what the terms of that method are multiplied by; 1 where it has none.
    """

    passes: Tensor
    answers: Answers | None = None
    """What the teacher said of the training images, where it was asked once; None asks it at each step."""

    def __init__(
        self,
        student: Detector,
        teacher: Detector,
        methods: Mapping[str, Method],
        scales: Mapping[str, float] | None = None,
    ):
        super().__init__(student)
        self.methods = nn.ModuleDict(methods)
        self.scales = dict.fromkeys(methods, 1.0) | dict(scales or {})
        # In a tuple, nn.Module does not see it.
        self._hidden = (teacher.eval().requires_grad_(False),)
        shared = frozenset[str]().union(*(method.taps for method in methods.values()))
        self._student_taps = shared.union(*(method.student_taps for method in methods.values()))
        self.teacher_taps = shared - STUDENT_ONLY
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    @property
    def teacher(self) -> Detector:
        return self._hidden[0]

    def _apply(self, fn: Any, recurse: bool = True) -> Distillation:
        # The hidden teacher must follow `.to(device)` all the same.
        self.teacher._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """The student's native losses and every method's terms (`pkd.neck`), scalars to be summed."""
        losses, student = self.native(images, targets, self._student_taps)
        self.passes += 1
        device = images[0].device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(torch.initial_seed() * 1_000_003 + int(self.passes))
            with torch.no_grad():
                teacher = self._ask(images, targets, student.roi_boxes or None)
            for name, method in self.methods.items():
                terms = method(student, teacher, targets)
                losses |= {f"{name}.{term}": self.scales[name] * value for term, value in terms.items()}
        return losses

    def _ask(self, images: Sequence[Tensor], targets: Sequence[Target], roi_boxes: Sequence[Tensor] | None) -> Taps:
        if self.answers is None:
            return self.teacher.observe(images, self.teacher_taps, roi_boxes)
        return self.answers([int(target["index"]) for target in targets], images[0].device, roi_boxes)


def check_taps(name: str, method: type[Method], student: Detector, teacher: Detector, where: str) -> None:
    """Raise UserError when a detector has not the taps or the background convention that the method is defined for."""
    for side, detector, needed in (
        ("student", student, method.taps | method.student_taps),
        ("teacher", teacher, method.taps - STUDENT_ONLY),
    ):
        missing = sorted(needed - detector.taps)
        if missing:
            raise UserError(
                f"{where}: methods.{name}: the {side} {type(detector).__name__} has no {', '.join(missing)}; "
                f"it has {', '.join(sorted(detector.taps))}"
            )
        if detector.background not in method.background:
            raise UserError(
                f"{where}: methods.{name}: the {side} {type(detector).__name__} classifies by {detector.background}, "
                f"{name} is defined for {', '.join(sorted(method.background))}"
            )
    if student.num_classes != teacher.num_classes:
        raise UserError(
            f"{where}: methods.{name}: the student has {student.num_classes} classes, the teacher {teacher.num_classes}"
        )


def same_levels(tap: str, student: Mapping[str, object], teacher: Mapping[str, object]) -> list[str]:
    """The strides that both have, finest first. Raises UserError when they differ."""
    if list(student) != list(teacher):
        raise UserError(f"{tap}: the student's strides are {', '.join(student)}, the teacher's {', '.join(teacher)}")
    return list(student)


def adapter(student_channels: int, teacher_channels: int) -> nn.Module:
    """A 1x1 convolution from the student's channels to the teacher's, or nothing where they agree."""
    if student_channels == teacher_channels:
        return nn.Identity()
    return nn.Conv2d(student_channels, teacher_channels, 1)


def adapters(tap: str, student: Detector, teacher: Detector) -> nn.ModuleDict:
    """One `adapter` a stride of a feature tap. Raises UserError when the two detectors' strides differ."""
    students, teachers = (detector.channels(frozenset({tap}))[tap] for detector in (student, teacher))
    return nn.ModuleDict({s: adapter(students[s], teachers[s]) for s in same_levels(tap, students, teachers)})


def spatial_adapters(student: Detector, teacher: Detector) -> nn.ModuleDict:
    """A 3x3 convolution from the student's channels to the teacher's a pyramid level, also where they agree."""
    own, other = (detector.channels(frozenset({"neck"}))["neck"] for detector in (student, teacher))
    return nn.ModuleDict({s: nn.Conv2d(own[s], other[s], 3, padding=1) for s in same_levels("neck", own, other)})


def same_shapes(tap: str, student: Detector, teacher: Detector, dims: slice, what: str) -> None:
    """Raise UserError when a tap's `dims` differ, level by level; `what` names in words what they are."""
    own, other = (detector.shapes(frozenset({tap}))[tap] for detector in (student, teacher))
    same_levels(tap, own, other)
    for level, shape in own.items():
        if shape[dims] != other[level][dims]:
            raise UserError(
                f"{tap}{f' at stride {level}' if level else ''}: the student has {_times(shape[dims])} {what}, "
                f"the teacher {_times(other[level][dims])}"
            )


def inside(boxes: Tensor, image_size: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """The cells of a map that a box of the image touches, (H, W) bool; every box has one at least.

    Args:
        boxes: (n, 4), xyxy pixels; n may be 0.
        image_size: (H, W) of the padded input in pixels.
        shape: (H, W) of the level in cells.
    """
    cells = boxes.new_tensor([size / pixels for size, pixels in zip(shape, image_size, strict=True)])
    first, last = (boxes[:, axes] * cells for axes in ([1, 0], [3, 2]))
    first = first.floor().minimum(boxes.new_tensor(shape) - 1)
    last = last.floor().maximum(first + 1)
    rows, columns = (torch.arange(size, device=boxes.device) for size in shape)
    in_row = (rows >= first[:, :1]) & (rows < last[:, :1])
    in_column = (columns >= first[:, 1:]) & (columns < last[:, 1:])
    return (in_row[:, :, None] & in_column[:, None]).any(0)


def parts(**weights: float) -> dict[str, float]:
    """The weights of a method's terms. Raises UserError when all are 0."""
    if not any(weights.values()):
        raise UserError(f"at least one weight must be above 0: {', '.join(weights)}")
    return weights


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
