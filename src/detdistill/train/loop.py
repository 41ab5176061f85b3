"""The one loop of teacher, plain student and distilled student, on accelerate."""

from __future__ import annotations

import math
from dataclasses import asdict

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import DataLoader

from detdistill.core.errors import DivergedError, UserError
from detdistill.core.timing import measure
from detdistill.dataset.manifest import Manifest
from detdistill.detectors.base import Detector
from detdistill.distill.base import Learner
from detdistill.evaluate.coco import average_precision
from detdistill.evaluate.predict import predict
from detdistill.train.checkpoint import Scratch, rng_state, set_rng_state
from detdistill.train.history import History, Window
from detdistill.train.optimize import batches, optimizer, scheduler
from detdistill.train.progress import TrainingProgress
from detdistill.train.regions import Regions
from detdistill.train.run import Run
from detdistill.train.samples import Samples, collate, on_device
from detdistill.train.track import Tracking


def fit(
    run: Run, module: Learner, detector: Detector, manifest: Manifest, accelerator: Accelerator, scratch: Scratch
) -> History:
    """The loop: from the last checkpoint, if there is one, to the last step."""
    training = run.side.training
    train, validation = (manifest.split(name, training.cache_images) for name in ("train", "val"))
    batch = min(training.batch, len(train))
    if batch < training.accumulate * accelerator.num_processes:
        raise UserError(
            f"{run.side_file}: training: batch {training.batch} of {len(train)} images is too small for accumulate "
            f"{training.accumulate} in {accelerator.num_processes} processes"
        )
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
        set_rng_state(state["rng"][accelerator.process_index])
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
    wrapped, optimise = accelerator.prepare(module, optimise)
    order = batches(len(train), batch, run.steps, run.seed, start)
    loader = DataLoader(
        Samples(train, detector, run.seed, training.augment),
        batch_sampler=([(step, index) for index in drawn] for step, drawn in enumerate(order, start + 1)),
        num_workers=training.workers,
        collate_fn=collate,
        generator=torch.Generator(),  # else each new iterator draws from the training's own
    )
    module.train()
    progress = TrainingProgress(run.title, run.steps, start, batch, not accelerator.is_main_process)
    with progress, Tracking(accelerator, run, history) as tracking, measure("loop") as loop:
        for step, samples in enumerate(loader, start + 1):
            images, targets = on_device(samples, accelerator)
            last = step == run.steps
            module.watching = step % math.ceil(run.steps / training.evaluations) == 0 or last
            regions = Regions()
            for part in range(training.accumulate):
                with accelerator.accumulate(wrapped):
                    losses = wrapped(images[part :: training.accumulate], targets[part :: training.accumulate])
                    total = torch.stack(list(losses.values())).sum()
                    _check_finite(run, step, losses)
                    if module.watched:
                        regions.add(losses, module.watched, targets[part :: training.accumulate])
                    accelerator.backward(total)
                    if accelerator.sync_gradients and training.clip_norm is not None:
                        # Not the adapters: what a method adds must not shrink the student's own steps.
                        accelerator.clip_grad_norm_(detector.parameters(), training.clip_norm)
                    optimise.step()
                    optimise.zero_grad()
                window.add({"loss": total, **losses}, share=1 / training.accumulate)
            rate = float(schedule.get_last_lr()[0])
            schedule.step()
            window.steps += 1
            if step % training.log_every == 0 or last:
                means = window.close()
                history.curve.append({"step": step, "lr": rate, **means})
                progress.update(step, means)
                tracking.losses(history.curve[-1])
            if module.watching:
                with measure("validation") as cost:
                    found = average_precision(validation, predict(detector, validation, training.batch))
                history.validation += cost.spent()
                history.learning.append({"step": step, "images": step * batch, **found, "inside": regions.shares()})
                tracking.validated(history.learning[-1])
                points = ", ".join(f"{name} {100 * value:.1f}" for name, value in found.items() if value is not None)
                progress.say(f"step {step}: validation {points}")
            if step % training.checkpoint_every == 0 and not last:
                generators = gather_object([rng_state()])
                history.total = history.earlier + loop.spent()
                if accelerator.is_main_process:
                    scratch.save(
                        {
                            "step": step,
                            "module": module.state_dict(),
                            "optimizer": optimise.state_dict(),
                            "scheduler": schedule.state_dict(),
                            "scaler": accelerator.scaler.state_dict() if accelerator.scaler else None,
                            "rng": generators,
                            "history": asdict(history),
                            "window": asdict(window),
                        }
                    )
    history.total = history.earlier + loop.spent()
    return history


def _check_finite(run: Run, step: int, losses: dict[str, Tensor]) -> None:
    """Stop a run that has diverged, before the step that would spoil the weights."""
    values = torch.stack([value.detach() for value in losses.values()])
    if not torch.isfinite(values).all():
        terms = ", ".join(f"{name} {float(value):g}" for name, value in zip(losses, values, strict=True))
        raise DivergedError(
            f"{run.path('model.safetensors')}: not written: a loss is not finite at step {step}: {terms}"
        )
