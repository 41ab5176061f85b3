"""Training: the teacher, the plain student and the distilled student share one loop, on accelerate.

Same parameters and machine, same bytes: whether a run goes straight through or is killed and resumed.
"""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from detdistill.core import paths
from detdistill.core.code import Used
from detdistill.core.errors import UserError
from detdistill.core.files import write_atomic, write_json
from detdistill.core.params import DistilledRun, load_recipe, load_side, load_study, load_tuning
from detdistill.core.timing import measure
from detdistill.dataset.manifest import load
from detdistill.detectors.weights import save_weights
from detdistill.train.assemble import assemble, load_code
from detdistill.train.checkpoint import Scratch
from detdistill.train.history import csv_bytes
from detdistill.train.loop import fit
from detdistill.train.run import Lesson, Run
from detdistill.train.track import options
from detdistill.train.tuned import read_scales


def train_teacher(study: str, pair: str) -> None:
    """Train the teacher of a pair and write its outputs. Raises UserError for bad input."""
    listed = load_study(study).pair(pair)
    side, file = load_side(study, pair, "teacher"), paths.params(study, pair, "teacher")
    train(Run(study, listed, paths.TEACHER, paths.ONCE, side, file, Path(listed.teacher_from)))


def train_student(study: str, pair: str, recipe: str, seed: int) -> None:
    """Train a plain or distilled student, as the study lists it. Raises UserError for bad input."""
    run = student_run(study, pair, recipe, seed)
    if run.lesson and load_tuning(study):
        source = run.lesson.where.stem
        run.lesson.scales.update(read_scales(paths.tuning(study, pair, source, "tuning.json"), run.lesson.methods))
    train(run)


def student_run(study: str, pair: str, recipe: str, seed: int) -> Run:
    """A student as the study lists it, its methods not yet scaled by tuning. Raises UserError for bad input."""
    plan = load_study(study)
    listed, trained = plan.recipe(pair, recipe), plan.pair(pair)
    lesson = None
    if isinstance(listed, DistilledRun):
        methods = load_recipe(study, pair, listed.source).methods
        lesson = Lesson(plan.pair(listed.teaching), methods, paths.params(study, pair, listed.source), {})
    elif load_recipe(study, pair, recipe).methods:
        raise UserError(f"{paths.params(study, pair, recipe)}: methods: a recipe listed under `plain` has none")
    return Run(
        study,
        trained,
        recipe,
        seed,
        load_side(study, pair, "student"),
        paths.params(study, pair, "student"),
        Path(trained.student_from),
        load_recipe(study, pair, recipe).schedule_factor,
        lesson,
    )


def train(run: Run) -> None:
    """Build, train and write one run; the model is written only when all of it stands."""
    training = run.side.training
    with measure(run.recipe) as cost:
        prepare(training.threads)
        load_code(run)
        used = Used(run.files)
        manifest = load(run.study)
        assembled = assemble(run, manifest)
        accelerator = Accelerator(
            mixed_precision=training.precision,
            gradient_accumulation_steps=training.accumulate,
            # A method's module may be of a term that the recipe switches off.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
            **options(),
        )
        scratch = Scratch(run.identity(manifest))
        if accelerator.is_main_process:
            scratch.claim()
        accelerator.wait_for_everyone()
        history = fit(run, assembled.module, assembled.detector, manifest, accelerator, scratch)
        if accelerator.is_main_process:
            used.check()
            save_weights(assembled.detector, run.path("model.safetensors"))
            write_atomic(run.path("curve.csv"), csv_bytes(history.curve))
            write_json(run.path("learning.json"), history.learning)
    if accelerator.is_main_process:
        seconds = history.total.wall_seconds - history.validation.wall_seconds
        cost.record(
            run.path("timing.json"),
            ("model.safetensors", "curve.csv", "learning.json"),
            used,
            history.earlier,
            training_core_seconds=history.total.core_seconds - history.validation.core_seconds,
            answers_core_seconds=assembled.answers_core_seconds,
            images_per_second=history.learning[-1]["images"] / seconds,
        )
        scratch.clear()


def prepare(threads: int) -> None:
    """Make PyTorch repeat itself, on so many threads.

    Not on CUDA: torchvision's RoIAlign would then run in Python, at every cell of a level for each bin where the number
    of samples is the bin's own, as it is in Detectron2.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(not torch.cuda.is_available(), warn_only=True)
    # Filling helps to find bugs and costs 4 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
