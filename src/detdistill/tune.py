"""The `tune` step: the weight of a recipe, from an equal budget for every recipe, on the validation split alone.

A method's unit is the weight at which its gradient on the student has a given share of the native gradient's norm,
measured after a short training in which its adapters have found their place. The study's factors of it are trained
with a held-out seed; where the best is the least or the largest of them, one more beyond it. The best on validation
wins, the smaller of two equal ones.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from detdistill.core import paths
from detdistill.core.code import Used
from detdistill.core.errors import DivergedError, UserError
from detdistill.core.files import write_json
from detdistill.core.params import load_tuning
from detdistill.core.timing import Spent, measure
from detdistill.dataset.manifest import Manifest, load
from detdistill.train.assemble import Assembled, assemble, load_code
from detdistill.train.checkpoint import Scratch
from detdistill.train.history import History
from detdistill.train.loop import fit
from detdistill.train.optimize import batches
from detdistill.train.run import Lesson, Run
from detdistill.train.samples import Samples, collate, on_device
from detdistill.train.step import prepare, student_run
from detdistill.train.tuned import scales

WARM_UP_STEPS = 100
MEASURED_STEPS = 10


def tune(study: str, pair: str, recipe: str) -> None:
    """Write `tuning.json` and `timing.json` of a recipe. Raises UserError for bad input, or where nothing is tuned."""
    budget = load_tuning(study)
    if budget is None:
        raise UserError(f"{paths.params(study, 'tuning')}: no such file: this study does not tune")
    run = student_run(study, pair, recipe, budget.seed)
    lesson = run.lesson
    if lesson is None:
        raise UserError(f"{paths.params(study, 'study')}: {recipe!r} of {pair!r} has no methods that could be tuned")
    run = replace(run, schedule_factor=run.schedule_factor * budget.schedule_factor)
    with measure("tune") as cost:
        prepare(run.side.training.threads)
        load_code(run)
        used = Used([*run.files, paths.params(study, "tuning")])
        manifest = load(study)
        scratch = Scratch({"tuning": run.identity(manifest), "budget": budget.model_dump()})
        scratch.claim()
        found = scratch.load() or {"units": _units(run, lesson, manifest, budget.share), "grid": [], "spent": {}}
        earlier = Spent(**found["spent"])
        scratch.save(found | {"spent": asdict(earlier + cost.spent())})
        while factor := _next(budget.factors, found["grid"]):
            found["grid"].append(_try(run, lesson, manifest, found["units"], factor))
            scratch.save(found | {"spent": asdict(earlier + cost.spent())})
    used.check()
    grid = sorted(found["grid"], key=lambda tried: tried["factor"])
    if all(tried["gradient_share"] is None for tried in grid):
        raise UserError(
            f"{lesson.where}: methods: every factor of {recipe!r} diverges; a lower rate or clip_norm helps"
        )
    result = {
        "pair": pair,
        "recipe": recipe,
        "split": "val",
        **budget.model_dump(include={"seed", "share", "schedule_factor"}),
        "units": found["units"],
        "grid": grid,
        "factor": _best(grid)["factor"],
    }
    write_json(paths.tuning(study, pair, recipe, "tuning.json"), result)
    cost.record(paths.tuning(study, pair, recipe, "timing.json"), ["tuning.json"], used, earlier)
    scratch.clear()


def _best(grid: list[dict[str, Any]]) -> dict[str, Any]:
    """The highest AP50, of equal ones the smallest factor."""
    return max(sorted(grid, key=lambda tried: tried["factor"]), key=lambda tried: tried["AP50"] or 0.0)


def _next(factors: list[float], grid: list[dict[str, Any]]) -> float | None:
    """The factor to try next: of the budget, then once beyond its end where that end is best, then None."""
    tried = {each["factor"] for each in grid}
    for factor in sorted(factors):
        if factor not in tried:
            return factor
    best, least, largest = _best(grid)["factor"], min(factors), max(factors)
    ratio = sorted(factors)[1] / least
    if len(tried) > len(factors) or best not in (least, largest):
        return None
    return best / ratio if best == least else best * ratio


def _units(run: Run, lesson: Lesson, manifest: Manifest, share: float) -> dict[str, float]:
    """Method -> the factor of its weights at which its gradient has that share of the native one."""
    units = dict.fromkeys(lesson.methods, 1.0)
    # Twice: at the first weights, to train the adapters a little, and then at the student's weights of that moment.
    for steps in (0, min(WARM_UP_STEPS, run.steps)):
        scaled = _scaled(run, lesson, scales(units, 1.0))
        assembled = assemble(scaled, manifest)
        if steps:
            short = replace(scaled, schedule_factor=steps / run.side.training.steps)
            _fit(short, assembled, manifest, validate_on=1)
        norms = _gradient_norms(scaled, assembled, manifest, first=steps)
        native = norms.pop("")
        if bad := [name for name, norm in norms.items() if not 0 < norm < float("inf")]:
            raise UserError(f"{lesson.where}: methods.{bad[0]}: its gradient on the student is {norms[bad[0]]:g}")
        own = assembled.distillation.scales
        units = {name: share * native * float(own[name]) / norm for name, norm in norms.items()}
    return units


def _try(run: Run, lesson: Lesson, manifest: Manifest, units: dict[str, float], factor: float) -> dict[str, Any]:
    """One training at that factor, its validation AP, and its gradient's share at the end; None where it diverges."""
    scaled = _scaled(run, lesson, scales(units, factor))
    assembled = assemble(scaled, manifest)
    try:
        found = _fit(scaled, assembled, manifest, validate_on=len(manifest.split("val"))).learning[-1]
    except DivergedError:
        return {"factor": factor, "AP": None, "AP50": None, "gradient_share": None}
    norms = _gradient_norms(scaled, assembled, manifest, first=0)
    native = norms.pop("")
    share = sum(norms.values()) / native
    return {"factor": factor, "AP": found["AP"], "AP50": found["AP50"], "gradient_share": share}


