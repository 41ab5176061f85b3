"""The module that a run trains: its detector alone, or with a teacher and the methods that it learns by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from detdistill import detectors, distill
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.params import load_side
from detdistill.dataset.manifest import Manifest
from detdistill.detectors.base import Detector
from detdistill.detectors.weights import load_trunk, load_weights
from detdistill.distill.answers import Answers, check_constant
from detdistill.distill.base import Distillation, Learner
from detdistill.train.run import Lesson, Run


@dataclass(frozen=True)
class Assembled:
    """What `assemble` made: the module to train, the detector in it, and what asking the teacher once has cost."""

    module: Learner
    detector: Detector
    answers_core_seconds: float = 0.0

    @property
    def distillation(self) -> Distillation:
        """The module of a run that has a teacher."""
        assert isinstance(self.module, Distillation)
        return self.module


class Native(Learner):
    """A detector trained by its own losses: what `Distillation` is without a teacher."""

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return self.native(images, targets)[0]


def load_code(run: Run) -> None:
    """Import what `assemble` will, so that whoever asks which code a run works with is told all of it."""
    detectors.find(run.pair.engine, str(run.side_file))
    if run.lesson:
        detectors.find(run.lesson.teacher.engine, str(run.lesson.where))
        for method in run.lesson.methods:
            distill.find(method, str(run.lesson.where))


def assemble(run: Run, manifest: Manifest) -> Assembled:
    """Build the run's detector, first weights drawn by its seed, and its methods. Raises UserError for bad input."""
    if run.side.training.precision == "fp16" and not torch.accelerator.is_available():
        raise UserError(f"{run.side_file}: training.precision: fp16 needs a GPU; allowed here: no, bf16")
    torch.manual_seed(run.seed)
    detector = detectors.build(run.pair.engine, run.side.detector, len(manifest.classes), str(run.side_file))
    if run.begin.suffix == ".safetensors":
        load_trunk(detector, run.begin)
    else:
        detector.initialize(str(run.side_file))
    if run.lesson is None:
        return Assembled(Native(detector), detector)
    teacher = _teacher(run.study, run.lesson, manifest)
    module = distill.build(run.lesson.methods, run.lesson.scales, detector, teacher, str(run.lesson.where))
    if run.side.training.ask_teacher == "each_step":
        return Assembled(module, detector)
    check_constant(detector, str(run.side_file))
    file = paths.teacher(run.study, run.lesson.teacher.pair)
    split = manifest.split("train", run.side.training.cache_images)
    answers = Answers(teacher, file, split, manifest.digest, module.teacher_taps, str(run.side_file))
    module.answers = answers
    return Assembled(module, detector, answers.core_seconds)


def _teacher(study: str, lesson: Lesson, manifest: Manifest) -> Detector:
    """The trained teacher."""
    side, file = load_side(study, lesson.teacher.pair, "teacher"), paths.params(study, lesson.teacher.pair, "teacher")
    teacher: Any = detectors.build(lesson.teacher.engine, side.detector, len(manifest.classes), str(file))
    load_weights(teacher, paths.teacher(study, lesson.teacher.pair))
    return teacher
