"""What each method costs beyond the student's step and the teacher's forward: `python tests/bench_methods.py [SIZE]`.

SIZE is `digits` (8 images of 96 x 96, that study's detectors) or `full` (2 images of 800 x 1216, 256 channels). Times
are core time in one process on one thread, the least of several; memory is what the graph keeps for its backward pass.
Shares are of the student's step and the teacher's forward together, and of the student's graph. Nothing is asserted.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from detdistill import catalogue
from detdistill.detectors import build
from detdistill.detectors.base import Detector, Queries, Taps, Target
from detdistill.distill import find
from detdistill.distill.base import STUDENT_ONLY

ENGINES = {"faster_rcnn": "torchvision", "retinanet": "torchvision", "gfl": "torchvision", "rt_detr": "transformers"}
TRUNK = {"widths": [64, 128, 256, 512], "neck_channels": 256}
ANCHORS = {"anchors": [[32.0], [64.0], [128.0], [256.0]], "aspect_ratios": [0.5, 1.0, 2.0]}
FULL: dict[str, dict[str, Any]] = {
    "faster_rcnn": {**TRUNK, **ANCHORS, "roi_batch": 512},
    "retinanet": {**TRUNK, **ANCHORS},
    "gfl": {**TRUNK, "anchors": ANCHORS["anchors"]},
    "rt_detr": TRUNK,
}
SHAPES = {"digits": (8, 96, 96), "full": (2, 800, 1216)}
REPEATS = {"digits": 7, "full": 1}


def main(size: str = "digits") -> None:
    torch.set_num_threads(1)
    shares = []
    for family in ENGINES if size == "full" else [each for each in ENGINES if Path("params/digits", each).is_dir()]:
        torch.manual_seed(0)
        student, teacher = detectors(size, family)
        images, targets = batch(size, student.num_classes)
        step, kept = measured(lambda: total(student.training_step(images, targets)[0]), size)  # noqa: B023
        asked, _ = measured(lambda: observed(teacher, images, None), size)  # noqa: B023
        base = step + asked
        print(f"{size} {family}: plain step {step:.2f} s, {kept:.0f} MiB; teacher's forward {asked / step:.2f} of it")
        _, own = student.train().training_step(images, targets, student.taps)
        other = observed(teacher, images, own.roi_boxes or None)
        for entry in catalogue.entries():
            if family in entry.fits:
                method = find(entry.name, "bench")(student, teacher, **keywords(entry.name)).train()
                leaves = attached(own)
                seconds, more = measured(lambda: total(method(leaves, other, targets)), size)  # noqa: B023
                shares.append(seconds / base)
                print(f"  {entry.name:22} + {100 * seconds / base:5.1f} % time  + {100 * more / kept:5.1f} % memory")
    print(
        f"{size}: the median method adds {100 * statistics.median(shares):.1f} % of time, the dearest "
        f"{100 * max(shares):.1f} %"
    )


def detectors(size: str, family: str) -> tuple[Detector, Detector]:
    """Untrained, of a study's sizes or of published ones: a student, and a teacher of more blocks."""
    if size == "digits":
        slices = [Path("params/digits", family, f"{side}.yaml") for side in ("student", "teacher")]
        sizes = [yaml.safe_load(each.read_text())["detector"] for each in slices]
    else:
        sizes = [{"family": family, "blocks": blocks, **FULL[family]} for blocks in (2, 4)]
    student, teacher = (build(ENGINES[family], each, 10 if size == "digits" else 80, "bench") for each in sizes)
    return student.train(), teacher.eval().requires_grad_(False)


def keywords(name: str) -> dict[str, Any]:
    """Published weights, or 1; the weights change no cost."""
    (found,) = yaml.safe_load(catalogue.example(name))["methods"].values()
    return dict(found)


def batch(size: str, classes: int) -> tuple[list[Tensor], list[Target]]:
    """Random images of eight objects each."""
    count, height, width = SHAPES[size]
    corners = torch.rand(count, 8, 2) * torch.tensor([0.7 * width, 0.7 * height])
    boxes = torch.cat([corners, corners + torch.rand(count, 8, 2) * 0.2 * height + 8], dim=2)
    targets = [{"boxes": each, "labels": torch.randint(classes, (8,))} for each in boxes]
    return [torch.rand(3, height, width) for _ in range(count)], targets


@torch.no_grad()
def observed(detector: Detector, images: Sequence[Tensor], rois: Sequence[Tensor] | None) -> Taps:
    """All that the teacher is asked for at most; its RoI head only where boxes are given."""
    wanted = detector.taps - STUDENT_ONLY
    return detector.observe(images, wanted if rois else frozenset(w for w in wanted if not w.startswith("roi")), rois)


def attached(taps: Taps) -> Taps:
    """The same values as leaves that take a gradient, so that a method's own backward pass ends there."""

    def leaf(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: leaf(each) for key, each in value.items()}
        if isinstance(value, Queries):
            return Queries(value.content.detach(), value.boxes.detach(), leaf(value.position))
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return value.detach().requires_grad_(value.requires_grad) if floating else value

    return replace(taps, **{each.name: leaf(getattr(taps, each.name)) for each in fields(Taps)})


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def measured(work: Callable[[], Any], size: str) -> tuple[float, float]:
    """Core seconds of the work and its backward pass, and the MiB that it keeps between the two."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    seconds = []
    for _ in range(REPEATS[size] + 1):
        kept.clear()
        began = time.process_time()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            result = work()
        if isinstance(result, Tensor):
            result.backward()
        seconds.append(time.process_time() - began)
    return min(seconds), sum(kept.values()) / 2**20


if __name__ == "__main__":
    main(*sys.argv[1:])