def _scaled(run: Run, lesson: Lesson, by: dict[str, float]) -> Run:
    return replace(run, lesson=replace(lesson, scales=by))


def _fit(run: Run, assembled: Assembled, manifest: Manifest, validate_on: int) -> History:
    """One training, validated at its end alone, on so many images."""
    training = run.side.training.model_copy(update={"evaluations": 1, "evaluate_images": validate_on})
    run = replace(run, side=run.side.model_copy(update={"training": training}))
    accelerator = Accelerator(mixed_precision=training.precision, gradient_accumulation_steps=training.accumulate)
    scratch = Scratch(run.identity(manifest))
    try:
        history = fit(run, assembled.module, assembled.detector, manifest, accelerator, scratch)
    except DivergedError:
        scratch.clear()  # it would go on to the same end
        raise
    scratch.clear()
    return history


def _gradient_norms(run: Run, assembled: Assembled, manifest: Manifest, first: int) -> dict[str, float]:
    """Method -> mean norm of its gradient on the student over a few batches; the native one under the name ""."""
    training, module = run.side.training, assembled.distillation
    split = manifest.split("train", training.cache_images)
    samples = Samples(split, assembled.detector, run.seed, training.augment)
    accelerator = Accelerator(mixed_precision=training.precision)  # a process has one precision
    module.to(accelerator.device).train()
    parameters = [parameter for parameter in assembled.detector.parameters() if parameter.requires_grad]
    sums = dict.fromkeys(["", *module.methods], 0.0)
    order = batches(len(samples), training.batch, first + MEASURED_STEPS, run.seed, first)
    for step, batch in enumerate(order, first + 1):
        losses = module(*on_device(collate([samples[step, index] for index in batch]), accelerator))
        for name in sums:
            own = [value for term, value in losses.items() if term.rpartition(".")[0] == name]
            sums[name] += _norm(torch.stack(own).sum(), parameters)
    return {name: value / MEASURED_STEPS for name, value in sums.items()}


def _norm(loss: Tensor, parameters: list[torch.nn.Parameter]) -> float:
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return float(torch.stack([gradient.norm() for gradient in gradients if gradient is not None]).norm())
