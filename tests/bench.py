"""`make bench`: the drivers with nothing to do, each recipe's step, a transformer's step, reading COCO.

Run it after the study. Times hang on the machine, so steps are told as ratios to the plain student's, taken in turns in
one process; nothing here is asserted.
"""

from __future__ import annotations

import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher, RTDetrLoss

from detdistill import detectors
from detdistill.core.params import Training, load_study
from detdistill.dataset.manifest import Manifest, load
from detdistill.dataset.prepared import Annotations, Object
from detdistill.dataset.records import read_records
from detdistill.evaluate.predict import as_float
from detdistill.pipeline import pipeline_file
from detdistill.train.assemble import Native, assemble
from detdistill.train.optimize import optimizer
from detdistill.train.run import Run
from detdistill.train.samples import Samples, collate
from detdistill.train.step import student_run

REPEATS = 5
STEPS = 6
TRANSFORMER = {
    "family": "rt_detr",
    "widths": [16, 32, 64],
    "neck_channels": 48,
    "hidden": 64,
    "feedforward": 256,
    "decoder_layers": 2,
    "queries": 30,
    "denoising": 30,
}
LIGHTER: dict[str, dict[str, Any]] = {
    "half the encoder's expansion": {"expansion": 0.5},
    "half the heads": {"heads": 4},
    "no denoising": {"denoising": 0},
    "deformable_detr, one encoder layer": {"family": "deformable_detr", "encoder_layers": 1, "denoising": None},
}


COCO_IMAGES, COCO_BOXES, COCO_CLASSES = 118_287, 860_001, 80


def main(study: str) -> None:
    _read_coco_size()
    for driver in (["snakemake", "--config", f"study={study}"], ["dvc", "repro", str(pipeline_file(study))]):
        seconds = [_seconds(lambda: subprocess.run(driver, check=True, capture_output=True)) for _ in range(REPEATS)]  # noqa: B023
        print(f"{driver[0]} with nothing to do: {statistics.median(seconds):.1f} s (median of {REPEATS})")
    torch.set_num_threads(1)
    manifest, plan = load(study), load_study(study)
    for pair in plan.pairs:
        own = [run for run in [*plan.plain, *plan.distilled] if run.pair == pair.pair]
        runs = {run.recipe: student_run(study, run.pair, run.recipe, plan.seeds[0]) for run in own}
        plain = next(run.recipe for run in plan.plain if run.pair == pair.pair)
        # With what the teacher said of the images on the disk, where the study asks it once.
        steps = {name: _assembled(run, manifest) for name, run in runs.items() if name == plain or run.lesson}
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(REPEATS):
            for name, step in steps.items():
                taken[name].append(_seconds(lambda: [step() for _ in range(STEPS)]))  # noqa: B023
        for name, seconds in taken.items():
            ratios = [ours / base for ours, base in zip(seconds, taken[plain], strict=True)]
            milliseconds = 1000 * statistics.median(seconds) / STEPS
            print(f"{pair.pair} {name}: {milliseconds:.0f} ms a step, {statistics.median(ratios):.2f} x plain")
    transformer_step()


