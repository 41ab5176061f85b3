"""Very small detectors, images and recipes for the tests of detectors and methods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from detdistill.detectors import build as build_detector
from detdistill.detectors.base import Detector, Target
from detdistill.distill import build as build_distillation
from detdistill.distill import files
from detdistill.distill.base import Distillation
from detdistill.params import DistilledRun, Recipe

K = 3
SIZE = 64
SIZES: dict[str, dict[str, Any]] = {
    "faster_rcnn": {
        "family": "faster_rcnn",
        "widths": [8, 16],
        "neck_channels": 8,
        "anchors": [[12.0], [22.0]],
        "rpn_batch": 16,
        "rpn_pre_nms": 40,
        "rpn_post_nms": 20,
        "roi_batch": 8,
        "roi_size": 3,
        "hidden": 16,
    },
    "retinanet": {
        "family": "retinanet",
        "widths": [8, 16],
        "neck_channels": 8,
        "anchors": [[12.0], [22.0]],
        "candidates": 20,
    },
}
TEACHER = {"widths": [16, 32], "neck_channels": 12}

# method -> its parameters, all terms on
METHODS: dict[str, dict[str, Any]] = {
    "fitnets": {"weight": 1.0, "strides": [4, 8]},
    "pkd": {"weight": 6.0},
    "cwd": {"weight": 10.0},
    "mgd": {"weight": 2e-3},
    "fgd": {"foreground": 1e-3, "background": 5e-4, "attention": 5e-4, "context": 5e-6},
    "crosskd": {"classes": 1.0, "boxes": 1.0},
    "chen": {"rpn_classes": 1.0, "rpn_boxes": 1.0, "roi_classes": 1.0, "roi_boxes": 1.0},
    "mimic": {"weight": 1.0},
    "dkd": {"target_class": 1.0, "other_classes": 0.25},
}
NEEDS_RPN = {"chen", "mimic", "dkd"}
NEEDS_DENSE_HEAD = {"crosskd"}
CASES = [
    (family, method)
    for family in SIZES
    for method in METHODS
    if method not in (NEEDS_RPN if family == "retinanet" else NEEDS_DENSE_HEAD)
]


def detector(family: str, seed: int = 0, num_classes: int = K, **changes: Any) -> Detector:
    """An untrained detector of 64 x 64 images, with `changes` to its sizes."""
    torch.manual_seed(seed)
    return build_detector("torchvision", {**SIZES[family], **changes}, num_classes, "student.yaml")


def teacher(family: str, **changes: Any) -> Detector:
    """A wider one, in eval mode."""
    return detector(family, seed=1, **{**TEACHER, **changes}).eval()


def batch(images: int = 2, seed: int = 0) -> tuple[list[Tensor], list[Target]]:
    """Random images with one object, two objects, none, ... in turn."""
    generator = torch.Generator().manual_seed(seed)
    boxes = [[[8.0, 12.0, 24.0, 30.0]], [[30.0, 8.0, 50.0, 26.0], [6.0, 36.0, 20.0, 58.0]], []]
    targets: list[Target] = [
        {"boxes": torch.tensor(boxes[i % 3]).reshape(-1, 4), "labels": torch.arange(len(boxes[i % 3])) + 1}
        for i in range(images)
    ]
    return [torch.rand(3, SIZE, SIZE, generator=generator) for _ in range(images)], targets


def distillation(
    family: str,
    methods: dict[str, dict[str, Any]],
    code: str = "cnn",
    student: Detector | None = None,
    other: Detector | None = None,
) -> Distillation:
    """The student of a recipe, as the command line builds it."""
    run = DistilledRun(pair=family, engine="torchvision", recipe="tried", code=code)
    own, other = student or detector(family), other or teacher(family)
    return build_distillation(Recipe(methods=methods), run, own, other, "params/tiny/tried.yaml")


def code_of(method: str) -> str:
    """The file of a method, as study.yaml names it."""
    return str(files()[method])
