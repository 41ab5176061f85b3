"""Training: the teacher, the plain student and the distilled student share one loop, on accelerate.

Same parameters and machine, same bytes: whether a run goes straight through or is killed and resumed.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from detdistill import detectors, distill, paths
from detdistill.checkpoint import Scratch, rng_state, set_rng_state
from detdistill.data.manifest import Manifest, Split, load
from detdistill.detectors.base import Detector
from detdistill.detectors.weights import load_trunk, load_weights, save_weights
from detdistill.errors import UserError
from detdistill.evaluate.coco import average_precision
from detdistill.evaluate.predict import as_float, predict
from detdistill.files import sha256, write_atomic, write_json
from detdistill.history import History, Window, csv_bytes
from detdistill.optimize import batches, optimizer, scheduler
from detdistill.params import DistilledRun, Recipe, Side, Trained, load_recipe, load_side, load_study
from detdistill.progress import TrainingProgress
from detdistill.timing import measure


@dataclass(frozen=True)
class Run:
    """What one training needs to know: who it is, its detector, schedule and methods, and what it begins with."""

    study: str
    listed: Trained
    recipe: str
    seed: int
    side: Side
    side_file: Path
    methods: Recipe
    begin: Path
    """The start of its pair, whole; else a checkpoint for backbone and neck; else the manifest: from nothing."""

    @property
    def steps(self) -> int:
        return round(self.side.training.steps * self.methods.schedule_factor)

    def path(self, name: str) -> Path:
        return paths.run(self.study, self.listed.pair, self.recipe, self.seed, name)

    @property
    def title(self) -> str:
        return f"{self.listed.pair} {self.recipe} {self.seed}"


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
        scratch = Scratch(_identity(run, manifest))
        if accelerator.is_main_process:
            scratch.claim()
        accelerator.wait_for_everyone()
        history = _fit(run, module, detector, manifest, accelerator, scratch)
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


def _identity(run: Run, manifest: Manifest) -> dict[str, Any]:
    """Everything beside the code that determines the bytes of a run."""
    identity = {
        "run": [run.title, run.study],
        "side": run.side.model_dump(),
        "methods": run.methods.model_dump(),
        "data": manifest.digest,
        "begin": sha256(run.begin),
    }
    if isinstance(run.listed, DistilledRun):
        identity["teacher"] = sha256(paths.teacher(run.study, run.listed.teaching.pair))
    return identity


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


def _fit(
    run: Run, module: nn.Module, detector: Detector, manifest: Manifest, accelerator: Accelerator, scratch: Scratch
) -> History:
    """The loop: from the last checkpoint, if there is one, to the last step."""
    training = run.side.training
    train, validation = (manifest.split(name, training.cache_images) for name in ("train", "val"))
    validation = validation.subset(range(min(training.evaluate_images, len(validation))))
    module.to(accelerator.device)
    optimise = optimizer(module, detector.trunk_parameters(), training)
    schedule = scheduler(optimise, training, run.steps)
    torch.manual_seed(run.seed + 1)  # building adapters drew numbers; from here on every recipe draws the same
    history, window, start = History(), Window(), 0
    if (state := scratch.load()) is not None:
        module.load_state_dict(state["module"])
        optimise.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["scheduler"])
        history, window, start = History.restore(state["history"]), Window(**state["window"]), state["step"]
        set_rng_state(state["rng"])
    wrapped, optimise = accelerator.prepare(module, optimise)
    order = batches(len(train), training.batch, run.steps, run.seed, start)
    loader = DataLoader(
        Samples(train, detector, run.seed),
        batch_sampler=[[(step, index) for index in batch] for step, batch in enumerate(order, start + 1)],
        num_workers=training.workers,
        collate_fn=_collate,
        generator=torch.Generator(),  # else each new iterator draws from the training's own
    )
    module.train()
    progress = TrainingProgress(run.title, run.steps, start, training.batch, not accelerator.is_main_process)
    with progress, measure("loop") as loop:
        for step, batch in enumerate(loader, start + 1):
            images, targets = _on_device(batch, accelerator)
            for part in range(training.accumulate):
                with accelerator.accumulate(wrapped):
                    losses = wrapped(images[part :: training.accumulate], targets[part :: training.accumulate])
                    total = torch.stack(list(losses.values())).sum()
                    _check_finite(run, step, losses)
                    accelerator.backward(total)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(module.parameters(), training.clip_norm)
                    optimise.step()
                    optimise.zero_grad()
                window.add({"loss": total, **losses}, share=1 / training.accumulate)
            rate = float(schedule.get_last_lr()[0])
            schedule.step()
            window.steps += 1
            last = step == run.steps
            if step % training.log_every == 0 or last:
                means = window.close()
                history.curve.append({"step": step, "lr": rate, **means})
                progress.update(step, means)
            if step % math.ceil(run.steps / training.evaluations) == 0 or last:
                with measure("validation") as cost:
                    found = average_precision(validation, predict(detector, validation, training.batch))
                history.validation += cost.spent()
                history.learning.append({"step": step, "images": step * training.batch, **found})
                points = ", ".join(f"{name} {100 * value:.1f}" for name, value in found.items() if value is not None)
                progress.say(f"step {step}: validation {points}")
            if step % training.checkpoint_every == 0 and not last and accelerator.is_main_process:
                history.total = history.earlier + loop.spent()
                scratch.save(
                    {
                        "step": step,
                        "module": module.state_dict(),
                        "optimizer": optimise.state_dict(),
                        "scheduler": schedule.state_dict(),
                        "rng": rng_state(),
                        "history": asdict(history),
                        "window": asdict(window),
                    }
                )
    history.total = history.earlier + loop.spent()
    return history


class Samples(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """The training images as the engine's own recipe varies them: one draw for each step and image, resumed or not."""

    def __init__(self, split: Split, detector: Detector, seed: int):
        self._split, self._detector, self._seed = split, detector, seed

    def __getitem__(self, drawn: tuple[int, int]) -> tuple[Tensor, dict[str, Tensor]]:
        step, index = drawn
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + step) * 1_000_003 + index)
        return self._detector.augment(*self._split[index], generator)


def _collate(samples: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Keep lists: images of a batch may differ in size. Crowd regions are no objects to learn."""
    images = [image for image, _ in samples]
    targets = [{name: target[name][~target["iscrowd"]] for name in ("boxes", "labels")} for _, target in samples]
    return images, targets


def _on_device(
    batch: tuple[list[Tensor], list[dict[str, Tensor]]], accelerator: Accelerator
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """This process's share of a batch, images as float in 0..1."""
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    images, targets = batch[0][share], batch[1][share]
    device = accelerator.device
    return (
        [as_float(image.to(device)) for image in images],
        [{name: value.to(device) for name, value in target.items()} for target in targets],
    )


def _check_finite(run: Run, step: int, losses: dict[str, Tensor]) -> None:
    """Stop a run that has diverged, before the step that would spoil the weights."""
    values = torch.stack([value.detach() for value in losses.values()])
    if not torch.isfinite(values).all():
        terms = ", ".join(f"{name} {float(value):g}" for name, value in zip(losses, values, strict=True))
        raise UserError(f"{run.path('model.safetensors')}: not written: a loss is not finite at step {step}: {terms}")