def transformer_step() -> None:
    """Shares of an RT-DETR's step (8 images of 96 x 96, core time), and what lighter sizes cost beside it."""
    torch.manual_seed(0)
    images = [torch.rand(3, 96, 96) for _ in range(8)]
    corners = torch.rand(8, 4, 2) * 60
    boxes = torch.cat([corners, corners + 10 + torch.rand(8, 4, 2) * 25], dim=2)
    targets = [{"boxes": each, "labels": torch.randint(10, (4,))} for each in boxes]
    training = Training(steps=1, batch=8, lr=1e-4)
    steps, spent = {}, Counter[str]()
    for name, changes in {"rt_detr": {}, **LIGHTER}.items():
        sizes = {key: value for key, value in {**TRANSFORMER, **changes}.items() if value is not None}
        detector = detectors.build("transformers", sizes, 10)
        if name == "rt_detr":
            _count(spent, "trunk, forward", detector.model.model.backbone, "forward")
            _count(spent, "encoder, forward", detector.model.model.encoder, "forward")
            _count(spent, "decoder, forward", detector.model.model.decoder, "forward")
            _count(spent, "Hungarian matching", RTDetrHungarianMatcher, "forward")
            _count(spent, "losses, matching within", RTDetrLoss, "forward")
            _count(spent, "backward", torch.Tensor, "backward")
        steps[name] = _step(Native(detector).train(), training, images, targets)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    shares: list[Counter[str]] = []
    for _ in range(REPEATS):
        for name, step in steps.items():
            spent.clear()
            taken[name].append(_core_seconds(lambda: [step() for _ in range(STEPS)]))  # noqa: B023
            if name == "rt_detr":
                shares.append(Counter({part: seconds / taken[name][-1] for part, seconds in spent.items()}))
    rate = 8 * STEPS / statistics.median(taken["rt_detr"])
    print(f"rt_detr, width 64, 30 queries, 2 decoder layers: {rate:.0f} images a core-second, of whose time")
    for part in shares[0]:
        print(f"  {part}: {100 * statistics.median(share[part] for share in shares):.1f} %")
    for name in LIGHTER:
        ratios = [lighter / base for lighter, base in zip(taken[name], taken["rt_detr"], strict=True)]
        print(f"  {name}: {statistics.median(ratios):.2f} x the time of a step")


def _count(spent: Counter[str], part: str, owner: Any, name: str) -> None:
    """Add the core seconds of every call of `owner.name` to `spent[part]`."""
    method = getattr(owner, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        began = time.process_time()
        result = method(*args, **kwargs)
        spent[part] += time.process_time() - began
        return result

    setattr(owner, name, counted)


def _read_coco_size() -> None:
    """Annotations of COCO's size, made up, are read in a process of their own, whose memory is told."""
    classes = [str(label) for label in range(COCO_CLASSES)]
    draw, annotations = random.Random(0), Annotations(classes)
    for image in range(COCO_IMAGES):
        count = COCO_BOXES * (image + 1) // COCO_IMAGES - COCO_BOXES * image // COCO_IMAGES
        boxes = [tuple(round(draw.uniform(1, 200), 2) for _ in range(4)) for _ in range(count)]
        objects = [Object(box, draw.randrange(COCO_CLASSES)) for box in boxes]
        annotations.add_image(f"{image:012d}.jpg", 640, 480, objects, file_sha256="0" * 64)
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(annotations.content())
        file.flush()
        print(
            subprocess.run(
                [sys.executable, __file__, "--read", file.name], check=True, text=True, capture_output=True
            ).stdout,
            end="",
        )


def _read(file: str) -> None:
    seconds = _seconds(lambda: read_records(Path(file), [str(label) for label in range(COCO_CLASSES)]))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"annotations of COCO's size ({COCO_IMAGES} images, {COCO_BOXES} boxes): {seconds:.1f} s, {memory:.1f} GiB")


def _assembled(run: Run, manifest: Manifest) -> Callable[[], None]:
    """One step of a run, its batch the first images."""
    assembled, training = assemble(run, manifest), run.side.training
    samples = Samples(manifest.split("train"), assembled.detector, run.seed)
    images, targets = collate([samples[1, index] for index in range(training.batch)])
    return _step(assembled.module.train(), training, [as_float(image) for image in images], targets)


def _step(module: torch.nn.Module, training, images, targets) -> Callable[[], None]:
    optimise = optimizer(module, module.student.trunk_parameters(), training)

    def step() -> None:
        torch.stack(list(module(images, targets).values())).sum().backward()
        optimise.step()
        optimise.zero_grad()

    step()
    return step


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _core_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    _read(sys.argv[2]) if sys.argv[1] == "--read" else main(*sys.argv[1:])
