"""Training: the teacher, the plain student and the distilled student share one loop, on accelerate.

Same parameters and machine, same bytes: whether a run goes straight through or is killed and resumed.
"""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from detdistill import detectors, distill
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import write_atomic, write_json
from detdistill.core.params import DistilledRun, Recipe, load_recipe, load_side, load_study
from detdistill.core.timing import measure
from detdistill.dataset.manifest import Manifest, load
from detdistill.detectors.base import Detector
from detdistill.detectors.weights import load_trunk, load_weights, save_weights
from detdistill.train.checkpoint import Scratch
from detdistill.train.history import csv_bytes
from detdistill.train.loop import fit
from detdistill.train.run import Run


def train_teacher(study: str, pair: str) -> None:
    """Train the teacher of a pair and write its outputs. Raises UserError for bad input."""
    listed = load_study(study).pair(pair)
    side, file = load_side(study, pair, "teacher"), paths.params(study, pair, "teacher")
    _train(Run(study, listed, paths.TEACHER, paths.ONCE, side, file, Recipe(), Path(listed.teacher_from)))


def train_start(study: str, pair: str) -> None:
    """Train the weights that every student of a pair starts from. Raises UserError for bad input."""
    listed = load_study(study).pair(pair)
    side, file = load_side(study, pair, "student"), paths.params(study, pair, "student")
    recipe = load_recipe(study, pair, paths.START)
    _train(Run(study, listed, paths.START, paths.ONCE, side, file, recipe, Path(listed.student_from)))


def train_student(study: str, pair: str, recipe: str, seed: int) -> None:
    """Train a plain or distilled student, as the study lists it. Raises UserError for bad input."""
    listed = load_study(study).recipe(pair, recipe)
    side, file = load_side(study, pair, "student"), paths.params(study, pair, "student")
    methods = load_recipe(study, pair, recipe)
    if methods.methods and not isinstance(listed, DistilledRun):
        raise UserError(f"{paths.params(study, pair, recipe)}: methods: a recipe listed under `plain` has none")
    _train(Run(study, listed, recipe, seed, side, file, methods, paths.start(study, pair)))


def _train(run: Run) -> None:
    """Build, train and write one run; the model is written only when all of it stands."""
    training = run.side.training
    torch.set_num_threads(training.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling helps to find bugs and costs 4 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    with measure(run.recipe) as cost:
        manifest = load(run.study)
        accelerator = Accelerator(mixed_precision=training.precision, gradient_accumulation_steps=training.accumulate)
        torch.manual_seed(run.seed)
        detector = detectors.build(run.listed.engine, run.side.detector, len(manifest.classes), str(run.side_file))
        if run.begin == paths.start(run.study, run.listed.pair):
            load_weights(detector, run.begin)
        elif run.begin.suffix == ".safetensors":
            load_trunk(detector, run.begin)
        else:
            detector.initialize(str(run.side_file))
        module: nn.Module = Native(detector)
        if isinstance(run.listed, DistilledRun):
            module = _distillation(run, run.listed, detector, manifest)
        scratch = Scratch(run.identity(manifest))
        if accelerator.is_main_process:
            scratch.claim()
        accelerator.wait_for_everyone()
        history = fit(run, module, detector, manifest, accelerator, scratch)
        if accelerator.is_main_process:
            save_weights(detector, run.path("model.safetensors"))
            write_atomic(run.path("curve.csv"), csv_bytes(history.curve))
            write_json(run.path("learning.json"), history.learning)
    if accelerator.is_main_process:
        seconds = history.total.wall_seconds - history.validation.wall_seconds
        cost.record(
            run.path("timing.json"),
            history.earlier,
            training_core_seconds=history.total.core_seconds - history.validation.core_seconds,
            images_per_second=run.steps * training.batch / seconds,
        )
        scratch.clear()


class Native(nn.Module):
    """A detector trained by its own losses: what `Distillation` is without a teacher."""

    def __init__(self, student: Detector):
        super().__init__()
        self.student = student

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return self.student.training_step(images, targets)[0]


def _distillation(run: Run, listed: DistilledRun, student: Detector, manifest: Manifest) -> nn.Module:
    """The student with its methods and its trained teacher."""
    pair, engine = listed.teaching.pair, listed.teaching.engine
    side, file = load_side(run.study, pair, "teacher"), paths.params(run.study, pair, "teacher")
    teacher = detectors.build(engine, side.detector, len(manifest.classes), str(file))
    load_weights(teacher, paths.teacher(run.study, pair))
    where = str(paths.params(run.study, listed.pair, run.recipe))
    return distill.build(run.methods, listed, student, teacher, where)
